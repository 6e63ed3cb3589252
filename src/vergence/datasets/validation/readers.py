"""What `vergence data check` reads that no recipe reads as `Records`: captures, the world's images, prepared crops.

A capture's own truth, where the built-in world wrote it (`truth.npz`), is read here and nowhere else in training's reach:
a check is a measurement. Prepared crops are cameras of their own, so their records speak of the crops.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from vergence.datasets.capture import CapturePixels, capture_records
from vergence.datasets.make_records import make_records
from vergence.datasets.records import ImageRef, Records
from vergence.datasets.shards.reader import INDEX, ShardDataset, check_files, read_manifest
from vergence.errors import VergenceError, refusing
from vergence.files import inside, read_arrays
from vergence.footage.calibrations.summary import described
from vergence.footage.capture import Capture, load_capture
from vergence.footage.observations import Observations, observe, where_keypoints_go
from vergence.geometry.crops import whole_image_box
from vergence.outputs.tables import read_npz
from vergence.skeleton import skeleton_from_names

CAMERAS = "rig"  # of a report: what was understood of the rig, a line each


def read_capture_records(path: Path, number: int = 0) -> Records:
    """All images of a capture in which its subject is seen; the world's truth as their 3D where it lies there.

    Raises:
        VergenceError: no capture, no keypoints, nobody in them, or a truth of another recording.
    """
    capture = load_capture(path)
    if not capture.has_keypoints:
        lines = " ".join(f"{line}." for line in described(capture.rig))
        raise VergenceError(
            f"the capture {path} has no 2D keypoints; of its cameras is known: {lines}".rstrip("."),
            where_keypoints_go(capture),
        )
    seen = observe(capture)
    truth = capture.folder / "truth.npz"
    pose = _true_poses(truth, capture, seen) if truth.is_file() else None
    records = capture_records(capture, seen, pose, number=number, report={CAMERAS: described(capture.rig)})
    if not len(records):
        raise VergenceError(
            f"the capture {path} shows nobody", "Find its keypoints anew: `vergence detect CAPTURE --again`."
        )
    return records


def capture_pixels(path: Path) -> CapturePixels:
    """Images of a capture, or of several below one folder."""
    folders = [path] if (path / "capture.toml").is_file() else [f.parent for f in path.glob("*/capture.toml")]
    return CapturePixels([load_capture(folder) for folder in folders or [path]])


class ShardPixels:
    """Prepared crops; an image's frame is its row."""

    def __init__(self, path: Path) -> None:
        manifest = read_manifest(path)
        skeleton = skeleton_from_names(manifest["joint_names"])
        self._dataset = ShardDataset(path, int(manifest["size"]), skeleton)

    def read(self, image: ImageRef) -> ndarray:
        """RGB, `H W 3`."""
        tensor = self._dataset.read(torch.tensor([image.frame or 0])).image
        return tensor[0].permute(1, 2, 0).contiguous().numpy()


def _true_poses(file: Path, capture: Capture, seen: Observations) -> ndarray:
    """The world's truth in each camera's frame, `T V J 3`, in the joints of the capture's keypoints."""
    poses = read_npz(file)
    if len(poses.pose) != len(seen.keypoints):
        raise VergenceError(f"{file} has {len(poses.pose)} frames, the keypoints {len(seen.keypoints)}",
                            "They belong to different recordings; write the capture again.")  # fmt: skip
    data = read_arrays(file, ("cameras", "R", "t"))
    names, turn, shift = [str(n) for n in data["cameras"]], data["R"].astype(float), data["t"].astype(float)
    if missing := [name for name in capture.names if name not in names]:
        raise VergenceError(f"{file} has no camera {missing[0]}", "It belongs to another capture.")
    order = [names.index(name) for name in capture.names]
    world = poses.skeleton.convert(poses.pose, seen.skeleton).astype(float)
    return np.einsum("vij,tkj->tvki", turn[order], world) + shift[order][None, :, None]


def read_captures(path: Path) -> Records:
    """All captures below a folder, each a person of its own."""
    from vergence.datasets.validation.detect_format import joined

    folders = sorted(file.parent for file in path.glob("*/capture.toml"))
    return joined(read_capture_records(folder, number) for number, folder in enumerate(folders))


def read_world_images(path: Path) -> Records:
    """`vergence synth --kind images`: COCO-style 2D and the truth beside it.

    Raises:
        VergenceError: files that are damaged or of different lengths.
    """
    with refusing(f"{path} holds a damaged keypoints.json", "Write it again."):
        found = json.loads((path / "keypoints.json").read_text(encoding="utf-8"))
        images, people = found["images"], found["annotations"]
        skeleton = skeleton_from_names(found["categories"][0]["keypoints"])
        points = np.array([person["keypoints"] for person in people], dtype=float).reshape(len(people), -1, 3)
        files = [inside(path, str(image["file_name"])) for image in images]
        size = np.array([[image["width"], image["height"]] for image in images], dtype=float)
    needed = ("pose", "intrinsics", "up", "subject")
    arrays = read_arrays(path / "truth.npz", needed)
    truth: dict[str, Any] = {key: arrays[key].astype(float) for key in needed}
    n = len(images)
    if {len(people), len(points), *map(len, truth.values())} != {n}:
        raise VergenceError(f"{path} has {n} images, {len(people)} people and {len(truth['pose'])} poses",
                            "Write it again: there is one person and one pose for each image.")  # fmt: skip
    known = points[..., 2] > 0
    box = np.stack([whole_image_box(int(h), int(w)) for w, h in size])
    keypoints = np.where(known[..., None], points[..., :2], np.nan)
    truth["subject"] = truth["subject"].astype(int)
    return make_records(files, skeleton, size=size, box=box, keypoints=keypoints, distortion=np.zeros(5), **truth)


def read_shards(path: Path) -> Records:
    """Prepared crops: each is an image of its own, and a camera. Checksums are compared first.

    Raises:
        VergenceError: not finished, or files that are missing or have changed.
    """
    check_files(path)
    manifest = read_manifest(path)
    skeleton, side = skeleton_from_names(manifest["joint_names"]), int(manifest["size"])
    dataset = ShardDataset(path, side, skeleton)
    index, n = dataset.index, len(dataset)
    floats = {name: getattr(index, name).double().numpy()
              for name in ("keypoints", "confidence", "intrinsics", "rotation", "translation", "up", "time")}  # fmt: skip
    whole = {name: getattr(index, name).numpy() for name in ("subject", "sequence", "view", "frame", "time_step")}
    metric = index.metric.numpy()[:, None, None] & ~index.pseudo.numpy()[:, None, None]
    return make_records(
        [ImageRef(path / INDEX, row) for row in range(n)], skeleton, size=(float(side), float(side)),
        box=np.tile(whole_image_box(side, side), (n, 1)), pose=np.where(metric, index.pose.double().numpy(), np.nan),
        distortion=np.zeros(5), groups=dataset.groups, measures=dataset.measures, report=dataset.report, **floats, **whole,
    )  # fmt: skip
