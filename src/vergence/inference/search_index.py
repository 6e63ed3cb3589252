"""Pose search: an index of what an estimator saw in footage, and the moments in it that are nearest to a query.

Every image becomes one descriptor: the embedding where the run has one, else the predicted pose turned to a heading of
its own, so that the camera's place does not count. The search is exhaustive: all distances are computed, in float32 by one
matrix product, and those that rounding might have put in the wrong order again in float64; at these sizes (100,000 images by
128 numbers) an approximate index would save milliseconds and add a parameter.

A clip is compared with every stretch of equal length: frame with frame at equal times, by the root mean square of the
distances. Hits closer in time to a better hit of the same camera than `apart` are left out, since neighbouring frames are
one moment.

What breaks it: descriptors are as good as the network is on such images, and a distance says nothing by itself. The
nearest of bad hits is still a hit; compare the distances of the first hits with those of the last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from vergence.errors import VergenceError, refusing
from vergence.files import atomic_path
from vergence.inference.estimator import Estimator
from vergence.methods.base import pose_descriptor

BATCH = 64
LONGEST_CLIP = 64  # images of a query clip that are compared
ROUNDING = 1e-6  # of squared lengths: what float32 may put in the wrong order


@dataclass(frozen=True)
class Shot:
    """One crop of footage: which camera, which frame of it, when (seconds), its pixels and its intrinsics."""

    camera: int
    frame: int
    time: float
    pixels: UInt8[np.ndarray, "H W 3"]
    intrinsics: Float[np.ndarray, "3 3"]


@dataclass(frozen=True, eq=False)
class Index:
    """What an estimator saw in N images, ordered by camera, then time.

    Attributes:
        kind: what the descriptors are.
        descriptor: one per image.
        pose: as predicted; canonical or in the camera's frame, as `frame_of_pose` says.
        camera, frame, time: where it comes from; `cameras` names the cameras.
        made_by: everything that it depends on, plain values; another value needs another index.
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

    def __len__(self) -> int:
        return len(self.descriptor)

    @cached_property
    def squared(self) -> Float[np.ndarray, " N"]:
        return np.einsum("nd,nd->n", self.descriptor, self.descriptor)

    def save(self, path: Path) -> None:
        """One NPZ, atomically; it carries its provenance."""
        head = {name: getattr(self, name) for name in _HEAD}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with atomic_path(path) as partial:
            np.savez(partial, head=json.dumps({**head, "pose_unit": "reference_bone", "time_unit": "s"}), **arrays)

    @staticmethod
    def load(path: Path) -> Index:
        """Raises: VergenceError: not an index, or not whole."""
        with refusing(f"{path} is not a whole search index", "Delete it; the next search makes it anew."):
            with np.load(path, allow_pickle=False) as file:
                head = json.loads(str(file["head"]))
                arrays = {name: file[name] for name in _ARRAYS}
            head = {name: head[name] for name in _HEAD}
        head |= {"cameras": tuple(head["cameras"]), "joint_names": tuple(head["joint_names"])}
        return Index(**head, **arrays)


_ARRAYS = ("descriptor", "pose", "camera", "frame", "time")
_HEAD = ("kind", "frame_of_pose", "cameras", "joint_names", "made_by")


@dataclass(frozen=True)
class Hit:
    """A moment of the footage.

    Attributes:
        row: of the index.
        camera, frame, time: where; of a clip, its first frame. Seconds.
        distance: Euclidean, between descriptors; of a clip the root mean square.
    """

    row: int
    camera: str
    frame: int
    time: float
    distance: float


def build_index(estimator: Estimator, shots: Iterable[Shot], cameras: Sequence[str], made_by: dict[str, Any]) -> Index:
    """What the estimator sees in the shots, as an index.

    Raises:
        VergenceError: there are none.
    """
    rows: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS}
    kind, frame_of_pose, left = "pose", "camera", iter(shots)
    while batch := list(islice(left, BATCH)):
        found = estimator(np.stack([s.pixels for s in batch]), np.stack([s.intrinsics for s in batch]))
        embedded = found.embedding is not None
        kind, frame_of_pose = "embedding" if embedded else "pose", found.frame
        descriptor = found.embedding if embedded else pose_descriptor(found, estimator.skeleton)
        rows["descriptor"].append(descriptor.float().numpy())  # type: ignore[union-attr]
        rows["pose"].append(found.pose.float().numpy())
        rows["camera"].append(np.array([s.camera for s in batch]))
        rows["frame"].append(np.array([s.frame for s in batch]))
        rows["time"].append(np.array([s.time for s in batch], dtype=np.float64))
    if not rows["pose"]:
        raise VergenceError("nobody was seen in any of the footage", "Look at the boxes or keypoints given.")
    arrays = {name: np.concatenate(parts) for name, parts in rows.items()}
    order = np.lexsort((arrays["time"], arrays["camera"]))
    arrays = {name: np.ascontiguousarray(values[order]) for name, values in arrays.items()}
    return Index(
        kind=kind,  # type: ignore[arg-type]
        frame_of_pose=frame_of_pose, cameras=tuple(cameras), joint_names=estimator.skeleton.joint_names,
        made_by=made_by, **arrays,
    )  # fmt: skip


