"""From keypoint files to one array: time lines, offsets, and keypoints that do not fit."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fixtures_keypoint_files import write_dlc_csv

from vergence.errors import VergenceError
from vergence.footage.capture import load_capture
from vergence.footage.capture_camera import CaptureCamera
from vergence.footage.observations import (
    _check_extent,
    _check_length,
    _evenly_numbered,
    _first_numbers,
    _with_lens,
    observe,
)
from vergence.footage.video import VideoWriter
from vergence.skeleton import COCO_17

Make = Callable[..., np.ndarray]
FRAMES = 30


def openpose(folder: Path, points: np.ndarray, first: int = 0, skip: tuple[int, ...] = ()) -> None:
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(np.nan_to_num(points)):
        if number not in skip:
            people = [{"pose_keypoints_2d": frame.ravel().tolist()}] if frame.any() else []
            (folder / f"x_{number + first:05d}.json").write_text(json.dumps({"people": people}))


def capture_toml(folder: Path, extra: dict[str, str] | None = None) -> None:
    text = "[capture]\nfps = 25.0\n"
    for name in ("a", "b"):
        text += f'[cameras.{name}]\nimage_size = [1280, 720]\nkeypoints = "{name}"\n{(extra or {}).get(name, "")}\n'
    (folder / "capture.toml").write_text(text)


@pytest.fixture
def points(person: Make, ring: Make, project: Make) -> np.ndarray:
    world = person(FRAMES, 0)
    return np.stack([project(world, camera) for camera in ring(2)], axis=1)


def test_files_become_an_array(tmp_path: Path, points: np.ndarray) -> None:
    points[4, 0] = np.nan
    points[6, 1, 2] = np.nan
    for v, name in enumerate("ab"):
        openpose(tmp_path / name, points[:, v])
    capture_toml(tmp_path)
    np.testing.assert_allclose(observe(load_capture(tmp_path)).keypoints, points)


def test_numbers_from_one_and_lost_files(tmp_path: Path, points: np.ndarray) -> None:
    """Camera b lost its first file: it must not move the others up."""
    openpose(tmp_path / "a", points[:, 0], first=1)
    openpose(tmp_path / "b", points[:, 1], first=1, skip=(0, 7))
    capture_toml(tmp_path)
    seen = observe(load_capture(tmp_path))
    expected = points.copy()
    expected[[0, 7], 1] = np.nan
    np.testing.assert_allclose(seen.keypoints, expected)
    assert any("count frames from 1" in note for note in seen.notes)
    assert any("1 frames between 2 and 30 have no file" in note for note in seen.notes)


def test_cameras_whose_files_name_the_joints_in_another_order(tmp_path: Path, points: np.ndarray) -> None:
    turned = [*range(5, 17), *range(5)]
    names = np.array(COCO_17.joint_names)
    write_dlc_csv(tmp_path / "a.csv", points[:, 0, None], names)
    write_dlc_csv(tmp_path / "b.csv", points[:, 1, None][:, :, turned], names[turned])
    capture_toml(tmp_path)
    text = (tmp_path / "capture.toml").read_text()
    (tmp_path / "capture.toml").write_text(text.replace('= "a"', '= "a.csv"').replace('= "b"', '= "b.csv"'))
    np.testing.assert_allclose(observe(load_capture(tmp_path)).keypoints, points)
    write_dlc_csv(tmp_path / "b.csv", points[:, 1, None], [*names[:-1], "tail"])
    with pytest.raises(VergenceError, match=r"different skeletons: coco_17 of 17 \(a\), custom of 17 \(b\)"):
        observe(load_capture(tmp_path))


def test_joints_under_another_layouts_name_are_doubted(tmp_path: Path, points: np.ndarray) -> None:
    for v, name in enumerate("ab"):
        openpose(tmp_path / name, points[:, v])
    capture_toml(tmp_path)
    assert not any("look like" in note for note in observe(load_capture(tmp_path)).notes)
    text = (tmp_path / "capture.toml").read_text()
    (tmp_path / "capture.toml").write_text(text.replace("[capture]", '[capture]\nskeleton = "h36m_17"'))
    assert any(
        "called h36m_17" in note and "look like coco_17" in note for note in observe(load_capture(tmp_path)).notes
    )


def test_whole_offset_moves_frames(tmp_path: Path, points: np.ndarray) -> None:
    openpose(tmp_path / "a", points[:-4, 0])
    openpose(tmp_path / "b", np.concatenate([points[:2, 1], points[:-4, 1]]))  # b began two frames earlier
    capture_toml(tmp_path, {"b": "offset = 2"})
    np.testing.assert_allclose(observe(load_capture(tmp_path)).keypoints, points[:-4])


def test_fractional_offset_interpolates_but_not_over_gaps(tmp_path: Path, points: np.ndarray) -> None:
    points[10, 1] = np.nan
    for v, name in enumerate("ab"):
        openpose(tmp_path / name, points[:, v])
    capture_toml(tmp_path, {"b": "offset = 0.25"})
    seen = observe(load_capture(tmp_path)).keypoints
    expected = 0.75 * points[:-1, 1] + 0.25 * points[1:, 1]
    np.testing.assert_allclose(seen[: FRAMES - 1, 1], expected)
    assert np.isnan(seen[[9, 10], 1]).all()
    np.testing.assert_allclose(seen[:, 0], points[:, 0])


def test_cameras_that_end_early(tmp_path: Path, points: np.ndarray) -> None:
    openpose(tmp_path / "a", points[:, 0])
    openpose(tmp_path / "b", points[:-2, 1])
    capture_toml(tmp_path)
    seen = observe(load_capture(tmp_path))
    assert np.isnan(seen.keypoints[-2:, 1]).all()
    assert any("b ends after 28 frames of 1/25 s, a after 30" in note for note in seen.notes)
    openpose(tmp_path / "c", points[:12, 1])
    (tmp_path / "capture.toml").write_text((tmp_path / "capture.toml").read_text().replace('"b"', '"c"'))
    with pytest.raises(VergenceError, match="b ends after 12 frames of 1/25 s, a after 30"):
        observe(load_capture(tmp_path))


def test_keypoints_of_another_video(tmp_path: Path, points: np.ndarray) -> None:
    for v, name in enumerate("ab"):
        openpose(tmp_path / name, points[:, v])
        with VideoWriter(tmp_path / f"{name}.mp4", 25) as writer:
            for _ in range(FRAMES // 2 if name == "b" else FRAMES + 1):
                writer.write(np.zeros((720, 1280, 3), np.uint8))
    capture_toml(tmp_path, {"a": 'video = "a.mp4"'})
    assert any("30 frames of keypoints and 31 of video" in n for n in observe(load_capture(tmp_path)).notes)
    capture_toml(tmp_path, {"b": 'video = "b.mp4"'})
    with pytest.raises(VergenceError, match="b has 30 frames of keypoints and 15 of video"):
        observe(load_capture(tmp_path))


@pytest.mark.parametrize(
    ("scale", "message"), [(3.0, "lie outside its image of 1280 x 720"), (1 / 1280, "in pixels, not in 0 to 1")]
)
def test_keypoints_in_other_units(tmp_path: Path, points: np.ndarray, scale: float, message: str) -> None:
    points[..., :2] *= scale
    for v, name in enumerate("ab"):
        openpose(tmp_path / name, points[:, v])
    capture_toml(tmp_path)
    with pytest.raises(VergenceError, match=message):
        observe(load_capture(tmp_path))


def test_file_that_says_another_size(tmp_path: Path, points: np.ndarray) -> None:
    for v, name in enumerate("ab"):
        images = [{"id": i, "file_name": f"{i}.png", "width": 640, "height": 360} for i in range(FRAMES)]
        rows = [{"image_id": i, "keypoints": points[i, v].ravel().tolist()} for i in range(FRAMES)]
        (tmp_path / f"{name}.json").write_text(json.dumps({"images": images, "annotations": rows}))
    capture_toml(tmp_path)
    text = (tmp_path / "capture.toml").read_text().replace('keypoints = "a"', 'keypoints = "a.json"')
    (tmp_path / "capture.toml").write_text(text.replace('keypoints = "b"', 'keypoints = "b.json"'))
    with pytest.raises(VergenceError, match="images of 640 x 360, its image_size is 1280 x 720"):
        observe(load_capture(tmp_path))


@pytest.mark.parametrize(("size", "factor", "shift"), [((1288, 720), 1.0, 4.0), ((640, 360), 0.5, -0.25)])
def test_keypoints_in_the_pixels_of_a_video_of_another_size(
    tmp_path: Path, points: np.ndarray, size: tuple[int, int], factor: float, shift: float
) -> None:
    """As a detector writes them of a video that is wider, or half as large, than the calibration's images."""
    plain = observed_of(tmp_path / "plain", points, (1280, 720))
    other = points.copy()
    other[..., 0] = factor * points[..., 0] + shift
    other[..., 1] = factor * points[..., 1] + (shift if factor < 1 else 0.0)
    np.testing.assert_allclose(observed_of(tmp_path / "other", other, size), plain, atol=1e-3)


