"""Keypoints of several fixed cameras in, cameras and 3D poses out.

The way: undo the lens; find the rig from joints pooled over time (`rig`) unless the cameras are known; adjust;
exchange left and right back where the views say so (`consensus`) and adjust again; triangulate every joint from the
views that agree; measure everything and give a verdict (`quality`).

What it cannot do is refused with a sentence: one camera, cameras in one place, a single frame (a person's 17 joints
leave tens of degrees of freedom to the noise; `per_frame=True` does it all the same, for comparison), nothing in
common. What it can do only badly is done and called doubtful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from vergence.errors import VergenceError
from vergence.geometry.body import reference_length
from vergence.reconstruction import quality
from vergence.reconstruction.bundle import (
    Bundle,
    adjust,
    camera_covariance,
    rotation_uncertainty,
)
from vergence.reconstruction.checks.sides import exchange, exchanged_cameras
from vergence.reconstruction.consensus import (
    Points,
    repair_sides,
    robust_points,
    settle_limbs,
    settle_sides,
)
from vergence.reconstruction.inputs import Focal, Joints, check_frames, check_joints, known_cameras
from vergence.reconstruction.lenses import (
    Evidence,
    Optics,
    agreeing,
    describe,
    preferred_lens,
    weigh_focal_lengths,
)
from vergence.reconstruction.per_frame import frames_by_themselves
from vergence.reconstruction.points import linear_points
from vergence.reconstruction.quality import Report
from vergence.reconstruction.rig import (
    LOSS_SIGMA,
    START_POINTS,
    Rig,
    descend,
    estimate_rig,
    in_first_camera,
    refine_rig,
    residual_sigma,
    spread_points,
)
from vergence.skeleton import Skeleton

Array = np.ndarray

ADJUST_POINTS = 3600  # the final adjustment's: beyond some 200 frames it gains nothing that matters
PER_FRAME_REASON = "Every frame was taken by itself: rotations from one frame are tens of degrees off."
MIRROR_GAP = 1.3  # cost ratio below which the bend of the knees is asked
SOFT_DEVIATION = 0.1  # reference bones: a joint this uncertain weighs a half


@dataclass(frozen=True)
class Solution:
    """Cameras and poses with their report. Arrays are numpy; missing is NaN.

    Attributes:
        pose: T J 3 in `unit`; in the first camera's frame, or in the given cameras' world.
        weight: T J in [0, 1], the confidence of each joint, 0 where there is none.
        deviation: T J, standard deviation of one coordinate in `unit`, from noise and geometry.
        inlier: T V J, views that agree with the joint.
        side: T V J, joint index whose label each joint carried (`arange(J)` but where left and right were exchanged
            back).
        rotation, translation: V 3 3 and V 3, `x_cam = R x + t`.
        intrinsics: V 3 3, estimated focal lengths included; distortion: V D.
        unit: `mm` where extrinsics were given (or a height assumed), else `reference_bone`.
        report: figures and verdict.
        exchanged: V, cameras that seemed to exchange left and right throughout, before any rig; None where nobody asked.
    """

    pose: Float[Array, "T J 3"]
    weight: Float[Array, "T J"]
    deviation: Float[Array, "T J"]
    inlier: Bool[Array, "T V J"]
    side: Float[Array, "T V J"]
    rotation: Float[Array, "V 3 3"]
    translation: Float[Array, "V 3"]
    intrinsics: Float[Array, "V 3 3"]
    distortion: Float[Array, "V D"]
    skeleton: Skeleton
    unit: Literal["mm", "reference_bone"]
    report: Report
    exchanged: Bool[Array, " V"] | None = None


def reconstruct_keypoints(
    keypoints: Float[Array, "T V J 2"],
    confidence: Float[Array, "T V J"] | None = None,
    *,
    intrinsics: Float[Array, "V 3 3"] | None,
    image_size: Float[Array, "V 2"],
    skeleton: Skeleton,
    distortion: Float[Array, "V D"] | None = None,
    fps: float | None = None,
    rotation: Float[Array, "V 3 3"] | None = None,
    translation: Float[Array, "V 3"] | None = None,
    refine: bool = False,
    fov: float | None = None,
    fov_fixed: bool = False,
    focal: Focal = "auto",
    per_frame: bool = False,
    repair: bool = True,
    hold_limbs: bool = True,
    min_confidence: float = 0.05,
    agreeing_starts: int = 3,
    seed: int = 0,
    names: Sequence[str] = (),
) -> Solution:
    """Cameras and 3D poses of one person seen by fixed, synchronised cameras.

    Args:
        keypoints: px of the full image, NaN = missing.
        confidence: of each keypoint; at or below `min_confidence` it counts as missing. None = all alike.
        intrinsics: None = square pixels, centre of the image, focal length to be found.
        image_size: width and height, px.
        skeleton: names of the joints.
        distortion: as `geometry.camera` takes it (or k1 k2 p1 p2); None = no distortion.
        fps: frames a second; not needed, kept for callers that have it.
        rotation, translation: known extrinsics, used as they are (mm), or with `refine` as the start of the adjustment.
        fov: degrees along the image's longer side, a start where intrinsics are missing, the truth with `fov_fixed`.
        focal: with missing intrinsics, one focal length for all cameras (`shared`), one for each, or the footage
            decides (`auto`).
        per_frame: EpipolarPose's variant: every frame by itself, for comparison.
        repair: exchange left and right labels back where the views say so.
        hold_limbs: drop joints that break their limbs, and move the rest within their noise so that limbs keep their
            lengths, which are measured in this footage.
        agreeing_starts: the search for a rig ends when so many starts reached the same lowest cost; 2 is faster, for many
            short sequences.
        seed: of subsets and starts.
        names: of the cameras, for sentences; numbers where empty.

    Raises:
        VergenceError: with the reason, where nothing can be reconstructed.
    """
    as_given = given = check_joints(
        keypoints,
        confidence,
        intrinsics,
        distortion,
        image_size,
        skeleton,
        fov,
        fov_fixed,
        focal,
        min_confidence,
        names,
    )
    known = known_cameras(rotation, translation, given)
    if per_frame:
        return _per_frame(given, skeleton)
    rig: Rig | None = None
    whole, wrong = np.broadcast_to(np.arange(given.offset.shape[2]), given.weight.shape), None
    if known is None:
        check_frames(given)
        rig, whole, wrong = _rig_and_sides(given, skeleton, repair, agreeing_starts, seed)
        as_given = given = given.exchanged(whole)
        cameras, sigma = rig.bundle, rig.sigma
    else:
        cameras, sigma = measure(known, given)
    move = known is None or refine
    some = spread_points(given.flat_weight, given.frame, ADJUST_POINTS)
    evidence: Evidence | None = None
    if move:
        cameras, sigma = _adjust(cameras, given, some, sigma)
    if not given.known_focal:
        evidence = _focal_lengths(cameras, sigma, given, some, focal)
        cameras, sigma = evidence.cameras, evidence.sigma
        as_given = given = replace(given, focal_mode=evidence.mode)
    side = np.broadcast_to(np.arange(given.offset.shape[2]), given.weight.shape)
    if repair:
        side = repair_sides(cameras, given.offset, skeleton, sigma)
        if (side != np.arange(side.shape[2])).any():
            given = as_given.exchanged(side)
            cameras, sigma = _adjust(cameras, given, some, sigma) if move else measure(cameras, given)
    predicted, optics = np.zeros((len(cameras.rotation),) * 2), None
    if move:
        cameras, predicted, optics = _finish(cameras, given, some, sigma, evidence, skeleton)
    points = robust_points(cameras, given.observed, given.flat_weight, sigma)
    points, side = settle_sides(points, side, skeleton)
    given = as_given.exchanged(side)
    free = None
    if hold_limbs:
        scene = cameras, given.observed, given.flat_weight
        points, free = settle_limbs(*scene, points, sigma, len(given.offset), skeleton)
    side = np.take_along_axis(whole, side, axis=2)
    found = _assemble(given, cameras, points, sigma, predicted, rig, known, skeleton, side, free, optics)
    return replace(found, exchanged=wrong)


def _rig_and_sides(
    given: Joints, skeleton: Skeleton, repair: bool, agreeing: int, seed: int
) -> tuple[Rig, Array, Array | None]:
    """The rig, the order of joints (T V J) that puts sides right in cameras that exchange them throughout, and which do.

    Which half of the cameras it is, the bend of the knees says.
    """
    frames, views, _ = given.weight.shape
    asked = exchanged_cameras(given.image, skeleton, seed) if repair else None
    wrong = np.zeros(views, dtype=bool) if asked is None else asked
    order = exchange(wrong, frames, skeleton)
    put_right = given.exchanged(order)
    rig = _unmirrored(_find_rig(put_right, agreeing, seed), put_right, skeleton)
    if wrong.any() and _bend(rig.bundle, put_right, skeleton) < 0:
        order = exchange(~wrong, frames, skeleton)
    return rig, order, asked


def _bend(cameras: Bundle, given: Joints, skeleton: Skeleton) -> float:
    points = linear_points(cameras, given.observed, given.flat_weight)
    return quality.handedness(points.reshape(*given.weight.shape[::2], 3), skeleton)


def _find_rig(given: Joints, agreeing: int, seed: int) -> Rig:
    """The rig from nothing; with unknown focal lengths the best over several fields of view."""
    rigs = [
        estimate_rig(
            given.observed,
            given.flat_weight,
            given.focal * zoom,
            given.frame,
            focal_mode=given.focal_mode,
            agreeing=agreeing,
            seed=seed,
            names=given.names,
        )
        for zoom in given.zooms
    ]
    if len(rigs) == 1:
        return rigs[0]
    sigma = min(rig.sigma for rig in rigs)
    some = spread_points(given.flat_weight, given.frame, START_POINTS)
    part = given.observed[:, :, some], given.flat_weight[:, some]
    ends = [descend(rig.bundle, *part, sigma, given.focal_mode) for rig in rigs]
    best = int(np.argmin([end.cost for end in ends]))
    return replace(rigs[best], bundle=ends[best], sigma=sigma)


def _unmirrored(rig: Rig, given: Joints, skeleton: Skeleton) -> Rig:
    """Where the mirrored rig explains the joints nearly as well, the one in which knees and elbows bend as they do."""
    if rig.mirror is None or rig.mirror_gap > MIRROR_GAP:
        return rig
    if _bend(rig.bundle, given, skeleton) < 0 < _bend(rig.mirror, given, skeleton):
        return replace(rig, bundle=rig.mirror, mirror=rig.bundle)
    return rig


def _per_frame(given: Joints, skeleton: Skeleton) -> Solution:
    """EpipolarPose's variant; the cameras are means over frames, the poses belong to no common camera."""
    image = given.offset / given.focal[None, :, None]
    pose, rotation, translation = frames_by_themselves(image, skeleton.reference_bone)
    cameras = Bundle(rotation, translation, given.focal, np.zeros((1, 3)))
    shape = given.weight.shape
    nothing = np.full((shape[1], shape[0] * shape[2]), np.nan)
    found = np.isfinite(pose).all(2).reshape(-1)
    points = Points(
        position=pose.reshape(-1, 3),
        inlier=(given.flat_weight > 0) & found,
        residual=nothing,
        deviation=np.where(found, SOFT_DEVIATION, np.nan),
    )
    side = np.broadcast_to(np.arange(shape[2]), shape)
    unknown = np.full((shape[1], shape[1]), np.nan)
    result = _assemble(given, cameras, points, float("nan"), unknown, None, None, skeleton, side)
    report = replace(result.report, verdict="doubtful", reasons=(PER_FRAME_REASON,))
    return replace(result, report=report)


