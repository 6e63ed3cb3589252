from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from vergence.geometry.camera import normalise
from vergence.reconstruction.bundle import Bundle, project_points
from vergence.reconstruction.limbs import (
    LIMB_LOSS_SIGMA,
    _inverse,
    _solved,
    constant_limbs,
    hold_limbs,
    loose_joints,
    wild_joints,
)
from vergence.skeleton import H36M_17


def test_lengths_are_those_of_the_body_and_alike_on_both_sides(make_scene) -> None:
    pose = make_scene(frames=60).pose
    noisy = pose + np.random.default_rng(0).normal(0, 12, pose.shape)
    limbs = constant_limbs(noisy, np.full((60, 17), 12.0), H36M_17)
    length = {tuple(e): v for e, v in zip(limbs.ends.tolist(), limbs.length, strict=True)}
    assert length[1, 2] == length[4, 5] == pytest.approx(430, rel=0.02)
    assert length[2, 3] == pytest.approx(420, rel=0.02)
    assert (limbs.spread < 0.04 * limbs.length + 5).all()


def test_a_limb_that_varies_is_not_held(make_scene) -> None:
    pose = make_scene(frames=60).pose.copy()
    pose[:, 10] += np.random.default_rng(0).uniform(-60, 60, (60, 1)) * np.array([0, 0, 1.0])
    ends = constant_limbs(pose, np.full((60, 17), 1.0), H36M_17).ends.tolist()
    assert [9, 10] not in ends
    assert [1, 2] in ends


def test_wild_joints_are_the_moved_ones(make_scene) -> None:
    pose = make_scene(frames=60).pose.copy()
    deviation = np.full((60, 17), 8.0)
    pose += np.random.default_rng(0).normal(0, 8, pose.shape)
    moved = np.zeros((60, 17), dtype=bool)
    for t, j in ((3, 2), (10, 3), (20, 12), (30, 16), (40, 5)):
        pose[t, j] += [0, 500.0, 0]
        moved[t, j] = True
        deviation[t, j] = 15.0
    limbs = constant_limbs(pose, deviation, H36M_17)
    np.testing.assert_array_equal(wild_joints(pose, deviation, limbs), moved)


def test_loose_joints_are_dropped_unless_a_limb_holds_them(make_scene) -> None:
    pose = make_scene(frames=10).pose.copy()
    limbs = constant_limbs(pose, np.ones((10, 17)), H36M_17)
    deviation = np.full((10, 17), 10.0)
    deviation[4:6, 13] = 400.0
    pose[4, 12] = np.nan  # the wrist's elbow
    contested = np.zeros((10, 17), dtype=bool)
    expected = np.zeros((10, 17), dtype=bool)
    expected[4, 13] = True
    np.testing.assert_array_equal(loose_joints(pose, deviation, contested, limbs), expected)
    deviation[4, 13] = 10.0
    assert not loose_joints(pose, deviation, contested, limbs).any()
    contested[4:6, 13] = True
    np.testing.assert_array_equal(loose_joints(pose, deviation, contested, limbs), expected)


def held(scene, noise: float) -> tuple[Bundle, np.ndarray, np.ndarray, np.ndarray]:
    k, d = (torch.from_numpy(x) for x in (scene.intrinsics, scene.distortion))
    focal = np.stack([scene.intrinsics[:, 0, 0], scene.intrinsics[:, 1, 1]], 1)
    image = normalise(torch.from_numpy(scene.keypoints), k, d).numpy() * focal[:, None]
    observed = np.ascontiguousarray(image.transpose(1, 3, 0, 2)).reshape(len(focal), 2, -1)
    start = scene.pose + np.random.default_rng(0).normal(0, noise, scene.pose.shape)
    return (
        Bundle(scene.rotation, scene.translation, focal, np.zeros((1, 3))),
        observed,
        np.ones(observed.shape[::2]),
        start,
    )


def test_holding_limbs_minimises_what_it_says(make_scene) -> None:
    scene = make_scene(views=2, frames=8, noise=3.0, span=2.0)
    cameras, observed, weight, start = held(scene, 5.0)
    limbs = constant_limbs(scene.pose, np.full((8, 17), 3.0), H36M_17)
    ours = hold_limbs(cameras, observed, weight, start, np.zeros((8, 17)), limbs, sigma=3.0, scale=6.0, iterations=40)

    def robust(squared: np.ndarray, scale: float) -> np.ndarray:
        return scale * np.sqrt(np.log1p(squared / scale**2))

    def fun(x: np.ndarray) -> np.ndarray:
        pose = x.reshape(17, 3)
        scene_ = Bundle(cameras.rotation, cameras.translation, cameras.focal, pose)
        error = ((project_points(scene_)[0] - observed[:, :, :17]) ** 2).sum(1)
        length = np.linalg.norm(pose[limbs.ends[:, 0]] - pose[limbs.ends[:, 1]], axis=1)
        off = (length - limbs.length) / limbs.spread
        return np.concatenate([robust(error, 6.0).ravel() / 3.0, robust(off**2, LIMB_LOSS_SIGMA)])

    slow = least_squares(fun, ours[0].ravel(), xtol=1e-12, ftol=1e-12)
    assert 2 * slow.cost == pytest.approx((fun(ours[0].ravel()) ** 2).sum(), rel=1e-5)


