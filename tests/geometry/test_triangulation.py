"""Triangulation against the truth and against OpenCV; wrong views, missing views, bad geometry."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from vergence.errors import VergenceError
from vergence.geometry.camera import look_at, transform
from vergence.geometry.triangulation import (
    correct_matches,
    depths,
    reprojection_error,
    triangulate_linear,
    triangulate_optimal,
    triangulate_robust,
    vector_median,
)

F64 = torch.float64
FOCAL = 1000.0


def projection_matrix(rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    return torch.cat([rotation, translation[..., None]], dim=-1)


def rig(views=4, distance=4500.0):
    """Cameras around a person, z up, mm: rotation, translation, [R | t]."""
    angles = [2 * math.pi * (v + 0.13 * v * v) / views for v in range(views)]
    position = torch.tensor(
        [[distance * math.cos(a), distance * (1 + 0.1 * i) * math.sin(a), 1500 + 90 * i] for i, a in enumerate(angles)],
        dtype=F64,
    )
    rotation, translation = look_at(
        position, torch.tensor([0, 0, 1000.0], dtype=F64), torch.tensor([0, 0, 1.0], dtype=F64)
    )
    return rotation, translation, projection_matrix(rotation, translation)


def world(count=500, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 400 * torch.randn(count, 3, generator=generator, dtype=F64) + torch.tensor([0, 0, 1000.0])


def observe(points, cameras, noise_px=0.0, seed=1):
    moved = transform(points, cameras[..., :3], cameras[..., 3])  # V N 3
    xy = (moved[..., :2] / moved[..., 2:]).transpose(0, 1)
    return xy + noise_px / FOCAL * torch.randn(xy.shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def essential(cameras):
    r = cameras[1, :, :3] @ cameras[0, :, :3].mT
    t = cameras[1, :, 3] - r @ cameras[0, :, 3]
    return torch.linalg.cross(t[:, None].expand(3, 3), r, dim=0).numpy()


@pytest.mark.parametrize("views", [2, 3, 8])
def test_exact_rays_give_exact_points(views):
    points, cameras = world(), rig(views)[2]
    xy = observe(points, cameras)
    assert (triangulate_linear(xy, cameras) - points).abs().max() < 1e-8
    assert (triangulate_linear(xy, cameras, iterations=2) - points).abs().max() < 1e-8
    assert (triangulate_robust(xy, cameras, 5.0, FOCAL).points - points).abs().max() < 1e-8
    single = triangulate_linear(xy.float(), cameras.float())
    assert single.dtype == torch.float32
    assert (single - points).abs().max() < 0.2


@pytest.mark.parametrize("degrees", [8.0, 1.0, 0.5])
def test_rays_at_a_small_angle_meet_in_single_precision(degrees):
    point = torch.tensor([0.1, 0.2, 5.0])
    cameras = torch.eye(3, 4).repeat(2, 1, 1)
    cameras[1, 0, 3] = -5 * math.tan(math.radians(degrees))
    seen = point + cameras[:, :, 3]
    found = triangulate_linear((seen[:, :2] / seen[:, 2:])[None], cameras)
    torch.testing.assert_close(found[0], point, atol=1e-3, rtol=0)


def test_two_views_match_opencvs_linear_triangulation():
    points, cameras = world(), rig(2)[2]
    xy = observe(points, cameras, 2.0)
    theirs = cv2.triangulatePoints(cameras[0].numpy(), cameras[1].numpy(), xy[:, 0].T.numpy(), xy[:, 1].T.numpy())
    theirs = (theirs[:3] / theirs[3]).T
    # OpenCV's homogeneous form weighs the same residuals a little differently: same points to a fraction of their error
    ours = triangulate_linear(xy, cameras)
    assert (ours - torch.from_numpy(theirs)).norm(dim=-1).median() < 0.05 * (ours - points).norm(dim=-1).median()


def test_linear_is_weighted_least_squares():
    points, cameras = world(5), rig(4)[2]
    xy, weights = observe(points, cameras, 5.0), torch.rand(5, 4, generator=torch.Generator().manual_seed(3), dtype=F64)
    found = triangulate_linear(xy, cameras, weights)
    for i in range(5):
        rows, right = [], []
        for v in range(4):
            p = cameras[v].numpy()
            for axis in range(2):
                row = math.sqrt(weights[i, v]) * (float(xy[i, v, axis]) * p[2] - p[axis])
                rows.append(row[:3])
                right.append(-row[3])
        expected = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
        np.testing.assert_allclose(found[i], expected, atol=1e-6)


def test_iterations_reach_the_least_reprojection_error():
    points, cameras = world(5), rig(3)[2]
    xy = observe(points, cameras, 5.0)
    found = triangulate_linear(xy, cameras, iterations=4)
    for i in range(5):

        def residual(x, i=i):
            moved = cameras[:, :, :3].numpy() @ x + cameras[:, :, 3].numpy()
            return ((moved[:, :2] / moved[:, 2:] - xy[i].numpy()) * FOCAL).ravel()

        best = least_squares(residual, points[i].numpy(), xtol=1e-15, ftol=1e-15)
        cost = 0.5 * (residual(found[i].numpy()) ** 2).sum()
        assert cost < best.cost * 1.001
        assert 0.5 * (residual(triangulate_linear(xy[i], cameras).numpy()) ** 2).sum() >= cost * 0.9999


def test_cameras_broadcast_over_frames_and_joints():
    points, cameras = world(12), rig(3)[2]
    xy = observe(points, cameras, 1.0)
    together = triangulate_linear(xy.reshape(3, 4, 3, 2), cameras)
    assert torch.allclose(together.reshape(12, 3), triangulate_linear(xy, cameras))
    robust = triangulate_robust(xy.reshape(3, 4, 3, 2), cameras, 10.0, torch.full((3,), FOCAL, dtype=F64))
    assert robust.points.shape == (3, 4, 3)
    assert robust.weights.shape == (3, 4, 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100), st.integers(2, 6))
def test_the_order_of_views_does_not_matter(seed, views):
    points, cameras = world(20, seed), rig(views)[2]
    xy = observe(points, cameras, 2.0, seed)
    order = torch.randperm(views, generator=torch.Generator().manual_seed(seed))
    for method in (triangulate_linear, lambda x, c: triangulate_robust(x, c, 20.0, FOCAL).points):
        assert torch.allclose(method(xy, cameras), method(xy[:, order], cameras[order]), atol=1e-6)


def test_missing_views_have_no_say_and_one_view_is_not_enough():
    points, cameras = world(6), rig(4)[2].clone()
    xy = observe(points, cameras, 2.0)
    weights = torch.ones(6, 4, dtype=F64)
    expected = triangulate_linear(xy[:, :2], cameras[:2])
    xy[0, 2:], xy[1, 2:, 1] = math.nan, math.nan
    weights[2, 2:], weights[3, 2:] = 0, math.nan
    weights[4, 1:] = 0
    xy[5] = math.nan
    for found in (triangulate_linear(xy, cameras, weights), triangulate_linear(xy, cameras, weights, iterations=0)):
        assert torch.allclose(found[:4], expected[:4], atol=1e-9)
        assert found[4:].isnan().all()
    assert (
        triangulate_robust(xy, cameras, 20.0, FOCAL, weights).points.isnan().all(-1).tolist()
        == [False] * 4 + [True] * 2
    )
    cameras[3] = math.nan
    known = triangulate_linear(observe(points, rig(4)[2]), cameras)
    assert torch.allclose(known, points, atol=1e-8)


def test_parallel_rays_give_no_point():
    camera = projection_matrix(torch.eye(3, dtype=F64), torch.zeros(3, dtype=F64))
    beside = projection_matrix(torch.eye(3, dtype=F64), torch.tensor([-500.0, 0, 0], dtype=F64))
    cameras, xy = torch.stack([camera, beside]), torch.tensor([[0.1, 0.2], [0.1, 0.2]], dtype=F64)
    assert triangulate_linear(xy, cameras).isnan().all()
    assert triangulate_linear(xy, torch.stack([camera, camera])).isnan().all()
    assert triangulate_optimal(xy, torch.stack([camera, camera])).isnan().all()


def test_a_point_between_two_cameras_spoils_no_other():
    first = projection_matrix(torch.eye(3, dtype=F64), torch.zeros(3, dtype=F64))
    ahead = projection_matrix(torch.eye(3, dtype=F64), torch.tensor([0.0, 0, -1000], dtype=F64))
    world = torch.tensor([[0.0, 0, 5000], [700, -300, 5000]], dtype=F64)
    cameras = torch.stack([first, ahead])
    found = triangulate_optimal(observe(world, cameras), cameras)
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1], world[1])


def test_linear_gradient():
    points, cameras = world(3), rig(3)[2]
    xy = observe(points, cameras, 5.0).requires_grad_()
    weights = torch.rand(3, 3, generator=torch.Generator().manual_seed(1), dtype=F64).requires_grad_()
    scaled = cameras.clone()
    scaled[..., 3] /= 1000
    assert torch.autograd.gradcheck(lambda x, w, c: triangulate_linear(x, c, w), (xy, weights, scaled.requires_grad_()))


def test_a_missing_view_leaves_gradients_finite():
    points, cameras = world(2), rig(3)[2]
    xy = observe(points, cameras)
    xy[0, 2] = math.nan
    xy.requires_grad_()
    triangulate_linear(xy, cameras, iterations=1).sum().backward()
    assert xy.grad.isfinite().all()
    assert (xy.grad[0, 2] == 0).all()


@pytest.mark.parametrize("noise_px", [0.0, 2.0, 30.0])
def test_optimal_correction_is_opencvs(noise_px):
    points, cameras = world(), rig(5)[2][:2]
    xy = observe(points, cameras, noise_px)
    first, second = cv2.correctMatches(essential(cameras), xy[None, :, 0].numpy(), xy[None, :, 1].numpy())
    ours = correct_matches(xy, cameras)
    np.testing.assert_allclose(ours[:, 0], first[0], atol=1e-9)
    np.testing.assert_allclose(ours[:, 1], second[0], atol=1e-9)


def test_optimal_beats_linear_and_everything_near_it():
    points = world(200)
    cameras = rig(5, 1800.0)[2][:2]  # close by: depths differ, and linear errors show
    xy = observe(points, cameras, 20.0)
    cost = lambda x: reprojection_error(x, xy, cameras).square().sum(-1)
    best = triangulate_optimal(xy, cameras)
    sound = (depths(best, cameras) > 0).all(-1)
    assert sound.double().mean() > 0.95
    assert (cost(best) <= cost(triangulate_linear(xy, cameras)) * (1 + 1e-9))[sound].all()
    for seed in range(20):
        moved = best + 5 * torch.randn(200, 3, generator=torch.Generator().manual_seed(seed), dtype=F64)
        assert (cost(best) <= cost(moved) * (1 + 1e-9))[sound].all()


def test_optimal_with_parallel_epipolar_lines():
    """A sideways pair has its epipoles at infinity: the polynomial loses its leading term."""
    camera = projection_matrix(torch.eye(3, dtype=F64), torch.zeros(3, dtype=F64))
    beside = projection_matrix(torch.eye(3, dtype=F64), torch.tensor([-500.0, 0, 0], dtype=F64))
    cameras = torch.stack([camera, beside])
    points = torch.tensor([[100.0, -50, 3000], [-300, 200, 5000]], dtype=F64)
    xy = observe(points, cameras)
    assert torch.allclose(triangulate_optimal(xy, cameras), points, atol=1e-6)
    xy[:, 0, 1] += 0.002  # across the lines: each image gives half
    corrected = correct_matches(xy, cameras)
    assert torch.allclose(corrected[:, :, 1], xy[:, :, 1].mean(1, keepdim=True).expand(2, 2), atol=1e-10)
    with pytest.raises(VergenceError, match="3 views"):
        triangulate_optimal(torch.zeros(3, 2), torch.zeros(3, 3, 4))


@pytest.mark.parametrize(("views", "bad"), [(4, 1), (5, 2), (8, 4)])
def test_robust_survives_wrong_views(views, bad):
    points, cameras = world(1000), rig(views)[2]
    clean = observe(points, cameras, 2.0)
    xy = clean.clone()
    generator = torch.Generator().manual_seed(5)
    wrong = torch.rand(1000, views, generator=generator).argsort(-1)[:, :bad]
    shift = torch.randn(1000, bad, 2, generator=generator, dtype=F64)
    shift = shift / shift.norm(dim=-1, keepdim=True) * (80 + 60 * torch.rand(1000, bad, 1, generator=generator)) / FOCAL
    xy.scatter_add_(1, wrong[..., None].expand(-1, -1, 2), shift)
    found = triangulate_robust(xy, cameras, 10.0, FOCAL)
    error = (found.points - points).norm(dim=-1)
    reference = (triangulate_linear(clean, cameras, iterations=3) - points).norm(dim=-1)
    spoilt = (triangulate_linear(xy, cameras, iterations=3) - points).norm(dim=-1)
    good = torch.ones(1000, views, dtype=torch.bool).scatter(1, wrong, False)
    oracle = (triangulate_linear(clean, cameras, good.double(), iterations=3) - points).norm(dim=-1)
    assert reference.median() < oracle.median() < spoilt.median() / 3
    assert error.median() < 1.15 * oracle.median()
    assert error.quantile(0.95) < 1.5 * oracle.quantile(0.95)
    assert (found.weights.gather(1, wrong) > 0).double().mean() < 0.06
    assert (found.weights[good] > 0).double().mean() > 0.97


def test_robust_reports_errors_in_pixels_of_every_seen_view():
    points, cameras = world(50), rig(4)[2]
    xy = observe(points, cameras)
    xy[:, 2, 0] += 0.05
    xy[:, 3] = math.nan
    focal = torch.tensor([1000.0, 900, 800, 700], dtype=F64)
    # three views, one of them wrong by 40 px: mostly the two right ones agree; look at those
    found = triangulate_robust(xy, cameras, 10.0, focal)
    right = (found.points - points).norm(dim=-1) < 1e-3
    assert right.double().mean() > 0.5
    assert torch.allclose(found.error_px[right][:, 2], torch.full((int(right.sum()),), 40.0, dtype=F64), atol=1e-3)
    assert found.error_px[:, 3].isnan().all()
    assert (found.weights[right][:, 2:] == 0).all()


def test_two_disagreeing_views_give_nothing():
    points, cameras = world(20), rig(5)[2][:2]
    xy = observe(points, cameras)
    xy[:10, 1, 1] += 0.1
    found = triangulate_robust(xy, cameras, 10.0, FOCAL)
    assert found.points[:10].isnan().all()
    assert (found.weights[:10] == 0).all()
    assert torch.allclose(found.points[10:], points[10:], atol=1e-6)


def test_vector_median_against_the_definition():
    candidates = torch.randn(30, 7, 3, generator=torch.Generator().manual_seed(2), dtype=F64)
    candidates[0, 3:] = math.nan
    candidates[1, 2:] = math.nan
    candidates[2, 1:] = math.nan
    candidates[3] = math.nan
    found = vector_median(candidates)
    for i in range(30):
        alive = [c for c in candidates[i].numpy() if not np.isnan(c).any()]
        if len(alive) == 0:
            assert found[i].isnan().all()
        elif len(alive) == 2:
            np.testing.assert_allclose(found[i], (alive[0] + alive[1]) / 2)
        else:
            sums = [sum(np.linalg.norm(a - b) for b in alive) for a in alive]
            np.testing.assert_allclose(found[i], alive[int(np.argmin(sums))])


def test_depths_and_errors_behind_a_camera():
    rotation, translation = look_at(
        torch.tensor([[2.0, 0, 0], [0, 2, 0], [-2, 0, 0]], dtype=F64),
        torch.zeros(3, dtype=F64),
        torch.tensor([0, 0, 1.0], dtype=F64),
    )
    cameras = projection_matrix(rotation, translation)
    there = torch.tensor([[3.0, 0, 0]], dtype=F64)
    assert depths(there, cameras)[0].tolist() == pytest.approx([-1, 2, 5])
    error = reprojection_error(there, torch.zeros(1, 3, 2, dtype=F64), cameras)
    assert error[0].tolist() == pytest.approx([math.inf, 1.5, 0])


def test_mismatched_views_are_refused():
    with pytest.raises(VergenceError, match="3 views of points, 2 cameras"):
        triangulate_linear(torch.zeros(5, 3, 2), torch.zeros(2, 3, 4))
    with pytest.raises(VergenceError, match=r"\(\.\.\., V, 3, 4\)"):
        triangulate_linear(torch.zeros(5, 3, 3), torch.zeros(3, 3, 4))


def test_a_camera_in_whose_plane_the_point_lies_does_not_take_it_away():
    """Its depth there is exactly 0, by which nothing is divided."""
    turned = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=F64)
    eye, ahead, none = torch.eye(3, dtype=F64), torch.tensor([0.0, 0, 5], dtype=F64), torch.zeros(3, dtype=F64)
    cameras = torch.stack([torch.cat([r, t[:, None]], 1) for r, t in ((eye, ahead), (turned, ahead), (eye, none))])
    point = triangulate_linear(torch.zeros(3, 2, dtype=F64), cameras, iterations=1)
    torch.testing.assert_close(point, none)
