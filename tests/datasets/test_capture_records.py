"""Rows of a capture's images, by hand: who is in them, where and when."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vergence.datasets.capture import capture_records
from vergence.datasets.people import SEEN_JOINTS
from vergence.skeleton import H36M_17

UP = np.array([0.0, 0, 1])


def capture(unit: str = "mm", up: np.ndarray | None = UP) -> Any:
    """Two cameras at 25 frames a second; the second one's image of frame 2 is missing."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    rig = SimpleNamespace(
        rotation=np.stack([np.eye(3), turn]), translation=np.array([[1.0, 2, 3], [4, 5, 6]]), distortion=np.zeros((2, 5)),
        intrinsics=np.stack([np.eye(3), 2 * np.eye(3)]), image_size=np.array([[640, 480], [800, 600]]),
    )  # fmt: skip

    def image_files(view: int, frames: np.ndarray) -> tuple[list[Path], np.ndarray, np.ndarray]:
        missing = (view == 1) & (frames == 2)
        return [Path(f"{view}.mp4")], np.where(missing, -1, 0), np.where(missing, -1, frames)

    return SimpleNamespace(
        rig=rig, image_files=image_files, unit=unit, up=up, names=["left", "right"], fps=25.0, notes=("n",)
    )


def seen(*joints: tuple[int, int]) -> Any:
    """By frame, how many joints each camera sees; joint j of frame t is at (100 t + 10 j, 200 + 10 j)."""
    points = np.full((len(joints), 2, 17, 3), np.nan)
    for t, own in enumerate(joints):
        for v, count in enumerate(own):
            j = np.arange(count)
            points[t, v, :count] = np.stack([100 * t + 10 * j, 200 + 10 * j, 0.5 + 0 * j], -1)
    return SimpleNamespace(keypoints=points, skeleton=H36M_17, notes=("m",))


def test_rows_are_of_the_images_that_show_enough_of_the_person() -> None:
    """Camera after camera; one joint too few, and a missing image, make no row."""
    found = capture_records(
        capture(), seen((17, SEEN_JOINTS), (SEEN_JOINTS - 1, 17), (17, 17), (SEEN_JOINTS, 17)), number=3
    )
    assert found.view.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.frame.tolist() == [0, 2, 3, 0, 1, 3]
    assert [(str(ref.path), ref.frame) for ref in found.images] == [
        (f"{v}.mp4", t) for v, t in zip(found.view.tolist(), found.frame.tolist())
    ]
    assert found.time.tolist() == pytest.approx([0, 0.08, 0.12, 0, 0.04, 0.12])
    assert found.time_step.tolist() == [30_000_000 + t for t in found.frame]
    assert set(found.subject) == set(found.sequence) == {3}
    assert found.size.tolist() == [[640, 480]] * 3 + [[800, 600]] * 3
    assert found.intrinsics[:, 0, 0].tolist() == [1, 1, 1, 2, 2, 2]
    assert found.translation[3].tolist() == [4, 5, 6]
    assert found.groups["camera"].tolist() == ["left"] * 3 + ["right"] * 3
    assert np.nan_to_num(found.keypoints[1, 4]).tolist() == [240, 240]
    assert found.confidence[2].tolist() == [0.5] * SEEN_JOINTS + [0.0] * (17 - SEEN_JOINTS)
    assert np.isnan(found.pose).all()
    assert found.up.tolist() == [[0, 0, 1]] * 6
    assert found.report == {"notes": ["n", "m"]}


def test_frames_poses_and_what_is_not_known() -> None:
    pose = np.arange(2 * 2 * 17 * 3, dtype=float).reshape(2, 2, 17, 3)
    turned = capture("reference_bone", np.array([1.0, 0, 0]))
    found = capture_records(turned, seen((17, 17), (17, 17)), pose, frames=[1], report={"put_right": 5})
    assert (found.view.tolist(), found.frame.tolist()) == ([0, 1], [1, 1])
    np.testing.assert_array_equal(found.pose, pose[1])
    assert np.isnan(found.translation).all()  # of a rig without a unit of length
    assert found.up.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert found.report["put_right"] == 5
    assert np.isnan(capture_records(capture(up=None), seen((17, 17))).up).all()
