"""Pose search: the moments of an index that are nearest to a query.

The search is exact: its hits are those of comparing all images. It reads little all the same. Distances between sketches
(see `sketch`) are lower bounds and come from one product of a vector and a matrix a quarter of the descriptors' size, or
less. Only rows whose bound does not exceed the last hit's distance are looked at themselves, in float64. An approximate index
(graphs, cells) would be faster still and miss some; a million images need none.

A clip is compared with every stretch of equal length: frame with frame at equal times, by the root mean square of the
distances. Hits closer in time to a better hit of the same camera than `apart` are left out, since neighbouring frames are
one moment.

What breaks it: descriptors are as good as the network is on such images, and a distance says nothing by itself. The
nearest of bad hits is still a hit; compare the distances of the first hits with those of the last. Where bounds are weak
(see `sketch`), or nearly all images are equally near, most rows are looked at, which takes seconds for a million.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vergence.errors import VergenceError
from vergence.inference.moments.index import Index, Stretch
from vergence.inference.moments.sketch import PART, parts_of, sketch_of

LONGEST_CLIP = 64  # images of a query clip that are compared
FIRST = 1024  # rows that are looked at first
CACHED = 2**16  # numbers that are worked on at a time
LARGEST = float(np.finfo(np.float32).max)


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
    if len(query) > 1:
        if time is None or len(time) != len(query):
            raise VergenceError("a clip without a time for each of its images", "Give them, in seconds.")
        some = np.linspace(0, len(query) - 1, min(len(query), LONGEST_CLIP)).round().astype(int)
        query, time = query[some], np.asarray(time, dtype=np.float64)[some]
    asked = _Asked(index, query, np.zeros(1) if time is None or len(query) == 1 else time - time[0])
    bound = asked.bounds()
    if not np.isfinite(bound).any():
        raise VergenceError(
            f"the clip lasts {asked.later[-1]:.1f} s, longer than any stretch of the footage",
            "Give a shorter clip (--query-frames), or longer footage.",
        )
    found = _nearest(asked, bound, count, apart)
    rows = np.array([row for row, _ in found], dtype=int)
    places = zip(found, index.camera[rows], index.frame[rows].tolist(), index.time[rows].tolist(), strict=True)
    return [Hit(r, index.cameras[c], frame, at, float(np.sqrt(squared))) for (r, squared), c, frame, at in places]


@dataclass(frozen=True, eq=False)
class _Asked:
    """A query to an index: T descriptors, `later` seconds after the first."""

    index: Index
    query: Float[np.ndarray, "T D"]
    later: Float[np.ndarray, " T"]

    def bounds(self) -> Float[np.ndarray, " N"]:
        """No more than the mean squared distance to every start; infinite where the clip does not fit."""
        axes, sketch = self.index.sketched
        own = sketch_of(self.query, axes)
        weights = np.vstack([-2 * own[:-1], np.ones_like(own[:1])]).T
        if len(self.query) == 1:
            bound = weights[0] @ sketch
            bound += own[-1]
            return bound
        out = np.full(len(self.index), np.inf, np.float32)
        for stretch in self.index.stretches:
            for part in parts_of(stretch.first, stretch.end):
                out[part] = self._clip_bounds(stretch, part, weights, sketch) + own[-1].mean(dtype=np.float64)
        return out

    def _clip_bounds(self, stretch: Stretch, part: slice, weights: np.ndarray, sketch: np.ndarray) -> np.ndarray:
        """Mean products of the clip and the rows that follow each of a part's; infinite where they are not there."""
        ahead = [self._ahead(stretch, part, later) for later in self.later]
        total = np.zeros(part.stop - part.start)
        if min(ahead) >= 0:  # evenly spaced: no row has to be looked for
            for n, values in zip(ahead, weights @ sketch[:, part.start : part.stop + max(ahead)], strict=True):
                total += values[n : n + len(total)]
            return total / len(ahead)
        rows = self.rows_at(np.arange(part.start, part.stop))
        low = int(rows[rows >= 0].min())
        for row, values in zip(rows, weights @ sketch[:, low : int(rows.max()) + 1], strict=True):
            total += np.where(row < 0, np.inf, values[np.maximum(row - low, 0)])
        return total / len(ahead)

    def _ahead(self, stretch: Stretch, part: slice, later: float) -> int:
        """How many rows behind each of a part the one lies that is nearest so much later; -1 where that is not always so."""
        known = self.index.time[stretch.first : stretch.end]
        first, end = part.start - stretch.first, part.stop - stretch.first
        ahead = int(_closest(known, known[first] + later)) - first
        if ahead < 0 or end + ahead > len(known):
            return -1
        away = known[first + ahead : end + ahead] - known[first:end]
        return ahead if np.abs(away - later).max() < 0.49 * stretch.least else -1

    def squared(self, starts: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Mean squared distance to starts where the clip fits, in float64."""
        out, step = np.empty(len(starts)), max(1, CACHED // self.query.size)
        for part in parts_of(0, len(starts)):
            rows = self.rows_at(starts[part])
            for at in range(0, rows.shape[1], step):
                away = self.index.descriptor[rows[:, at : at + step]].astype(np.float64)
                away -= self.query[:, None]
                away *= away
                out[part][at : at + step] = away.sum(-1).mean(0)
        return out

    def rows_at(self, starts: Int[np.ndarray, " n"]) -> Int[np.ndarray, "T n"]:
        """For every start (ascending) the row of its camera nearest to each later time; -1 where the nearest is too far off."""
        if len(self.query) == 1:
            return starts[None]
        out = np.full((len(self.later), len(starts)), -1)
        for stretch in self.index.stretches:
            low, high = np.searchsorted(starts, [stretch.first, stretch.end])
            if low == high:
                continue
            known, own = self.index.time[stretch.first : stretch.end], starts[low:high] - stretch.first
            start = known[own]
            for t, later in enumerate(self.later):
                wanted = start + later
                near = (own + (_closest(known, wanted[:1]) - own[0])).clip(0, len(known) - 1)
                away = np.abs(known[near] - wanted)
                if len(far := np.flatnonzero(away >= 0.49 * stretch.least)):  # another may be nearer
                    near[far] = _closest(known, wanted[far])
                    away[far] = np.abs(known[near[far]] - wanted[far])
                near += stretch.first
                near[away > 0.5 * stretch.step + 1e-6] = -1
                out[t, low:high] = near
        return out


def _closest(known: Float[np.ndarray, " K"], wanted: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The place in an ascending list that is nearest; of two the later."""
    right = np.searchsorted(known, wanted).clip(0, len(known) - 1)
    left = (right - 1).clip(0)
    return np.where(wanted - known[left] < known[right] - wanted, left, right)


def _nearest(asked: _Asked, bound: Float[np.ndarray, " N"], count: int, apart: float) -> list[tuple[int, float]]:
    """The nearest moments' rows and mean squared distances.

    All rows whose bound is at most `level` are looked at. What is picked among them at no more than that distance stands: the
    others are farther. Where that is too little the level rises to the last one picked. `bound` is used up.
    """
    rows, squared, level = np.empty(0, int), np.empty(0), _level(bound, FIRST)
    while True:
        new = np.flatnonzero(bound <= level)
        rows, squared = np.concatenate([rows, new]), np.concatenate([squared, asked.squared(new)])
        order = np.argsort(rows)
        rows, squared, bound[new] = rows[order], squared[order], np.inf
        picked = _picked(asked.index, rows, squared, count, apart)
        sure = [at for at in picked if squared[at] <= level]
        if len(sure) == count or level == LARGEST:
            return [(int(rows[at]), float(squared[at])) for at in sure]
        for at in sure:
            bound[_around(asked.index, int(rows[at]), apart)] = np.inf
        level = float(squared[picked[-1]]) if len(picked) == count else _level(bound, 8 * len(rows))


def _level(bound: Float[np.ndarray, " N"], count: int) -> float:
    """What about so many of the bounds do not exceed, by some of them; the largest number where there are not so many."""
    step = len(bound) // PART + 1
    some = np.sort(bound[::step])
    some = some[np.isfinite(some)]
    return float(some[count // step]) if count // step < len(some) else LARGEST


def _picked(index: Index, rows: np.ndarray, squared: np.ndarray, count: int, apart: float) -> list[int]:
    """Places in `rows` (ascending) of the nearest moments, each without its neighbours in time; of equals the first."""
    free, picked = np.ones(len(rows), bool), list[int]()
    for at in np.argsort(squared, kind="stable"):
        if free[at]:
            picked.append(int(at))
            near = _around(index, int(rows[at]), apart)
            low, high = np.searchsorted(rows, [near.start, near.stop])
            free[low:high] = False
        if len(picked) == count:
            break
    return picked


def _around(index: Index, row: int, apart: float) -> slice:
    """The rows of the same camera less than `apart` seconds away, and the row itself."""
    low, high = np.searchsorted(index.camera, [index.camera[row], index.camera[row] + 1])
    time, own = index.time[low:high], float(index.time[row])
    first = np.searchsorted(time, own - apart + 1e-6, side="right")
    last = np.searchsorted(time, own + apart - 1e-6, side="left")
    return slice(low + min(int(first), row - low), low + max(int(last), row - low + 1))
