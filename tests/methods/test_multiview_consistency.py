"""Iqbal 2020: each loss against plain Python, its gradient, what must cost more than the truth, and the collapse named."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.camera import axis_angle_to_matrix
from vergence.geometry.limbs import limb_ratios, parent_limbs
from vergence.methods import multiview_consistency as module
from vergence.methods.multiview_consistency import (
    MultiViewConsistency,
    Poses,
    _spread,
    alarms,
    bend_loss,
    consistency_loss,
    limb_loss,
    pairs_of,
)
from vergence.methods.registry import build_method
from vergence.networks.pose_network import Maps
from vergence.recipes.recipe import NetworkSettings, TrainStage
from vergence.recipes.settings import MultiView
from vergence.skeleton import H36M_17
from vergence.world import recordings

TINY = NetworkSettings(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8)
LIMBS = parent_limbs(H36M_17)
WEIGHTS = {"heatmap": 1.0, "coordinates": 0.1, "consistency": 10.0, "limbs": 10.0, "bend": 1.0}
RATIOS = {
    "hip": 0.251, "knee": 0.878, "ankle": 0.888, "spine": 0.473, "thorax": 0.532, "neck_nose": 0.236,
    "head_top": 0.425, "shoulder": 0.339, "elbow": 0.589, "wrist": 0.539,
}  # fmt: skip
MU = torch.tensor([RATIOS[H36M_17.joint_names[c].split("_", 1)[-1] if "left" in H36M_17.joint_names[c] or "right"
                   in H36M_17.joint_names[c] else H36M_17.joint_names[c]] for _, c in LIMBS], dtype=torch.double)  # fmt: skip
THORAX = H36M_17.index("thorax")


@pytest.fixture(scope="module")
def film() -> Views:
    """Three people, four cameras, four time steps: upright enough that every root depth is sound."""
    views = recordings(3, 6, 4, 32, seed=70)
    lean = (views.pose[:, THORAX, 2] - views.pose[:, 0, 2]).abs() / (views.pose[:, THORAX] - views.pose[:, 0]).norm(
        dim=-1
    )
    upright = ~torch.isin(views.time_step, views.time_step[lean > 0.6])
    assert upright.sum() >= 32
    return views[upright]


def in_bones(pose):
    return pose / (pose[:, THORAX] - pose[:, 0]).norm(dim=-1)[:, None, None]


def maps_of(keypoints, depth, size: int = 32, sigma: float = 0.7, confidence: bool = True) -> Maps:
    """Maps that say these pixels and depths, with heatmaps that peak there."""
    stride, cells = 4, size // 4
    cell = ((keypoints + 0.5) / stride - 0.5).clamp(0, cells - 1)
    x, y = torch.arange(cells) - cell[..., :1], torch.arange(cells) - cell[..., 1:]
    log = -0.5 * (y[..., :, None] ** 2 + x[..., None, :] ** 2) / sigma**2
    log = log.flatten(2).log_softmax(-1).view_as(log)
    return Maps(log, keypoints, depth, torch.zeros(depth.shape), torch.zeros(len(depth), 1, 1, 1))


def method_with(losses=WEIGHTS, **settings) -> MultiViewConsistency:
    torch.manual_seed(0)
    method = build_method("multiview_consistency", TINY, "h36m_17")
    assert isinstance(method, MultiViewConsistency)
    method.prepare(TrainStage(losses=losses, multiview=MultiView(limb_ratios=RATIOS, **settings)), {})
    return method


def projected(views: Views):
    pixels = views.pose @ views.intrinsics.mT
    return pixels[..., :2] / pixels[..., 2:]


def true_maps(views: Views) -> Maps:
    pose = in_bones(views.pose)
    return maps_of(projected(views), pose[..., 2] - pose[:, :1, 2])


def unlabelled(views: Views) -> Views:
    return views.replace(pose=torch.full_like(views.pose, math.nan), rotation=torch.full_like(views.rotation, math.nan))


def random_poses(n: int, seed: int) -> Poses:
    g = torch.Generator().manual_seed(seed)
    pose = torch.randn(n, 17, 3, generator=g, dtype=torch.double) + torch.tensor([0.0, 0, 9])
    weight = torch.rand(n, 17, generator=g, dtype=torch.double)
    return Poses(pose, torch.where(weight < 0.3, 0.0, weight), torch.ones(n, dtype=torch.bool))


# Pairs


def test_pairs_are_every_two_views_of_a_time_step_once():
    views = Views.empty(9, 17, 4, 4).replace(time_step=torch.tensor([5, 1, 5, 2, 1, 5, 5, 3, 2]))
    a, b = pairs_of(views)
    rows = {
        tuple(sorted(pair))
        for time_step in (1, 2, 3, 5)
        for pair in itertools.combinations(torch.nonzero(views.time_step == time_step)[:, 0].tolist(), 2)
    }
    assert sorted(tuple(sorted(p)) for p in zip(a.tolist(), b.tolist(), strict=True)) == sorted(rows)
    alone, _ = pairs_of(Views.empty(4, 17, 4, 4))
    assert len(alone) == 0


# Losses against plain Python


def slow_consistency(a: Poses, b: Poses, between=None, absolute=False) -> float:
    total, count = 0.0, 0
    for n in range(len(a.pose)):
        w = (a.weight[n] * b.weight[n]).numpy()
        if (w > 0).sum() < 4 or not (a.usable[n] and b.usable[n]):
            continue
        p, q = a.pose[n].numpy(), b.pose[n].numpy()
        w = w / w.sum()
        cp, cq = w @ p, w @ q
        if between is None or np.isnan(between[n].numpy()).any():
            u, _, vt = np.linalg.svd((p - cp).T @ np.diag(w) @ (q - cq))
            d = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
            r = u @ d @ vt
        else:
            r = between[n].double().numpy()
        t = cp - r @ cq
        squares = [np.sum((p[j] - r @ q[j] - t) ** 2) for j in range(17)]
        if absolute:
            squares = [(square + 1e-4) ** 0.5 - 0.01 for square in squares]
        total += w @ squares
        count += 1
    return total / count if count else 0.0


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_consistency_against_plain_python(given, absolute):
    a, b = random_poses(7, 1), random_poses(7, 2)
    a.usable[2] = False
    b.weight[4, 3:] = 0.0
    between = None
    if given:
        between = axis_angle_to_matrix(torch.randn(7, 3, generator=torch.Generator().manual_seed(3)))
        between[5] = math.nan  # free
    expected = slow_consistency(a, b, between, absolute)
    assert float(consistency_loss(a, b, between, absolute)) == pytest.approx(expected, rel=1e-9)


def test_a_joint_far_off_pulls_no_harder_than_another_where_distances_count():
    """The joint that differs, and everything that the motion shifts because of it."""
    pull = {}
    turn = torch.eye(3, dtype=torch.double).expand(3, 3, 3)
    for absolute in (False, True):
        for off in (1.0, 10.0):
            a = random_poses(3, 12)
            b = Poses(a.pose.clone(), a.weight, a.usable)
            b.pose[:, 5, 0] += off
            a.pose.requires_grad_()
            consistency_loss(a, b, turn, absolute).backward()
            pull[absolute, off] = float(a.pose.grad[:, 5].norm())
    assert pull[False, 10.0] == pytest.approx(10 * pull[False, 1.0], rel=1e-6)
    assert pull[True, 10.0] == pytest.approx(pull[True, 1.0], rel=0.01)


@pytest.mark.parametrize("given", [False, True])
def test_consistency_is_the_same_both_ways_and_blind_to_rigid_motion(given):
    a, b = random_poses(5, 4), random_poses(5, 5)
    turn = axis_angle_to_matrix(torch.randn(5, 3, generator=torch.Generator().manual_seed(6), dtype=torch.double))
    between = turn if given else None
    back = turn.mT if given else None
    assert float(consistency_loss(a, b, between)) == pytest.approx(float(consistency_loss(b, a, back)), rel=1e-9)
    moved = Poses(a.pose @ turn + 3.0, a.weight, a.usable)
    if given:
        assert float(consistency_loss(moved, a, turn.mT)) == pytest.approx(0, abs=1e-12)
        assert float(consistency_loss(moved, a, turn)) > 0.1
    else:
        assert float(consistency_loss(moved, b)) == pytest.approx(float(consistency_loss(a, b)), rel=1e-9)
        assert float(consistency_loss(moved, a)) == pytest.approx(0, abs=1e-12)
        larger = Poses(1.2 * a.pose, a.weight, a.usable)
        assert float(consistency_loss(larger, a)) > 0.01  # no scale is aligned away


def test_limb_loss_against_plain_python():
    poses = random_poses(4, 7)
    total = weights = 0.0
    for n in range(4):
        for (i, j), mu in zip(LIMBS, MU.tolist(), strict=True):
            w = float(poses.weight[n, i] * poses.weight[n, j])
            total += w * (math.dist(poses.pose[n, i].tolist(), poses.pose[n, j].tolist()) - mu) ** 2
            weights += w
    assert float(limb_loss(poses, LIMBS, MU)) == pytest.approx(total / weights, rel=1e-9)


def test_bend_loss_against_plain_python():
    poses = random_poses(6, 8)
    index = H36M_17.index
    total = weights = 0.0
    for n in range(6):
        p, w = poses.pose[n].numpy(), poses.weight[n].numpy()
        h = p[index("right_hip")] - p[index("left_hip")]
        for side in ("right", "left"):
            hip, knee, ankle = (index(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
            t, s = p[knee] - p[hip], p[ankle] - p[knee]
            bend = np.cross(t, s) @ h / (np.linalg.norm(t) * np.linalg.norm(s) * np.linalg.norm(h))
            each = w[index("right_hip")] * w[index("left_hip")] * w[knee] * w[ankle]
            total, weights = total + each * max(0.0, bend), weights + each
    assert float(bend_loss(poses, H36M_17)) == pytest.approx(total / weights, rel=1e-9)


@pytest.mark.parametrize("name", ["consistency", "given", "absolute", "limbs", "bend"])
def test_gradients(name):
    a, b = random_poses(3, 9), random_poses(3, 10)
    turn = axis_angle_to_matrix(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.double))

    def loss(p, q):
        one, two = Poses(p, a.weight, a.usable), Poses(q, b.weight, b.usable)
        if name in ("consistency", "given", "absolute"):
            return consistency_loss(one, two, None if name == "consistency" else turn, name == "absolute")
        return limb_loss(one, LIMBS, MU) if name == "limbs" else bend_loss(one, H36M_17) + q.sum() * 0

    # The alignment is detached: it is optimal, so the numerical gradient, which moves it, must still agree.
    assert torch.autograd.gradcheck(loss, (a.pose.requires_grad_(), b.pose.requires_grad_()), atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("root_depth", ["closed_form", "limbs"])
def test_gradient_of_the_whole_objective_through_pixels_and_depths(film, root_depth):
    views = unlabelled(film[:4].replace(intrinsics=film.intrinsics[:4].double()))
    method = method_with(root_depth=root_depth)
    depth = true_maps(film[:4]).depth.double()
    g = torch.Generator().manual_seed(0)
    points = (projected(film[:4]).double() + 0.3 * torch.randn(4, 17, 2, generator=g)).requires_grad_()
    depth = (depth + 0.05 * torch.randn(4, 17, generator=g)).requires_grad_()
    heat = maps_of(projected(film[:4]), depth.detach()).log_heatmap
    fixed = method.lifted(views, Maps(heat, points, depth, depth, depth)).pose[:, 0, 2].detach()

    def loss(points, depth):
        terms = method.terms(views, Maps(heat, points, depth, depth, depth))
        return sum(WEIGHTS[name] * terms[name] for name in ("consistency", "limbs", "bend"))

    if root_depth == "limbs":  # the root's depth is a constant of the loss: only depths may be checked numerically
        assert torch.autograd.gradcheck(lambda d: loss(points.detach(), d), (depth,), atol=1e-5, fast_mode=True)
        assert fixed.isfinite().all()
    else:
        assert torch.autograd.gradcheck(loss, (points, depth), atol=1e-5, fast_mode=True)


# Settings do what they say


def test_shielded_3d_losses_leave_the_pixels_alone(film):
    views = unlabelled(film)
    moved = {}
    for shield in (False, True):
        true = true_maps(film)
        points = true.keypoints.clone().requires_grad_()
        depth = (true.depth * 0.8).requires_grad_()
        method = method_with(shield=shield, root_depth="closed_form" if not shield else "limbs")
        terms = method.terms(views, Maps(true.log_heatmap, points, depth, depth, depth))
        (terms["consistency"] + terms["limbs"] + terms["bend"]).backward()
        assert float(depth.grad.abs().sum()) > 0
        moved[shield] = 0.0 if points.grad is None else float(points.grad.abs().sum())
    assert moved[True] == 0.0
    assert moved[False] > 0


def test_the_consistency_term_grows_over_the_ramp(film):
    views, maps = unlabelled(film), true_maps(film)
    maps.depth = maps.depth * 0.7
    full = float(method_with().terms(views, maps)["consistency"])
    method = method_with(ramp=0.5)
    for progress, share in ((0.0, 0.0), (0.1, 0.2), (0.5, 1.0), (0.9, 1.0)):
        method.progress = progress
        assert float(method.terms(views, maps)["consistency"]) == pytest.approx(share * full, abs=1e-9)


def test_joints_of_little_confidence_and_leaning_views_count_for_nothing(film):
    views, maps = unlabelled(film), true_maps(film)
    method = method_with()
    before = float(method.terms(views, maps)["consistency"])
    wild = maps.depth.clone()
    wild[0, 3] += 2.0
    with_error = float(method.terms(views, Maps(maps.log_heatmap, maps.keypoints, wild, wild, wild))["consistency"])
    assert with_error > 10 * before + 1e-3
    heat = maps.log_heatmap.clone()
    heat[0, 3] = -math.log(heat.shape[-1] ** 2)  # as likely anywhere
    method = method_with(confidence=0.3)
    without = float(method.terms(views, Maps(heat, maps.keypoints, wild, wild, wild))["consistency"])
    assert without == pytest.approx(before, abs=1e-5)
    points = maps.keypoints.clone()
    points[0, THORAX] = points[0, 0] + 0.3 * (points[0, THORAX] - points[0, 0])
    rest = views.time_step != views.time_step[0]
    short = Maps(heat, points, maps.depth, maps.depth, maps.depth)
    left_out = method_with().lifted(views, short)
    assert not left_out.usable[0]
    assert left_out.usable[rest].all()
    assert method_with(tilt=1.0).lifted(views, short).usable.all()
    leaning = maps.depth.clone()
    leaning[:, THORAX:] += 3.0  # depth alone cannot take a view out
    assert method_with().lifted(views, Maps(heat, maps.keypoints, leaning, leaning, leaning)).usable.all()


def test_a_view_of_a_joint_at_or_behind_the_camera_is_left_out_and_of_a_near_one_is_not(film):
    """Depths of a wrist, in reference bones from the camera; the root's depth is told by 2D alone."""
    views, true = unlabelled(film), true_maps(film)
    root = float(method_with().lifted(views, true, "limbs").pose[0, 0, 2])
    for distance in (0.5, 0.01, -0.01, -3.0):
        depth = true.depth.clone()
        depth[0, 13] = depth[0, 0] + distance - root
        found = method_with().lifted(views, Maps(true.log_heatmap, true.keypoints, depth, depth, depth), "limbs")
        assert float(found.pose[0, 13, 2]) == pytest.approx(distance, abs=1e-4)
        assert bool(found.usable[0]) == (distance > 0)
        assert found.usable[1:].all()


