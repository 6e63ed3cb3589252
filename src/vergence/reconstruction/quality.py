"""How good a reconstruction is, in figures and in one word.

The word is `good` only if nothing speaks against it: the predicted rotation error is small, no second rig explains
the joints nearly as well, the person moved, limbs keep their lengths, most joints were reconstructed, and most
observations agree. Anything else is `doubtful`, with the reasons in sentences. What cannot be reconstructed at all is
refused with a `VergenceError` instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from vergence.geometry.body import joint_mean, limb_lengths, percentile, reference_length
from vergence.geometry.two_view import NO_PARALLAX
from vergence.reconstruction.inputs import Joints
from vergence.reconstruction.lenses import Optics
from vergence.reconstruction.rig import Rig
from vergence.reconstruction.wish import NOT_SYNCHRONOUS
from vergence.skeleton import Skeleton

Array = np.ndarray

# Limits of a `good` verdict.
MAX_UNCERTAINTY_DEG = 0.5  # predicted rms of the worst pair; the largest error of a run stayed below four times that
MAX_UNCERTAINTY_FREE_DEG = 1.0  # the same where nobody gave the lenses
MIN_GAP = 1.15  # cost of the next best rig over the winner's
MIN_COVERAGE = 0.5
MIN_INLIERS = 0.6
MAX_LIMB_CV = 0.12
MAX_CAMERA_RATIO = 2.0  # median error of a camera (as an angle) over the median camera's
MIN_MOTION = 0.1  # rms of joints about their mean over time, in reference bones


@dataclass(frozen=True)
class Report:
    """Figures of a reconstruction. Errors in px of the full image, over all input points with confidence above 0.3.

    Attributes:
        verdict: `good` or `doubtful`; `reasons` says why not good.
        reprojection_median, reprojection_p90: px, all points that project to something (not only inliers).
        reprojection_per_camera, reprojection_per_joint: medians, px, NaN where a camera or joint has none.
        inlier_share: of the observations, those that agree with their joint.
        coverage: share of (frame, joint) reconstructed; `coverage_of_seen` of those that two views or more see.
        noise_px: noise of one coordinate that the adjustment measured.
        predicted_rotation_deg: largest predicted rms error of a pair's relative rotation; 0 for cameras used as given.
        rotation_noise_deg: the largest of the part that noise makes: what the verdict goes by. The rest are principal
            points that nobody gave and that are taken to be in the middle, which hardly move the poses.
        worst_pair: names of the cameras of `rotation_noise_deg`; empty for cameras used as given.
        parallax: smallest over the pairs, see `PairPose.parallax`; NaN for given cameras.
        conditioning: largest over the pairs of `PairPose.conditioning`; NaN for given cameras.
        gap, mirror_gap: cost of the next best rig (of the mirrored rig) over the winner's; infinity where there is
            none.
        handedness: above 0 where knees, elbows and feet bend as a person's do, below where as its mirror image's; NaN
            unknown.
        limb_cv: standard deviation over mean of each limb's length, by `parent-child`.
        thigh_cv: the mean over both thighs.
        limb_cv_free, thigh_cv_free: the same before limbs were held to their lengths: what the views alone say.
        travel: largest distance between two positions of the root along an axis-aligned box's diagonal, in output
            units.
        motion: rms of all joints about their own mean, in reference bones.
        swapped_sides: share of (frame, view) in which some left and right labels were exchanged back.
        starts, agreeing_starts: rigs tried, and how many ended where the winner did.
        frames, cameras: how many.
        focal_mode: `given`, or found as one `shared` by all cameras or `each` for itself; `focal_evidence` says why.
        focal_deviation: per camera, standard deviation of the focal length over the focal length; 0 where given.
        view_deg: per camera, field of view along the longer side.
        zoom_change: what focal lengths longer by a tenth change: the joints' median displacement in reference bones, and
            degrees of the worst pair's rotation; NaN where they were given.
    """

    verdict: Literal["good", "doubtful"]
    reasons: tuple[str, ...]
    reprojection_median: float
    reprojection_p90: float
    reprojection_per_camera: tuple[float, ...]
    reprojection_per_joint: dict[str, float]
    inlier_share: float
    coverage: float
    coverage_of_seen: float
    noise_px: float
    predicted_rotation_deg: float
    parallax: float
    conditioning: float
    gap: float
    mirror_gap: float
    handedness: float
    limb_cv: dict[str, float]
    thigh_cv: float
    limb_cv_free: dict[str, float]
    thigh_cv_free: float
    travel: float
    motion: float
    swapped_sides: float
    starts: int
    agreeing_starts: int
    frames: int
    cameras: int
    focal_mode: str = "given"
    worst_pair: tuple[str, ...] = ()
    rotation_noise_deg: float = float("nan")
    focal_evidence: str = ""
    focal_deviation: tuple[float, ...] = ()
    view_deg: tuple[float, ...] = ()
    zoom_change: tuple[float, ...] = ()

    @property
    def assumes_centres(self) -> bool:
        """Whether rotations are the less certain for principal points that nobody gave."""
        return self.predicted_rotation_deg > self.rotation_noise_deg

    @property
    def rotation_words(self) -> str:
        """How well rotations are known: what noise leaves, by which the verdict goes, and what principal points add."""
        whole, noise = f"{self.predicted_rotation_deg:.2f}", f"{self.rotation_noise_deg:.2f}"
        if not self.assumes_centres:
            return f"{whole} degrees"
        return f"{noise} degrees ({whole} if principal points, taken as the images' middles, are off; that hardly moves poses)"

    def doubted(self, reasons: tuple[str, ...]) -> Report:
        """With these reasons too; `doubtful` where there are any. Who is late is told once, by whoever looked closer."""
        late = any(reason.startswith(NOT_SYNCHRONOUS) for reason in reasons)
        own = self.without(NOT_SYNCHRONOUS).reasons if late else self.reasons
        return replace(self, verdict="doubtful", reasons=(*own, *reasons)) if reasons else self

    def without(self, beginning: str) -> Report:
        """Without the reasons that begin so; `good` where none is left."""
        kept = tuple(reason for reason in self.reasons if not reason.startswith(beginning))
        return replace(self, verdict="doubtful" if kept else "good", reasons=kept)


def thigh_mean(variation: dict[str, float]) -> float:
    """Mean of the two thighs of `limb_variation`; NaN where neither is there."""
    known = [v for k, v in variation.items() if k.endswith("_knee") and np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")


def limb_variation(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> dict[str, float]:
    """Standard deviation over mean of every rigid limb's length; NaN where fewer than three frames show it."""
    found = {}
    for (a, b), length in zip(skeleton.rigid_limbs, limb_lengths(pose, skeleton.rigid_limbs).T):
        length = length[np.isfinite(length)]
        name = f"{skeleton.joint_names[a]}-{skeleton.joint_names[b]}"
        found[name] = float(length.std() / max(length.mean(), 1e-12)) if len(length) >= 3 else float("nan")
    return found


