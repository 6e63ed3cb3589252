"""The closed form: exact on true 2.5D, honest where it cannot be, differentiable."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from vergence.errors import VergenceError
from vergence.geometry.camera import axis_angle_to_matrix
from vergence.geometry.lifting import bone_vector, lift
from vergence.skeleton import COCO_17, H36M_17

F64 = torch.float64
BONE, ROOT = H36M_17.reference_bone, H36M_17.root


def poses(count=2000, seed=0, joints=17):
    """Random poses 2 to 9 m away, in mm, whose reference bone leans at most some 55 degrees."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=F64)

    body = 300 * normal(count, joints, 3)
    body[:, 8] = body[:, 0] + torch.tensor([0, -500.0, 0])
    body = (axis_angle_to_matrix(0.25 * normal(count, 3))[:, None] @ body[..., None])[..., 0]
    place = torch.stack([400 * normal(count), 300 * normal(count), 5000 + 700 * normal(count).clamp(-3, 3)], dim=-1)
    return body - body[:, :1] + place[:, None]


@dataclass
class Flat:
    xy: torch.Tensor
    depth: torch.Tensor
    scale: torch.Tensor
    root_depth: torch.Tensor


def to_25d(pose, root, bone) -> Flat:
    """What `lift` takes, in reference bones, and the bone's length in the pose's unit."""
    scale = bone_vector(pose, bone).norm(dim=-1)
    z, root_depth = pose[..., 2], pose[..., list(root), 2].mean(-1)
    return Flat(pose[..., :2] / z[..., None], (z - root_depth[..., None]) / scale[..., None], scale, root_depth / scale)


def test_true_25d_is_lifted_exactly():
    truth = poses()
    flat = to_25d(truth, ROOT, BONE)
    found = lift(flat.xy, flat.depth, BONE)
    sure = found.valid & ~found.ambiguous
    assert sure.double().mean() > 0.99
    assert (found.pose * flat.scale[:, None, None] - truth)[sure].abs().max() < 1e-7
    assert (found.root_depth - flat.root_depth)[sure].abs().max() < 1e-9
    assert torch.allclose(flat.scale, (truth[:, 8] - truth[:, 0]).norm(dim=-1))


def test_both_ends_may_be_means_of_joints():
    truth = poses(500, seed=1)
    bone = COCO_17.reference_bone
    assert len(bone[0]) == len(bone[1]) == 2
    truth[:, 5:7] = truth[:, 11:13] + torch.tensor([0, -450.0, 30])
    flat = to_25d(truth, COCO_17.root, bone)
    found = lift(flat.xy, flat.depth, bone)
    sure = found.valid & ~found.ambiguous
    assert sure.double().mean() > 0.95
    assert (found.pose * flat.scale[:, None, None] - truth)[sure].abs().max() < 1e-7


def test_a_bone_leads_from_the_mean_of_its_first_joints_to_that_of_its_second():
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0], [7.0, 5.0]]).expand(4, 3, 2)
    assert bone_vector(points, ((0, 1), (2,))).tolist() == [[6.0, 3.0]] * 4
    assert bone_vector(points[0], ((2,), (0,))).tolist() == [-7.0, -4.0]


def test_root_depth_against_a_numeric_search():
    flat = to_25d(poses(20, seed=2), ROOT, BONE)
    found = lift(flat.xy, flat.depth, BONE)
    for i in range(20):
        xy, depth = flat.xy[i].numpy(), flat.depth[i].numpy()

        def bone_length(z, xy=xy, depth=depth):
            k, l = ((z + depth[j]) * np.array([*xy[j], 1.0]) for j in (0, 8))
            return np.linalg.norm(k - l)

        low, high = float(found.root_depth[i]) * 0.6, 1000.0
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if bone_length(middle) < 1 else (low, middle)
        assert float(found.root_depth[i]) == pytest.approx(low, rel=1e-9)


def test_the_factor_two_matters():
    """Without it (the printed equation) depth is off by a fraction of a percent: a tolerance of 1 % would not notice."""
    flat = to_25d(poses(200, seed=3), ROOT, BONE)
    x, z = flat.xy[:, [0, 8]], flat.depth[:, [0, 8]]
    d = x[:, 1] - x[:, 0]
    q = x * z[..., None]
    e = q[:, 1] - q[:, 0]
    a, b = d.square().sum(-1), (d * e).sum(-1)
    c = e.square().sum(-1) + (z[:, 1] - z[:, 0]) ** 2 - 1
    printed = (-b + (b * b - 4 * a * c).sqrt()) / (2 * a)
    error = (printed / flat.root_depth - 1).abs()
    assert 1e-4 < error.median() < 1e-2
    assert (lift(flat.xy, flat.depth, BONE).root_depth / flat.root_depth - 1).abs().median() < 1e-12


