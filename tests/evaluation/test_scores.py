"""Figures against plain Python; the truth scores 0, a constant scores what constants score."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vergence.batches.dataset import MemoryDataset
from vergence.errors import VergenceError
from vergence.evaluation.scores import (
    camera_mean_poses,
    evaluate,
    label_scores,
    left_right,
    mean_bone_sum,
    mean_pose,
    nearest_poses,
    predict_all,
    projected_truth,
    protocol,
    score,
    structure_clusters,
    zero_depth,
)
from vergence.geometry.camera import project
from vergence.methods.base import Method, Prediction
from vergence.skeleton import H36M_17
from vergence.world import recordings

PELVIS, THORAX = H36M_17.index("pelvis"), H36M_17.index("thorax")


class Knowing(Method):
    """Predicts the poses it was given, in the order of the images' numbers (their first value)."""

    def __init__(self, pose: torch.Tensor, keypoints: torch.Tensor) -> None:
        super().__init__(nn.Identity(), H36M_17)  # type: ignore[arg-type]
        self.pose, self.points, self.flips = pose, keypoints, set()

    def predict(self, image, intrinsics, flip=True):
        which = image[:, 0, 0, 0].long()
        self.flips.add(flip)
        return Prediction(self.pose[which], "camera", self.points[which], torch.ones(len(which), 17))


@pytest.fixture(scope="module")
def views():
    views = recordings(2, 6, 3, 16, seed=70)
    image = views.image.clone()
    image[:, 0, 0, 0] = torch.arange(len(views), dtype=torch.uint8)
    return views.replace(image=image)


def relative(pose):
    bone = (pose[:, THORAX] - pose[:, PELVIS]).norm(dim=-1)
    return (pose - pose[:, PELVIS : PELVIS + 1]) / bone[:, None, None]


def slow_n_mpjpe(p, g) -> float:
    """Root-aligned, least-squares scale of at least 0, mean distance."""
    p = [[a - b for a, b in zip(joint, p[PELVIS])] for joint in p]
    g = [[a - b for a, b in zip(joint, g[PELVIS])] for joint in g]
    dot = sum(a * b for x, y in zip(p, g) for a, b in zip(x, y))
    power = sum(a * a for x in p for a in x)
    scale = max(dot / power, 0) if power else 0
    return sum(math.dist([scale * a for a in x], y) for x, y in zip(p, g)) / len(p)


def test_the_truth_scores_nothing(views):
    method = Knowing(relative(views.pose), project(views.pose, views.intrinsics))
    results, prediction, scores = evaluate(method, MemoryDataset(views), H36M_17)
    model = results["model"]
    assert model["n_mpjpe"] < 1e-3
    assert model["p_mpjpe"] < 1e-3
    assert model["n_pck"] == 100
    assert model["depth_correlation"] == pytest.approx(1, abs=0.01)  # one scale for all poses
    assert model["diversity"] == pytest.approx(1, abs=0.05)
    assert model["n_mpjpe_depth_negated"] > 100
    assert results["pixel_error"] < 1e-3
    assert set(results["per_joint"]) == set(H36M_17.joint_names)
    assert max(results["per_joint"].values()) < 1e-3
    assert prediction.pose.shape == (36, 17, 3)
    assert scores.n_mpjpe.shape == scores.p_mpjpe.shape == (36,)
    assert method.flips == {None}  # the method knows whether its training was mirrored


def test_a_model_that_says_one_pose_scores_as_the_mean_pose(views):
    constant = mean_pose(views, H36M_17)
    method = Knowing(constant.expand(36, -1, -1), project(views.pose, views.intrinsics))
    results, _, _ = evaluate(method, MemoryDataset(views), H36M_17, {"mean_pose": constant})
    expected = sum(slow_n_mpjpe(constant.tolist(), pose.tolist()) for pose in views.pose) / 36
    assert results["model"]["n_mpjpe"] == pytest.approx(expected, rel=1e-4)
    assert results["mean_pose"]["n_mpjpe"] == pytest.approx(expected, rel=1e-4)
    assert results["model"]["diversity"] < 0.3


