"""Named protocols against plain Python: joints, alignments, thresholds, averages."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from vergence import plugins
from vergence.errors import VergenceError
from vergence.protocols.base import Protocol, get_protocol, measure
from vergence.protocols.figures import Figure
from vergence.skeleton import COCO_17, H36M_17, MPI_INF_17

JOINTS = H36M_17.joint_names
P = Protocol(
    "p", "a title", "nothing", {"split": "test"}, (Figure("MPJPE"), Figure("PCK", "pck")), JOINTS, tables=("action",)
)  # fmt: skip


@pytest.fixture(scope="module")
def poses():
    rng = np.random.default_rng(0)
    target = rng.normal(0, 300, (24, 17, 3)) + [0, 0, 4000]
    prediction = target + rng.normal(0, 70, target.shape)
    groups = {
        "action": np.array(["Walking"] * 12 + ["Eating"] * 8 + ["Sitting"] * 4),
        "subject": np.array(["S9", "S11"] * 12),
    }
    return prediction, target, groups


def slow_errors(p, t, joints):
    """Root-aligned distances of each pose's named joints."""
    root = JOINTS.index("pelvis")
    out = []
    for a, b in zip(p, t):
        row = []
        for name in joints:
            j = JOINTS.index(name)
            row.append(math.dist((a[j] - a[root]).tolist(), (b[j] - b[root]).tolist()))
        out.append(row)
    return out


def test_errors_and_shares_against_plain_python(poses):
    p, t, groups = poses
    some = tuple(n for n in JOINTS if n not in ("pelvis", "spine", "neck_nose"))
    figures = (
        Figure("MPJPE"),
        Figure("own", joints=("left_wrist",)),
        Figure("PCK", "pck", threshold=110),
        Figure("AUC", "auc"),
    )
    found = measure(dataclasses.replace(P, joints=some, figures=figures), p, t, groups, H36M_17)
    errors = slow_errors(p, t, some)
    flat = [e for row in errors for e in row]
    assert found.average["MPJPE"] == pytest.approx(sum(flat) / len(flat))
    assert found.average["own"] == pytest.approx(sum(row[0] for row in slow_errors(p, t, ["left_wrist"])) / 24)
    assert found.average["PCK"] == pytest.approx(100 * sum(e <= 110 for e in flat) / len(flat))
    shares = [100 * sum(e <= 5 * step for e in flat) / len(flat) for step in range(31)]
    assert found.average["AUC"] == pytest.approx(sum(shares) / 31)
    assert found.poses == 24


def test_averages_over_poses_and_over_groups_differ(poses):
    p, t, groups = poses
    errors = [sum(row) / len(row) for row in slow_errors(p, t, JOINTS)]
    means = {
        a: np.mean([e for e, g in zip(errors, groups["action"]) if g == a]) for a in ("Walking", "Eating", "Sitting")
    }
    over_poses = measure(P, p, t, groups, H36M_17)
    over_actions = measure(dataclasses.replace(P, average="action"), p, t, groups, H36M_17)
    assert over_poses.average["MPJPE"] == pytest.approx(np.mean(errors))
    assert over_actions.average["MPJPE"] == pytest.approx(np.mean(list(means.values())))
    assert abs(over_poses.average["MPJPE"] - over_actions.average["MPJPE"]) > 1e-3
    for action, mean in means.items():
        assert over_poses.tables["action"][action]["MPJPE"] == pytest.approx(mean)
    assert [row["poses"] for row in over_poses.tables["action"].values()] == [8, 4, 12]
    ordered = dataclasses.replace(P, order=("Walking", "Sitting"), tables=("action", "subject"))
    tables = measure(ordered, p, t, groups, H36M_17).tables
    assert list(tables["action"]) == ["Walking", "Sitting", "Eating"]
    assert list(tables["subject"]) == ["S9", "S11"]


def test_only_the_rows_that_are_kept_count(poses):
    p, t, groups = poses
    wrong = p.copy()
    wrong[groups["subject"] == "S9"] += np.random.default_rng(1).normal(0, 900, (12, 17, 3))
    only = dataclasses.replace(P, keep={"subject": ("S11",), "action": ("Walking", "Eating")})
    found = measure(only, wrong, t, groups, H36M_17)
    rows = (groups["subject"] == "S11") & (groups["action"] != "Sitting")
    assert found.poses == rows.sum()
    errors = slow_errors(p[rows], t[rows], JOINTS)
    assert found.average["MPJPE"] == pytest.approx(np.mean(errors))
    assert found.plain()["protocol"]["images"]["only_subject"] == ["S11"]


