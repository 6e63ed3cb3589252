"""Cameras against OpenCV, against each other, and at their edges."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vergence.errors import VergenceError
from vergence.geometry.camera import (
    axis_angle_to_matrix,
    denormalise,
    distort,
    fisheye_lens,
    intrinsics_from_fov,
    look_at,
    normalise,
    project,
    transform,
    undistort,
)

F64 = torch.float64
LENSES = [
    [-0.3, 0.1, 1e-3, -2e-3, 0.01],
    [0.1, -0.2, 5e-4, 1e-3, 0.05],
    [-0.4, 0.2, 0.0, 0.0, -0.05],
    [-0.2070, 0.2478, -0.0031, -0.0009, -0.0014],  # a camera of Human3.6M
    [-0.2, 0.1, 1e-3, -2e-3, 0.01, 0.1, 0.05, -0.02, 1e-3, -5e-4, -2e-3, 3e-4],
]
FISHEYES = [[0.0, 0.0, 0.0, 0.0], [-0.02, 0.01, -0.004, 0.001], [0.1, -0.03, 0.0, 0.0]]
vectors = arrays(np.float64, 3, elements=st.floats(-2, 2))


def random_points(seed=0, shape=(6, 17)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 3, generator=generator, dtype=F64) * torch.tensor([0.8, 0.5, 0.3]) + torch.tensor(
        [0, 0, 4.0]
    )


def some_intrinsics():
    return torch.tensor([[1145.0, 0.7, 512.5], [0, 1143.2, 515.4], [0, 0, 1]], dtype=F64)


@pytest.mark.parametrize("lens", LENSES)
def test_projection_is_opencvs(lens):
    points, k = random_points(), some_intrinsics()
    k[0, 1] = 0  # OpenCV knows no skew
    theirs, _ = cv2.projectPoints(points.reshape(-1, 3).numpy(), np.zeros(3), np.zeros(3), k.numpy(), np.array(lens))
    ours = project(points, k, torch.tensor(lens, dtype=F64))
    np.testing.assert_allclose(ours.reshape(-1, 2), theirs[:, 0], atol=1e-9)


@pytest.mark.parametrize("lens", LENSES)
def test_undistortion_is_opencvs(lens):
    points, k = random_points(1), some_intrinsics()
    k[0, 1] = 0
    lens = torch.tensor(lens, dtype=F64)
    pixels = project(points, k, lens)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 500, 1e-14)
    source, matrix = pixels.reshape(-1, 1, 2).numpy(), k.numpy()
    if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4
        theirs = cv2.undistortPointsIter(source, matrix, lens.numpy(), np.eye(3), np.eye(3), criteria)
    else:
        theirs = cv2.undistortPoints(source, matrix, lens.numpy(), criteria=criteria)
    np.testing.assert_allclose(normalise(pixels, k, lens).reshape(-1, 2), theirs[:, 0], atol=1e-9)


@pytest.mark.parametrize("lens", [None, *LENSES])
def test_normalise_inverts_project(lens):
    points, k = random_points(2), some_intrinsics()
    lens = None if lens is None else torch.tensor(lens, dtype=F64)
    xy = normalise(project(points, k, lens), k, lens)
    assert (xy - points[..., :2] / points[..., 2:]).abs().max() < 1e-10
    assert torch.allclose(denormalise(xy, k, lens), project(points, k, lens), atol=1e-9)


def test_single_precision_stays_single_and_close():
    points, k, lens = random_points().float(), some_intrinsics().float(), torch.tensor(LENSES[0])
    xy = normalise(project(points, k, lens), k, lens)
    assert xy.dtype == torch.float32
    assert (xy - points[..., :2] / points[..., 2:]).abs().max() < 2e-6


def test_cameras_broadcast_against_the_dimensions_before_the_joints():
    points = random_points(shape=(2, 3, 5))
    k = some_intrinsics() * torch.tensor([[1.0], [2.0], [3.0]], dtype=F64)[:, :, None].expand(3, 3, 3).clone()
    k[:, 2, 2] = 1
    lens = torch.tensor(LENSES[:3], dtype=F64)
    together = project(points, k, lens)
    assert together.shape == (2, 3, 5, 2)
    for view in range(3):
        for row in range(2):
            assert torch.allclose(together[row, view], project(points[row, view], k[view], lens[view]))
    assert project(points[0, 0], k, lens).shape == (3, 5, 2)


def test_a_point_without_a_joint_axis_is_refused():
    with pytest.raises(VergenceError, match=r"\(3,\).*point\[None\]"):
        project(torch.ones(3), torch.eye(3))


def test_points_behind_the_camera_have_no_pixel_and_no_gradient():
    points = torch.tensor([[0.1, 0.2, 2.0], [0.1, 0.2, -2.0], [0.1, 0.2, 0.0], [math.nan, 0, 1]], requires_grad=True)
    pixels = project(points, torch.eye(3))
    assert pixels.isnan().all(-1).tolist() == [False, True, True, False]
    assert pixels[3].isnan().tolist() == [True, False]
    pixels[0].sum().backward()
    assert points.grad is not None
    assert points.grad[:3].isfinite().all()
    assert (points.grad[1:3] == 0).all()


def test_missing_pixels_stay_missing_beside_known_ones():
    pixels = torch.tensor([[math.nan, math.nan], [600.0, 500.0]], dtype=F64)
    xy = normalise(pixels, some_intrinsics(), torch.tensor(LENSES[0], dtype=F64))
    alone = normalise(pixels[1:], some_intrinsics(), torch.tensor(LENSES[0], dtype=F64))
    assert xy[0].isnan().all()
    assert torch.equal(xy[1:], alone)


def test_a_pixel_beyond_the_fold_of_a_barrel_lens_is_nan():
    # r (1 - 0.4 r^2) is at most 0.609, at r = 0.913.
    lens = torch.tensor([-0.4, 0, 0, 0, 0], dtype=F64)
    radii = torch.tensor([[0.55, 0.0], [0.605, 0.0], [0.62, 0.0], [0.0, -0.9], [2.0, 2.0]], dtype=F64)
    found = undistort(radii, lens)
    assert found.isnan().all(-1).tolist() == [False, False, True, True, True]
    r = found[:2, 0]
    assert torch.allclose(r * (1 - 0.4 * r**2), radii[:2, 0], atol=1e-12)
    assert (r < 0.913).all()


@pytest.mark.parametrize("lens", [LENSES[0], LENSES[-1]])
def test_gradients_of_projection_and_undistortion(lens):
    xyz = random_points(shape=(3,)).requires_grad_()
    k, lens = some_intrinsics(), torch.tensor(lens, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, d: project(p, k, d), (xyz, lens))
    pixels = project(xyz, k, lens).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda p, d: normalise(p, k, d), (pixels, lens))


def test_mixed_precision_does_not_reach_the_geometry():
    points, rotation = random_points().float() * 1000, axis_angle_to_matrix(torch.tensor([0.3, -0.2, 0.5]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = transform(points, rotation, torch.zeros(3))
    assert torch.equal(inside, transform(points, rotation, torch.zeros(3)))


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, 3, elements=st.floats(-1, 1)), st.floats(0, math.pi))
def test_axis_angle_is_opencvs(axis, angle):
    length = np.linalg.norm(axis)
    if length < 1e-3:
        axis, length = np.array([1.0, 0, 0]), 1.0
    vector = torch.from_numpy(axis / length * angle)
    matrix = axis_angle_to_matrix(vector)
    np.testing.assert_allclose(matrix, cv2.Rodrigues(vector.numpy())[0], atol=1e-12)


def test_axis_angle_gradients_at_rest():
    zero = torch.zeros(3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(axis_angle_to_matrix, zero)
    vector = torch.tensor([0.3, -1.0, 2.0], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vector)


def test_field_of_view_is_of_the_longer_side():
    k = intrinsics_from_fov(math.pi / 2, 1080, 1920)
    assert k[0, 0] == pytest.approx(960)
    assert k[:2, 2].tolist() == [539.5, 959.5]
    # the ray at half the angle meets the image's edge, half a pixel outside the last centre
    edge = project(torch.tensor([[0, 1.0, 1.0]], dtype=F64), k)
    assert edge[0].tolist() == pytest.approx([539.5, 1919.5])
    assert intrinsics_from_fov(torch.tensor([0.5, 1.0]), 64, 64).shape == (2, 3, 3)
    with pytest.raises(VergenceError, match="60"):
        intrinsics_from_fov(60.0, 64, 64)


def test_look_at_sees_the_target_in_the_middle_and_up_above():
    position, target = torch.tensor([3.0, -2.0, 1.5], dtype=F64), torch.tensor([0.2, 0.1, 1.0], dtype=F64)
    up = torch.tensor([0, 0, 1.0], dtype=F64)
    rotation, translation = look_at(position, target, up)
    assert torch.linalg.det(rotation) == pytest.approx(1)
    assert torch.allclose(-rotation.mT @ translation, position)
    seen = transform(torch.stack([target, target + 0.1 * up]), rotation, translation)
    assert torch.allclose(seen[0, :2], torch.zeros(2, dtype=F64), atol=1e-12)
    assert seen[0, 2] == pytest.approx(float((target - position).norm()))
    assert seen[1, 0] == pytest.approx(0, abs=1e-12)
    assert seen[1, 1] < 0  # y points down
    for length in (1e-4, 1e4):  # it is a direction
        assert torch.allclose(look_at(position, target, length * up)[0], rotation)
    with pytest.raises(VergenceError, match="up vector"):
        look_at(position, position + up, up)


@pytest.mark.parametrize("lens", FISHEYES)
def test_a_fisheye_lens_is_opencvs(lens):
    points, k = random_points(shape=(200, 17)), some_intrinsics()
    points[..., 2] = points[..., 2] * 0.2 + 0.1  # up to 80 degrees from the axis
    points = points[(points[..., 2] > 0.05).all(1)]
    k[0, 1] = 0
    theirs, _ = cv2.fisheye.projectPoints(
        points.reshape(-1, 1, 3).numpy(), np.zeros(3), np.zeros(3), k.numpy(), np.array(lens)
    )
    row = torch.tensor(fisheye_lens(lens), dtype=F64)
    ours = project(points, k, row)
    np.testing.assert_allclose(ours.reshape(-1, 2), theirs[:, 0], atol=1e-9)
    back = normalise(ours, k, row)
    np.testing.assert_allclose(back, points[..., :2] / points[..., 2:], rtol=1e-9)


def test_lenses_of_both_kinds_are_rows_of_one_array():
    plain = torch.nn.functional.pad(torch.tensor(LENSES[0], dtype=F64), (0, 12))
    rows = torch.stack([plain, torch.tensor(fisheye_lens(FISHEYES[1]), dtype=F64)]).requires_grad_()
    xy = (torch.rand(2, 9, 2, dtype=F64, generator=torch.Generator().manual_seed(0)) - 0.5).requires_grad_()
    torch.testing.assert_close(undistort(xy, rows)[0], undistort(xy[0], torch.tensor(LENSES[0], dtype=F64)))
    assert torch.autograd.gradcheck(undistort, (xy, rows[:, :].detach()))
    undistort(xy, rows).sum().backward()
    assert torch.isfinite(rows.grad).all()
    assert torch.isfinite(xy.grad).all()


def test_a_pixel_that_no_fisheye_ray_reaches_is_nan():
    folds = torch.tensor(fisheye_lens([-0.3, 0.0, 0.0, 0.0]), dtype=F64)  # turns back at 60 degrees
    wide = torch.tensor(fisheye_lens([0.0, 0.0, 0.0, 0.0]), dtype=F64)
    pixels = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.9, 0.0], [1.6, 0.0]], dtype=F64)
    assert undistort(pixels, folds).isnan().any(1).tolist() == [False, False, True, True]
    assert undistort(pixels, wide).isnan().any(1).tolist() == [False, False, False, True]  # past 90 degrees


@pytest.mark.parametrize(("kind", "x", "y"), [(torch.float32, 0.012, 0.011), (F64, 8e-5, -6e-5)])
def test_small_turns_keep_the_second_order(kind: torch.dtype, x: float, y: float):
    """About (x, y, 0) by a: R01 is xy (1 - cos a) / a^2 and R02 is y sin a / a, to the last digits of either kind."""
    angle = math.hypot(x, y)
    matrix = axis_angle_to_matrix(torch.tensor([x, y, 0.0], dtype=kind))
    exact = 4 * torch.finfo(kind).eps
    assert float(matrix[0, 1]) == pytest.approx(x * y * 2 * (math.sin(angle / 2) / angle) ** 2, rel=exact)
    assert float(matrix[0, 2]) == pytest.approx(y * math.sin(angle) / angle, rel=exact)
    assert float(matrix[2, 1]) == pytest.approx(x * math.sin(angle) / angle, rel=exact)


def test_what_is_undone_lies_on_the_lens_own_branch():
    """A lens that folds at a radius of 1.025: beyond it points come back nearer, and are no answer. Towards the corners each
    coordinate by itself still grows there."""
    lens = torch.tensor([0.6, -0.45, 0.0, 0.0, -0.05], dtype=torch.float64)
    fold = 1.0246
    angle = torch.linspace(0, 2 * torch.pi, 73, dtype=torch.float64)[:-1]
    radius = torch.linspace(0.8, 1.15, 71, dtype=torch.float64)
    wanted = (radius[:, None, None] * torch.stack([angle.cos(), angle.sin()], -1)).reshape(-1, 2)
    found = undistort(wanted, lens)
    known = found.isfinite().all(-1)
    assert (found[known].norm(dim=-1) < fold).all()
    torch.testing.assert_close(distort(found[known], lens), wanted[known], atol=1e-12, rtol=0)
    assert known[wanted.norm(dim=-1) < 1.0].all()
    assert not known[wanted.norm(dim=-1) > 1.11].any()
