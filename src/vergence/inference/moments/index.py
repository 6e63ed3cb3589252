"""The index of a search: what an estimator saw in footage, in a file that is mapped into memory.

Every image becomes one descriptor: the embedding where the run has one, else the predicted pose turned to a heading of
its own, so that the camera's place does not count. With the descriptors lie their sketches (see `nearest`).

The file is mapped, not read: it opens at once, and processes share it. Building goes through files without names: memory
does not grow with the footage, and a call that is killed leaves none of them. The index itself appears whole, by a rename.

What breaks it: bytes of the file that change later are not noticed, only arrays that are missing or do not fit; an index of
before sketches has them made at its next use.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from vergence.errors import VergenceError, refusing
from vergence.files import atomic_path, map_npz, write_npz
from vergence.inference.estimator import Estimator
from vergence.inference.moments.sketch import main_axes, parts_of, sketch_of
from vergence.methods.base import pose_descriptor

BATCH = 64
NO_SPACE = "Free some space there, or set TMPDIR to another folder."


@dataclass(frozen=True)
class Shot:
    """One crop of footage: which camera, which frame of it, when (seconds), its pixels and its intrinsics."""

    camera: int
    frame: int
    time: float
    pixels: UInt8[np.ndarray, "H W 3"]
    intrinsics: Float[np.ndarray, "3 3"]


class Stretch(NamedTuple):
    """Rows of one camera: the first, the one behind the last, the usual and the least seconds between two images."""

    first: int
    end: int
    step: float
    least: float


@dataclass(frozen=True, eq=False)
class Index:
    """What an estimator saw in N images, ordered by camera, then time.

    Attributes:
        kind: what the descriptors are.
        descriptor: one per image.
        pose: as predicted; canonical or in the camera's frame, as `frame_of_pose` says.
        camera, frame, time: where it comes from; `cameras` names the cameras.
        made_by: everything that it depends on, plain values; another value needs another index.
        axes, sketch: of the descriptors (`sketched`), where they are kept.
    """

    kind: Literal["embedding", "pose"]
    descriptor: Float[np.ndarray, "N D"]
    pose: Float[np.ndarray, "N J 3"]
    frame_of_pose: str
    camera: Int[np.ndarray, " N"]
    frame: Int[np.ndarray, " N"]
    time: Float[np.ndarray, " N"]
    cameras: tuple[str, ...]
    joint_names: tuple[str, ...]
    made_by: dict[str, Any]
    axes: Float[np.ndarray, "A D"] | None = None
    sketch: Float[np.ndarray, "S N"] | None = None

    def __len__(self) -> int:
        return len(self.descriptor)

    @cached_property
    def sketched(self) -> tuple[Float[np.ndarray, "A D"], Float[np.ndarray, "S N"]]:
        """`axes` and `sketch`, made where they are not there."""
        if self.axes is not None and self.sketch is not None:
            return self.axes, self.sketch
        axes, file = main_axes(self.descriptor), tempfile.TemporaryFile()  # noqa: SIM115 - open as long as it is mapped
        with refusing(f"{tempfile.gettempdir()} could not be written", NO_SPACE, OSError):
            for part in parts_of(0, len(self)):
                for number, row in enumerate(sketch_of(self.descriptor[part], axes)):
                    file.seek((number * len(self) + part.start) * row.itemsize)
                    file.write(row.tobytes())
            file.flush()
        return axes, np.memmap(file, np.float32, "r", shape=(len(axes) + 1, len(self)))

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The rows of each camera."""
        edges, found = np.searchsorted(self.camera, np.arange(len(self.cameras) + 1)).tolist(), []
        for first, end in pairwise(edges):
            steps = np.diff(self.time[first:end]) if end - first > 1 else np.zeros(1)
            found.append(Stretch(first, end, float(np.median(steps)), float(steps.min())))
        return found

    def save(self, path: Path) -> None:
        """One NPZ, atomically; it carries its provenance."""
        head = {name: getattr(self, name) for name in _HEAD}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays["axes"], arrays["sketch"] = self.sketched
        head |= {"pose_unit": "reference_bone", "time_unit": "s"}
        with atomic_path(path) as partial:
            write_npz(partial, {"head": np.array(json.dumps(head)), **arrays})

    @staticmethod
    def load(path: Path) -> Index:
        """The index, its arrays mapped from the file.

        Raises:
            VergenceError: not an index, or not whole.
        """
        with refusing(f"{path} is not a whole search index", "Delete it; the next search makes it anew."):
            arrays = map_npz(path)
            head = json.loads(str(arrays.pop("head")))
            found = {name: head[name] for name in _HEAD} | {name: arrays[name] for name in _ARRAYS}
            found |= {"cameras": tuple(head["cameras"]), "joint_names": tuple(head["joint_names"])}
            index = Index(**found, axes=arrays.get("axes"), sketch=arrays.get("sketch"))
            _check(index)
        return index


