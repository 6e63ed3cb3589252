"""Batches from any mixture of sources. Row i of step s is a pure function of (seed, stage, step, source), so a resumed run
sees what an uninterrupted one would have seen, and nothing has to be replayed.

A source is drawn as single images, or as clips: some time steps of a recording that lie a given time apart, each by some
of its views. Time steps so far apart show different poses, by the same person in the same clothes and place: what metric
learning takes its negatives from.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vergence.batches.dataset import Dataset
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.recipes.recipe import Draw

TIME_STEPS_PER_SOURCE = 1 << 40  # keeps the time steps of different sources apart in one batch
TIME_TOLERANCE = 1e-4  # seconds: times are float32


@dataclass
class Part:
    """A source in a mixture: its images, the labels a method may see, and its share.

    Attributes:
        name: its name in the recipe's batch.
        dataset: the images.
        visible: labels that may be used, one row per image.
        count: images of it in a batch.
        draw: how they are chosen.
        whole: draw views of one time step together; a time step that does not fit is divided between two batches. (Clips hold
            views of a time step together anyway.)
    """

    name: str
    dataset: Dataset
    visible: Views
    count: int
    draw: Draw = field(default_factory=Draw)
    whole: bool = False


def least_gap(apart: float) -> float:
    """Seconds by which times must differ to count as `apart` seconds apart, or as different at all where that is 0."""
    return max(apart - TIME_TOLERANCE, TIME_TOLERANCE)


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
        self._pools: dict[str, Tensor] = {}
        self._together: dict[str, Tensor] = {}  # time steps of the pool of a part that is drawn by whole time steps
        self._clips: dict[str, list[Clip]] = {}
        for part in self.parts:
            pool = self._pools[part.name] = _pool(part)
            if part.draw.time_steps:
                self._clips[part.name] = _clips(part, pool)
            elif part.whole:
                self._together[part.name] = part.visible.time_step[pool]

    @property
    def size(self) -> int:
        """Images of a batch."""
        return sum(part.count for part in self.parts)

    def batch(self, step: int, own: slice | None = None) -> Views:
        """The views of step `step`; whole epochs without repetition, then the next order. `own`: only these rows of them."""
        drawn, before = [], 0
        for number, part in enumerate(self.parts):
            pool = self._pools[part.name]
            single = not part.draw.time_steps
            rows = (
                pool[self._in_turn(part.name, len(pool), part.count, step)] if single else self._clip_rows(part, step)
            )
            if own is not None:
                rows = rows[max(0, own.start - before) : max(0, own.stop - before)]
                before += part.count
                if not len(rows):
                    continue
            views = part.dataset.read(rows)
            visible = part.visible[rows]
            drawn.append(
                visible.replace(
                    image=views.image,
                    time_step=visible.time_step + number * TIME_STEPS_PER_SOURCE,
                    source=torch.full_like(visible.source, number),
                )
            )
        return Views.cat(drawn)

    def _clip_rows(self, part: Part, step: int) -> Tensor:
        """Rows clip by clip, time step by time step, so that the views of a time step stand side by side."""
        clips, draw = self._clips[part.name], part.draw
        count = part.count // (draw.time_steps * draw.views)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {part.name} step {step}".encode()))
        chosen = self._in_turn(part.name, len(clips), count, step).tolist()
        return torch.cat([clips[i].draw(draw.time_steps, draw.views, generator) for i in chosen])

    def _in_turn(self, name: str, size: int, count: int, step: int) -> Tensor:
        """`count` of `size` things: each once in an epoch, every epoch in an order of its own."""
        first = step * count
        found: list[int] = []
        while len(found) < count:
            epoch, offset = divmod(first + len(found), size)
            order = self._order(name, size, epoch)
            found += order[offset : offset + count - len(found)].tolist()
        return torch.tensor(found)

    def _order(self, name: str, size: int, epoch: int) -> Tensor:
        if self._orders.get(name, (-1,))[0] != epoch:
            seed = zlib.crc32(f"{self.seed} {name} {epoch}".encode())
            generator = torch.Generator().manual_seed(seed)
            if name in self._together:
                time_steps, inverse = torch.unique(self._together[name], return_inverse=True)
                turn = torch.argsort(torch.randperm(len(time_steps), generator=generator))
                order = torch.argsort(turn[inverse], stable=True)
            else:
                order = torch.randperm(size, generator=generator)
            self._orders[name] = (epoch, order)
        return self._orders[name][1]


class Clip:
    """The time steps of one recording, and the ways to choose some of them that lie apart.

    Args:
        rows: of each time step, in the order of time.
        time: of each time step, seconds.
        time_steps: how many are to be chosen.
        apart: seconds between any two of them.
    """

    def __init__(self, rows: list[Tensor], time: Tensor, time_steps: int, apart: float) -> None:
        self.rows = rows
        self.following = torch.searchsorted(time.double(), time.double() + least_gap(apart))
        # ways[k, i]: choices of k time steps from the i-th on
        self.ways = torch.ones(time_steps + 1, len(time) + 1, dtype=torch.float64)
        for k in range(1, time_steps + 1):
            self.ways[k, :-1] = self.ways[k - 1, self.following].flip(0).cumsum(0).flip(0)
            self.ways[k, -1] = 0

    def most(self) -> int:
        """How many time steps it has that lie apart, at most as many as were asked for."""
        return int((self.ways[:, 0] > 0).sum()) - 1

    def draw(self, time_steps: int, views: int, generator: torch.Generator) -> Tensor:
        """Rows of a choice of time steps, each possible choice being equally likely, and of `views` of each one's views."""
        found, i = [], 0
        for k in range(time_steps, 0, -1):
            weight = self.ways[k - 1, self.following[i:]]
            i += int(torch.multinomial(weight / weight.max(), 1, generator=generator))
            rows = self.rows[i]
            found.append(rows[torch.randperm(len(rows), generator=generator)[:views]])
            i = int(self.following[i])
        return torch.cat(found)


