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
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.crops import full_cameras
from vergence.skeleton import Skeleton, skeleton_from_names

FORMAT, READS = 3, (1, 2, 3)  # 1 had no measures, 1 and 2 no full cameras and two names of their own
OPEN_SHARDS = 64
MANIFEST, PLAN, INDEX = "manifest.json", "plan.json", "index.h5"
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
            raise VergenceError(
                f"{self.path} holds crops of {self.size} px, the recipe wants {image_size}",
                f"Set image_size to {self.size} or less, or prepare it with --size {image_size}.",
            )
        arrays = _mapped(self.path / INDEX)
        self.report: dict[str, Any] = self.manifest["report"]
        self.groups = {
            name: np.array(names)[arrays[f"group_{i}"]]
            for i, (name, names) in enumerate(self.manifest["groups"].items())
        }
        self.measures = {name: arrays[f"measure_{i}"] for i, name in enumerate(self.manifest.get("measures", []))}
        self._shard, self._start, self._length = (arrays[name] for name in ("shard", "start", "length"))
        self.index = _resized(_converted(_views(arrays), self._skeleton, skeleton), self.size, image_size)
        self._files = _Files(self.path)

    @property
    def _skeleton(self) -> Skeleton:
        return skeleton_from_names(self.manifest["joint_names"])

    def __len__(self) -> int:
        return len(self._shard)

    def read(self, rows: Int[Tensor, " n"]) -> Views:
        """The rows with their pixels, decoded on as many threads as torch uses.

        Raises:
            VergenceError: bytes that are no JPEG of the prepared size.
        """
        wanted = torch.as_tensor(rows, dtype=torch.long)
        image = np.empty((len(wanted), 3, self.image_size, self.image_size), np.uint8)

        def fill(places: Sequence[int]) -> None:
            for i in places:
                image[i] = self._decoded(int(wanted[i])).transpose(2, 0, 1)

        threads = min(torch.get_num_threads(), len(wanted))
        shares = [range(i, len(wanted), threads) for i in range(threads)]
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill, shares))
        elif threads:
            fill(shares[0])
        return self.index[wanted].replace(image=torch.from_numpy(image))

    def _decoded(self, row: int) -> ndarray:
        """One crop, `H W 3`, RGB."""
        data = self._files.read(int(self._shard[row]), int(self._start[row]), int(self._length[row]))
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if image is None or image.shape[:2] != (self.size, self.size):
            raise VergenceError(
                f"row {row} of {self.path / shard_name(int(self._shard[row]))} cannot be decoded",
                "Run the `vergence data prepare` that made it again: it checks every file, and says what to do.",
            )
        if self.image_size != self.size:
            image = cv2.resize(image, (self.image_size, self.image_size), interpolation=cv2.INTER_AREA)
        return image[..., ::-1]


class _Files:
    """Bytes of shards by their place; the files used last stay open. Threads share it, processes open their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[int, tuple[BinaryIO, int]] = OrderedDict()
        self._process = os.getpid()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def read(self, shard: int, start: int, length: int) -> bytes:
        if self._process != os.getpid():  # a forked process would share the file's position
            self.__init__(self._folder)  # type: ignore[misc]
        with self._lock:
            file, offset = self._opened(shard)
            file.seek(offset + start)
            return file.read(length)

    def _opened(self, shard: int) -> tuple[BinaryIO, int]:
        if shard not in self._open:
            path = self._folder / shard_name(shard)
            with open_h5(path) as file:
                offset = file["jpeg"].id.get_offset()
            if len(self._open) >= OPEN_SHARDS:
                self._open.popitem(last=False)[1][0].close()
            self._open[shard] = open(path, "rb", buffering=0), offset  # noqa: SIM115
        self._open.move_to_end(shard)
        return self._open[shard]


def open_h5(path: Path, mode: str = "r") -> Any:
    """An HDF5 file."""
    import h5py

    try:
        return h5py.File(path, mode)
    except OSError as error:
        if mode != "r":
            raise
        raise VergenceError(f"{path} cannot be read as HDF5: {str(error).splitlines()[0]}", AGAIN) from error


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
    points = {
        name: torch.from_numpy(own.convert(getattr(index, name).numpy(), wanted)) for name in ("keypoints", "pose")
    }
    trust = {
        name: torch.from_numpy(own.convert_confidence(getattr(index, name).numpy(), wanted))
        for name in ("confidence", "pose_weight")
    }
    return index.replace(**points, **trust)


def _resized(index: Views, size: int, wanted: int) -> Views:
    """The index of crops of another size: pixel x becomes `(x + 0.5) f - 0.5`."""
    if size == wanted:
        return index
    factor = wanted / size
    change = torch.tensor([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]])
    return index.replace(
        intrinsics=change @ index.intrinsics,
        crop=change @ index.crop,
        keypoints=(index.keypoints + 0.5) * factor - 0.5,
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
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") not in READS:
        raise VergenceError(f"{folder} has format {manifest.get('format')}; this version reads {FORMAT}", AGAIN)
    return manifest


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, dict):
            raise ValueError("not a mapping")
        return value
    except (OSError, ValueError) as error:
        raise VergenceError(f"{path} cannot be read: {error}", AGAIN) from error


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
