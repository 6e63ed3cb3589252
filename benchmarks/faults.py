"""What a verdict is worth: captures with one fault each, and how often `reconstruct` calls a wrong result `good`.

Real motion (CMU clips under Human3.6M's rigs, seen and spoilt as in `reconstruction_cmu`) and real footage (four cameras,
OpenPose) are written to a folder as a person would have them, one thing about them wrong, and reconstructed by the public
function. `wrong` is a relative rotation of two cameras off by over 3 degrees, P-MPJPE over 1.5 times the faultless
run's and 5 mm, or (millimetres that given cameras claim) a size off by over 15 %.

    VERGENCE_DATA=DIR python benchmarks/faults.py [--seeds 20] [--only WORDS ...] [--sources cmu real] [--processes 1]
        [--out runs.json]

`DIR` holds `cmu/*.npz`, `rigs/h36m_camera_parameters.json` and `pose2sim/balancing.npz`. A seed takes another clip and
rig, other cameras of the real rig in another order, and another camera for the fault. The table is Markdown; `--out` keeps
every run with its reasons, and goes on from there when it is run again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reconstruction_cmu import Rig, load_clip, load_rig, observe, p_mpjpe
from scipy.spatial.transform import Rotation

import vergence
from vergence.errors import VergenceError
from vergence.geometry.camera import normalise, project, transform
from vergence.geometry.cameras import rotation_angle
from vergence.skeleton import BODY_25, BODY_25B, COCO_17, H36M_17

MAX_DEG, MAX_RATIO, MAX_MM, MAX_SIZE = 3.0, 1.5, 5.0, 1.15
FRAMES = 150
OUTCOMES = "right, good", "wrong, good", "doubtful", "refused"


@dataclass(frozen=True)
class Scene:
    """A capture with its truth. Keypoints T V J 3 in px; `rotation` and `pose` (T J 3, mm) are the truth, what the files
    say is `said`: names, image_size, intrinsics, distortion, rotation, translation, knows (`extrinsics`, `intrinsics`,
    `nothing`). `first` is the number of each camera's first file; empty: one file for all."""

    keypoints: np.ndarray
    pose: np.ndarray
    rotation: np.ndarray
    said: dict[str, Any]
    fps: float
    source: str
    first: tuple[int, ...] = ()

    def say(self, **changed: Any) -> Scene:
        return replace(self, said={**self.said, **changed})


def cmu_scene(data: Path, seed: int, cameras: int, knows: str, **special: Any) -> Scene:
    """A clip of at least 60 frames under the rig of one of the eleven subjects, lens distortion only where it is given."""
    torch.set_num_threads(1)
    clips = [c for c in sorted((data / "cmu").glob("*.npz")) if "running" not in c.stem]
    path, rig = clips[(seed * 17 + 3) % len(clips)], load_rig(data, f"S{1 + seed % 11}")
    pose, rng = load_clip(path, rig)[:FRAMES], np.random.default_rng([seed, 11])
    chosen = sorted(rng.permutation(4)[:cameras])
    rig = Rig(*(getattr(rig, f)[chosen] for f in ("intrinsics", "distortion", "rotation", "translation", "image_size")))
    if knows == "nothing":
        rig = replace(rig, distortion=0 * rig.distortion)
    if "telephoto" in special:
        rig = _far(rig, pose, special["telephoto"])
    seen = observe(pose, rig, np.random.default_rng([seed, sum(path.stem.encode())]))
    if "bias" in special:
        seen += _biased(pose, rig, special["bias"], rng)
    return _scene(rig, seen, rng.uniform(0.6, 0.95, seen.shape[:3]), pose, H36M_17.joint_names, 50.0, "cmu", knows)


def real_scene(data: Path, seed: int, cameras: int, knows: str) -> Scene:
    """The published rig; the truth is the rig and the poses of a bundle adjustment."""
    film, rng = np.load(data / "pose2sim/balancing.npz"), np.random.default_rng([seed, 12])
    chosen = rng.permutation(4)[:cameras]
    keypoints = film["kpts2d"].astype(float)[:, chosen]
    keypoints[rng.random(keypoints.shape[:3]) < 0.05, 2] = 0
    lens = np.pad(film["dist"][chosen], ((0, 0), (0, 1)))
    rig = Rig(film["K"][chosen], lens, film["R"][chosen], film["t"][chosen] * 1000, film["image_size"][chosen])
    found = _scene(
        rig, np.where(keypoints[..., 2:] > 0, keypoints[..., :2], np.nan), keypoints[..., 2],
        film["xyz_refined"].astype(float) * 1000, BODY_25B.joint_names, 60.0, "real", knows,
    )  # fmt: skip
    return replace(found, rotation=film["R_refined"][chosen])


