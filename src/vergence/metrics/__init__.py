"""Metrics: one value per pose, numpy or torch in and out, float64. `position` for errors, `plausibility` for their
causes, `structure` for the kind of pose, `keypoints` for joints in images (numpy; over a whole set)."""

from vergence.metrics.keypoints import (
    COCO_SIGMAS,
    FoundPerson,
    Pckh,
    TruePerson,
    head_size,
    keypoint_precision,
    oks,
    pckh,
)
from vergence.metrics.plausibility import (
    depth_correlation,
    flip_depth,
    limb_differences,
    limb_lengths,
    pixel_scale,
    pose_diversity,
    symmetry_error,
)
from vergence.metrics.position import auc, bone_sum_mpjpe, bone_sum_scale, mpjpe, n_mpjpe, p_mpjpe, pck, per_joint_error
from vergence.metrics.structure import LEAST_POSES_PER_CLUSTER, Clusters, fit_clusters, pose_structure_score

__all__ = [
    "COCO_SIGMAS", "LEAST_POSES_PER_CLUSTER", "Clusters", "FoundPerson", "Pckh", "TruePerson", "auc",
    "bone_sum_mpjpe", "bone_sum_scale", "depth_correlation", "fit_clusters", "flip_depth", "head_size",
    "keypoint_precision", "limb_differences", "limb_lengths", "mpjpe", "n_mpjpe", "oks", "p_mpjpe", "pck", "pckh",
    "per_joint_error", "pixel_scale", "pose_diversity", "pose_structure_score", "symmetry_error",
]  # fmt: skip
