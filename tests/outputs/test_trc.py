"""TRC files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.outputs import PoseSequence, read_trc, write_trc
from vergence.outputs.world import y_up
from vergence.skeleton import COCO_17, H36M_17


def poses(unit: str = "mm", up: list[float] | None = None, frames: int = 5) -> PoseSequence:
    pose = np.random.default_rng(0).normal(size=(frames, 17, 3)) * 300
    pose[1, 3] = np.nan
    return PoseSequence(pose, H36M_17.joint_names, 60.0, unit, None if up is None else np.array(up))


def figure() -> np.ndarray:
    """A standing H36M-17 skeleton, y down, whose leg is 0.491 and trunk 0.288 of 2 units."""
    pose = np.zeros((17, 3))
    for name, x, y in (
        ("right_hip", -0.1, 0), ("right_knee", -0.1, 0.49), ("right_ankle", -0.1, 0.982), ("left_hip", 0.1, 0),
        ("left_knee", 0.1, 0.49), ("left_ankle", 0.1, 0.982), ("thorax", 0, -0.576),
    ):  # fmt: skip
        pose[H36M_17.index(name), :2] = x, y
    return pose


@pytest.mark.parametrize("up", [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, -1], [0, -1, 0], [0.2, -0.3, 0.9], [0, 0, 5]])
def test_up_becomes_y(up: list[float]) -> None:
    turn = y_up(np.array(up, dtype=float))
    np.testing.assert_allclose(turn @ up / np.linalg.norm(up), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_z_up_is_turned_as_pose2sim_does() -> None:
    np.testing.assert_allclose(y_up(np.array([0.0, 0, 1])) @ [1.0, 2, 3], [2, 3, 1])


@pytest.mark.parametrize("up", [[0, 0, 1], [0, 1, 0]])
def test_round_trip(tmp_path: Path, up: list[float]) -> None:
    ours = poses(up=up)
    assert write_trc(tmp_path / "a.trc", ours) == ""
    found = read_trc(tmp_path / "a.trc")
    expected = ours.pose if up[1] else ours.pose[..., [1, 2, 0]]
    np.testing.assert_allclose(found.positions, expected, atol=1e-3)
    assert np.isnan(found.positions[1, 3]).all()
    assert found.marker_names == H36M_17.joint_names
    assert found.fps == 60
    np.testing.assert_array_equal(found.frame, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(found.time, np.arange(5) / 60, atol=1e-6)
    assert found.note == ""


def test_header_is_opensims(tmp_path: Path) -> None:
    """Line by line what OpenSim's reader expects: field counts, units, one label per marker, three columns each."""
    write_trc(tmp_path / "a.trc", poses(up=[0, 1, 0]))
    lines = (tmp_path / "a.trc").read_text().split("\n")
    assert lines[0].split("\t") == ["PathFileType", "4", "(X/Y/Z)", "a.trc"]
    assert len(lines[1].split("\t")) == len(lines[2].split("\t")) == 8
    assert lines[2].split("\t")[:5] == ["60", "60", "5", "17", "mm"]
    assert lines[2].split("\t")[5:] == ["60", "1", "5"]
    assert lines[3].split("\t")[2::3] == list(H36M_17.joint_names)
    assert lines[4].split("\t")[2:5] == ["X1", "Y1", "Z1"]
    assert lines[5] == ""
    assert all(len(line.split("\t")) == 2 + 3 * 17 for line in lines[6:11])


def test_metres(tmp_path: Path) -> None:
    ours = poses("m", [0, 1, 0])
    write_trc(tmp_path / "a.trc", ours)
    np.testing.assert_allclose(read_trc(tmp_path / "a.trc").positions, ours.pose * 1000, atol=1e-3)
    text = (tmp_path / "a.trc").read_text().replace("\tmm\t", "\tm\t")
    (tmp_path / "b.trc").write_text(text)
    np.testing.assert_allclose(read_trc(tmp_path / "b.trc").positions, ours.pose * 1e6, rtol=1e-4, atol=1)


def test_scale_free_poses_get_the_assumed_stature(tmp_path: Path) -> None:
    """The figure is 2 units tall by its proportions, so a unit is 850 mm; the camera's -y is up."""
    ours = PoseSequence(np.stack([figure()] * 3), H36M_17.joint_names, 25.0, "reference_bone")
    note = write_trc(tmp_path / "a.trc", ours)
    found = read_trc(tmp_path / "a.trc")
    assert note == found.note
    assert "assumed stature 1700 mm" in note
    assert "up unknown" in note
    np.testing.assert_allclose(found.positions[0], figure() * [850, -850, -850], atol=1)
    sideways = replace(ours, world=replace(ours.in_world(), up=np.array([1.0, 0, 0])))
    write_trc(tmp_path / "b.trc", sideways)
    np.testing.assert_allclose(read_trc(tmp_path / "b.trc").positions[0, :, 1], figure()[:, 0] * 850, atol=1)


