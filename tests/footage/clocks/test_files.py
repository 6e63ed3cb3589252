"""Files of frame times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.clocks import files
from vergence.footage.clocks.files import _checked, frame_times


def test_a_row_for_each_frame_of_each_camera(tmp_path: Path) -> None:
    rows = [f"{i},{c},{10 + i / 5 + c / 100}" for i in range(4) for c in (1, 0)]
    (tmp_path / "timestamps.csv").write_text("sync_index,cam_id,frame_time\n" + "\n".join(rows))
    found = frame_times(tmp_path, [None, None], ["cam_0", "cam_1"])
    np.testing.assert_allclose(found["cam_0"][1], 10 + np.arange(4) / 5)
    np.testing.assert_allclose(found["cam_1"][1], 10.01 + np.arange(4) / 5)


def test_a_file_of_one_video(tmp_path: Path) -> None:
    (tmp_path / "a_timestamps.txt").write_text("0.0\n0.04\n0.09\n")
    assert frame_times(tmp_path, [tmp_path / "a.mp4", tmp_path / "b.mp4"], ["a", "b"]).keys() == {"a"}


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "cam_id,frame_time\n0,x\n", "cam_id,frame_time\n0,1\n0,1\n0,1\n"])
def test_files_that_are_no_times(tmp_path: Path, text: str) -> None:
    (tmp_path / "timestamps.csv").write_text(text)
    with pytest.raises(VergenceError, match=r"timestamps\.csv"):
        frame_times(tmp_path, [None], ["0"])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "timestamps.csv",
            "cam_id,frame_time\n0,1\n0\n",
            r"timestamps\.csv, line 3: '' is no time\. Give one time in seconds",
        ),
        ("timestamps.csv", "cam_id,frame_time\n0,x\n", "line 2: 'x' is no time"),
        ("a_timestamps.txt", "# a logger\n0.1\n\nlater\n", r"a_timestamps\.txt, line 4: 'later' is no time"),
        ("a_timestamps.csv", "frame;time_s\n1;0.5\n2\n", "line 3: '' is no time"),
    ],
)
def test_a_line_without_a_time_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VergenceError, match=words):
        frame_times(tmp_path, [tmp_path / "a.mp4"], ["a"])


@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["a_timestamps.csv", "a.timestamps.txt"])
def test_a_column_among_others_after_remarks(tmp_path: Path, name: str, between: str) -> None:
    rows = [("frame", "Time_s", "drops"), ("7", "0.5", "0"), ("8", "0.54", "0"), ("9", "0.62", "1")]
    (tmp_path / name).write_text("# by a logger\n\n" + "\n".join(between.join(row) for row in rows) + "\n")
    file, times = frame_times(tmp_path, [tmp_path / "a.mp4"], ["cam"])["cam"]
    assert (file.name, times.tolist()) == (name, [0.5, 0.54, 0.62])


@pytest.mark.parametrize(
    ("name", "keys", "found"),
    [
        ("left", ["left", "0"], "left"),
        ("cam_02", ["1", "2"], "2"),
        ("cam2b", ["02", "1"], "02"),
        ("cam10_3", ["10", "3"], "3"),
        ("cam2", ["2", "02"], None),  # two are the same number
        ("left", ["0"], None),
        ("cam1", ["a1"], None),
    ],
)
def test_a_camera_is_known_by_its_name_or_the_number_at_its_end(name: str, keys: list[str], found: str | None) -> None:
    assert files._matching(name, keys) == found


@pytest.mark.parametrize(
    ("times", "sound"),
    [
        ([0.0, 0.1, 0.2], True),
        ([0.0, 0.1], False),
        ([0.0, 0.1, 0.1], False),
        ([0.0, 0.2, 0.1], False),
        ([0.0, np.nan, 0.2], False),
    ],
)
def test_three_times_and_more_that_rise(times: list[float], sound: bool) -> None:
    if sound:
        assert _checked(np.array(times), Path("a.csv"), "a").tolist() == times
        return
    with pytest.raises(VergenceError, match=f"gives camera a {len(times)} times that do not rise"):
        _checked(np.array(times), Path("a.csv"), "a")