def test_holding_limbs_brings_joints_nearer_to_the_truth(make_scene) -> None:
    scene = make_scene(views=2, frames=40, noise=4.0, span=0.6)
    cameras, observed, weight, _ = held(scene, 0.0)
    free = hold_limbs(
        cameras, observed, weight, scene.pose, np.zeros((40, 17)),
        constant_limbs(scene.pose, np.ones((40, 17)), H36M_17),
        sigma=1e-6, scale=8.0, iterations=15,
    )  # fmt: skip
    limbs = constant_limbs(free, np.full((40, 17), 25.0), H36M_17)
    bound = hold_limbs(cameras, observed, weight, free, np.full((40, 17), 25.0), limbs, sigma=4.0, scale=8.0)
    error = [np.linalg.norm(p - scene.pose, axis=2).mean() for p in (free, bound)]
    assert error[1] < 0.9 * error[0]


def test_every_frame_goes_on_until_it_has_settled(make_scene) -> None:
    scene = make_scene(views=3, frames=40, noise=4.0)
    cameras, observed, weight, start = held(scene, 20.0)
    limbs = constant_limbs(scene.pose, np.ones((40, 17)), H36M_17)
    given = (cameras, observed, weight, start, np.full((40, 17), 20.0), limbs)
    usual, long = (hold_limbs(*given, sigma=4.0, scale=8.0, iterations=n) for n in (30, 300))
    short = hold_limbs(*given, sigma=4.0, scale=8.0, iterations=4)
    assert np.abs(usual - long).max() < 0.3 < np.abs(short - long).max()  # mm


def test_an_inverse_keeps_its_digits_where_one_limb_holds_a_joint_much_harder_than_the_views() -> None:
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    matrix = turn @ np.diag([1e7, 1.0, 2.0]) @ turn.T
    expected = turn @ np.diag([1e-7, 1.0, 0.5]) @ turn.T
    found = _inverse(np.repeat(matrix[..., None], 4, axis=2))[..., 3]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_long_recordings_in_pieces_are_the_same(make_scene, monkeypatch) -> None:
    scene = make_scene(frames=12)
    cameras, observed, weight, start = held(scene, 5.0)
    limbs = constant_limbs(scene.pose, np.ones((12, 17)), H36M_17)
    given = (cameras, observed, weight, start, np.full((12, 17), 5.0), limbs)
    whole = hold_limbs(*given, sigma=2.0, scale=4.0)
    monkeypatch.setattr("vergence.reconstruction.limbs.CHUNK_FRAMES", 5)
    np.testing.assert_allclose(hold_limbs(*given, sigma=2.0, scale=4.0), whole, atol=1e-6)


def test_missing_joints_stay_missing(make_scene) -> None:
    scene = make_scene(frames=6)
    cameras, observed, weight, start = held(scene, 5.0)
    start[2, 5] = np.nan
    limbs = constant_limbs(scene.pose, np.ones((6, 17)), H36M_17)
    found = hold_limbs(cameras, observed, weight, start, np.full((6, 17), 5.0), limbs, sigma=2.0, scale=4.0)
    assert np.isnan(found[2, 5]).all()
    assert np.isfinite(np.delete(found.reshape(-1, 3), 2 * 17 + 5, axis=0)).all()


def test_block_elimination_solves_what_dense_elimination_does() -> None:
    rng = np.random.default_rng(0)
    frames, joints = 7, 6
    limbs = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (0, 4)]  # two rings and a lonely joint
    dense, own, links = np.zeros((frames, 18, 18)), np.zeros((joints, 3, 3, frames)), {}
    for j in range(joints):
        own[j] = 9 * np.eye(3)[..., None] + rng.uniform(0, 1, frames)
        dense[:, 3 * j : 3 * j + 3, 3 * j : 3 * j + 3] = own[j].transpose(2, 0, 1)
    for a, b in limbs:
        block = rng.uniform(-1, 1, (3, 3, frames))
        links[a, b], links[b, a] = block, block.swapaxes(0, 1)
        dense[:, 3 * a : 3 * a + 3, 3 * b : 3 * b + 3] = block.transpose(2, 0, 1)
        dense[:, 3 * b : 3 * b + 3, 3 * a : 3 * a + 3] = block.transpose(2, 1, 0)
    right = rng.normal(size=(joints, 3, frames))
    wanted = np.linalg.solve(dense, right.transpose(2, 0, 1).reshape(frames, -1, 1))
    found = _solved(own, links, right.copy())
    np.testing.assert_allclose(found.transpose(2, 0, 1).reshape(frames, -1, 1), wanted, atol=1e-12)


def test_lengths_and_spreads_by_hand() -> None:
    """Lengths of 488 and 512 in turn deviate by 1.4826 x 12; joints uncertain by 6 and 8 explain 10 of it."""
    pose = np.zeros((40, 17, 3))
    pose[:, 2, 1] = np.where(np.arange(40) % 2, 512.0, 488.0)
    pose[:, 3, 1] = pose[:, 2, 1] + 400
    deviation = np.full((40, 17), 6.0)
    deviation[:, 2] = 8.0
    limbs = constant_limbs(np.where(np.isin(np.arange(17), (1, 2, 3))[:, None], pose, np.nan), deviation, H36M_17)
    found = {tuple(e): (x, s) for e, x, s in zip(limbs.ends.tolist(), limbs.length, limbs.spread, strict=True)}
    assert found == {
        (1, 2): (500.0, pytest.approx(np.sqrt((1.4826 * 12) ** 2 - 10**2))),
        (2, 3): (400.0, pytest.approx(0.015 * 400)),
    }
