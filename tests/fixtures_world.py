"""Recordings of the built-in world as files on disk, and the records that a reader of them should end in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vergence.datasets.records import ImageRef, Records
from vergence.footage.video import VideoWriter
from vergence.geometry.crops import box_from_keypoints
from vergence.skeleton import H36M_17
from vergence.world.rigs import Rig, draw_rigs
from vergence.world.scenes import Frame, render_capture
from vergence.world.synthesize import resized


def world(frames: int = 3, views: int = 2, size: int = 160, seed: int = 3) -> tuple[Rig, list[Frame]]:
    """A rig and what it saw: full images of one person with their truth (mm, px)."""
    rig = resized(draw_rigs(1, views, look="studio", seed=seed)[0], size)
    return rig, list(render_capture(rig, frames, seed=seed))


def write_pixels(folder: Path, frames: list[Frame], kind: str) -> list[list[ImageRef]]:
    """The images as `jpg` or `png` files, or one `mp4` per camera; by frame, then view."""
    folder.mkdir(parents=True, exist_ok=True)
    views = range(len(frames[0].image))
    if kind == "mp4":
        for v in views:
            with VideoWriter(folder / f"cam{v}.mp4", 25.0) as video:
                for frame in frames:
                    video.write(frame.image[v])
        return [[ImageRef(folder / f"cam{v}.mp4", t) for v in views] for t in range(len(frames))]
    found = []
    for t, frame in enumerate(frames):
        row = []
        for v in views:
            path = folder / f"cam{v}_{t:06d}.{kind}"
            Image.fromarray(frame.image[v]).save(path, **({"quality": 95} if kind == "jpg" else {}))
            row.append(ImageRef(path))
        found.append(row)
    return found


def world_records(folder: Path, rig: Rig, frames: list[Frame], kind: str = "jpg", subject: int = 0) -> Records:
    """Writes the pixels and gives the records of all frames and views, ordered by frame, then view."""
    places = write_pixels(folder, frames, kind)
    count, views = len(frames), len(rig)
    rotation, translation = rig.rotation.numpy(), rig.translation.numpy()
    joints = np.stack([frame.joints for frame in frames]).astype(np.float64)
    points = np.stack([frame.keypoints for frame in frames]).astype(np.float64)
    pose = np.einsum("vij,tkj->tvki", rotation, joints) + translation[None, :, None]
    n = count * views
    view, frame = np.tile(np.arange(views), count), np.repeat(np.arange(count), views)
    flat = points.reshape(n, 17, 2)
    return Records(
        images=[place for row in places for place in row],
        size=np.tile(np.array(rig.size[::-1], dtype=np.float64), (n, 1)),
        box=np.stack([box_from_keypoints(p) for p in flat]),
        keypoints=flat,
        confidence=np.isfinite(flat).all(-1).astype(np.float32),
        pose=pose.reshape(n, 17, 3),
        intrinsics=rig.intrinsics.numpy()[view],
        distortion=np.zeros((n, 5)),
        rotation=rotation[view],
        translation=translation[view],
        up=rotation[view][:, :, 2],
        subject=np.full(n, subject),
        sequence=np.full(n, subject),
        view=view,
        frame=frame,
        time_step=frame + 1000 * subject,
        time=frame / 25.0,
        groups={"action": np.where(frame % 2, "sitting", "walking"), "camera": np.array([f"cam{v}" for v in view])},
        skeleton=H36M_17,
        report={"skipped": {"nobody": 0}, "assumed": "no lens distortion"},
    )
