"""Pseudo-labels find their images, in a file and out of it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from vergence.batches.pseudo_labels import PseudoLabels, fingerprint, keypoint_labels, match
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.recipes.recipe import TrainStage

N = 12


def index() -> Views:
    """Two recordings of 3 frames by 2 cameras, nothing known."""
    return Views.empty(N, 17, 0, 0).replace(
        sequence=torch.arange(N) // 6 * 1000, frame=torch.arange(N) // 2 % 3 * 10, view=torch.arange(N) % 2
    )


def labels(views: Views) -> PseudoLabels:
    g = torch.Generator().manual_seed(0)
    n = len(views)
    key = torch.stack([views.sequence, views.view, views.frame], 1)
    return PseudoLabels(
        key,
        torch.randn(n, 17, 3, generator=g),
        torch.rand(n, 17, generator=g),
        32 * torch.rand(n, 17, 2, generator=g),
        torch.eye(3).expand(n, 3, 3) * (1 + torch.arange(n))[:, None, None],
        {"recordings": 2},
    )


def test_labels_find_their_images_in_any_order():
    views = index()
    made = labels(views)
    for seed in range(3):
        order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
        seen = made.apply(views[order])
        assert torch.equal(seen.pose, made.pose[order])
        assert torch.equal(seen.pose_weight, made.weight[order])
        assert torch.equal(seen.keypoints, made.keypoints[order])
        assert torch.equal(seen.confidence, made.weight[order])
        assert torch.equal(seen.intrinsics, made.intrinsics[order])
        assert seen.pseudo.all()
        assert not seen.metric.any()


def test_images_without_a_label_are_unchanged():
    views = index().replace(metric=torch.ones(N, dtype=torch.bool))
    some = labels(views[[1, 4, 9]])
    seen = some.apply(views)
    has = torch.zeros(N, dtype=torch.bool)
    has[[1, 4, 9]] = True
    assert torch.equal(seen.pose[has], some.pose)
    assert seen.pose[~has].isnan().all()
    assert torch.equal(seen.pseudo, has)
    assert torch.equal(seen.metric, ~has)
    assert seen.intrinsics[~has].isnan().all()


def test_true_labels_stay():
    views = index()
    pose = views.pose.clone()
    pose[3] = 7.0
    pose[5, 2] = 8.0  # a single true joint keeps the row true
    keypoints = views.keypoints.clone()
    keypoints[0, 4] = torch.tensor([3.0, 4.0])
    keypoints[3, 1] = torch.tensor([5.0, 6.0])
    confidence = torch.zeros(N, 17)
    confidence[0, 4] = 0.9
    views = views.replace(pose=pose, keypoints=keypoints, confidence=confidence)
    made = labels(views)
    seen = made.apply(views)
    for row in (3, 5):
        assert torch.equal(seen.pose[row].nan_to_num(-1), pose[row].nan_to_num(-1))
        assert not seen.pseudo[row]
        assert torch.equal(seen.pose_weight[row], torch.ones(17))
    assert seen.keypoints[3, 2].isnan().all()  # no made 2D beside true 3D
    assert seen.keypoints[0, 4].tolist() == [3.0, 4.0]  # labelled 2D wins over projected 2D
    assert seen.confidence[0, 4] == pytest.approx(0.9)
    assert torch.equal(seen.keypoints[0, 5], made.keypoints[0, 5])
    assert torch.equal(views.pose.nan_to_num(-1), pose.nan_to_num(-1))  # the input is untouched


def test_a_missing_joint_of_a_label_has_no_weight_to_train_with():
    views = index()
    made = labels(views)
    made.pose[2, 6] = math.nan
    made.keypoints[2, 6] = math.nan
    seen = made.apply(views)
    assert seen.pose[2, 6].isnan().all()
    assert seen.keypoints[2, 6].isnan().all()


def test_two_labels_for_one_image_are_refused():
    views = index()
    twice = Views.cat([views, views[:1]])
    with pytest.raises(VergenceError, match="two labels for one image"):
        labels(twice).apply(views)


def test_one_label_may_serve_an_image_that_is_read_twice():
    views = index()
    made = labels(views)
    seen = made.apply(Views.cat([views, views[:2]]))
    assert torch.equal(seen.pose, torch.cat([made.pose, made.pose[:2]]))


def test_match_against_a_dictionary():
    g = torch.Generator().manual_seed(1)
    keys = torch.unique(torch.randint(-3, 4, (60, 3), generator=g), dim=0)
    keys = keys[torch.randperm(len(keys), generator=g)]
    wanted = torch.randint(-3, 4, (50, 3), generator=g)
    rows, found = match(wanted, keys)
    table = {tuple(k): i for i, k in enumerate(keys.tolist())}
    for key, row, has in zip(wanted.tolist(), rows.tolist(), found.tolist(), strict=True):
        assert has == (tuple(key) in table)
        assert row == table.get(tuple(key), 0)
    assert 0 < found.sum() < 50


def test_numbers_as_large_as_the_worlds_are_told_apart():
    big = torch.tensor([[2_000_001_000_000, 0, 0], [2_000_001_000_001, 0, 0]])
    rows, found = match(big.flip(0), big)
    assert rows.tolist() == [1, 0]
    assert found.all()


def test_a_file_gives_back_what_was_saved(tmp_path):
    made = labels(index())
    made.pose[0, 0] = math.nan
    made.save(tmp_path / "labels" / "a.npz")
    read = PseudoLabels.load(tmp_path / "labels" / "a.npz")
    for name in ("key", "pose", "weight", "keypoints", "intrinsics"):
        assert torch.equal(getattr(read, name).nan_to_num(-1), getattr(made, name).nan_to_num(-1))
    assert read.report == {"recordings": 2}
    assert [p.name for p in (tmp_path / "labels").iterdir()] == ["a.npz"]


def test_a_fingerprint_changes_with_anything_that_made_it():
    weights = {"a": torch.zeros(3), "b": torch.ones(2)}
    one = fingerprint("x", TrainStage(steps=3), weights)
    assert len(one) == 12
    assert one == fingerprint("x", TrainStage(steps=3), {"b": torch.ones(2), "a": torch.zeros(3)})
    assert one != fingerprint("x", TrainStage(steps=4), weights)
    assert one != fingerprint("y", TrainStage(steps=3), weights)
    assert one != fingerprint("x", TrainStage(steps=3), {**weights, "a": torch.tensor([0, 0, 1e-30])})


def test_rotations_of_cameras_fill_only_what_is_unknown():
    views = index()
    turn = torch.linalg.qr(torch.randn(N, 3, 3, generator=torch.Generator().manual_seed(5)))[0]
    known = views.rotation.clone()
    known[2] = torch.eye(3)
    made = dataclasses.replace(labels(views), rotation=turn)
    seen = made.apply(views.replace(rotation=known))
    assert torch.equal(seen.rotation[2], torch.eye(3))
    others = torch.arange(N) != 2
    assert torch.equal(seen.rotation[others], turn[others])
    cameras = made.cameras_only().apply(views)
    assert torch.equal(cameras.rotation, turn)
    assert cameras.pose.isnan().all()
    assert cameras.keypoints.isnan().all()
    assert not cameras.pseudo.any()
    assert torch.equal(cameras.intrinsics, made.intrinsics)
    assert labels(views).apply(views).rotation.isnan().all()


def test_2d_labels_keep_what_was_found_with_confidence_and_nothing_else():
    g = torch.Generator().manual_seed(6)
    views = index()
    points, trust = 32 * torch.rand(N, 17, 2, generator=g), torch.rand(N, 17, generator=g)
    made = keypoint_labels(views, points, trust, 0.5)
    pose = views.pose.clone()
    pose[4] = 7.0  # true 3D without 2D: gets 2D, stays true
    true = views.keypoints.clone()
    true[1, 3] = 5.0
    seen = made.apply(views.replace(pose=pose, keypoints=true))
    kept = trust >= 0.5
    kept[1, 3] = False
    assert torch.equal(seen.keypoints[kept], points[kept])
    assert torch.equal(seen.confidence[kept], trust[kept])
    assert (seen.keypoints[1, 3] == 5).all()
    kept[1, 3] = True
    assert seen.keypoints[~kept].isnan().all()
    assert not seen.pseudo.any()
    assert (seen.pose[4] == 7).all()
    assert seen.pose[torch.arange(N) != 4].isnan().all()
    assert torch.equal(made.weight, torch.where(trust >= 0.5, trust, 0.0))
    assert made.pose.shape == (N, 17, 3)
    assert made.report["joints_labelled"] == pytest.approx(float((trust >= 0.5).float().mean()))


def test_2d_and_cameras_together_whatever_the_order_and_after_saving(tmp_path):
    views = index()
    two = keypoint_labels(views, torch.ones(N, 17, 2), torch.ones(N, 17), 0.5)
    cameras = dataclasses.replace(labels(views), rotation=torch.eye(3).repeat(N, 1, 1)).cameras_only()
    for i, made in enumerate((two, cameras)):
        made.save(tmp_path / f"{i}.npz")
    two, cameras = (PseudoLabels.load(tmp_path / f"{i}.npz") for i in range(2))
    assert two.rotation is None
    for first, second in ((two, cameras), (cameras, two)):
        seen = second.apply(first.apply(views))
        assert (seen.keypoints == 1).all()
        assert (seen.confidence == 1).all()
        assert torch.equal(seen.rotation, torch.eye(3).repeat(N, 1, 1))
