"""Numbers of frames in a detector's file against a clip's images, by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vergence.datasets import mannequin_clips
from vergence.datasets.mannequin_clips import ClipFrames, match_frames, people_of, read_cameras
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


GOOD = "100 0.6 1.1 0.5 0.5 0 0 1 0 0 7 0 1 0 8 0 0 1 9"


def clip(tmp_path: Path, *lines: str) -> Path:
    (tmp_path / "abc.txt").write_text("\n".join(["https://www.youtube.com/watch?v=xyz", *lines]) + "\n")
    return tmp_path / "abc.txt"


def test_a_clips_lines_are_time_lens_and_pose(tmp_path: Path) -> None:
    found = read_cameras(clip(tmp_path, GOOD, "", GOOD.replace("100", "133", 1).replace("7", "-2")))
    assert found.name == "abc"
    matrix = np.array([[[1, 0, 0, 7], [0, 1, 0, 8], [0, 0, 1, 9]], [[1, 0, 0, -2], [0, 1, 0, 8], [0, 0, 1, 9.0]]])
    arrays = [value for value in vars(found).values() if isinstance(value, np.ndarray)]
    for wanted in (np.array([100, 133]), np.array([[0.6, 1.1, 0.5, 0.5]] * 2), matrix[..., :3], matrix[..., 3]):
        assert any(own.shape == wanted.shape and (own == wanted).all() for own in arrays)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (" 0 0 1 0 0 7", " 0.1 0 1 0 0 7", "a lens distortion"), (" 0 0 1 0 0 7", " 0 0.1 1 0 0 7", "a lens distortion"),
        (" 0.6", " 0", "focal length of 0"), (" 1.1", " -1.1", "focal length of 0"), (" 1 9", " -1 9", "no rotation"),
        (" 1 0 8", " 1.01 0 8", "no rotation"), (" 9", " nan", "not finite"), ("133", "100", "not later"),
        ("133", "99", "not later"),
        (" 9", "", "has 18 words"), (" 9", " 9 9", "has 20 words"),
    ],
)  # fmt: skip
def test_lines_that_are_no_camera_are_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Of four lines the third frame's, which is line 5 of the file: a blank one counts."""
    third = GOOD.replace("100", "133", 1)
    lines = [GOOD, "", GOOD.replace("100", "120", 1), third.replace(old, new, 1), GOOD.replace("100", "150", 1)]
    if new in ("100", "99"):
        lines[3] = third.replace("133", "110" if new == "99" else "120", 1)
    with pytest.raises(VergenceError, match=f"line 5, .*{words}"):
        read_cameras(clip(tmp_path, *lines))


def test_images_whose_names_have_no_numbers_are_taken_in_order_and_have_none(tmp_path: Path) -> None:
    """As many as the text has lines; else only names that are its times tell."""
    cameras = read_cameras(clip(tmp_path, GOOD, GOOD.replace("100", "133", 1)))
    (tmp_path / "abc").mkdir()
    for name in ("one", "two"):
        Image.fromarray(np.zeros((60, 110, 3), np.uint8)).save(tmp_path / "abc" / f"{name}.png")
    found = match_frames(tmp_path / "abc", cameras)
    assert found.numbers.tolist() == [-1, -1]
    assert found.position.tolist() == [0, 1]
    assert [image.path.name for image in found.images if image] == ["one.png", "two.png"]
    assert (found.size, found.count) == ((110, 60), 2)
    for name in ("one", "two"):
        (tmp_path / "abc" / f"{name}.png").rename(tmp_path / "abc" / {"one": "133.png", "two": "100.png"}[name])
    timed = match_frames(tmp_path / "abc", cameras)
    assert timed.numbers.tolist() == [100, 133]
