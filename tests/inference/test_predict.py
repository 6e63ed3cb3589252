"""What `vergence.predict` says of images, frame by frame and as one sequence."""

import json
import types
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from fixtures_light import FRAMES, HEIGHT, WIDTH, Oracle, blob, path_of

import vergence
from vergence.errors import VergenceError
from vergence.geometry.camera import project
from vergence.inference.frames import BATCH, PredictedFrames
from vergence.inference.inputs import Footage, Lens, find_lens, open_footage
from vergence.inference.person import Person, find_people
from vergence.inference.takes import Take
from vergence.skeleton import H36M_17

K = np.array([[250.0, 0, 150], [0, 255, 125], [0, 0, 1]])
LENS = np.array([-0.2, 0.05, 0.001, -0.002, 0.0])


def estimate(images, rows, fps, lens, person):
    footage = Footage("light", None, fps, lambda rows: iter(images))
    return PredictedFrames(Oracle(), Take("light", footage, lens, (person,), rows))


def known_lens():
    camera = types.SimpleNamespace(intrinsics=K, distortion=LENS, image_size=(WIDTH, HEIGHT), rotation=None)
    return Lens(1.0, types.SimpleNamespace(cameras=(camera,), up=None))


def test_keypoints_and_poses_come_back_into_the_full_image():
    """Through crop, estimator and back, lens distortion included: pixels to 0.2 px, rays to a milliradian."""
    count = BATCH + 5
    points = [path_of(frame % FRAMES) for frame in range(count)]
    images = ((frame, blob(*points[frame])) for frame in range(count))
    person = Person(lambda frame, size: np.array([*(points[frame] - [25, 40]), 60, 70]))
    found = estimate(images, None, 25.0, known_lens(), person)
    poses = found.collect()
    assert not found.notes
    np.testing.assert_allclose(poses.keypoints, np.stack(points)[:, None].repeat(17, 1), atol=0.2)
    rays = torch.from_numpy(np.stack(points))[:, None]
    seen = project(torch.from_numpy(poses.pose), torch.from_numpy(K), torch.from_numpy(LENS))
    assert (seen - rays).abs().max() < 0.3
    np.testing.assert_allclose(np.linalg.norm(poses.pose, axis=-1), 1)


def test_blocks_have_the_poses_of_the_frames_and_no_images():
    rows = list(range(6))
    person = Person(lambda frame, size: np.array([0, 0, 300, 200.0]))

    def found():
        return estimate([(frame, blob(*path_of(frame))) for frame in rows], rows, 10.0, known_lens(), person)

    shown = list(found())
    saved = [frame for _, some in found().blocks(0) for frame in some]
    assert [frame.frame for frame in saved] == rows
    for ours, other in zip(saved, shown, strict=True):
        np.testing.assert_array_equal(ours.pose, other.pose)
        assert (ours.size, other.size) == ((WIDTH, HEIGHT),) * 2
        assert (ours.image.shape, other.image.shape) == ((1, 1, 3), (HEIGHT, WIDTH, 3))


def test_frames_without_a_person_or_an_image_have_no_pose():
    images = [(frame, blob(*path_of(frame))) for frame in (2, 3, 5)]
    person = Person(lambda frame, size: None if frame == 3 else np.array([0, 0, 300, 200.0]))
    found = estimate(images, [2, 3, 4, 5], 10.0, known_lens(), person)
    poses = found.collect()
    assert np.isfinite(poses.pose).all((1, 2)).tolist() == [True, False, False, True]
    assert np.isnan(poses.confidence[1:3]).all()
    assert np.isnan(poses.keypoints[1:3]).all()
    assert poses.frame.tolist() == [2, 3, 4, 5]
    np.testing.assert_allclose(poses.time, [0.2, 0.3, 0.4, 0.5])
    assert found.notes == ("1 of 4 frames cannot be read and have no pose",)


def test_a_box_outside_its_image_costs_one_frame_and_is_told():
    images = [(frame, blob(*path_of(frame))) for frame in range(3)]
    person = Person(lambda frame, size: np.array([900.0 if frame == 1 else 0, 0, 300, 200]))
    found = estimate(images, range(3), 10.0, known_lens(), person)
    poses = found.collect()
    assert np.isfinite(poses.pose).all((1, 2)).tolist() == [True, False, True]
    assert "in 1 frames the box 900 0 300 200 lies outside the 320x240 image" in found.notes[0]


def test_nobody_anywhere_is_an_error():
    found = estimate([(0, blob(50, 50))], [0], 10.0, known_lens(), Person(lambda f, s: None))
    with pytest.raises(VergenceError, match="nobody was seen"):
        found.collect()