def test_the_collapse_that_keeps_the_2d_costs_more_than_the_truth(film):
    """As training finds it: 2D exact, the reference bone on the axis, the root near, and one skeleton in depth."""
    depth = in_bones(film.pose)[..., 2]
    depth = (depth - depth[:, :1]).mean(0, keepdim=True).expand(len(film), 17).clone()
    depth[:, THORAX] = 0.97
    true = true_maps(film)
    near = Maps(true.log_heatmap, true.keypoints, depth, depth, depth)
    method = method_with()
    cost = [
        sum(10 * float(method.terms(unlabelled(film), m)[n]) for n in ("consistency", "limbs")) for m in (true, near)
    ]
    assert cost[1] > cost[0] + 0.1
    assert {"reference_bone", "root_depth", "constant_depth"} <= set(watched(film, near).alarms)


def test_views_without_a_lens_are_left_out(film):
    views, maps = unlabelled(film), true_maps(film)
    lens = views.intrinsics.clone()
    lens[1] = math.nan
    wild = maps.depth.clone()
    wild[1] += torch.linspace(0, 3, 17)
    terms = method_with().terms(
        views.replace(intrinsics=lens), Maps(maps.log_heatmap, maps.keypoints, wild, wild, wild)
    )
    assert float(terms["consistency"]) < 1e-4
    assert all(bool(v.isfinite()) for v in terms.values())


