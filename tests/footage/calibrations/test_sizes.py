"""Calibration, video and keypoints of different sizes: which is whose, and what is refused."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.files import write_json
from vergence.footage import keypoints
from vergence.footage.calibrations import sizes
from vergence.footage.calibrations.sizes import check_corner
from vergence.footage.calibrations.writing import write_rig_toml
from vergence.footage.capture import Capture, load_capture
from vergence.footage.capture_writer import write_capture
from vergence.footage.observations import observe
from vergence.footage.video import VideoWriter
from vergence.geometry.camera import fisheye_lens
from vergence.geometry.cameras import Camera, Rig

K = np.array([[900.0, 0, 499.5], [0, 900, 499.5], [0, 0, 1]])
FULL = (1000, 1000)
Make = Callable[..., np.ndarray]


@pytest.fixture
def recorded(tmp_path: Path, person: Make, ring: Make, project: Make) -> Callable[..., Path]:
    """Makes a folder: a calibration for 1000 x 1000, videos and keypoints of other sizes, capture.toml if asked."""
    world, cameras = person(6, 0), ring(2)

    def make(video: int | None, keypoints: int, size: bool = True, toml: str | None = None, name: str = "capture.toml"):
        rig = []
        for v, camera in enumerate(cameras):
            points = project(world, camera)
            span = np.nanmax(points[..., :2], axis=(0, 1))
            points[..., :2] *= 900 / span.max()  # reaches almost to the border at full size
            points[..., :2] = (points[..., :2] + 0.5) * keypoints / 1000 - 0.5
            for t, one in enumerate(points):
                rows = np.where(np.isfinite(one[:, 2:]), one, 0.0)
                write_json(
                    tmp_path / f"cam{v}_json/{t:04d}.json", {"people": [{"pose_keypoints_2d": rows.ravel().tolist()}]}
                )
            if video:
                with VideoWriter(tmp_path / f"cam{v}.mp4", 25) as writer:
                    for _ in range(6):
                        writer.write(np.zeros((video, video, 3), np.uint8))
            rig.append(
                Camera(f"cam{v}", FULL if size else None, K, np.zeros(5), np.eye(3), np.array([v * 900.0, 0, 0]))
            )
        write_rig_toml(tmp_path / "calib.toml", Rig(tuple(rig)))
        if toml is not None:
            text = '[capture]\nfps = 25.0\nskeleton = "coco_17"\n' + toml
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


def tables(line: str, video: bool = True) -> str:
    source = 'video = "cam{v}.mp4"\n' if video else ""
    return 'calibration = "calib.toml"\n' + "".join(
        f'[cameras.cam{v}]\n{source.format(v=v)}keypoints = "cam{v}_json"\n{line}' for v in (0, 1)
    )


def test_a_smaller_video_brings_the_calibration_to_its_size(recorded) -> None:
    capture = load_capture(recorded(500, 500, toml=tables("")))
    for camera in capture.cameras:
        assert camera.image_size == (500, 500)
        np.testing.assert_allclose(camera.K, [[450, 0, 249.5], [0, 450, 249.5], [0, 0, 1]])
        assert camera.fit is not None
        assert camera.fit.kind == "same"
    assert sum("taken as rescaled by 0.5" in note for note in capture.notes) == 2
    assert sum("those of images of 500 x 500" in note for note in capture.notes) == 2
    assert observe(capture).keypoints.shape[1] == 2


@pytest.mark.parametrize(("video", "keypoints", "size"), [(500, 1000, 1000), (2000, 2000, 2000), (2000, 1000, 1000)])
def test_keypoints_tell_whose_size_they_have(recorded, video: int, keypoints: int, size: int) -> None:
    capture = load_capture(recorded(video, keypoints, toml=tables("")))
    assert capture.cameras[0].image_size == (size, size)
    np.testing.assert_allclose(capture.cameras[0].K[0, 0], 900 * size / 1000)
    assert capture.image(0, 0).shape == (size, size, 3)


def test_what_is_stated_holds_unless_keypoints_contradict_it(recorded) -> None:
    capture = load_capture(recorded(500, 500, toml=tables("image_size = [500, 500]\n")))
    np.testing.assert_allclose(capture.cameras[0].K[0, 0], 450)
    with pytest.raises(
        VergenceError, match="image_size is 1000 x 1000, but the keypoints of all cameras lie within 500"
    ):
        load_capture(recorded(500, 500, toml=tables("image_size = [1000, 1000]\n")))
    capture = load_capture(recorded(500, 1000, toml=tables("image_size = [1000, 1000]\n")))
    np.testing.assert_allclose(capture.cameras[0].K[0, 0], 900)


def test_keypoints_in_a_corner_of_unseen_images(recorded) -> None:
    with pytest.raises(VergenceError, match="State image_size"):
        observe(load_capture(recorded(None, 500, toml=tables("", video=False))))
    observe(load_capture(recorded(None, 1000, toml=tables("", video=False))))
    observe(load_capture(recorded(None, 500, toml=tables("image_size = [500, 500]\n", video=False))))


@pytest.mark.parametrize(("across", "down", "refused"), [(400, 400, True), (400, 950, False), (950, 400, False)])
def test_keypoints_fill_an_image_that_they_cross_one_way(across: int, down: int, refused: bool) -> None:
    points = np.random.default_rng(0).uniform(0, [across, down, 1], (50, 17, 3))
    cameras = [SimpleNamespace(size_stated=False, video=None, image_size=FULL)] * 2
    with pytest.raises(VergenceError, match="from the top left") if refused else nullcontext():
        check_corner(cameras, [[points]] * 2)


def test_keypoints_in_the_corner_of_all_images_are_refused_with_the_first_ones_size() -> None:
    """The 99th percentile of either coordinate, over the side: under 55 % in every camera whose size nobody states."""
    points = np.ones((100, 17, 3)) * [500.0, 300, 1]
    points[0, :8] = 5000.0
    first, second = (
        SimpleNamespace(size_stated=False, video=None, image_size=size) for size in ((1000, 600), (2000, 900))
    )
    with pytest.raises(VergenceError, match=r"within 50% of their images' sides.*calibration is for 1000 x 600"):
        check_corner([first, second], [[points]] * 2)
    check_corner([first, second], [[points], [points * [2.3, 1, 1]]])  # 57 % of 2000
    check_corner([first, second], [[points], [points * [1, 1.7, 1]]])
    check_corner([first, second], [[points], []])  # nobody seen by the second
    check_corner([first], [[points]])
    farther = np.where(np.arange(100)[:, None, None] < 1.5, 5000.0, points)  # 2 of 100
    farther[1, 9:] = points[1, 9:]  # 1.5 of 100
    check_corner([first, second], [[farther]] * 2)
    stated = SimpleNamespace(size_stated=True, video=None, image_size=(2000, 900))
    for cameras, words in (
        ([first, stated], "smaller than 1000 x 600?"),
        ([stated, stated], "smaller than 2000 x 900?"),
    ):
        assert check_corner(cameras, [[points]] * 2).endswith(words)
    assert check_corner([stated, stated], [[points], [points * [2.3, 1, 1]]]) == ""


def inline(factor: float = 1.0, line: str = "") -> str:
    k = (np.diag([factor, factor, 1]) @ K).tolist()
    return "".join(
        f'[cameras.cam{v}]\nvideo = "cam{v}.mp4"\nkeypoints = "cam{v}_json"\nintrinsics = {k}\n{line}' for v in (0, 1)
    )


@pytest.mark.parametrize("video", [750, 666, 500, 1500, 2000])
def test_inline_intrinsics_of_another_size(recorded, video: int) -> None:
    with pytest.raises(VergenceError, match=r"intrinsics of camera cam0|outside its image"):
        load_capture(recorded(video, video, toml=inline()))
    capture = load_capture(recorded(video, video, toml=inline(video / 1000)))
    assert capture.cameras[0].image_size == (video, video)
    assert not capture.notes


def test_a_calibration_without_a_size(recorded) -> None:
    assert load_capture(recorded(1000, 1000, size=False, toml=tables(""))).cameras[0].image_size == FULL
    with pytest.raises(VergenceError, match=r"are for images of about 999 x 999(.|\n)*\(about 0\.75\)"):
        load_capture(recorded(750, 750, size=False, toml=tables("")))


def test_a_principal_point_far_from_the_middle_is_said(recorded) -> None:
    capture = load_capture(recorded(750, 750, toml=inline(line="image_size = [750, 750]\n")))
    said = [note for note in capture.notes if "far from its middle" in note]
    assert [note.partition(":")[0] for note in said] == list(capture.names)


def fisheye(line: str) -> str:
    return inline(line=line).replace("video", "# video") + ""


def test_a_fisheye_lens_in_capture_toml(recorded, tmp_path: Path) -> None:
    folder = recorded(
        None, 1000, toml=fisheye("image_size = [1000, 1000]\nfisheye = true\ndistortion = [0.1, 0, 0, 0]\n")
    )
    capture: Capture = load_capture(folder)
    np.testing.assert_allclose(capture.cameras[0].distortion, fisheye_lens([0.1, 0, 0, 0]))
    write_capture(folder, capture)
    np.testing.assert_allclose(load_capture(folder).cameras[1].distortion, fisheye_lens([0.1, 0, 0, 0]))
    for line, message in (("fisheye = true\n", "without distortion"), ('fisheye = "yes"\n', "true or false")):
        with pytest.raises(VergenceError, match=message):
            load_capture(recorded(None, 1000, toml=fisheye(f"image_size = [1000, 1000]\n{line}")))


def test_known_keypoints_of_each_camera_of_one_file_or_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """One file holds the first two of three cameras; of several files each tells its size."""
    table = np.arange(2 * 2 * 3 * 3, dtype=float).reshape(2, 2, 3, 3)
    table[1, 0, 2, 1] = np.nan
    monkeypatch.setattr(keypoints, "read_keypoint_table", lambda path: SimpleNamespace(keypoints=table))
    cameras = [SimpleNamespace(keypoints=None)] * 3
    first, second, third = sizes._reaches(cameras, Path("all.npz"), None)
    assert first[0].tolist() == [[0, 1], [3, 4], [6, 7], [18, 19], [21, 22]]
    assert second[0].tolist() == [[9, 10], [12, 13], [15, 16], [27, 28], [30, 31], [33, 34]]
    assert third[0].shape == (0, 2)
    assert [size for _, size in (first, second, third)] == [None] * 3
    people = {0: table[0], 4: table[1][:1], 5: []}
    one = SimpleNamespace(people=people, image_size=(640, 480))
    monkeypatch.setattr(keypoints, "read_keypoints", lambda path, skeleton: one)
    (nothing, unknown), (points, size) = sizes._reaches([cameras[0], SimpleNamespace(keypoints="a")], None, None)
    assert (nothing.shape, unknown, size) == ((0, 2), None, (640, 480))
    expected = [[0, 1], [3, 4], [6, 7], [9, 10], [12, 13], [15, 16], [18, 19], [21, 22]]
    assert points.tolist() == expected


@pytest.mark.parametrize(
    ("cx", "cy", "certain", "said"),
    [
        (640.0, 360.0, False, ""), (0.0, 360.0, True, "outside"), (1280.0, 360.0, True, "outside"),
        (640.0, 0.0, True, "outside"), (640.0, 720.0, True, "outside"), (1.0, 360.0, True, "far"),
        (320.0, 180.0, False, "twice"), (960.0, 540.0, False, "twice"), (320.0, 180.0, True, "far"),
        (320.0, 360.0, False, "far"), (600.0, 340.0, False, ""),
    ],
)  # fmt: skip
def test_where_a_principal_point_may_be(cx: float, cy: float, certain: bool, said: str) -> None:
    """In images of 1280 x 720: at half or one and a half times the middle both ways the intrinsics are of another size."""
    notes: list[str] = []
    k = np.array([[1000.0, 0, cx - 0.5], [0, 1000, cy - 0.5], [0, 0, 1]])

    def check() -> None:
        sizes._check_centre(k, (1280, 720), "a", "camera a", certain, notes)

    if said in ("outside", "twice"):
        with pytest.raises(
            VergenceError, match={"outside": "outside its image", "twice": "for images of about"}[said]
        ) as error:
            check()
        if said == "twice":
            assert f"about {2 * (cx - 0.5):.0f} x {2 * (cy - 0.5):.0f}" in str(error.value)
            assert f"(about {640 / cx:.2f})" in str(error.value)
        return
    check()
    assert [f"lies at {cx / 1280:.2f} and {cy / 720:.2f} of the image's sides" in note for note in notes] == [True] * (
        said == "far"
    )
