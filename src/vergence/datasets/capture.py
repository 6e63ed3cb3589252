"""A capture as a dataset: the subject in every camera, with the footage's own 2D, and a reconstruction's 3D.

The subject and its keypoints come from `footage`; what a reconstruction of the same capture says may be given as the
pose to compare with. It counts as a pseudo-label, never as truth, and it puts the 2D right (`batches.repair`). There is one
reader, for training, for shards and for `vergence data check`: `capture_records`. Pixels are read when a batch asks for
them; a crop that was made once is kept in a file (`batches.kept`), so that memory does not grow with the footage.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from vergence.batches.kept import Kept
from vergence.batches.repair import Repaired, repair
from vergence.datasets.people import SEEN_JOINTS, with_crops
from vergence.datasets.records import ImageDataset, ImageRef, ImageRefs, OpenFiles, Records
from vergence.errors import VergenceError
from vergence.footage.capture import Capture, load_capture
from vergence.footage.images import spans
from vergence.footage.observations import Observations, observe
from vergence.footage.video import wanted_frames
from vergence.geometry.crops import person_boxes
from vergence.recipes.recipe import Source
from vergence.reconstruction.result import Reconstruction
from vergence.reconstruction.sync.footage import synchronise
from vergence.skeleton import Skeleton

log = logging.getLogger(__name__)


def read_capture(source: Source, image_size: int, skeleton: Skeleton) -> Kept:
    """All wanted frames of all cameras as crops.

    Args:
        source: `path`, `frames`, and `reconstruction`: a folder that `vergence reconstruct` wrote for this capture.
        image_size: side of the crops.
        skeleton: the run's joints; the capture's are converted.

    Raises:
        VergenceError: no images, no keypoints, no such frames, or a reconstruction of another recording.
    """
    capture = load_capture(source.path)
    for camera in capture.cameras:
        if camera.video is None:
            raise VergenceError(f"camera {camera.name} has no images", "Give `video` or `frames` in capture.toml.")
    capture, seen, _ = synchronise(capture, observe(capture))
    seen = replace(seen, people=())
    frames = wanted_frames(source.frames, len(seen.keypoints), "frames:")
    last = max((high for _, high in spans(source.frames, "frames:")), default=0)
    if last >= len(seen.keypoints):
        log.warning("frames: %s: %s has frames 0 to %d", source.frames, source.path, len(seen.keypoints) - 1)
    pose, report = None, dict[str, Any]()
    if source.reconstruction:
        pose, fixed = _reconstruction(Path(source.reconstruction), capture, seen)
        shape = seen.keypoints.shape[:3]
        points = np.concatenate([fixed.keypoints, fixed.confidence[..., None]], -1).reshape(*shape, 3)
        seen, report = Observations(points, seen.skeleton, seen.subject, seen.notes), {"put_right": fixed.counts}
    records, labelled = capture_records(capture, seen, pose, frames, report=report), pose is not None
    del seen, pose  # of a long recording as large as all that follows
    if not len(records):
        raise VergenceError(
            f"the capture {source.path} shows nobody in frames {source.frames or 'all'}",
            "Choose other frames, or find its keypoints anew: `vergence detect CAPTURE --again`.",
        )
    records = with_crops(records, Counter())
    dataset = ImageDataset(records, image_size, skeleton, pixels=CapturePixels([capture]))
    made = torch.full((len(records),), labelled)
    dataset.index = dataset.index.replace(pseudo=made & dataset.index.has_pose)
    return Kept(dataset)


def capture_records(
    capture: Capture,
    seen: Observations,
    pose: Float[ndarray, "T V J 3"] | None = None,
    frames: Sequence[int] | None = None,
    number: int = 0,
    report: Mapping[str, Any] | None = None,
) -> Records:
    """The images of a capture in which its subject is seen, camera by camera.

    Args:
        capture: whose images they are.
        seen: its keypoints.
        pose: in each camera's frame, mm, in the joints of `seen`.
        frames: those wanted; None means all.
        number: of the person and the recording, where several captures are read.
        report: more to say of them.
    """
    known = np.isfinite(seen.keypoints[..., :2]).all(-1).sum(-1) >= SEEN_JOINTS
    if frames is not None:
        known &= np.isin(np.arange(len(known)), frames)[:, None]
    parts: list[ImageRefs] = []
    for v, own in enumerate(known.T):
        shown = np.flatnonzero(own)
        paths, file, place = capture.image_files(v, shown)
        own[shown] = file >= 0
        parts.append(ImageRefs(paths, file[file >= 0], place[file >= 0]))
    view, frame = np.nonzero(known.T)
    rig, n, joints = capture.rig, len(view), len(seen.skeleton)
    points = seen.keypoints[frame, view]
    box = person_boxes(points[..., :2], SEEN_JOINTS)
    keypoints, confidence = points[..., :2].astype(np.float32), np.nan_to_num(points[..., 2])
    del points  # twice as large
    rotation = rig.rotation[view]
    return Records(
        images=ImageRefs.cat(parts),
        size=rig.image_size.astype(float)[view],
        box=box,
        keypoints=keypoints,
        confidence=confidence,
        pose=np.broadcast_to(np.float32(np.nan), (n, joints, 3)) if pose is None else pose[frame, view],
        intrinsics=rig.intrinsics[view],
        distortion=rig.distortion[view],
        rotation=rotation,
        translation=rig.translation[view] if capture.unit == "mm" else np.full((n, 3), np.nan),
        up=rotation @ (np.full(3, np.nan) if capture.up is None else capture.up),
        subject=np.full(n, number),
        sequence=np.full(n, number),
        view=view,
        frame=frame,
        time_step=frame + number * 10_000_000,
        time=frame / capture.fps,
        groups={"camera": np.array(capture.names)[view]},
        skeleton=seen.skeleton,
        report={"notes": [*capture.notes, *seen.notes], **(report or {})},
    )


class CapturePixels:
    """Images of captures, brought to the size that their labels are for."""

    def __init__(self, captures: Sequence[Capture]) -> None:
        self._fits = {c.video: c.fit for capture in captures for c in capture.cameras if c.video is not None}
        self._files = OpenFiles()

    def read(self, image: ImageRef) -> ndarray:
        """RGB, `H W 3`, in the pixels of the capture's keypoints."""
        fit = self._fits.get(image.path) or self._fits.get(image.path.parent)
        found = self._files.read(image)
        return found if fit is None else fit.apply(found)


