"""Prepared crops: what was expensive to read (full images, videos) is cropped once and lies in a few large files.

Why HDF5 through h5py: batches are drawn row by row in an order of their own (`batches.sampler`), so the store must give
any row at once, which tar archives (webdataset) cannot; it must not bring a second deep-learning stack (litdata brings
torchvision and two cloud clients, `datasets` pandas and Arrow); and the official MPI-INF-3DHP files need h5py anyway
(17 MB, BSD licence). Whatever reads HDF5 reads the shards.

A folder of shards:

    plan.json          what is prepared, of which settings; written first
    shard-00000.h5     `jpeg`, the bytes of many crops behind each other; `row` and `length` of each; on until all are there
    index.h5           all labels of all rows, one array each (see `vergence.batches.views`), and where each row's bytes lie
    manifest.json      sizes and SHA-256 of all files, the report; written last: without it the folder is not finished

Every file appears whole, by a rename, so a kill at any time leaves whole shards, and the same command goes on behind
them. Labels are mapped into memory rather than read, pixels are decoded when asked for: memory does not grow with the
dataset. What breaks it: JPEG is lossy (quality 95, 4:2:0); crops cannot become larger than they
were prepared, and are cropped with the box that they had; those whose own box should vary wider need `augmentation`.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError, refusing
from vergence.files import read_json
from vergence.geometry.crops import full_cameras
from vergence.skeleton import Skeleton, skeleton_from_names

FORMAT, READS = 3, (1, 2, 3)  # 1 had no measures, 1 and 2 no full cameras and two names of their own
OPEN_SHARDS = 64
MANIFEST, PLAN, INDEX = "manifest.json", "plan.json", "index.h5"
SHARD = re.compile(r"shard-[0-9]+\.h5")
OLD_NAMES = {"time_step": "instant", "pseudo": "made"}
AGAIN = "Prepare it again: `vergence data prepare` into a new folder."


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.h5"


class ShardDataset:
    """A prepared folder as a `dataset.Dataset`.

    Args:
        path: the folder.
        image_size: side of the crops, px; at most what was prepared. Smaller ones are reduced by area, exactly in their
            geometry.
        skeleton: the run's joints; where they are not those prepared, the labels are converted.

    Attributes:
        index: every field of every row, images of size 0; mapped from the file.
        groups: N names each for every group that the source had (`action`, `camera`, ...).
        measures: N numbers each for every measure that it had (`head_px`, ...).
        report: of the sources, and what preparing skipped.

    Raises:
        VergenceError: not a prepared folder, not finished, files missing or of another length than the manifest says, or
            prepared smaller than `image_size`.
    """

    def __init__(self, path: Path | str, image_size: int, skeleton: Skeleton) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        for name, file in self.manifest["files"].items():
            if not (self.path / name).is_file() or (self.path / name).stat().st_size != file["bytes"]:
                raise VergenceError(f"{self.path / name} is missing or not as long as it was", AGAIN)
        self.size = int(self.manifest["size"])
        self.image_size = image_size
        if image_size > self.size:
            remedy = f"Set image_size to {self.size} or less, or prepare it with --size {image_size}."
            raise VergenceError(f"{self.path} holds crops of {self.size} px, the recipe wants {image_size}", remedy)
        arrays = _mapped(self.path / INDEX)
        self.report: dict[str, Any] = self.manifest["report"]
        self.groups = {
            name: np.array(names)[arrays[f"group_{i}"]]
            for i, (name, names) in enumerate(self.manifest["groups"].items())
        }
        self.measures = {name: arrays[f"measure_{i}"] for i, name in enumerate(self.manifest.get("measures", []))}
        self._shard, self._start, self._length = (arrays[name] for name in ("shard", "start", "length"))
        own = skeleton_from_names(self.manifest["joint_names"])
        self.index = _resized(_converted(_views(arrays), own, skeleton), self.size, image_size)

    def __len__(self) -> int:
        return len(self._shard)

    def read(self, rows: Int[Tensor, " n"]) -> Views:
        """The rows with their pixels, decoded on as many threads as torch uses.

        Raises:
            VergenceError: bytes that are no JPEG of the prepared size.
        """
        wanted = torch.as_tensor(rows, dtype=torch.long)
        image = np.empty((len(wanted), 3, self.image_size, self.image_size), np.uint8)

        def fill(i: int) -> None:
            image[i] = self._decoded(int(wanted[i])).transpose(2, 0, 1)

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(fill, range(len(wanted))))
        return self.index[wanted].replace(image=torch.from_numpy(image))

    def _decoded(self, row: int) -> ndarray:
        """One crop, `H W 3`, RGB."""
        path, start = self.path / shard_name(int(self._shard[row])), int(self._start[row])
        data = _jpegs(path, path.stat().st_mtime_ns if path.is_file() else 0)[start : start + int(self._length[row])]
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if image is None or image.shape[:2] != (self.size, self.size):
            remedy = "Run the `vergence data prepare` that made it again: it checks every file, and says what to do."
            raise VergenceError(f"row {row} of {path} cannot be decoded", remedy)
        if self.image_size != self.size:
            image = cv2.resize(image, (self.image_size, self.image_size), interpolation=cv2.INTER_AREA)
        return image[..., ::-1]


@lru_cache(maxsize=OPEN_SHARDS)
def _jpegs(path: Path, changed: int) -> ndarray:
    """The bytes of all of a shard's crops, mapped from its file: threads and processes may read them at once."""
    return _mapped(path)["jpeg"]


