"""Every file of `reconstruct` and `predict`, written and read back against the truth: up, handedness, scale, place.

A mirror image, an upside-down person or exchanged axes reproject and round-trip as well as the truth does; what tells
them apart is the truth itself, in the file's own convention.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_scene import film, ring, walking

import vergence
from vergence.geometry.camera import look_at
from vergence.inference.frames import PredictedFrames
from vergence.inference.inputs import Footage, Lens
from vergence.inference.person import Person
from vergence.inference.takes import Take
from vergence.methods.base import Prediction
from vergence.outputs import read_npz, read_trc
from vergence.outputs.world import World, y_up
from vergence.skeleton import H36M_17
from vergence.world.motion_files import read_bvh

FPS, FRAMES = 30.0, 80
Z_UP = np.array([0.0, 0.0, 1.0])
FORMATS = ["npz", "json", "csv", "trc", "c3d", "bvh", "usd"]
TRUTH = walking(FRAMES)
Y_UP_TRUTH = TRUTH @ y_up(Z_UP).T


def tilted_ring(views: int) -> tuple[np.ndarray, np.ndarray]:
    """Cameras that look down by 10 to 35 degrees, the first most: none of them is level."""
    target, up = torch.tensor([0.0, 0, 900], dtype=torch.float64), torch.tensor([0.0, 0, 1], dtype=torch.float64)
    places = [[4500 * np.cos(a), 4500 * np.sin(a), 4000 - 700 * i] for i, a in enumerate(np.arange(views) * 1.4)]
    cameras = [look_at(torch.tensor(place, dtype=torch.float64), target, up) for place in places]
    return np.stack([r.numpy() for r, _ in cameras]), np.stack([t.numpy() for _, t in cameras])


def capture(folder: Path, cameras: tuple[np.ndarray, np.ndarray], head: str = "", confidence: float = 0.9) -> Path:
    scene = film(TRUTH, cameras, noise=1.0)
    points = np.concatenate([scene.keypoints, np.full((*scene.keypoints.shape[:3], 1), confidence)], -1)
    points[5, 1:, 13] = np.nan  # a wrist that one camera sees
    points[:, 2:, 16] = np.nan  # the other is seen by two
    np.savez(folder / "k.npz", keypoints=points, joint_names=H36M_17.joint_names, fps=FPS)
    text = f'[capture]\nkeypoints = "k.npz"\n{head}'
    for v in range(len(scene.rotation)):
        text += f"[cameras.c{v}]\nimage_size = [1000, 1000]\nintrinsics = {scene.intrinsics[v].tolist()}\n"
        text += f"distortion = {scene.distortion[v].tolist()}\n"
        text += f"R = {scene.rotation[v].tolist()}\nt = {scene.translation[v].tolist()}\n"
    (folder / "capture.toml").write_text(text)
    return folder


def table(folder: Path) -> tuple[np.ndarray, dict[str, str]]:
    rows = list(csv.DictReader((folder / "poses.csv").read_text().splitlines()))
    pose = [[[float(row[f"{n}_{a}"] or "nan") for a in "xyz"] for n in H36M_17.joint_names] for row in rows]
    return np.array(pose), rows[0]


def usd_places(path: Path) -> tuple[list[str], np.ndarray]:
    """Joints of a USD file in mm, by forward kinematics of its own text: no part of the writer is used."""
    text = path.read_text()
    names = json.loads(text.split("joints = ")[1].split("\n")[0])
    parents = [names.index(n.rpartition("/")[0]) if "/" in n else -1 for n in names]

    def samples(kind: str) -> np.ndarray:
        block = text.split(f"{kind}.timeSamples = {{")[1].split("}")[0]
        lines = [line.split(":", 1)[1].strip().rstrip(",") for line in block.strip().splitlines()]
        return np.array([json.loads(line.replace("(", "[").replace(")", "]")) for line in lines])

    places, turns = samples("translations"), samples("rotations")
    world, at = np.zeros((*turns.shape[:2], 3, 3)), np.zeros_like(places)
    for j, parent in enumerate(parents):
        w, x, y, z = turns[:, j].T
        local = np.stack([
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ], 1)  # fmt: skip
        world[:, j] = local if parent < 0 else world[:, parent] @ local
        at[:, j] = (
            places[:, j] if parent < 0 else at[:, parent] + np.einsum("tij,tj->ti", world[:, parent], places[:, j])
        )
    return [name.rpartition("/")[2] for name in names], 1000 * at


def read(folder: Path, name: str) -> np.ndarray:
    """A file's joints as millimetres with y up, by what the file itself says and its format means."""
    if name == "npz":
        poses = read_npz(folder / "poses.npz")
        return poses.in_world().place(poses.pose)
    if name == "json":
        data = json.loads((folder / "poses.json").read_text())
        values = {k: np.nan if v is None else v for k, v in data["placed"].items()}
        return World(**values | {"up": np.array(values["up"])}).place(np.array(data["pose"], dtype=float))
    if name == "csv":
        pose, head = table(folder)
        if head["up"] != "unknown" and head["unit"] == "mm":
            return pose @ y_up(np.array(head["up"].split(), dtype=float)).T
        placed = {k.removeprefix("placed_"): v for k, v in head.items() if k.startswith("placed_")}
        values = {k: float(placed[k].replace("unknown", "nan")) for k in ("ground", "mm_per_unit")}
        return World(np.array(placed["up"].split(), dtype=float), **values).place(pose)
    if name == "trc":
        return read_trc(folder / "poses.trc").positions
    if name == "c3d":
        ezc3d = pytest.importorskip("ezc3d")
        points = ezc3d.c3d(str(folder / "poses.c3d"))["data"]["points"][:3].transpose(2, 1, 0)
        return points[..., [1, 2, 0]]  # z up to y up
    if name == "bvh":
        found = read_bvh(folder / "poses.bvh")
        return 10 * found.positions[:, [found.names.index(joint) for joint in H36M_17.joint_names]]
    names, places = usd_places(folder / "poses.usd")
    return places[:, [names.index(joint) for joint in H36M_17.joint_names]]