def test_given_rotations_see_a_mirrored_pose_and_free_ones_do_not(film):
    """The ambiguity needs weak perspective; here mirrored depths, root depth from 2D limbs."""
    mirrored = true_maps(film)
    mirrored.depth = -mirrored.depth
    shown = film.replace(pose=torch.full_like(film.pose, math.nan))
    cost = {
        name: float(method_with(rotations=name, root_depth="limbs").terms(shown, mirrored)["consistency"])
        for name in ("free", "given")
    }
    truth = float(method_with(rotations="given", root_depth="limbs").terms(shown, true_maps(film))["consistency"])
    assert cost["given"] > 4 * cost["free"]
    assert cost["given"] > 0.05 + truth


def test_exact_views_of_the_world_cost_nothing(film):
    for rotations in ("free", "given"):
        terms = method_with(rotations=rotations).terms(film, true_maps(film))
        assert float(terms["consistency"]) < 1e-5
        assert float(terms["limbs"]) < 0.002  # people differ from the mean
        assert float(terms["bend"]) < 1e-3


# Degenerate solutions


def collapsed(views: Views, share: float = 0.02) -> Maps:
    """The zero-residual solution: the bone along the optical axis, everything else shrunk to the root in each view alike."""
    depth = torch.zeros(len(views), 17)
    depth[:, THORAX] = 0.999
    points = projected(views)
    points = points[:, :1] + share * (points - points[:, :1])
    return maps_of(points, depth)


