"""A camera's people as they come: the same as in a recording where nothing follows, who is who, and nothing kept."""

from __future__ import annotations

import itertools
import json

import cv2
import numpy as np
import pytest
from fixtures_light import HEIGHT, WIDTH

import vergence
from vergence.errors import VergenceError
from vergence.footage.keypoints import read_keypoints
from vergence.footage.video import open_video
from vergence.geometry.cameras import Camera
from vergence.inference.estimator import load
from vergence.inference.inputs import find_lens
from vergence.inference.live import LiveFrames, camera_images
from vergence.inference.takes import Take
from vergence.skeleton import COCO_17


class Known:
    """Gives what a file has, image by image."""

    skeleton, identity = COCO_17, "known 1"

    def __init__(self, keypoints) -> None:
        people: dict[int, list] = {}
        for row in json.loads(keypoints.read_text()):
            people.setdefault(row["image_id"], []).append(np.array(row["keypoints"]).reshape(17, 3))
        self._people = iter([np.stack(people[frame]) for frame in sorted(people)])

    def __call__(self, images):
        return [next(self._people, np.empty((0, 17, 3))) for _ in images]


@pytest.fixture
def images(two_people):
    with open_video(two_people[0]) as video:
        return [image for _, image in video]


def live(model, images, keypoints, everybody):
    clock = itertools.count(0, 0.04).__next__
    return LiveFrames(model, images, Known(keypoints), find_lens(None, "", 60), everybody, clock=clock)


def test_everybody_in_every_image_and_the_last_pose_is_the_recordings(two_people, images):
    video, keypoints = two_people
    found = live(vergence.load_lifting(), images, keypoints, True)
    results = list(found.images())
    assert [len(one) for one in results] == [1] * 6 + [2] * 17
    assert [one.person for one in results[-1]] == [1, 2]
    whole = vergence.predict("lifting", video, keypoints=keypoints, fov=60).collect()
    np.testing.assert_allclose(results[-1][0].pose, whole.pose[-1], atol=1e-5)
    np.testing.assert_allclose(results[10][0].keypoints, whole.keypoints[10], atol=1e-6)
    assert results[-1][0].time == pytest.approx(22 * 0.04, abs=0.05)
    assert (found.tally.read, found.tally.seen) == (23, 23 + 17)
    assert read_keypoints(keypoints) is not None


def test_one_person_is_who_has_been_in_view_longest_and_nobody_has_a_result_without_a_pose(two_people, images):
    black = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 3
    found = live(vergence.load_lifting(), [*images, *black], two_people[1], False)
    results = list(found)
    assert [one.person for one in results] == [1] * 26
    assert [one.seen for one in results] == [True] * 23 + [False] * 3
    assert "motion capture" in found.notes[0]


def test_keypoints_without_a_ray_are_counted_once_each(two_people, images, monkeypatch):
    """A lens that turns 60 px from the image's middle."""
    focal, middle = 300.0, np.array([WIDTH - 1, HEIGHT - 1]) / 2
    k = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
    lens = np.array([-1 / (3 * (1.5 * 60 / focal) ** 2), 0, 0, 0, 0])
    monkeypatch.setattr(Take, "camera", lambda self, size: Camera("c", size, k, lens))
    video, keypoints = two_people
    now = live(vergence.load_lifting(), images, keypoints, True)
    _ = list(now.images())
    recorded = vergence.predict("lifting", video, keypoints=keypoints, fov=60, people="all")
    _ = list(recorded)
    points = np.array([row["keypoints"] for row in json.loads(keypoints.read_text())]).reshape(-1, 17, 3)[..., :2]
    far = np.linalg.norm(COCO_17.convert(points, now.skeleton) - middle, axis=-1) > 60
    assert 0 < far.sum() < far.size
    assert now.tally.beyond == pytest.approx(far.sum(), rel=0.05)
    assert f"{now.tally.beyond} keypoints beyond the range of the lens model are left out" in " ".join(now.notes)
    assert recorded.tally.beyond == pytest.approx(far.sum(), rel=0.05)


