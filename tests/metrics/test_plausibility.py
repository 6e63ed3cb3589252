"""Plausibility figures by hand, and that they tell collapse, flip and noise apart."""

import math

import numpy as np
import pytest
import torch

from vergence.errors import VergenceError
from vergence.metrics import (
    depth_correlation,
    flip_depth,
    limb_differences,
    limb_lengths,
    mpjpe,
    pixel_scale,
    pose_diversity,
    symmetry_error,
)
from vergence.skeleton import COCO_17, H36M_17, Skeleton


def poses(seed=0, count=50):
    rng = np.random.default_rng(seed)
    return 300 * rng.normal(size=(count, 17, 3)) + [0, 0, 5000]


def test_limb_lengths_by_hand():
    pose = np.array([[0.0, 0, 0], [3, 4, 0], [np.nan, 0, 0]])
    found = limb_lengths(pose, [(0, 1), (1, 0), (1, 2)])
    assert found.tolist() == pytest.approx([5, 5, math.nan], nan_ok=True)
    assert isinstance(limb_lengths(torch.tensor(pose), [(0, 1)]), torch.Tensor)
    with pytest.raises(VergenceError, match="3 joints"):
        limb_lengths(pose, [(0, 3)])


@pytest.mark.parametrize("skeleton", [H36M_17, COCO_17])
def test_symmetry_error_by_loops(skeleton):
    batch = poses()[:4]
    batch[1, skeleton.index("left_knee")] = np.nan
    found = symmetry_error(batch, skeleton)
    for i, pose in enumerate(batch):
        gaps = []
        for (a, b), (c, d) in skeleton.limb_groups.values():
            gap = abs(np.linalg.norm(pose[a] - pose[b]) - np.linalg.norm(pose[c] - pose[d]))
            gaps += [] if math.isnan(gap) else [gap]
        assert len(gaps) == len(skeleton.limb_groups) - (2 if i == 1 else 0)
        assert found[i] == pytest.approx(sum(gaps) / len(gaps))


@pytest.mark.parametrize("group", list(H36M_17.limb_groups))
def test_each_limb_group_is_measured_by_itself(group):
    """A person made even, then one left limb's end moved along the limb: only its own group differs, by as much."""
    batch = poses()[:3]
    even = (batch + batch[:, list(H36M_17.mirror)] * [-1, 1, 1]) / 2
    _, (a, b) = H36M_17.limb_groups[group]
    longer = even.copy()
    way = longer[:, b] - longer[:, a]
    moved = [b]  # and all that hangs on it
    for joint, parent in enumerate(H36M_17.parents):
        moved += [joint] if parent in moved else []
    longer[:, moved] += (25 * way / np.linalg.norm(way, axis=-1, keepdims=True))[:, None]
    gaps = limb_differences(longer, H36M_17)
    column = list(H36M_17.limb_groups).index(group)
    assert gaps[:, column] == pytest.approx(25)
    assert np.delete(gaps, column, 1) == pytest.approx(0, abs=1e-9)
    assert symmetry_error(longer, H36M_17) == pytest.approx(25 / 6)


def test_pixel_scale_by_loops():
    batch = poses()[:4]
    keypoints = batch[..., :2] * 0.1 + 7
    keypoints[1, 3] = np.nan
    keypoints[2] = np.nan
    keypoints[3] *= 2
    batch[3, :, :2] = 5.0
    found = pixel_scale(batch, keypoints, H36M_17.limbs)
    assert found[:2] == pytest.approx(0.1)
    assert np.isnan(found[2:]).all()
    noisy = keypoints[0] + np.random.default_rng(0).normal(size=(17, 2))
    flat = deep = 0.0
    for a, b in H36M_17.limbs:
        flat += math.dist(noisy[a], noisy[b])
        deep += math.dist(batch[0, a, :2], batch[0, b, :2])
    assert pixel_scale(batch[0], noisy, H36M_17.limbs) == pytest.approx(flat / deep)
    with pytest.raises(VergenceError, match="keypoints of shape"):
        pixel_scale(batch, keypoints[:2], H36M_17.limbs)


def test_a_symmetric_person_has_no_symmetry_error():
    batch = poses()
    mirrored = batch[:, list(H36M_17.mirror)] * [-1, 1, 1]
    assert symmetry_error((batch + mirrored) / 2, H36M_17) == pytest.approx(0, abs=1e-9)


