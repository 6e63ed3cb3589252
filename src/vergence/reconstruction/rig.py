"""A whole rig of fixed cameras from the joints they share, nothing known but (perhaps) intrinsics.

One pair gives two cameras; every other camera joins through the joints that the pair triangulates (resection), which
also chains the scales: lengths of essential matrices cannot be compared, positions of shared joints can. Each pair is
a start of its own, because a start that is ten degrees off may descend into a wrong basin (one in a dozen does):
starts are adjusted on some thirty frames, the lowest robust cost wins, and only the winner is adjusted on everything.

The mirror: seen through long lenses, a body turned inside out in depth, with cameras turned the other way, projects
to almost the same images (the Necker reversal). The winner's mirror is therefore always tried as a start of its
own; where its cost comes close, the bend of the knees decides in `reconstruction`, and the verdict says so.

What breaks it, and how that shows: two cameras in one place (`PairPose.parallax`), a camera that shares no joints
with the others (refused by name), a person who stands still (large predicted uncertainty), starts that disagree at
equal cost (`gap`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.geometry.cameras import rotation_angle
from vergence.geometry.two_view import MIN_POINTS, NO_PARALLAX, PairPose, pair_pose
from vergence.reconstruction.bundle import Bundle, FocalMode, adjust, project_points, residuals
from vergence.reconstruction.inputs import camera_names
from vergence.reconstruction.points import linear_points

Array = np.ndarray

START_POINTS = 340  # joints a start is adjusted on: some 20 frames of 17 joints
MAX_STARTS = 10
SAME_BASIN = np.radians(4.0)
SAME_COST = 1.01
INLIER_SIGMA = 3.5  # 99.8 % of correct joints lie within
MIN_NOISE_PX = 1e-3  # less is rounding
LOSS_SIGMA = 2.0  # the Cauchy loss bends at twice the noise: 95 % efficient, and outliers of 80 px weigh nothing


@dataclass(frozen=True)
class Rig:
    """Cameras in the first one's frame, and how they were found.

    Attributes:
        bundle: cameras and the points of the last adjustment, reference length arbitrary.
        sigma: noise of the joints in px.
        pairs: what every usable pair says, by camera indices.
        gap: cost of the best start in another basin (or of the mirror) over the winner's; infinity where none was
            found.
        mirror_gap: the same of the winner's mirror image alone.
        mirror: the mirror's adjusted cameras, where it is a basin of its own.
        starts: how many were adjusted; `agreeing` ended in the winner's basin.
    """

    bundle: Bundle
    sigma: float
    pairs: dict[tuple[int, int], PairPose]
    gap: float
    mirror_gap: float
    mirror: Bundle | None
    starts: int
    agreeing: int


def rotation_gap(a: Bundle, b: Bundle) -> float:
    """Largest difference of a pair's relative rotation between two rigs, radians."""
    worst = 0.0
    for i in range(len(a.rotation)):
        for j in range(i):
            gap = rotation_angle(a.rotation[i] @ a.rotation[j].T, b.rotation[i] @ b.rotation[j].T)
            worst = max(worst, float(gap))
    return worst


def mirrored(cameras: Bundle) -> Bundle:
    """The Necker reversal: points mirrored in depth about their centre, every camera about its own ray to that centre.

    With `M_v = I - 2 d d^T`, d the ray of camera v to the centre: `R_v' = M_v R_v M_0`, the centre stays where each
    camera sees it.
    """
    centre = np.median(cameras.points, axis=0)
    seen = cameras.rotation @ centre + cameras.translation
    ray = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    flip = np.eye(3) - 2 * ray[:, :, None] * ray[:, None, :]
    world = cameras.rotation[0].T @ flip[0] @ cameras.rotation[0]
    rotation = flip @ cameras.rotation @ world
    return replace(
        cameras,
        rotation=rotation,
        translation=seen - rotation @ centre,
        points=centre + (cameras.points - centre) @ world,
    )


def normalised(observed: Float[Array, "V 2 N"], focal: Float[Array, "V 2"]) -> Float[Array, "V N 2"]:
    return (observed / focal[:, :, None]).transpose(0, 2, 1)


