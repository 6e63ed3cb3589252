"""Metrics: one value per pose, numpy or torch in and out, float64. `position` for errors, `plausibility` for why,
`structure` for the kind of pose."""

from vergence.metrics.plausibility import (
    depth_correlation,
    flip_depth,
    limb_differences,
    limb_lengths,
    pixel_scale,
    pose_diversity,
    symmetry_error,
)
from vergence.metrics.position import (
    auc,
    bone_sum_mpjpe,
    bone_sum_scale,
    mpjpe,
    n_mpjpe,
    p_mpjpe,
    pck,
    per_joint_error,
)
from vergence.metrics.structure import LEAST_POSES_PER_CLUSTER, Clusters, fit_clusters, pose_structure_score

__all__ = [
    "LEAST_POSES_PER_CLUSTER",
    "Clusters",
    "auc",
    "bone_sum_mpjpe",
    "bone_sum_scale",
    "depth_correlation",
    "fit_clusters",
    "flip_depth",
    "limb_differences",
    "limb_lengths",
    "mpjpe",
    "n_mpjpe",
    "p_mpjpe",
    "pck",
    "per_joint_error",
    "pixel_scale",
    "pose_diversity",
    "pose_structure_score",
    "symmetry_error",
]
