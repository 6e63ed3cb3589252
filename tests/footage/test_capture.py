"""Capture folders: read strictly, made from plain folders, and written back."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vergence.errors import VergenceError
from vergence.footage import capture as module
from vergence.footage.calibrations.writing import write_rig_toml
from vergence.footage.capture import (
    Capture,
    _check_span,
    _frame_rate,
    _with_time_files,
    load_capture,
    make_capture,
)
from vergence.footage.capture_camera import Probe, _rate
from vergence.footage.capture_writer import write_capture
from vergence.footage.observations import observe
from vergence.footage.video import VideoWriter
from vergence.geometry.cameras import Camera, Rig
from vergence.skeleton import COCO_17

Make = Callable[..., np.ndarray]
FRAMES = 12
GOOD = """
[capture]
fps = 25.0
unit = "mm"
keypoints = "keypoints.npz"
up = [0.0, 0.0, 2.0]
[cameras.left]
image_size = [1280, 720]
intrinsics = [[1100.0, 0.0, 639.5], [0.0, 1100.0, 359.5], [0.0, 0.0, 1.0]]
distortion = [0.1, -0.05, 0.001, 0.0]
R = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
t = [0.0, 0.0, 3000.0]
[cameras.right]
image_size = [1280, 720]
intrinsics = [[1100.0, 0.0, 639.5], [0.0, 1100.0, 359.5], [0.0, 0.0, 1.0]]
R = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]
t = [0.0, 0.0, 3000.0]
"""


@pytest.fixture
def folder(tmp_path: Path, person: Make, ring: Make, project: Make) -> Path:
    """A capture with keypoints and no images."""
    world = person(FRAMES, 0)
    points = np.stack([project(world, camera) for camera in ring(2)], axis=1)
    np.savez(tmp_path / "keypoints.npz", keypoints=points, joint_names=COCO_17.joint_names, fps=25.0)
    (tmp_path / "capture.toml").write_text(GOOD)
    return tmp_path


def video(path: Path, count: int = 3, size: tuple[int, int] = (64, 48), fps: float = 25.0) -> Path:
    with VideoWriter(path, fps) as writer:
        for number in range(count):
            writer.write(np.full((size[1], size[0], 3), 10 * number, np.uint8))
    return path


def test_reads_everything(folder: Path) -> None:
    capture = load_capture(folder)
    left, right = capture.cameras
    assert capture.names == ["left", "right"]
    assert capture.fps == 25
    assert capture.has_extrinsics
    np.testing.assert_allclose(capture.up, [0, 0, 1])
    np.testing.assert_allclose(left.distortion, [0.1, -0.05, 0.001, 0, 0])
    np.testing.assert_allclose(right.distortion, np.zeros(5))
    np.testing.assert_allclose(right.translation, [0, 0, 3000])
    assert capture.notes == ()
    assert observe(capture).keypoints.shape == (FRAMES, 2, 17, 3)
    assert observe(capture).skeleton == COCO_17
    assert observe(capture).subject.verdict == "only"
    assert load_capture(folder / "capture.toml").names == capture.names
    bare = capture.without_extrinsics()
    assert not bare.has_extrinsics
    assert bare.up is None
    with pytest.raises(VergenceError, match="left has no images"):
        capture.image(0, 0)


def test_metres_become_millimetres(folder: Path) -> None:
    text = GOOD.replace('unit = "mm"', 'unit = "m"').replace("3000.0", "3.0")
    (folder / "capture.toml").write_text(text)
    np.testing.assert_allclose(load_capture(folder).cameras[0].translation, [0, 0, 3000])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fps = 25.0", "fpz = 25.0", r"unknown key 'fpz'.*Did you mean 'fps'"),
        ("distortion =", "distorsion =", r"camera left .*'distorsion'.*Did you mean 'distortion'"),
        ("t = [0.0, 0.0, 3000.0]\n[cam", "T = [0.0, 0.0, 3000.0]\n[cam", r"'T'.*Did you mean 't'"),
        ("[cameras.left]", "[camera.left]", r"unknown key 'camera'.*'cameras'"),
        ('unit = "mm"', 'unit = "yards"', "'yards'.*'mm', 'cm', 'm'"),
        ('unit = "mm"', 'unit = "m"', "expected 50 to 500000 mm.*Check the unit"),
        ("3000.0", "3.0", r"4\.243 mm apart.*Check the unit"),
        ("fps = 25.0", "fps = 0", "fps of capture.toml is 0"),
        ("fps = 25.0", "fps = 50.0", "25 frames per second, the capture 50"),
        ("[[1100.0, 0.0, 639.5]", "[[1100.0, 639.5]", "not an array of numbers"),
        ("[[1100.0, 0.0, 639.5]", "[[1.1, 0.0, 639.5]", "too short for pixels"),
        ("[[1100.0, 0.0, 639.5]", "[[1100.0, 0.0, 1300.0]", "principal point .* outside its image"),
        ("[[1100.0, 0.0, 639.5]", "[[1100.0, 0.0, nan]", "not finite"),
        ("R = [[1.0, 0.0", "R = [[2.0, 0.0", "no rotation"),
        ("R = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]\n", "", "only one of R and t"),
        ('"keypoints.npz"', '"other.npz"', "there is no .*other.npz"),
        ("image_size = [1280, 720]", "image_size = [1280]", "image size of camera left"),
        ("image_size = [1280, 720]", 'video = "left.mp4"', "there is no .*left.mp4"),
        ("image_size = [1280, 720]", 'video = "a"\nframes = "b"', "both video and frames"),
        ("up = [0.0, 0.0, 2.0]", "up = [0.0, 0.0, 0.0]", "It is a direction"),
        ("[cameras.right]", "[cameras.right]\noffset = nan", "offset of camera right"),
        ("[capture]", "[capture", "not readable TOML"),
        ('keypoints = "keypoints.npz"', "", "neither video nor keypoints"),
    ],
)
def test_mistakes_are_named(folder: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    (folder / "capture.toml").write_text(GOOD.replace(old, new, 1) if old != "3000.0" else GOOD.replace(old, new))
    with pytest.raises(VergenceError, match=message):
        observe(load_capture(folder))


def test_missing_places(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="there is no capture"):
        load_capture(tmp_path / "x")
    with pytest.raises(VergenceError, match=r"neither a capture\.toml nor videos"):
        load_capture(tmp_path)
    (tmp_path / "capture.toml").write_text("[capture]\nfps = 25.0\n")
    with pytest.raises(VergenceError, match="has no cameras"):
        load_capture(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(VergenceError, match="is no capture"):
        load_capture(tmp_path / "a.txt")


def test_wrong_number_of_views(folder: Path) -> None:
    extra = GOOD + "[cameras.third]\nimage_size = [1280, 720]\n"
    (folder / "capture.toml").write_text(extra)
    with pytest.raises(VergenceError, match="2 views, the capture has 3 cameras"):
        observe(load_capture(folder))


def test_written_and_read_again(folder: Path) -> None:
    capture = load_capture(folder)
    write_capture(folder / "copy.toml", capture)
    copy = load_capture(folder / "copy.toml")
    for ours, theirs in zip(capture.cameras, copy.cameras):
        assert (ours.name, ours.image_size, ours.offset) == (theirs.name, theirs.image_size, theirs.offset)
        for field in ("intrinsics", "distortion", "rotation", "translation"):
            np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), atol=1e-9)
    np.testing.assert_array_equal(observe(capture).keypoints, observe(copy).keypoints)
    assert str(folder) not in (folder / "copy.toml").read_text()  # paths stay relative: the folder can be moved


def test_plain_folder_of_videos(tmp_path: Path) -> None:
    for name in ("cam10", "cam2", "cam1"):
        video(tmp_path / f"{name}.mp4")
    capture = load_capture(tmp_path)
    assert capture.names == ["cam1", "cam2", "cam10"]
    assert capture.fps == pytest.approx(25)
    assert capture.cameras[0].image_size == (64, 48)
    assert capture.cameras[0].frame_count == 3
    assert not capture.has_keypoints
    assert any("no capture.toml" in note for note in capture.notes)
    assert capture.image(1, 2).shape == (48, 64, 3)
    with pytest.raises(VergenceError, match=r"has no 2D keypoints. Run `vergence detect .*cam1\.json.*cam1_json"):
        observe(capture)


def test_what_predict_drew_is_no_camera(tmp_path: Path) -> None:
    """Beside its results; a video of that name without them is a camera."""
    for name in ("cam1", "cam2", "overlay"):
        video(tmp_path / f"{name}.mp4")
    assert load_capture(tmp_path).names == ["cam1", "cam2", "overlay"]
    (tmp_path / "results.json").write_text("{}")
    capture = load_capture(tmp_path)
    assert capture.names == ["cam1", "cam2"]
    assert any("overlay.mp4, which predict drew, is no camera" in note for note in capture.notes)


def test_plain_folder_finds_keypoints_and_calibration(tmp_path: Path) -> None:
    x = "0 1 -1 2 -2 5 -5 7 -7 8 -8 3 -3 3 -3 3 -3"  # COCO's joints of somebody who stands, from the middle and the top
    y = "3 2 2 3 3 9 9 15 15 21 21 22 22 31 31 40 40"
    cameras = []
    for name in ("a", "b"):
        video(tmp_path / f"{name}.mp4")
        (tmp_path / f"{name}_json").mkdir()
        for number in range(3):
            body = np.array([x.split(), y.split()], float).T + [20 + number, 3]
            points = np.concatenate([body, np.full((17, 1), 0.8)], axis=1)
            text = json.dumps({"people": [{"pose_keypoints_2d": points.ravel().tolist()}]})
            (tmp_path / f"{name}_json" / f"{number:04d}.json").write_text(text)
        matrix = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
        cameras.append(Camera(name, (64, 48), matrix, np.zeros(5), np.eye(3), np.array([len(cameras) * 500.0, 0, 0])))
    write_rig_toml(tmp_path / "calibration.toml", Rig(tuple(cameras)))
    capture = make_capture(tmp_path)
    assert capture.has_extrinsics
    assert observe(capture).keypoints.shape == (3, 2, 17, 3)
    write_capture(tmp_path, capture)
    again = load_capture(tmp_path)
    assert not any("no capture.toml" in note for note in again.notes)
    np.testing.assert_array_equal(observe(again).keypoints, observe(capture).keypoints)


def test_keypoints_of_a_linked_video_lie_beside_the_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    with VideoWriter(tmp_path / "far" / "walk.mp4", 25.0) as video:
        for _ in range(3):
            video.write(np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "cam.mp4").symlink_to(tmp_path / "far" / "walk.mp4")
    (tmp_path / "cam.json").write_text('{"images": [], "annotations": []}')
    capture = make_capture(tmp_path / "cam.mp4")
    assert (capture.names, capture.cameras[0].keypoints) == (["cam"], tmp_path / "cam.json")


def test_folders_of_images_need_a_frame_rate(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (64, 48)).save(tmp_path / name / "0.png")
    with pytest.raises(VergenceError, match=r"Give fps = "):
        load_capture(tmp_path)
    (tmp_path / "capture.toml").write_text(
        '[capture]\nfps = 10\n[cameras.a]\nframes = "a"\n[cameras.b]\nframes = "b"\n'
    )
    capture = load_capture(tmp_path)
    assert capture.image(0, 0).shape == (48, 64, 3)
    with pytest.warns(FutureWarning, match="now Capture.image"):
        assert capture.picture(0, 0).shape == (48, 64, 3)


def with_calibration(tmp_path: Path, names: tuple[str, str], size: tuple[int, int], seen: tuple[int, int]) -> Capture:
    matrix = np.array([[1500.0, 0, 540], [0, 1500, 950], [0, 0, 1]])
    rig = [Camera(n, size, matrix, np.zeros(5), np.eye(3), np.array([i * 800.0, 0, 0])) for i, n in enumerate(names)]
    write_rig_toml(tmp_path / "calib.toml", Rig(tuple(rig)))
    text = '[capture]\ncalibration = "calib.toml"\n'
    for name in ("cam01", "cam02"):
        video(tmp_path / f"{name}.mp4", 2, seen)
        text += f'[cameras.{name}]\nvideo = "{name}.mp4"\n'
    (tmp_path / "capture.toml").write_text(text)
    return load_capture(tmp_path)


def test_calibration_by_name_and_a_cut_video(tmp_path: Path) -> None:
    capture = with_calibration(tmp_path, ("cam_02", "cam_01"), (1088, 1920), (1080, 1920))
    assert capture.cameras[0].translation is not None
    np.testing.assert_allclose(capture.cameras[0].translation, [800, 0, 0])
    assert capture.cameras[0].image_size == (1088, 1920)
    assert capture.image(0, 1).shape == (1920, 1088, 3)
    assert sum("1080 x 1920, not 1088 x 1920" in note for note in capture.notes) == 2


def test_calibration_by_order_is_said(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="principal point"):
        with_calibration(tmp_path, ("x", "y"), (64, 48), (64, 48))
    ordered = with_calibration(tmp_path, ("x", "y"), (1088, 1920), (1088, 1920))
    assert any("cam01 = x, cam02 = y" in note for note in ordered.notes)
    with pytest.raises(VergenceError, match="has no camera cam02; it has cam_01, y"):
        with_calibration(tmp_path, ("cam_01", "y"), (1088, 1920), (1088, 1920))


def test_calibration_of_another_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="turned by 90 degrees"):
        with_calibration(tmp_path, ("cam01", "cam02"), (1088, 1920), (1920, 1088))


def test_videos_of_different_frame_rates_are_placed_in_time(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", count=10, fps=25)
    video(tmp_path / "b.mp4", count=20, fps=50)
    capture = load_capture(tmp_path)
    assert capture.fps == 50
    assert any("different frame rates (a 25, b 50)" in note for note in capture.notes)
    np.testing.assert_allclose(capture.cameras[0].own_frames(np.arange(6.0)), [0, 0.5, 1, 1.5, 2, 2.5], atol=1e-6)
    np.testing.assert_allclose(capture.cameras[1].own_frames(np.arange(6.0)), np.arange(6))


def test_stated_frame_rate_wins_and_is_said(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4")
    (tmp_path / "capture.toml").write_text('[capture]\nfps = 100\n[cameras.a]\nvideo = "a.mp4"\n')
    capture = load_capture(tmp_path)
    assert capture.fps == 100
    assert any("the videos say 25" in note for note in capture.notes)


def test_size_from_the_principal_point_is_said(folder: Path) -> None:
    (folder / "capture.toml").write_text(GOOD.replace("image_size = [1280, 720]\n", ""))
    capture = load_capture(folder)
    assert capture.cameras[0].image_size == (1280, 720)
    assert sum("from the principal point" in note for note in capture.notes) == 2


@pytest.mark.parametrize(
    ("written", "words"), [(r"'kp\a.npz'", ""), (r'"kp\a.npz"', "single quotes"), (r'"C:\Users\a"', "single quotes")]
)
def test_paths_as_windows_writes_them(tmp_path: Path, written: str, words: str) -> None:
    (tmp_path / "kp").mkdir()
    np.savez(tmp_path / "kp" / "a.npz", keypoints=np.ones((3, 2, 17, 3)), fps=30.0)
    cameras = "".join(f"[cameras.{n}]\nimage_size = [64, 48]\n" for n in "ab")
    (tmp_path / "capture.toml").write_text(f"[capture]\nfps = 30\nkeypoints = {written}\n{cameras}")
    if not words:
        assert load_capture(tmp_path).keypoint_file == tmp_path / "kp" / "a.npz"
        return
    with pytest.raises(VergenceError, match=words):
        load_capture(tmp_path)


def test_a_rate_that_the_times_bear_out_is_the_stated_one() -> None:
    """Times of a container are rounded; what differs by more was filmed at another rate."""
    assert _rate(np.arange(50) / 25.03, 25.0) == 25.0
    assert _rate(np.arange(50) / 24.0, 25.0) == pytest.approx(24.0)
    assert _rate(np.arange(2) / 24.0, 25.0) == 25.0


def test_a_camera_that_turned_about_itself_has_no_wrong_unit() -> None:
    lens = np.array([[1100.0, 0, 639.5], [0, 1100.0, 359.5], [0, 0, 1]])

    def at(x: float) -> Camera:
        return Camera("a", (1280, 720), lens, np.zeros(5), np.eye(3), np.array([x, 0.0, 0.0]))

    _check_span([at(0.0), at(0.0)], "c")
    with pytest.raises(VergenceError, match=r"at most 0\.001 mm apart"):
        _check_span([at(0.0), at(0.001)], "c")


def rate_of(
    given: float | None, *rates: float | None, unsteady: tuple[int, ...] = ()
) -> tuple[float, float | None, list[str]]:
    """Frames a second, those of the videos' time, and what is said, of videos with these rates."""
    notes: list[str] = []
    probes = {
        name: SimpleNamespace(rate=rate, steady=i not in unsteady) for i, (name, rate) in enumerate(zip("abc", rates))
    }
    return *_frame_rate(given, probes, None, "c", notes), notes  # type: ignore[arg-type]


