import json
import types

import numpy as np
import pytest
import torch
from PIL import Image

from vergence.cli import main
from vergence.commands.predict import predict
from vergence.errors import VergenceError
from vergence.footage.frame_ranges import wanted_frames
from vergence.footage.video import VideoWriter, open_video
from vergence.geometry.camera import normalise, project
from vergence.inference import estimator as estimators
from vergence.inference.inputs import Lens, Person, find_lens, find_person, open_footage
from vergence.inference.video import BATCH, estimate
from vergence.methods.base import Prediction
from vergence.methods.registry import build_method
from vergence.outputs import read_npz, read_trc
from vergence.recipes.recipe import NetworkSettings
from vergence.skeleton import H36M_17

WIDTH, HEIGHT, FRAMES = 320, 240, 12
K = np.array([[250.0, 0, 150], [0, 255, 125], [0, 0, 1]])
LENS = np.array([-0.2, 0.05, 0.001, -0.002, 0.0])


def blob(x, y, radius=4):
    """An image with one light at a pixel."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    light = 255 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * radius**2))
    return np.repeat(light.round().astype(np.uint8)[..., None], 3, 2)


def path_of(frame):
    return np.array([60 + 15.0 * frame, 70 + 8.0 * frame])


class Oracle:
    """Sees the light: every joint is there, and the pose is the ray to it in the crop's camera."""

    skeleton, image_size = H36M_17, 64

    def __call__(self, image, intrinsics, flip=True):
        v, u = np.mgrid[: image.shape[1], : image.shape[2]]
        light = image[..., 0].astype(float)
        total = light.sum((1, 2))
        keypoints = torch.from_numpy(np.stack([(light * u).sum((1, 2)), (light * v).sum((1, 2))], 1) / total[:, None])
        keypoints = keypoints[:, None].expand(-1, 17, 2)
        rays = normalise(keypoints, torch.from_numpy(intrinsics))
        pose = torch.cat([rays, torch.ones_like(rays[..., :1])], -1)
        return Prediction(pose / pose.norm(dim=-1, keepdim=True), "camera", keypoints, torch.ones(len(image), 17))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained run: small, quick, and a fixed function of its seed."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = NetworkSettings(embedding_size=8, hidden_sizes=[8, 8, 16, 16], width=16)
    method = build_method("supervised", network, "h36m_17")
    estimators.save(method, folder, "supervised", network, 64)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    with VideoWriter(path, 25.0) as writer:
        for frame in range(FRAMES):
            writer.write(blob(*path_of(frame)))
    return path


def known_lens():
    camera = types.SimpleNamespace(intrinsics=K, distortion=LENS, image_size=(WIDTH, HEIGHT), rotation=None)
    return Lens(1.0, types.SimpleNamespace(cameras=(camera,), up=None))


def test_keypoints_and_poses_come_back_into_the_full_image():
    """Through crop, estimator and back, lens distortion included: pixels to 0.2 px, rays to a milliradian."""
    count = BATCH + 5
    points = [path_of(frame % FRAMES) for frame in range(count)]
    images = ((frame, blob(*points[frame])) for frame in range(count))
    person = Person(lambda frame, size: np.array([*(points[frame] - [25, 40]), 60, 70]))
    poses, notes = estimate(Oracle(), images, range(count), 25.0, known_lens(), person)
    assert not notes
    np.testing.assert_allclose(poses.keypoints, np.stack(points)[:, None].repeat(17, 1), atol=0.2)
    rays = torch.from_numpy(np.stack(points))[:, None]
    seen = project(torch.from_numpy(poses.pose), torch.from_numpy(K), torch.from_numpy(LENS))
    assert (seen - rays).abs().max() < 0.3
    np.testing.assert_allclose(np.linalg.norm(poses.pose, axis=-1), 1)


def test_frames_without_a_person_or_an_image_have_no_pose():
    images = [(frame, blob(*path_of(frame))) for frame in (2, 3, 5)]
    person = Person(lambda frame, size: None if frame == 3 else np.array([0, 0, 300, 200.0]))
    poses, notes = estimate(Oracle(), images, [2, 3, 4, 5], 10.0, known_lens(), person)
    assert np.isfinite(poses.pose).all((1, 2)).tolist() == [True, False, False, True]
    assert np.isnan(poses.confidence[1:3]).all()
    assert np.isnan(poses.keypoints[1:3]).all()
    assert poses.frame.tolist() == [2, 3, 4, 5]
    np.testing.assert_allclose(poses.time, [0.2, 0.3, 0.4, 0.5])
    assert notes == ["1 of 4 frames cannot be read and have no pose"]