def test_symmetry_needs_the_poses_own_skeleton():
    with pytest.raises(VergenceError, match="16 joints"):
        symmetry_error(poses()[:, :16], H36M_17)
    with pytest.raises(VergenceError, match="0 pairs"):
        symmetry_error(poses()[:, :2], Skeleton("custom", ("pelvis", "thorax")))


def test_collapse_flip_and_noise_are_told_apart():
    target = poses()
    rng = np.random.default_rng(1)
    noisy = target + 80 * rng.normal(size=target.shape)
    collapsed = np.broadcast_to(target.mean(0), target.shape) + 3 * rng.normal(size=target.shape)
    reversed_ = target * [1, 1, -1]
    half = np.where((np.arange(50) % 2 == 0)[:, None, None], target, reversed_)

    assert pose_diversity(noisy, target) == pytest.approx(1, abs=0.1)
    assert pose_diversity(1e-3 * noisy, 1e-3 * target) == pytest.approx(pose_diversity(noisy, target))  # of any unit
    assert depth_correlation(noisy, target) > 0.9
    assert pose_diversity(collapsed, target) < 0.05
    assert abs(depth_correlation(collapsed, target)) < 0.4
    assert pose_diversity(reversed_, target) == pytest.approx(1)
    assert depth_correlation(reversed_, target) == pytest.approx(-1)
    assert abs(depth_correlation(half, target)) < 0.2
    assert pose_diversity(half, target) == pytest.approx(1, abs=0.05)
    assert mpjpe(flip_depth(reversed_), target).mean() < 1e-6
    assert mpjpe(flip_depth(noisy), target).mean() > 2 * mpjpe(noisy, target).mean()
    better = mpjpe(flip_depth(half), target) < mpjpe(half, target)
    assert better.tolist() == [i % 2 == 1 for i in range(50)]


def test_diversity_and_correlation_by_hand():
    target, prediction = poses(2, 8), poses(3, 8)
    target[0, 4] = np.nan
    p, t = prediction - prediction[:, :1], target - target[:, :1]
    squares = [0.0, 0.0]
    for j in range(17):
        known = [n for n in range(8) if not np.isnan(t[n, j]).any()]
        for k, pose in enumerate((p, t)):
            middle = sum(pose[n, j] for n in known) / len(known)
            squares[k] += sum(((pose[n, j] - middle) ** 2).sum() for n in known)
    assert pose_diversity(prediction, target) == pytest.approx(math.sqrt(squares[0] / squares[1]))
    depth = [(p[n, j, 2], t[n, j, 2]) for n in range(8) for j in range(1, 17) if (n, j) != (0, 4)]
    assert depth_correlation(prediction, target) == pytest.approx(np.corrcoef(np.array(depth).T)[0, 1])
    assert depth_correlation(torch.tensor(prediction), torch.tensor(target)) == depth_correlation(prediction, target)


def test_figures_without_an_answer():
    target = poses()
    assert depth_correlation(target * [1, 1, 0], target) == 0
    assert math.isnan(depth_correlation(target, target * [1, 1, 0]))
    assert math.isnan(pose_diversity(target[:1], target[:1]))
    assert pose_diversity(np.broadcast_to(target[:1], target.shape), target) == pytest.approx(0, abs=1e-12)
    missing = target.copy()
    missing[3, 3] = np.nan
    with pytest.raises(VergenceError, match="NaN in 1 poses"):
        pose_diversity(missing, target)
    assert math.isnan(depth_correlation(target, np.full_like(target, np.nan)))


def test_flipping_twice_is_root_relative_identity():
    pose = poses()
    twice = flip_depth(flip_depth(pose, (1, 4)), (1, 4))
    np.testing.assert_allclose(twice, pose - pose[:, [1, 4]].mean(1, keepdims=True), atol=1e-9)


@pytest.mark.parametrize(("size", "depth", "flat"), [(1e3, 1e-10, True), (1e-3, 1e-10, False), (1e3, 1e-6, False)])
def test_a_depth_is_flat_where_it_varies_by_rounding_of_the_poses_own_size_alone(size: float, depth: float, flat: bool):
    """Float64 keeps 16 digits: 1e-10 is rounding of 1000, and no rounding of 0.001."""
    target = np.zeros((2, 3, 3))
    target[:, 1:, 0] = size
    target[0, 1, 2] = target[1, 2, 2] = depth
    real = np.zeros((2, 3, 3))
    real[0, 1] = real[1, 2] = 0, 0, 100.0
    assert math.isnan(depth_correlation(real, target)) is flat
    assert depth_correlation(target, real) == pytest.approx(0.0 if flat else 1.0)