def test_the_rate_is_the_stated_one_else_that_of_the_videos_the_fastest_where_they_differ() -> None:
    """Rates within a hundredth are one; a stated rate that is one of them decides which the videos' time has."""
    assert rate_of(None, 25.0, 25.2) == (25.0, 25.0, [])
    fps, videos, (note,) = rate_of(None, 25.0, 50.0, 25.3)
    assert (fps, videos) == (50.0, 50.0)
    assert note.startswith("cameras have different frame rates (a 25, b 50, c 25.3)")
    fps, videos, notes = rate_of(25.0, 25.1, 50.0)
    assert (fps, videos, len(notes)) == (25.0, 25.1, 1)
    fps, videos, notes = rate_of(100.0, 25.0, 50.0)
    assert (fps, videos) == (100.0, 50.0)
    assert notes[1] == "fps is 100 as c says, although the videos say 50"
    assert rate_of(25.2, 25.0)[2] == []
    assert len(rate_of(25.3, 25.0)[2]) == 1
    assert rate_of(None, 30.0, 25.0, unsteady=(0,))[:2] == (25.0, 25.0)
    assert rate_of(None, 30.0, unsteady=(0,))[:2] == (30.0, 30.0)
    assert rate_of(24.0) == (24.0, None, [])
    for given, rates in ((None, ()), (0.0, (25.0,)), (1e6, (25.0,))):
        with pytest.raises(VergenceError, match="fps of c is"):
            rate_of(given, *rates)