def test_nothing_to_scale_by(tmp_path: Path) -> None:
    pose = np.full((2, 17, 3), np.nan)
    pose[:, 0] = 1.0
    with pytest.raises(VergenceError, match="height cannot be told"):
        write_trc(tmp_path / "a.trc", PoseSequence(pose, COCO_17.joint_names, 25.0, "reference_bone"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("PathFileType", "Other", "is no TRC file"), ("\tmm\t", "\tinch\t", "no usable DataRate and Units"),
     ("\n3\t", "\nthree\t", "line 9 holds something that is no number"), ("pelvis\t\t\t", "", "line 7 has 53 fields")],
)  # fmt: skip
def test_broken_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_trc(tmp_path / "a.trc", poses(up=[0, 1, 0]))
    text = (tmp_path / "a.trc").read_text()
    assert old in text
    (tmp_path / "a.trc").write_text(text.replace(old, new))
    with pytest.raises(VergenceError, match=message):
        read_trc(tmp_path / "a.trc")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="there is no file"):
        read_trc(tmp_path / "a.trc")


def test_a_missing_last_joint_is_nan_and_no_row_ends_in_an_empty_field(tmp_path):
    """OpenSim refuses a row that ends in empty fields."""
    pose = np.ones((2, 17, 3))
    pose[1, -1] = np.nan
    write_trc(tmp_path / "a.trc", PoseSequence(pose, H36M_17.joint_names, 30.0, "mm", np.array([0.0, 0, 1])))
    rows = (tmp_path / "a.trc").read_text().splitlines()[6:]
    assert rows[1].endswith("nan\tnan\tnan")
    assert np.isnan(read_trc(tmp_path / "a.trc").positions[1, -1]).all()


OFFICIAL = (
    "PathFileType\t4\t(X/Y/Z)\tD:\\Aufnahme\\gehen.trc\n"
    "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
    "50\t50\t2\t2\tmm\t50\t1\t2\nFrame#\tTime\tA\t\t\tB\t\t\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n\n"
    "1\t0.00\t1\t2\t3\t4\t5\t6\n2\t0.02\t7\t8\t9\t10\t11\t12\n"
)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\t", "\t\t"),
        lambda text: text.replace("\t0.0", "\t\t0.0").replace("50\t50", "50\t\t50"),
        lambda text: text.replace("6\n", "6\t\t\n").replace("12\n", "12\t\n"),
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.replace("\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n\n", ""),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\tmm\t", "\tcm\t"),
    ],
    ids="as_it_is doubled_tabs some_doubled tabs_at_the_end no_blank_line no_axes windows byte_order_mark cm".split(),
)
def test_other_programs_spellings(tmp_path: Path, change) -> None:
    (tmp_path / "a.trc").write_bytes(change(OFFICIAL).encode())
    found = read_trc(tmp_path / "a.trc")
    expected = np.arange(1.0, 13).reshape(2, 2, 3) * (10 if "\tcm\t" in change(OFFICIAL) else 1)
    np.testing.assert_array_equal(found.positions, expected)
    assert (found.marker_names, found.fps, found.time.tolist()) == (("A", "B"), 50, [0, 0.02])


def test_a_path_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.trc").write_bytes(OFFICIAL.replace("gehen", "göhen").encode("latin-1"))
    assert read_trc(tmp_path / "a.trc").marker_names == ("A", "B")


def test_doubled_tabs_around_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.trc").write_text(OFFICIAL.replace("\t4\t5\t6", "\t\t\t").replace("\t", "\t\t"))
    found = read_trc(tmp_path / "a.trc").positions
    assert np.isnan(found[0, 1]).all()
    np.testing.assert_array_equal(found[1].ravel(), np.arange(7, 13))


def test_metres_as_asked(tmp_path: Path) -> None:
    ours = poses(up=[0, 1, 0])
    write_trc(tmp_path / "a.trc", ours, unit="m")
    assert "\tm\t" in (tmp_path / "a.trc").read_text().splitlines()[2]
    np.testing.assert_allclose(read_trc(tmp_path / "a.trc").positions, ours.pose, atol=1e-3)
    with pytest.raises(VergenceError, match="'inch'"):
        write_trc(tmp_path / "a.trc", ours, unit="inch")


def test_frames_count_from_1_in_the_header_as_in_the_rows(tmp_path: Path) -> None:
    write_trc(tmp_path / "a.trc", replace(poses(up=[0, 1, 0]), frame=np.array([7, 8, 9, 12, 13])))
    assert (tmp_path / "a.trc").read_text().splitlines()[2].split("\t")[2:] == ["5", "17", "mm", "60", "8", "5"]
    found = read_trc(tmp_path / "a.trc")
    assert found.frame.tolist() == [8, 9, 10, 13, 14]
    np.testing.assert_allclose(found.time, np.array([7, 8, 9, 12, 13]) / 60, atol=1e-6)


def test_the_first_line_names_what_the_model_was_taught_by(tmp_path: Path) -> None:
    write_trc(tmp_path / "a.trc", replace(poses(up=[0, 1, 0]), model="drawn people only", smoothing="a mean"))
    assert (tmp_path / "a.trc").read_text().splitlines()[0].endswith("a.trc (smoothed by a mean; drawn people only)")
    assert read_trc(tmp_path / "a.trc").note == "smoothed by a mean; drawn people only"
