"""EpipolarPose: its own loss, and what must cost more."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures_recordings import TINY
from fixtures_recordings import film as film

from vergence.batches.views import Views
from vergence.methods.epipolar_pose import EpipolarPose
from vergence.methods.registry import build_method
from vergence.networks.pose_network import Maps
from vergence.recipes.recipe import NetworkSettings
from vergence.skeleton import H36M_17

ROOT = H36M_17.index("pelvis")


def volume_method() -> EpipolarPose:
    torch.manual_seed(0)
    settings = NetworkSettings(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8, head="volume", depth_bins=8
    )
    method = build_method("epipolar_pose", settings, "h36m_17")
    assert isinstance(method, EpipolarPose)
    return method


def maps_of(keypoints, depth, size: int = 32, sigma: float = 0.7) -> Maps:
    """Maps that say these pixels and depths, with heatmaps that peak there."""
    stride = 4
    cells = size // stride
    cell = (keypoints + 0.5) / stride - 0.5
    x = torch.arange(cells) - cell[..., :1]
    y = torch.arange(cells) - cell[..., 1:]
    log = -0.5 * (y[..., :, None] ** 2 + x[..., None, :] ** 2) / sigma**2
    log = log.flatten(2).log_softmax(-1).view_as(log)
    return Maps(log, keypoints, depth, torch.ones(depth.shape), torch.zeros(len(depth), 1, 1, 1))


def in_bones(views: Views):
    """Root-relative true depth in reference bones, by hand."""
    out = []
    for pose in views.pose:
        bone = math.dist(pose[H36M_17.index("thorax")].tolist(), pose[ROOT].tolist())
        out.append((pose[:, 2] - pose[ROOT, 2]) / bone)
    return torch.stack(out)


def test_volume_loss_against_plain_python(film):
    views = film[:5].replace(pose_weight=torch.rand(5, 17, generator=torch.Generator().manual_seed(1)))
    views = views.replace(keypoints=views.keypoints.clone(), pose=views.pose.clone())
    views.keypoints[0, 3] = math.nan
    views.pose[1, 4] = math.nan
    g = torch.Generator().manual_seed(2)
    maps = maps_of(torch.rand(5, 17, 2, generator=g) * 32, torch.randn(5, 17, generator=g))
    method = volume_method()
    total = weights = 0.0
    target = in_bones(views)
    for n in range(5):
        for j in range(17):
            terms = []
            if not views.keypoints[n, j].isnan().any():
                for axis in range(2):
                    off = float(maps.keypoints[n, j, axis] - views.keypoints[n, j, axis]) / 32
                    terms.append((off, float(views.confidence[n, j])))
            if not views.pose[n, j].isnan().any():
                relative = float(maps.depth[n, j] - maps.depth[n, ROOT])
                terms.append(((relative - float(target[n, j])) / 4.2, float(views.pose_weight[n, j])))
            for off, weight in terms:
                each = 0.5 * off**2 if abs(off) < 1 else abs(off) - 0.5
                total, weights = total + weight * each, weights + weight
    assert float(method.volume_loss(views, maps)) == pytest.approx(total / weights * 51, rel=1e-4)


def test_fully_labelled_the_volume_loss_is_a_sum_over_joints_and_a_mean_over_images(film):
    views = film[~film.keypoints.isnan().flatten(1).any(1)][:4].replace(metric=torch.zeros(4, dtype=torch.bool))
    maps = maps_of(views.keypoints, torch.zeros(4, 17))
    views = views.replace(pose=torch.zeros(4, 17, 3), keypoints=views.keypoints + 3.2)
    assert float(volume_method().volume_loss(views, maps)) == pytest.approx(17 * 2 * 0.5 * 0.1**2, rel=1e-3)


def test_labels_of_an_image_without_any_leave_no_gradient():
    method = volume_method()
    views = Views.empty(2, 17, 32, 32)
    terms = method.losses(views)
    assert set(terms) == {"heatmap", "coordinates", "depth", "volume"}
    assert all(float(v.detach()) == 0 for v in terms.values())
    sum(terms.values()).backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in method.parameters())


DEGENERATE = ["one point", "flat depth", "mirrored depth", "constant pose"]
WEIGHTS = {"heatmap": 1.0, "coordinates": 0.1, "depth": 1.0}


@pytest.mark.parametrize("head", ["depth_map", "volume"])
@pytest.mark.parametrize("what", DEGENERATE)
def test_degenerate_solutions_cost_more_than_the_truth(film, what, head):
    """Under the demo's weights, and under the paper's volume term alone. The truth costs the entropy of its heatmaps."""
    views = film[~film.keypoints.isnan().flatten(1).any(1)]
    torch.manual_seed(0)
    method = volume_method() if head == "volume" else build_method("epipolar_pose", TINY, "h36m_17")
    assert isinstance(method, EpipolarPose)
    weights = {"volume": 1.0} if head == "volume" else WEIGHTS
    depth, points = in_bones(views), views.keypoints
    wrong = {
        "one point": (points.mean(1, keepdim=True).expand_as(points), torch.zeros_like(depth)),
        "flat depth": (points, torch.zeros_like(depth)),
        "mirrored depth": (points, -depth),
        "constant pose": (points.mean(0, keepdim=True).expand_as(points), depth.mean(0, keepdim=True).expand_as(depth)),
    }

    def cost(keypoints, relative) -> float:
        terms = method.terms(views, maps_of(keypoints, relative))
        return float(sum(weight * terms[name] for name, weight in weights.items()))

    truth = cost(points, depth)
    margin = {"depth_map": 0.1, "volume": 0.05}[head]  # nats and reference bones; half squared shares
    assert cost(*wrong[what]) > truth + margin
