from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.geometry.camera import normalise
from vergence.geometry.two_view import (
    decompose,
    pair_depths,
    pair_pose,
    rotation_only,
    sampson_residual,
)


def cross(t: np.ndarray) -> np.ndarray:
    return np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])


def two_views(noise: float = 0.0, count: int = 300, seed: int = 0, flat: bool = False, baseline: float = 3.0):
    """Normalised points of a cloud 5 m away (depth 0 with `flat`), and the true (R, unit t)."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (count, 3)) + [0, 0, 5]
    if flat:
        points[:, 2] = 5 + 0.3 * points[:, 0]
    rotation = Rotation.from_euler("y", 35, degrees=True).as_matrix()
    translation = np.array([-baseline, 0.3 * baseline / 3, 1.0 * baseline / 3])
    moved = points @ rotation.T + translation
    a, b = points[:, :2] / points[:, 2:], moved[:, :2] / moved[:, 2:]
    shake = rng.normal(0, noise, (2, count, 2))
    return a + shake[0], b + shake[1], rotation, translation / max(np.linalg.norm(translation), 1e-12)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(Rotation.from_matrix(a @ b.T).magnitude()))


def test_exact_points_give_the_pose() -> None:
    a, b, rotation, translation = two_views()
    found = pair_pose(a, b)
    assert angle(found.rotation, rotation) < 1e-3
    np.testing.assert_allclose(found.translation, translation, atol=1e-4)
    assert found.inlier_share > 0.99


@pytest.mark.parametrize("noise_px", [0.5, 3.0])
def test_outliers_and_missing_joints_are_survived(noise_px: float) -> None:
    worst = []
    for seed in range(5):
        a, b, rotation, _ = two_views(noise_px / 1100, seed=seed)
        rng = np.random.default_rng(seed)
        wrong = rng.random(len(a)) < 0.15
        a[wrong] += rng.normal(0, 0.1, (wrong.sum(), 2))
        b[rng.random(len(b)) < 0.2] = np.nan
        found = pair_pose(a, b, seed=seed)
        worst.append(angle(found.rotation, rotation))
        assert 0.6 * noise_px < found.sigma * 1100 < 1.7 * noise_px
        assert not found.inliers[np.isnan(b).any(1)].any()
    assert max(worst) < 3 * noise_px


def test_different_lenses_do_not_matter(make_scene) -> None:
    scene = make_scene(views=2, frames=40, noise=0.5, span=2.5)
    scene.intrinsics[1, :2, :2] *= 1.7  # a longer lens, its keypoints moved accordingly
    pixels = (scene.keypoints[:, 1] - scene.intrinsics[1, :2, 2]) * 1.7 + scene.intrinsics[1, :2, 2]
    views = [scene.keypoints[:, 0], pixels]
    a, b = (
        normalise(torch.from_numpy(p), torch.from_numpy(k), torch.from_numpy(d)).numpy().reshape(-1, 2)
        for p, k, d in zip(views, scene.intrinsics, scene.distortion, strict=True)
    )
    assert angle(pair_pose(a, b).rotation, scene.rotation[1] @ scene.rotation[0].T) < 1.5


def test_sampson_residual_is_the_reference_and_has_the_noise_as_deviation() -> None:
    a, b, rotation, translation = two_views(0.002, count=20000)
    essential = cross(translation) @ rotation
    slow = []
    for p, q in zip(a[:50], b[:50], strict=True):
        x, y = np.append(p, 1), np.append(q, 1)
        gradient = [*(essential @ x)[:2], *(essential.T @ y)[:2]]
        slow.append((y @ essential @ x) / np.linalg.norm(gradient))
    residual = sampson_residual(essential, a, b)
    np.testing.assert_allclose(residual[:50], slow, rtol=1e-10)
    assert residual.std() == pytest.approx(0.002, rel=0.03)


def test_one_decomposition_of_four_lies_before_both_cameras() -> None:
    a, b, rotation, translation = two_views()
    candidates = decompose(cross(translation) @ rotation, a, b)
    assert [c[2] for c in candidates] == [1.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(candidates[0][0], rotation, atol=1e-9)
    np.testing.assert_allclose(candidates[0][1], translation, atol=1e-9)
    for r, _, _ in candidates:
        assert np.linalg.det(r) == pytest.approx(1)


def test_pair_depths_solve_the_ray_equation() -> None:
    a, b, rotation, translation = two_views(0.003)
    depth_a, depth_b = pair_depths(rotation, translation, a, b)
    for i in range(20):
        rows = np.stack([np.append(b[i], 1), -rotation @ np.append(a[i], 1)], 1)
        slow = np.linalg.lstsq(rows, translation, rcond=None)[0]
        np.testing.assert_allclose([depth_b[i], depth_a[i]], slow, rtol=1e-8)


def test_cameras_in_one_place_are_seen() -> None:
    a, b, rotation, _ = two_views(0.002, baseline=0.0)
    found = pair_pose(a, b)
    assert found.parallax < 1.2
    assert angle(rotation_only(a, b)[0], rotation) < 0.2


@pytest.mark.parametrize("baseline", [0.3, 1.0, 3.0])
def test_parallax_grows_with_the_baseline(baseline: float) -> None:
    a, b, _, _ = two_views(0.002, baseline=baseline)
    assert pair_pose(a, b).parallax > 5 * baseline


def test_joints_on_a_plane_are_seen() -> None:
    a, b, _, _ = two_views(0.001, flat=True)
    found = pair_pose(a, b)
    deep = pair_pose(*two_views(0.001)[:2])
    assert deep.conditioning > 3 * found.conditioning


def test_too_few_joints_are_refused() -> None:
    a, b, _, _ = two_views(count=11)
    with pytest.raises(VergenceError, match="11 joints are seen by both cameras, at least 12"):
        pair_pose(a, b)


def test_a_film_that_repeats_is_measured_at_more_than_one_point() -> None:
    """2,000 points two hundred times over: a stride of 2,000 would meet the same one again and again."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (2000, 3)) + [0, 0, 5]
    moved = points + [1.0, 0.0, 0.0]
    a, b = (np.tile(p[:, :2] / p[:, 2:] + rng.normal(0, 1e-4, (2000, 2)), (200, 1)) for p in (points, moved))
    assert pair_pose(a, b).parallax > 2


def test_the_angle_is_that_between_the_rays_of_both_cameras() -> None:
    """The median, against loops with the true rotation; rays of any length."""
    a, b, rotation, _ = two_views(0.0005)
    angles = []
    for pa, pb in zip(np.c_[a, np.ones(len(a))] @ rotation.T, np.c_[b, np.ones(len(b))]):
        angles.append(np.arctan2(np.linalg.norm(np.cross(pa, pb)), pa @ pb))
    assert pair_pose(a, b).angle == pytest.approx(np.median(angles), rel=0.02)
