"""MAT files that a few bytes make large are refused before they take the memory."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from vergence.datasets.formats.matlab import read_mat5, read_mat73
from vergence.errors import VergenceError
from vergence.files import SMALL

LARGE = 2 * SMALL  # bytes of zeros, which pack to a thousandth
SAID = r"a\.mat has 0.0\d+ MiB and would take 32 MiB of memory; at most 2 GiB and 100 times a file's size are read"


def test_a_packed_mat_file_that_grows_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"x": np.zeros(LARGE, np.uint8)}, do_compression=True)
    with pytest.raises(VergenceError, match=SAID):
        read_mat5(tmp_path / "a.mat", ["x"])
    savemat(tmp_path / "a.mat", {"x": np.zeros(SMALL // 2, np.uint8)}, do_compression=True)
    assert read_mat5(tmp_path / "a.mat", ["x"])["x"].size == SMALL // 2  # small, whatever it grows by
    savemat(tmp_path / "a.mat", {"x": np.zeros(LARGE, np.uint8)})
    assert read_mat5(tmp_path / "a.mat", ["x"])["x"].size == LARGE  # large, and does not grow


@pytest.mark.parametrize("packing", ["gzip", None])
def test_a_mat_file_of_version_7_3_that_grows_is_refused(tmp_path: Path, packing: str | None) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("x", (LARGE,), np.uint8, chunks=(1 << 20,), compression=packing)  # never written: no room
        file["y"] = np.arange(3)
    with pytest.raises(VergenceError, match=SAID):
        read_mat73(tmp_path / "a.mat", ["x"])
    assert read_mat73(tmp_path / "a.mat", ["y"])["y"].tolist() == [0, 1, 2]
