"""Cameras whose frames are not of one moment where their numbers are: time stamps place them, and numbers are understood."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.capture import load_capture
from vergence.footage.capture_camera import (
    CLOCKED_SUFFIXES,
    CaptureCamera,
    Probe,
    _starts,
    _usual,
    frames_at,
    holes_of,
    in_time,
    stray_frames,
)
from vergence.footage.capture_writer import write_capture
from vergence.footage.observations import observe

Make = Callable[..., np.ndarray]
FPS, SIZE = 25, (1280, 720)


def stamped_video(path: Path, stamps: Sequence[int]) -> None:
    """A small grey video whose frames are shown at these hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        stream.codec_context.time_base = Fraction(1, 100)
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(np.full((36, 64, 3), stamp % 200, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def openpose(folder: Path, points: np.ndarray, first: int = 0) -> None:
    folder.mkdir()
    for number, frame in enumerate(np.nan_to_num(points)):
        people = [{"pose_keypoints_2d": frame.ravel().tolist()}] if frame.any() else []
        (folder / f"x_{number + first:05d}.json").write_text(json.dumps({"people": people}))


def recording(folder: Path, kinds: dict[str, tuple[Sequence[int] | None, np.ndarray, int]], extra: str = "") -> None:
    """Per camera: its video's stamps (none without a video), its keypoints, the number of its first file."""
    text = f"[capture]\nfps = {FPS}.0\n"
    for name, (stamps, points, first) in kinds.items():
        text += f'[cameras.{name}]\nimage_size = {list(SIZE)}\nkeypoints = "{name}_json"\n'
        openpose(folder / f"{name}_json", points, first)
        if stamps is not None:
            stamped_video(folder / f"{name}.mp4", stamps)
            text += f'video = "{name}.mp4"\n'
    (folder / "capture.toml").write_text(text + extra)


@pytest.fixture
def world(person: Make, ring: Make, project: Make) -> Callable[[np.ndarray], np.ndarray]:
    """Keypoints T 2 17 3 at times in frames, of a person who moves evenly enough to be interpolated."""
    moving = person(60, 0, 0.3)

    def at(frames: np.ndarray) -> np.ndarray:
        low = np.clip(np.floor(frames).astype(int), 0, 58)
        pose = moving[low] + (frames - low)[:, None, None] * (moving[low + 1] - moving[low])
        return np.stack([project(pose, camera) for camera in ring(2)], axis=1)

    return at


def test_frames_that_a_phone_dropped_leave_a_hole_and_move_nothing(tmp_path: Path, world: Callable) -> None:
    points, kept = world(np.arange(50.0)), np.delete(np.arange(50), slice(20, 25))
    recording(tmp_path, {"a": (range(0, 200, 4), points[:, 0], 0), "b": ((kept * 4).tolist(), points[kept, 1], 0)})
    capture = load_capture(tmp_path)
    seen = observe(capture)
    expected = points.copy()
    expected[20:25, 1] = np.nan
    np.testing.assert_allclose(seen.keypoints, expected)
    assert any(
        "b: frames are placed by their time stamps" in note and "0.76 s" in note for note in seen.notes + capture.notes
    )
    assert capture.cameras[0].stamps is None
    shown = [round(float(capture.image(1, step).mean())) for step in (19, 25, 49)]
    assert np.abs(np.array(shown) - [76, 100, 196]).max() < 4
    with pytest.raises(VergenceError, match="camera b lost its frame of time step 22"):
        capture.image(1, 22)


def test_a_variable_rate_is_followed(tmp_path: Path, world: Callable) -> None:
    """Camera b slows down to 20 frames a second in its second half: by number it would be half a second off."""
    stamps = [*range(0, 100, 4), *range(100, 200, 5)]
    own = np.array(stamps) / 4
    a, b = world(np.arange(50.0)), world(own)
    recording(tmp_path, {"a": (range(0, 200, 4), a[:, 0], 0), "b": (stamps, b[:, 1], 0)})
    seen = observe(load_capture(tmp_path))
    gap = np.abs(seen.keypoints - a)[:48, 1, :, :2]
    assert np.isfinite(gap).all()
    assert gap.max() < 6.0
    assert np.nanmax(np.abs(b - a[:45])[:, 1]) > 50


def test_unsteady_stamps_move_nothing(tmp_path: Path, world: Callable) -> None:
    points = world(np.arange(50.0))
    stamps = np.arange(50) * 8 + np.random.default_rng(0).integers(-1, 2, 50)
    recording(tmp_path, {"a": (None, points[:, 0], 0), "b": (None, points[:, 1], 0)})
    for name, own in (("a", range(0, 200, 4)), ("b", (stamps - stamps[0]) // 2)):
        stamped_video(tmp_path / f"{name}.mp4", list(own))
    capture = load_capture(tmp_path)
    np.testing.assert_array_equal(observe(capture).keypoints, observe(capture).keypoints)
    assert all(camera.stamps is None for camera in capture.cameras)


@pytest.mark.parametrize("given", ["", "offset = 0.0\n"])
def test_a_later_start_by_the_stamps_counts_unless_an_offset_is_given(
    tmp_path: Path, world: Callable, given: str
) -> None:
    points = world(np.arange(50.0))
    late = range(40, 200, 4)
    recording(tmp_path, {"a": (range(0, 200, 4), points[:, 0], 0), "b": (late, points[10:, 1], 0)}, given)
    capture = load_capture(tmp_path)
    assert capture.cameras[1].offset == (0.0 if given else pytest.approx(-10.0))
    if given:
        with pytest.raises(VergenceError, match="differ in length"):
            observe(capture)
        return
    expected = points.copy()
    expected[:10, 1] = np.nan
    np.testing.assert_allclose(observe(capture).keypoints, expected, atol=1e-3)
    assert any("b: begins 400 ms after the first" in note for note in capture.notes)


def test_keypoints_that_count_even_time_are_left_where_they_are(tmp_path: Path, world: Callable) -> None:
    """Made from images that a program wrote at an even rate, which repeated a frame for each that was lost."""
    points, kept = world(np.arange(50.0)), np.delete(np.arange(50), slice(20, 25))
    recording(tmp_path, {"a": (range(0, 200, 4), points[:, 0], 0), "b": ((kept * 4).tolist(), points[:, 1], 0)})
    seen = observe(load_capture(tmp_path))
    np.testing.assert_allclose(seen.keypoints, points)
    assert any("count even time" in note for note in seen.notes)


@pytest.mark.parametrize("videos", [False, True])
def test_one_camera_that_counts_from_one(tmp_path: Path, world: Callable, videos: bool) -> None:
    points, stamps = world(np.arange(30.0)), range(0, 120, 4) if videos else None
    recording(tmp_path, {"a": (stamps, points[:, 0], 0), "b": (stamps, points[:, 1], 1)})
    seen = observe(load_capture(tmp_path))
    np.testing.assert_allclose(seen.keypoints, points)
    assert any("camera b count frames from 1" in note for note in seen.notes)


def test_times_before_between_in_a_hole_and_after() -> None:
    stamps = np.array([0.0, 1.0, 2.05, 6.0, 7.0])
    found = frames_at(stamps, np.array([-1.0, 0.0, 0.5, 2.0, 2.2, 4.0, 5.9, 6.5, 7.0, 9.0]))
    np.testing.assert_allclose(found, [-1, 0, 0.5, 2, 2, np.nan, 3, 3.5, 4, 6], atol=0.05)


def test_keypoints_of_a_slower_camera_are_interpolated(tmp_path: Path, world: Callable) -> None:
    points = world(np.arange(50.0))
    recording(tmp_path, {"a": (None, points[:, 0], 0), "b": (None, points[::2, 1], 0)}, f"fps = {FPS / 2}\n")
    text = (tmp_path / "capture.toml").read_text().replace("[cameras.b]", f"fps = {FPS}.0\n[cameras.b]")
    (tmp_path / "capture.toml").write_text(text)
    seen = observe(load_capture(tmp_path)).keypoints
    np.testing.assert_allclose(seen[:, 0], points[:, 0], atol=1e-6)
    between = (points[0:48:2, 1] + points[2:50:2, 1]) / 2
    np.testing.assert_allclose(seen[1:48:2, 1, :, :2], between[..., :2], atol=1e-6)


def test_a_clock_that_runs_fast_and_what_is_stated_of_it(tmp_path: Path, world: Callable) -> None:
    points = world(np.arange(50.0))
    recording(tmp_path, {"a": (None, points[:, 0], 0), "b": (None, points[:, 1], 0)}, "drift = 20000.0\noffset = 1.0\n")
    capture = load_capture(tmp_path)
    assert capture.synchronised
    np.testing.assert_allclose(capture.cameras[1].own_frames(np.array([0.0, 10, 25])), [1, 11.2, 26.5])
    write_capture(tmp_path / "again.toml", capture)
    again = load_capture(tmp_path / "again.toml")
    assert (again.cameras[1].offset, again.cameras[1].drift, again.synchronised) == (1.0, 20000.0, True)


def test_times_of_frames_beside_the_videos(tmp_path: Path, world: Callable) -> None:
    points = world(np.arange(50.0))
    steps = range(0, 200, 4)
    recording(tmp_path, {"cam_0": (steps, points[:, 0], 0), "cam_1": (steps, points[:, 1], 0)})
    rows = [f"{i},{c},{100 + (i + 2.5 * c) / FPS}" for i in range(50) for c in (0, 1)]
    (tmp_path / "timestamps.csv").write_text("sync_index,cam_id,frame_time\n" + "\n".join(rows))
    capture = load_capture(tmp_path)
    assert any("timestamps.csv" in note for note in capture.notes)
    np.testing.assert_allclose(capture.cameras[1].own_frames(np.arange(3, 6)), [0.5, 1.5, 2.5], atol=1e-6)


def test_videos_that_all_run_as_slowly_are_counted_by_their_frames() -> None:
    """100 frames at 29.82 a second in place of 30 end 0.6 frames late; beside 30.6 both are placed by their stamps."""
    slow, quick = (Probe(SIZE, 100, 30.0, np.arange(100) / rate) for rate in (29.82, 30.6))
    cameras = [CaptureCamera(name=name, image_size=SIZE, frame_count=100) for name in "ab"]
    for second, by_stamps in ((slow, False), (quick, True)):
        placed = in_time(cameras, {"a": slow, "b": second}, 30.0, set(), [])
        assert [camera.stamps is not None for camera in placed] == [by_stamps] * 2


def starts_of(
    stamps: dict[str, float], suffix: str = ".mp4", clock: bool = False, placed: set[str] | None = None
) -> dict:
    """What is known of cameras whose first frames bear these stamps, of files of a kind; NaN: none."""
    kinds = suffix.split()
    cameras = [SimpleNamespace(name=name, video=Path(name + kinds[i % len(kinds)])) for i, name in enumerate(stamps)]
    stamped = {name: np.array([first, first + 1]) for name, first in stamps.items() if first == first}
    probes = {name: SimpleNamespace(clock=clock) for name in stamps}
    return _starts(cameras, stamped, probes, placed or set())  # type: ignore[arg-type]


def test_cameras_begin_where_their_stamps_say_if_they_are_of_one_clock() -> None:
    """Files of one kind whose first stamp is the camera's, a quarter of a second apart or stamped by a clock; of others the
    first stamp is the muxer's."""
    for suffix in sorted(CLOCKED_SUFFIXES):
        assert starts_of({"a": 5.0, "b": 4.75}, suffix) == {"a": 0.25, "b": 0.0}
    assert starts_of({"a": 5.0, "b": 4.76}) == {}
    assert starts_of({"a": 5.0, "b": 5.0, "c": 6.5}) == {"a": 0.0, "b": 0.0, "c": 1.5}
    assert starts_of({"a": 2e8 + 0.01, "b": 2e8}) == {"a": pytest.approx(0.01, abs=1e-6), "b": 0.0}
    assert starts_of({"a": 1e8 + 0.01, "b": 1e8}) == {}
    assert starts_of({"a": 5.0, "b": 4.0}, ".avi") == {}
    assert starts_of({"a": 5.0, "b": 4.0}, ".mp4 .mov") == {}
    assert starts_of({"a": 5.0, "b": float("nan")}) == {}
    assert starts_of({"a": 5.0, "b": 4.0}, placed={"a"}) == {}
    assert starts_of({"a": 5.0, "b": 4.99}, ".avi", clock=True) == {"a": pytest.approx(0.01), "b": 0.0}
    assert starts_of({"a": 5.0, "b": 4.99}, ".avi", clock=True, placed={"b"}) == {}


def test_frames_are_lost_where_stamps_are_farther_apart_than_one_and_a_half() -> None:
    """Usually 2 apart: 3 is not, 3.1 is."""
    assert holes_of(np.array([0.0, 2, 4, 7, 9, 12.1, 14.1, 20, 22])).tolist() == [4, 6]
    assert stray_frames(np.array([10.0, 10.1, 10.25, 10.28]), 10.0) == pytest.approx(0.5)
    assert stray_frames(np.array([10.0, 10.1, 10.2, 10.23]), 10.0) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("stamps", "asked"),
    [
        # A rate of its own, two steps a frame: between frames, before the first and after the last.
        ([0.0, 2, 4, 6], {-3.0: -1.5, 0.0: 0.0, 1.0: 0.5, 1.5: 0.75, 6.0: 3.0, 9.0: 4.5}),
        # The capture's rate, with jitter: whole steps take the frame that is near, others what lies between.
        ([0.0, 1.2, 2.0, 3.0, 4.0], {1.0: 1.0, 2.0: 2.0, 3.0: 3.0, 0.6: 0.5, 1.6: 1.5}),
        # A hole of three frames: near its ends there is the frame, within it nothing.
        (
            [0.0, 1, 2, 6, 7],
            {2.0: 2.0, 2.24: 2.0, 2.3: np.nan, 4.0: np.nan, 5.7: np.nan, 5.76: 3.0, 6.0: 3.0, 6.5: 3.5},
        ),
        ([0.0, 2, 4, 12, 14], {4.4: 2.0, 4.6: np.nan, 11.4: np.nan, 11.6: 3.0, 13.0: 3.5}),
    ],
)
def test_which_frames_a_cameras_stamps_show_at_a_time(stamps: list[float], asked: dict[float, float]) -> None:
    found = frames_at(np.array(stamps), np.array(list(asked)))
    np.testing.assert_allclose(found, list(asked.values()), atol=1e-9)


def timed(stamps: list[float] | None = None, offset: float = 0.0, drift: float = 0.0) -> CaptureCamera:
    camera = CaptureCamera("a", SIZE, None, np.zeros(5), offset=offset, drift=drift)
    return replace(camera, stamps=None if stamps is None else np.array(stamps))


def test_how_far_a_cameras_frames_reach() -> None:
    """Its last frame's time, less its offset, by its clock; frames beyond the stamps follow at their rate."""
    assert timed().steps_of(10) == 10
    assert timed(offset=2.5).steps_of(10) == 7.5
    assert timed(drift=1000.0).steps_of(1001) == pytest.approx(1000)
    assert timed([0.0, 2, 4, 6]).steps_of(3) == 5
    assert timed([0.0, 2, 4, 6]).steps_of(6) == 11
    assert timed([0.0, 1.1, 2.1, 3.2]).steps_of(4) == 4  # within a quarter of a frame number
    assert timed([0.0, 1.1, 2.1, 3.3]).steps_of(4) == pytest.approx(4.3)
    assert timed(offset=2.0, drift=10_000.0).own_frames(np.array([0.0, 100])).tolist() == pytest.approx([2, 103])
    assert (timed().frame_steps, timed([0.0, 2, 4, 9]).frame_steps) == (1.0, 2.0)


def test_a_video_is_of_one_rate_where_most_frames_follow_at_it() -> None:
    """Lost frames do not count against it; frames of two rates do, and a rate that wanders."""
    even = np.arange(50) / 25
    assert Probe(times=even).steady
    assert Probe(times=np.delete(even, [10, 11, 30])).steady
    assert not Probe(times=np.cumsum(np.where(np.arange(50) % 2, 0.02, 0.06))).steady
    assert not Probe(times=np.cumsum(np.linspace(0.03, 0.05, 50))).steady
    assert Probe(times=even[:2]).steady
    assert Probe().steady
    np.testing.assert_allclose(_usual(np.array([0.0, 1, 2.3, 3.3, 4.7, 5.7])), [1, 1.3, 1, 1])