def test_zero_depth_is_the_models_2d_on_a_plane(views):
    flat = zero_depth(views.keypoints, views.intrinsics)
    for i in range(0, 36, 7):
        k = views.intrinsics[i]
        for j in range(17):
            x, y = ((views.keypoints[i, j] - k[:2, 2]) / k[[0, 1], [0, 1]]).tolist()
            assert flat[i, j].tolist() == pytest.approx([x, y, 0.0], abs=1e-5)
    true_2d = project(views.pose, views.intrinsics)
    results, _, _ = evaluate(Knowing(relative(views.pose), true_2d), MemoryDataset(views), H36M_17)
    expected = sum(slow_n_mpjpe(f.tolist(), p.tolist()) for f, p in zip(projected_truth(views), views.pose)) / 36
    assert results["zero_depth"]["n_mpjpe"] == pytest.approx(expected, rel=1e-3)
    assert results["true_2d_zero_depth"]["n_mpjpe"] == pytest.approx(expected, rel=1e-3)
    assert 50 < expected < 300


def test_mean_pose_against_plain_python_with_gaps(views):
    pose = views.pose.clone()
    pose[3, 5] = math.nan
    found = mean_pose(views.replace(pose=pose), H36M_17)
    for j in (0, 5, 9):
        for axis in range(3):
            values = [float(p[j, axis] - p[PELVIS, axis]) for p in pose]
            values = [v for v in values if not math.isnan(v)]
            assert float(found[j, axis]) == pytest.approx(sum(values) / len(values), abs=0.1)


def test_mean_poses_of_cameras_are_their_own(views):
    training = views[views.view < 2]
    found = camera_mean_poses(training, views, H36M_17)
    for v in (0, 1):
        own = mean_pose(views[views.view == v], H36M_17)
        assert torch.allclose(found[views.view == v], own.expand(12, -1, -1))
    overall = mean_pose(training, H36M_17)
    assert torch.allclose(found[views.view == 2], overall.expand(12, -1, -1))  # a camera never seen in training


def test_the_nearest_pose_is_the_nearest(views):
    training, test = views.pose[:20], views.pose[20:]
    found = nearest_poses(training, test, H36M_17)
    rooted = training - training[:, :1]
    for row, pose in zip(found, test):
        distance = [float((r - (pose - pose[:1])).norm()) for r in rooted]
        assert torch.equal(row, rooted[distance.index(min(distance))])
    assert torch.allclose(nearest_poses(views.pose, test, H36M_17), test - test[:, :1])


def test_scores_do_not_depend_on_the_predictions_unit(views):
    noise = torch.randn(views.pose.shape, generator=torch.Generator().manual_seed(0)) * 40
    predicted = views.pose + noise
    big = score(predicted, views.pose, H36M_17).summary
    small = score(predicted / 480, views.pose, H36M_17).summary
    assert big == pytest.approx(small, rel=1e-3)
    expected = [slow_n_mpjpe(p.tolist(), t.tolist()) for p, t in zip(predicted, views.pose)]
    assert score(predicted, views.pose, H36M_17).n_mpjpe.tolist() == pytest.approx(expected, rel=1e-4)


def test_a_joint_that_the_reference_never_has_is_left_out(views):
    """A capture's keypoints may lack the head: the other 16 joints are measured all the same."""
    pose = views.pose.clone()
    pose[:, H36M_17.index("head_top")] = math.nan
    truth = views.replace(pose=pose)
    predicted = relative(views.pose)
    results, _, _ = evaluate(Knowing(predicted, project(views.pose, views.intrinsics)), MemoryDataset(truth), H36M_17)
    assert results["model"]["n_mpjpe"] < 1e-3
    assert math.isnan(results["per_joint"]["head_top"])
    assert 50 < results["true_2d_zero_depth"]["n_mpjpe"] < 300


def test_pseudo_labels_are_scored_on_the_joints_they_have(views):
    pose = relative(views.pose)
    pose[0] = math.nan  # no label
    pose[1, 2:] = math.nan  # too little of one
    pose[2, 5] = math.nan
    found = label_scores(pose, views, H36M_17)
    assert found["n_mpjpe"] < 1e-3
    assert found["joints_labelled"] == pytest.approx(1 - (17 + 15 + 1) / (36 * 17))
    pose[3:] += 0.5 * torch.randn(33, 17, 3, generator=torch.Generator().manual_seed(0))
    assert label_scores(pose, views, H36M_17)["n_mpjpe"] > 50


def test_limbs_that_no_label_has_are_not_compared_left_and_right(views):
    pose = views.pose.clone()
    pose[::2, H36M_17.index("left_knee")] = float("nan")
    pose[1::2, H36M_17.index("right_shoulder")] = float("nan")
    assert label_scores(pose, views, H36M_17)["left_right_mm"] < 1e-3


