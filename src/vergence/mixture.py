"""Batches from any mixture of sources. Row i of step s is a pure function of (seed, stage, step, source), so a resumed run
sees what an uninterrupted one would have seen, and nothing has to be replayed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from vergence.dataset import Dataset
from vergence.errors import VergenceError
from vergence.views import Views

INSTANTS_PER_SOURCE = 1 << 40  # keeps the instants of different sources apart in one batch


@dataclass
class Part:
    """A source in a mixture: its pictures, the labels a method may see, and its share.

    Attributes:
        name: the source's name in the recipe.
        dataset: the pictures.
        visible: labels that may be used, one row per picture.
        count: pictures of it in a batch.
        whole: draw views of one instant together; an instant that does not fit is divided between two batches.
    """

    name: str
    dataset: Dataset
    visible: Views
    count: int
    whole: bool = False


class Mixture:
    """Draws the batch of any step.

    Args:
        parts: the sources.
        seed: of the run and the stage.
    """

    def __init__(self, parts: list[Part], seed: int) -> None:
        self.parts = [p for p in parts if p.count > 0]
        self.seed = seed
        self._orders: dict[str, tuple[int, Tensor]] = {}
        for part in self.parts:
            if len(part.dataset) == 0:
                raise VergenceError(f"source {part.name!r} has no pictures", "Look at its path, frames and count.")

    def batch(self, step: int) -> Views:
        """The views of step `step`; whole epochs without repetition, then the next order."""
        drawn = []
        for number, part in enumerate(self.parts):
            rows = self._rows(part, step)
            views = part.dataset.read(rows)
            visible = part.visible[rows]
            drawn.append(
                visible.replace(
                    image=views.image,
                    instant=visible.instant + number * INSTANTS_PER_SOURCE,
                    source=torch.full_like(visible.source, number),
                )
            )
        return Views.cat(drawn)

    def _rows(self, part: Part, step: int) -> Tensor:
        size, first = len(part.dataset), step * part.count
        rows: list[int] = []
        while len(rows) < part.count:
            epoch, offset = divmod(first + len(rows), size)
            order = self._order(part, epoch)
            rows += order[offset : offset + part.count - len(rows)].tolist()
        return torch.tensor(rows)

    def _order(self, part: Part, epoch: int) -> Tensor:
        if self._orders.get(part.name, (-1,))[0] != epoch:
            seed = zlib.crc32(f"{self.seed} {part.name} {epoch}".encode())
            generator = torch.Generator().manual_seed(seed)
            if part.whole:
                instants, inverse = torch.unique(part.dataset.index.instant, return_inverse=True)
                turn = torch.argsort(torch.randperm(len(instants), generator=generator))
                order = torch.argsort(turn[inverse], stable=True)
            else:
                order = torch.randperm(len(part.dataset), generator=generator)
            self._orders[part.name] = (epoch, order)
        return self._orders[part.name][1]
