"""The official evaluation against loops, its groups, and the named protocols that say the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vergence.datasets.mpi_inf_3dhp import SCENES
from vergence.errors import VergenceError
from vergence.protocols.base import get_protocol, measure
from vergence.protocols.mpi_inf_3dhp import JOINT_GROUPS, PROTOCOLS, SCORED, joint_errors, scores, scores_by
from vergence.skeleton import H36M_17, MPI_INF_17

BEST_AUC = 100 * 30 / 31
PELVIS = MPI_INF_17.index("pelvis")


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


def test_the_figures_by_loops():
    prediction, target = poses()
    found = scores(joint_errors(prediction, target))
    assert (found.pck, found.auc, found.mpjpe) == pytest.approx(slow(prediction, target))
    assert 10 < found.pck < 90
    assert found.frames == 20
    weighted = sum(found.joints[name] * len(joints) for name, joints in JOINT_GROUPS.items()) / 14
    assert found.pck == pytest.approx(weighted)
    assert next(MPI_INF_17.joint_names[j] for js in JOINT_GROUPS.values() for j in js if j > 7) == "right_hip"
    assert sorted(j for js in JOINT_GROUPS.values() for j in js) == list(range(14))


def test_the_truth_scores_all_and_cannot_reach_an_auc_of_100():
    _, target = poses()
    moved = target + [100.0, -50, 900]  # roots are put together
    found = scores(joint_errors(moved, target))
    assert found.pck == 100
    assert found.auc == pytest.approx(BEST_AUC)
    assert found.mpjpe == pytest.approx(0, abs=1e-9)


def test_a_joint_at_the_threshold_is_a_miss():
    target = np.zeros((1, 17, 3))
    prediction = target.copy()
    prediction[0, 0, 0] = 150.0
    prediction[0, 1, 0] = 149.999
    found = scores(joint_errors(prediction, target))
    assert found.pck == pytest.approx(100 * 13 / 14)
    assert (found.joints["head"], found.joints["neck"]) == (0, 100)


def test_unscored_joints_change_the_mpjpe_alone():
    _, target = poses()
    prediction = target.copy()
    prediction[:, [15, 16]] += 500
    found = scores(joint_errors(prediction, target))
    assert found.pck == 100
    assert found.mpjpe == pytest.approx(2 * math.dist([0] * 3, [500] * 3) / 17)


def test_a_scene_is_the_frame_weighted_mean_of_its_sequences():
    prediction, target = poses(30)
    errors = joint_errors(prediction, target)
    sequence = np.array([f"TS{n}" for n in [1] * 7 + [2] * 3 + [3] * 5 + [4] * 6 + [5] * 4 + [6] * 5])
    scene = np.array([SCENES[int(name[2:])] for name in sequence])
    by_sequence, by_scene = scores_by(errors, sequence), scores_by(errors, scene)
    assert list(by_scene) == ["green_screen", "no_green_screen", "outdoor"]
    weighted = (by_sequence["TS1"].pck * 7 + by_sequence["TS2"].pck * 3) / 10
    assert by_scene["green_screen"].pck == pytest.approx(weighted)
    assert by_scene["outdoor"].frames == 9
    total = sum(s.auc * s.frames for s in by_scene.values()) / 30
    assert scores(errors).auc == pytest.approx(total)


def test_a_missing_prediction_is_a_miss_and_leaves_no_mpjpe():
    _, target = poses(4)
    prediction = target.copy()
    prediction[0, MPI_INF_17.index("left_knee")] = np.nan
    found = scores(joint_errors(prediction, target))
    assert found.pck == pytest.approx(100 * (1 - 1 / 56))
    assert math.isnan(found.mpjpe)


def test_what_cannot_be_scored_is_refused():
    prediction, target = poses(3)
    target[1, 3] = np.nan
    with pytest.raises(VergenceError, match="1 true poses lack"):
        joint_errors(prediction, target)
    with pytest.raises(VergenceError, match="shape"):
        joint_errors(prediction[:2], target)
    with pytest.raises(VergenceError, match="no frame"):
        scores(np.zeros((0, 17)))


def test_another_skeletons_poses_are_scored_by_its_names():
    _, target = poses(5)
    h36m = MPI_INF_17.convert(target, H36M_17)
    assert scores(joint_errors(h36m, h36m, H36M_17)).pck == 100
    wrong = h36m.copy()
    wrong[:, H36M_17.index("thorax")] += 500  # the neck here
    assert scores(joint_errors(wrong, h36m, H36M_17)).joints["neck"] == 0


@pytest.mark.parametrize("skeleton", [MPI_INF_17, H36M_17], ids=lambda s: s.name)
def test_the_named_protocol_is_the_official_evaluation(skeleton):
    prediction, target = poses(21)
    scene = np.array(["green_screen"] * 10 + ["outdoor"] * 11)
    groups = {"scene": scene, "activity": np.array(["sports"] * 21), "sequence": np.array(["TS1"] * 10 + ["TS5"] * 11)}
    errors = joint_errors(prediction, target)
    p, t = (MPI_INF_17.convert(x, skeleton) for x in (prediction, target))
    found = measure(get_protocol("3dhp"), p, t, groups, skeleton)
    expected = scores(errors)
    assert found.average["PCK"] == pytest.approx(expected.pck)
    assert found.average["AUC"] == pytest.approx(expected.auc)
    assert found.average["MPJPE"] == pytest.approx(expected.mpjpe)
    by_scene = scores_by(errors, scene)
    assert {name: row["PCK"] for name, row in found.tables["scene"].items()} == pytest.approx(
        {name: value.pck for name, value in by_scene.items()}
    )
    perfect = measure(get_protocol("3dhp"), t, t, groups, skeleton)
    assert perfect.average == pytest.approx({"PCK": 100, "AUC": BEST_AUC, "MPJPE": 0})


def test_every_protocol_says_which_size_it_is_measured_at():
    for protocol in PROTOCOLS:
        assert ("univ_annot3" in protocol.truth) == protocol.source["universal"]
        assert protocol.joints == SCORED
