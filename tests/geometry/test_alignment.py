"""Alignment against SciPy and Umeyama's paper in plain numpy; degenerate clouds, reflections and gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.geometry.alignment import align, least_squares_scale, ridge_regression
from vergence.geometry.camera import axis_angle_to_matrix
from vergence.geometry.cameras import rotation_angle

F64 = torch.float64


def cloud(seed=0, shape=(17,)):
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=F64)


def weights_for(seed=9, shape=(17,)):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def umeyama(x, y, w, reflection=False):
    """Umeyama 1991, (34) to (43), one cloud at a time."""
    w = w / w.sum()
    mx, my = (w[:, None] * x).sum(0), (w[:, None] * y).sum(0)
    covariance = sum(w[i] * np.outer(y[i] - my, x[i] - mx) for i in range(len(x)))
    u, d, vt = np.linalg.svd(covariance)
    s = np.eye(3)
    if not reflection and np.linalg.det(u) * np.linalg.det(vt) < 0:
        s[2, 2] = -1
    rotation = u @ s @ vt
    scale = np.trace(np.diag(d) @ s) / sum(w[i] * ((x[i] - mx) ** 2).sum() for i in range(len(x)))
    return rotation, my - scale * rotation @ mx, scale


@pytest.mark.parametrize("reflection", [False, True])
def test_similarity_is_umeyamas(reflection):
    x, y, w = cloud(0, (4, 17)), cloud(1, (4, 17)), weights_for(2, (4, 17))
    found = align(x, y, w, scale=True, reflection=reflection)
    for i in range(4):
        rotation, translation, scale = umeyama(x[i].numpy(), y[i].numpy(), w[i].numpy(), reflection)
        np.testing.assert_allclose(found.rotation[i], rotation, atol=1e-10)
        np.testing.assert_allclose(found.translation[i], translation, atol=1e-10)
        assert float(found.scale[i]) == pytest.approx(scale)


def test_rigid_rotation_is_scipys():
    x, y, w = cloud(3), cloud(4), weights_for(5)
    found = align(x, y, w)
    mx, my = (((w / w.sum())[:, None] * p).sum(0) for p in (x, y))
    theirs, _ = Rotation.align_vectors((y - my).numpy(), (x - mx).numpy(), weights=w.numpy())
    np.testing.assert_allclose(found.rotation, theirs.as_matrix(), atol=1e-10)
    assert float(found.scale) == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.integers(3, 20))
def test_a_similarity_is_recovered(seed, scale, joints):
    x, turn, shift = cloud(seed, (joints,)), axis_angle_to_matrix(3 * cloud(seed + 1, ())), 1000 * cloud(seed + 2, ())
    y = scale * x @ turn.T + shift
    found = align(x, y, scale=True)
    assert float(rotation_angle(found.rotation.numpy(), turn.numpy())) < 1e-5  # three points may be nearly on a line
    assert float(found.scale) == pytest.approx(scale, rel=1e-7)
    assert torch.allclose(found.apply(x), y, atol=1e-7 * (scale + 1))


def test_a_mirrored_cloud_is_a_reflection_only_when_asked_for():
    x = cloud(6)
    mirrored = x * torch.tensor([-1.0, 1, 1])
    proper, improper = align(x, mirrored), align(x, mirrored, reflection=True)
    assert float(torch.linalg.det(proper.rotation)) == pytest.approx(1)
    assert float(torch.linalg.det(improper.rotation)) == pytest.approx(-1)
    assert torch.allclose(improper.apply(x), mirrored, atol=1e-12)
    assert (proper.apply(x) - mirrored).norm() > 1


def test_missing_points_and_zero_weights_have_no_say():
    x, y = cloud(7), cloud(8)
    expected = align(x[2:], y[2:], scale=True)
    x[0], y[1, 2] = math.nan, math.nan
    found = align(x, y, scale=True)
    assert torch.allclose(found.rotation, expected.rotation)
    assert torch.allclose(found.translation, expected.translation)
    w = torch.ones(17, dtype=F64)
    w[:2] = torch.tensor([0.0, math.nan])
    x[:2], y[:2] = 1e6, -1e6
    assert torch.allclose(align(x, y, w, scale=True).rotation, expected.rotation)


def test_nothing_to_align_is_nan_for_that_pose_only():
    x = cloud(9, (2, 5))
    x[0] = math.nan
    found = align(x, cloud(10, (2, 5)))
    assert found.rotation[0].isnan().all()
    assert found.translation[0].isnan().all()
    assert found.rotation[1].isfinite().all()
    assert found.unique.tolist() == [False, True]


@pytest.mark.parametrize(
    ("points", "unique"),
    [
        ([[0, 0, 0.0]] * 4, False),
        ([[0, 0, 0], [1.0, 2, 3]], False),
        ([[0, 0, 0], [1.0, 2, 3], [2, 4, 6], [-1, -2, -3]], False),
        ([[0, 0, 0], [1.0, 0, 0], [0, 1, 0]], True),
    ],
)
def test_degenerate_clouds_give_a_best_rotation_and_say_so(points, unique):
    x = torch.tensor(points, dtype=F64, requires_grad=True)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.4, 1.0], dtype=F64))
    y = (x @ turn.T + 5).detach()
    found = align(x, y, scale=True)
    assert bool(found.unique) is unique
    assert float(torch.linalg.det(found.rotation.detach())) == pytest.approx(1)
    assert torch.allclose(found.apply(x), y, atol=1e-9)
    found.apply(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_mirrored_round_cloud_has_no_unique_rotation():
    cross = torch.cat([torch.eye(3), -torch.eye(3)])
    assert bool(align(cross, cross).unique)
    assert not bool(align(cross, -cross).unique)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("reflection", [False, True])
def test_gradients(scale, reflection):
    x, y, w = (v.requires_grad_() for v in (cloud(11, (2, 6)), cloud(12, (2, 6)), 0.1 + weights_for(13, (2, 6))))
    assert torch.autograd.gradcheck(
        lambda x, y, w: align(x, y, w, scale=scale, reflection=reflection).apply(x), (x, y, w)
    )


def test_gradient_where_singular_values_are_equal():
    # A cross: SVD's own backward divides by the differences of its three equal singular values.
    cross = torch.cat([torch.eye(3, dtype=F64), -torch.eye(3, dtype=F64)]).requires_grad_()
    target = cross.detach() @ axis_angle_to_matrix(torch.tensor([0.1, 0.2, 0.3], dtype=F64)).T
    assert torch.autograd.gradcheck(lambda x: align(x, target).rotation, cross)


def test_squared_loss_has_the_same_gradient_with_a_constant_motion():
    x, y, w = cloud(14), cloud(15), weights_for(16)
    gradients = []
    for detach in (False, True):
        source = x.clone().requires_grad_()
        loss = (w * (align(source, y, w, detach=detach).apply(source) - y).square().sum(-1)).sum()
        gradients.append(torch.autograd.grad(loss, source)[0])
    assert torch.allclose(*gradients, atol=1e-12)


def test_single_precision_and_mixed_precision_at_five_metres():
    x = cloud(17, (9, 17)).float() * 300 + torch.tensor([0, 0, 5000.0])
    y = x @ axis_angle_to_matrix(torch.tensor([0.5, 0.1, 0.0])).T + 100
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = align(x, y).apply(x)
    assert moved.dtype == torch.float32
    assert (moved - y).abs().max() < 0.02


def test_scale_alone_is_least_squares_and_never_negative():
    x, y, w = cloud(18, (3, 17)), cloud(18, (3, 17)) * 2 + 0.1 * cloud(19, (3, 17)), weights_for(20, (3, 17))
    found = least_squares_scale(x, y, w)
    for i in range(3):
        a = (w[i].sqrt()[:, None] * x[i]).reshape(-1, 1).numpy()
        b = (w[i].sqrt()[:, None] * y[i]).reshape(-1).numpy()
        assert float(found[i]) == pytest.approx(np.linalg.lstsq(a, b, rcond=None)[0][0])
    assert (least_squares_scale(x, -y) == 0).all()
    assert float(least_squares_scale(torch.zeros(4, 3), torch.ones(4, 3))) == 1
    assert least_squares_scale(torch.full((4, 3), math.nan), torch.ones(4, 3)).isnan()


def test_ridge_regression_against_a_slow_reference():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 4, generator=g, dtype=F64), 5 + torch.randn(30, 6, generator=g, dtype=F64)
    weight, offset = ridge_regression(x, y, 0.1)
    # The same minimum by stacking sqrt(n strength) I under the centred rows.
    a = torch.cat([x - x.mean(0), math.sqrt(30 * 0.1) * torch.eye(4, dtype=F64)])
    b = torch.cat([y - y.mean(0), torch.zeros(4, 6, dtype=F64)])
    assert torch.allclose(weight, torch.linalg.lstsq(a, b).solution, atol=1e-9)
    assert torch.allclose((x @ weight + offset).mean(0), y.mean(0), atol=1e-9)


def test_different_joints_are_refused():
    with pytest.raises(VergenceError, match=r"\(17, 3\).*\(16, 3\)"):
        align(cloud(), cloud(1, (16,)))