def turn_between(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Orthogonal matrix (of either sign) and scale that bring a to b, and the median distance that is left."""
    known = np.isfinite(a).all(-1) & np.isfinite(b).all(-1)
    a, b = a[known], b[known]
    a, b = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    scale = s.sum() / (a**2).sum()
    return u @ vt, scale, float(np.median(np.linalg.norm(scale * a @ (u @ vt).T - b, axis=1)))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything given: up too."""
    folder = capture(tmp_path_factory.mktemp("given"), ring(4), "up = [0.0, 0.0, 1.0]\n")
    found = vergence.reconstruct(folder)
    found.save(folder / "out", FORMATS)
    return folder / "out"


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing known but the lenses and the person's height; the first camera looks down by 35 degrees."""
    folder = capture(tmp_path_factory.mktemp("unknown"), tilted_ring(4))
    tall = 1.62 * 1.035  # of the figure by its limbs
    found = vergence.reconstruct(folder, ignore_extrinsics=True, height=tall)
    found.save(folder / "out", FORMATS)
    return folder / "out"


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_known_cameras_show_the_truth_itself(given: Path, name: str) -> None:
    places = read(given, name)
    distance = np.linalg.norm(places - Y_UP_TRUTH, axis=-1)
    assert np.nanmedian(distance) < 12
    assert np.isfinite(distance).mean() > 0.99


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_unknown_cameras_stand_upright_on_the_floor(unknown: Path, name: str) -> None:
    """Turned about the vertical and moved along the floor, nothing else: no mirror image, not leaning, of right size."""
    places = read(unknown, name)
    turn, scale, left = turn_between(places, Y_UP_TRUTH)
    assert left < 20
    assert np.linalg.det(turn) > 0
    assert turn[1, 1] > np.cos(np.radians(3))
    assert scale == pytest.approx(1, abs=0.08)
    soles = np.nanpercentile(np.fmin(places[:, 3, 1], places[:, 6, 1]), 10)
    true = np.percentile(np.minimum(TRUTH[:, 3, 2], TRUTH[:, 6, 2]), 10)
    assert 0 < soles < 130, true  # ankles, over a floor at 0


def test_files_say_what_they_assume(unknown: Path) -> None:
    poses = read_npz(unknown / "poses.npz")
    assert (poses.unit, poses.up) == ("mm", None)
    assert poses.world.scale_from == "height given"
    assert poses.world.scale_sigma > 0
    assert 0 < poses.world.up_sigma_deg < 5
    assert "standing person" in poses.world.up_from
    assert 0 < poses.world.ground_sigma < 100
    words = "scale from a height of 1677 mm"
    results = json.loads((unknown / "results.json").read_text())
    assert results["placed"]["up_from"] == poses.world.up_from
    texts = [(unknown / "poses.trc").read_text(), (unknown / "poses.usd").read_text(), *results["files"].values()]
    ezc3d = pytest.importorskip("ezc3d")
    texts += ezc3d.c3d(str(unknown / "poses.c3d"))["parameters"]["POINT"]["DESCRIPTION"]["value"]
    assert sum(words in text for text in texts) == len(texts)
    assert table(unknown)[1]["placed_scale_from"] == "height given"


def test_the_rig_file_is_of_the_same_world_as_the_poses(unknown: Path) -> None:
    """Poses seen by the cameras of rig.toml are the keypoints; the cameras' distances are metric."""
    rig, poses = vergence.Reconstruction.load(unknown).rig, read_npz(unknown / "poses.npz")
    scene = film(TRUTH, tilted_ring(4), noise=0.0)
    for v, camera in enumerate(rig.cameras):
        pixels = camera.project(camera.to_camera(poses.pose))
        assert np.nanmedian(np.linalg.norm(pixels - scene.keypoints[:, v], axis=-1)) < 3
    centres = np.stack([camera.centre for camera in rig.cameras])
    true = np.stack([-r.T @ t for r, t in zip(scene.rotation, scene.translation)])
    apart, wanted = (np.linalg.norm(c[1:] - c[0], axis=1) for c in (centres, true))
    np.testing.assert_allclose(apart / wanted, 1, atol=0.08)
    assert all(np.linalg.det(camera.rotation) > 0 for camera in rig.cameras)


def test_joints_weights_with_known_cameras(given: Path) -> None:
    """Weights are there exactly where joints are, and higher for what four cameras see than for what two see."""
    poses = read_npz(given / "poses.npz")
    seen = np.isfinite(poses.pose).all(-1)
    assert not seen[5, 13]
    assert poses.confidence[5, 13] == 0
    assert ((poses.confidence > 0) == seen).all()
    assert poses.confidence.max() <= 1
    four, two = np.nanmedian(1 / poses.confidence[:, 15] - 1), np.nanmedian(1 / poses.confidence[:, 16] - 1)
    assert 1.5 < two / four < 6  # variances over that at which the weight is a half


def test_a_camera_with_an_offset_shows_its_own_frame(tmp_path: Path) -> None:
    from PIL import Image

    text = "[capture]\nfps = 30.0\n"
    for name, offset in (("a", 0), ("b", 3)):
        (tmp_path / name).mkdir()
        for i in range(12):
            Image.fromarray(np.full((48, 64, 3), 10 * i, np.uint8)).save(tmp_path / name / f"{i:04d}.png")
        text += f'[cameras.{name}]\nframes = "{name}"\noffset = {offset}\nimage_size = [64, 48]\n'
        text += f"intrinsics = [[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]\nkeypoints = '{name}.json'\n"
        (tmp_path / f"{name}.json").write_text("[]")
    (tmp_path / "capture.toml").write_text(text)
    footage = vergence.load_capture(tmp_path)
    assert [int(footage.image(v, 4)[0, 0, 0]) for v in (0, 1)] == [40, 70]


class Knowing:
    """An estimator that knows the truth in the camera's frame; the crop's camera looks along it, being centred."""

    skeleton, image_size = H36M_17, 64

    def __init__(self, pose: np.ndarray) -> None:
        self.pose, self.at = torch.from_numpy(pose), 0

    def __call__(self, image: np.ndarray, intrinsics: np.ndarray, flip: bool | None = None) -> Prediction:
        rows = slice(self.at, self.at + len(image))
        self.at += len(image)
        sure = torch.arange(self.at - len(image), self.at) % 4 > 0
        return Prediction(
            self.pose[rows], "camera", torch.zeros(len(image), 17, 2), torch.ones(len(image), 17), reliable=sure
        )


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, vergence.PoseSequence]:
    """Of a camera that looks down by 20 degrees: root-relative poses in its frame, in reference bones."""
    down = np.radians(20)
    tilt = np.array([[1, 0, 0], [0, np.cos(down), np.sin(down)], [0, -np.sin(down), np.cos(down)]])
    level = TRUTH @ np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]).T  # x right, y down, z forward
    pose = (level - level[:, :1]) @ tilt
    images = [(i, np.full((200, 200, 3), 90, np.uint8)) for i in range(FRAMES)]
    person = Person(lambda frame, size: np.array([49.5, 49.5, 100, 100]))
    take = Take("made", Footage("made", None, FPS, lambda rows: iter(images)), Lens(1.0), (person,), None)
    frames = PredictedFrames(Knowing(pose / 480), take)
    poses = frames.collect()
    folder = tmp_path_factory.mktemp("predicted")
    vergence.outputs.write(folder, poses.scaled(1700.0), FORMATS)
    assert any("depths had to be guessed" in note for note in frames.notes)
    return folder, poses


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_predictions_stand_upright_and_are_not_mirrored(predicted, name: str) -> None:
    places = read(predicted[0], name)
    turn, scale, left = turn_between(places - places[:, :1], Y_UP_TRUTH - Y_UP_TRUTH[:, :1])
    assert left < 20
    assert np.linalg.det(turn) > 0
    assert turn[1, 1] > np.cos(np.radians(12))  # the figure leans by 10; a level camera would make it 20 and more
    assert scale == pytest.approx(1, abs=0.08)


def test_what_a_prediction_guessed_is_in_its_files(predicted) -> None:
    folder, poses = predicted
    expected = np.arange(FRAMES) % 4 > 0
    np.testing.assert_array_equal(poses.reliable, expected)
    np.testing.assert_array_equal(read_npz(folder / "poses.npz").reliable, expected)
    assert json.loads((folder / "poses.json").read_text())["reliable"] == expected.tolist()
    rows = list(csv.DictReader((folder / "poses.csv").read_text().splitlines()))
    assert [row["reliable"] for row in rows] == [str(int(value)) for value in expected]
