"""Poses as NPZ, CSV and JSON.

NPZ     `pose` T J 3, `joint_names`, `fps`, `unit`, `up` (NaN where unknown), `frame`, `time`, and `keypoints` and
        `confidence` where there are any. Plain arrays: it opens without pickle.
CSV     one row per frame: `frame`, `time`, then `<joint>_x`, `_y`, `_z`. What a table has no place for stands in a
        first line that starts with `#`: `pandas.read_csv(path, comment="#")`. Missing is an empty field.
JSON    the same keys as the NPZ; missing is null.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vergence.files import atomic_path, plain, read_npz_as, write_json, write_text
from vergence.outputs.sequence import PoseSequence


def write_npz(path: Path | str, poses: PoseSequence) -> None:
    """Writes the NPZ atomically; a `VergenceError` where it cannot be written."""
    data = {
        "pose": np.asarray(poses.pose, dtype=np.float64),
        "joint_names": np.array(poses.joint_names),
        "fps": np.float64(poses.fps),
        "unit": np.array(poses.unit),
        "up": np.full(3, np.nan) if poses.up is None else np.asarray(poses.up, dtype=np.float64),
        "frame": poses.frames,
        "time": poses.times,
    }
    for name in ("keypoints", "confidence"):
        if getattr(poses, name) is not None:
            data[name] = np.asarray(getattr(poses, name))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **data)  # type: ignore[arg-type]


@dataclass(frozen=True)
class PoseFile:
    """What an NPZ of poses holds."""

    pose: Float[np.ndarray, "T J 3"]
    joint_names: tuple[str, ...]
    fps: float
    unit: str
    up: Float[np.ndarray, " 3"] | None = None
    keypoints: Float[np.ndarray, "T *V J 2"] | None = None
    confidence: Float[np.ndarray, "T J"] | None = None
    frame: Int[np.ndarray, " T"] | None = None
    time: Float[np.ndarray, " T"] | None = None


def read_npz(path: Path | str) -> PoseSequence:
    """Poses from an NPZ that `write_npz` wrote, or that has its required keys.

    Raises:
        VergenceError: missing, unreadable, without a required key, or with an array of another kind or shape.
    """
    data = read_npz_as(path, PoseFile, "Is it a pose file?")
    if data.up is not None and not np.isfinite(data.up).all():
        data = replace(data, up=None)
    return PoseSequence(**vars(data))


def write_csv(path: Path | str, poses: PoseSequence) -> None:
    """Writes the table atomically; a `VergenceError` where it cannot be written."""
    up = "unknown" if poses.up is None else " ".join(f"{value:.6g}" for value in poses.up)
    text = io.StringIO()
    text.write(f"# unit={poses.unit}; fps={poses.fps:g}; up={up}; joints={len(poses.joint_names)}\n")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["frame", "time", *(f"{name}_{axis}" for name in poses.joint_names for axis in "xyz")])
    for frame, time, pose in zip(poses.frames, poses.times, np.asarray(poses.pose).reshape(len(poses.pose), -1)):
        rows.writerow([int(frame), f"{time:.6f}", *("" if not np.isfinite(v) else f"{v:.6g}" for v in pose)])
    write_text(path, text.getvalue())


def write_json_poses(path: Path | str, poses: PoseSequence) -> None:
    """Writes the JSON atomically; a `VergenceError` where it cannot be written."""
    data = {
        "unit": poses.unit,
        "fps": float(poses.fps),
        "up": poses.up,
        "joint_names": list(poses.joint_names),
        "frame": poses.frames,
        "time": poses.times,
        "pose": np.asarray(poses.pose, dtype=np.float64),
    }
    data |= {k: getattr(poses, k) for k in ("keypoints", "confidence") if getattr(poses, k) is not None}
    write_json(path, plain(data))
