"""All cameras together: their offsets and drifts in time as unknowns of the bundle adjustment.

Two views see of an offset only what moves across their epipolar lines, and with cameras of one height that is little; a
third view fixes the point, and then all of its motion tells. So cameras, points and times are adjusted together: each
camera's smoothed keypoints are asked at its own moments, their motion is the slope of the residual, and each point is
eliminated by projecting its 3 directions out. What is left of the normal equations is the offsets' uncertainty, as far as
errors of joints and moments are their own. A detector's are not: it errs by the pose, alike for all of a limb and for many
frames, in one camera otherwise than in another, and more joints of a limb make nothing surer. So the uncertainty is
widened by how much offsets change when a part of the body, or of the time, is left out (a jackknife by groups).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from vergence.errors import VergenceError
from vergence.reconstruction.bundle import Bundle, project_points, stepped
from vergence.reconstruction.points import linear_points
from vergence.reconstruction.rig import estimate_rig
from vergence.reconstruction.sync.motion import between, near

Array = np.ndarray

POINTS = 4000
SCALE = 1000.0  # px in a radian, in which rigs are estimated
ROUNDS = 14
SETTLED = 2e-3  # steps
FURTHEST = 1.0  # steps that one round may move an offset
FOCAL_SPREAD = 0.2  # of the logarithm of a focal length that nobody gave
SLOPE_TAUS = 1.0  # on either side, between which the motion is measured
LEAST_SIGNAL = 0.02
TRUNCATED = 4.0  # squared residuals over the noise's, by dimension
LEAST_FREEDOM, LEAST_NOISE = 0.02, 1e-5  # dimensions, radians
PARTS, PERIODS = 6, 8  # of the body and of the time, whose errors are taken to be their own
UNLIKE = 1.25  # noise of a camera over the usual one's, at most: else a camera that does not fit is merely noisy


@dataclass(frozen=True)
class Timing:
    """Camera v shows at `t + offset[v] + drift[v] (t - middle)` what the first one shows at t.

    Attributes:
        offset: time steps, at the middle of the footage; 0 for the first camera.
        drift: steps per step.
        spread: of the offsets and then the drifts (0 where these were not asked), their covariance; widened by what parts
            of the body, or of the time, say against each other.
        square: squared residuals of each joint in each camera, radians^2, NaN where it is not seen or by no other.
        freedom: what of its two dimensions the point, made of all cameras', left of each.
        frame, joint: which they are, in the first camera's time.
        noise: of each camera, radians.
        cameras: the rig that goes with it.
    """

    offset: Float[Array, " V"]
    drift: Float[Array, " V"]
    spread: Float[Array, "2V 2V"]
    square: Float[Array, "V N"]
    freedom: Float[Array, "V N"]
    frame: Float[Array, " N"]
    joint: Float[Array, " N"]
    noise: Float[Array, " V"]
    cameras: Bundle


def moments(frame: Array, offset: Array, drift: Array, steps: int) -> Float[Array, "V N"]:
    """The cameras' own time steps at the first camera's."""
    return frame[None] + offset[:, None] + drift[:, None] * (frame - 0.5 * (steps - 1))[None]


def asked(course: Float[Array, "T V J 2"], frame: Array, joint: Array, when: Float[Array, "V N"]) -> Array:
    """V N 2: the joints at each camera's own moments."""
    return np.stack([between(course[:, v], when[v], joint) for v in range(course.shape[1])])


def seen_again(cameras: Bundle, seen: Float[Array, "V N 2"]) -> Float[Array, "V N 2"]:
    """The points that the cameras see, triangulated, as each sees them; NaN where fewer than two do."""
    weight = np.isfinite(seen).all(-1).astype(float)
    observed = np.ascontiguousarray(np.nan_to_num(seen).transpose(0, 2, 1))
    points = linear_points(cameras, observed, weight, iterations=3)
    flat = project_points(replace(cameras, points=np.nan_to_num(points)))[0].transpose(0, 2, 1)
    return np.where(np.isfinite(points).all(1)[:, None], flat, np.nan)