def _scene(
    rig: Rig, seen: np.ndarray, sure: np.ndarray, pose: np.ndarray, names: Any, fps: float, source: str, knows: str
) -> Scene:
    said = {
        "names": list(names), "image_size": rig.image_size, "intrinsics": rig.intrinsics, "distortion": rig.distortion,
        "rotation": rig.rotation, "translation": rig.translation, "knows": knows,
    }  # fmt: skip
    sure = np.where(np.isfinite(seen).all(3), sure, 0.0)
    return Scene(np.concatenate([seen, sure[..., None]], 3), pose, rig.rotation, said, fps, source)


def _far(rig: Rig, pose: np.ndarray, times: float) -> Rig:
    """Every camera so many times as far from the person, at whom it looks through a straight lens so many times as long."""
    middle = np.nanmedian(pose.reshape(-1, 3), axis=0)
    centre = -(rig.rotation.transpose(0, 2, 1) @ rig.translation[:, :, None])[:, :, 0]
    moved = middle + times * (centre - middle)
    forward = (middle - moved) / np.linalg.norm(middle - moved, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    rotation = np.stack([right, np.cross(forward, right), forward], 1)
    longer = np.array([[times, times, 1], [times, times, 1], [1, 1, 1]])
    return replace(
        rig,
        rotation=rotation,
        translation=-(rotation @ moved[:, :, None])[:, :, 0],
        intrinsics=rig.intrinsics * longer,
        distortion=0 * rig.distortion,
    )


def _biased(pose: np.ndarray, rig: Rig, bias_mm: float, rng: np.random.Generator) -> np.ndarray:
    """What a detector errs by (px): joints off by `bias_mm` (rms) in the body's frame, smoothly by where it is seen from."""
    across, up = pose[:, 1] - pose[:, 4], pose[:, 8] - pose[:, 0]
    forward = np.cross(across, up)
    axes = np.stack([np.cross(up, forward), up, forward], 1)
    axes /= np.linalg.norm(axes, axis=2, keepdims=True)
    centre = -(rig.rotation.transpose(0, 2, 1) @ rig.translation[:, :, None])[:, :, 0]
    away = centre[None] - pose[:, :1]
    seen_from = np.einsum("tij,tvj->tvi", axes, away / np.linalg.norm(away, axis=2, keepdims=True))
    mixed = np.concatenate([np.ones_like(seen_from[..., :1]), seen_from], 2)
    off = np.einsum(
        "tvf,jfk->tvjk", mixed, rng.normal(size=(17, 4, 3)) * np.array([0.4, 1, 0.5, 1])[None, :, None] / 3**0.5
    )
    world = np.einsum("tik,tvji->tvjk", axes, off) * bias_mm

    def pixels(points: np.ndarray) -> np.ndarray:
        seen = transform(torch.from_numpy(points), torch.from_numpy(rig.rotation), torch.from_numpy(rig.translation))
        return project(seen, torch.from_numpy(rig.intrinsics), torch.from_numpy(rig.distortion)).numpy()

    return pixels(pose[:, None] + world) - pixels(np.repeat(pose[:, None], len(rig.rotation), 1))


# What goes wrong. Every fault is a function of a sound scene and the seed's generator.

Fault = Callable[[Scene, np.random.Generator], Scene]


def ordered(order: Callable[[int], Any]) -> Fault:
    """The cameras' keypoints in another order than their calibrations."""
    return lambda scene, rng: replace(scene, keypoints=scene.keypoints[:, order(scene.keypoints.shape[1])])


def _exchange(views: int) -> list[int]:
    return [1, 0, *range(2, views)]


def turned(degrees: float, every: bool = False, move_mm: float = 0.0) -> Fault:
    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        rotation, translation = scene.said["rotation"].copy(), scene.said["translation"].copy()
        for v in range(len(rotation)) if every else [rng.integers(len(rotation))]:
            centre, axis, way = -rotation[v].T @ translation[v], rng.normal(size=3), rng.normal(size=3)
            rotation[v] = (
                Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix() @ rotation[v]
            )
            translation[v] = -rotation[v] @ (centre + move_mm * way / np.linalg.norm(way))
        return scene.say(rotation=rotation, translation=translation)

    return fault


def flipped(x: bool, y: bool, relabelled: bool = False, one: bool = False) -> Fault:
    """Images flipped; `relabelled`: the detector takes a left hand in a mirror for a right one."""

    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        keypoints, size, rotation = scene.keypoints.copy(), scene.said["image_size"], scene.rotation
        for v in [rng.integers(len(size))] if one else range(len(size)):
            if x:
                keypoints[:, v, :, 0] = size[v][0] - 1 - keypoints[:, v, :, 0]
            if y:
                keypoints[:, v, :, 1] = size[v][1] - 1 - keypoints[:, v, :, 1]
            if relabelled:
                keypoints[:, v] = keypoints[:, v][:, mirror(scene.said["names"])]
        if x and y:
            rotation = np.diag([-1.0, -1.0, 1.0]) @ rotation
        return replace(scene, keypoints=keypoints, rotation=rotation)

    return fault


def sides(one: bool) -> Fault:
    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        keypoints = scene.keypoints.copy()
        for v in [rng.integers(keypoints.shape[1])] if one else range(keypoints.shape[1]):
            keypoints[:, v] = keypoints[:, v][:, mirror(scene.said["names"])]
        return replace(scene, keypoints=keypoints)

    return fault


def mirror(names: list[str]) -> list[int]:
    return [names.index(n.replace("left", "*").replace("right", "left").replace("*", "right")) for n in names]


def longer(factor: float, cameras: int | None = None) -> Fault:
    """Stated focal lengths times a factor, of all cameras or of some."""

    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        k = scene.said["intrinsics"].copy()
        some = rng.permutation(len(k))[:cameras]
        k[some, :2, :2] *= factor
        return scene.say(intrinsics=k)

    return fault


def off_centre(px: float) -> Fault:
    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        k, way = scene.said["intrinsics"].copy(), rng.uniform(0, 2 * np.pi)
        k[rng.integers(len(k)), :2, 2] += px * np.array([np.cos(way), np.sin(way)])
        return scene.say(intrinsics=k)

    return fault


def cropped(px: float) -> Fault:
    """The left edge of one camera's images is cut off, and nobody says so."""

    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        keypoints, size, v = scene.keypoints.copy(), scene.said["image_size"].copy(), rng.integers(len(scene.rotation))
        keypoints[:, v, :, 0] -= px
        size[v, 0] -= px
        return replace(scene, keypoints=keypoints).say(image_size=size)

    return fault


def scaled(factor: float) -> Fault:
    return lambda scene, rng: scene.say(translation=scene.said["translation"] * factor)


def late(frames: int) -> Fault:
    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        keypoints, v = scene.keypoints.copy(), rng.integers(scene.keypoints.shape[1])
        keypoints[:-frames, v], keypoints[-frames:, v] = scene.keypoints[frames:, v], (np.nan, np.nan, 0)
        return replace(scene, keypoints=keypoints)

    return fault


def dropped(times: int, each: int) -> Fault:
    """A camera loses frames and nobody counts them."""

    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        keypoints, v = scene.keypoints.copy(), rng.integers(scene.keypoints.shape[1])
        starts = (np.arange(1, times + 1) * len(keypoints)) // (times + 1)
        kept = np.delete(keypoints[:, v], np.concatenate([np.arange(s, s + each) for s in starts]), axis=0)
        keypoints[:, v] = np.nan, np.nan, 0
        keypoints[: len(kept), v] = kept
        return replace(scene, keypoints=keypoints)

    return fault


def numbered(scene: Scene, rng: np.random.Generator) -> Scene:
    first = np.zeros(scene.keypoints.shape[1], dtype=int)
    first[rng.integers(len(first))] = 1
    return replace(scene, first=tuple(first))


def resized(factor: float) -> Fault:
    """The calibration, and the size it states, are of larger or smaller images than the keypoints."""

    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        k = scene.said["intrinsics"] * np.array([[factor] * 3, [factor] * 3, [1.0] * 3])
        return scene.say(intrinsics=k, image_size=(scene.said["image_size"] * factor).astype(int))

    return fault


def stranger(scene: Scene, rng: np.random.Generator) -> Scene:
    """Another person, doing what the first did some time before or after, mirrored on the spot, in one camera."""
    keypoints, v = scene.keypoints.copy(), rng.integers(scene.keypoints.shape[1])
    other = np.roll(keypoints[::-1, v], len(keypoints) // 3, axis=0)
    middle = np.nanmedian(other[..., 0])
    other[..., 0] = 2 * middle - other[..., 0]
    keypoints[:, v] = other[:, mirror(scene.said["names"])]
    return replace(scene, keypoints=keypoints)


def zooms(spread: float) -> Fault:
    """Lenses whose focal lengths differ by plus and minus `spread`."""

    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        factor = rng.uniform(1 - spread, 1 + spread, len(scene.rotation)) / (1 + spread)
        return _through(scene, lambda rays, k, v: rays * factor[v])

    return fault


def bent(k1: float) -> Fault:
    """A lens that bends more than anybody says."""

    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        seen = _through(scene, lambda rays, k, v: rays * (1 + k1 * (rays**2).sum(-1, keepdims=True)))
        return seen.say(distortion=0 * scene.said["distortion"])

    return fault


def _through(scene: Scene, change: Callable[..., np.ndarray]) -> Scene:
    """Keypoints seen through another lens without distortion of the same centre."""
    k, lens = (torch.from_numpy(scene.said[name]) for name in ("intrinsics", "distortion"))
    rays = normalise(torch.from_numpy(scene.keypoints[..., :2]), k, lens).numpy()
    keypoints = scene.keypoints.copy()
    for v, inner in enumerate(scene.said["intrinsics"]):
        new = change(rays[:, v], inner, v)
        keypoints[:, v, :, :2] = new * inner[[0, 1], [0, 1]] + inner[:2, 2]
    return replace(scene, keypoints=keypoints)


def again(times: int) -> Fault:
    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        keypoints, pose = (np.concatenate([a[:100]] * times) for a in (scene.keypoints, scene.pose))
        return replace(scene, keypoints=keypoints, pose=pose)

    return fault


def away(seconds: float) -> Fault:
    """The person leaves all views and returns; the clip forwards, backwards, forwards is long enough for it."""

    def fault(scene: Scene, rng: np.random.Generator) -> Scene:
        keypoints, pose = (np.concatenate([a, a[::-1], a]) for a in (scene.keypoints, scene.pose))
        start = len(pose) // 3
        keypoints[start : start + int(seconds * scene.fps)] = np.nan, np.nan, 0
        return replace(scene, keypoints=keypoints, pose=pose)

    return fault


def unsure(scene: Scene, rng: np.random.Generator) -> Scene:
    return replace(scene, keypoints=scene.keypoints * [1, 1, 0.3])


def misnamed(scene: Scene, rng: np.random.Generator) -> Scene:
    return scene.say(names=list((COCO_17 if len(scene.said["names"]) == 17 else BODY_25).joint_names))


def nothing_wrong(scene: Scene, rng: np.random.Generator) -> Scene:
    return scene


@dataclass(frozen=True)
class Row:
    """A row of the table: a fault, and what is known of how many cameras."""

    title: str
    fault: Fault
    knows: str = "extrinsics"
    cameras: int = 4
    special: tuple[tuple[str, float], ...] = ()


def rows() -> Iterator[Row]:
    for knows in ("extrinsics", "intrinsics", "nothing"):
        for cameras in (4, 3, 2):
            yield Row("none", nothing_wrong, knows, cameras)
    for title, fault in (
        ("keypoints of two cameras exchanged", ordered(_exchange)),
        ("files rotated by one camera", ordered(lambda n: [*range(1, n), 0])),
        ("cameras in reversed order", ordered(lambda n: [*range(n)][::-1])),
        ("every camera turned by 20 degrees", turned(20, every=True)),
        ("one camera turned by 3 degrees", turned(3)),
        ("one camera turned by 10 degrees", turned(10)),
        ("one camera moved by 400 mm", turned(0, move_mm=400)),
        ("images upside down", flipped(True, True)),
        ("y counts upwards", flipped(False, True)),
        ("all images mirrored", flipped(True, False, relabelled=True)),
        ("images of one camera mirrored", flipped(True, False, relabelled=True, one=True)),
        ("sides exchanged in one camera", sides(one=True)),
        ("sides exchanged in all cameras", sides(one=False)),
        ("focal lengths 50 % too long", longer(1.5)),
        ("focal lengths 20 % too short", longer(0.8)),
        ("translations x 10", scaled(10)),
        ("translations x 39.37", scaled(39.37)),
        ("translations x 3", scaled(3)),
        ("translations / 2.54", scaled(1 / 2.54)),
        ("calibration board twice its size", scaled(0.5)),
        ("one camera 3 frames late", late(3)),
        ("one camera 7 frames late", late(7)),
        ("calibration of images 1.5 times as large", resized(1.5)),
        ("calibration of images half as large", resized(0.5)),
        ("another person in one camera", stranger),
        ("confidences all below 0.3", unsure),
        ("joint layout misnamed", misnamed),
    ):
        yield Row(title, fault)
    yield Row("keypoints of the two cameras exchanged", ordered(_exchange), "extrinsics", 2)
    yield Row("one camera turned by 10 degrees", turned(10), "extrinsics", 2)
    yield Row("focal lengths 50 % too long", longer(1.5), "extrinsics", 2)
    by_title = {
        "y counts upwards": flipped(False, True),
        "images of one camera mirrored": flipped(True, False, relabelled=True, one=True),
        "sides exchanged in one camera": sides(one=True),
        "sides exchanged in all cameras": sides(one=False),
        "focal lengths 20 % too short": longer(0.8),
        "focal lengths 20 % too long": longer(1.2),
        "focal lengths 50 % too long": longer(1.5),
        "focal lengths of two cameras 20 % too long": longer(1.2, 2),
        "principal point of one camera 100 px off": off_centre(100),
        "one camera 1 frame late": late(1),
        "one camera 3 frames late": late(3),
        "one camera 7 frames late": late(7),
        "one camera loses 3 frames three times": dropped(3, 3),
        "files of one camera numbered from 1": numbered,
        "another person in one camera": stranger,
        "strong distortion that nobody gave": bent(-0.35),
        "the same 100 frames ten times": again(10),
        "person out of view for 2 seconds": away(2),
        "confidences all below 0.3": unsure,
        "joint layout misnamed": misnamed,
    }
    for title, fault in by_title.items():
        yield Row(title, fault, "intrinsics")
    for title, fault in (
        ("sides exchanged in one camera", sides(one=True)),
        ("focal lengths 20 % too short", longer(0.8)),
        ("focal lengths 20 % too long", longer(1.2)),
        ("focal length of one camera 20 % too short", longer(0.8, 1)),
        ("principal point of one camera 100 px off", off_centre(100)),
        ("one camera 7 frames late", late(7)),
        ("another person in one camera", stranger),
    ):
        yield Row(title, fault, "intrinsics", 2)
    yield Row("principal point of one camera 100 px off", off_centre(100), "intrinsics", 3)
    yield Row("lenses differ by up to 25 %", zooms(0.25), "nothing")
    yield Row("lenses differ by up to 35 %", zooms(0.35), "nothing")
    yield Row("lenses differ by up to 35 %", zooms(0.35), "nothing", 3)
    yield Row("lenses differ by up to 35 %", zooms(0.35), "nothing", 2)
    yield Row("strong distortion", bent(-0.35), "nothing")
    for px in (200, 400):
        yield Row(f"images of one camera cut by {px} px", cropped(px), "nothing")
    for title in (
        "y counts upwards",
        "images of one camera mirrored",
        "sides exchanged in one camera",
        "sides exchanged in all cameras",
        "one camera 1 frame late",
        "one camera 3 frames late",
        "one camera 7 frames late",
        "one camera loses 3 frames three times",
        "another person in one camera",
        "joint layout misnamed",
    ):
        yield Row(title, by_title[title], "nothing")
    for bias, knows in ((15, "intrinsics"), (30, "intrinsics"), (15, "nothing"), (30, "nothing")):
        yield Row(f"detector biased by {bias} mm, by view", nothing_wrong, knows, special=(("bias", bias),))
    yield Row("telephoto lenses, 5 times as far", nothing_wrong, "intrinsics", 2, (("telephoto", 5),))


def write(scene: Scene, folder: Path) -> None:
    """As a person would have it: a capture.toml with a file of keypoints, or OpenPose's folders where numbers matter."""
    said, views = scene.said, scene.keypoints.shape[1]
    lines = ["[capture]", f"fps = {scene.fps}", 'unit = "mm"']
    if scene.first:
        for v in range(views):
            (folder / f"cam{v + 1}_json").mkdir()
            for frame, joints in enumerate(scene.keypoints[:, v]):
                people = [{"pose_keypoints_2d": np.nan_to_num(joints).ravel().tolist()}]
                name = f"cam{v + 1}_{frame + scene.first[v]:012d}_keypoints.json"
                (folder / f"cam{v + 1}_json" / name).write_text(json.dumps({"people": people}))
        lines += ['skeleton = "body_25b"' if len(said["names"]) == 25 else 'skeleton = "h36m_17"']
    else:
        np.savez(folder / "keypoints.npz", keypoints=scene.keypoints, joint_names=said["names"], fps=scene.fps)
        lines += ['keypoints = "keypoints.npz"']
    for v in range(views):
        lines += [f"[cameras.cam{v + 1}]", f"image_size = {said['image_size'][v].tolist()}"]
        if scene.first:
            lines += [f'keypoints = "cam{v + 1}_json"']
        keys = {"nothing": (), "intrinsics": ("intrinsics", "distortion")}.get(
            said["knows"], ("intrinsics", "distortion", "rotation", "translation")
        )
        short = {"rotation": "R", "translation": "t"}
        lines += [f"{short.get(key, key)} = {said[key][v].tolist()}" for key in keys]
    (folder / "capture.toml").write_text("\n".join(lines))


def measured(scene: Scene, seed: int) -> dict[str, Any]:
    """What came out: verdict and reasons, and the errors against the truth."""
    with tempfile.TemporaryDirectory() as folder:
        write(scene, Path(folder))
        try:
            found = vergence.reconstruct(folder, seed=seed)
        except VergenceError as error:
            return {"verdict": "refused", "reasons": [str(error)], "deg": None, "mm": None, "size": 1.0}
    rotation = [np.asarray(camera.rotation) for camera in found.rig.cameras]
    degrees = max(
        float(np.degrees(rotation_angle(rotation[a] @ rotation[b].T, scene.rotation[a] @ scene.rotation[b].T)))
        for a, b in combinations(range(len(rotation)), 2)
    )
    names = list(H36M_17.joint_names if scene.source == "cmu" else BODY_25B.joint_names)
    both = [n for n in found.poses.joint_names if n in names]
    pose = found.poses.pose[:, [list(found.poses.joint_names).index(n) for n in both]]
    truth, frames = scene.pose[:, [names.index(n) for n in both]], min(len(pose), len(scene.pose))
    pose, truth, size = pose[:frames], truth[:frames], 1.0
    if found.poses.unit == "mm":
        truth = np.where(np.isfinite(pose), truth, np.nan)
        spread = [np.nanmedian(np.linalg.norm(p - np.nanmean(p, 1, keepdims=True), axis=2)) for p in (pose, truth)]
        size = float(spread[0] / spread[1])
    millimetres = p_mpjpe(pose, truth)
    about = {"verdict": found.verdict, "reasons": list(found.reasons), "noise_deg": found.report.rotation_noise_deg}
    return {**about, "deg": degrees, "mm": millimetres, "size": size}


def build(data: Path, row: Row, source: str, seed: int, sound: bool = False) -> Scene:
    if source == "cmu":
        return cmu_scene(data, seed, row.cameras, row.knows, **({} if sound else dict(row.special)))
    return real_scene(data, seed, row.cameras, row.knows)


@cache
def faultless_mm(data: Path, source: str, seed: int, knows: str, cameras: int) -> float:
    scene = build(data, Row("none", nothing_wrong, knows, cameras), source, seed, sound=True)
    return float(measured(scene, seed)["mm"] or 40.0)


def run(data: Path, row: Row, source: str, seed: int) -> dict[str, Any]:
    """One cell's one run, `outcome` in it."""
    scene = row.fault(build(data, row, source, seed), np.random.default_rng([seed, 13]))
    got = measured(scene, seed)
    got |= {"title": row.title, "knows": row.knows, "cameras": row.cameras, "source": source, "seed": seed}
    if got["verdict"] == "good":
        limit = (
            np.inf
            if row.title == "none"
            else MAX_RATIO * faultless_mm(data, source, seed, row.knows, row.cameras) + MAX_MM
        )
        wrong = got["deg"] > MAX_DEG or not got["mm"] <= limit or max(got["size"], 1 / got["size"]) > MAX_SIZE
        return got | {"outcome": OUTCOMES[1 if wrong else 0], "limit_mm": limit}
    return got | {"outcome": got["verdict"], "limit_mm": None}


def seed_runs(data: Path, chosen: list[Row], source: str, seed: int, done: set[str]) -> Iterator[dict[str, Any]]:
    for row in chosen:
        if not (row.special and source == "real") and key_of(row, source, seed) not in done:
            yield run(data, row, source, seed)


def key_of(row: Row, source: str, seed: int) -> str:
    return f"{row.title}|{row.knows}|{row.cameras}|{source}|{seed}"


def table(runs: list[dict[str, Any]]) -> str:
    sources = [s for s in ("cmu", "real") if any(r["source"] == s for r in runs)]
    heads = " | ".join(f"{'CMU' if s == 'cmu' else 'real'}: {' / '.join(OUTCOMES)}" for s in sources)
    lines = [f"| fault | known | cameras | {heads} |", "|---" * (3 + len(sources)) + "|"]
    for row in rows():
        cells = []
        for source in sources:
            here = [
                r["outcome"] for r in runs
                if (r["title"], r["knows"], r["cameras"], r["source"]) == (row.title, row.knows, row.cameras, source)
            ]  # fmt: skip
            cells.append(" / ".join(str(here.count(o)) for o in OUTCOMES) if here else "")
        if any(cells):
            lines.append(f"| {row.title} | {row.knows} | {row.cameras} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="words: rows whose title holds one of them")
    parser.add_argument("--knows", nargs="*", default=["extrinsics", "intrinsics", "nothing"], help="of the cameras")
    parser.add_argument("--sources", nargs="*", default=["cmu", "real"], choices=["cmu", "real"])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, help="every run as a line of JSON")
    options = parser.parse_args()
    if "VERGENCE_DATA" not in os.environ:
        sys.exit("set VERGENCE_DATA to the folder that holds cmu/, rigs/ and pose2sim/")
    data = Path(os.environ["VERGENCE_DATA"])
    chosen = [
        row
        for row in rows()
        if row.knows in options.knows and (not options.only or any(word in row.title for word in options.only))
    ]
    before = options.out.read_text().splitlines() if options.out and options.out.exists() else []
    runs = [json.loads(line) for line in before]
    done = {key_of(Row(r["title"], nothing_wrong, r["knows"], r["cameras"]), r["source"], r["seed"]) for r in runs}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    jobs = [(data, chosen, source, seed, done) for seed in seeds for source in options.sources]
    if options.processes > 1:
        # every job names its rows by their place, since functions made in functions cannot be sent
        wanted = {(c.title, c.knows, c.cameras) for c in chosen}
        places = [i for i, row in enumerate(rows()) if (row.title, row.knows, row.cameras) in wanted]
        with ProcessPoolExecutor(options.processes) as pool:
            for found in pool.map(_job, [(job[0], places, *job[2:]) for job in jobs]):
                runs += _kept(found, options.out)
    else:
        for job in jobs:
            runs += _kept(seed_runs(*job), options.out)
    print(table(runs))
    wrong = [r for r in runs if r["outcome"] == OUTCOMES[1]]
    print(f"\nwrong and good: {len(wrong)} of {len(runs)} runs")
    for r in wrong:
        how = f"{r['deg']:.1f} deg, {r['mm']:.0f} mm (limit {r['limit_mm']:.0f}), size {r['size']:.2f}"
        print(f"  {r['title']}, {r['knows']}, {r['cameras']} cameras, {r['source']}, seed {r['seed']}: {how}")


def _job(job: tuple[Path, list[int], str, int, set[str]]) -> list[dict[str, Any]]:
    data, places, source, seed, done = job
    every = list(rows())
    return list(seed_runs(data, [every[i] for i in places], source, seed, done))


def _kept(found: Iterable[dict[str, Any]], out: Path | None) -> list[dict[str, Any]]:
    kept = []
    for run_of in found:
        kept.append(run_of)
        if out:
            with out.open("a") as file:
                file.write(json.dumps(run_of) + "\n")
    return kept


if __name__ == "__main__":
    main()
