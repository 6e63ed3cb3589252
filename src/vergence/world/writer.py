"""The built-in world on disk: captures as footage lies in folders, and images with COCO-style keypoints.

What is written goes through the formats that users' own data comes in, so whatever reads those reads this; beside it lies
`truth.npz`, which only evaluation may look at. Faults change what is stated (keypoints, focal lengths), never the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.files import atomic_path, write_json
from vergence.footage.capture import Capture
from vergence.footage.capture_camera import CaptureCamera
from vergence.footage.capture_writer import write_capture
from vergence.footage.video import VideoWriter
from vergence.skeleton import H36M_17
from vergence.world.rigs import Rig, draw_rigs
from vergence.world.scenes import WORLD_VERSION, Faults, render_capture, single_images

IMAGES_AT_ONCE = 1000  # drawn together; bounds the memory
JPEG_QUALITY = 95
SEEDS_EACH = 1000  # of the world, for each seed of a dataset: people of two datasets never meet


def world_seed(seed: int, part: int) -> int:
    """The world's seed for a part (a recording, or a batch of images) of a dataset.

    Raises:
        VergenceError: a seed outside 0 to 999, or more parts than a seed has room for.
    """
    if not 0 <= seed < SEEDS_EACH:
        raise VergenceError(f"seed {seed}", f"Give 0 to {SEEDS_EACH - 1}.")
    if not 0 <= part < SEEDS_EACH:
        raise VergenceError(f"a dataset of more than {SEEDS_EACH} parts", "Make several, of different seeds.")
    return seed * SEEDS_EACH + part


def write_recording(
    folder: Path,
    frames: int,
    views: int,
    size: int,
    fps: float,
    look: str,
    known: str,
    faults: Faults,
    seed: int,
    number: int,
    device: str,
    advance: Callable[[int], None],
) -> None:
    """Person `number` of a dataset, filmed by a rig of its own.

    Writes a video per camera, capture.toml, keypoints.npz (2D, with faults) and truth.npz (3D, cameras, 2D).
    """
    seed = world_seed(seed, number)
    rig = resized(draw_rigs(1, views, look=look, seed=seed)[0], size)
    names = [f"cam{v + 1:02d}" for v in range(views)]
    joints, keypoints = [], []
    with ExitStack() as stack:
        videos = [stack.enter_context(VideoWriter(folder / f"{name}.mp4", fps)) for name in names]
        for frame in render_capture(rig, frames, look=look, seed=seed, fps=fps, device=device):
            for video, image in zip(videos, frame.image, strict=True):
                video.write(image)
            joints.append(frame.joints)
            keypoints.append(frame.keypoints)
            advance(1)
    rng = np.random.default_rng([seed, 21])
    true = np.stack(keypoints)
    write_keypoints(folder / "keypoints.npz", faulty(true, faults, rng), fps)
    _write_truth(folder / "truth.npz", np.stack(joints), true, rig, names, fps)
    error = np.exp(rng.normal(0, faults.focal_error, views)) if faults.focal_error else np.ones(views)
    _write_toml(folder, rig, names, fps, known, error)


def resized(rig: Rig, size: int) -> Rig:
    """The same cameras with images of another size; pixel (0, 0) stays the centre of the first pixel."""
    factor = size / rig.size[1]
    k = rig.intrinsics.clone()
    k[:, :2, :2] *= factor
    k[:, :2, 2] = (k[:, :2, 2] + 0.5) * factor - 0.5
    return Rig(k, rig.rotation, rig.translation, (round(rig.size[0] * factor), size))


def faulty(
    true: Float[np.ndarray, "T V J 2"], faults: Faults, rng: np.random.Generator
) -> Float[np.ndarray, "T V J 3"]:
    """Keypoints (x, y, confidence) as a detector with these faults gives them, from true ones."""
    frames, views, joints, _ = true.shape
    points = true + rng.normal(0, faults.noise_px, true.shape) if faults.noise_px else true.copy()
    points[rng.random((frames, views, joints)) < faults.missing_joints] = np.nan
    swapped = rng.random((frames, views)) < faults.swapped_sides
    points[swapped] = points[swapped][:, list(H36M_17.mirror)]
    points[rng.random((frames, views)) < faults.dropped_views] = np.nan
    seen = np.isfinite(points).all(-1, keepdims=True)
    return np.concatenate([points, np.where(seen, 1.0, np.nan)], axis=-1)


def write_keypoints(path: Path, keypoints: Float[np.ndarray, "T V J 3"], fps: float) -> None:
    """A capture's `keypoints.npz`: x, y, confidence of Human3.6M's 17 joints in all cameras; NaN is missing."""
    names = np.array(H36M_17.joint_names)
    with atomic_path(path) as partial:
        np.savez_compressed(partial, keypoints=keypoints, joint_names=names, fps=np.float64(fps))


def _write_truth(path: Path, joints: np.ndarray, keypoints: np.ndarray, rig: Rig, names: list[str], fps: float) -> None:
    """The keys of every pose file, and the cameras beside them."""
    with atomic_path(path) as partial:
        np.savez_compressed(
            partial,
            pose=joints,
            joint_names=np.array(H36M_17.joint_names),
            fps=np.float64(fps),
            unit=np.array("mm"),
            up=np.array([0.0, 0.0, 1.0]),
            frame=np.arange(len(joints)),
            time=np.arange(len(joints)) / fps,
            keypoints_2d=keypoints,
            cameras=np.array(names),
            R=rig.rotation.numpy(),
            t=rig.translation.numpy(),
            K=rig.intrinsics.numpy(),
            world=np.array(WORLD_VERSION),
        )


def _write_toml(folder: Path, rig: Rig, names: list[str], fps: float, known: str, focal_error: np.ndarray) -> None:
    cameras = []
    for v, name in enumerate(names):
        k = rig.intrinsics[v].numpy().copy()
        k[[0, 1], [0, 1]] *= focal_error[v]
        cameras.append(
            CaptureCamera(
                name,
                (rig.size[1], rig.size[0]),
                intrinsics=None if known == "nothing" else k,
                rotation=rig.rotation[v].numpy() if known == "cameras" else None,
                translation=rig.translation[v].numpy() if known == "cameras" else None,
                video=folder / f"{name}.mp4",
            )
        )
    up = np.array([0.0, 0.0, 1.0]) if known == "cameras" else None
    write_capture(folder, Capture(folder, fps, tuple(cameras), folder / "keypoints.npz", up=up, synchronised=True))


def write_images(
    out: Path,
    subjects: int,
    each: int,
    size: int,
    look: str,
    faults: Faults,
    seed: int,
    device: str,
    advance: Callable[[int], None],
) -> None:
    """Crops as JPEG, keypoints.json (COCO) and truth.npz: `pose` N J 3 (mm, the image's camera), `intrinsics`, `up`."""
    step = max(1, IMAGES_AT_ONCE // each)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    truth: dict[str, list[np.ndarray]] = {"pose": [], "intrinsics": [], "up": [], "subject": []}
    for part, first in enumerate(range(0, subjects, step)):
        people = min(step, subjects - first)
        views = single_images(
            people * each, size, look=look, seed=world_seed(seed, part), subjects=people, faults=faults, device=device
        )
        number = first + np.arange(people * each) % people
        for i in range(len(views)):
            _write_image(out, views, i, int(number[i]), images, annotations)
        for name in ("pose", "intrinsics", "up"):
            truth[name].append(getattr(views, name).numpy())
        truth["subject"].append(number)
        advance(len(views))
    category = {"id": 1, "name": "person", "keypoints": list(H36M_17.joint_names), "skeleton": _bones()}
    write_json(out / "keypoints.json", {"images": images, "annotations": annotations, "categories": [category]})
    with atomic_path(out / "truth.npz") as partial:
        np.savez_compressed(
            partial,
            joint_names=np.array(H36M_17.joint_names),
            unit=np.array("mm"),
            world=np.array(WORLD_VERSION),
            **{name: np.concatenate(parts) for name, parts in truth.items()},  # type: ignore[arg-type]
        )


def _bones() -> list[list[int]]:
    return [[parent + 1, child + 1] for parent, child in H36M_17.limbs]  # COCO counts joints from 1


def _write_image(
    out: Path, views: Views, row: int, subject: int, images: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> None:
    """One JPEG and its two entries; v is 2 where the joint is given, else x, y and v are 0, as COCO has it."""
    number = len(images)
    name = f"images/{number:06d}.jpg"
    image = views.image[row].permute(1, 2, 0).numpy()
    with atomic_path(out / name) as partial:
        Image.fromarray(image).save(partial, quality=JPEG_QUALITY)
    size = image.shape[0]
    images.append({"id": number, "file_name": name, "width": size, "height": size,
                   "intrinsics": views.intrinsics[row]})  # fmt: skip
    points = views.keypoints[row].numpy().astype(np.float64)
    seen = np.asarray(np.isfinite(points).all(axis=-1))
    low, high = (points[seen].min(0), points[seen].max(0)) if seen.any() else (np.zeros(2), np.zeros(2))
    box = [*low, *(high - low)]
    triples = np.where(seen[:, None], np.c_[points, np.full(len(points), 2.0)], 0.0)
    annotations.append({"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "subject": subject, "bbox": box,
                        "area": box[2] * box[3], "num_keypoints": int(seen.sum()), "keypoints": triples.ravel()})  # fmt: skip