def start_rig(
    course: Float[Array, "T V J 2"], offset: Array, drift: Array, focal_known: bool, seed: int
) -> tuple[Bundle, Array, Array]:
    """The rig at these offsets, and the frames and joints that it is adjusted on."""
    steps, _, joints = course.shape[:3]
    frame, joint = (x.ravel() for x in np.meshgrid(np.arange(steps), np.arange(joints), indexing="ij"))
    points = asked(course, frame, joint, moments(frame, offset, drift, steps))
    weight = np.isfinite(points).all(-1).astype(float)
    observed = np.ascontiguousarray(np.nan_to_num(points).transpose(0, 2, 1)) * SCALE
    focal = np.full((course.shape[1], 2), SCALE)
    rig = estimate_rig(
        observed, weight, focal, frame, focal_mode="fixed" if focal_known else "shared", agreeing=2, seed=seed
    )
    seen = np.flatnonzero(weight.sum(0) >= 2)
    some = np.sort(np.random.default_rng(seed).permutation(seen)[:POINTS])
    return replace(rig.bundle, focal=rig.bundle.focal / SCALE), frame[some], joint[some]


def adjust_time(
    course: Float[Array, "T V J 2"],
    offset: Float[Array, " V"],
    drift: Float[Array, " V"],
    *,
    tau: float,
    focal_known: bool,
    drifts: bool,
    seed: int = 0,
) -> Timing:
    """Cameras, points and times that agree best, from offsets that are right to a step or two.

    Raises:
        VergenceError: no rig at these offsets.
    """
    steps, views = course.shape[:2]
    cameras, frame, joint = start_rig(course, offset, drift, focal_known, seed)
    offset, drift = offset.astype(float), drift.astype(float)
    span, free = 0.5 * (steps - 1), _free(views, focal_known, drifts)
    reach = SLOPE_TAUS * tau
    noise = np.ones(views)
    for turn in range(ROUNDS):
        when = moments(frame, offset, drift, steps)
        seen = asked(course, frame, joint, when)
        motion = (asked(course, frame, joint, when + reach) - asked(course, frame, joint, when - reach)) / (2 * reach)
        weight = (np.isfinite(seen) & np.isfinite(motion)).all(-1).astype(float)
        weight *= weight.sum(0) >= 2
        if not weight.any():
            raise VergenceError("no joint is seen by two cameras at these offsets", "Give the cameras' offsets.")
        trust = weight * (noise.min() / noise[:, None]) ** 2
        error, at_points, at_cameras = _slopes(cameras, seen, motion, trust, (frame - span) / span, tau)
        square, freedom = (error**2).sum(-1), _left(at_points, trust)
        noise = _noise(square, freedom, weight > 0, noise if turn else None)
        sigma = float(noise.min())
        base, ease = weight * (sigma / noise[:, None]) ** 2, 1 / (1 + square / (2.5 * noise[:, None]) ** 2)
        robust = base * ease
        system, gradient = _reduced(error, at_points, at_cameras, robust)
        prior = np.diag(_prior(views, focal_known)) * sigma**2
        system = system + prior
        step = np.zeros(len(system))
        step[free] = -np.linalg.lstsq(system[np.ix_(free, free)], gradient[free], rcond=1e-9)[0]
        step = step * min(1.0, FURTHEST / max(float(np.abs(step.reshape(views, -1)[:, 7]).max()), 1e-9))
        cameras, offset, drift = _moved(cameras, offset, drift, step.reshape(views, -1), span)
        if np.abs(step.reshape(views, -1)[:, 7:]).max() < SETTLED:
            break
    share = len(frame) / max(int((np.isfinite(course).all(-1).sum(1) >= 2).sum()), 1)
    alike = max(1.0, 2 * np.sqrt(np.pi) * tau * min(share, 1.0))  # neighbours in time share their noise
    known = weight > 0
    taken = 1 - 0.5 * float(freedom[known].mean())
    spread = _spread(system, free, robust, sigma, tau, alike, span, taken)
    scene, parts = (error, at_points, at_cameras), near(course, PARTS)[joint]
    periods = (frame - frame.min()) * PERIODS // (int(np.ptp(frame)) + 1)
    moved = [_left_out(scene, base, ease, prior, free, groups) for groups in (parts, periods)]
    spread = spread * max(1.0, *(_wider(spread[:views, :views], steps) for steps in moved))
    square, freedom = np.where(known, square, np.nan), np.where(known, freedom, np.nan)
    return Timing(offset, drift, spread, square, freedom, frame, joint, noise, cameras)


def _left(at_points: Array, weight: Array) -> Float[Array, "V N"]:
    """The dimensions of each residual that the point, which goes where all residuals are least, does not take."""
    weighted = at_points * weight[..., None, None]
    taken = np.einsum("vnki,nij,vnkj->vn", weighted, np.linalg.inv(_blocks(at_points, weighted)), at_points)
    return np.clip(2 - taken, LEAST_FREEDOM, 2)


