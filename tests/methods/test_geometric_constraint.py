"""Zhou 2017: every term against plain Python, gradients, degenerate solutions, limb groups one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from vergence.batches.views import Views
from vergence.geometry.camera import project
from vergence.methods.geometric_constraint import (
    ASSUMED_FOCAL,
    CANONICAL_MM,
    REFERENCE_MM,
    GeometricConstraint,
    bone_ratio_loss,
    crop_depth_target,
    crop_points,
    limb_groups,
    perspective_points,
    relative_size,
    stacked_heatmap_loss,
)
from vergence.methods.registry import build_method
from vergence.metrics import limb_differences, n_mpjpe
from vergence.networks.hourglass import HourglassMaps, StackedHourglass
from vergence.networks.pose_network import Maps
from vergence.recipes.recipe import NetworkSettings
from vergence.skeleton import COCO_17, H36M_17, MPII_16
from vergence.world import single_images

SIDE = 64
GROUPS = limb_groups(H36M_17)
PELVIS, THORAX = H36M_17.index("pelvis"), H36M_17.index("thorax")


@pytest.fixture(scope="module")
def views() -> Views:
    """Forty images; the 3D of the first twenty is labelled."""
    return single_images(40, SIDE, seed=61)


def half_labelled(views: Views) -> Views:
    pose = views.pose.clone()
    pose[20:] = math.nan
    return views.replace(pose=pose)


def true_depth(views: Views) -> torch.Tensor:
    bone = (views.pose[:, THORAX] - views.pose[:, PELVIS]).norm(dim=-1)
    return (views.pose[..., 2] - views.pose[:, PELVIS, 2:]) / bone[:, None]


def slow_bone_ratio(points, visible) -> float:
    """The paper's sum over its four groups, in the authors' unit: l times the group's longest canonical length over its own."""
    legs = [("right_hip", "right_knee", 456.01), ("right_knee", "right_ankle", 452.13)]
    arms = [("right_shoulder", "right_elbow", 284.13), ("right_elbow", "right_wrist", 249.77)]
    hips, shoulders = [("pelvis", "right_hip", 134.20)], [("thorax", "right_shoulder", 180.78)]
    loss = 0.0
    for right in (legs, arms, hips, shoulders):
        both = right + [(a.replace("right", "left"), b.replace("right", "left"), mm) for a, b, mm in right]
        longest = max(mm for *_, mm in both)
        lengths = []
        for a, b, mm in both:
            i, j = H36M_17.index(a), H36M_17.index(b)
            if visible[i] and visible[j]:
                lengths.append(math.dist(points[i], points[j]) * longest / mm)
        if lengths:
            mean = sum(lengths) / len(lengths)
            loss += sum((length - mean) ** 2 for length in lengths) / len(lengths)
    return loss


def test_bone_ratio_loss_by_loops():
    g = torch.Generator().manual_seed(0)
    points = torch.randn(6, 17, 3, generator=g, dtype=torch.double)
    visible = torch.rand(6, 17, generator=g) > 0.3
    visible[0], visible[1] = True, False
    found = bone_ratio_loss(points, visible, GROUPS)
    expected = [slow_bone_ratio(p.tolist(), v.tolist()) for p, v in zip(points, visible)]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    assert found[1] == 0


def test_a_group_with_one_visible_limb_says_nothing():
    visible = torch.zeros(1, 17, dtype=torch.bool)
    visible[0, [H36M_17.index("left_knee"), H36M_17.index("left_ankle")]] = True
    points = torch.randn(1, 17, 3, requires_grad=True)
    loss = bone_ratio_loss(points, visible, GROUPS)
    loss.sum().backward()
    assert loss.item() == 0
    assert points.grad.abs().sum() == 0


def test_bone_ratio_gradient():
    g = torch.Generator().manual_seed(1)
    flat = torch.randn(3, 17, 2, generator=g, dtype=torch.double)
    depth = torch.randn(3, 17, generator=g, dtype=torch.double, requires_grad=True)
    visible = torch.rand(3, 17, generator=g) > 0.2

    def loss(depth):
        return bone_ratio_loss(torch.cat([flat, depth[..., None]], -1), visible, GROUPS)

    assert torch.autograd.gradcheck(loss, (depth,))


