from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fixtures_told import BLOCK, Told, numbers, told, write_videos

from vergence.errors import VergenceError
from vergence.footage.capture import load_capture
from vergence.footage.observations import observe
from vergence.reconstruction.inspection import look as module
from vergence.reconstruction.inspection.look import SPREAD, look

__all__ = ["told"]


def moving(frames: int, views: int) -> np.ndarray:
    """Keypoints that say their frame: everybody stands, and walks a pixel to the right a frame."""
    person = np.zeros((17, 2))
    person[:, 1] = np.linspace(350, 100, 17)
    for joint in (3, 6):
        person[joint] = 0, 400
    person[[1, 2, 3, 11, 12, 13], 0] += 20
    points = np.tile(person, (frames, views, 1, 1)) + [100, 0]
    points[..., 0] += np.arange(frames)[:, None, None]
    return points


def test_a_long_recording_is_looked_at_in_one_stretch_and_here_and_there(told: type[Told], tmp_path: Path) -> None:
    told.keypoints = moving(200, 2)
    capture = load_capture(write_videos(tmp_path, (200, 200), fps=60.0))
    detector = told()
    found = look(capture, tmp_path, detector, 48)
    assert (found.stride, found.capture.fps) == (2, 30.0)
    assert len(detector.asked) <= 2 * (48 + 2 * SPREAD)
    assert found.share == pytest.approx(96 / 400, abs=0.02)
    assert [len(own) for own in found.scenes] == [SPREAD, SPREAD]
    seen = observe(found.capture)
    assert seen.keypoints.shape[:2] == (48, 2)
    for step in (0, 20, 47):
        camera, frame = numbers(found.image(found.capture, 1, step))
        assert (camera, frame) == (1, found.start + 2 * step)
        np.testing.assert_allclose(seen.keypoints[step, 1, :, :2], told.keypoints[frame, 1], atol=0.02)


def test_the_stretch_is_where_somebody_is(told: type[Told], tmp_path: Path) -> None:
    told.keypoints = moving(200, 2)
    told.keypoints[:150] = np.nan
    found = look(load_capture(write_videos(tmp_path, (200, 200))), tmp_path, told(), 20)
    assert found.start >= 140
    assert np.isfinite(observe(found.capture).keypoints).any()


def test_of_a_short_recording_every_image_is_looked_at_once(told: type[Told], tmp_path: Path) -> None:
    told.keypoints = moving(60, 1)
    detector = told()
    found = look(load_capture(write_videos(tmp_path, (60,))), tmp_path, detector, 60)
    assert (found.share, found.start, found.turn) == (1.0, 0, (0,))
    assert len(detector.asked) < 60 + 16
    assert len(found.scenes[0]) == SPREAD


def test_a_slower_camera_keeps_its_own_times(told: type[Told], tmp_path: Path) -> None:
    told.keypoints = moving(90, 2)
    folder = write_videos(tmp_path, (90,), fps=60.0)
    write_videos(folder, (0, 45), fps=30.0)
    found = look(load_capture(folder), tmp_path, told(), 60)
    assert found.stride == 2
    assert numbers(found.image(found.capture, 0, 10))[1] == found.start + 20
    assert numbers(found.image(found.capture, 1, 10))[1] == (found.start + 20) / 2


def test_cameras_that_never_film_at_once(told: type[Told], tmp_path: Path) -> None:
    told.keypoints = moving(30, 2)
    write_videos(tmp_path, (30, 30))
    (tmp_path / "capture.toml").write_text(
        '[cameras.a]\nvideo = "cam0.mp4"\noffset = 0.0\n[cameras.b]\nvideo = "cam1.mp4"\noffset = 40.0\n'
    )
    with pytest.raises(VergenceError, match=r"no moment that all cameras filmed \(a 0.0 to 1.0 s, b -1.3 to -0.4 s\)"):
        look(load_capture(tmp_path), tmp_path, told(), 20)


def test_a_picture_says_its_number() -> None:
    from fixtures_told import picture

    assert numbers(picture(3, 200)) == (3, 200)
    assert picture(0, 0)[BLOCK + 1 :].std() > 20


def test_the_stretch_lies_in_the_middle_of_what_is_filmed(told: type[Told], tmp_path: Path) -> None:
    """55 time steps in 48 looks, of each one: the middle is 27, and half of the 47 steps between the looks lie before it."""
    told.keypoints = moving(55, 1)
    found = look(load_capture(write_videos(tmp_path, (55,), fps=60.0)), tmp_path, told(), 48)
    assert (found.stride, len(found.frames[0])) == (1, 48)
    assert found.start == 4  # of 3.5 either side


@pytest.mark.parametrize(
    ("frames", "fps", "asked", "expected"),
    [
        (55, 60.0, 48, (1, 48, 55)),  # every second would leave 27, of which 48 are needed
        (200, 60.0, 48, (2, 48, 200)),
        (500, 100.0, 100, (4, 100, 500)),  # 25 a second at least
        (500, 100.0, 250, (2, 250, 500)),
        (150, 100.0, 48, (3, 48, 150)),
        (30, 25.0, 48, (1, 30, 30)),
    ],
)
def test_how_far_apart_and_how_many_time_steps_are_looked_at(
    frames: int, fps: float, asked: int, expected: tuple
) -> None:
    capture = SimpleNamespace(fps=fps, cameras=[SimpleNamespace(frame_steps=1.0)])
    assert module._stride(capture, 0.0, frames - 1.0, asked) == expected
    assert module._stride(capture, 0.2, frames + 0.9, asked)[2] == frames


def test_what_is_looked_at_besides() -> None:
    """Eight moments apart by a ninth of the way; the busiest is in the middle of those in which most cameras see somebody."""
    assert module.spread_steps(10, 100).tolist() == [20, 30, 40, 50, 60, 70, 80, 90]
    somebody, nobody = SimpleNamespace(boxes=np.zeros((1, 4))), SimpleNamespace(boxes=np.zeros((0, 4)))
    first = [nobody, somebody, somebody, somebody, somebody]
    second = [somebody, somebody, nobody, somebody]  # ends before the other
    moments = np.array([10.0, 20, 30, 40, 50])
    assert module._busiest([first, second], moments) == 40
    assert module._busiest([first], moments) == 40
    assert module._busiest([second], moments[:4]) == 20


def test_images_of_moments_are_those_of_the_frames_that_are_there() -> None:
    """Moments fall to the nearest frame, the first and the last included; a damaged one is left out."""

    class Film(list):
        def __getitem__(self, index: int) -> str:
            if index == 2:
                raise VergenceError("frame 2 is damaged", "")
            return f"image {index}"

    camera = SimpleNamespace(own_frames=lambda moments: moments, fit=None)
    moments = np.array([-0.6, -0.4, 0.0, 0.6, np.nan, 2.0, 3.4, 3.6])
    assert module._at(camera, Film([0] * 4), moments) == ["image 0", "image 0", "image 1", "image 3"]
