"""Which camera is late, and by how many frames: told by the people themselves.

Two fixed cameras of one moment satisfy one epipolar geometry in all frames pooled; shifted against each other they do
not, because the person moves between the frames. For each pair of cameras an essential matrix is fitted at every shift
within reach, and what counts is the truncated Sampson cost of the best. The offsets of all cameras are those that make
the costs of all pairs least together, so that a pair that cannot tell (a person who stands still, a treadmill's even
gait) is outvoted.

The search takes seconds with many cameras. `lag` is the quick look before it: residuals along the joints' own motion,
over that motion, are time (first order). Two cameras alone hide a lag in the points between them; three do not.

What breaks it, and how that shows: nobody moves, or moves periodically (`margin` near 1: another offset explains the
joints as well).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.geometry.two_view import estimate_essential, robust_mean

Array = np.ndarray

REACH = 20  # frames
POINTS = 600  # of a pair, enough to rank shifts
COARSE = 10  # frames between the shifts at which the noise is looked for
SIGMA_LIMITS = 5e-4, 4e-3  # radians: a good and a bad detector at the usual distance


@dataclass(frozen=True)
class Lateness:
    """How many frames each camera lags.

    Attributes:
        frames: V; frame `i` of the others shows what camera v shows in its frame `i + frames[v]`. The cameras that
            most agree with have 0.
        gain: cost without offsets over the cost with them; 1 where nothing is late.
        margin: cost of the next best offsets (more than one frame away in some camera) over the best's.
    """

    frames: Float[Array, " V"]
    gain: float
    margin: float


def find_lateness(image: Float[Array, "T V J 2"], reach: int = REACH, seed: int = 0) -> Lateness:
    """The offsets of all cameras that agree best with fixed cameras and one person.

    Args:
        image: normalised points (`x/z`, `y/z`, lens undone), NaN = missing.
        reach: frames to look ahead and back.
        seed: of the subsets.
    """
    views = image.shape[1]
    pairs = list(combinations(range(views), 2))
    sigma = _noise(image, pairs, reach, seed)
    costs = {(a, b): pair_costs(image[:, a], image[:, b], reach, sigma, seed) for a, b in pairs}
    best = min((_settled(costs, start) for start in _starts(costs, views, reach)), key=lambda o: _total(costs, o))
    best = best - np.bincount(best + views * reach).argmax() + views * reach
    least = _total(costs, best)
    other = min(
        _total(costs, moved)
        for v in range(views)
        for step in range(-reach, reach + 1)
        if abs(step) > 1
        for moved in [best + step * (np.arange(views) == v)]
    )
    exact = best + np.array([_vertex(costs, best, v) for v in range(views)])
    zero = _total(costs, np.zeros(views, dtype=int))
    return Lateness(exact * (best != 0), zero / max(least, 1e-12), other / max(least, 1e-12))


def _noise(image: Array, pairs: list[tuple[int, int]], reach: int, seed: int) -> float:
    """Radians: the least that any pair's best fit leaves at a few shifts."""
    found = [SIGMA_LIMITS[1]]
    for a, b in pairs:
        for shift in range(-reach, reach + 1, COARSE):
            pa, pb = _beside(image[:, a], image[:, b], shift, seed)
            try:
                found.append(estimate_essential(pa, pb, seed=seed)[1])
            except VergenceError:
                continue
    return float(max(min(found), SIGMA_LIMITS[0]))


def _beside(a: Array, b: Array, shift: int, seed: int) -> tuple[Array, Array]:
    """Some of the joints that both see, `a[t]` beside `b[t + shift]`."""
    start, stop = max(0, -shift), min(len(a), len(b) - shift)
    pa, pb = a[start:stop].reshape(-1, 2), b[start + shift : stop + shift].reshape(-1, 2)
    both = np.flatnonzero(np.isfinite(pa).all(1) & np.isfinite(pb).all(1))
    some = np.random.default_rng(seed).permutation(both)[:POINTS]
    return pa[some], pb[some]


def pair_costs(a: Float[Array, "T J 2"], b: Float[Array, "T J 2"], reach: int, sigma: float, seed: int = 0) -> Array:
    """Truncated Sampson cost, 0 to 1, at each shift from `-reach` to `reach`: `a[t]` beside `b[t + shift]`."""
    costs = np.ones(2 * reach + 1)
    for i, shift in enumerate(range(-reach, reach + 1)):
        pa, pb = _beside(a, b, shift, seed)
        try:
            essential, _ = estimate_essential(pa, pb, sigma=sigma, seed=seed)
        except VergenceError:
            continue
        costs[i] = robust_mean(essential, pa, pb, sigma)
    return costs


def _total(costs: dict[tuple[int, int], Array], offset: Array) -> float:
    total = 0.0
    for (a, b), cost in costs.items():
        at = offset[b] - offset[a] + len(cost) // 2
        total += float(cost[at]) if 0 <= at < len(cost) else 1.0
    return total


def _starts(costs: dict[tuple[int, int], Array], views: int, reach: int) -> list[Array]:
    """No offset at all, and what each camera says of all others."""
    starts = [np.zeros(views, dtype=int)]
    for base in range(views):
        start = np.zeros(views, dtype=int)
        for (a, b), cost in costs.items():
            if base in (a, b):
                shift = int(cost.argmin()) - reach
                start[b if a == base else a] = shift if a == base else -shift
        starts.append(start)
    return starts


def _settled(costs: dict[tuple[int, int], Array], offset: Array) -> Array:
    """Coordinate descent: one camera after the other moves to where the sum is least, until none does."""
    reach = len(next(iter(costs.values()))) // 2
    while True:
        before = offset.copy()
        for v in range(len(offset)):
            tried = [offset + step * (np.arange(len(offset)) == v) for step in range(-reach, reach + 1)]
            offset = min(tried, key=lambda o: (round(_total(costs, o), 9), int(np.abs(o).sum())))
        if (offset == before).all():
            return offset


def _vertex(costs: dict[tuple[int, int], Array], offset: Array, view: int) -> float:
    """Where between the frames one camera's sum is least: of the parabola through three neighbours."""
    at = np.arange(len(offset)) == view
    low, here, high = (_total(costs, offset + step * at) for step in (-1, 0, 1))
    bend = low - 2 * here + high
    return float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5)) if bend > 1e-9 else 0.0


def lag(
    observed: Float[Array, "T V J 2"], projected: Float[Array, "T V J 2"], reach: int = 2, rounds: int = 10
) -> Float[Array, " V"]:
    """Frames by which what a camera sees runs ahead of the reconstruction; Cauchy weights, 0 where nothing moves.

    Args:
        observed: px or radians, NaN = missing.
        projected: the reconstruction seen by the cameras, in the same unit.
        reach: frames on either side between which the motion is measured.
        rounds: of reweighting.
    """
    motion = np.full(projected.shape, np.nan)
    if len(projected) > 2 * reach:
        motion[reach:-reach] = (projected[2 * reach :] - projected[: -2 * reach]) / (2 * reach)
    found = np.zeros(observed.shape[1])
    for v in range(len(found)):
        known = np.isfinite(motion[:, v]) & np.isfinite(observed[:, v])
        left, move = (observed[:, v] - projected[:, v])[known], motion[:, v][known]
        for _ in range(rounds):
            error = left - found[v] * move
            spread = 1.4826 * np.median(np.abs(error)) if error.size else 0.0
            weight = 1 / (1 + (error / max(2 * spread, 1e-12)) ** 2)
            power = float((weight * move * move).sum())
            found[v] = float((weight * left * move).sum()) / power if power > 1e-12 else 0.0
    return found