def all_pairs(observed: Array, weight: Array, focal: Array, seed: int) -> dict[tuple[int, int], PairPose]:
    """Relative pose of every pair of cameras that shares enough joints."""
    points = np.where((weight > 0)[..., None], normalised(observed, focal), np.nan)
    found: dict[tuple[int, int], PairPose] = {}
    noise: float | None = None
    for a in range(len(weight)):
        for b in range(a + 1, len(weight)):
            if ((weight[a] > 0) & (weight[b] > 0)).sum() >= MIN_POINTS:
                found[a, b] = pair_pose(points[a], points[b], sigma=noise, seed=seed)
                noise = float(np.median([pair.sigma for pair in found.values()]))
    return found


def check_connected(pairs: dict[tuple[int, int], PairPose], names: Sequence[str]) -> None:
    """Every camera hangs on the first through pairs with joints in common; else an error that names the loose ones."""
    reached = {0}
    for _ in names:
        reached |= {v for pair in pairs for v in pair if reached & set(pair)}
    if loose := [name for v, name in enumerate(names) if v not in reached]:
        raise VergenceError(
            f"{', '.join(loose)} shares fewer than {MIN_POINTS} joints with the others",
            "Check that the videos are synchronised and show the same person, or leave that camera out.",
        )


def check_baseline(pairs: dict[tuple[int, int], PairPose]) -> None:
    """Some pair of cameras must see more than a rotation, or all of them stand in one place and there is no depth."""
    if max(pair.parallax for pair in pairs.values()) < NO_PARALLAX:
        raise VergenceError(
            "all cameras stand in one place: turning one camera explains what the others see, so there is no depth",
            "Move the cameras apart, at best to 40 to 90 degrees around the person.",
        )


def _pair_quality(pair: PairPose) -> float:
    """Larger is a better start: agreeing joints whose rays cross at a useful angle."""
    return float(pair.inliers.sum()) * min(np.sin(pair.angle), 0.6) * min(pair.parallax / 5, 1.0)


def _resect(points: Array, image: Array, sigma: float) -> tuple[Array, Array] | None:
    """(R, t) of a camera from world points and their normalised image, robustly (OpenCV's PnP)."""
    try:
        ok, vector, translation, _ = cv2.solvePnPRansac(
            points, image, np.eye(3), None, iterationsCount=100, reprojectionError=6 * sigma, flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:  # SQPNP asserts that a sample is not degenerate, by a threshold in the points' own unit
        return None
    return (cv2.Rodrigues(vector)[0], translation[:, 0]) if ok else None


def _build(
    base: tuple[int, int], pose: tuple[Array, Array], observed: Array, weight: Array, focal: Array, sigma: float
) -> Bundle | None:
    """A rig grown from one pair: triangulate, add the camera that sees most of the points, again."""
    views = len(weight)
    rotation, translation = np.tile(np.eye(3), (views, 1, 1)), np.zeros((views, 3))
    rotation[base[1]], translation[base[1]] = pose
    image, placed = normalised(observed, focal), list(base)
    while len(placed) < views:
        partial = Bundle(rotation[placed], translation[placed], focal[placed], np.zeros((1, 3)))
        points = linear_points(partial, observed[placed], weight[placed])
        known = np.isfinite(points).all(1)
        loose = [v for v in range(views) if v not in placed]
        shared = [int((known & (weight[v] > 0)).sum()) for v in loose]
        best = int(np.argmax(shared))
        if shared[best] < MIN_POINTS:
            return None
        use = known & (weight[loose[best]] > 0)
        found = _resect(points[use], np.ascontiguousarray(image[loose[best]][use]), sigma)
        if found is None:
            return None
        rotation[loose[best]], translation[loose[best]] = found
        placed.append(loose[best])
    return in_first_camera(Bundle(rotation, translation, focal, np.zeros((1, 3))))


def in_first_camera(cameras: Bundle) -> Bundle:
    """The same scene in the first camera's frame."""
    r0, t0 = cameras.rotation[0], cameras.translation[0]
    rotation = cameras.rotation @ r0.T
    return replace(
        cameras, rotation=rotation, translation=cameras.translation - rotation @ t0, points=cameras.points @ r0.T + t0
    )


def descend(
    cameras: Bundle, observed: Array, weight: Array, sigma: float, focal: FocalMode = "fixed", iterations: int = 16
) -> Bundle:
    """Adjust a rig from fresh linear points, the loss first as wide as the residuals are, then at the noise."""
    points = linear_points(cameras, observed, weight)
    usable = np.isfinite(points).all(1)
    points = np.where(usable[:, None], points, np.median(points[usable], axis=0) if usable.any() else 0.0)
    weight = weight * usable
    start = replace(cameras, points=points)
    error = np.sqrt(((project_points(start)[0] - np.nan_to_num(observed)) ** 2).sum(1))[weight > 0]
    scale = LOSS_SIGMA * sigma
    wide = float(np.median(error)) if error.size else scale
    if wide > 1.5 * scale:
        start = adjust(start, observed, weight, scale=wide, focal=focal, iterations=8, tolerance=1e-2)
    return adjust(start, observed, weight, scale=scale, focal=focal, iterations=iterations, tolerance=1e-3)


def _starts(
    pairs: dict[tuple[int, int], PairPose], observed: Array, weight: Array, focal: Array, seed: int
) -> Iterator[Bundle]:
    """Rigs to descend from, most promising first: every pair as base, then the second decompositions, then other seeds."""
    order = sorted(pairs, key=lambda k: -_pair_quality(pairs[k]))
    points = np.where((weight > 0)[..., None], normalised(observed, focal), np.nan)
    for level in (0, 1):
        for key in order:
            rotation, translation, front = pairs[key].candidates[level]
            if front > 0.3:
                start = _build(key, (rotation, translation), observed, weight, focal, pairs[key].sigma)
                if start is not None:
                    yield start
    for extra in range(1, 3):
        for key in order[:4]:
            again = pair_pose(points[key[0]], points[key[1]], sigma=pairs[key].sigma, seed=seed + extra)
            start = _build(key, (again.rotation, again.translation), observed, weight, focal, again.sigma)
            if start is not None:
                yield start


def spread_points(weight: Float[Array, "V N"], frame: Array, count: int) -> Array:
    """Indices of about `count` points, whole frames evenly spread in time, of points that two views see."""
    seen = np.flatnonzero((weight > 0).sum(0) >= 2)
    frames = np.unique(frame[seen])
    keep = max(int(np.ceil(len(frames) * count / max(len(seen), 1))), 2)
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, min(keep, len(frames))).round().astype(int))]
    return seen[np.isin(frame[seen], chosen)]


