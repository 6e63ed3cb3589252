"""Towards 3D pose in the wild (Zhou, Huang, Sun, Xue, Wei, ICCV 2017): lab images teach depth, any image teaches 2D, and
a body's proportions bind the two.

Section 3.1, model. One network: heatmaps for 2D, and behind them a module that regresses a depth per joint from the same
features. Both kinds of images pass through it together, half and half, so depth is learned on features that know
the wild. As published it is a stacked hourglass (`networks/hourglass.py`, `backbone: hourglass`); on our 2.5D network the
2D terms and the depth term are those of `supervised`, and lengths are of the lifted, perspective pose.
Section 3.2, losses. `heatmap` on every image with 2D; `depth` where 3D is labelled (lambda_reg = 0.1 on the hourglass);
`geometry` where only 2D is (lambda_geo = 0.01): within a group of limbs that grow together, each length over its
canonical length must be the same. On the hourglass lengths come from the *labelled* 2D and the predicted depth, as published,
so only depth is moved. On our network they are of the *predicted* 2D, and both are: what makes a predicted left arm longer
than the right one is its 2D (29 of 32 mm on the built-in world, where depth is true), and depth alone cannot mend it.
`geometry_3d` is the same on images with 3D labels, for the row "3D with geometry", which has no others.
Section 3.3, training. Three stages: 2D alone; 2D and 3D; then the geometry, at a tenth of the learning rate. The order
matters: `dl/dz = dz / l` is 0 at a limb seen flat, so the loss cannot start from flat depth.

What it cannot see. It is blind to the sign of depth: a limb turned towards the camera has the length of one turned away.
Where 3D training leaves wrong signs (lab poses of little variety), or under too large a weight, limbs become equally
long in wrong places: left/right errors fall while N-MPJPE rises. Read both, and the depth correlation.

Units. As in the authors' code the ratio carries a unit: `l_e * lbar_ref / lbar_e`, with the group's longest canonical limb
as reference. On the hourglass that unit is half the crop's side, so the published weights hold; on our network it is
the reference bone, about 2.5 times as long on a person who fills the crop, and the weight is ours (3 in the recipe).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vergence.batches.views import Views
from vergence.geometry.camera import normalise
from vergence.geometry.lifting import bone_vector, lift
from vergence.methods.base import Prediction, depth_target, relative_depth
from vergence.methods.losses import known, weighted_mean
from vergence.methods.supervised import Supervised
from vergence.networks.hourglass import HourglassMaps, StackedHourglass
from vergence.networks.pose_network import Maps
from vergence.skeleton import Skeleton

# Mean lengths on Human3.6M, mm, from the authors' code; only ratios within a group count.
CANONICAL_MM = {
    "upper_leg": 456.01, "lower_leg": 452.13, "upper_arm": 284.13, "lower_arm": 249.77, "hip": 134.20, "shoulder": 180.78,
}  # fmt: skip
GROUPS = (("upper_leg", "lower_leg"), ("upper_arm", "lower_arm"), ("hip",), ("shoulder",))  # no trunk, no head

TILT_LIMIT = 0.85  # of the reference bone out of the image plane; beyond it the root's depth says nothing
MOST_SIZE = 1.6  # mean of limb lengths over canonical ones; beyond it the root's depth is absurd (100 times the loss)
REFERENCE_MM = 499.5  # pelvis to thorax beside the canonical lengths
ASSUMED_FOCAL = 2.26  # of the crop's side, 25 degrees: where intrinsics are unknown
LEAST_LENGTH = 1e-6  # keeps the root of a limb of length 0 smooth


@dataclass(frozen=True)
class LimbGroup:
    """Limbs whose lengths keep one ratio to their canonical lengths.

    Attributes:
        bones: joint pairs.
        ratio: for each, the group's longest canonical length over its own.
    """

    bones: tuple[tuple[int, int], ...]
    ratio: tuple[float, ...]


def limb_groups(skeleton: Skeleton) -> tuple[LimbGroup, ...]:
    """The paper's groups R_i that a skeleton has: legs, arms, hips, shoulders."""
    groups = []
    for names in GROUPS:
        here = [name for name in names if name in skeleton.limb_groups]
        if here:
            longest = max(CANONICAL_MM[name] for name in here)
            pairs = [(bone, longest / CANONICAL_MM[name]) for name in here for bone in skeleton.limb_groups[name]]
            groups.append(LimbGroup(tuple(bone for bone, _ in pairs), tuple(ratio for _, ratio in pairs)))
    return tuple(groups)