def degenerate(views: Views) -> dict[str, Maps]:
    true = true_maps(views)
    points, depth = true.keypoints, true.depth
    heat = lambda d: Maps(true.log_heatmap, points, d, d, true.features)
    return {
        "bone on the optical axis": collapsed(views),
        "one point": maps_of(points.mean(1, keepdim=True).expand_as(points), torch.zeros_like(depth)),
        "flat depth": heat(torch.zeros_like(depth)),
        "mirrored depth": heat(-depth),
        "constant depth": heat(depth.mean(0, keepdim=True).expand_as(depth)),
        "constant pose": maps_of(
            points.mean(0, keepdim=True).expand_as(points), depth.mean(0, keepdim=True).expand_as(depth)
        ),
    }


FULL = {
    "paper": {"root_depth": "closed_form"},
    "shielded": {"root_depth": "limbs", "shield": True},
    "given": {"root_depth": "limbs", "rotations": "given"},
}
DEGENERATE = [
    "bone on the optical axis",
    "one point",
    "flat depth",
    "mirrored depth",
    "constant depth",
    "constant pose",
]


@pytest.mark.parametrize("form", FULL)
@pytest.mark.parametrize("what", DEGENERATE)
def test_degenerate_solutions_cost_more_than_the_truth(film, what, form):
    """Under the weights of the recipes, with the pseudo 2D of the regularisation; the paper's form without the bend."""
    hidden = film.replace(pose=torch.full_like(film.pose, math.nan), keypoints=projected(film))
    weights = WEIGHTS | ({"bend": 0.0} if form == "paper" else {})
    method = method_with(**FULL[form])

    def cost(maps: Maps) -> float:
        terms = method.terms(hidden, maps)
        return float(sum(weight * terms[name] for name, weight in weights.items()))

    assert cost(degenerate(film)[what]) > cost(true_maps(film)) + 0.05  # nats and squared reference bones


