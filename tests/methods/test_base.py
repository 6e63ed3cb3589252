"""The way from a network's 2.5D to a prediction, with a network that knows the truth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vergence.batches.views import Views
from vergence.geometry.camera import project
from vergence.methods.base import Method, Prediction, averaged_maps, depth_target, label_bone, relative_depth
from vergence.methods.registry import build_method
from vergence.metrics import n_mpjpe
from vergence.networks.pose_network import Maps
from vergence.recipes.recipe import NetworkSettings
from vergence.skeleton import COCO_17, H36M_17
from vergence.world import single_images

SIZE = 32
PELVIS, THORAX = H36M_17.index("pelvis"), H36M_17.index("thorax")


class Oracle(nn.Module):
    """Knows the 2.5D of every image of `views`. The images are numbered: the first pixel of a row tells which, a white
    last pixel that it is not mirrored."""

    def __init__(self, views: Views) -> None:
        super().__init__()
        self.points = project(views.pose, views.intrinsics)
        bone = (views.pose[:, THORAX] - views.pose[:, PELVIS]).norm(dim=-1, keepdim=True)
        self.depth = (views.pose[..., 2] - 3000.0) / bone  # from an origin of its own: only differences count
        g = torch.Generator().manual_seed(0)
        self.confidence = torch.rand(len(views), 17, generator=g)
        self.log = torch.randn(len(views), 17, 8, 8, generator=g).flatten(2).log_softmax(-1).view(-1, 17, 8, 8)

    def forward(self, image):
        rows = image[:, 0, 0].flatten(1)
        mirrored = rows[:, 0] == 255
        which = torch.where(mirrored, rows[:, -1], rows[:, 0]).long()
        points, depth = self.points[which].clone(), self.depth[which].clone()
        log, trust = self.log[which].clone(), self.confidence[which].clone()
        for i in torch.nonzero(mirrored)[:, 0].tolist():
            for j, other in enumerate(H36M_17.mirror):
                x, y = self.points[which[i], other]
                points[i, j] = torch.stack([SIZE - 1 - x, y])
                depth[i, j] = self.depth[which[i], other] + 0.25  # again an origin of its own
                log[i, j] = self.log[which[i], other].flip(-1)
                trust[i, j] = self.confidence[which[i], other]
        return Maps(log, points, depth, trust, torch.zeros(len(image), 1, 1, 1))


@pytest.fixture(scope="module")
def views() -> Views:
    views = single_images(40, SIZE, seed=60)
    image = torch.zeros_like(views.image)
    image[:, :, 0, 0] = torch.arange(40, dtype=torch.uint8)[:, None]
    image[:, :, 0, -1] = 255
    return views.replace(image=image)


@pytest.mark.parametrize("flip", [True, False])
def test_true_25d_is_lifted_to_the_true_pose(views, flip):
    found = Method(Oracle(views), H36M_17).predict(views.image, views.intrinsics, flip)
    sound = found.reliable
    assert sound.float().mean() > 0.9
    assert float(n_mpjpe(found.pose, views.pose, PELVIS)[sound].max()) < 0.1  # mm
    bone = (found.pose[:, THORAX] - found.pose[:, PELVIS]).norm(dim=-1)
    assert torch.allclose(bone[sound], torch.ones(int(sound.sum())), atol=1e-4)
    assert found.pose[:, PELVIS].abs().max() < 1e-6
    true_bone = (views.pose[:, THORAX] - views.pose[:, PELVIS]).norm(dim=-1)
    ratio = found.root_depth * true_bone / views.pose[:, PELVIS, 2]
    assert (ratio[sound] - 1).abs().max() < 1e-3
    assert found.frame == "camera"


def test_averaging_with_the_mirror_image_is_exact_for_an_oracle(views):
    oracle = Oracle(views)
    one, both = oracle(views.image), averaged_maps(oracle, views.image, H36M_17)
    assert torch.allclose(both.keypoints, one.keypoints, atol=1e-4)
    assert torch.allclose(both.depth, relative_depth(one.depth, H36M_17), atol=1e-5)
    assert torch.allclose(both.confidence, one.confidence)
    assert torch.allclose(both.log_heatmap, one.log_heatmap, atol=1e-5)
    assert torch.allclose(both.log_heatmap.exp().sum((-1, -2)), torch.ones(40, 17), atol=1e-4)


def test_predictions_are_joined_in_order(views):
    method = Method(Oracle(views), H36M_17)
    whole = method.predict(views.image, views.intrinsics)
    joined = Prediction.cat([method.predict(part.image, part.intrinsics) for part in (views[:15], views[15:])])
    for name in ("pose", "keypoints", "confidence", "root_depth", "reliable"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name
    assert joined.frame == "camera"
    assert joined.embedding is None


def test_relative_depth_is_measured_from_the_root():
    depth = torch.randn(3, 17, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(relative_depth(depth, H36M_17), depth - depth[:, :1])
    hips = (depth[:, COCO_17.index("left_hip")] + depth[:, COCO_17.index("right_hip")]) / 2
    assert torch.allclose(relative_depth(depth, COCO_17), depth - hips[:, None])


def test_depth_labels_of_metric_poses_are_in_their_own_bone_and_of_made_ones_as_they_are(views):
    metric = torch.arange(40) % 2 == 0
    depth, weight = depth_target(views.replace(metric=metric), H36M_17)
    for i in range(40):
        bone = math.dist(views.pose[i, THORAX].tolist(), views.pose[i, PELVIS].tolist()) if metric[i] else 1.0
        for j in range(17):
            expected = float(views.pose[i, j, 2] - views.pose[i, PELVIS, 2]) / bone
            assert float(depth[i, j]) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert torch.equal(weight, views.pose_weight)


def test_unknown_joints_and_roots_have_no_depth_label(views):
    pose = views.pose.clone()
    pose[0, 5] = math.nan
    pose[1, PELVIS] = math.nan
    pose[2, THORAX] = math.nan  # metric: without its bone the unit is unknown
    depth, weight = depth_target(views.replace(pose=pose), H36M_17)
    assert depth.isfinite().all()
    assert weight[0, 5] == 0
    assert weight[0].sum() == views.pose_weight[0].sum() - views.pose_weight[0, 5]
    assert (weight[1:3] == 0).all()
    _, made = depth_target(views.replace(pose=pose, metric=torch.zeros(40, dtype=torch.bool)), H36M_17)
    assert made[2].sum() == views.pose_weight[2].sum() - views.pose_weight[2, THORAX]


def test_weights_of_labels_are_handed_on(views):
    half = views.replace(pose_weight=torch.full((40, 17), 0.5))
    assert (depth_target(half, H36M_17)[1] == 0.5).all()


def test_labels_in_mm_are_divided_by_their_own_bone_and_pseudo_labels_by_nothing(views):
    some = views[:2].replace(metric=torch.tensor([True, False]))
    bone = float((views.pose[0, THORAX] - views.pose[0, PELVIS]).norm())
    assert label_bone(some, H36M_17).tolist() == pytest.approx([bone, 1.0])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_volume_is_read_in_pieces_on_a_cpu_alone(device, monkeypatch):
    monkeypatch.setattr("vergence.methods.base.quickened", lambda method, *_: method)
    small = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "width": 16}
    settings = NetworkSettings(**small, head="volume", depth_bins=8)
    made = build_method("epipolar_pose", settings, "h36m_17", pretrained=False).quick(device)
    assert (made.network.quick_read is not None) == (device == "cpu")
