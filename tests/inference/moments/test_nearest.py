"""The search against plain loops, and against all distances at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fixtures_moments import index

from vergence.errors import VergenceError
from vergence.inference.moments import nearest
from vergence.inference.moments.index import Index
from vergence.inference.moments.nearest import find_hits


def slow_search(found: Index, query, offsets, count: int, apart: float) -> list[tuple[int, float]]:
    """Every start, frame by frame; offsets in rows."""
    scores = []
    for row in range(len(found)):
        total = 0.0
        for q, offset in zip(query, offsets):
            other = row + offset
            if other >= len(found) or found.camera[other] != found.camera[row]:
                total = math.inf
                break
            total += math.dist(q.tolist(), found.descriptor[other].tolist()) ** 2
        scores.append((math.sqrt(total / len(query)), row))
    hits: list[tuple[int, float]] = []
    for distance, row in sorted(scores):
        near = [h for h, _ in hits if found.camera[h] == found.camera[row]]
        if math.isfinite(distance) and all(abs(found.time[h] - found.time[row]) >= apart - 1e-6 for h in near):
            hits.append((row, distance))
    return hits[:count]


@pytest.mark.parametrize("apart", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_image_against_a_slow_reference(apart, seed):
    found = index(seed=seed)
    query = np.random.default_rng(seed + 9).normal(size=(1, 6)).astype(np.float32)
    hits = find_hits(found, query, count=8, apart=apart)
    expected = slow_search(found, query, [0], 8, apart)
    assert [h.row for h in hits] == [row for row, _ in expected]
    assert [h.distance for h in hits] == pytest.approx([d for _, d in expected], rel=1e-6)
    first = hits[0]
    assert (first.camera, first.frame) == (f"cam{found.camera[first.row]}", found.frame[first.row])


@pytest.mark.parametrize("apart", [0.0, 0.5])
def test_a_clip_against_a_slow_reference(apart):
    found = index(seed=3)
    query = np.random.default_rng(2).normal(size=(4, 6)).astype(np.float32)
    hits = find_hits(found, query, np.array([5.0, 5.2, 5.4, 5.6]), count=6, apart=apart)
    expected = slow_search(found, query, [0, 2, 4, 6], 6, apart)
    assert [h.row for h in hits] == [row for row, _ in expected]
    assert [h.distance for h in hits] == pytest.approx([d for _, d in expected], rel=1e-6)


def test_a_clip_of_the_footage_finds_itself_at_any_frame_rate():
    found = index(200, 2)
    rows = np.arange(40, 60)
    hit = find_hits(found, found.descriptor[rows], found.time[rows], count=1)[0]
    assert (hit.row, hit.distance) == (40, 0)
    slower = rows[::3]
    assert find_hits(found, found.descriptor[slower], found.time[slower] + 100, count=1)[0].row == 40


def test_hits_that_lie_apart_are_found_behind_thousands_of_neighbours():
    found = index(3000, 1, step=0.01, size=1)
    found.descriptor[:, 0] = np.abs(np.arange(3000) - 100) / 100  # one valley: the best thousand are neighbours
    hits = find_hits(found, np.zeros((1, 1)), count=4, apart=5.0)
    assert [h.row for h in hits] == [100, 600, 1100, 1600]


@pytest.mark.parametrize(
    ("query", "time", "said"),
    [
        (np.zeros((1, 5)), None, "6"),
        (np.full((1, 6), np.nan), None, "NaN"),
        (np.zeros((3, 6)), None, "time"),
        (np.zeros((2, 6)), np.array([0.0, 99.0]), "longer than any stretch"),
    ],
)
def test_queries_that_cannot_be_answered(query, time, said):
    with pytest.raises(VergenceError, match=said):
        find_hits(index(), query, time)


N = 20_000


def exhaustive(found: Index, squared: np.ndarray, count: int, apart: float) -> list[tuple[int, float]]:
    """All rows in the order of their distances, of equals the first; each that is no neighbour of a better one."""
    hits: list[int] = []
    for row in np.lexsort((np.arange(len(squared)), squared)):
        if len(hits) == count or not np.isfinite(squared[row]):
            break
        own = [h for h in hits if found.camera[h] == found.camera[row]]
        if row not in hits and not (np.abs(found.time[own] - found.time[row]) < apart - 1e-6).any():
            hits.append(int(row))
    return [(row, float(np.sqrt(squared[row]))) for row in hits]


def distances(found: Index, query: np.ndarray, offsets=(0,)) -> np.ndarray:
    """Mean squared distance to every start; offsets in rows."""
    total = np.zeros(len(found))
    for q, offset in zip(query, offsets, strict=True):
        there = np.minimum(np.arange(len(found)) + offset, len(found) - 1)
        away = found.descriptor[there].astype(np.float64) - q
        fits = (np.arange(len(found)) + offset < len(found)) & (found.camera[there] == found.camera)
        total += np.where(fits, (away * away).sum(1), np.inf)
    return total / len(query)


def noise(rng):
    return rng.normal(size=(N, 40))


def smooth(rng):
    """Walks to and fro in 5 of 40 dimensions, with small errors in all."""
    walk = np.cumsum(rng.normal(size=(N, 5)), 0)
    return np.sin(walk / 20) @ rng.normal(size=(5, 40)) + 0.02 * rng.normal(size=(N, 40))


def tied(rng):
    """Few values, each in hundreds of rows."""
    return rng.integers(0, 3, size=(N, 4))


def equal(rng):
    return np.ones((N, 7))


def mostly_zeros(rng):
    """Poses without a heading are zeros."""
    return smooth(rng) * (rng.random((N, 1)) < 0.3)


def far_off(rng):
    """Little differences far from the origin."""
    return 100 + 0.01 * smooth(rng)


def one_that_is_huge(rng):
    return np.r_[smooth(rng)[:-1], np.full((1, 40), 1e6)]


KINDS = [noise, smooth, tied, equal, mostly_zeros, far_off, one_that_is_huge]


@pytest.mark.parametrize("apart", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_among_20000_images_the_hits_are_those_of_comparing_all(kind, apart):
    rng = np.random.default_rng(4)
    found = index(N, 4, step=0.04, descriptor=kind(rng))
    for row in (77, N // 2, N - 1):
        query = found.descriptor[row] + np.float32(rng.choice([0, 0.1])) * rng.normal(size=found.descriptor.shape[1])
        query = query.astype(np.float32)
        hits = find_hits(found, query, count=20, apart=apart)
        expected = exhaustive(found, distances(found, query[None]), 20, apart)
        assert [h.row for h in hits] == [r for r, _ in expected]
        assert [h.distance for h in hits] == pytest.approx([d for _, d in expected], rel=1e-12)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("kind", [noise, smooth, tied])
def test_among_20000_starts_of_a_clip_the_hits_are_those_of_comparing_all(kind, gaps, monkeypatch):
    monkeypatch.setattr("vergence.inference.moments.sketch.PART", 3000)  # so that parts end within cameras
    rng = np.random.default_rng(5)
    found = index(N, 4, step=0.04, descriptor=kind(rng))
    if gaps:  # half a second is missing now and then: the same rows are asked for in one loop over all starts
        found.time[:] += 0.5 * (found.frame // 700)
    rows = np.arange(5100, 5110, 3)
    query = found.descriptor[rows] + np.float32(0.05)
    hits = find_hits(found, query, found.time[rows], count=20, apart=1.0)
    squared = distances(found, query, rows - rows[0])
    if gaps:
        squared[(found.frame + 9) // 700 != found.frame // 700] = np.inf
    expected = exhaustive(found, squared, 20, 1.0)
    assert [h.row for h in hits] == [r for r, _ in expected]
    assert [h.distance for h in hits] == pytest.approx([d for _, d in expected], rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_bound_exceeds_a_distance(kind):
    rng = np.random.default_rng(6)
    found = index(N, 2, descriptor=kind(rng))
    for query in (found.descriptor[9], kind(rng)[5].astype(np.float32), np.zeros_like(found.descriptor[0])):
        bound = nearest._Asked(found, query[None], np.zeros(1)).bounds()
        assert (bound <= distances(found, query[None])).all()


def test_of_smooth_motion_few_images_are_looked_at(monkeypatch):
    looked, squared = [], nearest._Asked.squared
    monkeypatch.setattr(nearest._Asked, "squared", lambda self, rows: looked.append(len(rows)) or squared(self, rows))
    found = index(N, 2, step=0.04, descriptor=smooth(np.random.default_rng(7)))
    find_hits(found, found.descriptor[500], count=20)
    assert sum(looked) < N // 4


def test_fewer_moments_than_wanted_are_all_of_them():
    found = index(N, 4, step=0.04, descriptor=noise(np.random.default_rng(8)))
    hits = find_hits(found, found.descriptor[3], count=20, apart=1e6)
    assert sorted(h.camera for h in hits) == list(found.cameras)
    assert len(find_hits(index(), np.zeros((1, 6)), count=1000, apart=0.0)) == 60


def test_an_image_that_could_not_be_described_is_no_hit():
    found = index(300, 1, descriptor=np.random.default_rng(9).normal(size=(300, 5)))
    found.descriptor[40:60, 2] = np.nan
    found.descriptor[60, 2] = np.inf
    rows = [h.row for h in find_hits(found, np.zeros((1, 5)), count=300, apart=0.0)]
    assert sorted(rows) == [*range(40), *range(61, 300)]
