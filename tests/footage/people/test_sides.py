"""Sides that a detector exchanges for some frames, told by one camera."""

from __future__ import annotations

import numpy as np
import pytest

from vergence.footage.people.sides import changes, exchanged_frames
from vergence.skeleton import COCO_17

MIRROR = list(COCO_17.mirror)


def walking(frames: int, fps: float = 30.0, facing: float = 0.0) -> np.ndarray:
    """A body that walks, seen from the front (0) or from its side (pi/2): T 17 3, px."""
    rng = np.random.default_rng(3)
    time = np.arange(frames) / fps
    side = np.array(
        [
            0 if i == m else 1 if n.startswith("left") else -1
            for i, (n, m) in enumerate(zip(COCO_17.joint_names, MIRROR))
        ]
    )
    height = np.array([20, 15, 15, 18, 18, 60, 60, 110, 110, 150, 150, 160, 160, 240, 240, 320, 320.0])
    limb = np.array([0] * 7 + [1, 1, 1.5, 1.5, 0, 0, 1, 1, 2, 2])  # what swings, by how much
    swing = 30 * limb * side * np.sin(2 * np.pi * time)[:, None]
    x = 40 * side * np.cos(facing) + swing * np.sin(facing) + 60 * time[:, None]
    y = height + 0 * x
    points = np.stack([x, y, np.full_like(x, 0.9)], -1)
    points[..., :2] += rng.normal(0, 2, points[..., :2].shape)
    return points


def spoilt(points: np.ndarray, frames: list[int]) -> np.ndarray:
    points = points.copy()
    points[frames] = points[frames][:, MIRROR]
    return points


def test_frames_that_are_exchanged_are_found_whole_across_blocks_and_missing_frames() -> None:
    wrong = [*range(33, 37), *range(41, 64), 65, 67, 77]
    points = spoilt(walking(100), wrong)
    points[50:52] = np.nan
    points[70, :, :2][::2] = np.nan
    found = exchanged_frames(np.split(points, [10, 45, 46, 90]), COCO_17, 30.0)
    assert np.flatnonzero(found).tolist() == [t for t in wrong if t not in (50, 51)]


def test_the_first_frames_may_be_the_exchanged_ones() -> None:
    found = exchanged_frames([spoilt(walking(60), [*range(15)])], COCO_17, 30.0)
    assert np.flatnonzero(found).tolist() == [*range(15)]


@pytest.mark.parametrize("facing", [0.0, 0.7, np.pi / 2])
@pytest.mark.parametrize("fps", [10.0, 30.0])
def test_somebody_who_walks_is_left_alone(fps: float, facing: float) -> None:
    assert not exchanged_frames([walking(120, fps, facing)], COCO_17, fps).any()


def test_where_neither_kind_is_much_the_rarer_nothing_is_done() -> None:
    assert not exchanged_frames([spoilt(walking(60), [*range(24)])], COCO_17, 30.0).any()


def test_at_few_frames_a_second_nothing_is_told() -> None:
    assert not exchanged_frames([spoilt(walking(60, 5.0), [7, 8])], COCO_17, 5.0).any()


def test_sides_have_changed_where_the_other_ones_are_less_than_half_as_far() -> None:
    """Two pairs 10 px apart that move towards each other: by 6.7 px it is 3.3 px to the other side. By the median joint."""
    mirror = (1, 0, 3, 2, 4)
    still = np.array([[0.0, 0], [10, 0], [0, 50], [10, 50], [5, 25]])
    for step, changed in ((4.0, False), (6.6, False), (6.7, True), (10.0, True)):
        moved = still + np.array([step, 0]) * np.array([1, -1, 1, -1, 0])[:, None]
        assert changes(np.stack([still, moved]), mirror).tolist() == [False, changed]
    assert changes(np.stack([still, still[list(mirror)], still]), mirror).tolist() == [False, True, True]
