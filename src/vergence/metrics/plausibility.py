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

import torch
from torch import Tensor

from vergence.errors import VergenceError
from vergence.metrics._inputs import Array, Limbs, Root, in_kind, indices, refuse_missing, relative, to_pair, to_tensor
from vergence.skeleton import Skeleton


def limb_lengths(pose: Array, limbs: Limbs) -> Array:
    """Lengths `... E` of the limbs (joint pairs) of poses `... J 3`; NaN where an end is unknown."""
    p = to_tensor(pose, "pose")
    ends = [indices([pair[end] for pair in limbs], p.shape[-2], "limb end") for end in (0, 1)]
    return in_kind(torch.linalg.vector_norm(p[..., ends[1], :] - p[..., ends[0], :], dim=-1), pose)


def limb_differences(pose: Array, skeleton: Skeleton) -> Array:
    """Difference in length between left and right of each limb group, `... G`, in the pose's unit; NaN where unknown.

    Zhou 2017's geometric validity, group by group: of poses in mm, or in pixels (`pixel_scale`).

    Args:
        pose: `... J 3`.
        skeleton: whose `limb_groups` (upper and lower legs and arms, hips, shoulders) are compared, in their order.
    """
    p = to_tensor(pose, "pose")
    groups = list(skeleton.limb_groups.values())
    if p.shape[-2] != len(skeleton) or not groups:
        raise VergenceError(
            f"poses of {p.shape[-2]} joints, a skeleton {skeleton.name} of {len(skeleton)} with {len(groups)} pairs",
            "Give the poses' own skeleton, with left and right limbs.",
        )
    right, left = (limb_lengths(p, [group[side] for group in groups]) for side in (0, 1))
    return in_kind((right - left).abs(), pose)


def symmetry_error(pose: Array, skeleton: Skeleton) -> Array:
    """Mean of `limb_differences` over the groups whose joints are known, per pose, in the pose's unit."""
    p = to_tensor(pose, "pose")
    return in_kind(limb_differences(p, skeleton).nanmean(-1), pose)


def pixel_scale(pose: Array, keypoints: Array, limbs: Limbs) -> Array:
    """Pixels per unit of a pose, under weak perspective: sum of its 2D limb lengths over sum of their x, y lengths.

    Needs no camera and no truth, so validity can be told on images that have neither.

    Args:
        pose: `... J 3`, camera frame.
        keypoints: `... J 2`, of the same joints.
        limbs: joint pairs; those with an unknown joint are left out of both sums.

    Returns:
        `...`; NaN where nothing is known or the pose has no extent in the image.
    """
    p = to_tensor(pose, "pose")
    points = torch.as_tensor(keypoints, dtype=torch.float64, device=p.device)
    if points.shape != (*p.shape[:-1], 2):
        raise VergenceError(f"keypoints of shape {tuple(points.shape)} for poses {tuple(p.shape)}", "Give (..., J, 2).")
    flat = limb_lengths(torch.nn.functional.pad(points, (0, 1)), limbs)
    deep = limb_lengths(p * p.new_tensor([1.0, 1.0, 0.0]), limbs)
    both = ~(flat.isnan() | deep.isnan())
    pixels, units = (torch.where(both, x, 0.0).sum(-1) for x in (flat, deep))
    return in_kind(torch.where(units > 0, pixels / units.clamp(min=1e-300), math.nan), pose, keypoints)


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