def find_hits(
    index: Index,
    query: Float[np.ndarray, "T D"],
    time: Float[np.ndarray, " T"] | None = None,
    count: int = 20,
    apart: float = 1.0,
) -> list[Hit]:
    """The moments nearest to an image (T = 1) or a clip.

    Args:
        index: of the footage.
        query: descriptors by the same estimator.
        time: of a clip's images, seconds, ascending.
        count: hits wanted; fewer where the footage has fewer moments `apart`.
        apart: seconds between hits of one camera.

    Raises:
        VergenceError: descriptors of another size or NaN, or a clip longer than any stretch of the footage.
    """
    query = np.atleast_2d(np.asarray(query, dtype=np.float32))
    if query.shape[1] != index.descriptor.shape[1] or not np.isfinite(query).all():
        raise VergenceError(
            f"a query of {query.shape[1]} numbers{'' if np.isfinite(query).all() else ', some NaN'}; the index has "
            f"{index.descriptor.shape[1]}",
            "Describe it with the run that made the index.",
        )
    if len(query) == 1:
        rows = None
    else:
        if time is None or len(time) != len(query):
            raise VergenceError("a clip without a time for each of its images", "Give them, in seconds.")
        some = np.linspace(0, len(query) - 1, min(len(query), LONGEST_CLIP)).round().astype(int)
        query, rows = query[some], _rows_at(index, np.asarray(time, dtype=np.float64)[some])
    rough = _rough(index, query, rows)
    if not np.isfinite(rough).any():
        span = float(np.ptp(time)) if time is not None else 0.0
        raise VergenceError(
            f"the clip lasts {span:.1f} s, longer than any stretch of the footage",
            "Give a shorter clip (--query-frames), or longer footage.",
        )
    hits: list[Hit] = []
    slack = ROUNDING * float(index.squared.max() + (query * query).sum(1).max())
    while len(hits) < min(count, len(index)):
        row, distance = _nearest(index, query, rows, rough, slack)
        if not np.isfinite(distance):
            break
        camera, time_of_row = int(index.camera[row]), float(index.time[row])
        hits.append(Hit(row, index.cameras[camera], int(index.frame[row]), time_of_row, distance))
        rough[_around(index, row, apart)] = np.inf
    return hits


def _rough(index: Index, query: np.ndarray, rows: np.ndarray | None) -> Float[np.ndarray, " N"]:
    """Mean squared distance to every start, in float32; infinite where the clip does not fit."""
    if rows is None:
        return index.squared - 2 * (index.descriptor @ query[0]) + float(query[0] @ query[0])
    product = query @ index.descriptor.T
    total = np.zeros(len(index), dtype=np.float32)
    for one, dot, row in zip(query, product, rows):
        squared = index.squared - 2 * dot + float(one @ one)
        total += np.where(row >= 0, squared[row], np.float32(np.inf))
    return total / len(query)


def _rows_at(index: Index, time: Float[np.ndarray, " T"]) -> Int[np.ndarray, "T N"]:
    """For every start the row of its camera nearest to each later time of a clip; -1 where the nearest is too far off."""
    out = np.full((len(time), len(index)), -1)
    for camera in range(len(index.cameras)):
        own = np.flatnonzero(index.camera == camera)
        if len(own) == 0:
            continue
        known = index.time[own]
        step = float(np.median(np.diff(known))) if len(own) > 1 else 0.0
        for t, later in enumerate(time - time[0]):
            wanted = known + later
            right = np.searchsorted(known, wanted).clip(0, len(own) - 1)
            left = (right - 1).clip(0)
            near = np.where(wanted - known[left] < known[right] - wanted, left, right)
            out[t, own] = np.where(np.abs(known[near] - wanted) <= 0.5 * step + 1e-6, own[near], -1)
    return out


def _nearest(
    index: Index, query: np.ndarray, rows: np.ndarray | None, rough: np.ndarray, slack: float
) -> tuple[int, float]:
    """The best start and its distance: those that rounding might have put first are computed again in float64."""
    first = float(rough.min())
    if not np.isfinite(first):
        return 0, float("inf")
    close = np.flatnonzero(rough <= first + slack)
    at = close[None] if rows is None else rows[:, close]
    squared = ((index.descriptor[at].astype(np.float64) - query[:, None].astype(np.float64)) ** 2).sum(-1).mean(0)
    best = int(squared.argmin())
    return int(close[best]), float(np.sqrt(squared[best]))


def _around(index: Index, row: int, apart: float) -> slice:
    """The rows of the same camera less than `apart` seconds away, and the row itself."""
    low, high = np.searchsorted(index.camera, [index.camera[row], index.camera[row] + 1])
    time, own = index.time[low:high], float(index.time[row])
    first = np.searchsorted(time, own - apart + 1e-6, side="right")
    last = np.searchsorted(time, own + apart - 1e-6, side="left")
    return slice(low + min(int(first), row - low), low + max(int(last), row - low + 1))


def file_identity(files: Iterable[Path]) -> str:
    """Twelve hex digits of which files these are: names, sizes and times of change."""
    digest = hashlib.sha256()
    for file in files:
        about = file.stat()
        digest.update(f"{file.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]
