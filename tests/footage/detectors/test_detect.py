from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import vergence
from vergence.errors import VergenceError
from vergence.footage.detectors.base import PACKAGES, inside, open_detector
from vergence.footage.detectors.detect import detect_video
from vergence.footage.detectors.mediapipe import MediaPipe
from vergence.footage.detectors.turns import turn_of_images, turned_back, upright_turn, uprightness
from vergence.footage.images import RGB
from vergence.footage.keypoints import read_keypoints
from vergence.footage.video import VideoWriter, open_video
from vergence.plugins import detectors
from vergence.skeleton import COCO_17


def standing(x: float, y: float, height: float) -> np.ndarray:
    """A person in the image, COCO-17, head up."""
    person = np.full((17, 3), np.nan)
    rows = {"nose": 0, "left_shoulder": 0.2, "right_shoulder": 0.2, "left_hip": 0.5, "right_hip": 0.5, "left_ankle": 1,
            "right_ankle": 1}  # fmt: skip
    for name, down in rows.items():
        side = 0.1 if name.startswith("left") else -0.1 if name.startswith("right") else 0
        person[COCO_17.index(name)] = x + side * height, y + down * height, 0.9
    return person


class Bright:
    """Finds a person who stands wherever a red column (head: green) is in the image; dies after some calls if told."""

    skeleton = COCO_17
    identity = "bright 1"

    def __init__(self, lives: int | None = None) -> None:
        self.lives, self.images = lives, 0

    def __call__(self, images: Sequence[RGB]) -> list[np.ndarray]:
        if self.lives is not None:
            self.lives -= 1
            if self.lives < 0:
                raise KeyboardInterrupt
        self.images += len(images)
        return [self._one(image) for image in images]

    def _one(self, image: RGB) -> np.ndarray:
        red = np.argwhere(image[..., 0] > 128)
        if not len(red):
            return np.empty((0, 17, 3))
        green = np.argwhere(image[..., 1] > 128).mean(0)
        foot = 2 * red.mean(0) - green
        person = np.full((17, 3), np.nan)
        for name, share in (
            ("nose", 0.0),
            ("left_shoulder", 0.2),
            ("right_shoulder", 0.2),
            ("left_hip", 0.5),
            ("right_hip", 0.5),
        ):
            y, x = green + share * (foot - green)
            person[COCO_17.index(name)] = x, y, 0.9
        return person[None]


def film(path: Path, frames: int = 40, turn: int = 0) -> Path:
    """A column that walks from left to right, its upper end also green; the image turned clockwise by quarter turns."""
    with VideoWriter(path, 25) as writer:
        for i in range(frames):
            image = np.zeros((96, 128, 3), np.uint8)
            if i % 10:
                image[20:80, 20 + 2 * i : 26 + 2 * i, 0] = 255
                image[20:28, 20 + 2 * i : 26 + 2 * i, 1] = 255
            writer.write(np.ascontiguousarray(np.rot90(image, -turn)))
    return path


def test_a_video_becomes_a_file_that_the_reader_takes(tmp_path: Path) -> None:
    found = detect_video(film(tmp_path / "a.mp4"), tmp_path / "a.json", Bright())
    assert (found.frames, found.seen, found.turn, found.made) == (40, 36, 0, True)
    read = read_keypoints(tmp_path / "a.json")
    assert [one["id"] for one in json.loads((tmp_path / "a.json").read_text())["annotations"]] == list(range(1, 37))
    assert read.skeleton == COCO_17
    assert read.image_size == (128, 96)
    assert len(read.people[10]) == 0
    assert read.people[11][0, COCO_17.index("nose")] == pytest.approx([44.5, 23.5, 0.9], abs=1.0)
    assert np.isnan(read.people[11][0, COCO_17.index("left_wrist")]).all()


def test_what_a_kill_left_is_gone_on_with_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4")
    detect_video(video, tmp_path / "whole.json", Bright())
    with pytest.raises(KeyboardInterrupt):
        detect_video(video, tmp_path / "a.json", Bright(lives=3))
    assert not (tmp_path / "a.json").exists()
    partial = tmp_path / ".a.partial.jsonl"
    partial.write_bytes(partial.read_bytes()[:-7])  # killed while it was writing
    rest = Bright()
    detect_video(video, tmp_path / "a.json", rest)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert rest.images < 40
    assert not partial.exists()