def test_a_box_outside_its_image_costs_one_frame_and_is_told():
    images = [(frame, blob(*path_of(frame))) for frame in range(3)]
    person = Person(lambda frame, size: np.array([900.0 if frame == 1 else 0, 0, 300, 200]))
    poses, notes = estimate(Oracle(), images, range(3), 10.0, known_lens(), person)
    assert np.isfinite(poses.pose).all((1, 2)).tolist() == [True, False, True]
    assert "in 1 frames the box 900 0 300 200 lies outside the 320x240 image" in notes[0]


def test_nobody_anywhere_is_an_error_and_leaves_no_overlay(tmp_path):
    images = [(0, blob(50, 50))]
    with pytest.raises(VergenceError, match="nobody was seen"):
        estimate(Oracle(), images, [0], 10.0, known_lens(), Person(lambda f, s: None), drawing=tmp_path / "o.mp4")
    assert not list(tmp_path.iterdir())


def test_a_video_with_boxes_gives_all_files(run, video, tmp_path, capsys):
    boxes = tmp_path / "boxes.csv"
    rows = [f"{t + 1},{path_of(t)[0] - 20},{path_of(t)[1] - 30},40,60" for t in range(FRAMES) if t != 4]
    boxes.write_text("\n".join(["frame,x,y,w,h", *rows]))
    out = tmp_path / "out"
    assert main(["predict", str(run), str(video), "--boxes", str(boxes), "--fov", "60", "--out", str(out)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "11 of 12 frames have a pose" in printed
    assert "counts frames from 1" in printed
    assert "assumed stature" in printed
    assert sorted(p.name for p in out.iterdir()) == [
        "overlay.mp4", "poses.csv", "poses.json", "poses.npz", "poses.trc",
    ]  # fmt: skip
    with np.load(out / "poses.npz") as file:
        assert set(file) == {"pose", "joint_names", "fps", "unit", "up", "keypoints", "confidence", "frame", "time"}
        assert file["pose"].shape == (FRAMES, 17, 3)
        assert file["keypoints"].shape == (FRAMES, 17, 2)
        assert file["joint_names"].tolist() == list(H36M_17.joint_names)
        assert (float(file["fps"]), str(file["unit"])) == (25.0, "reference_bone")
        np.testing.assert_allclose(file["time"], np.arange(FRAMES) / 25)
        missing = np.isnan(file["pose"]).all((1, 2))
        np.testing.assert_allclose(np.nan_to_num(file["pose"][:, 0]), 0, atol=1e-6)
    assert missing.tolist() == [t == 4 for t in range(FRAMES)]
    assert json.loads((out / "poses.json").read_text())["pose"][4][0] == [None, None, None]
    assert read_trc(out / "poses.trc").positions.shape == (FRAMES, 17, 3)
    assert len((out / "poses.csv").read_text().splitlines()) == FRAMES + 2
    with open_video(out / "overlay.mp4") as overlay:
        assert len(overlay) == FRAMES
        assert overlay.size == (WIDTH + HEIGHT // 2, HEIGHT)
        assert overlay.fps == 25


def test_an_image_with_a_box_and_the_same_in_the_python_call(run, tmp_path):
    path = tmp_path / "person.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)
    words = ["predict", str(run), str(path), "--box", "100,20,80,160", "--quiet", "true"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    predict(run, path, tmp_path / "b", box="100 20 80 160", quiet=True)
    first, second = read_npz(tmp_path / "a" / "poses.npz"), read_npz(tmp_path / "b" / "poses.npz")
    np.testing.assert_array_equal(first.pose, second.pose)
    assert first.pose.shape == (1, 17, 3)
    with Image.open(tmp_path / "a" / "overlay.png") as overlay:
        assert overlay.size == (WIDTH + HEIGHT // 2, HEIGHT)


def test_a_folder_of_images_of_several_sizes(run, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, shape in enumerate([(120, 90), (60, 200), (120, 90)]):
        Image.fromarray(np.full((*shape, 3), 50 * i, np.uint8)).save(folder / f"im{i}.png")
    predict(run, folder, tmp_path / "out", frames="0-1", quiet=True)
    poses = read_npz(tmp_path / "out" / "poses.npz")
    assert poses.frame.tolist() == [0, 1]
    assert np.isfinite(poses.pose).all()
    with open_video(tmp_path / "out" / "overlay.mp4") as overlay:
        assert len(overlay) == 2


def test_without_overlay_and_with_frames(run, video, tmp_path):
    predict(run, video, tmp_path, frames="3,7-8", overlay=False, flip=False, quiet=True)
    assert read_npz(tmp_path / "poses.npz").frame.tolist() == [3, 7, 8]
    assert not list(tmp_path.glob("overlay*"))


@pytest.fixture
def capture(video, tmp_path):
    """A capture of one camera whose keypoints follow the light, and whose time begins two frames late."""
    points = np.stack([path_of(frame) for frame in range(FRAMES)])
    spread = np.array([[-15, -25], [15, 25], [-10, 20], [12, -20], [0, 0], *[[i, 2 * i] for i in range(-6, 6)]])
    keypoints = np.concatenate([points[:, None] + spread, np.ones((len(points), 17, 1))], -1)[:, None]
    names = np.array(H36M_17.joint_names)
    np.savez(tmp_path / "keypoints.npz", keypoints=keypoints, joint_names=names, fps=25.0)
    (tmp_path / "capture.toml").write_text(
        f'[capture]\nfps = 25.0\nkeypoints = "keypoints.npz"\nup = [0.0, 0.0, 1.0]\n[cameras.cam]\nvideo = "{video}"\n'
        f"image_size = [{WIDTH}, {HEIGHT}]\nintrinsics = {K.tolist()}\ndistortion = {LENS.tolist()}\noffset = 2.0\n"
        "R = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]\nt = [0, 0, 3000]\n"
    )
    return tmp_path


def test_a_capture_gives_lens_subject_and_up(capture, video):
    footage, lens = open_footage(video, None), find_lens(capture, "cam", None)
    person = find_person(footage, lens, "", None, None)
    rows = range(FRAMES)
    poses, _ = estimate(Oracle(), footage.images(rows), rows, footage.fps, lens, person)
    seen = np.isfinite(poses.pose).all((1, 2))
    assert seen.tolist() == [frame >= 2 for frame in rows]
    expected = np.stack([path_of(frame) for frame in range(2, FRAMES)])
    np.testing.assert_allclose(poses.keypoints[2:, 0], expected, atol=0.5)
    np.testing.assert_allclose(poses.up, [0, -1, 0])


def test_the_person_from_keypoint_files_is_the_large_one(video, tmp_path):
    openpose = tmp_path / "openpose"
    openpose.mkdir()
    rng = np.random.default_rng(0)
    shape, small = rng.normal(0, 25, (17, 2)), rng.normal(0, 6, (17, 2))
    for frame in range(FRAMES):
        people = []
        for centre, spread in (((250, 60), small), (path_of(frame), shape)):
            points = np.c_[np.array(centre) + spread, np.full(17, 0.8)]
            people.append({"pose_keypoints_2d": points.ravel().tolist()})
        (openpose / f"walk_{frame + 1:06d}_keypoints.json").write_text(json.dumps({"people": people}))
    person = find_person(open_footage(video, None), find_lens(None, "", 60), "", None, openpose)
    for frame in (0, 5, FRAMES - 1):
        x, y, w, h = person.at(frame, (WIDTH, HEIGHT))
        assert w > 80
        np.testing.assert_allclose([x + w / 2, y + h / 2], path_of(frame) + (shape.min(0) + shape.max(0)) / 2)
    assert any("from 1" in note for note in person.notes)


def test_frames_in_words():
    assert wanted_frames("", 3) == [0, 1, 2]
    assert wanted_frames("8-99, 2,1-3", 10) == [1, 2, 3, 8, 9]
    for text, words in (("a-b", "numbers and ranges"), ("-3", "numbers and ranges"), ("12", "frames 0 to 9")):
        with pytest.raises(VergenceError, match=words):
            wanted_frames(text, 10)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--box", "1,2,3"], "--box 1,2,3"),
        (["--box", "1,2,-3,4"], "Give four numbers"),
        (["--box", "900,10,20,30"], "outside the 320x240 image"),
        (["--box", "1,2,3,4", "--keypoints", "x"], "given twice"),
        (["--boxes", "none.csv"], "there is no boxes file"),
        (["--fov", "200"], "between 0 and 180"),
        (["--camera", "cam"], "without a capture"),
        (["--frames", "50-60"], "frames 0 to 11"),
        (["--fps", "-1"], "--fps above 0"),
    ],
)
def test_bad_options_are_one_sentence_and_write_nothing(run, video, tmp_path, capsys, words, message):
    assert main(["predict", str(run), str(video), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_missing_run_and_missing_input(run, video, tmp_path, capsys):
    assert main(["predict", str(tmp_path), str(video)]) == 2
    assert main(["predict", str(run), str(tmp_path / "no.mp4")]) == 2
    assert main(["predict", str(run), str(tmp_path / "no.png")]) == 2
    errors = capsys.readouterr().err
    assert "is not a finished run" in errors
    assert "there is no video" in errors
    assert "there is no image" in errors


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
