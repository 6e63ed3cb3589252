"""What footage says of its lenses: one focal length or several, how well known, and whether those that were given fit.

Evidence is weighed in units of what errors really leave. The noise of a detector does not average out over frames, so
every covariance here is widened by `rig.repetition`; with it, estimated focal lengths lie where their deviation says
(on mocap with detector biases of 0 to 30 mm: within one deviation in the median, within three in all but one of a
hundred). Focal lengths then count as different where their differences are improbable, and a biased detector, under
which separate focal lengths make the rig worse, widens the deviations until nothing is claimed.

Lenses that were taken as known, and what nobody asks of (principal points, distortion), are tried by a score test: one
linearisation at the adjusted rig, which would have to be at rest in these unknowns too. It costs one step of the
adjustment, whatever is tried. Times are tried beside lenses, because each takes up what the other leaves.

What breaks it: two cameras. Their essential matrix has five unknowns, and a wrong lens hides in the rotation; nothing is
then claimed here (`checks.limb_lens` asks the limbs), and where it would matter the verdict says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.reconstruction.bundle import (
    CAMERA_SIZE,
    LATE,
    Bundle,
    FocalMode,
    adjust,
    camera_covariance,
    project_points,
    reduced_system,
)
from vergence.reconstruction.inputs import Joints
from vergence.reconstruction.rig import (
    INLIER_SIGMA,
    LOSS_SIGMA,
    START_POINTS,
    descend,
    refine_rig,
    repetition,
    rotation_gap,
    spread_points,
)
from vergence.reconstruction.wish import MOST_FOCAL, Wish, sentence

Array = np.ndarray

CLEARLY = np.log(100)  # by how much less a cause is found by chance than the others, before it is the one that is named
MOST_LATE = 0.25  # frames; of a whole one, which makes strays of the fastest joints, this first step shows a third
MOTION_REACH = 2  # frames to either side
# Squared differences of focal logarithms over their covariance, per degree of freedom; equal ones leave 2.2.
DIFFERENT = 4.0
IMPROBABLE = np.log(1e-2)  # of a lens that would be right, before another is named; right ones leave 0.1 and more
SUSPICIOUS = np.log(0.1)
MOST_CENTRE = np.radians(1.0)  # of the principal point, seen from the camera
# Of the longer side: deviation from the middle, along a side, of twelve calibrated cameras' principal points.
CENTRE_SPREAD = 0.01
MOST_USUAL_CENTRE = np.radians(30.0)  # and beyond this no principal point is
MOST_USUAL_FOCAL = 3.0
MOST_BEND = 3e-3  # radians at the border of what was seen
ZOOM = 1.1  # by how much longer focal lengths are tried, to say what that changes
MOST_TURN_DEG = 1.0  # of a pair, if two lenses differ by `ZOOM`
MAX_FOCAL_DEVIATION = 0.15
FIELDS_OF_VIEW = 10.0, 130.0  # degrees along the longer side that a usual lens has


@dataclass(frozen=True)
class Optics:
    """How focal lengths were found, and how well.

    Attributes:
        mode: `given`, or found as one `shared` by all cameras or `each` for itself.
        why: the evidence in words; empty where they were given.
        deviation: V, standard deviation of each focal length over the length; 0 where given.
        view_deg: V, field of view along the longer side.
        change: what `ZOOM` times the focal lengths do: median displacement of the joints in reference bones, scale and
            place apart, and degrees of the worst pair's rotation; NaN where they were given.
        turned: V V, degrees, by which each pair's rotation is off for principal points that nobody gave; 0 where given.
        reasons: what speaks against them, in sentences.
    """

    mode: str
    why: str
    deviation: tuple[float, ...]
    view_deg: tuple[float, ...]
    change: tuple[float, float]
    turned: Float[Array, "V V"]
    reasons: tuple[str, ...] = ()

    @staticmethod
    def given(focal: Float[Array, "V 2"], intrinsics: Float[Array, "V 3 3"], reasons: tuple[str, ...] = ()) -> Optics:
        """Of lenses that were given."""
        views = len(focal)
        nothing = np.zeros((views, views))
        return Optics("given", "", (0.0,) * views, view_deg(focal, intrinsics), (np.nan, np.nan), nothing, reasons)


@dataclass(frozen=True)
class Evidence:
    """Whether cameras have one focal length.

    Attributes:
        mode: the better one of `shared` and `each`.
        why: in words.
        cameras, sigma: adjusted in that mode.
        against: a sentence against the mode that was asked for; empty where the footage agrees.
    """

    mode: FocalMode
    why: str
    cameras: Bundle
    sigma: float
    against: str = ""


def weigh_focal_lengths(
    shared: Bundle, sigma: float, observed: Array, weight: Array, index: Array, joints: int, asked: str
) -> Evidence:
    """Shared or separate focal lengths, by how improbable the differences between separate ones are.

    Args:
        shared: adjusted with one focal length, leaving `sigma` px.
        observed, weight: what it was adjusted to; `index` of its points in (frame, joint), `joints` of a frame.
        asked: `auto` or `shared`.
    """
    each, noise = refine_rig(shared, observed, weight, sigma, focal_mode="each")
    sound, kept, widened = agreeing(each, observed, weight, noise, index, joints)
    spread = camera_covariance(sound, observed[:, :, kept[0]], kept[1], sigma=widened, focal="each")
    views = len(weight)
    of_focal = spread.reshape(views, CAMERA_SIZE, views, CAMERA_SIZE)[:, 6, :, 6]
    centred = np.eye(views) - 1 / views
    off = centred @ np.log(each.focal.mean(1))
    ratio = float(off @ np.linalg.pinv(centred @ of_focal @ centred, hermitian=True) @ off) / max(views - 1, 1)
    least, most = (float(f(each.focal.mean(1))) for f in (np.min, np.max))
    told = f"separate ones would spread from {least:.0f} to {most:.0f} px, {np.sqrt(ratio):.1f} times their uncertainty"
    if ratio <= DIFFERENT or views < 3:
        return Evidence("shared", f"one focal length for all cameras: {told}", shared, sigma)
    if asked == "auto":
        return Evidence("each", f"a focal length for each camera: {told.replace(' would', '')}", each, noise)
    words = f"The cameras' lenses differ ({told}): ask for a focal length of each."
    return Evidence("shared", "one focal length for all cameras, as asked", shared, sigma, words)


def agreeing(
    scene: Bundle, observed: Array, weight: Array, sigma: float, index: Array, joints: int
) -> tuple[Bundle, tuple[Array, Array], float]:
    """The part of a scene whose observations agree with it.

    Returns:
        The scene with the points that three views (or both) agree on, (which these are, their weights), and `sigma` widened
        by errors that repeat.
    """
    image, depth = project_points(scene)
    agree = (
        (np.linalg.norm(image - np.nan_to_num(observed), axis=1) < INLIER_SIGMA * sigma) & (depth > 0) & (weight > 0)
    )
    kept = agree.sum(0) >= min(3, len(agree))
    widened = sigma * repetition(scene, observed, agree, index, joints)
    return replace(scene, points=scene.points[kept]), (kept, (weight * agree)[:, kept]), widened


def preferred_lens(
    scene: Bundle,
    observed: Array,
    weight: Array,
    *,
    sigma: float,
    widened: float,
    mode: FocalMode,
    index: Array,
    joints: int,
    room: Float[Array, "V 2 2"],
) -> Wish | None:
    """The change of the lenses, or of a camera's time, that would improve an adjusted rig least by chance, with those that do
    it nearly as well; None where none is improbable enough.

    Args:
        scene: cameras and points at rest under the Cauchy loss at `LOSS_SIGMA` times `sigma`.
        observed, weight: with outliers at weight 0.
        sigma, widened: noise, px, and the same widened by what repeats (`agreeing`).
        mode: which focal lengths were free.
        index, joints: of the points in (frame, joint), and of a frame.
        room: the images' first and last px, from the principal points.
    """
    views = len(weight)
    motion = motion_in_images(scene, index, joints)
    matrix, gradient = reduced_system(scene, observed, weight, LOSS_SIGMA * sigma, motion)
    size = matrix.shape[1]
    unit = np.eye(views * size).reshape(views, size, -1)
    loose = [unit[1:, :6].reshape(-1, views * size)]
    if mode != "fixed":
        loose.append(unit[:, 6] if mode == "each" else unit[:, 6].sum(0)[None])
    border = float(np.percentile(np.linalg.norm(observed / scene.focal[:, :, None], axis=1)[weight > 0], 99))
    found: list[tuple[float, Wish]] = []

    def tried(kind: str, free: Array, value: Any, matters: Any, usual: Any = lambda step: True) -> None:
        step, gain = _score(matrix, gradient, np.concatenate(loose), free)
        rank = chance = _log_chance(gain / widened**2, len(free))
        if kind in ("centre", "late") and chance < SUSPICIOUS:
            # one camera's fault is itself an error that repeats: judged by what repeats without it
            own = int(value(step)[0])
            off = step[:, None] if kind == "centre" else step * motion[own]
            still = observed - np.eye(views)[own][:, None, None] * off
            moved = adjust(scene, still, weight, scale=LOSS_SIGMA * sigma, focal=mode, iterations=12, tolerance=1e-4)
            noise = min(agreeing(moved, still, weight, sigma, index, joints)[2], widened)
            chance = _log_chance(gain / noise**2, len(free))
        if chance < SUSPICIOUS and matters(step):
            found.append((rank, Wish(kind, value(step), chance, usual(step))))

    if mode == "fixed":
        for free in (unit[:, 6].sum(0)[None], unit[:, 6]):
            tried("focal", free, lambda s: np.exp(np.resize(s, views)), lambda s: np.abs(s).max() > np.log(MOST_FOCAL))
    for v in range(views):
        far = MOST_CENTRE * scene.focal[v].mean()
        tried(
            "centre",
            unit[v, 7:9],
            lambda s, v=v: np.array([v, *s]),
            lambda s, far=far: np.linalg.norm(s) > far,
            lambda s, v=v, far=far: (
                np.linalg.norm(s) < far * MOST_USUAL_CENTRE / MOST_CENTRE
                and bool((s >= room[v, 0]).all() and (s <= room[v, 1]).all())
            ),
        )
        tried("late", unit[v, LATE][None], lambda s, v=v: np.array([v, *s]), lambda s: np.abs(s).max() > MOST_LATE)
    for free in (unit[:, 9].sum(0)[None], unit[:, 9]):
        tried(
            "radial",
            free,
            lambda s: np.resize(s, views),
            lambda s: np.abs(s).max() * border**3 > MOST_BEND,
            lambda s: np.abs(s).max() * border**2 < 1,
        )
    found.sort(key=lambda pair: pair[0])
    least = next((rank for rank, wish in found if wish.chance < IMPROBABLE), None)
    if least is None:
        return None
    causes: dict[tuple[str, int], Wish] = {}
    for rank, wish in found:
        if 0 <= rank - least < CLEARLY and wish.cause not in causes:
            causes[wish.cause] = _whole(wish, scene, observed, weight, sigma)
    leading = list(causes.values())
    usual = [wish for wish in leading if wish.usual] or leading[:1]  # a lens that there is not explains nothing
    return replace(usual[0], others=tuple(usual[1:]))


def _whole(wish: Wish, scene: Bundle, observed: Array, weight: Array, sigma: float) -> Wish:
    """With focal lengths as the adjusted rig has them: far off, one step is not enough."""
    if wish.kind != "focal":
        return wish
    how: FocalMode = "shared" if np.ptp(wish.value) == 0 else "each"
    moved = adjust(scene, observed, weight, scale=LOSS_SIGMA * sigma, focal=how)
    factor = moved.focal.mean(1) / scene.focal.mean(1)
    return replace(wish, value=factor, usual=bool(np.abs(np.log(factor)).max() < np.log(MOST_USUAL_FOCAL)))


def motion_in_images(scene: Bundle, index: Array, joints: int, reach: int = MOTION_REACH) -> Float[Array, "V 2 N"]:
    """The points' motion in the images, px a frame, between `reach` frames before and after; 0 where one of these is missing.

    Args:
        scene: cameras and points.
        index, joints: of the points in (frame, joint), and of a frame.
        reach: frames.
    """
    frame, joint = np.divmod(index, joints)
    row = np.full((int(frame.max()) + 1 + 2 * reach, joints), -1)
    row[frame + reach, joint] = np.arange(len(index))
    before, after = row[frame, joint], row[frame + 2 * reach, joint]
    image = project_points(scene)[0]
    return np.where((before >= 0) & (after >= 0), (image[..., after] - image[..., before]) / (2 * reach), 0.0)


def reduced_to(matrix: Array, gradient: Array, loose: Array, free: Array) -> tuple[Array, Array]:
    """Matrix and slope of the cost in the free unknowns (rows), the loose ones following."""
    size = loose.shape[1]
    matrix, gradient = matrix.reshape(size, size), gradient.reshape(size)
    both = loose @ matrix @ free.T
    follow = np.linalg.lstsq(loose @ matrix @ loose.T, both, rcond=None)[0]
    return free @ matrix @ free.T - both.T @ follow, free @ gradient - follow.T @ (loose @ gradient)


def _score(matrix: Array, gradient: Array, loose: Array, free: Array) -> tuple[Array, float]:
    """Step of the free unknowns from rest, the loose ones following, and by how much it lowers twice the cost."""
    left, slope = reduced_to(matrix, gradient, loose, free)
    step = -np.linalg.pinv(left, hermitian=True) @ slope
    return step, float(step @ left @ step)


def describe(
    given: Joints,
    cameras: Bundle,
    sigma: float,
    bone: float,
    evidence: Evidence | None,
    spread: Array,
    wish: Wish | None,
) -> Optics:
    """A finished rig's lenses, in figures and in sentences.

    Args:
        given: the joints, `given.auto` where nobody said whether lenses are alike.
        cameras, sigma: adjusted, and the noise (px) left.
        bone: length of the reference bone in the cameras' unit.
        evidence: for one focal length or several; None where they were given.
        spread: covariance of the cameras' unknowns.
        wish: the footage's own.
    """
    views = len(cameras.focal)
    names = given.names
    angle = view_deg(cameras.focal, given.intrinsics)
    reasons = [] if wish is None else [sentence(wish.words(names, evidence is None))]
    if evidence is None:
        return Optics.given(cameras.focal, given.intrinsics, tuple(reasons))
    deviation = np.sqrt(np.maximum(np.diag(spread)[6::CAMERA_SIZE], 0))
    moved, turned = zoomed(cameras, given, sigma, np.full(views, ZOOM))
    if views == 2 and given.auto:
        apart = zoomed(cameras, given, sigma, np.array([ZOOM**0.5, ZOOM**-0.5]))[1]
        if apart > MOST_TURN_DEG:
            reasons.append(
                "Two cameras cannot tell whether their lenses differ, and if one were 10 % longer, the cameras' rotation "
                f"would be {apart:.1f} degrees off: say `shared` if both are of one model at one zoom."
            )
    reasons += [evidence.against] if evidence.against else []
    least, most = FIELDS_OF_VIEW
    if evidence.mode == "shared":
        names = ("all cameras",)
    for name, wide, loose, focal in zip(names, angle, deviation, cameras.focal.mean(1), strict=False):
        if not least <= wide <= most:
            reasons.append(
                f"The focal length found for {name}, {focal:.0f} px, is a field of view of {wide:.0f} degrees, which no usual "
                f"lens has ({least:.0f} to {most:.0f}). Give intrinsics."
            )
        elif not loose <= MAX_FOCAL_DEVIATION:
            reasons.append(
                f"The focal length of {name} is known to {loose:.0%} only (limit {MAX_FOCAL_DEVIATION:.0%}). Give intrinsics, "
                "or let the person walk towards the cameras."
            )
    loose = tuple(float(d) for d in deviation)
    change = moved / bone, turned
    centres = np.degrees(turned_by_centres(cameras.focal, given.image_size))
    return Optics(evidence.mode, evidence.why, loose, angle, change, centres * given.centred, tuple(reasons))


def turned_by_centres(focal: Float[Array, "V 2"], image_size: Float[Array, "V 2"]) -> Float[Array, "V V"]:
    """Root mean square angle, radians, by which each pair's rotation is off for principal points that are taken to be in the
    middle: a camera turns by what its point is off, and no residual shows it."""
    own = 2 * (CENTRE_SPREAD * image_size.max(1) / focal.mean(1)) ** 2  # along two sides
    return np.asarray(np.sqrt((own[:, None] + own) * (1 - np.eye(len(own)))))


def view_deg(focal: Float[Array, "V 2"], intrinsics: Float[Array, "V 3 3"]) -> tuple[float, ...]:
    """Fields of view along the longer side, of pictures whose principal point is their centre."""
    side = 2 * intrinsics[:, :2, 2] + 1
    wide = np.degrees(2 * np.arctan(0.5 * side / focal))
    return tuple(float(a) for a in np.where(side[:, 0] >= side[:, 1], wide[:, 0], wide[:, 1]))


def zoomed(cameras: Bundle, given: Joints, sigma: float, factor: Float[Array, " V"]) -> tuple[float, float]:
    """What other focal lengths change: the joints' median displacement but for scale and place, and the worst pair's turn.

    Returns:
        In the cameras' unit, and degrees.
    """
    from scipy.spatial.transform import Rotation

    some = spread_points(given.flat_weight, given.frame, START_POINTS)
    part = given.observed[:, :, some], given.flat_weight[:, some]
    before = descend(cameras, *part, sigma, "fixed")
    after = descend(replace(before, focal=before.focal * factor[:, None]), *part, sigma, "fixed")
    a, b = (s.points - s.points.mean(0) for s in (after, before))
    a = Rotation.align_vectors(b, a)[0].apply(a)
    off = np.linalg.norm(a * ((a * b).sum() / (a * a).sum()) - b, axis=1)
    return float(np.median(off)), float(np.degrees(rotation_gap(before, after)))


def _log_chance(gain: float, free: int) -> float:
    """Logarithm of the chance that as many free parameters improve a right model so much.

    The tail of the chi-square distribution, by its recurrence over degrees of freedom (Abramowitz & Stegun 26.4.8): SciPy
    loads longer than all lenses are weighed.
    """
    half, order = max(gain, 0.0) / 2, 0.5 if free % 2 else 1.0
    tail = math.erfc(math.sqrt(half)) if free % 2 else math.exp(-half)
    while order < free / 2 and half > 0:
        tail += math.exp(order * math.log(half) - half - math.lgamma(order + 1))
        order += 1
    return math.log(tail) if tail > 0 else -math.inf