def same_basin(a: Bundle, b: Bundle) -> bool:
    """Whether two descents on the same joints ended in the same minimum (or would have, with more steps)."""
    return rotation_gap(a, b) < SAME_BASIN or max(a.cost, b.cost) < SAME_COST * min(a.cost, b.cost)


def _search(
    starts: Iterator[Bundle], some: Array, weight: Array, sigma: float, focal_mode: FocalMode, agreeing: int
) -> list[Bundle]:
    """Descend from start after start until the lowest basin has been reached often enough."""
    ends: list[Bundle] = []
    for start in starts:
        ends.append(descend(start, some, weight, sigma, focal_mode))
        best = min(ends, key=lambda e: e.cost)
        if sum(same_basin(best, e) for e in ends) >= agreeing or len(ends) >= MAX_STARTS:
            break
    return sorted(ends, key=lambda e: e.cost)


def estimate_rig(
    observed: Float[Array, "V 2 N"],
    weight: Float[Array, "V N"],
    focal: Float[Array, "V 2"],
    frame: Float[Array, " N"],
    *,
    focal_mode: FocalMode = "fixed",
    agreeing: int = 3,
    seed: int = 0,
    names: Sequence[str] = (),
) -> Rig:
    """Rotations and translations of fixed cameras from their joints.

    Args:
        observed: joints in px from the principal point, lens undone; the points of all frames, flat.
        weight: confidences, 0 where missing.
        focal: px; starts where `focal_mode` lets them move.
        frame: frame of each point, so that starts are adjusted on whole frames.
        focal_mode: whether focal lengths are known, or one or each to be found.
        agreeing: so many starts that end in the same lowest basin end the search.
        seed: of the subsets and starts.
        names: of the cameras, for sentences.

    Raises:
        VergenceError: cameras without joints in common, cameras in one place, no start at all.
    """
    pairs = all_pairs(observed, weight, focal, seed)
    check_connected(pairs, camera_names(len(weight), names))
    check_baseline(pairs)
    sigma = float(np.median([p.sigma * focal[list(k)].mean() for k, p in pairs.items()]))
    some = spread_points(weight, frame, START_POINTS)
    part, part_weight = np.ascontiguousarray(observed[:, :, some]), np.ascontiguousarray(weight[:, some])
    ends = _search(_starts(pairs, part, part_weight, focal, seed), part, part_weight, sigma, focal_mode, agreeing)
    if not ends:
        raise VergenceError("no pair of cameras gives a rig to start from", "Give more frames with the person in view.")
    best = ends[0]
    flipped = descend(mirrored(best), part, part_weight, sigma, focal_mode)
    # by rotation alone: through a long lens the costs of the two agree to within a percent
    mirror_gap = np.inf if rotation_gap(best, flipped) < SAME_BASIN else flipped.cost / max(best.cost, 1e-12)
    other = [e.cost / max(best.cost, 1e-12) for e in ends if not same_basin(best, e)]
    if mirror_gap < 1:
        best, flipped, mirror_gap = flipped, best, 1 / mirror_gap
    return Rig(
        bundle=best,
        sigma=sigma,
        pairs=pairs,
        gap=float(min([mirror_gap, *other])),
        mirror_gap=float(mirror_gap),
        mirror=in_first_camera(flipped) if np.isfinite(mirror_gap) else None,
        starts=len(ends),
        agreeing=int(sum(same_basin(best, e) for e in ends)),
    )


