"""Preparing crops: sources to shards (`reader`), whole file by whole file, so that a kill costs one of them.

Shards do not depend on each other, so several processes write them, each its own; which rows a shard holds depends on the
dataset alone, and so do its bytes. Processes are started anew (spawned): a decoder, or a library's threads, do not survive
a fork. Each holds the labels of the dataset and, while it writes, one shard's bytes.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from vergence.batches.dataset import Dataset, numbered_apart
from vergence.batches.views import Views
from vergence.datasets.shards import reader
from vergence.errors import VergenceError, refusing
from vergence.files import atomic_path, read_json, write_json
from vergence.folders import LOCK, differences
from vergence.skeleton import Skeleton

JPEG_QUALITY = 95
ROWS_PER_SHARD = 4096  # about 100 MB at 256 px: what a kill costs
ROWS_AT_ONCE = 64


def prepare(
    dataset: Dataset,
    out: Path,
    size: int,
    skeleton: Skeleton,
    settings: Mapping[str, Any],
    *,
    skip_unreadable: bool = False,
    rows_per_shard: int = ROWS_PER_SHARD,
    workers: int = 1,
    advance: Callable[[int], None] = lambda rows: None,
) -> dict[str, Any]:
    """Writes a dataset's crops and labels as shards; goes on where a killed one stopped; checks what is finished.

    Args:
        dataset: opened at `size` and `skeleton`.
        out: folder: new, empty, or of the same settings and labels.
        size: side of the crops, px.
        skeleton: of the labels.
        settings: plain values that say what the dataset is; with the labels they tell one preparation from another.
        skip_unreadable: leave out, and count, rows whose image cannot be read, instead of stopping at the first.
        rows_per_shard: crops in a file.
        workers: processes that write; the bytes do not depend on them.
        advance: called with every number of rows that is done.

    Returns:
        The manifest.

    Raises:
        VergenceError: nothing to prepare; a folder of something else; an unreadable image; a full disk; a finished folder
            with a damaged file.
    """
    if not len(dataset):
        raise VergenceError("the sources have no images", "Look at their paths, frames and settings.")
    plan = {
        "format": reader.FORMAT, "size": size, "skeleton": skeleton.name, "joint_names": list(skeleton.joint_names),
        "rows": len(dataset), "rows_per_shard": rows_per_shard, "quality": JPEG_QUALITY,
        "skip_unreadable": skip_unreadable, "settings": dict(settings), "labels": _digest(dataset),
    }  # fmt: skip
    plan = json.loads(json.dumps(plan, default=str))
    _claim(out, plan)
    if (out / reader.MANIFEST).is_file():
        reader.check_files(out)
        advance(len(dataset))
        return reader.read_manifest(out)
    # Rows in the order of their files and frames, so that each video is decoded once; the index keeps their own order.
    order = dataset.order() if hasattr(dataset, "order") else torch.arange(len(dataset))
    skipped: dict[str, str] = {}
    parts = order.split(rows_per_shard)
    _write_shards(out, dataset, parts, skip_unreadable, workers, advance)
    for number in range(len(parts)):
        with reader.open_h5(out / reader.shard_name(number)) as file:
            skipped |= json.loads(file.attrs["skipped"])
    _write_index(out, dataset, len(parts))
    return _write_manifest(out, plan, dataset, len(parts), skipped)


def _digest(dataset: Dataset) -> str:
    """A hash of all labels, groups and measures."""
    digest = hashlib.sha256()
    for name, values in {**_groups(dataset), **_measures(dataset)}.items():
        digest.update(name.encode() + b"\0" + "\0".join(map(str, values.tolist())).encode())
    for name, value in dataset.index.items():
        if name not in ("image", "source"):
            digest.update(name.encode())
            for part in value.split(1 << 16):
                digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _claim(out: Path, plan: dict[str, Any]) -> None:
    """Makes the folder this plan's; refuses one that is something else's; clears what a kill left half-written."""
    with refusing(f"cannot write to {out}", "Choose another folder.", OSError):
        out.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in out.iterdir()} - {LOCK}
    if reader.PLAN in names:
        found = read_json(out / reader.PLAN, remedy=reader.AGAIN)
        if found != plan:
            differ = sorted(key for key in found.keys() | plan.keys() if found.get(key) != plan.get(key))
            old, new = ({key: one.get(key) for key in differ if key != "labels"} for one in (found, plan))
            told = f": {differences(old, new)}" if old else ""
            raise VergenceError(f"{out} holds shards made with other {', '.join(differ)}{told}", "Choose a new folder.")
    elif any(not name.startswith(f".{Path(reader.PLAN).stem}.") for name in names):
        raise VergenceError(f"{out} is not empty", "Choose a new folder, or empty it.")
    for name in names:
        if name.startswith((".shard-", ".index.", ".manifest.", ".plan.")):
            (out / name).unlink(missing_ok=True)
    if reader.PLAN not in names:
        write_json(out / reader.PLAN, plan)


def _write_shards(
    out: Path,
    dataset: Dataset,
    parts: Sequence[Tensor],
    skip_unreadable: bool,
    workers: int,
    advance: Callable[[int], None],
) -> None:
    """Every shard that is not there yet, here or by several processes."""
    paths = {out / reader.shard_name(number): rows for number, rows in enumerate(parts)}
    waiting = {path: rows for path, rows in paths.items() if not path.is_file()}
    advance(sum(len(rows) for path, rows in paths.items() if path not in waiting))
    if min(workers, len(waiting)) <= 1:
        for path, rows in waiting.items():
            _write_shard(path, dataset, rows, skip_unreadable)
            advance(len(rows))
        return
    whole = pickle.dumps(dataset)  # plain: torch's own way to other processes would move the labels to shared memory
    with ProcessPoolExecutor(
        min(workers, len(waiting)), get_context("spawn"), _take_dataset, (whole, skip_unreadable)
    ) as pool:
        jobs = {pool.submit(_write_taken, path, rows.tolist()): len(rows) for path, rows in waiting.items()}
        try:
            for job in as_completed(jobs):
                job.result()
                advance(jobs[job])
        except BrokenProcessPool as error:
            raise VergenceError(
                "a process that prepared crops was ended from outside, perhaps for want of memory",
                "Run the same command again, with fewer --workers; whole shards are kept.",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_taken: tuple[Dataset, bool] | None = None  # a writing process's own


def _take_dataset(whole: bytes, skip_unreadable: bool) -> None:
    global _taken
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _taken = pickle.loads(whole), skip_unreadable


def _write_taken(path: Path, rows: list[int]) -> None:
    assert _taken is not None
    _write_shard(path, _taken[0], torch.tensor(rows), _taken[1])


def _write_shard(path: Path, dataset: Dataset, rows: Tensor, skip_unreadable: bool) -> None:
    jpegs: dict[int, ndarray] = {}
    skipped: dict[str, str] = {}
    for part in rows.split(ROWS_AT_ONCE):
        try:
            jpegs |= {row: encoded(image) for row, image in zip(part.tolist(), dataset.read(part).image)}
        except VergenceError:
            if not skip_unreadable:
                raise
            for row in part.tolist():
                try:
                    jpegs[row] = encoded(dataset.read(torch.tensor([row])).image[0])
                except VergenceError as error:
                    skipped[str(row)] = error.problem
    with atomic_path(path) as partial, reader.new_h5(partial) as file:
        file["jpeg"] = np.concatenate(list(jpegs.values())) if jpegs else np.zeros(1, np.uint8)
        file["row"] = np.array(list(jpegs), np.int64)
        file["length"] = np.array([len(jpeg) for jpeg in jpegs.values()], np.int64)
        file.attrs["skipped"] = json.dumps(skipped)


def encoded(image: Tensor) -> ndarray:
    """JPEG bytes of `3 H W`, RGB."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1]), options)
    if not done:
        raise VergenceError(f"a crop of {tuple(image.shape)} could not be written as JPEG")
    return data.ravel()


