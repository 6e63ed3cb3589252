"""Cross-view retrieval: is a pose found again from another camera?

An image of camera v is the query; the images of another camera u are the database, ranked by the distance of their
descriptors (an embedding, or a predicted pose). Two figures, per ordered pair of cameras and their mean:

* **Detection@K**: percentage of queries with the synchronised time step among the K nearest. Strict; within a window of
  time (same recording) beside it.
* **Mean-PA-MPJPE@K**: mean P-MPJPE between the query's true pose and those of the K nearest. It forgives hits that show
  the same pose at another time, as they should be forgiven.

The database is the `same` subject's images, or those of `all` subjects. **Judge on `same`**: among all, an embedding
that knows people by their clothes finds the right person, and with a fiftieth of the database left it looks better than
it is. `same_person_at_1` (percentage of top hits that show the query's person) says so: chance where nothing of the person
is known, 100 where everything is.

Three baselines: `oracle` ranks by the true P-MPJPE, `random` is the expectation over all orders, exactly; and the caller adds
the nearest predicted pose, which is what a search can do without any metric learning.

Everything is exact: all distances, in blocks of queries; ties fall to the earlier row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vergence.errors import VergenceError
from vergence.metrics.position import p_mpjpe

KS = (1, 5, 10)
BLOCK = 1 << 22  # distances held at once
POSE_BLOCK = 20_000  # pairs of poses aligned at once
KEPT = 1 << 23  # pairs of time steps whose error is kept: 64 MB


@dataclass(frozen=True, eq=False)
class Gallery:
    """What N images show; each is a query once per other camera, and in the database of the others.

    Attributes:
        time_step: equal = the same person, the same moment.
        subject, sequence, view: who, which recording, which camera.
        time: seconds within the recording.
        pose: true poses, any frame; of the views of a time step the first with the most known joints counts.
    """

    time_step: Int[Tensor, " N"]
    subject: Int[Tensor, " N"]
    sequence: Int[Tensor, " N"]
    view: Int[Tensor, " N"]
    time: Float[Tensor, " N"]
    pose: Float[Tensor, "N J 3"]

    def __post_init__(self) -> None:
        sizes = {name: len(getattr(self, name)) for name in self.__dataclass_fields__}
        if len(set(sizes.values())) > 1:
            raise VergenceError(f"a gallery has fields of different lengths: {sizes}")

    @cached_property
    def table(self) -> PoseTable:
        """P-MPJPE between the true poses, kept between figures of one gallery."""
        return PoseTable(self.time_step, self.pose)


@dataclass
class Retrieval:
    """Figures of one descriptor and one kind of database.

    Attributes:
        detection: percentage by K, the synchronised time step.
        detection_window: the same within the window.
        mean_pa_mpjpe: by K, in the poses' unit.
        same_person_at_1: percentage of top hits.
        queries, database: number of queries, and mean number of images that each is compared with.
        by_pair: `v-u` to the same figures of one query camera and one database camera.
    """

    detection: dict[int, float]
    detection_window: dict[int, float]
    mean_pa_mpjpe: dict[int, float]
    same_person_at_1: float
    queries: int
    database: float
    by_pair: dict[str, Retrieval] = field(default_factory=dict)


Database = Literal["same", "all"]
Ranking = Callable[[Tensor, Tensor, int], Tensor]
# Of a block of queries and their database: detection, detection within the window and error by K, and the person's at 1.
Figures = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


def measure(
    descriptor: Float[Tensor, "N D"],
    gallery: Gallery,
    database: Database = "same",
    ks: Sequence[int] = KS,
    window: float = 0.5,
) -> Retrieval:
    """Figures of a descriptor whose Euclidean distance ranks the images.

    Args:
        descriptor: one per image of the gallery.
        gallery: what they show.
        database: images of another camera that are searched: of the `same` subject, or of `all`.
        ks: numbers of hits.
        window: seconds, for `detection_window`.

    Raises:
        VergenceError: no query has a database, or a descriptor is NaN.
    """
    if len(descriptor) != len(gallery.time_step) or bool(descriptor.isnan().any()):
        raise VergenceError(
            f"{len(descriptor)} descriptors for {len(gallery.time_step)} images, "
            f"{int(descriptor.isnan().flatten(1).any(1).sum())} of them NaN",
            "Give one finite descriptor per image.",
        )
    x = descriptor.double()

    def nearest(queries: Tensor, items: Tensor, k: int) -> Tensor:
        return _smallest(torch.cdist(x[queries], x[items]), k)

    return _measure(nearest, gallery, database, ks, window)


def oracle(gallery: Gallery, database: Database = "same", ks: Sequence[int] = KS, window: float = 0.5) -> Retrieval:
    """Figures of the best ranking there is: by the true P-MPJPE."""
    table = gallery.table

    def nearest(queries: Tensor, items: Tensor, k: int) -> Tensor:
        return _smallest(table.errors(queries[:, None], items[None]).nan_to_num(torch.inf, posinf=torch.inf), k)

    return _measure(nearest, gallery, database, ks, window)


def random(gallery: Gallery, database: Database = "same", ks: Sequence[int] = KS, window: float = 0.5) -> Retrieval:
    """What a random order scores on average, exactly."""

    def figures(queries: Tensor, items: Tensor) -> tuple[Tensor, ...]:
        hit, near, person = _relations(gallery, queries, items, window)
        at = [min(k, len(items)) for k in ks]
        missed = [torch.stack([_none_of(flags.sum(1), len(items), k) for k in at], 1) for flags in (hit, near)]
        error = gallery.table.errors(queries[:, None], items[None]).nanmean(1, keepdim=True).expand(-1, len(at))
        return 100 * (1 - missed[0]), 100 * (1 - missed[1]), error, 100 * person.double().mean(1)

    return _collect(figures, gallery, database, ks)


def _measure(nearest: Ranking, gallery: Gallery, database: Database, ks: Sequence[int], window: float) -> Retrieval:
    def figures(queries: Tensor, items: Tensor) -> tuple[Tensor, ...]:
        top = items[nearest(queries, items, min(max(ks), len(items)))]
        hit, near, person = _relations(gallery, queries, top, window)
        errors, at = gallery.table.errors(queries[:, None], top), [min(k, top.shape[1]) for k in ks]
        found = [100 * torch.stack([flags[:, :k].any(1) for k in at], 1).double() for flags in (hit, near)]
        return *found, torch.stack([errors[:, :k].nanmean(1) for k in at], 1), 100 * person[:, 0].double()

    return _collect(figures, gallery, database, ks)


def _none_of(right: Tensor, size: int, k: int) -> Float[Tensor, " Q"]:
    """Probability that k of `size` things drawn without replacement hold none of the `right` ones."""
    left = (size - right).double()
    p = torch.ones_like(left)
    for i in range(k):
        p = p * (left - i).clamp(min=0) / (size - i)
    return p


def _blocks(gallery: Gallery, database: Database) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(camera pair, queries, database) in blocks of queries that share their database."""
    if database not in ("same", "all"):
        raise VergenceError(f"no database is called {database!r}", "Known: same, all.")
    views = torch.unique(gallery.view).tolist()
    subjects = torch.unique(gallery.subject).tolist() if database == "same" else [None]
    any_block = False
    for v in views:
        for u in (u for u in views if u != v):
            for s in subjects:
                who = torch.ones_like(gallery.view, dtype=torch.bool) if s is None else gallery.subject == s
                queries = ((gallery.view == v) & who).nonzero()[:, 0]
                items = ((gallery.view == u) & who).nonzero()[:, 0]
                if len(queries) == 0 or len(items) == 0:
                    continue
                any_block = True
                for block in queries.split(max(1, BLOCK // len(items))):
                    yield f"{v}-{u}", block, items
    if not any_block:
        raise VergenceError("no image has another camera to be found in", "Retrieval needs two views at least.")


def _relations(gallery: Gallery, queries: Tensor, items: Tensor, window: float) -> tuple[Tensor, Tensor, Tensor]:
    """Whether items (D, or Q D) show the queries' time step, one of the same recording within the window, their person."""
    items = items if items.ndim == 2 else items[None]
    g, q = gallery, queries[:, None]
    time_step = g.time_step[q] == g.time_step[items]
    near = (g.sequence[q] == g.sequence[items]) & ((g.time[q] - g.time[items]).abs() <= window + 1e-6)
    return time_step, time_step | near, g.subject[q] == g.subject[items]


def _smallest(distance: Float[Tensor, "Q D"], k: int) -> Int[Tensor, "Q k"]:
    """Columns of the k smallest, nearest first, ties by column."""
    if k * 4 > distance.shape[1]:
        return torch.sort(distance, dim=1, stable=True).indices[:, :k]
    limit = distance.topk(k, dim=1, largest=False).values[:, -1:]
    inside = distance <= limit  # at least k; more where some tie with the last
    most = int(inside.sum(1).max())
    column = torch.arange(distance.shape[1]).expand_as(distance)
    candidates = torch.where(inside, column, distance.shape[1]).topk(most, dim=1, largest=False).values.sort(1).values
    values = torch.cat([distance, distance.new_full((len(distance), 1), torch.inf)], 1).gather(1, candidates)
    return candidates.gather(1, torch.sort(values, dim=1, stable=True).indices[:, :k])


def _collect(figures: Figures, gallery: Gallery, database: Database, ks: Sequence[int]) -> Retrieval:
    """Means over the queries of each pair of cameras, and over the pairs."""
    found: dict[str, list[tuple[Tensor, ...]]] = {}
    for pair, queries, items in _blocks(gallery, database):
        size = torch.full((len(queries),), float(len(items)), dtype=torch.float64)
        found.setdefault(pair, []).append((*figures(queries, items), size))
    pairs = {}
    for name, rows in found.items():
        *each, person, size = (torch.cat(column) for column in zip(*rows))
        hit, near, error = ({k: float(x[:, i].nanmean()) for i, k in enumerate(ks)} for x in each)
        pairs[name] = Retrieval(hit, near, error, float(person.mean()), len(person), float(size.mean()))
    every = list(pairs.values())

    def mean(values: list[float]) -> float:
        return float(torch.tensor(values, dtype=torch.float64).nanmean())

    def means(name: str) -> dict[int, float]:
        return {k: mean([getattr(p, name)[k] for p in every]) for k in ks}

    return Retrieval(
        means("detection"), means("detection_window"), means("mean_pa_mpjpe"),
        mean([p.same_person_at_1 for p in every]), sum(p.queries for p in every), mean([p.database for p in every]), pairs,
    )  # fmt: skip


class PoseTable:
    """True poses by time step, and P-MPJPE between any two, kept where all of them fit in memory."""

    def __init__(self, time_step: Int[Tensor, " N"], pose: Float[Tensor, "N J 3"]) -> None:
        time_steps, self.place = torch.unique(time_step, return_inverse=True)
        order = torch.argsort((~pose.isnan().any(-1)).sum(1), descending=True, stable=True).flip(0)
        first = torch.zeros(len(time_steps), dtype=torch.long)
        first[self.place[order]] = order  # what is written last stays: the first of those with the most joints
        self.pose = pose[first].double()
        n = len(time_steps)
        self.kept = torch.full((n, n), -1.0, dtype=torch.float64) if n * n <= KEPT else None

    def errors(self, queries: Int[Tensor, "Q 1"], items: Int[Tensor, "Q D"]) -> Float[Tensor, "Q D"]:
        """P-MPJPE of the items' true poses, each aligned with the query's; rows of the gallery, which broadcast."""
        q, d = torch.broadcast_tensors(self.place[queries], self.place[items])
        code, back = torch.unique(q * len(self.pose) + d, return_inverse=True)
        q, d = code // len(self.pose), code % len(self.pose)
        if self.kept is None:
            return self._aligned(q, d)[back]
        missing = self.kept[q, d] == -1
        self.kept[q[missing], d[missing]] = self._aligned(q[missing], d[missing])
        return self.kept[q, d][back]

    def _aligned(self, queries: Tensor, items: Tensor) -> Float[Tensor, " P"]:
        parts = zip(queries.split(POSE_BLOCK), items.split(POSE_BLOCK))
        return torch.cat([_p_mpjpe(self.pose[d], self.pose[q]) for q, d in parts])


def _p_mpjpe(p: Float[Tensor, "P J 3"], t: Float[Tensor, "P J 3"]) -> Float[Tensor, " P"]:
    """P-MPJPE over the joints that both know; NaN where those are fewer than three."""
    return p_mpjpe(p, torch.where(p.isnan(), torch.nan, t))