def bone_ratio_loss(
    points: Float[Tensor, "N J 3"], visible: Bool[Tensor, "N J"], groups: Sequence[LimbGroup]
) -> Float[Tensor, " N"]:
    """L_geo of each image: `sum_i 1/|R_i| sum_e (l_e lbar_ref / lbar_e - their mean)^2`, in the points' unit squared.

    Only limbs whose both ends are visible enter, also in |R_i|; a group with fewer than two of them adds 0. Points of
    joints that are not visible may be anything finite.
    """
    total = points.new_zeros(len(points))
    for group in groups:
        first, second = ([bone[end] for bone in group.bones] for end in (0, 1))
        seen = (visible[:, first] & visible[:, second]).to(points.dtype)
        vector = points[:, second] - points[:, first]
        length = (vector.square().sum(-1) + LEAST_LENGTH**2).sqrt()
        scaled = length * points.new_tensor(group.ratio)
        count = seen.sum(1, keepdim=True).clamp(min=1)
        mean = (scaled * seen).sum(1, keepdim=True) / count
        total = total + (seen * (scaled - mean).square() / count).sum(1)
    return total


def perspective_points(
    keypoints: Float[Tensor, "N J 2"],
    depth: Float[Tensor, "N J"],
    intrinsics: Float[Tensor, "N 3 3"],
    side: int,
    skeleton: Skeleton,
) -> tuple[Float[Tensor, "N J 3"], Bool[Tensor, " N"]]:
    """3D in reference bones of labelled 2D and relative depths, and whether the root's depth is to be trusted.

    The root's depth, which scales everything, is the closed form's and held constant: the loss must not be lowered by
    turning the reference bone. Joints without a label lie on the optical axis.

    Args:
        keypoints: crop pixels; NaN = unknown.
        depth: predicted, relative to the root, in reference bones.
        intrinsics: of the crop; NaN: a field of view of 25 degrees is assumed (perspective matters little then).
        side: of the crop, pixels.
        skeleton: whose reference bone has length 1.
    """
    centre = (side - 1) / 2
    assumed = intrinsics.new_tensor([[ASSUMED_FOCAL * side, 0, centre], [0, ASSUMED_FOCAL * side, centre], [0, 0, 1]])
    rays = normalise(keypoints, torch.where(intrinsics.isnan(), assumed, intrinsics).to(keypoints.dtype))
    with torch.no_grad():
        lifted = lift(rays, depth, skeleton.reference_bone)
        sound = lifted.valid & ~lifted.ambiguous & (lifted.tilt < TILT_LIMIT)
        sound &= relative_size(lifted.pose, skeleton) < MOST_SIZE
        root_depth = torch.where(sound, lifted.root_depth, 1.0)
    flat = torch.cat([rays.nan_to_num(0.0), torch.ones_like(rays[..., :1])], -1)
    return (root_depth[:, None] + depth)[..., None] * flat, sound


def relative_size(pose: Float[Tensor, "N J 3"], skeleton: Skeleton) -> Float[Tensor, " N"]:
    """Mean length of the known limbs, in reference bones, over the canonical one; NaN where none is known."""
    names = [(name, bone) for name, bones in skeleton.limb_groups.items() for bone in bones]
    first, second = ([bone[end] for _, bone in names] for end in (0, 1))
    canonical = pose.new_tensor([CANONICAL_MM[name] / REFERENCE_MM for name, _ in names])
    return ((pose[:, second] - pose[:, first]).norm(dim=-1) / canonical).nanmean(1)


def stacked_heatmap_loss(
    stacks: Float[Tensor, "N S J h w"],
    keypoints: Float[Tensor, "N J 2"],
    weight: Float[Tensor, "N J"],
    stride: float,
    sigma: float = 1.0,
) -> Float[Tensor, ""]:
    """Squared error to a Gaussian of height 1 (`sigma` cells), mean over cells and labelled joints, summed over stacks."""
    target, weight = known(keypoints, weight)
    height, width = stacks.shape[-2:]
    cell = (target + 0.5) / stride - 0.5
    x = cell[..., :1] - torch.arange(width, device=cell.device)
    y = cell[..., 1:] - torch.arange(height, device=cell.device)
    goal = torch.exp(-0.5 * (y / sigma).square())[..., :, None] * torch.exp(-0.5 * (x / sigma).square())[..., None, :]
    error = (stacks - goal[:, None]).square().mean((-1, -2)).sum(1)
    return weighted_mean(error, weight)


