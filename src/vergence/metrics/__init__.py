"""Metrics: one value per pose, numpy or torch in and out, float64. `position` for errors, `plausibility` for why."""

from vergence.metrics.plausibility import (
    depth_correlation,
    flip_depth,
    limb_lengths,
    pose_diversity,
    symmetry_error,
)
from vergence.metrics.position import auc, mpjpe, n_mpjpe, p_mpjpe, pck, per_joint_error

__all__ = [
    "auc",
    "depth_correlation",
    "flip_depth",
    "limb_lengths",
    "mpjpe",
    "n_mpjpe",
    "p_mpjpe",
    "pck",
    "per_joint_error",
    "pose_diversity",
    "symmetry_error",
]