def _noise(square: Array, freedom: Array, known: Bool[Array, "V N"], before: Array | None) -> Float[Array, " V"]:
    """Noise of each camera: slower ones, and those further away, have another."""
    if before is None:
        ratio = square[known] / freedom[known]
        before = np.full(len(known), max(float(np.median(ratio)), LEAST_NOISE**2) ** 0.5)
    most = np.minimum(square / before[:, None] ** 2, TRUNCATED * freedom) * known
    found = before * np.sqrt(most.sum(1) / np.maximum((freedom * known).sum(1), 1e-12))
    middle = max(float(np.median(found)), LEAST_NOISE)
    return np.clip(found, middle / UNLIKE, middle * UNLIKE)


def _spread(
    system: Array, free: Array, weight: Array, sigma: float, tau: float, alike: float, span: float, taken: float
) -> Float[Array, "2V 2V"]:
    """Covariance of the offsets, then of the drifts."""
    views = len(weight)
    full = np.zeros_like(system)
    full[np.ix_(free, free)] = _inverse(system, free) * sigma**2 * alike
    times = full.reshape(views, 9, views, 9)[:, 7:, :, 7:] / _signal(full, weight, tau, alike, taken)
    times = times * np.array([1, 1 / span])[:, None, None] * np.array([1, 1 / span])
    return times.transpose(1, 0, 3, 2).reshape(2 * views, 2 * views)


def _inverse(system: Array, free: Array) -> Float[Array, "F F"]:
    """Of the free unknowns' part; the rig's scale, which nothing holds, left out."""
    size = np.sqrt(np.maximum(np.diag(system)[free], 1e-300))  # a camera beside a point must not make times seem known
    scaled = system[np.ix_(free, free)] / size / size[:, None]
    return np.asarray(np.linalg.pinv(scaled, rcond=1e-10) / size / size[:, None])


def _left_out(
    scene: tuple[Array, Array, Array], base: Array, ease: Array, prior: Array, free: Array, groups: Int[Array, " N"]
) -> Float[Array, "G V"]:
    """How far all cameras' offsets move without one group of points, by one step of Newton's method.

    Under the Cauchy loss of weight `ease` the cost bends by its square, on the mean of a residual's directions.
    """

    def system(rows: Array) -> tuple[Array, Array]:
        error, at_points, at_cameras = (x[:, rows] for x in scene)
        own = base[:, rows] * ease[:, rows]
        bent = _reduced(error, at_points, at_cameras, own * ease[:, rows])[0]
        return bent, _reduced(error, at_points, at_cameras, own)[1]

    bend, pull = system(np.ones(len(groups), dtype=bool))
    rest = _inverse(bend + prior, free) @ pull[free]
    moved = []
    for group in np.unique(groups):
        one = system(groups == group)
        step = np.zeros(len(bend))
        step[free] = _inverse(bend + prior - one[0], free) @ (one[1] - pull)[free] + rest
        moved.append(step.reshape(len(base), -1)[:, 7])
    return np.array(moved)


def _wider(spread: Float[Array, "V V"], moved: Float[Array, "G V"]) -> float:
    """The jackknife's variance of the difference of two cameras' offsets over `spread`'s, mean over pairs; 0 of one group."""
    a, b = np.triu_indices(len(spread), 1)
    own = spread[a, a] + spread[b, b] - 2 * spread[a, b]
    apart = ((moved[:, a] - moved[:, b]) ** 2).sum(0) * (1 - 1 / len(moved))
    return float(np.mean(apart / np.maximum(own, 1e-12)))


def _signal(spread: Array, weight: Array, tau: float, alike: float, taken: float) -> float:
    """The share of the offsets' information that is motion and not noise taken for motion, of the camera that has least."""
    noise = (
        2 * (1 - np.exp(-(SLOPE_TAUS**2))) / (2 * SLOPE_TAUS * tau) ** 2 * taken
    )  # of a slope's square, over sigma^2
    own = np.diag(spread).reshape(len(weight), 9)[1:, 7]
    known = alike / np.maximum(own, 1e-12)
    # of two dimensions of noise two cameras' points leave a half, more cameras' more; errors over 2 to 4 bear it out
    return float(max(np.min(1 - 0.5 * noise * weight[1:].sum(1) / known), LEAST_SIGNAL))


def _free(views: int, focal_known: bool, drifts: bool) -> Array:
    """Turn 3, shift 3, focal 1, offset 1, drift 1 of each camera; the first stays."""
    own = np.array([True] * 6 + [not focal_known, True, drifts])
    first = np.array([False] * 6 + [not focal_known, False, False])
    return np.flatnonzero(np.concatenate([first, *[own] * (views - 1)]))


