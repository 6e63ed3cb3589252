"""Keypoints of several fixed cameras in, cameras and 3D poses out.

The way: undo the lens; find the rig from joints pooled over time (`rig`) unless the cameras are known; adjust;
exchange left and right back where the views say so (`consensus`) and adjust again; triangulate every joint from the
views that agree; measure everything and give a verdict (`quality`).

What it cannot do is refused with a sentence: one camera, cameras in one place, a single frame (a person's 17 joints
leave tens of degrees of freedom to the noise; `per_frame=True` does it all the same, for comparison), nothing in
common. What it can do only badly is done and called doubtful.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from vergence.errors import VergenceError
from vergence.geometry.body import percentile, reference_length
from vergence.reconstruction import quality
from vergence.reconstruction.bundle import (
    Bundle,
    adjust,
    camera_covariance,
    linear_points,
    rotation_uncertainty,
)
from vergence.reconstruction.consensus import (
    Points,
    repair_sides,
    reprojection,
    robust_points,
    settle_limbs,
    settle_sides,
)
from vergence.reconstruction.inputs import Joints, check_frames, check_joints, known_cameras
from vergence.reconstruction.per_frame import frames_by_themselves
from vergence.reconstruction.quality import Report
from vergence.reconstruction.rig import (
    INLIER_SIGMA,
    LOSS_SIGMA,
    START_POINTS,
    Rig,
    descend,
    estimate_rig,
    in_first_camera,
    refine_rig,
    repetition,
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
    focal: Literal["shared", "each"] = "shared",
    per_frame: bool = False,
    repair: bool = True,
    hold_limbs: bool = True,
    min_confidence: float = 0.05,
    agreeing_starts: int = 3,
    seed: int = 0,
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
        focal: with missing intrinsics, one focal length for all cameras (`shared`) or one for each.
        per_frame: EpipolarPose's variant: every frame by itself, for comparison.
        repair: exchange left and right labels back where the views say so.
        hold_limbs: drop joints that break their limbs, and move the rest within their noise so that limbs keep their
            lengths, which are measured in this footage.
        agreeing_starts: the search for a rig ends when so many starts reached the same lowest cost; 2 is faster, for many
            short sequences.
        seed: of subsets and starts.

    Raises:
        VergenceError: with the reason, where nothing can be reconstructed.
    """
    as_given = given = check_joints(
        keypoints, confidence, intrinsics, distortion, image_size, skeleton, fov, fov_fixed, focal, min_confidence
    )
    known = known_cameras(rotation, translation, given)
    if per_frame:
        return _per_frame(given, skeleton)
    rig: Rig | None = None
    if known is None:
        check_frames(given)
        rig = _find_rig(given, agreeing_starts, seed)
        rig = _unmirrored(rig, given, skeleton)
        cameras, sigma = rig.bundle, rig.sigma
    else:
        cameras, sigma = measure(known, given)
    move = known is None or refine
    some = spread_points(given.flat_weight, given.frame, ADJUST_POINTS)
    if move:
        cameras, sigma = _adjust(cameras, given, some, sigma)
    side = np.broadcast_to(np.arange(given.offset.shape[2]), given.weight.shape)
    if repair:
        side = repair_sides(cameras, given.offset, skeleton, sigma)
        if (side != np.arange(side.shape[2])).any():
            given = as_given.exchanged(side)
            cameras, sigma = _adjust(cameras, given, some, sigma) if move else measure(cameras, given)
    points = robust_points(cameras, given.observed, given.flat_weight, sigma)
    cameras, sigma, predicted = _finish(cameras, given, points, some, sigma) if move else (cameras, sigma, 0.0)
    if move:
        points = robust_points(cameras, given.observed, given.flat_weight, sigma)
    points, side = settle_sides(points, side, skeleton)
    given = as_given.exchanged(side)
    free = None
    if hold_limbs:
        scene = cameras, given.observed, given.flat_weight
        points, free = settle_limbs(*scene, points, sigma, len(given.offset), skeleton)
    return _assemble(given, cameras, points, sigma, predicted, rig, known, skeleton, side, free)


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
    bends = []
    for cameras in (rig.bundle, rig.mirror):
        points = linear_points(cameras, given.observed, given.flat_weight)
        bends.append(quality.handedness(points.reshape(*given.weight.shape[::2], 3), skeleton))
    if bends[0] < 0 < bends[1]:
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
    result = _assemble(given, cameras, points, float("nan"), float("nan"), None, None, skeleton, side)
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


