"""The root's place from a pose and the rays to its joints."""

from __future__ import annotations

import numpy as np

from vergence.geometry.root import place_root

RNG = np.random.default_rng(0)
T, J = 200, 15
POSE = RNG.normal(size=(T, J, 3)) * [0.5, 1.5, 0.4]
ROOT = np.c_[RNG.uniform(-3, 3, T), RNG.uniform(-1, 1, T), RNG.uniform(6, 20, T)]
POINTS = POSE + ROOT[:, None]
RAYS = POINTS[..., :2] / POINTS[..., 2:]


def test_exact_rays_give_the_place_exactly():
    root, sigma = place_root(POSE, RAYS, np.ones((T, J)))
    np.testing.assert_allclose(root, ROOT, atol=1e-9)
    assert (sigma > 0).all()


def test_noise_stays_within_the_stated_deviation_and_a_joint_that_is_far_off_hardly_counts():
    rays = RAYS + RNG.normal(size=RAYS.shape) * 0.003
    rays[:, 3] += 0.3
    root, sigma = place_root(POSE, rays, np.ones((T, J)))
    assert (np.abs(root - ROOT) < 3 * sigma).mean() > 0.98
    assert np.abs(root - ROOT)[:, 2].mean() < 0.2


def test_a_pose_too_small_is_placed_too_near_within_the_deviation():
    root, sigma = place_root(0.95 * POSE, RAYS, np.ones((T, J)))
    np.testing.assert_allclose(root, 0.95 * ROOT, atol=1e-6)
    assert (np.abs(root - ROOT)[:, 2] < 2 * sigma[:, 2]).all()


def test_missing_joints_and_frames_of_too_few():
    pose, rays, weight = POSE[:4].copy(), RAYS[:4].copy(), np.ones((4, J))
    pose[0, 5:], rays[1, :13], weight[2] = np.nan, np.nan, 0
    root, sigma = place_root(pose, rays, weight)
    np.testing.assert_allclose(root[[0, 3]], ROOT[[0, 3]], atol=1e-9)
    assert np.isnan(root[1:3]).all()
    assert np.isnan(sigma[1:3]).all()


def test_a_pose_that_fits_behind_the_camera_only_has_no_place():
    root, _ = place_root(POSE[:3], -3 * RAYS[:3] + 5, np.ones((3, J)))
    assert (np.isnan(root).all(1) | (root[:, 2] > 0)).all()


def test_noise_is_told_neither_as_less_nor_as_much_more():
    rng = np.random.default_rng(1)
    root, sigma = place_root(POSE, RAYS + rng.normal(size=RAYS.shape) * 0.02, np.ones((T, J)))
    assert 0.5 < np.sqrt(np.mean(((root - ROOT) / sigma)[:, 2] ** 2)) < 1.2
