"""Keypoints, boxes and images of one number belong together, whatever the names count."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vergence.errors import VergenceError
from vergence.footage.capture import load_capture
from vergence.footage.formats.names import number_frames
from vergence.footage.formats.placing import frames_of
from vergence.footage.observations import observe
from vergence.inference.takes import open_take

Make = Callable[..., np.ndarray]
FRAMES = 40
NAMES = {
    "counted": lambda t: f"im_{t:04}",
    "every fifth": lambda t: f"im_{5 * t:04}",
    "from 900": lambda t: f"im_{900 + t}_v2",
    "milliseconds": lambda t: str(1616161616000 + round(t * 1000 / 30)),
    "seconds": lambda t: f"{1616161616 + t // 30}.{t % 30 * 1000000 // 30:06}",
    "clock": lambda t: f"20210301_1230{45 + t // 30}_{t % 30 * 1000 // 30:03}",
}  # fmt: skip


@pytest.fixture
def points(person: Make, ring: Make, project: Make) -> np.ndarray:
    world = person(FRAMES, 0)
    return np.stack([project(world, camera) for camera in ring(2)], axis=1)


def write(folder: Path, points: np.ndarray, name: Callable[[int], str], images: Sequence[int], files: Sequence[int]):
    """Two cameras; the brightness of an image is its frame's number."""
    text = '[capture]\nfps = 30.0\nskeleton = "coco_17"\n'
    for v, camera in enumerate("ab"):
        (folder / camera).mkdir()
        (folder / f"{camera}_json").mkdir()
        for t in images:
            Image.new("L", (1280, 720), t).save(folder / camera / f"{name(t)}.png", compress_level=1)
        for t in files:
            people = [{"pose_keypoints_2d": points[t, v].ravel().tolist()}]
            (folder / f"{camera}_json" / f"{name(t)}_keypoints.json").write_text(json.dumps({"people": people}))
        text += f'[cameras.{camera}]\nimage_size = [1280, 720]\nkeypoints = "{camera}_json"\n'
        text += f'frames = "{camera}"\n' if images else ""
    (folder / "capture.toml").write_text(text)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("lost_too", [True, False])
def test_image_and_keypoints_of_one_name_belong_together(tmp_path: Path, points: np.ndarray, kind: str, lost_too: bool):
    images = [t for t in range(FRAMES) if t not in (7, 20)]
    write(tmp_path, points, NAMES[kind], images, images if lost_too else range(FRAMES))
    capture = load_capture(tmp_path)
    seen = observe(capture)
    assert len(seen.keypoints) == FRAMES
    for t in (0, 6, 8, 19, 21, 39):
        assert capture.image(1, t)[0, 0, 0] == t
        np.testing.assert_allclose(seen.keypoints[t], points[t], atol=1e-6)
    assert [own.tolist() for own in capture.image_files(0, [6, 7])[1:]] == [[6, -1], [-1, -1]]
    assert np.isnan(seen.keypoints[7]).all() == lost_too
    with pytest.raises(VergenceError, match="has no image of frame 7"):
        capture.image(0, 7)


@pytest.mark.parametrize("kind", NAMES)
def test_numbers_without_images(tmp_path: Path, points: np.ndarray, kind: str) -> None:
    files = [t for t in range(FRAMES) if t not in (7, 20)]
    write(tmp_path, points, NAMES[kind], [], files)
    seen = observe(load_capture(tmp_path))
    assert np.isnan(seen.keypoints[[7, 20]]).all()
    np.testing.assert_allclose(seen.keypoints[files], points[files], atol=1e-6)


def test_an_image_lost_at_the_beginning_of_one_camera(tmp_path: Path, points: np.ndarray) -> None:
    write(tmp_path, points, NAMES["counted"], range(FRAMES), range(FRAMES))
    for t in (0, 1):
        (tmp_path / "b" / f"im_{t:04}.png").unlink()
    capture = load_capture(tmp_path)
    assert capture.image(1, 5)[0, 0, 0] == capture.image(0, 5)[0, 0, 0] == 5
    np.testing.assert_allclose(observe(capture).keypoints, points, atol=1e-6)