def _finish(cameras: Bundle, given: Joints, points: Points, some: Array, sigma: float) -> tuple[Bundle, float, float]:
    """A last adjustment from robust points, and the predicted rotation error of the worst pair (degrees)."""
    some = some[np.isfinite(points.position[some]).all(1)]
    observed, weight = given.observed[:, :, some], given.flat_weight[:, some]
    start = replace(cameras, points=points.position[some])
    mode = given.focal_mode
    result = adjust(start, observed, weight, scale=LOSS_SIGMA * sigma, focal=mode, iterations=12, tolerance=1e-5)
    error, front = reprojection(result, result.points, observed)
    agree = (error < INLIER_SIGMA * sigma) & front
    sound = agree.sum(0) >= min(3, len(agree))
    spread = camera_covariance(
        replace(result, points=result.points[sound]),
        observed[:, :, sound],
        (weight * agree)[:, sound],
        sigma=sigma * repetition(result, observed, agree, some, given.weight.shape[2]),
        focal=mode,
    )
    return result, sigma, float(np.degrees(rotation_uncertainty(result, spread).max()))


def _assemble(
    given: Joints,
    cameras: Bundle,
    points: Points,
    sigma: float,
    predicted: float,
    rig: Rig | None,
    known: Bundle | None,
    skeleton: Skeleton,
    side: Array,
    free: dict[str, float] | None = None,
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
    report = _report(given, pose, residual, inlier, sigma, predicted, rig, skeleton, side, free)
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


def _report(
    given: Joints,
    pose: Array,
    residual: Array,
    inlier: Array,
    sigma: float,
    predicted: float,
    rig: Rig | None,
    skeleton: Skeleton,
    side: Array,
    free: dict[str, float] | None = None,
) -> Report:
    seen = given.weight > 0
    error = np.where(given.counted & seen, residual, np.nan)
    done = np.isfinite(pose).all(2)
    limb_cv = quality.limb_variation(pose, skeleton)
    free = limb_cv if free is None else free
    measured: dict[str, Any] = {
        "coverage": float(done.mean()),
        "inlier_share": float((inlier & seen).sum() / max(seen.sum(), 1)),
        "thigh_cv_free": quality.thigh_mean(free),
        "gap": rig.gap if rig else np.inf,
        "mirror_gap": rig.mirror_gap if rig else np.inf,
        "parallax": min(p.parallax for p in rig.pairs.values()) if rig else float("nan"),
    }
    bend, moved = quality.handedness(pose, skeleton), quality.motion(pose, skeleton)
    per_camera = tuple(percentile(error[:, v], 50) for v in range(error.shape[1]))
    reasons = quality.doubts(
        predicted_deg=predicted,
        bend=bend,
        moved=moved,
        camera_errors=tuple(e / f for e, f in zip(per_camera, given.focal.mean(1), strict=True)),
        estimated=rig is not None,
        **measured,
    )
    return Report(
        verdict="doubtful" if reasons else "good",
        reasons=reasons,
        reprojection_median=percentile(error, 50),
        reprojection_p90=percentile(error, 90),
        reprojection_per_camera=per_camera,
        reprojection_per_joint={name: percentile(error[:, :, j], 50) for j, name in enumerate(skeleton.joint_names)},
        coverage_of_seen=float(done[seen.sum(1) >= 2].mean()) if (seen.sum(1) >= 2).any() else float("nan"),
        noise_px=sigma,
        predicted_rotation_deg=predicted,
        conditioning=max(p.conditioning for p in rig.pairs.values()) if rig else float("nan"),
        handedness=bend,
        limb_cv=limb_cv,
        thigh_cv=quality.thigh_mean(limb_cv),
        limb_cv_free=free,
        travel=quality.travel(pose, skeleton),
        motion=moved,
        swapped_sides=float((side != np.arange(side.shape[2])).any(2).mean()),
        starts=rig.starts if rig else 0,
        agreeing_starts=rig.agreeing if rig else 0,
        frames=len(pose),
        cameras=error.shape[1],
        **measured,
    )