def observed_of(folder: Path, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    folder.mkdir()
    for v, name in enumerate("ab"):
        images = [{"id": i, "file_name": f"{i}.png", "width": size[0], "height": size[1]} for i in range(FRAMES)]
        rows = [{"image_id": i, "keypoints": np.nan_to_num(points[i, v]).ravel().tolist()} for i in range(FRAMES)]
        (folder / f"{name}.json").write_text(json.dumps({"images": images, "annotations": rows}))
        with VideoWriter(folder / f"{name}.mp4", 25) as writer:
            for _ in range(FRAMES):
                writer.write(np.zeros((size[1], size[0], 3), np.uint8))
    capture_toml(
        folder,
        {
            name: f'video = "{name}.mp4"\nintrinsics = [[900.0, 0, 639.5], [0, 900.0, 359.5], [0, 0, 1]]'
            for name in "ab"
        },
    )
    text = (folder / "capture.toml").read_text()
    for name in "ab":
        text = text.replace(f'keypoints = "{name}"', f'keypoints = "{name}.json"')
    (folder / "capture.toml").write_text(text)
    return observe(load_capture(folder)).keypoints


def test_one_camera_without_keypoints(tmp_path: Path, points: np.ndarray) -> None:
    openpose(tmp_path / "a", points[:, 0])
    with VideoWriter(tmp_path / "b.mp4", 25) as writer:
        writer.write(np.zeros((720, 1280, 3), np.uint8))
    (tmp_path / "capture.toml").write_text(
        '[capture]\nfps = 25\n[cameras.a]\nimage_size = [1280, 720]\nkeypoints = "a"\n[cameras.b]\nvideo = "b.mp4"\n'
    )
    with pytest.raises(VergenceError, match="camera b has no keypoints, but others have"):
        observe(load_capture(tmp_path))


def test_everything_missing(tmp_path: Path, points: np.ndarray) -> None:
    empty = np.full_like(points, np.nan)
    np.savez(tmp_path / "k.npz", keypoints=empty, joint_names=COCO_17.joint_names, fps=25.0)
    (tmp_path / "capture.toml").write_text(
        '[capture]\nkeypoints = "k.npz"\n[cameras.a]\nimage_size = [9, 9]\n[cameras.b]\nimage_size = [9, 9]\n'
    )
    with pytest.raises(VergenceError, match="nobody is seen in any camera"):
        observe(load_capture(tmp_path))


def camera_of(name: str = "a", **changes) -> SimpleNamespace:
    return SimpleNamespace(**{"name": name, "frame_count": None, "stamps": None, "image_size": (1280, 720)} | changes)


def files(first: int, last: int, last_known: bool = True, from_zero: bool = False) -> SimpleNamespace:
    """Detections of frames with these numbers."""
    return SimpleNamespace(people=dict.fromkeys(range(first, last + 1)), last_known=last_known, from_zero=from_zero)


@pytest.mark.parametrize(
    ("found", "frames", "expected"),
    [
        ([files(0, 29), files(0, 29)], [None, None], [0, 0]),
        ([files(1, 30), files(1, 30)], [None, None], [1, 1]),
        ([files(0, 29), files(1, 30)], [None, None], [0, 1]),  # as many files: one counts from 1
        ([files(0, 29), files(5, 29)], [None, None], [0, 0]),  # the first five are lost
        ([files(0, 29), files(5, 34)], [30, 30], [0, 5]),  # as many as the video has
        ([files(0, 29), files(5, 29)], [30, 30], [0, 0]),
        ([files(1, 30, False), files(0, 29, False)], [30, 30], [1, 0]),
        ([files(2, 30, False), files(3, 20, False)], [30, 30], [1, 1]),  # up to the video's last number, counted from 1
        ([files(2, 30, False), files(3, 20, False)], [31, 31], [0, 0]),
        ([files(3, 30, False, True), files(1, 30)], [None, None], [0, 1]),  # of a table that says so
    ],
)
def test_what_number_each_camera_gives_to_its_first_frame(found: list, frames: list, expected: list[int]) -> None:
    notes: list[str] = []
    capture = SimpleNamespace(cameras=[camera_of(name, frame_count=n) for name, n in zip("ab", frames)])
    assert list(_first_numbers(capture, dict(zip("ab", found)), notes).values()) == expected
    other = sorted({n for n, d in zip(expected, found) if not d.from_zero})
    assert any("count frames from" in note for note in notes) == (other != [0])


@dataclass(frozen=True)
class Filmed:
    """A video of 30 frames whose stamps reach to step 39, or a capture of it."""

    name: str = "a"
    frame_count: int = 30
    stamps: np.ndarray | None = field(default_factory=lambda: np.concatenate([np.arange(20), np.arange(30, 40)]))
    cameras: tuple = ()


@pytest.mark.parametrize(
    ("last", "sure", "even"),
    [(30, True, False), (25, False, False), (31, False, True), (45, True, True), (40, True, True), (29, True, False)],
)
def test_keypoints_may_count_even_time_where_the_video_lost_frames(last: int, sure: bool, even: bool) -> None:
    """40 steps of even time; keypoints of more frames than the video has count those."""
    notes: list[str] = []
    (found,) = _evenly_numbered(Filmed(cameras=(Filmed(),)), {"a": (last, sure)}, notes).cameras
    assert (found.stamps is None, found.frame_count) == ((True, 40) if even else (False, 30))
    assert len(notes) == even


@pytest.mark.parametrize(
    ("keypoints", "frames", "noted"),
    [(30, 30, False), (32, 30, True), (27, 30, True), (33, 30, True), (34, 30, None), (26, 30, None), (12, 10, True),
     (13, 10, None), (8, 10, True), (40, None, False)],
)  # fmt: skip
def test_keypoints_and_video_may_differ_by_a_tenth_or_two_frames(
    keypoints: int, frames: int | None, noted: bool
) -> None:
    notes: list[str] = []
    if noted is None:
        with pytest.raises(VergenceError, match=f"{keypoints} frames of keypoints and {frames} of video"):
            _check_length(camera_of(frame_count=frames), keypoints, notes)
    else:
        _check_length(camera_of(frame_count=frames), keypoints, notes)
        assert len(notes) == noted


def test_results_that_end_long_before_the_others_are_said(tmp_path: Path, points: np.ndarray) -> None:
    """Of 30 frames: to 25 is as it may be, to 24 is a file that was cut off."""
    openpose(tmp_path / "a", points[:, 0])
    for last, said in ((25, False), (24, True)):
        rows = [{"image_id": t, "category_id": 1, "keypoints": np.nan_to_num(points[t, 1]).ravel().tolist(), "score": 0.9}
                for t in range(last)]  # fmt: skip
        (tmp_path / "b.json").write_text(json.dumps(rows))
        capture_toml(tmp_path)
        text = (tmp_path / "capture.toml").read_text().replace('keypoints = "b"', 'keypoints = "b.json"')
        (tmp_path / "capture.toml").write_text(text)
        notes = observe(load_capture(tmp_path)).notes
        assert any(f"camera b: its results end after {last} of 30 frames" in note for note in notes) == said


def test_keypoints_may_reach_a_little_beyond_their_image() -> None:
    """A twentieth of each side on all four; three of ten surely seen joints beside it are too many."""
    inside = np.array([[-64.0, -36, 1], [1344, 756, 1], [640, 360, 1]])
    camera = camera_of()
    _check_extent([np.tile(inside, (4, 1))[None]], camera)
    for beside in ([-65.0, 300], [300, -37], [1345, 300], [300, 757]):
        many = np.tile([*beside, 1.0], (10, 1))
        with pytest.raises(VergenceError, match=r"lie outside its image of 1280 x 720"):
            _check_extent([np.concatenate([many, inside[2:]])[None]], camera)
        guessed = np.tile([*beside, 0.001], (10, 1))
        _check_extent([np.concatenate([guessed, inside[2:]])[None]], camera)
    with pytest.raises(VergenceError, match=r"reach only \(0\.9, 2\)"):
        _check_extent([np.array([[[0.9, 2.0, 1.0], [0.1, 0.2, 1.0]]])], camera)
    _check_extent([np.array([[[0.9, 2.1, 1.0], [0.1, 0.2, 1.0]]])], camera)


def test_an_assumed_lens_sees_55_degrees_along_the_longer_side() -> None:
    for size in ((1280, 720), (720, 1280)):
        K = _with_lens(views_of(size)).intrinsics
        assert 2 * np.degrees(np.arctan(640 / K[0, 0])) == pytest.approx(55)
        assert K.tolist() == [[K[0, 0], 0, (size[0] - 1) / 2], [0, K[0, 0], (size[1] - 1) / 2], [0, 0, 1]]


def views_of(size: tuple[int, int]) -> CaptureCamera:
    return CaptureCamera("a", size, None, np.zeros(5))
