"""Limb lengths in a file: their values, their unit, and where millimetres are from."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from vergence.outputs.limbs import COLUMNS, limbs_of, write_limbs
from vergence.outputs.sequence import PoseSequence
from vergence.skeleton import H36M_17

NAMES = H36M_17.joint_names


def table(path, poses: PoseSequence) -> dict[str, dict[str, str]]:
    write_limbs(path, poses)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    return {row["limb"]: row for row in rows}


def body(frames: int = 5) -> np.ndarray:
    """A body that stands, mm; in each frame the right shank is 10 mm longer than in the one before."""
    pose = np.tile(np.random.default_rng(0).normal(0, 300, (17, 3)), (frames, 1, 1))
    knee, ankle = NAMES.index("right_knee"), NAMES.index("right_ankle")
    pose[:, ankle] = pose[:, knee] + np.array([0, 400.0, 0]) + np.arange(frames)[:, None] * [0, 10.0, 0]
    return pose


def test_each_limb_has_its_length_over_the_frames_that_show_it(tmp_path):
    pose = body()
    pose[4, NAMES.index("right_ankle")] = np.nan
    found = table(tmp_path / "limbs.csv", PoseSequence(pose, NAMES, 25.0, unit="mm"))
    shank = found["right_knee-right_ankle"]
    assert (shank["frames"], shank["median"], shank["mean"], shank["unit"]) == ("4", "415", "415", "mm")
    assert float(shank["std"]) == pytest.approx(np.std([400, 410, 420, 430]), rel=1e-5)
    assert (shank["median_mm"], shank["mm_from"], shank["mm_sigma"]) == ("415.0", "given", "0")
    thigh = np.linalg.norm(pose[0, NAMES.index("right_hip")] - pose[0, NAMES.index("right_knee")])
    assert float(found["right_hip-right_knee"]["median"]) == pytest.approx(thigh, rel=1e-5)
    assert float(found["right_hip-right_knee"]["std"]) == pytest.approx(0, abs=1e-6)


def test_without_a_scale_the_unit_is_named_and_millimetres_say_that_they_are_assumed(tmp_path):
    poses = PoseSequence(body() / 500, NAMES, 25.0, unit="reference_bone")
    row = table(tmp_path / "limbs.csv", poses)["right_knee-right_ankle"]
    assert (row["unit"], row["median"], row["mm_from"]) == ("reference_bone", "0.84", "assumed stature")
    assert float(row["median_mm"]) == pytest.approx(0.84 * poses.in_world().mm_per_unit, abs=0.06)
    assert float(row["mm_sigma"]) > 0.05
    given = table(tmp_path / "given.csv", poses.scaled(1800.0))["right_knee-right_ankle"]
    assert (given["unit"], given["mm_from"]) == ("mm", "height given")
    assert given["median_mm"] == f"{float(given['median']):.1f}"


def test_a_limb_that_nobody_saw_has_empty_fields(tmp_path):
    pose = body()
    pose[:, NAMES.index("left_wrist")] = np.nan
    row = table(tmp_path / "limbs.csv", PoseSequence(pose, NAMES, 25.0))["left_elbow-left_wrist"]
    assert [row[name] for name in COLUMNS[1:]] == ["0", "", "", "", "mm", "", "", ""]


def test_a_long_sequence_is_read_in_pieces_and_gives_the_same():
    pose = np.random.default_rng(1).normal(0, 300, (9000, 17, 3))
    found = limbs_of(PoseSequence(pose, NAMES, 25.0))["left_hip-left_knee"]
    ends = (pose[:, NAMES.index(name)] for name in ("left_hip", "left_knee"))
    np.testing.assert_allclose(found, np.linalg.norm(next(ends) - next(ends), axis=1))
