from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures_bundle import scene, shaken
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from vergence.reconstruction import bundle as bundle_module
from vergence.reconstruction.bundle import (
    Bundle,
    adjust,
    camera_covariance,
    project_points,
    robust_loss,
    rotation_uncertainty,
)

LOSSES = ["squared", "soft_l1", "cauchy", "geman_mcclure"]


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


def test_the_spread_of_directions_between_cameras_is_that_of_samples(make_scene) -> None:
    scene = make_scene(views=3)
    cameras = Bundle(scene.rotation, scene.translation, np.ones((3, 2)), scene.pose.reshape(-1, 3))
    rng, size = np.random.default_rng(0), 3 * 7
    half = rng.normal(size=(size, size)) * np.tile([1e-4] * 3 + [0.5] * 3 + [0.0], 3)[:, None]
    centred = bundle_module._recentred(cameras, np.median(cameras.points, axis=0))
    angles = []
    for step in (half @ rng.normal(size=(size, 2000))).T:
        moved = bundle_module.stepped(centred, step.reshape(3, 7), np.zeros(3))
        ways = [c.translation[0] - c.rotation[0] @ c.rotation[2].T @ c.translation[2] for c in (centred, moved)]
        ways = [w / np.linalg.norm(w) for w in ways]
        angles.append(np.linalg.norm(np.cross(*ways)))
    found = bundle_module.baseline_uncertainty(cameras, half @ half.T)[0, 2]
    np.testing.assert_allclose(found, np.sqrt(np.mean(np.square(angles))), rtol=0.05)


def test_errors_that_two_cameras_share_do_not_turn_them_against_each_other() -> None:
    """Of any covariance, also of two cameras that both err, as drawn from it."""
    truth, _, _ = scene(points=4, noise=0.0)
    views, rng = len(truth.rotation), np.random.default_rng(0)
    root = rng.normal(0, 1e-3, (7 * views, 7 * views))
    drawn = (rng.normal(size=(20_000, 7 * views)) @ root.T).reshape(-1, views, 7)[..., :3]
    turned = Rotation.from_rotvec(drawn.reshape(-1, 3)).as_matrix().reshape(-1, views, 3, 3) @ truth.rotation
    off = turned[:, 2] @ turned[:, 1].transpose(0, 2, 1) @ (truth.rotation[2] @ truth.rotation[1].T).T
    wanted = np.sqrt((Rotation.from_matrix(off).magnitude() ** 2).mean())
    assert rotation_uncertainty(truth, root @ root.T)[1, 2] == pytest.approx(wanted, rel=0.02)