def _write_index(out: Path, dataset: Dataset, shards: int) -> None:
    """Labels in the dataset's own order, without the rows that were skipped, and where their bytes lie."""
    total = len(dataset)
    place: dict[str, ndarray] = {"shard": np.full(total, -1, np.int32), "start": np.zeros(total, np.int64)}
    place["length"] = np.zeros(total, np.int32)
    for number in range(shards):
        with reader.open_h5(out / reader.shard_name(number)) as file:
            row, length = file["row"][:], file["length"][:]
        place["shard"][row], place["length"][row] = number, length
        place["start"][row] = np.cumsum(length) - length
    kept = place["shard"] >= 0
    if not kept.any():
        raise VergenceError("none of the images could be read", "Look at the sources with `vergence data check`.")
    with atomic_path(out / reader.INDEX) as partial, reader.new_h5(partial) as file:
        for name, value in dataset.index.items():
            if name != "image":
                file[name] = value.numpy()[kept]
        for name, array in place.items():
            file[name] = array[kept]
        for i, names in enumerate(_groups(dataset).values()):
            file[f"group_{i}"] = np.unique(names, return_inverse=True)[1].astype(np.int32)[kept]
        for i, numbers in enumerate(_measures(dataset).values()):
            file[f"measure_{i}"] = np.asarray(numbers, np.float64)[kept]


