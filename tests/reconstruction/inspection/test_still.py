from __future__ import annotations

import cv2
import numpy as np
import pytest

from vergence.reconstruction.inspection.still import _move, movement, scene


def room(seed: int = 0) -> np.ndarray:
    """A background with corners to hold on to."""
    noise = np.random.default_rng(seed).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    return cv2.resize(noise, (1280, 960), interpolation=cv2.INTER_CUBIC)


NOBODY = np.empty((0, 17, 3))


@pytest.mark.parametrize("shift", [0, 13, 60])
def test_a_shifted_image_has_moved_by_its_shift(shift: int) -> None:
    wide = room()
    found = movement([scene(wide[:, :1200], NOBODY), scene(wide[:, shift : 1200 + shift], NOBODY)])
    assert found == pytest.approx(shift / 1200, abs=0.002)


def test_a_person_who_walks_moves_no_camera() -> None:
    scenes = []
    for left in (100, 400, 700):
        image = room()
        image[200:900, left : left + 300] = room(1)[:700, :300]  # more corners than are left of the room beside them
        person = np.full((1, 17, 3), 0.9)
        person[0, :, :2] = np.random.default_rng(0).uniform((left, 200), (left + 300, 900), (17, 2))
        person[0, 0, :2], person[0, 1, :2] = (left, 200), (left + 300, 900)
        scenes.append(scene(image, person))
    assert movement(scenes) < 0.002


def test_nothing_is_said_of_an_empty_wall_nor_of_one_image() -> None:
    wall = scene(np.full((480, 640, 3), 90, np.uint8), NOBODY)
    assert np.isnan(movement([wall, wall, wall]))
    assert np.isnan(movement([wall]))
    assert np.isnan(movement([]))


def test_a_camera_has_moved_as_far_as_the_corner_that_moved_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image turned by 0.1 about its right upper corner, of 200 x 100 px: the left lower corner moves most."""
    turn = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    about = np.array([200.0, 0])
    found = np.column_stack([turn, about - turn @ about]), np.ones((40, 1), np.uint8)
    monkeypatch.setattr(cv2, "estimateAffinePartial2D", lambda *_, **__: found)
    words = np.random.default_rng(0).integers(0, 256, (40, 32), dtype=np.uint8)
    one = np.zeros((40, 2), np.float32), words
    assert _move(one, one, (100, 200)) == pytest.approx(2 * np.sin(0.05) * np.hypot(200, 100) / 200, rel=1e-9)