def crop_depth_target(views: Views, skeleton: Skeleton) -> tuple[Float[Tensor, "N J"], Float[Tensor, "N J"]]:
    """Depth labels in halves of the crop's side, and their weights: `(Z - Z_root) sum |2D limb| / sum |XY limb|`.

    The quotient is the weak-perspective scale, pixels per unit of the pose; a limb whose 2D is unknown stays out of it.
    """
    first, second = (list(side) for side in zip(*skeleton.limbs, strict=True))
    flat = (views.keypoints[:, second] - views.keypoints[:, first]).norm(dim=-1)
    deep = (views.pose[:, second, :2] - views.pose[:, first, :2]).norm(dim=-1)
    both = ~(flat.isnan() | deep.isnan())
    scale = torch.where(both, flat, 0.0).sum(1) / torch.where(both, deep, 0.0).sum(1).clamp(min=1e-9)
    scale = torch.where(both.any(1), scale, float("nan"))
    depth = relative_depth(views.pose[..., 2], skeleton) * scale[:, None] * 2 / views.image.shape[-1]
    weight = torch.where(depth.isnan(), 0.0, views.pose_weight)
    return depth.nan_to_num(0.0), weight


def crop_points(keypoints: Float[Tensor, "N J 2"], depth: Float[Tensor, "N J"], side: int) -> Float[Tensor, "N J 3"]:
    """Labelled 2D and predicted depth in one unit, half the crop's side: the published form. Unknown joints at 0."""
    flat = (keypoints.nan_to_num(0.0) + 0.5) * 2 / side - 1
    return torch.cat([flat, depth[..., None]], -1)


class GeometricConstraint(Supervised):
    """Mixed 2D and 3D supervision with the bone-ratio loss, on the published network or on ours."""

    def terms(self, views: Views, maps: Maps) -> dict[str, Tensor]:
        """`heatmap`, `depth`, `geometry`, `geometry_3d`; on our network `coordinates` too."""
        side = views.image.shape[-1]
        if isinstance(maps, HourglassMaps):
            stride = side / maps.stacks.shape[-1]
            target, weight = crop_depth_target(views, self.skeleton)
            terms = {
                "heatmap": stacked_heatmap_loss(maps.stacks, views.keypoints, views.confidence, stride),
                "depth": weighted_mean((maps.depth - target).square(), weight),
            }
            points = crop_points(views.keypoints, maps.depth, side)
            sound = torch.ones(len(views), dtype=torch.bool, device=points.device)
        else:
            terms = super().terms(views, maps)
            weight = depth_target(views, self.skeleton)[1]
            depth = relative_depth(maps.depth, self.skeleton)
            found = torch.where(views.keypoints.isnan(), torch.nan, maps.keypoints)  # of the joints that are labelled
            points, sound = perspective_points(found, depth, views.intrinsics, side, self.skeleton)
        visible = ~views.keypoints.isnan().any(-1) & (views.confidence > 0)
        each = bone_ratio_loss(points, visible & sound[:, None], limb_groups(self.skeleton))
        deep, flat = weight.any(1), visible.any(1)
        terms["geometry"] = weighted_mean(each, (flat & ~deep).to(each.dtype))
        terms["geometry_3d"] = weighted_mean(each, (flat & deep).to(each.dtype))
        return terms

    @torch.no_grad()
    def predict(self, image: Tensor, intrinsics: Float[Tensor, "N 3 3"], flip: bool | None = None) -> Prediction:
        """Section 3.1: the hourglass's pose is pixels and depth in one unit (weak perspective); ours is lifted as ever."""
        if not isinstance(self.network, StackedHourglass):
            return super().predict(image, intrinsics, flip)
        maps = self.read(image, self.mirrored if flip is None else flip)
        pose = torch.cat([maps.keypoints, maps.depth[..., None] * image.shape[-1] / 2], -1)
        pose = pose - pose[:, list(self.skeleton.root)].mean(1, keepdim=True)
        bone = bone_vector(pose, self.skeleton.reference_bone).norm(dim=-1)
        safe = bone.clamp(min=1.0)  # one pixel
        return Prediction(
            pose=pose / safe[:, None, None],
            frame="camera",
            keypoints=maps.keypoints,
            confidence=maps.confidence,
            root_depth=intrinsics[:, 0, 0].to(safe.dtype) / safe,
            reliable=bone > 1.0,
        )