def _reconstruction(folder: Path, capture: Capture, seen: Observations) -> tuple[Float[ndarray, "T V J 3"], Repaired]:
    """Poses in each camera's own frame, mm (free of scale: at the assumed height), and the 2D as they put it right."""
    found, frames = Reconstruction.load(folder), len(seen.keypoints)
    if len(found.poses.pose) != frames:
        raise VergenceError(
            f"the reconstruction {folder} has {len(found.poses.pose)} frames, the capture {frames}",
            "Reconstruct this very capture, whole.",
        )
    scale = found.poses.in_world().mm_per_unit
    world = found.skeleton.convert(found.poses.pose, seen.skeleton) * scale
    named = {camera.name: camera for camera in found.rig.cameras}
    poses, pixels = [], []
    for name in capture.names:
        camera = named.get(name)
        if camera is None or not camera.has_extrinsics:
            raise VergenceError(f"{folder / 'rig.toml'} has no camera {name}", "Reconstruct this very capture, whole.")
        poses.append(camera.scaled(scale).to_camera(world))
        pixels.append(camera.project(poses[-1]))
    shown = np.stack(pixels, 1).reshape(-1, len(seen.skeleton), 2)
    flat = seen.keypoints.reshape(-1, *seen.keypoints.shape[2:])
    time, view = np.divmod(np.arange(len(flat)), len(capture.cameras))
    trust = np.nan_to_num(flat[..., 2])
    return np.stack(poses, 1), repair(flat[..., :2], trust, shown, view, time, seen.skeleton.mirror)