def test_predict_takes_boxes_and_keypoints_by_number(tmp_path: Path, points: np.ndarray) -> None:
    images = [t for t in range(FRAMES) if t != 7]
    write(tmp_path, points, NAMES["from 900"], images, range(FRAMES))
    take = open_take(tmp_path / "a", keypoints=tmp_path / "a_json")
    assert take.rows == images
    box, seen = take.person.at(30, (1280, 720)), points[30, 0, :, :2]
    np.testing.assert_allclose(box[:2] + box[2:] / 2, (seen.min(0) + seen.max(0)) / 2, atol=1)
    boxes = [{"image_id": f"im_{900 + t}_v2.png", "category_id": 1, "bbox": [t, 1, 50, 60]} for t in range(FRAMES)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    box = open_take(tmp_path / "a", boxes=tmp_path / "boxes.json").person.at(30, (1280, 720))
    assert box[0] + 0.1 * 60 == pytest.approx(30)


def test_a_damaged_image_is_left_out_and_said(tmp_path: Path, points: np.ndarray) -> None:
    write(tmp_path, points, NAMES["counted"], range(6), range(6))
    for t in (0, 3):
        (tmp_path / "a" / f"im_{t:04}.png").write_bytes(b"broken")
    take = open_take(tmp_path / "a", box="1,2,300,400")
    assert [crop.frame for crop in take.crops(32)] == [1, 2, 4, 5]
    assert any("im_0000.png cannot be read" in note and "and 1 more" in note for note in take.notes)
    for file in (tmp_path / "a").iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(VergenceError, match="cannot be read as an image"):
        open_take(tmp_path / "a", box="1,2,300,400")


def test_numbers_that_count_something_else_are_taken_in_order() -> None:
    images = number_frames(range(1, 61))
    assert frames_of(range(60), images) is None  # as many from 0: a program's own count
    assert frames_of(range(1, 61), images) == {t + 1: t for t in range(60)}
    assert frames_of(range(30, 61), images) == {t + 1: t for t in range(29, 60)}
    assert frames_of(range(1000, 1060), images) is None
    for strangers, known in ((6, True), (7, False)):  # of 60 numbers: a tenth may be of no image
        found = frames_of([*range(1, 61 - strangers), *range(61, 61 + strangers)], images)
        assert (found == {t + 1: t for t in range(60 - strangers)}) == known


def test_a_list_of_results_that_ends_early_is_noticed(tmp_path: Path, points: np.ndarray) -> None:
    for v, name in enumerate("ab"):
        rows = [{"image_id": t, "keypoints": points[t, v].ravel().tolist()} for t in range(FRAMES // (v + 1))]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    tables = [f'[cameras.{n}]\nimage_size = [1280, 720]\nkeypoints = "{n}.json"\n' for n in "ab"]
    (tmp_path / "capture.toml").write_text("[capture]\nfps = 25.0\n" + "".join(tables))
    notes = observe(load_capture(tmp_path)).notes
    assert any("camera b: its results end after 20 of 40 frames" in note for note in notes)


def test_points_beside_the_image_count_by_their_confidence(tmp_path: Path, points: np.ndarray) -> None:
    points[:, 0, :3] = [-900, 300, 0.05]
    write(tmp_path, points, NAMES["counted"], [], range(FRAMES))
    assert np.isfinite(observe(load_capture(tmp_path)).keypoints[:, 0, 0]).any()
    points[:, 0, :3, 2] = 0.9
    for file in (tmp_path / "a_json").iterdir():
        t = int(file.stem.split("_")[1])
        file.write_text(json.dumps({"people": [{"pose_keypoints_2d": points[t, 0].ravel().tolist()}]}))
    with pytest.raises(VergenceError, match="lie outside its image"):
        observe(load_capture(tmp_path))
