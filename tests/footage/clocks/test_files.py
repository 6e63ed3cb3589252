"""Files of frame times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.clocks.files import frame_times


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
