"""Crops that were made once, kept in a file, so that reading them again costs neither decoding nor memory.

A random frame of a video costs half a group of pictures to decode, and training asks for random frames. The first batch reads
its own rows and no others, so that a run starts at once. From then on `AHEAD` times as long as single rows took goes into
reading the footage from its beginning on, where every frame is decoded once, so that after some batches all of it is there,
at little more than the cost of one pass, and a batch is a few reads from a file that the system caches while memory is free.
The file has no name and goes with the process. Worker processes that were forked share it; those that were started anew make
one of their own. Of longer footage than `MOST_BYTES` the rest is decoded again and again: prepare shards (`vergence data
prepare`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError

NEIGHBOURS = 128  # rows that are read together ahead
AHEAD = 3  # time for reading ahead beside that for single rows
MOST_BYTES = 8 * 1024**3
DISK_SHARE = 0.5  # of what is free


class Kept:
    """A dataset whose images are read once; all else is the dataset's.

    Args:
        dataset: what is read: a `Dataset` with `order`, `image_size`, groups, measures and a report.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset, self.index = dataset, dataset.index
        self.groups, self.measures, self.report = dataset.groups, dataset.measures, dataset.report
        self._row_bytes = 3 * dataset.image_size**2
        self._ahead = 0  # places in reading order before which all is kept
        self._owed = 0.0  # seconds that are due to reading ahead

    def __len__(self) -> int:
        return len(self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_file", "_place")} | {"_ahead": 0}

    def order(self) -> Int[Tensor, " N"]:
        """Rows in the order in which they are read fast."""
        return self.dataset.order()

    @cached_property
    def _place(self) -> tuple[ndarray, ndarray]:
        """The rows in reading order, and each row's place in it."""
        order = self.order().numpy()
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return order, place

    @cached_property
    def _file(self) -> IO[bytes] | None:
        """A byte for each row that is 1 where its image is there, then the images; None where there is no room."""
        folder = os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())
        try:
            if shutil.disk_usage(Path(folder)).free * DISK_SHARE < len(self) + self._room * self._row_bytes:
                return None
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is open as long as the dataset
            file.truncate(len(self))
            return file
        except OSError:
            return None

    @property
    def _room(self) -> int:
        """Places in reading order that are kept."""
        return min(len(self), MOST_BYTES // self._row_bytes)

    def read(self, rows: Int[Tensor, " n"]) -> Views:
        """The rows with their pixels.

        Raises:
            VergenceError: an image is missing or damaged.
        """
        wanted = torch.as_tensor(rows, dtype=torch.long)
        side = self.dataset.image_size
        self._read_ahead()
        found = {row: self._kept(row) for row in wanted.tolist()}
        if missing := [row for row, pixels in found.items() if pixels is None]:
            start = time.monotonic()
            found |= self._read_and_keep(missing)
            self._owed += AHEAD * (time.monotonic() - start)
        image = torch.zeros(len(wanted), 3, side, side, dtype=torch.uint8)
        for i, row in enumerate(wanted.tolist()):
            image[i] = torch.from_numpy(found[row]).reshape(3, side, side)
        return self.index[wanted].replace(image=image)

    def _kept(self, row: int) -> ndarray | None:
        if self._file is None or os.pread(self._file.fileno(), 1, row) != b"\1":
            return None
        data = os.pread(self._file.fileno(), self._row_bytes, self._start(row))
        return np.frombuffer(bytearray(data), np.uint8)

    def _start(self, row: int) -> int:
        return len(self) + int(self._place[1][row]) * self._row_bytes

    def _read_ahead(self) -> None:
        """Reads on behind what was read ahead before, for as long as is due for the single rows since."""
        while self._file is not None and self._owed > 0 and self._ahead < self._room:
            start = time.monotonic()
            some = self._place[0][self._ahead : min(self._ahead + NEIGHBOURS, self._room)]
            held = self._file.fileno()
            with suppress(VergenceError):  # an image that cannot be read is told of when it is asked for
                self._read_and_keep([row for row in some.tolist() if os.pread(held, 1, row) != b"\1"])
            self._ahead += len(some)
            self._owed -= time.monotonic() - start

    def _read_and_keep(self, rows: list[int]) -> dict[int, ndarray]:
        """The rows' images; those that have a place are kept."""
        if not rows:
            return {}
        images = self.dataset.read(torch.tensor(rows)).image.numpy().reshape(len(rows), -1)
        for row, pixels in zip(rows, images, strict=True):
            if self._file is None or self._place[1][row] >= self._room:
                continue
            try:
                os.pwrite(self._file.fileno(), pixels.tobytes(), self._start(row))
                os.pwrite(self._file.fileno(), b"\1", row)
            except OSError:  # the disk is full by now: what is there stays, the rest is read anew
                break
        return dict(zip(rows, images, strict=True))