def measure(cameras: Bundle, given: Joints) -> tuple[Bundle, float]:
    """Known cameras, and the noise (px) that their linear points leave."""
    points = linear_points(cameras, given.observed, given.flat_weight)
    found = np.isfinite(points).all(1)
    if not found.any():
        raise VergenceError("no joint is seen by two cameras", "Check that the cameras show the same person at once.")
    scene = replace(cameras, points=points[found])
    sigma = residual_sigma(scene, given.observed[:, :, found], given.flat_weight[:, found])
    return cameras, sigma


def _adjust(cameras: Bundle, given: Joints, some: Array, sigma: float) -> tuple[Bundle, float]:
    return refine_rig(
        cameras, given.observed[:, :, some], given.flat_weight[:, some], sigma, focal_mode=given.focal_mode
    )


def _focal_lengths(cameras: Bundle, sigma: float, given: Joints, some: Array, asked: str) -> Evidence:
    if asked == "each":
        return Evidence("each", "a focal length for each camera, as asked", cameras, sigma)
    part = given.observed[:, :, some], given.flat_weight[:, some]
    return weigh_focal_lengths(cameras, sigma, *part, some, given.weight.shape[2], asked)


def _finish(
    cameras: Bundle,
    given: Joints,
    some: Array,
    sigma: float,
    evidence: Evidence | None,
    skeleton: Skeleton,
) -> tuple[Bundle, Array, Optics]:
    """A last adjustment from robust points, every pair's predicted rotation error for noise (V V, degrees), the lenses."""
    observed, weight = given.observed[:, :, some], given.flat_weight[:, some]
    position = robust_points(cameras, observed, weight, sigma).position
    known = np.isfinite(position).all(1)
    some, observed, weight = some[known], observed[:, :, known], weight[:, known]
    start, pose = replace(cameras, points=position[known]), np.full((given.frame.size, 3), np.nan)
    pose[some] = start.points
    mode = given.focal_mode
    result = adjust(start, observed, weight, scale=LOSS_SIGMA * sigma, focal=mode, iterations=30, tolerance=1e-7)
    sound, (kept, trust), widened = agreeing(result, observed, weight, sigma, some, given.weight.shape[2])
    observed = observed[:, :, kept]
    spread = camera_covariance(sound, observed, trust, sigma=widened, focal=mode)
    points_of = {"index": some[kept], "joints": given.weight.shape[2], "room": given.room}
    wish = preferred_lens(sound, observed, trust, sigma=sigma, widened=widened, mode=mode, **points_of)
    bone = reference_length(pose.reshape(*given.weight.shape[::2], 3), skeleton)
    optics = describe(given, result, sigma, bone, evidence, spread, wish)
    return result, np.degrees(rotation_uncertainty(result, spread)), optics


