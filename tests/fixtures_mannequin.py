"""MannequinChallenge written from the built-in world in its real format: text, images or video, a detector's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vergence.footage.video import VideoWriter
from vergence.skeleton import COCO_17, H36M_17
from vergence.world.rigs import Rig, walk
from vergence.world.scenes import Frame, render_capture
from vergence.world.synthesize import resized

UNIT_MM = 1375.0  # the clip's own unit: its cameras are known up to scale
STEP_US = 33_367  # 29.97 frames a second
URL = "https://www.youtube.com/watch?v=abc_DEF-123"


@dataclass(frozen=True)
class Truth:
    """What a clip shows: a camera for each frame, and people (P J 3, mm, Human3.6M's joints) who stand still."""

    rig: Rig
    people: np.ndarray
    keypoints: np.ndarray  # F P J 2, px

    @property
    def times(self) -> np.ndarray:
        return 1_000_000 + STEP_US * np.arange(len(self.rig))


def truth(frames: int = 40, size: int = 96, seed: int = 5, people: int = 1) -> tuple[Truth, Frame]:
    """People beside each other, of whom the images show the first."""
    rig = resized(walk(frames, np.random.default_rng(seed)), size)
    seen = list(render_capture(rig, people, seed=seed))
    bodies = np.stack([frame.joints + [0, 1100.0 * i, 0] for i, frame in enumerate(seen)]).astype(np.float64)
    return Truth(rig, bodies, project(rig, bodies)), seen[0]


def project(rig: Rig, people: np.ndarray) -> np.ndarray:
    """Pixels `F P J 2` of points `P J 3`; NaN outside the image."""
    camera = np.einsum("fij,pkj->fpki", rig.rotation.numpy(), people) + rig.translation.numpy()[:, None, None]
    pixels = np.einsum("fij,fpkj->fpki", rig.intrinsics.numpy(), camera)
    flat = pixels[..., :2] / pixels[..., 2:]
    inside = ((flat > -0.5) & (flat < np.array(rig.size[::-1]) - 0.5)).all(-1, keepdims=True) & (camera[..., 2:] > 0)
    return np.where(inside, flat, np.nan)


def write_text(path: Path, rig: Rig, times: np.ndarray, url: str = URL) -> None:
    """The clip's cameras: normalised lenses, poses in the clip's own unit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = rig.size
    lines = [url]
    for time, k, turn, shift in zip(times, rig.intrinsics.numpy(), rig.rotation.numpy(), rig.translation.numpy()):
        lens = [k[0, 0] / width, k[1, 1] / height, (k[0, 2] + 0.5) / width, (k[1, 2] + 0.5) / height, 0.0, 0.0]
        matrix = np.concatenate([turn, shift[:, None] / UNIT_MM], 1).ravel()
        lines.append(" ".join([str(int(time)), *(f"{value:.9f}" for value in [*lens, *matrix])]))
    path.write_text("\n".join(lines) + "\n")


def write_images(folder: Path, images: tuple[np.ndarray, ...], names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / f"{name}.jpg", quality=95)


def write_video(path: Path, images: tuple[np.ndarray, ...], before: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 1e6 / STEP_US) as video:
        for image in (*(np.zeros_like(images[0]),) * before, *images):
            video.write(image)


def write_coco(path: Path, keypoints: np.ndarray, names: list[str], size: tuple[int, int]) -> None:
    """COCO-style JSON of people `F P J 2` in Human3.6M's joints."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": f"{n}.jpg", "width": size[1], "height": size[0]} for i, n in enumerate(names)]
    people = [
        {
            "image_id": i,
            "category_id": 1,
            "keypoints": np.c_[np.nan_to_num(p), 2 * np.isfinite(p[:, 0])].ravel().tolist(),
        }
        for i, frame in enumerate(keypoints)
        for p in frame
    ]
    joints = [{"id": 1, "name": "person", "keypoints": list(H36M_17.joint_names)}]
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": joints}))


def write_openpose(folder: Path, keypoints: np.ndarray, names: list[str]) -> None:
    """One file a frame, of COCO's 17 joints (those that the world's skeleton gives)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, H36M_17.convert(keypoints, COCO_17), strict=True):
        people = [np.nan_to_num(np.c_[p, np.where(np.isfinite(p[:, 0]), 0.9, 0.0)]).ravel().tolist() for p in frame]
        text = json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": person} for person in people]})
        (folder / f"{name}_keypoints.json").write_text(text)


def write_clip(root: Path, name: str, shown: Truth, image: Frame, split: str = "train") -> Path:
    """A whole clip in the plainest layout: text, images named by their times and COCO JSON side by side."""
    text = root / split / f"{name}.txt"
    names = [str(time) for time in shown.times]
    write_text(text, shown.rig, shown.times)
    write_images(text.with_suffix(""), image.image, names)
    write_coco(text.with_suffix(".json"), shown.keypoints, names, shown.rig.size)
    return text
