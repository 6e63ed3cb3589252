"""Captures and their truth as records: every pose where its camera saw it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from vergence.commands.synth import synth
from vergence.datasets.validation.readers import CAMERAS, capture_pixels, read_capture_records, read_captures
from vergence.errors import VergenceError
from vergence.outputs import read_npz

FRAMES, VIEWS = 6, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("readers") / "rec"
    synth(out, frames=FRAMES, views=VIEWS, size=96, known="cameras", seed=6, device="cpu", quiet=True)
    return out


def changed(folder: Path, to: Path, **arrays: np.ndarray) -> Path:
    """A copy whose truth has other arrays."""
    shutil.copytree(folder, to)
    with np.load(folder / "truth.npz") as file:
        np.savez(to / "truth.npz", **{name: file[name] for name in file.files} | arrays)
    return to


def test_the_truth_projected_is_where_each_camera_saw_it(folder: Path) -> None:
    records = read_capture_records(folder)
    assert len(records) == FRAMES * VIEWS
    assert sorted(set(zip(records.view.tolist(), records.frame.tolist()))) == [
        (v, t) for v in range(VIEWS) for t in range(FRAMES)
    ]
    truth = read_npz(folder / "truth.npz")
    world = truth.skeleton.convert(truth.pose, records.skeleton)
    for i in range(len(records)):
        pose = world[records.frame[i]] @ records.rotation[i].T + records.translation[i]
        np.testing.assert_allclose(records.pose[i], pose, atol=0.05)  # mm
        seen = pose @ records.intrinsics[i].T
        known = np.isfinite(records.keypoints[i]).all(-1)
        assert known.mean() > 0.8
        np.testing.assert_allclose((seen[:, :2] / seen[:, 2:])[known], records.keypoints[i][known], atol=0.05)  # px
    assert len(records.report[CAMERAS]) == 1 + VIEWS
    assert capture_pixels(folder).read(records.images[4]).shape == (96, 96, 3)


def test_the_truths_cameras_are_found_by_name(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "truth.npz") as file:
        arrays = {name: file[name][::-1] for name in ("cameras", "R", "t")}
    other = read_capture_records(changed(folder, tmp_path / "b", **arrays))
    np.testing.assert_array_equal(other.pose, read_capture_records(folder).pose)
    arrays["cameras"] = np.array(["x", "y", "z"])
    with pytest.raises(VergenceError, match="has no camera"):
        read_capture_records(changed(folder, tmp_path / "c", **arrays))


def test_a_truth_of_another_recording_is_refused(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "truth.npz") as file:
        whole = {name: file[name] for name in file.files}
    shorter = {name: array[:-1] for name, array in whole.items() if array.ndim and len(array) == FRAMES}
    with pytest.raises(VergenceError, match=f"has {FRAMES - 1} frames, the keypoints {FRAMES}"):
        read_capture_records(changed(folder, tmp_path / "b", **shorter))


def test_each_capture_of_a_folder_is_a_person_of_its_own(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(folder, tmp_path / name)
    records, one = read_captures(tmp_path), read_capture_records(folder)
    assert len(records) == 2 * len(one)
    assert [len(set(part.tolist())) for part in (records.subject, records.sequence)] == [2, 2]
    np.testing.assert_array_equal(records.pose, np.concatenate([one.pose, one.pose]))
    assert len(np.unique(records.time_step)) == 2 * FRAMES
    assert capture_pixels(tmp_path).read(records.images[-1]).shape == (96, 96, 3)
