"""`vergence.synthesize`: a dataset from the built-in world on disk, with everything that is true about it.

Captures lie as footage lies in folders, images with COCO-style keypoints. What is written goes through the formats that
users' own data comes in, so whatever reads those reads this; beside it lies `truth.npz`, which only evaluation may look
at. Faults change what is stated (keypoints, focal lengths), never the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from PIL import Image

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.files import atomic_path, plain, write_json
from vergence.folders import begun, held, nothing_left
from vergence.footage.capture import Capture
from vergence.footage.capture_camera import CaptureCamera
from vergence.footage.capture_writer import write_capture
from vergence.footage.video import VideoWriter
from vergence.networks.devices import resolve_device
from vergence.progress import Progress, counted, silent
from vergence.skeleton import H36M_17
from vergence.world.faults import Faults
from vergence.world.rigs import Rig, draw_rigs
from vergence.world.scenes import WORLD_VERSION, Frame, check_numbers, render_capture, single_images

IMAGES_AT_ONCE = 1000  # drawn together; bounds the memory
JPEG_QUALITY = 95
Advance = Callable[[int], None]  # told how many images are done
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
    folder: Path, rig: Rig, drawn: Iterable[Frame], fps: float, known: str, faults: Faults, seed: int,
    advance: Advance,
) -> None:  # fmt: skip
    """One person, filmed by a rig: a video per camera, capture.toml, keypoints.npz (2D, with faults of this seed) and
    truth.npz (3D, cameras, 2D)."""
    views = len(rig)
    names = [f"cam{v + 1:02d}" for v in range(views)]
    joints, keypoints = [], []
    with ExitStack() as stack:
        videos = [stack.enter_context(VideoWriter(folder / f"{name}.mp4", fps)) for name in names]
        for frame in drawn:
            for video, image in zip(videos, frame.image, strict=True):
                video.write(image)
            joints.append(frame.joints)
            keypoints.append(frame.keypoints)
            advance(1)
    rng = np.random.default_rng([seed, 21])
    true = np.stack(keypoints)
    with atomic_path(folder / "keypoints.npz") as partial:  # x, y, confidence; NaN is missing
        joint_names = np.array(H36M_17.joint_names)
        np.savez_compressed(partial, keypoints=faulty(true, faults, rng), joint_names=joint_names, fps=np.float64(fps))
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
        told: dict[str, Any] = {} if known == "nothing" else {"intrinsics": k}
        if known == "cameras":
            told |= {"rotation": rig.rotation[v].numpy(), "translation": rig.translation[v].numpy()}
        cameras.append(CaptureCamera(name, rig.size[::-1], video=folder / f"{name}.mp4", **told))
    up = np.array([0.0, 0.0, 1.0]) if known == "cameras" else None
    write_capture(folder, Capture(folder, fps, tuple(cameras), folder / "keypoints.npz", up=up, synchronised=True))


def write_images(
    out: Path, subjects: int, each: int, size: int, look: str, faults: Faults, seed: int, device: str, advance: Advance
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
    bones = [[parent + 1, child + 1] for parent, child in H36M_17.limbs]  # COCO counts joints from 1
    category = {"id": 1, "name": "person", "keypoints": list(H36M_17.joint_names), "skeleton": bones}
    write_json(out / "keypoints.json", {"images": images, "annotations": annotations, "categories": [category]})
    with atomic_path(out / "truth.npz") as partial:
        np.savez_compressed(
            partial,
            joint_names=np.array(H36M_17.joint_names),
            unit=np.array("mm"),
            world=np.array(WORLD_VERSION),
            **{name: np.concatenate(parts) for name, parts in truth.items()},  # type: ignore[arg-type]
        )


def _write_image(
    out: Path, views: Views, row: int, subject: int, images: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> None:
    """One JPEG and its two entries; v is 2 where the joint is given, else x, y and v are 0, as COCO has it.
    Annotations count from 1: pycocotools never counts that of id 0 as found."""
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
    annotations.append({"id": number + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "subject": subject, "bbox": box,
                        "area": box[2] * box[3], "num_keypoints": int(seen.sum()), "keypoints": triples.ravel()})  # fmt: skip


FOREIGN = {"capture": ("occlusion", "truncation"), "images": ("dropped_views", "focal_error")}


def synthesize(
    out: Path | str,
    *,
    kind: Literal["capture", "images"] = "capture",
    subjects: int | None = None,
    frames: int | None = None,
    views: int = 4,
    size: int | None = None,
    fps: float = 25.0,
    look: Literal["studio", "wild"] | None = None,
    known: Literal["nothing", "intrinsics", "cameras"] = "intrinsics",
    faults: Faults | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
) -> list[Path]:
    """Writes captures (a video per camera, capture.toml, keypoints.npz, truth.npz) or images with keypoints.

    Args:
        out: folder, new or empty.
        kind: `capture`, as `vergence.reconstruct` reads it, or `images`: JPEG crops of one person each, with COCO-style
            keypoints.json and truth.npz.
        subjects: people; default: 1 for a capture, 1000 for images. Several people are a capture each.
        frames: of each capture (default 250), or images of each person (default 1).
        views: cameras of a capture.
        size: side of the square images, px; default: 640 for a capture, 256 for images.
        fps: frames per second of a capture.
        look: default: studio for a capture, wild for images.
        known: what capture.toml states of the cameras: nothing, intrinsics, or cameras (intrinsics, R and t).
        faults: of the given data, never of the truth; occlusion and truncation are for images, dropped views and a
            focal error for captures.
        seed: of people, motion, cameras and faults, 0 to 999; two seeds have no people in common.
        device: where to draw: auto, cpu, cuda or mps.
        progress: reports every frame.

    A call that did not end is made anew by the same call.

    Returns:
        The folders: `out`, or `out/person01` and on for the captures of several people.

    Raises:
        VergenceError: a number out of its range, a fault of the other kind, or a folder that holds something.
    """
    out, faults = Path(out), faults or Faults()
    if kind not in FOREIGN:
        raise VergenceError(f"there is no kind {kind!r}", "Kinds: capture, images.")
    capture = kind == "capture"
    people = subjects if subjects is not None else (1 if capture else 1000)
    each = frames if frames is not None else (250 if capture else 1)
    side = size if size is not None else (640 if capture else 256)
    _check(kind, faults, side, subjects=people, frames=each, views=views)
    look = look or ("studio" if capture else "wild")
    device, advance = resolve_device(device), counted("drawing", people * each, progress)
    made_with = {"kind": kind, "subjects": people, "frames": each, "views": views, "size": side, "fps": fps, "look": look,
                 "known": known, "faults": plain(faults), "seed": seed, "world": WORLD_VERSION}  # fmt: skip
    with held(out), nothing_left(out), begun(out, made_with):
        if not capture:
            write_images(out, people, each, side, look, faults, seed, device, advance)
            return [out]
        folders = [out] if people == 1 else [out / f"person{i + 1:02d}" for i in range(people)]
        for i, folder in enumerate(folders):
            own = world_seed(seed, i)
            rig = resized(draw_rigs(1, views, look=look, seed=own)[0], side)
            drawn = render_capture(rig, each, look=look, seed=own, fps=fps, device=device)
            write_recording(folder, rig, drawn, fps, known, faults, own, advance)
    return folders


def _check(kind: str, faults: Faults, side: int, **counts: int) -> None:
    for name in FOREIGN[kind]:
        if (value := getattr(faults, name)) != getattr(Faults(), name):
            other = "images" if kind == "capture" else "capture"
            raise VergenceError(f"{name} {value:g} is for kind {other} only", f"Make {other}, or leave it out.")
    check_numbers(side, **counts)