def _assemble(
    given: Joints,
    cameras: Bundle,
    points: Points,
    sigma: float,
    predicted: Array,
    rig: Rig | None,
    known: Bundle | None,
    skeleton: Skeleton,
    side: Array,
    free: dict[str, float] | None = None,
    optics: Optics | None = None,
) -> Solution:
    frames, views, joints = given.weight.shape
    pose, deviation = points.position, points.deviation
    if known is None:
        cameras = in_first_camera(replace(cameras, points=pose))
        pose = cameras.points
    pose, deviation = pose.reshape(frames, joints, 3), deviation.reshape(frames, joints)
    bone = reference_length(pose, skeleton)
    if known is None:
        if not np.isfinite(bone):
            raise VergenceError(
                "neither trunk nor arms nor legs were reconstructed, so the result has no unit",
                "Give keypoints of hips and shoulders, or of whole arms or legs.",
            )
        pose, deviation = pose / bone, deviation / bone
        cameras = replace(cameras, translation=cameras.translation / bone)
        bone = 1.0
    weight = np.nan_to_num(1 / (1 + (deviation / (SOFT_DEVIATION * bone)) ** 2))
    residual = points.residual.reshape(views, frames, joints).transpose(1, 0, 2)
    inlier = points.inlier.reshape(views, frames, joints).transpose(1, 0, 2)
    report = quality.measured_report(given, pose, residual, inlier, sigma, predicted, rig, skeleton, side, free, optics)
    intrinsics = given.intrinsics.copy()
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = cameras.focal[:, 0], cameras.focal[:, 1]
    return Solution(
        pose=pose,
        weight=weight,
        deviation=deviation,
        inlier=inlier,
        side=np.array(side),
        rotation=cameras.rotation,
        translation=cameras.translation,
        intrinsics=intrinsics,
        distortion=given.distortion,
        skeleton=skeleton,
        unit="reference_bone" if known is None else "mm",
        report=report,
    )
