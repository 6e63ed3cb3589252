"""Pose Structure Score: against plain Python, what it sees and what it does not, and that clusters are kept whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vergence.errors import VergenceError
from vergence.metrics import Clusters, fit_clusters, mpjpe, pose_structure_score
from vergence.metrics.structure import assign, k_means, structure_vectors
from vergence.skeleton import H36M_17
from vergence.world import recordings

ROOT = H36M_17.root


@pytest.fixture(scope="module")
def poses():
    return recordings(15, 12, 4, 16, seed=90).pose


@pytest.fixture(scope="module")
def clusters(poses):
    return fit_clusters(poses, 50, ROOT, source="test")


def slow_score(prediction, target, clusters, seed) -> float:
    def nearest(pose):
        flat = [float(pose[j][d]) - float(pose[0][d]) for j in clusters.joints for d in range(3)]
        norm = math.sqrt(sum(v * v for v in flat))
        away = [math.dist([v / norm for v in flat], c) for c in clusters.centres[seed].tolist()]
        return away.index(min(away))

    hits = [nearest(p) == nearest(t) for p, t in zip(prediction, target)]
    return 100 * sum(hits) / len(hits)


def test_against_plain_python(poses, clusters):
    noisy = poses + 60 * torch.randn(poses.shape, generator=torch.Generator().manual_seed(0))
    found = pose_structure_score(noisy[:60], poses[:60], clusters)
    assert found.shape == (5,)
    for seed in range(5):
        assert float(found[seed]) == pytest.approx(slow_score(noisy[:60], poses[:60], clusters, seed))
    assert isinstance(pose_structure_score(noisy[:9].numpy(), poses[:9].numpy(), clusters), np.ndarray)


def test_equal_mpjpe_but_one_pose_is_structurally_wrong(poses, clusters):
    """Left limbs turned to the other side in depth, against every joint off by as much, each its own way."""
    targets = poses - poses[:, :1]
    broken = targets.clone()
    limbs = [i for i, name in enumerate(H36M_17.joint_names) if name.startswith("left_")]
    broken[:, limbs, 2] *= -1
    error = (broken - targets).norm(dim=-1).mean(1) * 17 / 16
    way = torch.randn(len(poses), 16, 3, generator=torch.Generator().manual_seed(0))
    shaken = targets.clone()
    shaken[:, 1:] += error[:, None, None] * torch.nn.functional.normalize(way, dim=-1)
    assert torch.allclose(mpjpe(shaken, targets), mpjpe(broken, targets), rtol=1e-4)
    good = pose_structure_score(shaken, targets, clusters)
    bad = pose_structure_score(broken, targets, clusters)
    assert (good - bad).min() > 10  # in every clustering


def test_one_pose_right_the_other_wrong_at_equal_error(poses, clusters):
    """Two predictions of the same pose, one on either side of a border: only one scores."""
    label = assign(poses, clusters)[:, 0]
    target = poses[:1]
    vector = structure_vectors(poses, ROOT, clusters.joints)
    other = int((vector - vector[0]).norm(dim=1).where(label != label[0], torch.tensor(math.inf)).argmin())
    size = (target - target[:, :1]).norm() / (poses[other] - poses[other, :1]).norm()
    towards = (poses[other] - poses[other, :1]) * size + target[0, :1] - target[0]
    wrong, right = target + towards, target - towards
    assert mpjpe(wrong, target).item() == pytest.approx(mpjpe(right, target).item(), rel=1e-4)
    score = [float(pose_structure_score(p, target, clusters)[0]) for p in (right, wrong)]
    assert score[1] == 0
    assert score[0] == 100


def test_scale_and_place_are_not_seen_orientation_is(poses, clusters):
    assert (pose_structure_score(poses * 0.01 + 5, poses, clusters) == 100).all()
    turned = poses * torch.tensor([-1.0, 1.0, -1.0])
    assert pose_structure_score(turned, poses, clusters).max() < 60


def test_missing_joints(poses, clusters):
    target, predicted = poses[:10].clone(), poses[:10].clone()
    target[0, 5] = math.nan
    predicted[1, 5] = math.nan
    assert pose_structure_score(predicted, target, clusters).tolist() == pytest.approx([100 * 8 / 9] * 5)
    nothing = torch.full_like(target, math.nan)
    assert pose_structure_score(predicted, nothing, clusters).isnan().all()
    headless = poses.clone()
    headless[:, 10] = math.nan
    found = fit_clusters(headless, 10, ROOT, seeds=1)
    assert 10 not in found.joints
    assert found.provenance["poses"] == len(poses)


def test_clusters_carry_where_they_come_from(poses, clusters, tmp_path):
    assert clusters.centres.shape == (5, 50, 48)
    assert clusters.joints == tuple(range(1, 17))  # the root is 0 in every pose
    about = clusters.provenance
    assert about["source"] == "test"
    assert (about["poses"], about["k"], about["seeds"], about["frame"]) == (len(poses), 50, 5, "camera")
    clusters.save(tmp_path / "c.npz")
    again = Clusters.load(tmp_path / "c.npz")
    assert torch.equal(again.centres, clusters.centres)
    assert (again.joints, again.root, again.provenance) == (clusters.joints, clusters.root, about)
    assert fit_clusters(poses[1:], 10, ROOT, seeds=1).provenance["hash"] != about["hash"]
    (tmp_path / "c.npz").write_text("no")
    with pytest.raises(VergenceError, match=r"c\.npz is not a readable NPZ"):
        Clusters.load(tmp_path / "c.npz")


def test_seeds_differ_and_repeat(poses, clusters):
    assert not torch.equal(clusters.centres[0], clusters.centres[1])
    again = fit_clusters(poses, 50, ROOT, seeds=2)
    assert torch.equal(again.centres, clusters.centres[:2])


def test_too_few_poses(poses):
    with pytest.raises(VergenceError, match="100 whole poses for 50 clusters"):
        fit_clusters(poses[:100], 50, ROOT)


def test_k_means_finds_what_is_there_and_converges():
    g = torch.Generator().manual_seed(0)
    truth = 10 * torch.randn(6, 4, generator=g)
    points = (truth[:, None] + 0.1 * torch.randn(6, 30, 4, generator=g)).reshape(-1, 4)
    centres, inertia = min((k_means(points, 6, torch.Generator().manual_seed(s)) for s in range(5)), key=lambda f: f[1])
    assert torch.cdist(truth, centres).min(1).values.max() < 0.2
    nearest = [min(math.dist(p, c) ** 2 for c in centres.tolist()) for p in points.tolist()]
    assert inertia == pytest.approx(sum(nearest), rel=1e-3)
    label = torch.cdist(points, centres).argmin(1)
    for c in range(6):  # a fixed point of Lloyd's iteration
        assert torch.allclose(points[label == c].mean(0), centres[c], atol=1e-4)


def test_a_cluster_of_one_point_stays_where_it_is():
    points = torch.tensor([[0.0], [0.1], [10.0], [10.1], [100.0]])
    for seed in range(10):
        centres, inertia = min((k_means(points, 3, torch.Generator().manual_seed(10 * seed + s)) for s in range(10)),
                               key=lambda found: found[1])  # fmt: skip
        assert sorted(centres[:, 0].tolist()) == pytest.approx([0.05, 10.05, 100])
        assert inertia == pytest.approx(4 * 0.05**2, rel=1e-2)


def test_more_clusters_than_different_points():
    points = torch.eye(3).repeat(5, 1)
    centres, inertia = k_means(points, 5, torch.Generator().manual_seed(0))
    assert centres.isfinite().all()
    assert inertia < 1e-6
