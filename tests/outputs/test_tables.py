"""NPZ, CSV and JSON of poses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.outputs import PoseSequence, read_npz, write_csv, write_json_poses, write_npz, write_trc

NAMES = ("pelvis", "right_hip", "left_hip")


def poses(**changes: object) -> PoseSequence:
    pose = np.random.default_rng(0).normal(size=(4, 3, 3)) * 1000
    pose[2, 1] = np.nan
    values = {"pose": pose, "joint_names": NAMES, "fps": 50.0, "unit": "mm", "up": np.array([0.0, 0, 1])}
    return PoseSequence(**(values | changes))  # type: ignore[arg-type]


def test_npz_round_trip(tmp_path: Path) -> None:
    extras = {
        "keypoints": np.ones((4, 3, 2)),
        "confidence": np.ones((4, 3)),
        "frame": np.array([3, 4, 6, 7]),
        "time": np.array([0.1, 0.2, 0.3, 0.4]),
    }
    ours = poses(**extras)
    write_npz(tmp_path / "a.npz", ours)
    found = read_npz(tmp_path / "a.npz")
    assert (found.joint_names, found.fps, found.unit) == (NAMES, 50, "mm")
    for field in ("pose", "up", *extras):
        np.testing.assert_array_equal(getattr(found, field), getattr(ours, field))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as data:  # the published keys, without pickle
        assert {"pose", "joint_names", "fps", "unit", "up", "frame", "time"} <= set(data.files)


def test_unknown_up_is_nan_in_the_file(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", poses(up=None, unit="reference_bone"))
    with np.load(tmp_path / "a.npz") as data:
        assert np.isnan(data["up"]).all()
        np.testing.assert_allclose(data["time"], [0, 0.02, 0.04, 0.06])
    assert read_npz(tmp_path / "a.npz").up is None


def test_csv(tmp_path: Path) -> None:
    ours = poses()
    write_csv(tmp_path / "a.csv", ours)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [list(row.values())[-3:] for row in rows] == [["mm", "50", "0 0 1"]] * 4
    assert list(rows[0])[:3] == ["frame", "time", f"{NAMES[0]}_x"]
    assert list(rows[0])[-3:] == ["unit", "fps", "up"]
    assert rows[2]["right_hip_y"] == ""
    found = np.array([[[float(r[f"{n}_{a}"] or "nan") for a in "xyz"] for n in NAMES] for r in rows])
    np.testing.assert_allclose(found, ours.pose, rtol=1e-5)
    assert [r["time"] for r in rows] == ["0.000000", "0.020000", "0.040000", "0.060000"]
    write_csv(tmp_path / "b.csv", poses(up=None))
    assert {row["up"] for row in csv.DictReader((tmp_path / "b.csv").read_text().splitlines())} == {"unknown"}


def test_json(tmp_path: Path) -> None:
    ours = poses(confidence=np.full((4, 3), 0.5))
    write_json_poses(tmp_path / "a.json", ours)
    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (found["unit"], found["fps"], found["up"], found["joint_names"]) == ("mm", 50, [0, 0, 1], list(NAMES))
    assert found["pose"][2][1] == [None, None, None]
    np.testing.assert_array_equal(np.array(found["pose"], dtype=float), ours.pose)
    assert found["confidence"][0] == [0.5] * 3
    assert "keypoints" not in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose": np.zeros((4, 2, 3))}, r"shape \(4, 2, 3\), with 3 joint names"),
        ({"unit": "inch"}, "'inch'"),
        ({"fps": 0.0}, "0.0 frames per second"),
        ({"up": np.zeros(3)}, "It is a direction"),
        ({"frame": np.arange(3)}, "frame has 3 rows, the poses have 4"),
    ],
)
def test_what_is_no_sequence(changes: dict, message: str) -> None:
    with pytest.raises(VergenceError, match=message):
        poses(**changes)


def test_unreadable_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pose=np.zeros((1, 1, 3)))
    with pytest.raises(VergenceError, match="has no `joint_names`"):
        read_npz(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"PK")
    with pytest.raises(VergenceError, match="not a readable NPZ"):
        read_npz(tmp_path / "b.npz")
    with pytest.raises(VergenceError, match=r"there is no file .*c\.npz"):
        read_npz(tmp_path / "c.npz")


@pytest.mark.parametrize("write", [write_npz, write_csv, write_json_poses])
def test_a_place_that_cannot_be_written(tmp_path: Path, write) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VergenceError, match="could not be written"):
        write(tmp_path / "file" / "a", poses())


def test_whose_poses_they_are_and_where_the_root_is(tmp_path: Path) -> None:
    root = np.array([[1.0, 2, 3], [4, 5, 6], [np.nan] * 3, [7, 8, 9]])
    ours = poses(root=root, root_sigma=root / 10, person=2, smoothing="by hand")
    write_npz(tmp_path / "a.npz", ours)
    found = read_npz(tmp_path / "a.npz")
    assert (found.person, found.smoothing) == (2, "by hand")
    np.testing.assert_array_equal(found.root, root)
    write_json_poses(tmp_path / "a.json", ours)
    data = json.loads((tmp_path / "a.json").read_text())
    assert (data["person"], data["smoothing"], data["root_sigma"][2]) == (2, "by hand", [None] * 3)
    write_csv(tmp_path / "a.csv", ours)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert {(row["unit"], row["fps"], row["person"], row["smoothing"]) for row in rows} == {
        ("mm", "50", "2", "by hand")
    }
    assert [row["root_z"] for row in rows] == ["3", "6", "", "9"]
    assert rows[3]["root_sigma_x"] == "0.7"


def test_many_rows_are_written_as_few_are(tmp_path: Path, monkeypatch) -> None:
    ours = poses(confidence=np.full((4, 3), 0.5), frame=np.array([3, 4, 8, 9]))
    parts = type(ours).parts
    for name, rows in (("a", 4096), ("b", 3)):
        monkeypatch.setattr(PoseSequence, "parts", lambda self, few=0, rows=rows: parts(self, few or rows))
        write_csv(tmp_path / f"{name}.csv", ours)
        write_json_poses(tmp_path / f"{name}.json", ours)
        write_trc(tmp_path / name / "poses.trc", ours)
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads((tmp_path / "b.json").read_text())
    for one, other in (("a.csv", "b.csv"), ("a/poses.trc", "b/poses.trc")):
        assert (tmp_path / one).read_bytes() == (tmp_path / other).read_bytes()