def test_times_of_a_file_are_used_where_they_are_of_the_videos_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many but for a fiftieth, or two; the container's rate where the median distance bears it out to a fiftieth."""
    camera = SimpleNamespace(name="a", video=None)
    for count, times, used, rate in ((200, 196, True, 25.0), (200, 195, False, 25.0), (50, 48, True, 25.0),
                                     (50, 47, False, 25.0), (None, 9, True, 25.0), (200, 200, True, 30.0)):  # fmt: skip
        seconds = np.arange(times) / (25.4 if rate == 25.0 else 30.0)
        monkeypatch.setattr(module, "frame_times", lambda *_, seconds=seconds: {"a": (tmp_path / "t.csv", seconds)})
        notes: list[str] = []
        probe = _with_time_files(tmp_path, [camera], {"a": Probe(count=count, rate=25.0)}, notes)["a"]  # type: ignore[list-item]
        assert probe.clock == used
        assert len(notes) == 1
        assert used or f"has {times} times of camera a, its video {count} frames: not used" in notes[0]
        assert probe.rate == pytest.approx(rate)


def test_cameras_stand_from_five_centimetres_to_half_a_kilometre_apart() -> None:
    def at(x: float) -> Camera:
        return Camera("a", (1280, 720), np.eye(3), np.zeros(5), np.eye(3), np.array([-x, 0.0, 0.0]))

    least, most = 50.0, 500_000.0
    for span, sound in ((0.99 * least, False), (1.01 * least, True), (0.99 * most, True), (1.01 * most, False)):
        cameras = [at(5.0), at(5.0 + span / 2), at(5.0 + span), Camera("b", None, np.eye(3), np.zeros(5))]
        if sound:
            _check_span(cameras, "c")
        else:
            with pytest.raises(VergenceError, match=re.escape(f"at most {span:.4g} mm apart")):
                _check_span(cameras, "c")
    _check_span([at(0.0)], "c")


