"""Points of held cameras: against the functions with gradients, and against what many runs show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures_bundle import scene, shaken

from vergence.geometry.triangulation import triangulate_linear, triangulate_robust
from vergence.reconstruction.bundle import project_points, robust_cost
from vergence.reconstruction.consensus import TUKEY_SIGMA, _by_agreement
from vergence.reconstruction.points import adjust_points, linear_points, point_covariance


def test_points_alone_leave_the_cameras() -> None:
    truth, observed, weight = scene()
    start = shaken(truth)
    found = replace(start, points=adjust_points(start, observed, weight))
    assert robust_cost(found, observed, weight, "cauchy", 1.0) < robust_cost(start, observed, weight, "cauchy", 1.0)


@pytest.mark.parametrize("loss", ["cauchy", "soft_l1"])
def test_the_robust_loss_bends_at_its_scale(loss: str) -> None:
    """In pixels four times as large it bends at a quarter of the residual."""
    truth, observed, weight = scene(noise=3.0)
    start = shaken(truth)
    found = adjust_points(start, observed, weight, loss=loss, scale=4.0)
    coarse = adjust_points(replace(start, focal=start.focal / 4), observed / 4, weight, loss=loss, scale=1.0)
    np.testing.assert_allclose(found, coarse, atol=1e-9)
    assert np.abs(found - adjust_points(start, observed, weight, loss=loss, scale=1.0)).max() > 1e-4


def test_predicted_point_deviation_is_what_many_runs_show() -> None:
    truth, _, _ = scene(points=10, noise=0.0)
    exact, unit = project_points(truth)[0], np.ones((3, 10))
    found = []
    for seed in range(200):
        observed = exact + np.random.default_rng(seed).normal(0, 2.0, exact.shape)
        found.append(adjust_points(truth, observed, unit, loss="squared", iterations=10))
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


def test_points_by_agreement_are_those_of_triangulate_robust() -> None:
    truth, observed, weight = scene(points=200, views=4, noise=2.0)
    observed[1, :, ::3] += 300.0  # one view wrong
    truth, observed = replace(truth, focal=truth.focal[:, :1].repeat(2, 1)), observed * [[1.0], [1000 / 1010]]
    image = torch.from_numpy((observed / truth.focal[:, :, None]).transpose(2, 0, 1).copy())
    matrices = torch.from_numpy(np.concatenate([truth.rotation, truth.translation[:, :, None]], axis=2))
    focal, weights = torch.from_numpy(truth.focal.mean(1)), torch.from_numpy(weight.T.copy())
    slow = triangulate_robust(image, matrices, 2.0 * TUKEY_SIGMA, focal, weights, rounds=2).points.numpy()
    found = _by_agreement(truth, observed, weight, 2.0)
    assert np.isfinite(slow).all(1).mean() > 0.9
    np.testing.assert_allclose(found, slow, atol=1e-9)


def test_each_point_descends_as_if_it_were_alone() -> None:
    truth, observed, weight = scene(points=60, noise=3.0)
    start = shaken(truth)
    together = adjust_points(start, observed, weight)
    alone = [adjust_points(replace(start, points=start.points[n]), observed[:, :, n], weight[:, n])
             for n in (slice(i, i + 1) for i in range(60))]  # fmt: skip
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-9)