def _groups(dataset: Dataset) -> Mapping[str, ndarray]:
    return getattr(dataset, "groups", {})


def _measures(dataset: Dataset) -> Mapping[str, ndarray]:
    return getattr(dataset, "measures", {})


def _write_manifest(
    out: Path, plan: dict[str, Any], dataset: Dataset, shards: int, skipped: dict[str, str]
) -> dict[str, Any]:
    names = [reader.INDEX, *(reader.shard_name(number) for number in range(shards))]
    report = dict(getattr(dataset, "report", {}))
    if skipped:
        report["unreadable"] = {"images": len(skipped), "first": dict(list(skipped.items())[:5])}
    manifest = {
        **plan,
        "rows": plan["rows"] - len(skipped),
        "groups": {name: np.unique(values).tolist() for name, values in _groups(dataset).items()},
        "measures": list(_measures(dataset)),
        "report": report,
        "files": {name: {"bytes": (out / name).stat().st_size, "sha256": reader.sha256(out / name)} for name in names},
    }
    write_json(out / reader.MANIFEST, manifest)
    return reader.read_manifest(out)


class Joined:
    """Several datasets as one, row after row; subjects, sequences and time steps are numbered on from each other.

    Args:
        parts: datasets by name; the name becomes the group `source`.
    """

    def __init__(self, parts: Mapping[str, Dataset]) -> None:
        self.parts = list(parts.values())
        self.index = Views.cat(numbered_apart([part.index for part in self.parts]))
        self._first = np.cumsum([0, *(len(part) for part in self.parts)])
        self.groups, self.measures = (
            {name: np.concatenate([of(part).get(name, np.full(len(part), missing)) for part in self.parts])
             for name in dict.fromkeys(name for part in self.parts for name in of(part))}
            for of, missing in ((_groups, ""), (_measures, np.nan))
        )  # fmt: skip
        self.groups["source"] = np.repeat(np.array(list(parts)), [len(part) for part in self.parts])
        self.report = {name: dict(getattr(part, "report", {})) for name, part in parts.items()}

    def __len__(self) -> int:
        return len(self.index)

    def order(self) -> Tensor:
        """Rows in the order in which their files are read fastest."""
        orders = [part.order() if hasattr(part, "order") else torch.arange(len(part)) for part in self.parts]
        return torch.cat([order + int(first) for order, first in zip(orders, self._first)])

    def read(self, rows: Int[Tensor, " n"]) -> Views:
        rows = torch.as_tensor(rows, dtype=torch.long)
        which = torch.from_numpy(np.searchsorted(self._first, rows.numpy(), side="right") - 1)
        found: dict[int, Tensor] = {}
        for i, part in enumerate(self.parts):
            own = (which == i).nonzero()[:, 0]
            if len(own):
                found |= dict(zip(own.tolist(), part.read(rows[own] - int(self._first[i])).image))
        image = torch.stack([found[i] for i in range(len(rows))]) if found else self.index[rows].image
        return self.index[rows].replace(image=image)