def test_the_same_video_is_detected_once_and_another_one_anew(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4")
    assert detect_video(video, tmp_path / "a.json", Bright()).made
    again = Bright()
    assert not detect_video(video, tmp_path / "a.json", again).made
    assert again.images == 0
    again.identity = "bright 2"
    assert detect_video(video, tmp_path / "a.json", again).made
    film(video, frames=30)
    assert detect_video(video, tmp_path / "a.json", again).frames == 30


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_people_who_lie_are_shown_standing_and_found_where_they_are(tmp_path: Path, turn: int) -> None:
    film(tmp_path / "a.mp4", turn=turn)
    with open_video(tmp_path / "a.mp4") as frames:
        assert upright_turn(frames, Bright()) == turn
        size = frames[0].shape[1], frames[0].shape[0]
    detect_video(tmp_path / "a.mp4", tmp_path / "a.json", Bright())
    read = read_keypoints(tmp_path / "a.json")
    assert read.image_size == size
    x, y = 44.5, 23.5  # in the image before it was turned clockwise
    there = ((x, y), (95 - y, x), (127 - x, 95 - y), (y, 127 - x))[turn]
    assert read.people[11][0, COCO_17.index("nose"), :2] == pytest.approx(there, abs=1.0)


def test_the_turn_is_told_of_key_frames_where_there_are_enough() -> None:
    class Frames:
        def __init__(self, gap: int) -> None:
            self.gap, self.read = gap, list[int]()

        def __len__(self) -> int:
            return 701

        def key_before(self, index: int) -> int:
            return index // self.gap * self.gap

        def __getitem__(self, index: int) -> RGB:
            self.read.append(index)
            return np.zeros((96, 128, 3), np.uint8)

    many, few = Frames(60), Frames(250)
    assert upright_turn(many, Bright()) == upright_turn(few, Bright()) == 0
    assert many.read == [60, 180, 300, 360, 480, 600]
    assert few.read == [100, 200, 300, 400, 500, 600]


def test_turning_back_undoes_numpys_turn() -> None:
    image = np.arange(5 * 7).reshape(5, 7)
    for turn in range(4):
        shown = np.rot90(image, turn)
        rows, columns = np.indices(shown.shape)
        there = turned_back(np.stack([columns, rows, rows], -1).reshape(-1, 1, 3).astype(float), turn, (7, 5))
        x, y = there[:, 0, 0].astype(int), there[:, 0, 1].astype(int)
        assert (image[y, x] == shown.ravel()).all()


def test_uprightness() -> None:
    person = standing(50, 10, 60)
    assert uprightness(person, COCO_17) == pytest.approx(0.9, abs=0.01)
    assert uprightness(person * [1, -1, 1], COCO_17) == pytest.approx(-0.9, abs=0.01)
    assert uprightness(person[:, [1, 0, 2]], COCO_17) == pytest.approx(0, abs=0.3)
    for joints in (("nose", "eye", "ear"), ("hip", "ankle")):  # of two places, the less sure one counts
        less = person.copy()
        less[[i for i, name in enumerate(COCO_17.joint_names) if name.endswith(joints)], 2] = 0.3
        assert uprightness(less, COCO_17) < 0.85


def test_the_largest_person_says_how_people_stand() -> None:
    """A small one upside down, far to the right and at the top of the image, is a poster."""
    person, poster = standing(100, 50, 400), standing(900, 60, 40)
    poster[:, 1] = 120 - poster[:, 1]

    class Both:
        skeleton = COCO_17

        def __call__(self, images: Sequence[RGB]) -> list[np.ndarray]:
            wide = images[0].shape[1] > images[0].shape[0]
            return [np.stack([person, poster]) if wide else standing(10, 10, 40)[None] for _ in images]

    assert turn_of_images([np.zeros((500, 1000, 3), np.uint8)] * 3, Both()) == 0


def test_joints_beyond_the_border_are_not_seen() -> None:
    people = np.array([[[-0.4, 0, 0.5], [9.4, 4, 1.7], [10, 4, 0.9], [3, 5, 0.9], [3, 3, 0]], [[-9, 0, 1]] * 5])
    found = inside(people, np.zeros((5, 10, 3), np.uint8))
    assert len(found) == 1
    assert np.isfinite(found[0, :, 2]).tolist() == [True, True, False, False, False]
    assert found[0, 1, 2] == 1


def test_every_video_of_a_folder_gets_its_file_where_load_capture_finds_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        film(tmp_path / f"{name}.mp4")
    detectors.register("bright")(make_bright)
    found = vergence.detect(tmp_path, detector="bright")
    assert [one.path.name for one in found] == ["a.json", "b.json"]
    assert [c.keypoints.name for c in vergence.load_capture(tmp_path).cameras if c.keypoints] == ["a.json", "b.json"]
    assert not any(one.made for one in vergence.detect(tmp_path, detector="bright"))
    (tmp_path / "a.json").rename(tmp_path / "kept.json")
    (tmp_path / "a_json").mkdir()
    (tmp_path / "a_json" / "a_000000_keypoints.json").write_text(json.dumps({"people": []}))
    assert [one.path.name for one in vergence.detect(tmp_path, detector="bright")] == ["b.json"]


def make_bright(model: str, device: str) -> Bright:
    return Bright()


def test_a_detector_that_is_not_there_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rtmlib", None)
    with pytest.raises(VergenceError, match=r"(?s)rtmpose needs the package rtmlib.*vergence\[rtmpose\]"):
        open_detector("rtmpose")
    with pytest.raises(VergenceError, match=r"no detector is called 'vitposse'.*vitpose"):
        open_detector("vitposse")
    pytest.importorskip("mediapipe")
    with pytest.raises(VergenceError, match=r"nowhere\.task"):
        open_detector(model="nowhere.task")


def test_a_video_with_nobody_in_it_is_one_that_was_looked_at(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "empty.mp4", 30.0) as video:
        for _ in range(3):
            video.write(np.zeros((64, 64, 3), np.uint8))
    found = detect_video(tmp_path / "empty.mp4", tmp_path / "empty.json", Bright())
    assert (found.frames, found.seen) == (3, 0)
    read = read_keypoints(found.path)
    assert read.skeleton == COCO_17
    assert [len(people) for people in read.people.values()] == [0, 0, 0]


def test_mediapipes_images_are_shared_out_and_come_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two landmarkers at most where two threads may work, each with images of its own; one image asks for no second."""
    monkeypatch.setattr("vergence.footage.detectors.mediapipe.workers", lambda: 2)
    seen: list[list[int]] = []

    def landmarker() -> SimpleNamespace:
        own: list[int] = []
        seen.append(own)

        def detect(image: SimpleNamespace) -> SimpleNamespace:
            own.append(int(image.data[0, 0, 0]))
            return SimpleNamespace(pose_landmarks=[[SimpleNamespace(x=0.1 * own[-1], y=0.5, visibility=0.9)]])

        return SimpleNamespace(detect=detect)

    detector = object.__new__(MediaPipe)
    detector._image, detector._format, detector._make = SimpleNamespace, 1, landmarker
    detector._landmarkers = [landmarker()]
    images = [np.full((10, 10, 3), number, np.uint8) for number in range(5)]
    assert len(detector(images[:1])) == len(seen) == 1
    found = detector(images)
    assert [round(float(people[0, 0, 0]) + 0.5) for people in found] == [0, 1, 2, 3, 4]
    assert seen == [[0, 0, 2, 4], [1, 3]]
    assert detector([]) == []


def test_mediapipes_shares_end_at_the_pixels_borders() -> None:
    """Half of the width is the border between two pixels; what lies beyond the image is not seen."""
    places = [(0.5, 0.5, 0.9), (0.25, 0.75, 0.4), (1.1, 0.5, 0.9)]
    person = [SimpleNamespace(x=x, y=y, visibility=sure) for x, y, sure in places]
    detector = object.__new__(MediaPipe)
    detector._image, detector._format = SimpleNamespace, 1
    detector._landmarkers = [SimpleNamespace(detect=lambda image: SimpleNamespace(pose_landmarks=[person]))]
    (found,) = detector([np.zeros((60, 80, 3), np.uint8)])
    np.testing.assert_allclose(found, [[[39.5, 29.5, 0.9], [19.5, 44.5, 0.4], [np.nan] * 3]])


def test_where_nothing_is_installed_the_sentence_says_what_to_install_and_what_is_found_by_itself(monkeypatch):
    def unreachable(model, device):
        raise VergenceError("ViTPose cannot be opened", "Give --detector-model.")

    monkeypatch.setitem(PACKAGES, "rtmpose", "nowhere_1")
    monkeypatch.setitem(PACKAGES, "mediapipe", "nowhere_2")
    monkeypatch.setitem(detectors._found, "vitpose", unreachable)
    with pytest.raises(VergenceError, match=r"detector-model\. `pip install mediapipe`.*cam01\.json or in cam01_json/"):
        open_detector()
    with pytest.raises(VergenceError, match=r"detector-model\.$"):
        open_detector("vitpose")
