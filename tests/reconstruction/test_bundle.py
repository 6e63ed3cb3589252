from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from vergence.geometry.triangulation import triangulate_linear
from vergence.reconstruction.bundle import (
    Bundle,
    adjust,
    camera_covariance,
    linear_points,
    point_covariance,
    project_points,
    robust_cost,
    robust_loss,
    rotation_uncertainty,
)

LOSSES = ["squared", "soft_l1", "cauchy", "geman_mcclure"]


def scene(points: int = 25, views: int = 3, noise: float = 1.0, seed: int = 0) -> tuple[Bundle, np.ndarray, np.ndarray]:
    """True bundle, observations V 2 N and weights (a tenth missing)."""
    rng = np.random.default_rng(seed)
    turns = Rotation.from_euler("y", np.linspace(0, 100, views)[:, None], degrees=True).as_matrix()
    centres = np.einsum("vji,j->vi", turns, [0, 0, -5.0]) + rng.normal(0, 0.2, (views, 3))
    rotation = Rotation.from_rotvec(rng.normal(0, 0.05, (views, 3))).as_matrix() @ turns
    translation = -np.einsum("vij,vj->vi", rotation, centres)
    focal = np.tile([1000.0, 1010.0], (views, 1))
    bundle = Bundle(rotation, translation, focal, rng.uniform(-1, 1, (points, 3)))
    observed = project_points(bundle)[0] + rng.normal(0, noise, (views, 2, points))
    weight = rng.uniform(0.5, 1.5, (views, points)) * (rng.random((views, points)) > 0.1)
    weight[:2] = np.maximum(weight[:2], 0.3)
    return bundle, np.where(weight[:, None] > 0, observed, np.nan), weight


def shaken(bundle: Bundle, size: float = 0.02, seed: int = 1) -> Bundle:
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(rng.normal(0, size, (len(bundle.rotation), 3))).as_matrix()
    turn[0] = np.eye(3)
    move = rng.normal(0, size, bundle.translation.shape) * 5
    move[0] = 0
    points = bundle.points + rng.normal(0, 2 * size, bundle.points.shape)
    return replace(bundle, rotation=turn @ bundle.rotation, translation=bundle.translation + move, points=points)


def relative(bundle: Bundle) -> np.ndarray:
    return bundle.rotation @ bundle.rotation[0].T


def slow_reference(start: Bundle, observed: np.ndarray, weight: np.ndarray, loss: str, scale: float):
    """SciPy on the robust residuals `sqrt(w rho) s`, dense finite differences: cost and relative rotations."""
    views, count = weight.shape

    def unpack(x: np.ndarray) -> Bundle:
        poses = x[: 6 * (views - 1)].reshape(-1, 6)
        turn = np.concatenate([np.zeros((1, 3)), poses[:, :3]])
        move = np.concatenate([np.zeros((1, 3)), poses[:, 3:]])
        return Bundle(
            Rotation.from_rotvec(turn).as_matrix() @ start.rotation,
            start.translation + move,
            start.focal,
            start.points + x[6 * (views - 1) :].reshape(-1, 3),
        )

    def fun(x: np.ndarray) -> np.ndarray:
        squared = (np.nan_to_num(project_points(unpack(x))[0] - observed) ** 2).sum(1)
        return np.sqrt(weight * robust_loss(squared / scale**2, loss)[0]).ravel() * scale

    size = 6 * (views - 1) + 3 * count
    # a robust loss has a kink at an exact zero of its root: start a hair away
    found = least_squares(fun, np.full(size, 1e-6), method="trf", x_scale="jac", ftol=1e-12, xtol=1e-12, max_nfev=300)
    return found.cost, unpack(found.x)


@pytest.mark.parametrize("loss", ["squared", "soft_l1", "cauchy"])
def test_adjust_finds_what_scipy_finds(loss: str) -> None:
    truth, observed, weight = scene(points=10)
    start = shaken(truth, 0.01)
    ours = adjust(start, observed, weight, loss=loss, scale=2.0, iterations=200, tolerance=1e-13)
    cost, reference = slow_reference(start, observed, weight, loss, 2.0)
    assert ours.cost == pytest.approx(cost, rel=2e-4)
    assert ours.cost <= cost * (1 + 1e-6)
    np.testing.assert_allclose(relative(ours), relative(reference), atol=2e-3)