def open_h5(path: Path) -> Any:
    """An HDF5 file to read."""
    import h5py

    with refusing(f"{path} cannot be read as HDF5", AGAIN, OSError):
        return h5py.File(path)


class _Forgiving(io.FileIO):
    """A file that takes every write and every new length, and keeps the first error for whoever asks: HDF5 itself does not
    survive a disk that is full, nor says it once."""

    failed: OSError | None = None

    def write(self, data: Any) -> int:
        view, done = memoryview(data).cast("B"), 0
        try:
            while self.failed is None and done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.failed = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failed = self.failed or error
            return size or 0


@contextmanager
def new_h5(path: Path) -> Iterator[Any]:
    """An HDF5 file to write.

    Raises:
        OSError: the disk is full, once the block has ended.
    """
    import h5py

    with _Forgiving(path, "w+") as file:
        with h5py.File(file, "w") as data:
            yield data
        if file.failed is not None:
            raise file.failed


def _mapped(path: Path) -> dict[str, ndarray]:
    """All arrays of an index, mapped from its file; written to, they change in memory alone."""
    with open_h5(path) as file:
        places = {name: (data.id.get_offset(), data.dtype, data.shape) for name, data in file.items()}
    return {
        name: np.memmap(path, dtype, "c", offset, shape).view(np.ndarray)
        for name, (offset, dtype, shape) in places.items()
    }


def _views(arrays: Mapping[str, ndarray]) -> Views:
    n, joints = arrays["confidence"].shape
    index = Views.empty(n, joints, 0, 0)
    places = {name: name if name in arrays else OLD_NAMES.get(name, "") for name, _ in index.items()}
    index = index.replace(**{name: torch.from_numpy(arrays[at]) for name, at in places.items() if at in arrays})
    return index if "turn" in arrays else _with_full_cameras(index)


def _with_full_cameras(index: Views) -> Views:
    """What files of formats 1 and 2 do not say, as it follows from their crops; without intrinsics a crop is a plain cut-out,
    of an image whose size stays unknown."""
    known = index.intrinsics.isfinite().flatten(1).all(1).nonzero()[:, 0]
    turn, full, size = torch.eye(3).repeat(len(index), 1, 1), index.full_intrinsics.clone(), index.size.clone()
    for rows in known.split(1 << 16):
        k, rotation = full_cameras(index.crop[rows], index.intrinsics[rows])
        turn[rows], full[rows], size[rows] = rotation.float(), k.float(), (2 * k[:, :2, 2] + 1).float()
    return index.replace(turn=turn, full_intrinsics=full, size=size)


def _converted(index: Views, own: Skeleton, wanted: Skeleton) -> Views:
    if own == wanted:
        return index
    ways = {"keypoints": own.convert, "pose": own.convert, "confidence": own.convert_confidence,
            "pose_weight": own.convert_confidence}  # fmt: skip
    return index.replace(**{n: torch.from_numpy(way(getattr(index, n).numpy(), wanted)) for n, way in ways.items()})


def _resized(index: Views, size: int, wanted: int) -> Views:
    """The index of crops of another size: pixel x becomes `(x + 0.5) f - 0.5`."""
    if size == wanted:
        return index
    factor = wanted / size
    change = torch.tensor([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]])
    return index.replace(
        intrinsics=change @ index.intrinsics, crop=change @ index.crop, keypoints=(index.keypoints + 0.5) * factor - 0.5
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a finished folder says of itself.

    Raises:
        VergenceError: not a prepared folder, or not finished.
    """
    if not (folder / MANIFEST).is_file():
        if (folder / PLAN).is_file():
            done = len(list(folder.glob("shard-*.h5")))
            raise VergenceError(
                f"{folder} is not finished: {done} shards, no {MANIFEST}", "Run the same `vergence data prepare` again."
            )
        raise VergenceError(f"{folder} holds no prepared crops", "Give a folder that `vergence data prepare` wrote.")
    manifest = read_json(folder / MANIFEST, remedy=AGAIN)
    if not isinstance(manifest, dict) or manifest.get("format") not in READS:
        found = manifest.get("format") if isinstance(manifest, dict) else "none"
        raise VergenceError(f"{folder} has format {found}; this version reads {FORMAT}", AGAIN)
    if strange := [name for name in manifest.get("files", {}) if name != INDEX and not SHARD.fullmatch(name)]:
        raise VergenceError(f"{folder / MANIFEST} names {strange[0]!r}, which is no file of its folder", AGAIN)
    return manifest


def check_files(folder: Path) -> None:
    """Compares every file of a finished folder with the manifest's checksums.

    Raises:
        VergenceError: names the files that are missing or have changed.
    """
    files = read_manifest(folder)["files"]
    bad = [
        name for name, file in files.items() if not (folder / name).is_file() or sha256(folder / name) != file["sha256"]
    ]
    if bad:
        raise VergenceError(
            f"{folder}: {', '.join(bad)} missing or changed since they were written",
            f"Delete {'it' if len(bad) == 1 else 'them'} and {MANIFEST} and run the same `vergence data prepare` again.",
        )


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
