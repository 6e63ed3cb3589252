"""Whether poses look like a person's, and in which way a method has failed.

One position error does not say *why*. Three figures beside it tell the usual failures of label-free training apart:

| failure | `pose_diversity` | `depth_correlation` | error of `flip_depth(prediction)` |
|---|---|---|---|
| collapsed to one pose | near 0 | near 0 | as bad |
| depth reversed (Necker) in some or all poses | near 1 | near 0, or negative | better, in those poses |
| noise | 1 or more | clearly positive | much worse |
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vergence.errors import VergenceError
from vergence.metrics._inputs import Array, Root, in_kind, indices, refuse_missing, relative, to_pair, to_tensor
from vergence.skeleton import Skeleton


def limb_lengths(pose: Array, limbs: Sequence[tuple[int, int]]) -> Array:
    """Lengths `... E` of the limbs (joint pairs) of poses `... J 3`; NaN where an end is unknown."""
    return in_kind(_lengths(to_tensor(pose, "pose"), limbs), pose)


def _lengths(pose: Tensor, limbs: Sequence[tuple[int, int]]) -> Tensor:
    ends = [indices([pair[end] for pair in limbs], pose.shape[-2], "limb end") for end in (0, 1)]
    return torch.linalg.vector_norm(pose[..., ends[1], :] - pose[..., ends[0], :], dim=-1)


def symmetry_error(pose: Array, skeleton: Skeleton) -> Array:
    """Mean difference in length between left and right limbs, per pose, in the pose's unit.

    Args:
        pose: `... J 3`; a pair with an unknown joint is left out.
        skeleton: whose `limb_groups` (upper and lower legs and arms, hips, shoulders) are compared.
    """
    p = to_tensor(pose, "pose")
    groups = list(skeleton.limb_groups.values())
    if p.shape[-2] != len(skeleton) or not groups:
        raise VergenceError(
            f"poses of {p.shape[-2]} joints, a skeleton {skeleton.name} of {len(skeleton)} with {len(groups)} pairs",
            "Give the poses' own skeleton, with left and right limbs.",
        )
    right, left = (_lengths(p, [group[side] for group in groups]) for side in (0, 1))
    return in_kind((right - left).abs().nanmean(-1), pose)


def pose_diversity(prediction: Array, target: Array, root: Root = 0) -> float:
    """Spread of the predicted poses about their mean pose, over that of the true ones: 1 is right, 0 one constant pose.

    Both `... J 3` in the same unit, all leading dimensions pooled, joints that the target knows. NaN where the true
    poses do not vary.
    """
    p, t, known = _pooled(prediction, target, root)

    def spread(pose: Tensor) -> float:
        pose = torch.where(known[..., None], pose, math.nan)
        return float((pose - pose.nanmean(0)).square().nansum().sqrt())

    true = spread(t)
    return spread(p) / true if true > 0 else math.nan


def depth_correlation(prediction: Array, target: Array, root: Root = 0) -> float:
    """Pearson correlation of predicted and true root-relative depth (z), all poses and joints but the root pooled.

    1 is right, -1 everything reversed; 0 also where the prediction is flat. NaN where the truth is flat.
    """
    p, t, known = _pooled(prediction, target, root)
    if root is not None and len(found := indices(root, p.shape[-2], "root")) == 1:
        known[..., found] = False
    x, y = p[..., 2][known], t[..., 2][known]
    if len(y) == 0:
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    rounding = 1e-12
    if float(y.abs().max()) <= rounding * float(t[known].abs().max()):
        return math.nan
    if float(x.abs().max()) <= rounding * float(p[known].abs().max()):
        return 0.0
    return float((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt())


def _pooled(prediction: Array, target: Array, root: Root) -> tuple[Tensor, Tensor, Tensor]:
    """Root-relative poses `N J 3` and which joints the target knows."""
    p, t = to_pair(prediction, target)
    p, t = (relative(pose, root).reshape(-1, *pose.shape[-2:]) for pose in (p, t))
    refuse_missing(p, t)
    return p, t, ~t.isnan().any(-1)


def flip_depth(pose: Array, root: Root = 0) -> Array:
    """The pose reversed in depth: root-relative, z negated. Its error beside the pose's own shows a Necker flip."""
    flipped = relative(to_tensor(pose, "pose"), root).clone()
    flipped[..., 2] *= -1
    return in_kind(flipped, pose)
