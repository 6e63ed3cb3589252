"""The folder of a call that may be killed: what it was asked, how far it came, and rows that stand at fixed places.

Nothing here is half-written in a way that matters. Rows are written to their place in a file and count only when the
progress, a file of its own that is renamed into place, says so: what a kill cut short is written again, to the same place.
Everything temporary lies inside the folder, so whatever a kill leaves goes when the call that follows has finished.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from vergence.errors import refusing
from vergence.files import plain, write_json

NAME = ".unfinished"
NO_SPACE = "Free some space; the same command continues from there."


class Work:
    """The folder, taken up again where the same was asked, else begun anew.

    Args:
        folder: of the results.
        about: all that the results depend on.

    Attributes:
        folder: that is taken away at the end.
        files: in it, for what is finished; empty at first.
        state: what `mark` recorded.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder / NAME
        asked = self.folder / "about.json"
        self._asked, self._progress = asked, self.folder / "progress.json"
        same = _read(asked) == plain(about)
        if not same:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(asked, about)
        self.state: dict[str, Any] = _read(self._progress) or {}
        self.files = self.folder / "files"
        shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir(parents=True)

    def mark(self, **state: Any) -> None:
        """Records how far the call has come."""
        self.state |= state
        write_json(self._progress, self.state)

    def remove(self) -> None:
        """Takes the folder away; what says whose it is goes first."""
        self._asked.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


class Rows:
    """Records of one kind in a file, each at its place."""

    def __init__(self, path: Path, kind: np.dtype) -> None:
        self.path, self.kind = path, kind

    def write(self, row: int, records: np.ndarray) -> None:
        """Writes records from a row on, and waits until they are on the disk.

        Raises:
            VergenceError: they cannot be written.
        """
        with refusing(f"{self.path} could not be written", NO_SPACE, OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
                file.seek(row * self.kind.itemsize)
                file.write(np.ascontiguousarray(records, self.kind).tobytes())
                file.flush()
                os.fsync(file.fileno())

    def read(self, start: int, stop: int) -> np.ndarray:
        """Records from one row up to another."""
        with open(self.path, "rb") as file:
            file.seek(start * self.kind.itemsize)
            return np.frombuffer(file.read((stop - start) * self.kind.itemsize), self.kind)


def write_arrays(folder: Path, count: int, parts: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of `count` rows that come in parts, as NPY files, and opened from there: they take no memory.

    Raises:
        VergenceError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {}
    with refusing(f"{folder} could not be written", NO_SPACE, OSError), ExitStack() as opened:
        for part in parts:
            for name, values in part.items():
                if name not in files:
                    files[name] = opened.enter_context(open(folder / f"{name}.npy", "wb"))
                    _head(files[name], values, count)
                files[name].write(np.ascontiguousarray(values).tobytes())
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in files}


def _head(file: Any, values: np.ndarray, count: int) -> None:
    about = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, about | {"shape": (count, *values.shape[1:])})


def blocks(frames: Sequence[int] | np.ndarray, size: int) -> list[tuple[int, int, int]]:
    """Frame numbers cut at multiples of `size`: number of the block, its first row and the row behind its last."""
    if not len(frames):
        return []
    numbers = np.asarray(frames) // size
    starts = [0, *(1 + np.flatnonzero(np.diff(numbers))).tolist(), len(numbers)]
    return [(int(numbers[a]), a, b) for a, b in itertools.pairwise(starts)]
