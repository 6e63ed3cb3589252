"""What adjustments solve against numbers: slopes by differences of costs and projections, eliminations by dense matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures_bundle import scene, shaken
from scipy.linalg import block_diag

from vergence.reconstruction import bundle as module
from vergence.reconstruction.bundle import (
    CAMERA_SIZE,
    SYMMETRIC,
    Bundle,
    adjust,
    free_parameters,
    invert_symmetric,
    linearise,
    project_points,
    reduced_system,
    robust_cost,
    robust_loss,
    stepped,
)
from vergence.reconstruction.points import adjust_points, normal_equations, point_covariance
from vergence.reconstruction.sync import together

STEP = 1e-6
LOSSES = ["squared", "soft_l1", "cauchy", "geman_mcclure"]


def varied(bundle: Bundle, view: int, unknown: int, size: float) -> Bundle:
    step = np.zeros((len(bundle.rotation), CAMERA_SIZE))
    step[view, unknown] = size
    return stepped(bundle, step, np.zeros_like(bundle.points))


def shifted(bundle: Bundle, axis: int, size: float) -> Bundle:
    """All points, each of which is its own."""
    return replace(bundle, points=bundle.points + size * np.eye(3)[axis])


def jacobians(bundle: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Of projections V 2 N: by each camera's seven unknowns (V 7 2 N), by the points (V 3 2 N)."""
    views = len(bundle.rotation)
    cameras = np.array([[(project_points(varied(bundle, v, i, STEP))[0] - project_points(varied(bundle, v, i, -STEP))[0])[v]
                         for i in range(CAMERA_SIZE)] for v in range(views)])  # fmt: skip
    points = np.stack([project_points(shifted(bundle, i, STEP))[0] - project_points(shifted(bundle, i, -STEP))[0]
                       for i in range(3)], 1)  # fmt: skip
    return cameras / (2 * STEP), points / (2 * STEP)


@pytest.mark.parametrize("loss", LOSSES)
def test_normal_equations_are_those_of_differences(loss: str) -> None:
    """`J^T W J` with `W = weight rho'`; gradients also of the cost itself."""
    truth, observed, weight = scene(points=9, noise=3.0)
    bundle, observed = shaken(truth, 0.005), np.nan_to_num(observed)
    cost, system = linearise(bundle, observed, weight, loss, 4.0)  # type: ignore[arg-type]
    assert cost == pytest.approx(robust_cost(bundle, observed, weight, loss, 4.0))  # type: ignore[arg-type]
    by_camera, by_point = jacobians(bundle)
    error = project_points(bundle)[0] - observed
    trust = weight * robust_loss((error**2).sum(1) / 16.0, loss)[1]  # type: ignore[arg-type]
    close = {"rtol": 1e-5, "atol": 1e-3}
    np.testing.assert_allclose(system.camera, np.einsum("vikn,vjkn,vn->vij", by_camera, by_camera, trust), **close)
    np.testing.assert_allclose(system.camera_gradient, np.einsum("vikn,vkn,vn->vi", by_camera, error, trust), **close)
    full = np.einsum("vikn,vjkn,vn->ijn", by_point, by_point, trust)
    np.testing.assert_allclose(system.point, [full[i, j] for i, j in SYMMETRIC], **close)
    np.testing.assert_allclose(system.point_gradient, np.einsum("vikn,vkn,vn->in", by_point, error, trust), **close)
    np.testing.assert_allclose(system.cross, np.einsum("vikn,vjkn,vn->vijn", by_camera, by_point, trust), **close)
    for v in range(3):
        for i in range(CAMERA_SIZE):
            costs = [robust_cost(varied(bundle, v, i, s), observed, weight, loss, 4.0) for s in (-STEP, STEP)]  # type: ignore[arg-type]
            assert (costs[1] - costs[0]) / (2 * STEP) == pytest.approx(system.camera_gradient[v, i], rel=1e-4, abs=0.5)


def test_slopes_of_a_lens_are_those_of_differences() -> None:
    """Points at rest: log focal length, principal point in px, and k1 and k2 of `f x (1 + k1 r^2 + k2 r^4) + c`."""
    truth, observed, weight = scene(points=9, noise=3.0)
    observed = np.nan_to_num(observed)
    bundle = replace(truth, points=adjust_points(truth, observed, weight, scale=4.0, iterations=300, tolerance=0.0))
    _, gradient = reduced_system(bundle, observed, weight, 4.0)
    flat = project_points(bundle)[0]
    radius = ((flat / bundle.focal[:, :, None]) ** 2).sum(1)[:, None]
    one = np.ones_like(flat[:, 0])
    moves = [flat, np.stack([one, 0 * one], 1), np.stack([0 * one, one], 1), flat * radius, flat * radius**2]
    for v in range(3):
        for unknown, move in enumerate(moves, 6):
            own = np.where(np.arange(3)[:, None, None] == v, move, 0.0)
            costs = [robust_cost(bundle, observed - s * own, weight, "cauchy", 4.0) for s in (-STEP, STEP)]
            assert (costs[1] - costs[0]) / (2 * STEP) == pytest.approx(gradient[v, unknown], rel=1e-3, abs=0.02)