@pytest.fixture
def capture(light_video, tmp_path):
    """A capture of one camera whose keypoints follow the light, and whose time begins two frames late."""
    points = np.stack([path_of(frame) for frame in range(FRAMES)])
    spread = np.array([[-15, -25], [15, 25], [-10, 20], [12, -20], [0, 0], *[[i, 2 * i] for i in range(-6, 6)]])
    keypoints = np.concatenate([points[:, None] + spread, np.ones((len(points), 17, 1))], -1)[:, None]
    names = np.array(H36M_17.joint_names)
    np.savez(tmp_path / "keypoints.npz", keypoints=keypoints, joint_names=names, fps=25.0)
    (tmp_path / "capture.toml").write_text(
        f'[capture]\nfps = 25.0\nkeypoints = "keypoints.npz"\nup = [0.0, 0.0, 1.0]\n[cameras.cam]\nvideo = "{light_video}"\n'
        f"image_size = [{WIDTH}, {HEIGHT}]\nintrinsics = {K.tolist()}\ndistortion = {LENS.tolist()}\noffset = 2.0\n"
        "R = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]\nt = [0, 0, 3000]\n"
    )
    return tmp_path


def test_a_capture_gives_lens_subject_and_up(capture, light_video):
    poses = vergence.predict(Oracle(), light_video, capture=capture, camera="cam").collect()
    seen = np.isfinite(poses.pose).all((1, 2))
    assert seen.tolist() == [frame >= 2 for frame in range(FRAMES)]
    expected = np.stack([path_of(frame) for frame in range(2, FRAMES)])
    np.testing.assert_allclose(poses.keypoints[2:, 0], expected, atol=0.5)
    np.testing.assert_allclose(poses.up, [0, -1, 0])


# COCO's joints of somebody who stands
X = "0 1 -1 2 -2 5 -5 7 -7 8 -8 3 -3 3 -3 3 -3"
Y = "3 2 2 3 3 9 9 15 15 21 21 22 22 31 31 40 40"
STANDING = np.array([X.split(), Y.split()], float).T


def test_the_person_from_keypoint_files_is_the_large_one(light_video, tmp_path):
    openpose = tmp_path / "openpose"
    openpose.mkdir()
    small = STANDING - [0, 21]
    shape = small * [6, 2.5]
    for frame in range(FRAMES):
        people = []
        for centre, spread in (((250, 60), small), (path_of(frame), shape)):
            points = np.c_[np.array(centre) + spread, np.full(17, 0.8)]
            people.append({"pose_keypoints_2d": points.ravel().tolist()})
        (openpose / f"walk_{frame + 1:06d}_keypoints.json").write_text(json.dumps({"people": people}))
    (person,) = find_people(open_footage(light_video, None), find_lens(None, "", 60), "", None, openpose)
    for frame in (0, 5, FRAMES - 1):
        x, y, w, h = person.at(frame, (WIDTH, HEIGHT))
        assert w > 80
        np.testing.assert_allclose([x + w / 2, y + h / 2], path_of(frame) + (shape.min(0) + shape.max(0)) / 2)
    assert any("from 1" in note for note in person.notes)


def test_the_person_of_keypoint_files_is_taken_up_again_after_a_second(tmp_path):
    shape = 5 * STANDING
    for frame in range(100):
        points = np.c_[shape + [100 + frame, 50], np.full(17, 0.8)]
        people = [] if 40 <= frame < 70 else [{"pose_keypoints_2d": points.ravel().tolist()}]
        (tmp_path / f"walk_{frame:06d}_keypoints.json").write_text(json.dumps({"people": people}))
    footage = Footage("walk", 100, 20.0, lambda rows: iter(()))
    (person,) = find_people(footage, find_lens(None, "", 60), None, None, tmp_path)
    assert [frame for frame in range(100) if person.at(frame, (640, 480)) is None] == list(range(40, 70))
    assert any("taken up again, for 30 frames" in note for note in person.notes)


def test_a_capture_with_several_cameras_wants_a_name(capture):
    text = (capture / "capture.toml").read_text()
    assert find_lens(capture, "", None).camera.name == "cam"
    with pytest.raises(VergenceError, match="has no camera 'other'"):
        find_lens(capture, "other", None)
    with pytest.raises(VergenceError, match="has intrinsics"):
        find_lens(capture, "cam", 60)
    second = text[text.index("[cameras") :].replace("[cameras.cam]", "[cameras.two]")
    (capture / "capture.toml").write_text(text + second)
    with pytest.raises(VergenceError, match="several cameras"):
        find_lens(capture, "", None)