def refine_rig(
    cameras: Bundle,
    observed: Float[Array, "V 2 N"],
    weight: Float[Array, "V N"],
    sigma: float,
    *,
    focal_mode: FocalMode = "fixed",
    iterations: int = 20,
) -> tuple[Bundle, float]:
    """The last adjustment, on all points, and the noise (px) that it leaves.

    Runs at the given noise, measures what is left, and runs on at that scale.
    """
    scale = sigma
    result = descend(cameras, observed, weight, scale, focal_mode, iterations)
    measured = residual_sigma(result, observed, weight)
    if not 0.8 < measured / scale < 1.25:
        scale = measured
        result = adjust(result, observed, weight, scale=LOSS_SIGMA * scale, focal=focal_mode, iterations=iterations)
    return result, measured


def residual_sigma(cameras: Bundle, observed: Array, weight: Array) -> float:
    """Noise in px of one coordinate, from the residuals of points without outliers.

    A point of m views leaves 2 m - 3 degrees of freedom. The first value comes from the median distance, two rounds of
    leaving out points with a residual beyond `INLIER_SIGMA` then give the variance.
    """
    seen = weight > 0
    freedom = 2 * seen.sum(0) - 3
    squared = ((project_points(cameras)[0] - np.nan_to_num(observed)) ** 2).sum(1) * seen
    use = freedom > 0
    if not use.any():
        return MIN_NOISE_PX
    share = np.sqrt(freedom[use] / (freedom[use] + 3))
    # the median length of a normal 2-vector is 1.177 sigma
    sigma = float(np.median((np.sqrt(squared[:, use]) / share)[seen[:, use]])) / 1.177
    for _ in range(2):
        clean = use & (squared < (INLIER_SIGMA * sigma) ** 2).all(0)
        if clean.any():
            sigma = float(np.sqrt(squared[:, clean].sum() / freedom[clean].sum()))
    return max(sigma, MIN_NOISE_PX)


def repetition(scene: Bundle, observed: Array, agree: Array, index: Array, joints: int) -> float:
    """By how much errors that do not average out widen the uncertainty: a factor on the noise, 1 and more.

    Independent errors of variance s^2 leave s^2 / L in a mean over L frames. A detector errs alike in neighbouring frames,
    is biased by where it sees a joint from, and a repeated film brings nothing new; then more is left. The factor is the
    root of the largest `L var(mean over L) / s^2` over window lengths L up to all frames, over joints and views (the batch
    means estimate of the integrated autocorrelation time). On mocap with view-dependent biases of 0 to 30 mm it makes
    predicted and true rotation errors agree.
    """
    frame, joint = np.divmod(index, joints)
    step = np.unique(frame, return_inverse=True)[1]
    frames = int(step.max()) + 1
    residual = np.full((len(agree), 2, frames, joints), np.nan)
    residual[:, :, step, joint] = np.where(agree[:, None], residuals(scene, observed), np.nan)
    known = np.isfinite(residual)
    power = float(np.square(residual[known]).mean()) if known.any() else 0.0
    if not power > 0:
        return 1.0
    widest = 1.0
    for length in sorted({frames, *(2**k for k in range(1, frames.bit_length()))} - {1}):
        shape = (len(agree), 2, frames // length, length, joints)
        some = np.where(known, residual, 0.0)[:, :, : shape[2] * length].reshape(shape).sum(3)
        count = known[:, :, : shape[2] * length].reshape(shape).sum(3)
        full = count >= 0.5 * length
        if full.any():
            widest = max(widest, float((some[full] ** 2 / count[full]).mean()) / power)
    return float(np.sqrt(widest))