@pytest.mark.parametrize("focal", ["fixed", "shared", "each"])
def test_a_step_is_that_of_the_whole_system(focal: str) -> None:
    """Points eliminated and the rig's size held, against one dense solution of all unknowns."""
    truth, observed, weight = scene(points=9, noise=1.0)
    bundle, observed = shaken(truth, 0.002), np.nan_to_num(observed)
    _, system = linearise(bundle, observed, weight, "squared", 1.0)
    free = free_parameters(3, focal)  # type: ignore[arg-type]
    step, points = module._solve_step(system, bundle, free, 1e-3)
    poses = free.shape[1]
    matrix = np.zeros((poses + 27, poses + 27))
    camera = block_diag(*(block + 1e-3 * np.diag(np.diag(block)) for block in system.camera))
    gauge = free.T @ module._scale_direction(bundle)
    own = np.zeros((9, 3, 3))
    for k, (i, j) in enumerate(SYMMETRIC):
        own[:, i, j] = own[:, j, i] = module.damped(system.point, 1e-3)[k]
    cross = free.T @ system.cross.reshape(21, 3, 9).transpose(0, 2, 1).reshape(21, 27)
    matrix[:poses, :poses] = free.T @ camera @ free
    matrix[:poses, poses:], matrix[poses:, :poses] = cross, cross.T
    matrix[poses:, poses:] = block_diag(*own)
    strength = np.trace(free.T @ module._reduce(system, 1e-3)[0] @ free) / (gauge @ gauge)
    matrix[:poses, :poses] += strength * np.outer(gauge, gauge)
    right = np.concatenate([free.T @ system.camera_gradient.reshape(-1), system.point_gradient.T.reshape(-1)])
    expected = -np.linalg.solve(matrix, right)
    np.testing.assert_allclose(step.reshape(-1), free @ expected[:poses], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(points.reshape(-1), expected[poses:], rtol=1e-5, atol=1e-9)


def test_what_may_move() -> None:
    """Nothing of the first camera but its focal length: of three cameras twelve, one or three more for focal lengths."""
    for focal, count in (("fixed", 12), ("shared", 13), ("each", 15)):
        free = free_parameters(3, focal)  # type: ignore[arg-type]
        assert free.shape == (21, count)
        assert not free[:6].any()
        assert free[[6, 13, 20]].sum() == {"fixed": 0, "shared": 3, "each": 3}[focal]
        assert np.linalg.matrix_rank(free) == count
    assert (free_parameters(3, "shared")[[6, 13, 20]].sum(0) == [0] * 12 + [3]).all()


def test_the_direction_of_scale_changes_no_image() -> None:
    """Grown about the first camera, with the points: no projection moves."""
    truth, _, _ = scene(points=9)
    step = 1e-6 * module._scale_direction(truth).reshape(3, CAMERA_SIZE)
    centre = -truth.rotation[0].T @ truth.translation[0]
    grown = stepped(truth, step, 1e-6 * (truth.points - centre))
    assert np.abs(step[0]).max() < 1e-20
    np.testing.assert_allclose(project_points(grown)[0], project_points(truth)[0], atol=1e-7)


def test_symmetric_matrices_are_inverted() -> None:
    half = np.random.default_rng(0).normal(size=(20, 3, 3))
    full = half @ half.transpose(0, 2, 1)
    found = invert_symmetric(np.array([full[:, i, j] for i, j in SYMMETRIC]))
    np.testing.assert_allclose(found.transpose(2, 0, 1), np.linalg.inv(full), rtol=1e-7)


def test_points_of_held_cameras_have_the_bundles_equations() -> None:
    truth, observed, weight = scene(points=9, noise=3.0)
    bundle = shaken(truth, 0.005)
    _, system = linearise(bundle, np.nan_to_num(observed), weight, "cauchy", 4.0)
    matrix, gradient = normal_equations(bundle, bundle.points, observed, weight, 4.0)
    np.testing.assert_allclose(matrix, system.point, rtol=1e-9)
    np.testing.assert_allclose(gradient, system.point_gradient, rtol=1e-7, atol=1e-7)
    _, unit = linearise(bundle, project_points(bundle)[0], weight, "squared", 1.0)
    np.testing.assert_allclose(
        point_covariance(bundle, bundle.points, weight).transpose(1, 2, 0), invert_symmetric(unit.point), rtol=1e-5
    )


def test_slopes_of_times_and_cameras_are_those_of_differences() -> None:
    """Points that move in space: by turn, shift, log focal length and by the time at which each camera looks."""
    truth, _, _ = scene(points=9, views=3)
    cameras = replace(truth, focal=np.full((3, 2), 1.2))
    speed = np.random.default_rng(1).normal(0, 0.02, (9, 3))
    flat = project_points(cameras)[0].transpose(0, 2, 1)
    later, earlier = (project_points(replace(cameras, points=cameras.points + s * speed))[0].transpose(0, 2, 1)
                      for s in (STEP, -STEP))  # fmt: skip
    motion, late = (later - earlier) / (2 * STEP), np.linspace(-1, 1, 9)
    error, at_points, at_cameras = together._slopes(cameras, flat, motion, np.ones((3, 9)), late, 0.0)
    np.testing.assert_allclose(error, 0, atol=1e-9)
    by_camera, by_point = jacobians(cameras)
    np.testing.assert_allclose(at_points, by_point.transpose(0, 3, 2, 1), atol=1e-6)
    np.testing.assert_allclose(at_cameras[..., :7], by_camera.transpose(0, 3, 2, 1), atol=1e-6)
    np.testing.assert_allclose(at_cameras[..., 7], -motion, atol=1e-6)
    np.testing.assert_allclose(at_cameras[..., 8], -motion * late[:, None], atol=1e-6)
    # Smoothed with a Gaussian of variance 4, somebody who nears a camera is seen ahead by 4 speeds over the distance.
    error, *_ = together._slopes(cameras, flat, motion, np.ones((3, 9)), late, 2.0)
    nearing = np.einsum("vi,ni->vn", cameras.rotation[:, 2], speed) / project_points(cameras)[1]
    np.testing.assert_allclose(error, -4 * nearing[..., None] * motion, atol=1e-6)


def test_times_and_cameras_with_points_eliminated_are_the_dense_schur_complement() -> None:
    rng = np.random.default_rng(0)
    error, at_points, at_cameras = (
        rng.normal(size=(3, 7, 2)),
        rng.normal(size=(3, 7, 2, 3)),
        rng.normal(size=(3, 7, 2, 9)),
    )
    weight = rng.uniform(0.2, 1, (3, 7))
    system, gradient = together._reduced(error, at_points, at_cameras, weight)
    rows = np.zeros((3, 7, 2, 27 + 21))
    for v in range(3):
        rows[v, :, :, 9 * v : 9 * v + 9] = at_cameras[v]
        for n in range(7):
            rows[v, n, :, 27 + 3 * n : 30 + 3 * n] = at_points[v, n]
    flat, trust = rows.reshape(-1, 48), np.repeat(weight.reshape(-1), 2)
    full, right = flat.T @ (trust[:, None] * flat), flat.T @ (trust * error.reshape(-1))
    follow = np.linalg.inv(full[27:, 27:])
    np.testing.assert_allclose(system, full[:27, :27] - full[:27, 27:] @ follow @ full[27:, :27], atol=1e-5)
    np.testing.assert_allclose(gradient.reshape(-1), right[:27] - full[:27, 27:] @ follow @ right[27:], atol=1e-5)


def test_moments_of_cameras_that_run_fast_are_counted_from_the_middle() -> None:
    """Of 101 steps the middle is 50: there a drift has no effect, at the ends 50 times itself."""
    found = together.moments(np.array([0.0, 50, 100]), np.array([0.0, 2.5]), np.array([0.0, 0.01]), 101)
    assert found.tolist() == [[0, 50, 100], [2.0, 52.5, 103.0]]


@pytest.mark.parametrize("most", [1, 2, 5])
def test_as_many_steps_are_tried_as_are_allowed(most: int) -> None:
    """Each makes the cost no larger; the count says how many there were."""
    truth, observed, weight = scene(points=9, noise=3.0)
    start = shaken(truth, 0.05)
    found = adjust(start, observed, weight, iterations=most, tolerance=0.0)
    assert (found.iterations, found.converged) == (most, False)
    more = adjust(start, observed, weight, iterations=most + 1, tolerance=0.0)
    assert more.cost <= found.cost < robust_cost(start, observed, weight, "cauchy", 1.0)
    done = adjust(start, observed, weight, iterations=200)
    assert done.converged
    assert done.iterations < 200
    assert done.cost == pytest.approx(robust_cost(done, observed, weight, "cauchy", 1.0))
