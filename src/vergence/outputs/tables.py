"""Poses as NPZ, CSV and JSON.

NPZ     `pose` T J 3, `joint_names`, `fps`, `unit`, `up` (NaN where unknown), `frame`, `time`, and `keypoints`,
        `confidence`, `reliable`, `root` and `root_sigma` (T 3), `error` and `error_90` (T J, in `unit`), `strangeness`,
        `person`, `smoothing` and `model` where there are any. Plain arrays: it opens without pickle. `placed`, a text in
        JSON, says how the poses stand in the world: up, floor and scale, each with its source and uncertainty
        (`outputs.world.World`).
CSV     one row per frame: `frame`, `time`, then `<joint>_x`, `_y`, `_z`, and where they are known `reliable` (1, 0) and
        `root_x`, `_y`, `_z`, `root_sigma_x`, `_y`, `_z`, `<joint>_error`, `<joint>_error_90`, `strangeness`; then, the same
        in every row, `unit`, `fps`, `up`, `person` and `smoothing`; and in the first row alone what had to be assumed of the
        world (`placed_...`). Missing is an empty field.
JSON    the same keys as the NPZ; missing is null.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int

from vergence.errors import refusing
from vergence.files import atomic_path, from_plain, plain, read_npz_as
from vergence.outputs.sequence import UNSURE, PoseSequence
from vergence.outputs.world import World

EXTRAS = ("keypoints", "confidence", "reliable", "root", "root_sigma", *UNSURE)


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
    data |= {name: np.asarray(getattr(poses, name)) for name in EXTRAS if getattr(poses, name) is not None}
    data |= {name: np.array(value) for name, value in _words(poses).items()}
    if (world := poses.known_world) is not None:
        data["placed"] = np.array(json.dumps(plain(world)))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **data)  # type: ignore[arg-type]


def _words(poses: PoseSequence) -> dict[str, int | str]:
    """Whose poses they are, what was done to them, and what the model that predicted them was taught by."""
    person = {} if poses.person is None else {"person": poses.person}
    texts = {"smoothing": poses.smoothing, "model": poses.model.replace(";", ",")}
    return {**person, **{name: text for name, text in texts.items() if text}}


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
    reliable: Bool[np.ndarray, " T"] | None = None
    root: Float[np.ndarray, "T 3"] | None = None
    root_sigma: Float[np.ndarray, "T 3"] | None = None
    error: Float[np.ndarray, "T J"] | None = None
    error_90: Float[np.ndarray, "T J"] | None = None
    strangeness: Float[np.ndarray, " T"] | None = None
    person: int | None = None
    smoothing: str = ""
    model: str = ""
    placed: str | None = None


def read_npz(path: Path | str) -> PoseSequence:
    """Poses from an NPZ that `write_npz` wrote, or that has its required keys.

    Raises:
        VergenceError: missing, unreadable, without a required key, or with an array of another kind or shape.
    """
    data = read_npz_as(path, PoseFile, "Is it a pose file?")
    if data.up is not None and not np.isfinite(data.up).all():
        data = replace(data, up=None)
    values = dict(vars(data))
    placed = values.pop("placed")
    return PoseSequence(**values, world=None if placed is None else _world(placed, path))


def _world(text: str, path: Path | str) -> World:
    with refusing(f"`placed` of {path} cannot be read", "Is it a pose file?"):
        values = json.loads(text)
        return from_plain(World, values | {"up": np.array(values["up"], dtype=np.float64).reshape(3)})


def write_csv(path: Path | str, poses: PoseSequence) -> None:
    """Writes the table atomically; a `VergenceError` where it cannot be written."""
    own = {"unit": poses.unit, "fps": f"{poses.fps:g}", "up": up_words(poses.up), **_words(poses)}
    once = _assumed(poses)
    last = [] if poses.reliable is None else ["reliable"]
    last += [f"{name}_{axis}" for name in ("root", "root_sigma") if getattr(poses, name) is not None for axis in "xyz"]
    unsure = [name for name in UNSURE if getattr(poses, name) is not None]
    last += [f"{joint}_{name}" for name in unsure if name != "strangeness" for joint in poses.joint_names]
    last += [name for name in unsure if name == "strangeness"]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as text:
        rows = csv.writer(text, lineterminator="\n")
        joints = [f"{name}_{axis}" for name in poses.joint_names for axis in "xyz"]
        rows.writerow(["frame", "time", *joints, *last, *own, *once])
        first, after = _line([*own.values(), *once.values()]), _line([*own.values(), *[""] * len(once)])
        for part in poses.parts():
            for row in _csv_rows(part):
                text.write(f"{row},{first}")
                first = after


def up_words(up: Float[np.ndarray, " 3"] | None) -> str:
    """A direction as one field."""
    return "unknown" if up is None else " ".join(f"{value:.6g}" for value in up)


def _line(values: list[int | str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _csv_rows(poses: PoseSequence) -> Iterator[str]:
    own = (poses.pose, poses.reliable, poses.root, poses.root_sigma, *(getattr(poses, name) for name in UNSURE))
    columns = [np.asarray(values, dtype=float).reshape(len(poses.pose), -1) for values in own if values is not None]
    values = np.concatenate(columns, axis=1)
    line = "%d,%.6f" + ",%.6g" * values.shape[1]
    values[~np.isfinite(values)] = np.nan
    for number, time, row in zip(poses.frames, poses.times, values.tolist()):
        yield (line % (int(number), time, *row)).replace("nan", "")


def _assumed(poses: PoseSequence) -> dict[str, str]:
    """What was not given, by column."""
    world = poses.known_world
    if world is None or not world.note:
        return {}
    values = plain(world) | {"up": " ".join(f"{value:.6g}" for value in world.up)}
    return {f"placed_{key}": "unknown" if v is None else str(v) for key, v in values.items()}


def write_json_poses(path: Path | str, poses: PoseSequence) -> None:
    """Writes the JSON atomically, a line for each frame of each array; a `VergenceError` where it cannot be written."""
    data = {"unit": poses.unit, "fps": float(poses.fps), "up": poses.up, "joint_names": list(poses.joint_names)}
    arrays = ["frame", "time", "pose", *(name for name in EXTRAS if getattr(poses, name) is not None)]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as text:
        text.write("{")
        for key, value in (data | _words(poses)).items():
            text.write(f'"{key}": {json.dumps(plain(value), allow_nan=False)},\n')
        for key in arrays:
            text.write(f'"{key}": [')
            for i, part in enumerate(poses.parts()):
                rows = (msgspec.json.encode(row.tolist()).decode() for row in np.asarray(getattr(part, key)))
                text.write((",\n" if i else "\n") + ",\n".join(rows))
            text.write("\n],\n")
        text.write(f'"placed": {json.dumps(plain(poses.known_world), allow_nan=False)}}}\n')
