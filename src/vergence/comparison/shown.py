"""The few test images that a comparison's page shows, kept beside what was measured: told again, it opens no test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vergence.batches.dataset import Dataset
from vergence.batches.views import Views
from vergence.files import atomic_path, read_arrays


class Shown:
    """Single images of a test.

    Args:
        folder: of those that were shown before, a file for each row.
        open_: opens the test, where one was not.
    """

    def __init__(self, folder: Path, open_: Callable[[], Dataset]) -> None:
        self.folder, self.open_ = folder, open_

    def read(self, row: Int[Tensor, " 1"]) -> Views:
        """One row with its pixels."""
        path = self.folder / f"{int(row)}.npz"
        if path.is_file():
            return Views(**{name: torch.from_numpy(value) for name, value in read_arrays(path).items()})
        view = self.open_().read(row)
        with atomic_path(path) as partial:
            np.savez_compressed(partial, **{name: value.numpy() for name, value in view.items()})  # type: ignore[arg-type]
        return view