def test_a_strict_threshold_is_below_not_at(poses):
    _, t, groups = poses
    p = t.copy()
    p[:, 3, 0] += 150.0
    p = np.round(p)
    t = np.round(t)
    p[:, 3] = t[:, 3] + [150.0, 0, 0]
    figures = (Figure("at", "pck"), Figure("below", "pck", strict=True), Figure("auc", "auc", strict=True))
    found = measure(
        dataclasses.replace(P, figures=figures, joints=("right_ankle", "right_knee")), p, t, groups, H36M_17
    )
    assert found.average["at"] == 100
    assert found.average["below"] == 50
    assert found.average["auc"] == pytest.approx(50 * 30 / 31)  # a perfect joint is not below 0 mm


def test_alignments_forgive_what_they_say(poses):
    _, t, groups = poses
    figures = tuple(Figure(a, alignment=a) for a in ("root", "scale", "procrustes_scale", "procrustes"))
    all_four = dataclasses.replace(P, figures=figures)
    moved = measure(all_four, t + [100, -50, 900], t, groups, H36M_17).average
    assert max(moved.values()) < 1e-6
    scaled = measure(all_four, 0.7 * t, t, groups, H36M_17).average
    assert scaled["root"] > 50
    assert max(scaled[a] for a in ("scale", "procrustes_scale", "procrustes")) < 1e-6
    c, s = np.cos(0.4), np.sin(0.4)
    turned = measure(all_four, t @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), t, groups, H36M_17).average
    assert turned["procrustes"] < 1e-6
    assert min(turned[a] for a in ("root", "scale", "procrustes_scale")) > 50
    mirrored = measure(all_four, t * [-1, 1, 1], t, groups, H36M_17).average
    assert min(mirrored.values()) > 50


def test_unknown_joints_are_left_out_and_unknown_poses_not_counted(poses):
    p, t, groups = poses
    t = t.copy()
    t[0] = np.nan
    t[1, 5] = np.nan
    found = measure(P, p, t, groups, H36M_17)
    assert found.poses == 23
    assert found.tables["action"]["Walking"]["poses"] == 11
    errors = slow_errors(p[1:2], t[1:2], [n for i, n in enumerate(JOINTS) if i != 5])
    mean = np.mean([np.mean(errors), *(np.mean(row) for row in slow_errors(p[2:12], t[2:12], JOINTS))])
    assert found.tables["action"]["Walking"]["MPJPE"] == pytest.approx(mean)


def test_joints_are_found_by_name_in_another_skeleton(poses):
    """A dataset of its own order and names, its root last."""
    p, t, groups = poses
    joints = ("left_wrist", "head_top", "right_ankle")
    mine = dataclasses.replace(P, joints=joints)
    shuffled = [H36M_17.index(n) if n in JOINTS else 0 for n in MPI_INF_17.joint_names]
    there = measure(mine, p[:, shuffled], t[:, shuffled], groups, MPI_INF_17)
    assert there.average == pytest.approx(measure(mine, p, t, groups, H36M_17).average)
    with pytest.raises(VergenceError, match="head_top"):
        measure(mine, p, t, groups, COCO_17)


def test_what_cannot_be_measured_is_refused(poses):
    p, t, groups = poses
    with pytest.raises(VergenceError, match="needs the scene"):
        measure(dataclasses.replace(P, average="scene"), p, t, groups, H36M_17)
    with pytest.raises(VergenceError, match="no pose to measure"):
        measure(dataclasses.replace(P, keep={"subject": ("S2",)}), p, t, groups, H36M_17)
    with pytest.raises(VergenceError, match="no protocol is called"):
        get_protocol("h36m-1")
    holes = p.copy()
    holes[3, 4] = np.nan
    with pytest.raises(VergenceError):
        measure(P, holes, t, groups, H36M_17)


def test_every_protocol_says_what_it_is():
    known = {name: plugins.protocols[name] for name in plugins.protocols}
    assert "h36m" in known
    for name, protocol in known.items():
        words = protocol.describe()
        assert words["name"] == name == get_protocol(name).name
        assert words["title"]
        assert len(set(protocol.joints)) == len(protocol.joints)
        assert all(text for text in words["figures"].values())
    assert known["h36m"].describe()["average"] == "mean of the means of each action"
    assert len(known["h36m-14"].joints) == 14
    assert len(known["h36m-16"].joints) == 16