def test_ambiguous_depths_are_marked():
    """A bone nearly along the ray that recedes sideways: two positive depths give it length 1; only marked ones are wrong."""
    generator = torch.Generator().manual_seed(4)
    truth = poses(4000, seed=4)
    lean = torch.randn(4000, 3, generator=generator, dtype=F64)
    lean[:, 2] *= 4
    truth[:, 8] = truth[:, 0] + 500 * lean / lean.norm(dim=-1, keepdim=True)
    truth[..., :2] += 2500 * torch.randn(4000, 1, 2, generator=generator, dtype=F64)
    flat = to_25d(truth, ROOT, BONE)
    found = lift(flat.xy, flat.depth, BONE)
    wrong = (found.root_depth / flat.root_depth - 1).abs() > 1e-5
    assert wrong.sum() > 20
    assert (found.ambiguous | ~found.valid)[wrong].all()


def test_impossible_depths_are_invalid_and_finite():
    xy = torch.zeros(2, 17, 2, dtype=F64)
    xy[0, 8] = torch.tensor([0.0, -0.1])
    depth = torch.zeros(2, 17, dtype=F64)
    depth[0, 8] = 1.5  # longer in depth alone than the bone is
    xy.requires_grad_()
    found = lift(xy, depth, BONE)  # the second: all joints on one pixel
    assert found.valid.tolist() == [False, False]
    assert found.tilt.tolist() == [1.5, 0.0]
    found.pose.sum().backward()
    assert found.pose.isfinite().all()
    assert xy.grad.isfinite().all()


@pytest.mark.parametrize(("depth", "valid"), [(-0.5, True), (-0.999, True), (-1.001, False), (-1.5, False)])
def test_a_bone_deeper_than_it_is_long_is_invalid(depth: float, valid: bool):
    """A bone of length 1 aside of the axis, so that both of its ends are in front of the camera either way."""
    xy = torch.tensor([[0.1, 0.0], [0.3, 0.0]], dtype=torch.float64)
    lifted = lift(xy, torch.tensor([0.0, depth], dtype=torch.float64), ((0,), (1,)))
    assert bool(lifted.valid) == valid
    assert float(lifted.root_depth) + depth > 0


def test_a_joint_behind_the_camera_is_invalid():
    flat = to_25d(poses(1, seed=5), ROOT, BONE)
    depth = flat.depth.clone()
    depth[0, 3] = -100
    assert bool(lift(flat.xy, flat.depth, BONE).valid)
    assert not bool(lift(flat.xy, depth, BONE).valid)


def test_unknown_joints_stay_unknown():
    flat = to_25d(poses(2, seed=6), ROOT, BONE)
    xy = flat.xy.clone()
    xy[0, 16], xy[1, 8] = math.nan, math.nan
    found = lift(xy, flat.depth, BONE)
    assert found.valid.tolist() == [True, False]
    assert found.pose[0, :16].isfinite().all()
    assert found.pose[0, 16, :2].isnan().all()
    assert found.pose[1].isnan().all()


def test_gradients_are_exact_away_from_the_guards():
    flat = to_25d(poses(3, seed=7), ROOT, BONE)
    xy, depth = flat.xy.clone().requires_grad_(), flat.depth.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, z: lift(x, z, BONE).pose, (xy, depth))


def test_single_precision_loses_little():
    truth = poses(500, seed=9)
    flat = to_25d(truth.float(), ROOT, BONE)
    found = lift(flat.xy, flat.depth, BONE)
    assert found.pose.dtype == torch.float32
    error = (found.pose * flat.scale[:, None, None] - truth).abs().amax((-1, -2))
    assert error.median() < 0.02  # mm at 5 m


def test_bad_shapes_and_bones_are_refused():
    with pytest.raises(VergenceError, match="depths"):
        lift(torch.zeros(5, 17, 2), torch.zeros(5, 16), BONE)
    with pytest.raises(VergenceError, match="5 joints"):
        lift(torch.zeros(2, 5, 2), torch.zeros(2, 5), BONE)