def test_up_is_a_direction_of_length_one() -> None:
    assert module._up({}, "c") is None
    np.testing.assert_allclose(module._up({"up": [0, 3, -4]}, "c"), [0, 0.6, -0.8])
    with pytest.raises(VergenceError, match=r"up of c is \[0\.0, 0\.0, 0\.0\]"):
        module._up({"up": [0, 0, 0]}, "c")


def test_one_video_or_keypoints_alone_are_told_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "walk.mp4").touch()
    with pytest.raises(VergenceError, match="one video, and cameras are found from two or more") as error:
        load_capture(tmp_path / "walk.mp4")
    assert "`vergence predict`" in str(error.value.remedy)
    (tmp_path / "day" / "cam02_json").mkdir(parents=True)
    for name in ("cam01.json", "cam02_json/1.json", "notes.txt"):
        (tmp_path / "day" / name).touch()
    with pytest.raises(VergenceError, match="holds neither") as error:
        load_capture(tmp_path / "day")
    assert str(error.value.remedy).startswith("Keypoints alone (cam01.json, cam02_json) need a capture.toml")


def test_a_camera_may_record_less_than_an_image_a_second(folder: Path) -> None:
    (folder / "capture.toml").write_text(GOOD.replace("fps = 25.0", "fps = 0.5") + "fps = 0.5\n")
    with np.load(folder / "keypoints.npz") as old:
        np.savez(folder / "slow.npz", **{**dict(old), "fps": 0.5})
    (folder / "slow.npz").replace(folder / "keypoints.npz")
    assert load_capture(folder).fps == 0.5
    (folder / "capture.toml").write_text(GOOD + "fps = 0\n")
    with pytest.raises(VergenceError, match=r"is 0\. Give the camera's frames per second, above 0"):
        load_capture(folder)