def test_a_run_sees_the_crop(two_people, images, light_run):
    frames = list(live(load(light_run), images, two_people[1], True).images())[-1]
    expected = vergence.predict(light_run, two_people[0], keypoints=two_people[1], fov=60, people="all", frames="22")
    for own, other in zip(frames, expected):
        np.testing.assert_allclose(own.pose, other.pose, atol=1e-4)
        assert own.box == pytest.approx(other.box)


class Capture:
    def __init__(self, images) -> None:
        self.images, self.released = iter(images), False

    def isOpened(self) -> bool:
        return self.images is not None

    def read(self):
        image = next(self.images, None)
        return image is not None, image

    def release(self) -> None:
        self.released = True


def test_a_cameras_images_are_rgb_and_the_camera_is_let_go(monkeypatch):
    fake = Capture([np.full((4, 6, 3), [1, 2, 3], np.uint8)] * 2)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: fake)
    assert [image[0, 0].tolist() for image in camera_images(0)] == [[3, 2, 1]] * 2
    assert fake.released
    fake.images = None
    with pytest.raises(VergenceError, match="there is no camera 3"):
        next(camera_images(3))


@pytest.fixture
def known_detector(two_people, monkeypatch):
    """The detector that `predict` opens."""
    monkeypatch.setattr("vergence.inference.predict.open_detector", lambda *asked: Known(two_people[1]))


def test_arrays_are_looked_at_as_they_come(two_people, images, known_detector):
    """An iterator gives the results of a live camera, at the rate that it says; only the image that is asked for is taken."""
    taken = []

    def camera():
        for image in images:
            taken.append(image)
            yield image

    expected = list(live(vergence.load_lifting(), images, two_people[1], False))
    found = vergence.predict("lifting", camera(), fov=60, fps=25)
    first = next(found)
    assert len(taken) == 1
    rest = list(found)
    assert [one.time for one in (first, *rest)] == pytest.approx([0.04 * frame for frame in range(23)])
    for own, other in zip(rest[-3:], expected[-3:]):
        np.testing.assert_allclose(own.keypoints, other.keypoints)
        np.testing.assert_allclose(own.pose, other.pose, atol=0.02)  # the clock says 25 a second, or nearly
        assert 0 < own.root[2] < 30


def test_arrays_become_a_sequence_with_a_root_smoothed_where_asked(two_people, images, known_detector):
    """As of the file: the same root but for the poses, which know nothing of later images."""
    whole = vergence.predict("lifting", two_people[0], keypoints=two_people[1], fov=60).collect()
    shaking = vergence.predict("lifting", images, fov=60, fps=whole.fps).collect()
    calm = vergence.predict("lifting", images, fov=60, fps=whole.fps).collect(smooth=0.4)
    np.testing.assert_allclose(shaking.pose[-1], whole.pose[-1], atol=1e-5)
    np.testing.assert_allclose(shaking.root[-1], whole.root[-1], atol=1e-4)
    shakes = [np.abs(np.diff(one, 2, axis=0)).mean() for one in (calm.root, shaking.root)]
    assert shakes[0] < 0.7 * shakes[1]
    assert (bool(calm.smoothing), shaking.smoothing) == (True, "")


def test_everybody_in_arrays(images, known_detector):
    people = [one.person for one in vergence.predict("lifting", images, fov=60, fps=25, people="all")]
    assert people == [1] * 6 + [1, 2] * 17


def test_a_run_looks_for_people_in_arrays_where_a_detector_is_named(two_people, images, light_run, known_detector):
    found = list(vergence.predict(light_run, images, fov=60, fps=25, detector="", device="cpu"))
    assert all(one.seen for one in found)
    assert [one.box is not None for one in found] == [True] * 23


@pytest.mark.parametrize(
    ("source", "more", "said"),
    [
        ([np.zeros((4, 4, 3))], {}, "Give H W 3 of uint8"),
        ([np.zeros((4, 4, 3), np.uint8)], {"frames": "0-3"}, "frames 0-3 of arrays"),
        (3, {}, "the source 3"),
    ],
)
def test_arrays_that_nobody_can_look_at(known_detector, source, more, said):
    with pytest.raises(VergenceError, match=said):
        list(vergence.predict("lifting", source, **more))


def test_the_name_of_the_shipped_model_is_no_estimators():
    with pytest.raises(VergenceError, match=r"lifting model, which sees no image.*vergence\.predict"):
        vergence.load("lifting")