_ARRAYS = ("descriptor", "pose", "camera", "frame", "time")
_HEAD = ("kind", "frame_of_pose", "cameras", "joint_names", "made_by")


def _check(index: Index) -> None:
    count = len(index)
    fit = all(len(getattr(index, name)) == count for name in _ARRAYS) and index.descriptor.ndim == 2
    if index.sketch is not None and index.axes is not None:
        fit = fit and index.sketch.shape == (len(index.axes) + 1, count)
        fit = fit and index.axes.shape[1:] == index.descriptor.shape[1:]
    if not fit or not count or not 0 <= index.camera[0] <= index.camera[-1] < len(index.cameras):
        raise ValueError("its arrays do not fit together")


def build_index(
    estimator: Estimator,
    shots: Iterable[Shot],
    cameras: Sequence[str],
    made_by: dict[str, Any],
    folder: Path | None = None,
) -> Index:
    """What the estimator sees in the shots, as an index whose arrays lie in files without names.

    Args:
        estimator: describes the images.
        shots: in any order.
        cameras: names of the shots' cameras.
        made_by: all that the index depends on.
        folder: for the files; that of temporary files where None.

    Raises:
        VergenceError: there are none, or the files cannot be written.
    """
    about: dict[str, Any] = {
        "cameras": tuple(cameras),
        "joint_names": estimator.skeleton.joint_names,
        "made_by": made_by,
    }
    arrays = _filed(_described(estimator, shots, about), folder)
    if not arrays:
        raise VergenceError("nobody was seen in any of the footage", "Look at the boxes or keypoints given.")
    order = np.lexsort((arrays["time"], arrays["camera"]))
    if (np.diff(order) != 1).any():
        arrays = _filed(({n: v[order[part]] for n, v in arrays.items()} for part in parts_of(0, len(order))), folder)
    return Index(**about | arrays)


def _described(estimator: Estimator, shots: Iterable[Shot], about: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    """The rows of an index, batch by batch; `about` is told what they are."""
    left = iter(shots)
    while batch := list(islice(left, BATCH)):
        found = estimator(np.stack([s.pixels for s in batch]), np.stack([s.intrinsics for s in batch]))
        embedded = found.embedding is not None
        about |= {"kind": "embedding" if embedded else "pose", "frame_of_pose": found.frame}
        descriptor = found.embedding if embedded else pose_descriptor(found, estimator.skeleton)
        yield {
            "descriptor": descriptor.float().numpy(),  # type: ignore[union-attr]
            "pose": found.pose.float().numpy(),
            "camera": np.array([s.camera for s in batch]),
            "frame": np.array([s.frame for s in batch]),
            "time": np.array([s.time for s in batch], dtype=np.float64),
        }


def _filed(parts: Iterable[Mapping[str, np.ndarray]], folder: Path | None) -> dict[str, np.ndarray]:
    """Arrays that come in parts, in files that have no name: they take no memory, and nothing is left of them."""
    files: dict[str, Any] = {}
    count, kinds = 0, {}
    writing = refusing(f"{folder or tempfile.gettempdir()} could not be written", NO_SPACE, OSError)
    for part in parts:
        with writing:
            for name, values in part.items():
                if name not in files:
                    files[name] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as it is mapped
                    kinds[name] = values.dtype, values.shape[1:]
                files[name].write(np.ascontiguousarray(values).tobytes())
        count += len(part["time"])
    with writing:
        for file in files.values():
            file.flush()
    return {name: np.memmap(files[name], kind, "r", shape=(count, *shape)) for name, (kind, shape) in kinds.items()}


def file_identity(files: Iterable[Path]) -> str:
    """Twelve hex digits of which files these are: names, sizes and times of change."""
    digest = hashlib.sha256()
    for file in files:
        about = file.stat()
        digest.update(f"{file.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]
