from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from vergence.geometry.camera import normalise
from vergence.reconstruction.bundle import Bundle
from vergence.reconstruction.consensus import (
    Points,
    exchanged_views,
    likeliest_sides,
    repair_sides,
    robust_points,
    settle_limbs,
    settle_sides,
    side_groups,
)
from vergence.skeleton import BODY_25B, COCO_17, H36M_17

MIRROR = list(H36M_17.mirror)


def cameras_and_keypoints(scene) -> tuple[Bundle, np.ndarray]:
    k, d = (torch.from_numpy(x) for x in (scene.intrinsics, scene.distortion))
    focal = np.stack([scene.intrinsics[:, 0, 0], scene.intrinsics[:, 1, 1]], 1)
    keypoints = normalise(torch.from_numpy(scene.keypoints), k, d).numpy() * focal[:, None]
    return Bundle(scene.rotation, scene.translation, focal, np.zeros((1, 3))), keypoints


def flat(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    observed = keypoints.transpose(1, 3, 0, 2).reshape(keypoints.shape[1], 2, -1)
    return observed, np.isfinite(observed).all(1).astype(float)


def test_points_survive_outliers_and_say_how_sure_they_are(make_scene) -> None:
    scene = make_scene(frames=40, noise=2.0, missing=0.1, outliers=0.08)
    cameras, keypoints = cameras_and_keypoints(scene)
    found = robust_points(cameras, *flat(keypoints), 2.0)
    error = np.linalg.norm(found.position - scene.pose.reshape(-1, 3), axis=1)
    many = found.inlier.sum(0) >= 3
    assert np.isfinite(error).mean() > 0.97
    assert np.percentile(error[many], 99) < 60
    # one coordinate's deviation against the length of the error in three
    ratio = np.median(error[many]) / np.median(found.deviation[many]) / 1.54
    assert 0.8 < ratio < 1.25


def test_long_recordings_in_pieces_are_the_same(make_scene, monkeypatch) -> None:
    scene = make_scene(frames=30, missing=0.1)
    cameras, keypoints = cameras_and_keypoints(scene)
    whole = robust_points(cameras, *flat(keypoints), 2.0)
    monkeypatch.setattr("vergence.reconstruction.consensus.CHUNK_POINTS", 170)
    pieces = robust_points(cameras, *flat(keypoints), 2.0)
    np.testing.assert_allclose(pieces.position, whole.position, atol=1.0)
    assert (pieces.inlier == whole.inlier).mean() > 0.999
    assert pieces.residual.shape == whole.residual.shape


def test_outliers_are_not_inliers(make_scene) -> None:
    scene = make_scene(frames=30, noise=1.0)
    scene.keypoints[:, 2, 5] += [60.0, 40.0]
    cameras, keypoints = cameras_and_keypoints(scene)
    found = robust_points(cameras, *flat(keypoints), 1.0)
    inlier = found.inlier.reshape(4, 30, 17)
    assert not inlier[2, :, 5].any()
    assert inlier[[0, 1, 3], :, 5].mean() > 0.97
    assert np.nanmedian(found.residual.reshape(4, 30, 17)[2, :, 5]) > 40  # counted all the same


def test_views_that_share_no_doubtful_joint_propose_none(make_scene) -> None:
    scene = make_scene(views=3, frames=20, noise=0.5)
    cameras, keypoints = cameras_and_keypoints(scene)
    keypoints[:, 2, 5] += [0.0, 100.0]  # the one joint that is suspect, unseen by the first camera
    keypoints[:, 0, 5] = np.nan
    found = robust_points(cameras, *flat(keypoints), 3.0)
    position = found.position.reshape(20, 17, 3)
    assert np.isnan(position[:, 5]).mean() > 0.9
    assert np.isfinite(position[:, 6]).mean() > 0.9


def test_two_of_three_views_do_not_prove_a_joint_that_no_limb_holds(make_scene) -> None:
    """A wrist without its elbow: a third view that disagrees is another matter than one that does not see it."""
    scene = make_scene(views=3, frames=10, noise=1.0)
    cameras, keypoints = cameras_and_keypoints(scene)
    elbow, wrist = H36M_17.index("left_elbow"), H36M_17.index("left_wrist")
    keypoints[4:6, :, elbow] = np.nan
    keypoints[4, 2, wrist] += [60.0, 40.0]
    keypoints[5, 2, wrist] = np.nan
    points = robust_points(cameras, *flat(keypoints), 1.0)
    assert np.isfinite(points.position.reshape(10, 17, 3)[4:6, wrist]).all()
    settled, _ = settle_limbs(cameras, *flat(keypoints), points, 1.0, 10, H36M_17)
    found = np.isfinite(settled.position.reshape(10, 17, 3)[:, wrist]).all(1)
    assert found.tolist() == [t != 4 for t in range(10)]


def test_points_that_no_two_views_agree_on_are_missing(make_scene) -> None:
    scene = make_scene(views=2, frames=20, noise=1.0, span=2.0)
    cameras, keypoints = cameras_and_keypoints(scene)
    keypoints[:, 1, 3] += [0.0, 100.0]
    found = robust_points(cameras, *flat(keypoints), 1.0)
    position = found.position.reshape(20, 17, 3)
    assert np.isnan(position[:, 3]).all()
    assert np.isfinite(position[:, 4]).mean() > 0.9


@pytest.mark.parametrize("views", [2, 3, 4])
def test_the_best_assignment_is_that_of_trying_all(views: int) -> None:
    rng = np.random.default_rng(0)
    pairs = list(itertools.combinations(range(views), 2))
    keep, swap = rng.uniform(0, 60, (2, 50, len(pairs)))
    chosen = exchanged_views(keep, swap, views)
    for t in range(50):
        costs = {}
        for sides in itertools.product([False, True], repeat=views):
            costs[sides] = sum(swap[t, i] if sides[a] != sides[b] else keep[t, i] for i, (a, b) in enumerate(pairs))
        least, stay = min(costs.values()), costs[(False,) * views]
        if stay - least > 15.0:
            assert costs[tuple(chosen[t])] == pytest.approx(least)
            assert chosen[t].sum() <= views / 2
        else:
            assert not chosen[t].any()


def test_sides_of_many_cameras_are_found_without_trying_all() -> None:
    rng, views = np.random.default_rng(0), 12
    first, second = np.array(list(itertools.combinations(range(views), 2))).T
    wrong = np.stack([rng.permutation(views) < t % 6 for t in range(60)])  # up to five of twelve
    differ = wrong[:, first] != wrong[:, second]
    noise = rng.gamma(1.0, 4.0, (2, *differ.shape))
    keep, swap = np.where(differ, 30.0, 2.0) + noise[0], np.where(differ, 2.0, 30.0) + noise[1]
    np.testing.assert_array_equal(exchanged_views(keep, swap, views), wrong)


def test_exchanged_views_and_limbs_are_found(make_scene) -> None:
    scene = make_scene(frames=40, noise=2.0, missing=0.1, outliers=0.03)
    cameras, keypoints = cameras_and_keypoints(scene)
    assert (repair_sides(cameras, keypoints, H36M_17, 2.0) == np.arange(17)).mean() > 0.998
    spoilt = keypoints.copy()
    spoilt[5, 1] = keypoints[5, 1][MIRROR]
    legs = [1, 2, 3, 4, 5, 6]
    spoilt[9, 3, legs] = keypoints[9, 3][[4, 5, 6, 1, 2, 3]]
    side = repair_sides(cameras, spoilt, H36M_17, 2.0)
    assert list(side[5, 1]) == MIRROR
    assert list(side[9, 3, legs]) == [4, 5, 6, 1, 2, 3]
    assert (side[9, 3, 11:] == np.arange(11, 17)).all()


def test_likeliest_sides_are_those_of_trying_all() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        unary, keep, turn = rng.random((7, 2)), rng.random(6), rng.random(6)
        costs = {}
        for states in itertools.product([0, 1], repeat=7):
            step = sum(keep[i] if states[i] == states[i + 1] else turn[i] for i in range(6))
            costs[states] = step + sum(unary[i, s] for i, s in enumerate(states))
        best = min(costs, key=costs.get)
        assert likeliest_sides(unary, keep, turn).tolist() == [s == 1 for s in best]


def test_time_decides_when_most_views_were_exchanged(make_scene) -> None:
    pose = make_scene(frames=20).pose.copy()
    side = np.broadcast_to(np.arange(17), (20, 4, 17)).copy()
    side[8, 0] = MIRROR  # the views agreed to exchange the one that was right
    turned = pose.copy()
    turned[8] = pose[8][MIRROR]
    points = Points(turned.reshape(-1, 3), np.ones((4, 340), bool), np.ones((4, 340)), np.ones(340))
    settled, new_side = settle_sides(points, side, H36M_17)
    np.testing.assert_array_equal(settled.position.reshape(20, 17, 3), pose)
    assert list(new_side[8, 0]) == list(range(17))
    assert list(new_side[8, 1]) == MIRROR
    untouched, _ = settle_sides(points, np.broadcast_to(np.arange(17), (20, 4, 17)), H36M_17)
    np.testing.assert_array_equal(untouched.position, points.position)


@pytest.mark.parametrize("skeleton", [H36M_17, COCO_17, BODY_25B])
def test_side_groups_hold_mirror_pairs(skeleton) -> None:
    groups = side_groups(skeleton)
    for group in groups:
        for right, left in group:
            assert skeleton.mirror[right] == left
            assert skeleton.joint_names[right].startswith("right_")
    everything, arms, legs = groups[:3]
    assert set(arms) | set(legs) <= set(everything)
    assert not set(arms) & set(legs)
