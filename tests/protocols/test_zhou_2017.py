"""Zhou's two scorings by loops: sizes, moved hips, the spine, left against right; and the truth scores nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vergence.protocols.base import get_protocol, measure
from vergence.protocols.zhou_2017 import SCORED_3DHP, TOTAL_MM, like_zhou_3dhp, limbs_of
from vergence.skeleton import H36M_17, MPI_INF_17

BONES = [  # written down again, in Human3.6M's words
    ("pelvis", "right_hip"), ("pelvis", "left_hip"), ("right_hip", "right_knee"), ("left_hip", "left_knee"),
    ("right_knee", "right_ankle"), ("left_knee", "left_ankle"), ("thorax", "right_shoulder"), ("thorax", "left_shoulder"),
    ("right_shoulder", "right_elbow"), ("left_shoulder", "left_elbow"), ("right_elbow", "right_wrist"),
    ("left_elbow", "left_wrist"), ("pelvis", "thorax"), ("thorax", "head_top"),
]  # fmt: skip


def poses(count=6, seed=0, noise=90.0):
    rng = np.random.default_rng(seed)
    target = 300 * rng.normal(size=(count, 17, 3)) + [0, 0, 4000]
    return target + noise * rng.normal(size=target.shape), target


def total(pose, skeleton, names=BONES):
    def at(name):
        return pose[skeleton.index("neck" if name == "thorax" and not skeleton.has("thorax") else name)]

    return sum(math.dist(at(a), at(b)) for a, b in names)


@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_17], ids=lambda s: s.name)
def test_the_14_limbs(skeleton):
    neck = {"thorax": "thorax" if skeleton.has("thorax") else "neck"}
    expected = {frozenset(skeleton.index(neck.get(n, n)) for n in pair) for pair in BONES}
    assert {frozenset(pair) for pair in limbs_of(skeleton)} == expected
    assert len(limbs_of(skeleton)) == 14


def test_human36m_by_loops():
    p, t = poses()
    joint = {name: i for i, name in enumerate(H36M_17.joint_names)}
    expected = []
    for a, b in zip(p / 700, t):
        a = a.copy()
        a[joint["spine"]] = (a[joint["pelvis"]] + a[joint["thorax"]]) / 2
        a *= TOTAL_MM / total(a, H36M_17)
        names = [n for n in joint if n != "neck_nose"]
        row = [math.dist(a[joint[n]] - a[0], b[joint[n]] - b[0]) for n in names]
        expected.append(sum(row) / 16)
    groups = {"action": np.array(["Walking"] * 6), "subject": np.array(["S9"] * 6)}
    found = measure(get_protocol("h36m-zhou"), p / 700, t, groups, H36M_17)
    assert found.average["MPJPE"] == pytest.approx(sum(expected) / 6)


def test_whoever_is_of_the_training_size_is_right_and_others_pay():
    """True poses but for the spine, which is not where the mean is: a person a tenth larger errs by a tenth's share."""
    _, t = poses()
    t[:, H36M_17.index("spine")] = (t[:, 0] + t[:, H36M_17.index("thorax")]) / 2
    t = np.stack([pose * TOTAL_MM / total(pose, H36M_17) for pose in t])
    groups = {"action": np.array(["Walking"] * 6), "subject": np.array(["S9"] * 6)}
    zhou = get_protocol("h36m-zhou")
    assert measure(zhou, t / 480, t, groups, H36M_17).average["MPJPE"] == pytest.approx(0, abs=1e-6)
    reach = np.linalg.norm(t - t[:, :1], axis=-1)[
        :, [i for i in range(17) if H36M_17.joint_names[i] != "neck_nose"]
    ].mean()
    assert measure(zhou, t, 1.1 * t, groups, H36M_17).average["MPJPE"] == pytest.approx(0.1 * reach)


@pytest.mark.parametrize("skeleton", [MPI_INF_17, H36M_17], ids=lambda s: s.name)
def test_transfer_by_loops(skeleton):
    p, t = poses(seed=1)
    found = like_zhou_3dhp(p / 900, t, skeleton)
    neck, pelvis = skeleton.index("thorax" if skeleton.has("thorax") else "neck"), skeleton.index("pelvis")
    for a, b, f in zip(p / 900, t, found):
        moved = a.copy()
        for name in ("right_hip", "left_hip", "pelvis"):
            moved[skeleton.index(name)] = a[skeleton.index(name)] + 0.2 * (a[neck] - a[pelvis])
        assert f == pytest.approx(moved * total(b, skeleton) / total(moved, skeleton))


@pytest.mark.parametrize("skeleton", [MPI_INF_17, H36M_17], ids=lambda s: s.name)
def test_the_table_of_the_transfer_by_loops(skeleton):
    p, t = poses(8, seed=2)
    sized = like_zhou_3dhp(p / 900, t, skeleton)
    hits, gaps = 0, []
    pelvis = skeleton.index("pelvis")
    for a, b in zip(sized, t):
        for name in SCORED_3DHP:
            j = skeleton.index("thorax" if name == "neck" and not skeleton.has("neck") else name)
            hits += math.dist(a[j] - a[pelvis], b[j] - b[pelvis]) < 150
        side = {
            s: math.dist(a[skeleton.index(f"{s}_elbow")], a[skeleton.index(f"{s}_wrist")]) for s in ("left", "right")
        }
        gaps.append(abs(side["left"] - side["right"]))
    scene = np.array(["green_screen"] * 5 + ["outdoor"] * 3)
    groups = {"scene": scene, "activity": np.array(["sports"] * 8), "sequence": np.array(["TS1"] * 5 + ["TS5"] * 3)}
    found = measure(get_protocol("3dhp-zhou"), p / 900, t, groups, skeleton)
    assert found.average["PCK"] == pytest.approx(100 * hits / (8 * 14))
    assert found.average["LR-lower-arm"] == pytest.approx(sum(gaps) / 8)
    assert found.tables["scene"]["outdoor"]["LR-lower-arm"] == pytest.approx(sum(gaps[5:]) / 3)
    assert len({found.average[f"LR-{name}"] for name in ("upper-arm", "lower-arm", "upper-leg", "lower-leg")}) == 4


def test_a_symmetric_body_has_no_difference_and_says_its_unit():
    _, t = poses(3)
    left, right = (MPI_INF_17.index(f"{side}_wrist") for side in ("left", "right"))
    for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        left, right = (MPI_INF_17.index(f"{side}_{name}") for side in ("left", "right"))
        t[:, left] = t[:, right] * [-1, 1, 1]
    t[:, [MPI_INF_17.index(n) for n in ("pelvis", "neck", "spine", "head", "head_top")], 0] = 0
    groups = {name: np.array(["a"] * 3) for name in ("scene", "activity", "sequence")}
    protocol = get_protocol("3dhp-zhou")
    found = measure(protocol, t, t, groups, MPI_INF_17)
    assert [found.average[f.name] for f in protocol.figures[2:]] == pytest.approx([0] * 4, abs=1e-6)
    told = protocol.describe()
    assert (told["units"]["PCK"], told["units"]["LR-upper-arm"]) == ("%", "mm")
    assert "left_shoulder-left_elbow" in told["figures"]["LR-upper-arm"]
