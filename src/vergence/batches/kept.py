"""Crops that were made once, kept in a file, so that reading them again costs neither decoding nor memory.

A random frame of a video costs half a group of pictures to decode, and training asks for random frames. So what is read is
read with its neighbours in the file, and all of them are kept: after some steps the footage has been decoded once, and a
batch is a few reads from a file that the system caches while memory is free. The file has no name and goes with the process.
Worker processes that were forked share it; those that were started anew make one of their own. Longer footage than
`MOST_BYTES` holds is decoded again and again: prepare shards of it (`vergence data prepare`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from vergence.batches.views import Views

NEIGHBOURS = 128  # rows that are read together: some half of a group of pictures is decoded before the first of them
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

    def __len__(self) -> int:
        return len(self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_file", "_place")}

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
        image = torch.zeros(len(wanted), 3, side, side, dtype=torch.uint8)
        for i, row in enumerate(wanted.tolist()):
            found = self._kept(row)
            if found is None:
                found = self._read_around(row)
            image[i] = torch.from_numpy(found).reshape(3, side, side)
        return self.index[wanted].replace(image=image)

    def _kept(self, row: int) -> ndarray | None:
        if self._file is None or os.pread(self._file.fileno(), 1, row) != b"\1":
            return None
        data = os.pread(self._file.fileno(), self._row_bytes, self._start(row))
        return np.frombuffer(bytearray(data), np.uint8)

    def _start(self, row: int) -> int:
        return len(self) + int(self._place[1][row]) * self._row_bytes

    def _read_around(self, row: int) -> ndarray:
        """A row's image; those read next to it are kept as well."""
        order, place = self._place
        at = int(place[row])
        if self._file is None or at >= self._room:
            return self.dataset.read(torch.tensor([row])).image.numpy().reshape(-1)
        first = at - at % NEIGHBOURS
        some = order[first : min(first + NEIGHBOURS, self._room)]
        images = self.dataset.read(torch.from_numpy(some.copy())).image.numpy().reshape(len(some), -1)
        for one, pixels in zip(some.tolist(), images, strict=True):
            try:
                os.pwrite(self._file.fileno(), pixels.tobytes(), self._start(one))
                os.pwrite(self._file.fileno(), b"\1", one)
            except OSError:  # the disk is full by now: what is there stays, the rest is read anew
                break
        return np.asarray(images[at - first])