def handedness(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> float:
    """Whether a body bends forwards where a body does: positive for a person, negative for its mirror image.

    Forward is up x right, with up along the trunk and right from the left hip to the right one. Knees and feet point
    forward of
    their leg, elbows point backward, in units of the reference bone, averaged over frames. A mirror turns all of it
    round.
    """
    if not skeleton.has("right_hip", "left_hip"):
        return float("nan")
    low, high = (joint_mean(pose, ends) for ends in skeleton.reference_bone)
    right = pose[:, skeleton.index("right_hip")] - pose[:, skeleton.index("left_hip")]
    forward = np.cross(high - low, right)
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-12)
    size = reference_length(pose, skeleton)
    terms = []
    for side in ("right", "left"):
        for chain, sign in (("hip knee ankle", 1.0), ("shoulder elbow wrist", -0.5)):
            names = [f"{side}_{part}" for part in chain.split()]
            if skeleton.has(*names):
                a, b, c = (pose[:, skeleton.index(n)] for n in names)
                axis = (c - a) / np.maximum(np.linalg.norm(c - a, axis=1, keepdims=True), 1e-12)
                bend = (b - a) - ((b - a) * axis).sum(1, keepdims=True) * axis
                terms.append(sign * (bend * forward).sum(1))
        for tip, base in (("big_toe", "heel"), ("toe", "ankle")):
            if skeleton.has(f"{side}_{tip}", f"{side}_{base}"):
                foot = pose[:, skeleton.index(f"{side}_{tip}")] - pose[:, skeleton.index(f"{side}_{base}")]
                terms.append((foot * forward).sum(1))
    values = np.array(terms) / size
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def motion(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> float:
    """Root mean square distance of the joints from their own mean over time, in reference bones."""
    seen = np.isfinite(pose).all(2)
    count = np.maximum(seen.sum(0), 1)[:, None]
    filled = np.where(seen[..., None], pose, 0.0)
    away = np.where(seen[..., None], filled - filled.sum(0) / count, 0.0)
    return float(np.sqrt((away**2).sum() / max(seen.sum(), 1)) / reference_length(pose, skeleton))


def travel(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> float:
    """Diagonal of the box that holds the root's path; outliers of one frame in twenty on either side left out."""
    root = joint_mean(pose, skeleton.root)
    root = root[np.isfinite(root).all(1)]
    if len(root) < 2:
        return 0.0
    low, high = np.percentile(root, [2.5, 97.5], axis=0)
    return float(np.linalg.norm(high - low))


def doubts(
    *,
    predicted_deg: float,
    worst_pair: tuple[str, ...],
    gap: float,
    mirror_gap: float,
    bend: float,
    parallax: float,
    moved: float,
    coverage: float,
    inlier_share: float,
    thigh_cv_free: float,
    camera_errors: tuple[float, ...],
    estimated: bool,
    centred: bool,
    names: tuple[str, ...],
) -> tuple[str, ...]:
    """Everything that speaks against a `good` verdict, in sentences."""
    found = []
    if estimated and moved < MIN_MOTION:
        found.append(
            f"The person hardly moves ({moved:.2f} of a trunk length): all frames show the same points, "
            "so the cameras depend on a few joints. Film the person walking about."
        )
    most = MAX_UNCERTAINTY_FREE_DEG if centred else MAX_UNCERTAINTY_DEG
    if estimated and not predicted_deg <= most:
        found.append(
            f"The relative rotation of the worst pair of cameras, {' and '.join(worst_pair)}, is known to {predicted_deg:.2f} "
            f"degrees only (limit {most}). {'Intrinsics' if centred else 'More frames'}, more travel or sharper "
            "keypoints would help."
        )
    if estimated and gap < MIN_GAP:
        what = "its mirror image in depth" if mirror_gap <= gap else "another arrangement of the cameras"
        found.append(f"Besides this rig, {what} explains the joints nearly as well (cost ratio {gap:.2f}).")
    if estimated and mirror_gap < 2 * MIN_GAP and bend < 0:
        found.append("Knees and elbows bend the wrong way: this may be the mirror image in depth.")
    if estimated and parallax < NO_PARALLAX:
        found.append(
            f"Two of the cameras stand in one place (parallax {parallax:.1f} times the noise): they count as one."
        )
    usual = float(np.nanmedian(camera_errors)) if np.isfinite(camera_errors).any() else 0.0
    for camera, error in enumerate(camera_errors):
        if error > MAX_CAMERA_RATIO * usual:
            found.append(
                f"{names[camera]} agrees badly with the others ({error / usual:.1f} times their error): "
                "is it synchronised, and does it show the same person?"
            )
    if not coverage >= MIN_COVERAGE:
        found.append(f"Only {coverage:.0%} of the joints could be reconstructed.")
    if not inlier_share >= MIN_INLIERS:
        found.append(f"Only {inlier_share:.0%} of the observations agree with the reconstruction.")
    if thigh_cv_free > MAX_LIMB_CV:
        found.append(f"The thighs change their length by {thigh_cv_free:.0%}.")
    return tuple(found)


def measured_report(
    given: Joints,
    pose: Array,
    residual: Array,
    inlier: Array,
    sigma: float,
    predicted: Float[Array, "V V"],
    rig: Rig | None,
    skeleton: Skeleton,
    side: Array,
    free: dict[str, float] | None = None,
    optics: Optics | None = None,
) -> Report:
    """Everything measured of a result, and the verdict.

    Args:
        given: the joints, sides exchanged back.
        pose: T J 3 in the output's unit.
        residual, inlier: T V J, px and whether a view agrees.
        sigma, predicted: noise (px), and the rotation error that it makes of every pair (degrees); 0 for cameras
            that are used as given.
        rig: as it was found; None for known cameras, adjusted or not.
        skeleton: of the joints.
        side: T V J, as `consensus.repair_sides` gives it.
        free: limbs' variation before they were held to their lengths; None where they were not.
        optics: of the lenses; None for known cameras.
    """
    seen = given.weight > 0
    error = np.where(given.counted & seen, residual, np.nan)
    done = np.isfinite(pose).all(2)
    limb_cv = limb_variation(pose, skeleton)
    free = limb_cv if free is None else free
    measured: dict[str, Any] = {
        "coverage": float(done.mean()),
        "inlier_share": float((inlier & seen).sum() / max(seen.sum(), 1)),
        "thigh_cv_free": thigh_mean(free),
        "gap": rig.gap if rig else np.inf,
        "mirror_gap": rig.mirror_gap if rig else np.inf,
        "parallax": min(p.parallax for p in rig.pairs.values()) if rig else float("nan"),
    }
    bend, moved = handedness(pose, skeleton), motion(pose, skeleton)
    per_camera = tuple(percentile(error[:, v], 50) for v in range(error.shape[1]))
    optics = optics or Optics.given(given.focal, given.intrinsics)
    whole = np.hypot(predicted, optics.turned)
    found_here = rig is not None or bool(
        (predicted > 0).any()
    )  # also where given cameras were adjusted: they are known no better
    pair = np.unravel_index(int(np.argmax(predicted)), predicted.shape)
    noisiest = tuple(given.names[v] for v in pair) if found_here else ()
    reasons = doubts(
        predicted_deg=float(predicted.max()),
        worst_pair=noisiest,
        bend=bend,
        moved=moved,
        camera_errors=tuple(e / f for e, f in zip(per_camera, given.focal.mean(1), strict=True)),
        estimated=found_here,
        centred=given.centred,
        names=given.names,
        **measured,
    )
    views = error.shape[1]
    reasons += optics.reasons
    return Report(
        verdict="doubtful" if reasons else "good",
        reasons=reasons,
        reprojection_median=percentile(error, 50),
        reprojection_p90=percentile(error, 90),
        reprojection_per_camera=per_camera,
        reprojection_per_joint={name: percentile(error[:, :, j], 50) for j, name in enumerate(skeleton.joint_names)},
        coverage_of_seen=float(done[seen.sum(1) >= 2].mean()) if (seen.sum(1) >= 2).any() else float("nan"),
        noise_px=sigma,
        predicted_rotation_deg=float(whole.max()),
        rotation_noise_deg=float(predicted.max()),
        worst_pair=noisiest,
        conditioning=max(p.conditioning for p in rig.pairs.values()) if rig else float("nan"),
        handedness=bend,
        limb_cv=limb_cv,
        thigh_cv=thigh_mean(limb_cv),
        limb_cv_free=free,
        travel=travel(pose, skeleton),
        motion=moved,
        swapped_sides=float((side != np.arange(side.shape[2])).any(2).mean()),
        starts=rig.starts if rig else 0,
        agreeing_starts=rig.agreeing if rig else 0,
        frames=len(pose),
        cameras=views,
        focal_mode=optics.mode,
        focal_evidence=optics.why,
        focal_deviation=optics.deviation,
        view_deg=optics.view_deg,
        zoom_change=optics.change,
        **measured,
    )