def _pool(part: Part) -> Tensor:
    """Rows of a part that may be drawn."""
    if len(part.dataset) == 0:
        raise VergenceError(f"source {part.name!r} has no images", "Look at its path, frames and count.")
    if not part.draw.labelled:
        return torch.arange(len(part.dataset))
    labelled = part.visible.has_pose.nonzero()[:, 0]
    if len(labelled) == 0:
        raise VergenceError(
            f"{part.name!r} draws labelled images, but no 3D of its source is visible",
            "Set the source's pose: to a number of subjects, or to all.",
        )
    return labelled


def _clips(part: Part, pool: Tensor) -> list[Clip]:
    """The recordings of a part that have enough time steps, by enough views, far enough apart."""
    draw, index = part.draw, part.visible[pool]
    if part.count % (draw.time_steps * draw.views):
        raise VergenceError(
            f"a batch of {part.count} images of {part.name!r} is not whole clips of {draw.time_steps} time steps by "
            f"{draw.views} views",
            f"Take a multiple of {draw.time_steps * draw.views}.",
        )
    groups, mask = index.groups()
    enough = mask.sum(1) >= draw.views
    groups, mask = groups[enough], mask[enough]
    sequence, time = index.sequence[groups[:, 0]], index.time[groups[:, 0]]
    clips, most = [], 0
    for number in torch.unique(sequence).tolist():
        own = (sequence == number).nonzero()[:, 0]
        own = own[torch.argsort(time[own], stable=True)]
        rows = [pool[groups[i][mask[i]]] for i in own.tolist()]
        clip = Clip(rows, time[own], draw.time_steps, draw.apart)
        most = max(most, clip.most())
        if clip.most() == draw.time_steps:
            clips.append(clip)
    if not clips:
        raise VergenceError(
            f"no recording of {part.name!r} has {draw.time_steps} time steps {draw.apart:g} s apart, each by {draw.views} "
            f"views; the most is {most}",
            "Lower time_steps or apart, or use longer recordings.",
        )
    return clips
