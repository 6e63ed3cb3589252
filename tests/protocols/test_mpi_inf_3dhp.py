"""The official evaluation against loops, its groups, and the named protocols that say the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vergence.datasets.mpi_inf_3dhp import SCENES
from vergence.protocols.base import get_protocol, measure
from vergence.protocols.mpi_inf_3dhp import PROTOCOLS, SCORED
from vergence.skeleton import H36M_17, MPI_INF_17

BEST_AUC = 100 * 30 / 31


def poses(count=20, seed=0, noise=110.0):
    rng = np.random.default_rng(seed)
    target = 400 * rng.normal(size=(count, 17, 3)) + [0, 0, 4000]
    return target + noise * rng.normal(size=target.shape), target


def slow(prediction, target):
    """The MATLAB functions, loop by loop: PCK, AUC and MPJPE of all frames."""
    errors = []
    for p, t in zip(prediction, target):
        errors.append([math.dist(p[j] - p[14], t[j] - t[14]) for j in range(17)])
    hits = dict.fromkeys(range(0, 151, 5), 0)
    for frame in errors:
        for joint in range(14):
            for threshold in hits:
                hits[threshold] += frame[joint] < threshold
    total = 14 * len(errors)
    mean = sum(sum(frame) for frame in errors) / (17 * len(errors))
    return 100 * hits[150] / total, 100 * sum(hits.values()) / total / 31, mean


def measured(prediction, target, scene=None, skeleton=MPI_INF_17):
    """The named protocol's table, of poses given in the dataset's own joints."""
    one = np.full(len(target), "TS1")
    groups = {"scene": np.full(len(target), "outdoor") if scene is None else scene, "activity": one, "sequence": one}
    p, t = (MPI_INF_17.convert(x, skeleton) for x in (prediction, target))
    return measure(get_protocol("3dhp"), p, t, groups, skeleton)


@pytest.mark.parametrize("skeleton", [MPI_INF_17, H36M_17], ids=lambda s: s.name)
def test_the_figures_by_loops(skeleton):
    prediction, target = poses(21)
    scene = np.array(["green_screen"] * 10 + ["outdoor"] * 11)
    found = measured(prediction, target, scene, skeleton)
    assert list(found.average.values()) == pytest.approx(slow(prediction, target))
    assert 10 < found.average["PCK"] < 90
    for name in ("green_screen", "outdoor"):
        row, rows = found.tables["scene"][name], scene == name
        assert [row[key] for key in found.average] == pytest.approx(slow(prediction[rows], target[rows]))
        assert row["poses"] == rows.sum()


@pytest.mark.parametrize("skeleton", [MPI_INF_17, H36M_17], ids=lambda s: s.name)
def test_the_truth_scores_all_and_cannot_reach_an_auc_of_100(skeleton):
    _, target = poses()
    moved = target + [100.0, -50, 900]  # roots are put together
    found = measured(moved, target, skeleton=skeleton)
    assert found.average == pytest.approx({"PCK": 100, "AUC": BEST_AUC, "MPJPE": 0}, abs=1e-9)


def test_a_joint_at_the_threshold_is_a_miss():
    target = np.zeros((1, 17, 3))
    prediction = target.copy()
    prediction[0, 0, 0] = 150.0
    prediction[0, 1, 0] = 149.999
    assert measured(prediction, target).average["PCK"] == pytest.approx(100 * 13 / 14)


def test_unscored_joints_change_the_mpjpe_alone():
    _, target = poses()
    prediction = target.copy()
    prediction[:, [15, 16]] += 500
    found = measured(prediction, target).average
    assert found["PCK"] == 100
    assert found["MPJPE"] == pytest.approx(2 * math.dist([0] * 3, [500] * 3) / 17)


def test_a_scene_is_the_frame_weighted_mean_of_its_sequences():
    prediction, target = poses(30)
    sequence = np.array([f"TS{n}" for n in [1] * 7 + [2] * 3 + [3] * 5 + [4] * 6 + [5] * 4 + [6] * 5])
    scene = np.array([SCENES[int(name[2:])] for name in sequence])
    groups = {"scene": scene, "activity": sequence, "sequence": sequence}
    found = measure(get_protocol("3dhp"), prediction, target, groups, MPI_INF_17)
    assert list(found.tables["scene"]) == ["green_screen", "no_green_screen", "outdoor"]
    each = found.tables["sequence"]
    weighted = (each["TS1"]["PCK"] * 7 + each["TS2"]["PCK"] * 3) / 10
    assert found.tables["scene"]["green_screen"]["PCK"] == pytest.approx(weighted)
    assert found.tables["scene"]["outdoor"]["poses"] == 9
    total = sum(row["AUC"] * row["poses"] for row in found.tables["scene"].values()) / 30
    assert found.average["AUC"] == pytest.approx(total)


def test_every_protocol_says_which_size_it_is_measured_at():
    for protocol in PROTOCOLS:
        assert ("univ_annot3" in protocol.truth) == protocol.source["universal"]
        assert protocol.joints == SCORED