def test_consistency_alone_is_content_with_the_collapse(film):
    """Why the limb term is there: without residual, and far from any pose."""
    terms = method_with(tilt=1.0).terms(unlabelled(film), collapsed(film, share=0.0))
    assert float(terms["consistency"]) < 1e-3
    assert float(terms["limbs"]) > 0.1


def test_the_limb_term_alone_does_not_see_mirrored_depth_but_knees_do(film):
    mirrored = true_maps(film)
    mirrored.depth = -mirrored.depth
    terms = method_with(root_depth="limbs").terms(unlabelled(film), mirrored)
    assert float(terms["limbs"]) < 0.02
    assert float(terms["bend"]) > 0.1


# Limb ratios


def test_ratios_are_taken_from_a_sources_visible_poses(film):
    method = build_method("multiview_consistency", TINY, "h36m_17")
    stage = TrainStage(losses=WEIGHTS, multiview=MultiView(limbs_from="studio"))
    half = film.pose.clone()
    half[len(film) // 2 :] = math.nan
    method.prepare(stage, {"studio": film.replace(pose=half)})
    expected = limb_ratios(film.pose[: len(film) // 2], H36M_17)
    assert float(method.ratios[1]) == pytest.approx(expected["knee"])
    with pytest.raises(VergenceError, match="has no visible 3D"):
        method.prepare(stage, {"studio": unlabelled(film)})
    with pytest.raises(VergenceError, match="limbs_from names 'studio'"):
        method.prepare(stage, {"lab": film})


def test_missing_and_unknown_ratios_are_named():
    method = build_method("multiview_consistency", TINY, "h36m_17")
    with pytest.raises(VergenceError, match=r"there is none for .*wrist"):
        method.prepare(TrainStage(losses={"limbs": 1.0}), {})
    with pytest.raises(VergenceError, match="no limb ends in tail"):
        method.prepare(TrainStage(losses=WEIGHTS, multiview=MultiView(limb_ratios=RATIOS | {"tail": 1.0})), {})
    with pytest.raises(VergenceError, match=r"limb_ratios\.knee is -1"):
        MultiView(limb_ratios={"knee": -1.0})
    method.prepare(TrainStage(losses={"heatmap": 1.0}), {})  # 2D alone needs none
    assert method.ratios is None


def test_batches_without_views_of_one_time_step_cost_nothing_but_their_labels():
    method = method_with()
    terms = method.losses(Views.empty(3, 17, 32, 32))
    assert set(terms) == {"heatmap", "coordinates", "depth", "consistency", "limbs", "bend"}
    assert all(float(v.detach()) == 0 for v in terms.values())
    assert method.watch().figures == {}


def test_some_3d_adds_the_supervised_depth_loss(film):
    some = film.pose.clone()
    some[4:] = math.nan
    maps = true_maps(film)
    maps.depth = maps.depth + torch.where(torch.arange(17) == 3, 0.17, 0.0)
    terms = method_with().terms(film.replace(pose=some), maps)
    assert float(terms["depth"]) == pytest.approx(0.01, rel=1e-3)


# Monitors


def watched(views: Views, maps: Maps):
    method = method_with()
    method.terms(views, maps)
    return method.watch()


def test_nothing_is_wrong_with_the_truth(film):
    watch = watched(film, true_maps(film))
    assert watch.alarms == {}
    assert watch.figures["root_depth_ratio"] == pytest.approx(1, abs=0.08)
    assert watch.figures["limb_ratio"] == pytest.approx(1, abs=0.08)
    assert 0.6 < watch.figures["diversity"] < 1.5
    assert watch.figures["diversity_2d"] == pytest.approx(1)
    assert watch.figures["knees_forward"] == 0
    assert watch.figures["depth_correlation"] > 0.999
    assert watch.figures["views_left_out"] == 0


NAMED = {
    "bone on the optical axis": {"reference_bone", "root_depth", "limb_ratios", "constant_depth"},
    "flat depth": {"constant_depth"},
    "mirrored depth": {"mirrored_knees", "mirrored_depth"},
    "constant depth": {"constant_depth"},
    "constant pose": {"constant_depth", "constant_pose"},
}


@pytest.mark.parametrize("what", NAMED)
def test_each_collapse_is_named(film, what):
    labelled = recordings(12, 1, 1, 32, seed=71)
    labelled = labelled.replace(time_step=labelled.time_step + film.time_step.max() + 1, keypoints=projected(labelled))
    hidden = film.replace(keypoints=torch.full_like(film.keypoints, math.nan))
    other = true_maps(labelled)
    maps = degenerate(film)[what]
    both = Maps(*(torch.cat([getattr(m, n) for m in (maps, other)]) for n in
                  ("log_heatmap", "keypoints", "depth", "confidence", "features")))  # fmt: skip
    found = watched(Views.cat([hidden, labelled]), both).alarms
    assert NAMED[what] <= set(found)
    assert all(len(text.split()) > 4 for text in found.values())


def test_alarms_of_figures_at_their_limits():
    fine = {
        "reference_bone_tilt": 0.2,
        "root_depth_ratio": 1.0,
        "limb_ratio": 1.0,
        "diversity": 1.0,
        "diversity_2d": 1.0,
        "views_left_out": 0.0,
    }
    assert alarms(fine) == {}
    nan = dict.fromkeys(("reference_bone_tilt", "root_depth_ratio", "limb_ratio"), math.nan)
    assert set(alarms(fine | nan)) == {"reference_bone", "root_depth", "limb_ratios"}
    assert set(alarms(fine | {"knees_forward": 0.5})) == {"mirrored_knees"}


def test_the_spread_of_less_than_two_poses_is_none():
    values = torch.tensor([[1.0, 2.0], [3.0, 2.0], [torch.nan, 5.0]])
    assert _spread(values) == pytest.approx(math.sqrt(0.5))
    assert _spread(values[1:]) == 0
    assert _spread(values[2:]) == 0


def test_pairs_need_four_joints_in_common():
    """One pair with exactly four counts, one with three does not."""
    a, b = random_poses(2, 1), random_poses(2, 2)
    a.weight[:], b.weight[:] = 1.0, 1.0
    b.weight[0, 4:], b.weight[1, 3:] = 0.0, 0.0
    alone = Poses(*(getattr(b, name)[:1] for name in ("pose", "weight", "usable")))
    first = Poses(*(getattr(a, name)[:1] for name in ("pose", "weight", "usable")))
    found = float(consistency_loss(a, b))
    assert found == pytest.approx(slow_consistency(first, alone), rel=1e-9)
    assert found > 0


def test_where_people_stand_in_the_image_is_no_spread_of_their_poses(film):
    """Half of the images shifted to the side by a whole image: x is measured from the root."""
    moved = true_maps(film)
    side = torch.where(torch.arange(len(film)) % 2 == 0, 32.0, 0.0)[:, None, None] * torch.tensor([1.0, 0.0])
    method, rows = method_with(), torch.arange(len(film) // 2)
    usual = method._diversity(film, moved, rows)
    shifted = method._diversity(film, Maps(moved.log_heatmap, moved.keypoints + side, *(
        getattr(moved, name) for name in ("depth", "confidence", "features"))), rows)  # fmt: skip
    assert usual["diversity"] == shifted["diversity"]
    assert shifted["diversity_2d"] == pytest.approx(usual["diversity_2d"], rel=0.15)


def test_each_alarm_begins_beyond_its_limit():
    fine = {"reference_bone_tilt": 0.2, "root_depth_ratio": 1.0, "limb_ratio": 1.0, "diversity": 1.0, "diversity_2d": 1.0,
            "views_left_out": 0.0}  # fmt: skip
    for figure, limit, way, name in (
        ("reference_bone_tilt", module.MOST_TILT, 1, "reference_bone"),
        ("root_depth_ratio", module.LEAST_ROOT_RATIO, -1, "root_depth"),
        ("limb_ratio", module.LEAST_LIMB_RATIO, -1, "limb_ratios"),
        ("limb_ratio", module.MOST_LIMB_RATIO, 1, "limb_ratios"),
        ("diversity", module.LEAST_DIVERSITY, -1, "constant_depth"),
        ("diversity_2d", module.LEAST_DIVERSITY, -1, "constant_pose"),
        ("views_left_out", module.MOST_LEFT_OUT, 1, "views_left_out"),
        ("knees_forward", module.MOST_WRONG_KNEES, 1, "mirrored_knees"),
        ("depth_correlation", 0.0, -1, "mirrored_depth"),
    ):
        assert alarms(fine | {figure: limit}) == {}, figure
        assert set(alarms(fine | {figure: limit + 0.01 * way})) == {name}
