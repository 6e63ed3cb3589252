"""Poses turned about the vertical until the person faces the camera: equal poses become equal, whatever the view."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vergence.geometry.camera import rotate
from vergence.skeleton import Skeleton

LEVEL_SHARE = 0.3  # a line less level than this (73 degrees from it) gives no heading


def canonical_rotation(
    pose: Float[Tensor, "N J 3"], up: Float[Tensor, "N 3"], skeleton: Skeleton
) -> Float[Tensor, "N 3 3"]:
    """The rotation from a camera's frame to the canonical one: y down the vertical, x along the level part of the line
    from the right hip to the left, so that the person faces the camera (z points away from it, as ever).

    Args:
        pose: in the camera's frame, any unit.
        up: against gravity, in the camera's frame.

    Returns:
        `x_canonical = R x_camera`; NaN where neither hips nor shoulders are level enough, or up is unknown.
    """
    down = -F.normalize(up, dim=-1)
    across = torch.full_like(up, float("nan"))
    for joint in ("shoulder", "hip"):  # the hips decide where they can
        line = pose[:, skeleton.index(f"left_{joint}")] - pose[:, skeleton.index(f"right_{joint}")]
        level = line - (line * down).sum(-1, keepdim=True) * down
        usable = level.norm(dim=-1) > LEVEL_SHARE * line.norm(dim=-1)
        across = torch.where(usable[:, None], level, across)
    x = across / across.norm(dim=-1, keepdim=True)
    rotation = torch.stack([x, down, torch.linalg.cross(x, down)], dim=1)
    return torch.where(x.isnan().any(-1)[:, None, None], torch.nan, rotation)


def canonical_pose(
    pose: Float[Tensor, "N J 3"], up: Float[Tensor, "N 3"], skeleton: Skeleton
) -> Float[Tensor, "N J 3"]:
    """Poses of the camera's frame turned to the canonical heading, relative to their root; NaN where there is none."""
    relative = pose - pose[:, list(skeleton.root)].mean(1, keepdim=True)
    return rotate(relative, canonical_rotation(pose, up, skeleton))
