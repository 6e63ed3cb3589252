"""A capture as a dataset: crops of the subject by every camera, with the footage's own 2D, and a reconstruction's 3D.

The subject and its keypoints come from `footage`; what a reconstruction of the same capture says may be given as the
pose to compare with. It counts as a pseudo-label, never as truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vergence.batches.crops import crop_view
from vergence.batches.dataset import MemoryDataset
from vergence.batches.views import Views
from vergence.datasets.people import SEEN_JOINTS
from vergence.errors import VergenceError
from vergence.footage.capture import Capture, load_capture
from vergence.footage.observations import observe
from vergence.footage.video import wanted_frames
from vergence.geometry.crops import box_from_keypoints
from vergence.recipes.recipe import Source
from vergence.reconstruction.result import Reconstruction
from vergence.skeleton import Skeleton


def read_capture(source: Source, image_size: int, skeleton: Skeleton) -> MemoryDataset:
    """All wanted frames of all cameras as crops in memory.

    Args:
        source: `path`, `frames`, and `reconstruction`: a folder that `vergence reconstruct` wrote for this capture.
        image_size: side of the crops.
        skeleton: the run's joints; the capture's are converted.

    Raises:
        VergenceError: no images, no keypoints, no such frames, or a reconstruction of another recording.
    """
    capture = load_capture(source.path)
    seen = observe(capture)
    frames = wanted_frames(source.frames, len(seen.keypoints), "frames:")
    points = seen.skeleton.convert(seen.keypoints[..., :2], skeleton)
    trust = seen.skeleton.convert_confidence(np.nan_to_num(seen.keypoints[..., 2]), skeleton)
    known = np.isfinite(points).all(-1)
    trust = np.where(known, trust, 0.0)
    poses = (
        _reconstruction(Path(source.reconstruction), capture, len(seen.keypoints), skeleton)
        if source.reconstruction
        else None
    )
    parts: list[Views] = []
    for v, camera in enumerate(capture.cameras):
        turn = camera.rotation
        for t in frames:
            whole = seen.keypoints[t, v, :, :2]
            if np.isfinite(whole).all(-1).sum() < SEEN_JOINTS:
                continue
            view = crop_view(
                capture.image(v, t),
                camera.intrinsics,
                camera.distortion,
                box_from_keypoints(whole),
                image_size,
                keypoints=points[t, v],
                confidence=trust[t, v],
                pose=None if poses is None else poses[v][t],
                rotation=turn,
                translation=camera.translation,
                up=None if capture.up is None or turn is None else turn @ capture.up,
                metric=poses is not None,
            )
            numbers = {"time_step": t, "view": v, "frame": t, "time": t / capture.fps, "pseudo": poses is not None}
            parts.append(view.replace(**{name: torch.tensor([value]) for name, value in numbers.items()}))
    if not parts:
        raise VergenceError(
            f"the capture {source.path} shows nobody in frames {source.frames or 'all'}", "Look at its keypoints."
        )
    return MemoryDataset(Views.cat(parts))


def _reconstruction(folder: Path, capture: Capture, frames: int, skeleton: Skeleton) -> Sequence[np.ndarray]:
    """Each camera's poses `T J 3` in its own frame, mm (free of scale: at the assumed height)."""
    found = Reconstruction.load(folder)
    if len(found.poses.pose) != frames:
        raise VergenceError(
            f"{folder} has {len(found.poses.pose)} frames, the capture {frames}",
            "Reconstruct this very capture, whole.",
        )
    scale = found.poses.in_world().mm_per_unit
    world = found.skeleton.convert(found.poses.pose, skeleton) * scale
    named = {camera.name: camera for camera in found.rig.cameras}
    out = []
    for name in capture.names:
        camera = named.get(name)
        if camera is None or not camera.has_extrinsics:
            raise VergenceError(f"{folder / 'rig.toml'} has no camera {name}", "Reconstruct this very capture, whole.")
        out.append(camera.scaled(scale).to_camera(world))
    return out