def _prior(views: int, focal_known: bool) -> Array:
    one = np.zeros(9)
    one[6] = 0.0 if focal_known else 1 / FOCAL_SPREAD**2
    return np.tile(one, views)


def _slopes(
    cameras: Bundle, seen: Array, motion: Array, weight: Array, late: Array, tau: float
) -> tuple[Array, Array, Array]:
    """Residuals V N 2 and their slopes: by the points V N 2 3, by each camera's nine unknowns V N 2 9.

    The motion is the points', of all cameras together. Smoothing shows a joint that nears a camera as it is a moment
    later, by `tau^2` times its speed over its distance: made good, or cameras that face each other are set apart in time.
    """
    observed = np.ascontiguousarray(np.nan_to_num(seen).transpose(0, 2, 1))
    points = np.nan_to_num(linear_points(cameras, observed, weight, iterations=3))
    turned = np.einsum("vij,nj->vni", cameras.rotation, points)
    x, y, z = np.moveaxis(turned + cameras.translation[:, None], -1, 0)
    z = np.where(np.abs(z) < 1e-6, 1e-6, z)
    focal = cameras.focal[:, 0, None]
    flat = np.stack([focal * x / z, focal * y / z], -1)
    known = (weight > 0)[..., None]
    zero = np.zeros_like(x)
    by_place = np.stack([
        np.stack([focal / z, zero, -focal * x / z**2], -1), np.stack([zero, focal / z, -focal * y / z**2], -1)
    ], -2)  # fmt: skip
    at_points = np.einsum("vnij,vjk->vnik", by_place, cameras.rotation)
    qx, qy, qz = np.moveaxis(turned, -1, 0)
    cross = np.stack([
        np.stack([zero, qz, -qy], -1), np.stack([-qz, zero, qx], -1), np.stack([qy, -qx, zero], -1)
    ], -2)  # d(w x q)/dw  # fmt: skip
    weighted = at_points * weight[..., None, None]
    side = np.einsum("vnki,vnk->ni", weighted, np.nan_to_num(motion))
    speed = np.linalg.solve(_blocks(at_points, weighted), side[..., None])[..., 0]
    move = -np.einsum("vnki,ni->vnk", at_points, speed)
    nearing = np.clip(np.einsum("vi,ni->vn", cameras.rotation[:, 2], speed) / z * tau**2, -1, 1)[..., None]
    error = np.where(known, flat - np.nan_to_num(seen) + nearing * move, 0.0)
    columns = [by_place @ cross, by_place, flat[..., None], move[..., None], (move * late[None, :, None])[..., None]]
    at_cameras = np.concatenate(columns, -1)
    return error, at_points, np.where(known[..., None], at_cameras, 0.0)


def _blocks(at_points: Array, weighted: Array) -> Float[Array, "N 3 3"]:
    """The points' own normal equations."""
    block = np.einsum("vnki,vnkj->nij", weighted, at_points)
    return block + np.eye(3) * (1e-9 * np.trace(block, axis1=1, axis2=2)[:, None, None] + 1e-15)


def _reduced(error: Array, at_points: Array, at_cameras: Array, weight: Array) -> tuple[Array, Array]:
    """Normal equations of the cameras' unknowns with every point eliminated."""
    views, count, _, size = at_cameras.shape
    weighted = at_points * weight[..., None, None]
    inverse = np.linalg.inv(_blocks(at_points, weighted))
    cross = np.einsum("vnkc,vnki->nvci", at_cameras, weighted).reshape(count, views * size, 3)
    side = np.einsum("vnki,vnk->ni", weighted, error)
    system = -np.einsum("nai,nij,nbj->ab", cross, inverse, cross, optimize=True)
    gradient = -np.einsum("nai,nij,nj->a", cross, inverse, side, optimize=True)
    for v in range(views):
        at = slice(v * size, (v + 1) * size)
        own = at_cameras[v] * weight[v][:, None, None]
        system[at, at] += np.einsum("nka,nkb->ab", own, at_cameras[v])
        gradient[at] += np.einsum("nka,nk->a", own, error[v])
    return system, gradient


def _moved(cameras: Bundle, offset: Array, drift: Array, step: Array, span: float) -> tuple[Bundle, Array, Array]:
    moved = stepped(cameras, step[:, :7], np.zeros(3))
    return moved, offset + step[:, 7], drift + step[:, 8] / span
