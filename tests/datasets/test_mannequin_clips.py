"""Numbers of frames in a detector's file against a clip's images, by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vergence.datasets import mannequin_clips
from vergence.datasets.mannequin_clips import ClipFrames, people_of
from vergence.datasets.records import ImageRef
from vergence.errors import VergenceError


@pytest.mark.parametrize(
    ("video", "numbers", "known", "last_known", "expected"),
    [
        (True, [10, 11, 13], [10, 11, 12, 13], False, [10, 11, 13]),  # the video's own frames
        (True, [0, 1, 3], [1, 2, 3, 4], True, [1, 2, 4]),  # counted from 1 to the last
        (False, [100, 102, 104], [100, 104], False, [100, None, 104]),  # by name
        (False, [100, 102, 106], [0, 1, 2, 3], False, [0, 1, 3]),  # all images from 0
        (False, [100, 102, 106], [1, 3, 4], True, [1, None, 4]),  # all images from 1
    ],
)
def test_whose_people_are_in_which_line(monkeypatch, video, numbers, known, last_known, expected) -> None:
    """Of four images three lie beside a line: the first, the second and the fourth; then comes a line without an image."""
    people = {i: np.full((1, 2, 3), float(i)) for i in known}
    detections = SimpleNamespace(image_size=(64, 48), by_number=people, last_known=last_known, skeleton="ab")
    monkeypatch.setattr(mannequin_clips, "read_keypoints", lambda path: detections)
    images = (*(ImageRef(Path("a"), i if video else None) for i in numbers), None)
    frames = ClipFrames(images, (64, 48), np.array([*numbers, -1]), np.array([0, 1, 3, -1]), 4)
    found = people_of(Path("a.json"), frames)[1]
    assert [int(people[0, 0, 0]) if len(people) else None for people in found] == [*expected, None]
    assert found[-1].shape == (0, 2, 3)


def test_numbers_that_are_neither_and_other_sizes_are_refused(monkeypatch) -> None:
    frames = ClipFrames((ImageRef(Path("a")),) * 2, (64, 48), np.array([100, 101]), np.array([0, 1]), 2)
    detections = SimpleNamespace(image_size=None, by_number={5: [], 9: []}, last_known=True, skeleton="ab")
    monkeypatch.setattr(mannequin_clips, "read_keypoints", lambda path: detections)
    with pytest.raises(VergenceError, match="5 to 9; the clip has 2 images"):
        people_of(Path("a.json"), frames)
    detections.image_size = (48, 64)
    with pytest.raises(VergenceError, match="for images of"):
        people_of(Path("a.json"), frames)