def test_images_are_predicted_in_order_whatever_the_batch(views):
    method = Knowing(relative(views.pose), views.keypoints)
    one = predict_all(method, MemoryDataset(views), size=5)
    assert torch.equal(one.pose, relative(views.pose))
    assert one.root_depth is None
    with pytest.raises(VergenceError, match="no images"):
        predict_all(method, MemoryDataset(views[:0]))


def test_a_test_set_without_3d_is_refused(views):
    blind = views.replace(pose=torch.full_like(views.pose, math.nan))
    with pytest.raises(VergenceError, match="no 3D poses"):
        evaluate(Knowing(relative(views.pose), views.keypoints), MemoryDataset(blind), H36M_17)


def test_the_protocol_says_how_it_was_measured(views):
    found = protocol(views, H36M_17, True, world_version="x")
    assert found["images"] == 36
    assert found["subjects"] == 2
    assert found["root"] == ["pelvis"]
    assert found["joints"] == list(H36M_17.joint_names)
    assert found["true_depth_or_scale_used"] is False
    assert found["world_version"] == "x"
    assert found["flip_averaging"] is True
    assert {"alignment", "average", "skeleton"} <= set(found)


def test_structure_and_bone_sums_stand_beside_the_errors(views):
    clusters = structure_clusters([views], views, H36M_17, sizes=(3, 5, 100))
    assert [c.k for c in clusters] == [3, 5]  # 36 poses are too few for 100
    assert clusters[0].provenance["of"] == "training"
    bones = mean_bone_sum([views], H36M_17)
    expected = sum(sum(math.dist(p[a].tolist(), p[b].tolist()) for a, b in H36M_17.limbs) for p in views.pose) / len(
        views
    )
    assert bones == pytest.approx(expected, rel=1e-5)
    method = Knowing(relative(views.pose), project(views.pose, views.intrinsics))
    results, _, _ = evaluate(method, MemoryDataset(views), H36M_17, clusters=clusters, bones_mm=bones)
    model, flat = results["model"], results["zero_depth"]
    assert model["pss_3"] == model["pss_5"] == 100
    assert model["pss_5_std"] == 0
    assert flat["pss_5"] < 95
    assert model["left_right_mm"] < 0.1
    assert model["left_right_px"] < 0.01
    assert flat["left_right_mm"] > 20
    assert 0 < model["bone_sum_mpjpe"] < 25  # people differ in size by a few per cent
    assert "pss_5" not in score(views.pose, views.pose, H36M_17).summary


def test_clusters_without_true_training_poses_are_of_the_test_reference(views):
    made = views.replace(pseudo=torch.ones(36, dtype=torch.bool))
    for training in ([], [made]):
        (clusters,) = structure_clusters(training, views, H36M_17, sizes=(4,))
        assert clusters.provenance["of"] == "test reference"
    assert mean_bone_sum([made], H36M_17) is None
    assert mean_bone_sum([], H36M_17) is None
    assert mean_bone_sum([views.replace(metric=torch.zeros(36, dtype=torch.bool))], H36M_17) is None


@pytest.mark.parametrize("group", list(H36M_17.limb_groups))
def test_left_right_differences_in_mm_and_px_by_limb_group(views, group):
    """One left limb made longer by 30 mm in the image plane, what hangs on it along: told in its group, in both units."""
    _, (a, b) = H36M_17.limb_groups[group]
    pose = views.pose.clone()
    way = torch.nn.functional.normalize(pose[:, b] - pose[:, a], dim=-1)
    moved = [b]
    for joint, parent in enumerate(H36M_17.parents):
        moved += [joint] if parent in moved else []
    pose[:, moved] += 30 * way[:, None]
    points = project(views.pose, views.intrinsics)
    found = left_right(Prediction(relative(pose), "camera", points), views.pose, H36M_17)
    assert list(found["mm"]) == list(H36M_17.limb_groups)
    assert found["mm"][group] == pytest.approx(30, abs=1.5)  # at the truth's sum, a little shorter
    assert max(v for name, v in found["mm"].items() if name != group) < 0.1
    per_mm = [float(k[0, 0] / p[PELVIS, 2]) for k, p in zip(views.intrinsics, views.pose)]
    assert found["px"][group] == pytest.approx(30 * sum(per_mm) / 36, rel=0.15)