@pytest.mark.parametrize("focal", ["fixed", "shared", "each"])
def test_exact_observations_give_the_truth_up_to_scale(focal: str) -> None:
    truth, observed, weight = scene(points=60, noise=0.0)
    start = shaken(truth)
    if focal != "fixed":
        start = replace(start, focal=start.focal * 1.05)
    found = adjust(start, observed, weight, loss="squared", focal=focal, iterations=100, tolerance=1e-14)
    assert found.cost < 1e-8
    np.testing.assert_allclose(relative(found), relative(truth), atol=1e-6)
    np.testing.assert_allclose(found.focal, truth.focal, rtol=1e-5)
    baseline = [np.linalg.norm(b.translation[1] - relative(b)[1] @ b.translation[0]) for b in (found, truth)]
    spread = [np.linalg.norm(b.points - b.points.mean(0)) for b in (found, truth)]
    assert spread[0] / baseline[0] == pytest.approx(spread[1] / baseline[1], rel=1e-6)


def test_the_gauge_holds_the_first_camera() -> None:
    truth, observed, weight = scene()
    start = shaken(truth)
    found = adjust(start, observed, weight, iterations=20)
    np.testing.assert_allclose(found.rotation[0], start.rotation[0], atol=1e-12)
    np.testing.assert_allclose(found.translation[0], start.translation[0], atol=1e-9)


def test_points_alone_leave_the_cameras() -> None:
    truth, observed, weight = scene()
    start = shaken(truth)
    found = adjust(start, observed, weight, cameras=False)
    np.testing.assert_array_equal(found.rotation, start.rotation)
    assert found.cost < robust_cost(start, observed, weight, "cauchy", 1.0)


def test_outliers_do_not_matter_under_a_robust_loss() -> None:
    truth, observed, weight = scene(points=80)
    rng = np.random.default_rng(3)
    wrong = rng.random(weight.shape) < 0.05
    spoilt = observed + np.where(wrong[:, None], rng.normal(0, 200, observed.shape), 0)
    robust = adjust(shaken(truth, 0.005), spoilt, weight, loss="cauchy", scale=2.0, iterations=50)
    plain = adjust(shaken(truth, 0.005), spoilt, weight, loss="squared", iterations=50)

    def error(bundle: Bundle) -> float:
        return np.degrees(Rotation.from_matrix(relative(bundle) @ relative(truth).transpose(0, 2, 1)).magnitude().max())

    clean = adjust(truth, observed, weight * ~wrong, loss="squared", iterations=50)
    assert error(robust) < 1.5 * error(clean) + 0.05
    assert error(plain) > 3 * error(robust)


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_slopes_are_derivatives(loss: str) -> None:
    z = np.linspace(0, 30, 50)
    value, slope = robust_loss(z, loss)
    step = 1e-6
    np.testing.assert_allclose((robust_loss(z + step, loss)[0] - value) / step, slope, atol=1e-5)
    assert slope[0] == 1


def test_predicted_rotation_error_is_what_many_runs_show() -> None:
    truth, _, weight = scene(points=40, noise=0.0)
    exact = project_points(truth)[0]
    errors, predicted = [], []
    for seed in range(40):
        observed = exact + np.random.default_rng(seed).normal(0, 2.0, exact.shape)
        unit = (weight > 0).astype(float)
        found = adjust(truth, observed, unit, loss="squared", iterations=30)
        turn = relative(found) @ relative(truth).transpose(0, 2, 1)
        errors.append(Rotation.from_matrix(turn[1:]).magnitude())
        predicted.append(rotation_uncertainty(found, camera_covariance(found, observed, unit, sigma=2.0))[0, 1:])
    actual = np.sqrt(np.mean(np.square(errors), axis=0))
    np.testing.assert_allclose(np.mean(predicted, axis=0), actual, rtol=0.3)


def test_predicted_point_deviation_is_what_many_runs_show() -> None:
    truth, _, _ = scene(points=10, noise=0.0)
    exact, unit = project_points(truth)[0], np.ones((3, 10))
    found = []
    for seed in range(200):
        observed = exact + np.random.default_rng(seed).normal(0, 2.0, exact.shape)
        found.append(adjust(truth, observed, unit, loss="squared", cameras=False, iterations=10).points)
    actual = np.var(found, axis=0).sum(1)
    predicted = np.trace(point_covariance(truth, truth.points, unit), axis1=1, axis2=2) * 2.0**2
    np.testing.assert_allclose(predicted, actual, rtol=0.35)


def test_linear_points_are_those_of_triangulate_linear() -> None:
    truth, observed, weight = scene(points=30, noise=3.0)
    weight[1:, 4] = 0.0  # one view only
    image = torch.from_numpy((observed / truth.focal[:, :, None]).transpose(2, 0, 1).copy())
    matrices = torch.from_numpy(np.concatenate([truth.rotation, truth.translation[:, :, None]], axis=2))
    # one px weighs alike in x and y here; the torch function works in normalised coordinates
    for rounds in (0, 2):
        slow = triangulate_linear(image, matrices, torch.from_numpy(weight.T.copy()), rounds).numpy()
        np.testing.assert_allclose(linear_points(truth, observed, weight, rounds), slow, atol=1e-8)
    assert np.isnan(linear_points(truth, observed, weight)[4]).all()