def test_a_flat_pose_has_no_gradient_to_leave_by():
    """Hence the third stage: dl/dz = dz / l."""
    points = torch.randn(2, 17, 3, generator=torch.Generator().manual_seed(0))
    points[..., 2] = 0
    points.requires_grad_()
    bone_ratio_loss(points, torch.ones(2, 17, dtype=torch.bool), GROUPS).sum().backward()
    assert points.grad[..., 2].abs().max() == 0
    assert points.grad[..., :2].abs().max() > 0.1


def test_the_loss_does_not_see_the_sign_of_depth():
    points = torch.randn(4, 17, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    seen = torch.ones(4, 17, dtype=torch.bool)
    mirrored = points * points.new_tensor([1, 1, -1])
    assert torch.allclose(bone_ratio_loss(points, seen, GROUPS), bone_ratio_loss(mirrored, seen, GROUPS))


def test_groups_are_the_papers():
    assert [len(group.bones) for group in GROUPS] == [4, 4, 2, 2]
    assert GROUPS[0].ratio == pytest.approx((1, 1, 1.00859, 1.00859), abs=1e-5)  # the constants in the authors' code
    assert GROUPS[1].ratio == pytest.approx((1, 1, 1.13754, 1.13754), abs=1e-4)
    mpii = limb_groups(MPII_16)
    assert {tuple(sorted(b)) for b in mpii[0].bones} == {(0, 1), (1, 2), (3, 4), (4, 5)}
    assert {tuple(sorted(b)) for b in mpii[1].bones} == {(10, 11), (11, 12), (13, 14), (14, 15)}
    assert {tuple(sorted(b)) for b in mpii[2].bones} == {(2, 6), (3, 6)}
    assert len(limb_groups(COCO_17)) == 2  # it has neither pelvis nor thorax


@pytest.mark.parametrize("group", [0, 1, 2, 3])
def test_descent_evens_out_each_group(group):
    """From a pose with one joint pushed in depth, gradient steps on the depths bring that group's limbs together."""
    names = [("upper_leg", "lower_leg"), ("upper_arm", "lower_arm"), ("hip",), ("shoulder",)][group]
    joint = H36M_17.index(("left_knee", "left_elbow", "left_hip", "left_shoulder")[group])
    pose = single_images(1, 16, seed=5).pose
    pose = (pose - pose[:, :1]) / 480
    depth = pose[..., 2].clone()
    depth[0, joint] += 0.35
    depth.requires_grad_()
    seen = torch.ones(1, 17, dtype=torch.bool)
    rows = [list(H36M_17.limb_groups).index(name) for name in names]

    def gap() -> float:
        points = torch.cat([pose[..., :2], depth.detach()[..., None]], -1)
        return float(limb_differences(points, H36M_17)[0, rows].sum())

    before = gap()
    assert before > 0.05
    optimizer = torch.optim.Adam([depth], lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        bone_ratio_loss(
            torch.cat([pose[..., :2], depth[..., None]], -1), seen, GROUPS[group : group + 1]
        ).sum().backward()
        optimizer.step()
    assert gap() < 0.35 * before


def test_perspective_points_are_the_true_pose(views):
    points, sound = perspective_points(
        project(views.pose, views.intrinsics), true_depth(views), views.intrinsics, SIDE, H36M_17
    )
    assert sound.float().mean() > 0.8
    bone = (views.pose[:, THORAX] - views.pose[:, PELVIS]).norm(dim=-1)
    expected = views.pose / bone[:, None, None]
    assert torch.allclose(points[sound], expected[sound], atol=0.02)


def test_the_reference_bone_cannot_be_turned_to_lower_the_loss(views):
    """The root's depth is held: its gradient would shrink everything."""
    depth = true_depth(views).double().requires_grad_()
    k = views.intrinsics.double()
    points, sound = perspective_points(project(views.pose.double(), k), depth, k, SIDE, H36M_17)
    held = points.detach()[..., 2] - depth.detach()
    points.square().sum().backward()
    rays = torch.cat([points.detach()[..., :2] / points.detach()[..., 2:], torch.ones(40, 17, 1)], -1)
    expected = 2 * (held + depth.detach()) * rays.square().sum(-1)
    assert torch.allclose(depth.grad[sound], expected[sound], rtol=1e-6)


def test_absurd_sizes_and_missing_joints_are_left_out(views):
    points = project(views.pose, views.intrinsics)
    points[0, THORAX] = math.nan
    points[1, THORAX] = points[1, PELVIS] + 0.2  # a torso seen end-on, said to lie flat: the root would be far away
    points[2, 3] = math.nan
    depth = true_depth(views).clone()
    depth[1] = 0
    depth.requires_grad_()
    found, sound = perspective_points(points, depth, views.intrinsics, SIDE, H36M_17)
    assert not sound[:2].any()
    assert found.isfinite().all()
    seen = ~points.isnan().any(-1) & sound[:, None]
    bone_ratio_loss(found, seen, GROUPS).sum().backward()
    assert depth.grad.isfinite().all()
    assert (depth.grad[:2] == 0).all()
    size = relative_size(views.pose / 476, H36M_17)
    assert size.mean() == pytest.approx(1.0, abs=0.15)
    assert REFERENCE_MM / CANONICAL_MM["upper_leg"] == pytest.approx(1.1, abs=0.01)


def test_unknown_intrinsics_are_a_narrow_lens(views):
    nowhere = torch.full_like(views.intrinsics, math.nan)
    keypoints = project(views.pose, views.intrinsics)
    found, sound = perspective_points(keypoints, true_depth(views), nowhere, SIDE, H36M_17)
    angle = 2 * math.degrees(math.atan(0.5 / 2.26))
    assert angle == pytest.approx(25, abs=0.1)
    focal, centre = ASSUMED_FOCAL * SIDE, (SIDE - 1) / 2
    lens = nowhere.new_tensor([[focal, 0, centre], [0, focal, centre], [0, 0, 1]]).expand_as(nowhere)
    torch.testing.assert_close(found, perspective_points(keypoints, true_depth(views), lens, SIDE, H36M_17)[0])
    seen = sound[:, None].expand(-1, 17)
    known, both = perspective_points(keypoints, true_depth(views), views.intrinsics, SIDE, H36M_17)
    assert sound.float().mean() > 0.8
    assert bone_ratio_loss(found, seen, GROUPS).mean() < 0.01
    assert bone_ratio_loss(known, both[:, None].expand(-1, 17), GROUPS).mean() < 0.002


def test_stacked_heatmap_loss_by_loops():
    g = torch.Generator().manual_seed(0)
    stacks = torch.rand(2, 3, 2, 6, 5, generator=g)
    keypoints = torch.tensor([[[3.0, 7.0], [math.nan, 1.0]], [[18.0, 22.5], [9.0, 2.0]]])
    weight = torch.tensor([[1.0, 1.0], [0.5, 0.0]])
    total = power = 0.0
    for n, j in ((0, 0), (1, 0)):
        cx, cy = ((float(v) + 0.5) / 4 - 0.5 for v in keypoints[n, j])
        for s in range(3):
            error = 0.0
            for y in range(6):
                for x in range(5):
                    goal = math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 2)
                    error += (float(stacks[n, s, j, y, x]) - goal) ** 2
            total += float(weight[n, j]) * error / 30
        power += float(weight[n, j])
    assert stacked_heatmap_loss(stacks, keypoints, weight, 4.0).item() == pytest.approx(total / power, rel=1e-5)


def test_stacked_heatmap_gradient():
    stacks = torch.rand(1, 2, 2, 4, 4, dtype=torch.double, requires_grad=True)
    keypoints = torch.tensor([[[3.0, 7.0], [10.0, 4.0]]], dtype=torch.double)
    weight = torch.tensor([[1.0, 0.5]], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda s: stacked_heatmap_loss(s, keypoints, weight, 4.0), (stacks,))


def test_crop_depth_target_by_loops(views):
    depth, weight = crop_depth_target(views, H36M_17)
    for i in range(0, 40, 7):
        flat = deep = 0.0
        for a, b in H36M_17.limbs:
            length = math.dist(views.keypoints[i, a].tolist(), views.keypoints[i, b].tolist())
            if not math.isnan(length):
                flat += length
                deep += math.dist(views.pose[i, a, :2].tolist(), views.pose[i, b, :2].tolist())
        for j in range(17):
            expected = float(views.pose[i, j, 2] - views.pose[i, 0, 2]) * flat / deep * 2 / SIDE
            assert float(depth[i, j]) == pytest.approx(expected, abs=1e-3)
    assert (weight == 1).all()
    blind = views.replace(keypoints=torch.full_like(views.keypoints, math.nan))
    assert (crop_depth_target(blind, H36M_17)[1] == 0).all()


def test_the_crops_side_is_its_images_width(views):
    depth = crop_depth_target(views, H36M_17)[0]
    for height, width in ((SIDE // 4, SIDE), (SIDE, 2 * SIDE)):
        found = crop_depth_target(views.replace(image=torch.zeros(40, 3, height, width)), H36M_17)[0]
        assert torch.allclose(found, depth * SIDE / width, atol=1e-6)


class Saying(nn.Module):
    """A network that says given 2.5D, in crop units or in reference bones."""

    def __init__(self, maps: Maps) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, image):
        return self.maps


def published(views: Views, depth: torch.Tensor) -> HourglassMaps:
    """What a perfect hourglass says of the 2D, with the given depths."""
    cell = (views.keypoints.nan_to_num(0.0) + 0.5) / 4 - 0.5
    grid = torch.arange(SIDE // 4)
    x, y = (torch.exp(-0.5 * (cell[..., i : i + 1] - grid) ** 2) for i in (0, 1))
    heat = (y[..., :, None] * x[..., None, :])[:, None].repeat(1, 2, 1, 1, 1)
    log = heat[:, 0].clamp(min=1e-6).log()
    return HourglassMaps(log, views.keypoints, depth, torch.ones(depth.shape), torch.zeros(len(views), 1, 1, 1), heat)


def ours(views: Views, depth: torch.Tensor) -> Maps:
    maps = published(views, depth)
    heat = maps.stacks[:, 0] / maps.stacks[:, 0].sum((-1, -2), keepdim=True).clamp(min=1e-9)
    points = views.keypoints.nan_to_num(0.0)
    return Maps(heat.clamp(min=1e-9).log(), points, depth, torch.ones(depth.shape), torch.zeros(len(views), 1, 1, 1))


WEIGHTS = {
    "hourglass": {"heatmap": 1.0, "depth": 0.1, "geometry": 0.01},
    "ours": {"heatmap": 1.0, "coordinates": 0.1, "depth": 4.0, "geometry": 5.0},
}


def objective(views: Views, maps: Maps, weights: dict[str, float]) -> float:
    method = GeometricConstraint(Saying(maps), H36M_17)  # type: ignore[arg-type]
    terms = method.losses(views)
    return float(sum(weight * terms[name] for name, weight in weights.items()))


@pytest.mark.parametrize("network", ["hourglass", "ours"])
def test_degenerate_solutions_cost_more_than_the_truth(views, network):
    """Flat, mirrored and constant depth, and everything on one point; half the images have 3D labels."""
    say = published if network == "hourglass" else ours
    true = crop_depth_target(views, H36M_17)[0] if network == "hourglass" else true_depth(views)
    batch, weights = half_labelled(views), WEIGHTS[network]
    truth = objective(batch, say(views, true), weights)
    constant = true.mean(0).expand_as(true)
    for name, wrong in {"flat": 0 * true, "mirrored": -true, "constant": constant}.items():
        assert objective(batch, say(views, wrong), weights) > truth + 1e-3, name
    point = views.replace(keypoints=torch.full_like(views.keypoints, 30.0))
    assert objective(batch, say(point, 0 * true), weights) > truth + 1e-2


@pytest.mark.parametrize("network", ["hourglass", "ours"])
def test_on_2d_images_alone_flat_and_constant_cost_more_and_mirrored_does_not(views, network):
    say = published if network == "hourglass" else ours
    true = crop_depth_target(views, H36M_17)[0] if network == "hourglass" else true_depth(views)
    batch = views.replace(pose=torch.full_like(views.pose, math.nan))
    only = {"geometry": 1.0}
    truth = objective(batch, say(views, true), only)
    assert objective(batch, say(views, 0 * true), only) > 3 * truth
    assert objective(batch, say(views, true.mean(0).expand_as(true)), only) > 3 * truth
    mirrored = objective(batch, say(views, -true), only)
    assert mirrored == pytest.approx(truth, rel=1e-4) if network == "hourglass" else mirrored < 0.05


def test_terms_read_their_own_images(views):
    batch = half_labelled(views)
    maps = ours(views, true_depth(views) + 0.1 * torch.randn(40, 17, generator=torch.Generator().manual_seed(0)))
    terms = GeometricConstraint(Saying(maps), H36M_17).losses(batch)  # type: ignore[arg-type]
    assert set(terms) == {"heatmap", "coordinates", "depth", "geometry", "geometry_3d"}
    points, sound = perspective_points(views.keypoints, maps.depth - maps.depth[:, :1], views.intrinsics, SIDE, H36M_17)
    seen = ~views.keypoints.isnan().any(-1) & sound[:, None]
    each = [slow_bone_ratio(p.tolist(), v.tolist()) for p, v in zip(points, seen)]
    assert terms["geometry"].item() == pytest.approx(sum(each[20:]) / 20, rel=1e-4)
    assert terms["geometry_3d"].item() == pytest.approx(sum(each[:20]) / 20, rel=1e-4)
    none = GeometricConstraint(Saying(maps), H36M_17).losses(views)  # type: ignore[arg-type]
    assert none["geometry"] == 0


@pytest.mark.parametrize("network", ["hourglass", "ours"])
def test_lengths_are_of_the_2d_that_a_network_says_and_on_the_hourglass_of_the_labelled(views, network):
    hidden = views.keypoints.clone()
    hidden[:, 13] = math.nan  # the left wrist
    batch = half_labelled(views.replace(keypoints=hidden))
    maps = (published if network == "hourglass" else ours)(views, true_depth(views))
    said = (views.keypoints.nan_to_num(0.0) + 3 * torch.rand(40, 17, 2)).requires_grad_()
    maps = replace(maps, keypoints=said)
    terms = GeometricConstraint(Saying(maps), H36M_17).losses(batch)  # type: ignore[arg-type]
    if network == "hourglass":
        assert not terms["geometry"].requires_grad
        return
    (gradient,) = torch.autograd.grad(terms["geometry"], said)
    moved = gradient.abs().sum(-1) > 0
    assert not moved[:20].any()  # which have 3D labels
    assert not moved[:, 13].any()
    assert moved[20:, 12].any()
    assert moved[20:, 16].any()


def test_the_hourglass_terms_are_the_published_ones(views):
    batch = half_labelled(views)
    g = torch.Generator().manual_seed(0)
    depth = torch.randn(40, 17, generator=g)
    terms = GeometricConstraint(Saying(published(views, depth)), H36M_17).losses(batch)  # type: ignore[arg-type]
    target = crop_depth_target(views, H36M_17)[0]
    squared = [(float(depth[i, j]) - float(target[i, j])) ** 2 for i in range(20) for j in range(17)]
    assert terms["depth"].item() == pytest.approx(sum(squared) / len(squared), rel=1e-4)
    assert terms["heatmap"].item() == pytest.approx(0, abs=1e-6)
    total = 0.0
    for i in range(20, 40):
        seen = [not math.isnan(float(x)) for x in views.keypoints[i, :, 0]]
        flat = [[(float(v) + 0.5) / (SIDE / 2) - 1 for v in point] for point in views.keypoints[i].nan_to_num(0.0)]
        total += slow_bone_ratio([[*xy, float(z)] for xy, z in zip(flat, depth[i])], seen)
    assert terms["geometry"].item() == pytest.approx(total / 20, rel=1e-4)
    corner = crop_points(torch.tensor([[[-0.5, SIDE - 0.5]]]), torch.zeros(1, 1), SIDE)
    assert corner.flatten().tolist() == [-1.0, 1.0, 0.0]


def test_an_hourglass_prediction_is_weak_perspective(views):
    """True 2.5D in crop units comes back as the true pose but for perspective."""
    method = build_method(
        "geometric_constraint", NetworkSettings(backbone="hourglass", width=16, stacks=1, modules=1), "h36m_17"
    )
    exact = views.replace(keypoints=project(views.pose, views.intrinsics))
    maps = published(exact, crop_depth_target(exact, H36M_17)[0])
    network = method.network
    assert isinstance(network, StackedHourglass)
    network.forward = lambda image: maps  # type: ignore[method-assign]
    found = method.predict(views.image, views.intrinsics, flip=False)
    bone = (found.pose[:, THORAX] - found.pose[:, PELVIS]).norm(dim=-1)
    assert torch.allclose(bone, torch.ones(40), atol=1e-4)
    error = n_mpjpe(found.pose, views.pose, PELVIS)
    assert float(error.median()) < 45
    ratio = found.root_depth * 476 / views.pose[:, PELVIS, 2]
    assert float(ratio.median()) == pytest.approx(1, abs=0.15)
