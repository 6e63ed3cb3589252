"""Offsets between cameras, found from the people: right within a frame, and no offset where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from vergence.reconstruction.checks.timing import find_lateness, lag


def normalised(scene) -> np.ndarray:
    """T V J 2, the lens of the scene being none."""
    return (scene.keypoints - 499.5) / 1100.0


def begun_later(image: np.ndarray, camera: int, frames: int) -> np.ndarray:
    """One camera's file begins so many frames later than the others'."""
    moved = np.full_like(image, np.nan)
    moved[: len(image) - frames] = image[frames:]
    out = image.copy()
    out[:, camera] = moved[:, camera]
    return out


NO_LENS = (0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize("late", [0, 2, 7, 15])
def test_the_late_camera_and_by_how_much(make_scene, views: int, late: int) -> None:
    scene = make_scene(views=views, frames=90, missing=0.1, outliers=0.03, noise=3.0, distortion=NO_LENS)
    image = normalised(scene)
    found = find_lateness(begun_later(image, 1, late) if late else image)
    relative = found.frames[1] - np.delete(found.frames, 1)
    assert np.abs(relative + late).max() < 0.7
    assert (found.gain > 1.05) == (late > 0)


def test_two_late_cameras_of_five(make_scene) -> None:
    image = normalised(make_scene(views=5, frames=90, distortion=NO_LENS))
    found = find_lateness(begun_later(begun_later(image, 1, 4), 3, 9))
    assert np.abs(found.frames - [0, -4, 0, -9, 0]).max() < 0.7


def test_somebody_who_hardly_moves_cannot_tell(make_scene) -> None:
    scene = make_scene(views=2, frames=90, step_mm=0.0, swing=0.02, distortion=NO_LENS)
    assert find_lateness(begun_later(normalised(scene), 1, 7)).margin < 1.3


def test_a_lag_is_the_time_by_which_points_run_ahead() -> None:
    """Curved paths sampled 0.4 frames late in one camera of two, with noise and gaps."""
    rng = np.random.default_rng(0)
    speed = rng.normal(0, 5, (2, 1, 9, 2))

    def path(at: np.ndarray) -> np.ndarray:
        return at[:, None, None, None] * speed[0] + 20 * np.sin(at / 9)[:, None, None, None] * speed[1] / 5

    frames = np.arange(80.0)
    projected = np.concatenate([path(frames)] * 2, 1)
    observed = np.concatenate([path(frames + 0.4), path(frames)], 1) + rng.normal(0, 1, projected.shape)
    observed[rng.random(observed.shape[:3]) < 0.1] = np.nan
    observed[5, 0] += 300
    assert np.abs(lag(observed, projected) - [0.4, 0.0]).max() < 0.02
    assert (lag(observed, np.zeros_like(projected)) == 0).all()