def test_arrays_are_predicted_one_by_one_as_they_come():
    """An endless iterator: only what is asked for is taken, a batch at a time."""
    taken = []

    def camera():
        frame = 0
        while True:
            taken.append(frame)
            yield blob(*path_of(frame % FRAMES))
            frame += 1

    frames = vergence.predict(Oracle(), camera(), fov=60, fps=10, whole_image=True)
    assert taken == []
    first, second = next(frames), next(frames)
    assert (first.frame, second.frame, second.time) == (0, 1, 0.1)
    np.testing.assert_allclose(second.keypoints, np.tile(path_of(1), (17, 1)), atol=0.5)
    assert second.seen
    assert second.size == (WIDTH, HEIGHT)
    assert second.image.shape == (HEIGHT, WIDTH, 3)
    assert second.reliable is None
    assert len(taken) == BATCH
    assert "taken as a crop" in frames.notes[0]


def test_boxes_by_frame_and_frames_without_one():
    images = np.stack([blob(*path_of(frame)) for frame in range(3)])
    boxes = {0: (20, 30, 80, 80), 2: [40, 40, 100, 100]}
    told = []
    frames = list(
        vergence.predict(Oracle(), images, boxes=boxes, fov=60, progress=lambda *words: told.append(words[1:]))
    )
    assert [frame.seen for frame in frames] == [True, False, True]
    np.testing.assert_allclose(frames[0].box, [12, 22, 96, 96])
    assert frames[1].box is None
    assert np.isnan(frames[1].pose).all()
    assert frames[1].reliable is None
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    (alone,) = vergence.predict(Oracle(), images[0], box=(20, 30, 80, 80), fov=60)
    np.testing.assert_array_equal(alone.pose, frames[0].pose)


def test_large_images_stay_small_in_memory():
    (frame,) = vergence.predict(
        Oracle(), np.zeros((2, 1080, 1920, 3), np.uint8) + 9, frames="1", fov=60, whole_image=True
    )
    assert frame.image.shape == (540, 960, 3)
    assert frame.size == (1920, 1080)


def test_a_run_says_which_of_its_poses_are_reliable(light_run):
    frames = list(vergence.predict(light_run, [blob(50, 60)] * 2, fov=60, whole_image=True, device="cpu"))
    assert all(isinstance(frame.reliable, bool) for frame in frames)


@pytest.mark.parametrize(
    ("images", "more", "said"),
    [
        ([np.zeros((4, 4), np.uint8)], {}, "H W 3 of uint8"),
        ([np.zeros((4, 4, 3))], {}, "float64"),
        ([], {}, "there are no images"),
        (iter([blob(5, 5)]), {"frames": "0"}, "without a length"),
        ([blob(5, 5)], {"frames": "3"}, "frames 0 to 0"),
        ([blob(5, 5)], {"box": (1, 2, 3)}, "Give four numbers"),
        ([blob(5, 5)], {"box": (1, 2, 3, 4), "boxes": {0: (1, 2, 3, 4)}}, "--box and --boxes"),
        ([blob(5, 5)], {"plugins": ["nowhere.py"]}, "no plug-in nowhere.py"),
    ],
)
def test_arrays_that_cannot_be_predicted(images, more, said):
    with pytest.raises(VergenceError, match=said):
        list(vergence.predict(Oracle(), images, **more))


def test_a_device_that_is_not_there_is_refused_where_none_is_needed():
    with pytest.raises(VergenceError, match="no device is called 'tpu'"):
        vergence.predict("lifting", "walk.mp4", keypoints="walk.json", device="tpu")


def test_times_are_a_videos_stamps_where_its_rate_is_uneven(tmp_path):
    """Frames at 0, 1, 2, 3, 10, 11 of 50 a second: 6 in 0.22 s on the average; a given rate goes before."""
    stamps = [0, 1, 2, 3, 10, 11]
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 50)
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), 9 * stamp, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    footage = open_footage(tmp_path / "phone.mp4", None)
    np.testing.assert_allclose(footage.at(np.arange(6)), np.array(stamps) / 50, atol=1e-9)
    assert "phone.mp4 has no even frame rate" in footage.note
    person = Person(lambda frame, size: np.array([0, 0, 30, 14.0]))
    found = PredictedFrames(Oracle(), Take("phone", footage, find_lens(None, "", 60.0), (person,), list(range(6))))
    assert [frame.time for frame in found] == pytest.approx([stamp / 50 for stamp in stamps])
    given = open_footage(tmp_path / "phone.mp4", 25.0)
    assert given.note == ""
    assert given.at(np.arange(3)).tolist() == [0, 0.04, 0.08]
