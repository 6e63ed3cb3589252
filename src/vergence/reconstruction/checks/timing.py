"""Which camera is late, and by how many frames: told by the people themselves.

Two fixed cameras of one moment satisfy one epipolar geometry in all frames pooled; shifted against each other they do
not, because the person moves between the frames. For each pair of cameras an essential matrix is fitted at every shift
within reach, and what counts is the truncated Sampson cost of the best. The offsets of all cameras are those that make
the costs of all pairs least together, so that a pair that cannot tell (a person who stands still, a treadmill's even
gait) is outvoted.

A camera that loses frames while it records is late from there on. With the essential matrices at the best offsets, each
frame's cost is known at every shift of a camera, and the cheapest course of shifts, at a price for each change, shows
where it jumps, by how much, and (two cameras) who lost the frames.

The search takes seconds with many cameras. `lag` is the quick look before it: residuals along the joints' own motion,
over that motion, are time (first order). Two cameras alone hide a lag in the points between them; three do not.

What breaks it, and how that shows: nobody moves, or moves periodically (`margin` near 1: another offset explains the
joints as well; `trust` low: what an offset gains comes from a few moments only).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.geometry.cameras import skew
from vergence.geometry.two_view import INLIER_SIGMA, SOLVER_TRIES, estimate_essential, robust_mean, sampson_residual
from vergence.reconstruction.bundle import Bundle
from vergence.reconstruction.checks.lag import lag
from vergence.reconstruction.wish import NOT_SYNCHRONOUS

Array = np.ndarray

REACH = 20  # frames
POINTS = 600  # of a pair, enough to rank shifts
COARSE = 10  # frames between the shifts at which the noise is looked for
SIGMA_LIMITS = 5e-4, 4e-3  # radians: a good and a bad detector at the usual distance
BLOCKS = 12  # of time, over which an offset's gain must be alike
CHANGE_PRICE = 3.0  # of a jump, in frames that are wholly wrong
MIN_SAVED = 3.0  # by all jumps, beyond their price
STARTS = 3
REFITS = 2
SETTLED = 20  # frames that a jump must last
LAG_FRAMES = 0.12  # of the quick look, beyond which all shifts are tried
LAG_WINDOW = 60  # frames of the quick look at parts
LAG_OF_PART = 0.6
LATE_FRAMES = 0.5
LATE_GAIN = 1.06  # cost without offsets over cost with them
LATE_TRUST = 0.5
LEAST_FRAMES = 30  # fewer do not tell a shift


@dataclass(frozen=True)
class Lateness:
    """How many frames each camera lags.

    Attributes:
        frames: V; frame `i` of the others shows what camera v shows in its frame `i + frames[v]`. The cameras that
            most agree with have 0.
        gain: cost without offsets over the cost with them; 1 where nothing is late.
        margin: cost of the next best offsets (more than one frame away in some camera) over the best's.
        trust: what the offsets gain in a block of time, mean over its standard error.
        jumps: camera, frame and number of frames by which it runs ahead from there on: frames that it lost.
    """

    frames: Float[Array, " V"]
    gain: float
    margin: float
    trust: float
    jumps: tuple[tuple[int, int, int], ...] = ()

    @property
    def sure(self) -> bool:
        """Whether some camera is late."""
        late = bool((np.abs(self.frames) > LATE_FRAMES).any())
        return late and self.gain >= LATE_GAIN and self.trust >= LATE_TRUST


def find_lateness(
    image: Float[Array, "T V J 2"], reach: int = REACH, seed: int = 0, watch: Sequence[int] | None = None
) -> Lateness:
    """The offsets of all cameras that agree best with fixed cameras and one person.

    Args:
        image: normalised points (`x/z`, `y/z`, lens undone), NaN = missing.
        reach: frames to look ahead and back.
        seed: of the subsets.
        watch: cameras whose offset may change while they record; all where not given.
    """
    views = image.shape[1]
    pairs = list(combinations(range(views), 2))
    sigma = _noise(image, pairs, reach, seed)
    fits = {(a, b): pair_fits(image[:, a], image[:, b], reach, sigma, seed) for a, b in pairs}
    costs = {pair: cost for pair, (cost, _) in fits.items()}
    total = partial(_total, costs)
    best = min((settled(total, start, reach) for start in starts(costs, views, reach)), key=total)
    best = best - np.bincount(best + views * reach).argmax() + views * reach
    least = total(best)
    steps = [step for step in range(-reach, reach + 1) if abs(step) > 1]
    other = min(total(best + step * at) for at in np.eye(views, dtype=int) for step in steps)
    exact = best + np.array([_vertex(costs, best, v) for v in range(views)])
    gain, trust = _gain(image, fits, best, sigma)
    if gain <= 1:  # only the subset of joints that ranks shifts preferred them
        best, exact, gain, trust = 0 * best, 0 * exact, 1.0, 0.0
    jumps = _jumps(image, fits, best, sigma, reach, range(views) if watch is None else watch)
    return Lateness(exact * (best != 0), gain, other / max(least, 1e-12), trust, jumps)


Fits = dict[tuple[int, int], tuple[Array, list[Array | None]]]


def _matrix(fits: Fits, a: int, b: int, shift: int) -> Array | None:
    """The matrix of two cameras at a shift, `b[t + shift]^T E a[t]`; None where there is none."""
    _, matrices = fits[min(a, b), max(a, b)]
    at = len(matrices) // 2 + (shift if a < b else -shift)
    matrix = matrices[at] if 0 <= at < len(matrices) else None
    return matrix if matrix is None or a < b else matrix.T


def _at(points: Float[Array, "T J 2"], frames: Array) -> Float[Array, "T J 2"]:
    inside = (frames >= 0) & (frames < len(points))
    return np.where(inside[:, None, None], points[np.clip(frames, 0, len(points) - 1)], np.nan)


def _frame_costs(essential: Array | None, a: Array, b: Array, sigma: float) -> Float[Array, " T"]:
    """Mean truncated cost of each frame's joints; NaN where none is seen by both."""
    both = np.isfinite(a).all(-1) & np.isfinite(b).all(-1)
    cost = np.zeros(both.shape)
    if essential is None:
        return np.full(len(a), np.nan)
    cost[both] = np.minimum((sampson_residual(essential, a[both], b[both]) / (INLIER_SIGMA * sigma)) ** 2, 1)
    return np.where(both.any(1), cost.sum(1) / np.maximum(both.sum(1), 1), np.nan)


def _gain(image: Array, fits: Fits, best: Array, sigma: float) -> tuple[float, float]:
    """Cost without offsets over cost with them, of all joints, and how alike the gain is over time."""
    frames, gains, sums = np.arange(len(image)), [], np.zeros(2)
    for a, b in fits:
        shift = int(best[b] - best[a])
        without = _frame_costs(_matrix(fits, a, b, 0), image[:, a], image[:, b], sigma)
        moved = _frame_costs(_matrix(fits, a, b, shift), image[:, a], _at(image[:, b], frames + shift), sigma)
        both = np.isfinite(without) & np.isfinite(moved)
        gains.append(np.where(both, without - moved, 0.0))
        sums += without[both].sum(), moved[both].sum()
    if not best.any() or not sums.all():
        return 1.0, 0.0
    blocks = np.array([part.mean() for part in np.array_split(np.sum(gains, axis=0), BLOCKS)])
    return float(sums[0] / sums[1]), float(blocks.mean() / max(blocks.std(ddof=1) / np.sqrt(BLOCKS), 1e-12))


def _jumps(
    image: Array, fits: Fits, best: Array, sigma: float, reach: int, watch: Sequence[int]
) -> tuple[tuple[int, int, int], ...]:
    """Where one camera's offset changes while it records: of the camera whose jumps save most."""
    views = image.shape[1]
    if not len(watch):
        return ()
    courses = {v: _own_course(image, fits, best, sigma, reach, v) for v in (watch if views > 2 else [0])}
    view = max(courses, key=lambda v: courses[v][0])
    saved, course = courses[view]
    at = np.flatnonzero(np.diff(course)) + 1
    if saved < MIN_SAVED or not len(at) or np.diff([0, *at, len(course)]).min() < SETTLED:
        return ()
    lost = [(int(t), int(course[t - 1] - course[t])) for t in at]
    if views > 2:
        return tuple((view, t, n) for t, n in lost)
    return tuple((0, t, n) if n > 0 else (1, t, -n) for t, n in lost)  # who runs ahead has lost frames


def _own_course(
    image: Array, fits: Fits, best: Array, sigma: float, reach: int, view: int
) -> tuple[float, Float[Array, " T"]]:
    """The cheapest course of shifts through one camera's frames, and what it saves over none, in frames wholly wrong.

    The matrices of a single shift are a mixture where the shift jumps: they only start the search, and those that are
    fitted to the course decide.
    """
    others = [u for u in range(image.shape[1]) if u != view]
    curve = np.array([sum(fits[min(u, view), max(u, view)][0][_place(best, u, view, x, reach)] for u in others)
                      for x in range(-reach, reach + 1)])  # fmt: skip
    begun = [0, *(int(x) - reach for x in np.argsort(curve)[:STARTS])]

    def table(matrices: dict[int, Array | None]) -> Float[Array, "S T"]:
        frames = np.arange(len(image))
        rows = np.array([
            [_frame_costs(m, image[:, view], _at(image[:, u], frames + best[u] - best[view] - x), sigma)
             for x in range(-reach, reach + 1)] for u, m in matrices.items()
        ])  # fmt: skip
        known = np.isfinite(rows)
        mean = np.where(known, rows, 0).sum(0) / np.maximum(known.sum(0), 1)
        some = known.any(0)
        return np.where(some, mean, np.where(some, mean, 0).sum(0) / np.maximum(some.sum(0), 1))

    def fitted(course: Array) -> Float[Array, "S T"]:
        frames = np.arange(len(image)) - course - best[view]
        return table({u: _refit(image[:, view], _at(image[:, u], frames + best[u]), sigma) for u in others})

    none = np.zeros(len(image), dtype=int)
    single, ends = float(fitted(none)[reach].sum()), [(0.0, none)]
    for start in dict.fromkeys(begun):
        course = _course(table({u: _matrix(fits, view, u, int(best[u] - best[view]) - start) for u in others}))[1]
        for _ in range(REFITS):
            total, course = _course(fitted(course))
        ends.append((single - total, course))
    return max(ends, key=lambda end: end[0])


def _place(best: Array, u: int, view: int, x: int, reach: int) -> int:
    shift = int(best[u] - best[view]) - x
    return int(np.clip((shift if view < u else -shift) + reach, 0, 2 * reach))


def _refit(a: Array, b: Array, sigma: float) -> Array | None:
    both = np.flatnonzero((np.isfinite(a).all(-1) & np.isfinite(b).all(-1)).reshape(-1))
    some = np.random.default_rng(0).permutation(both)[:POINTS]
    try:
        return estimate_essential(a.reshape(-1, 2)[some], b.reshape(-1, 2)[some], sigma=sigma)[0]
    except VergenceError:
        return None


def _course(table: Float[Array, "S T"]) -> tuple[float, Float[Array, " T"]]:
    """The cheapest course of shifts, each change at its price: its cost, and the shifts."""
    total, back = table[:, 0].copy(), np.zeros(table.shape, dtype=int)
    for t in range(1, table.shape[1]):
        cheapest = int(total.argmin())
        changed = total[cheapest] + CHANGE_PRICE < total
        back[:, t] = np.where(changed, cheapest, np.arange(len(total)))
        total = np.where(changed, total[cheapest] + CHANGE_PRICE, total) + table[:, t]
    state = np.empty(table.shape[1], dtype=int)
    state[-1] = total.argmin()
    for t in range(table.shape[1] - 1, 0, -1):
        state[t - 1] = back[state[t], t]
    return float(total.min()), state - len(table) // 2


def late_words(
    image: Float[Array, "T V J 2"],
    projected: Float[Array, "T V J 2"],
    names: tuple[str, ...],
    cameras: Bundle | None = None,
) -> str:
    """Which cameras are late, or lost frames, in a sentence; empty where none is.

    Args:
        image: normalised points, NaN = missing.
        projected: the reconstruction as the cameras see it.
        names: of the cameras.
        cameras: given ones, which have a say in whether one is late throughout.
    """
    if len(image) < LEAST_FRAMES:
        return ""
    suspect, ahead = _suspect(image, projected) if len(names) > 2 else (0, 0.0)
    if suspect < 0:
        return ""
    try:
        found = find_lateness(image, watch=[suspect])
    except (VergenceError, ValueError):
        return ""
    if found.jumps:
        told = ", ".join(
            f"{names[v]} {'loses' if n > 0 else 'repeats'} {abs(n)} frame{'s' if abs(n) > 1 else ''} near frame {t}"
            for v, t, n in found.jumps
        )
        return f"{NOT_SYNCHRONOUS} throughout: {told}. Give videos with their time stamps, or cut them there."
    late = [(name, frames) for name, frames in zip(names, found.frames) if abs(frames) > LATE_FRAMES and found.sure]
    late = late or ([(names[suspect], -ahead)] if abs(ahead) > LATE_FRAMES else [])
    if not late or (cameras is not None and _in_time(cameras, image)):
        return ""
    told = ", ".join(f"{name} by about {abs(n):.0f} ({'later' if n < 0 else 'earlier'})" for name, n in late)
    return (
        f"{NOT_SYNCHRONOUS}: against the others, recording seems to begin at another frame in {told}. Set their "
        "`offset`, or cut the videos to one moment."
    )


def _in_time(cameras: Bundle, image: Array) -> bool:
    """Whether the cameras' own geometry, where nothing is free, suits the joints best without offsets."""
    frames, costs = np.arange(len(image)), {}
    for a, b in combinations(range(image.shape[1]), 2):
        turn = cameras.rotation[b] @ cameras.rotation[a].T
        essential = skew(cameras.translation[b] - turn @ cameras.translation[a]) @ turn
        left = [_frame_costs(essential, image[:, a], _at(image[:, b], frames + shift), SIGMA_LIMITS[1])
                for shift in range(-REACH, REACH + 1)]  # fmt: skip
        costs[a, b] = np.array([np.nanmean(cost) if np.isfinite(cost).any() else 1.0 for cost in left])
    total = partial(_total, costs)
    best = min((settled(total, start, REACH) for start in starts(costs, image.shape[1], REACH)), key=total)
    exact = best + np.array([_vertex(costs, best, v) for v in range(len(best))])
    return bool(np.ptp(exact) < LATE_FRAMES)


def _suspect(image: Array, projected: Array) -> tuple[int, float]:
    """The quick look, at all frames and at parts of them: the camera that seems late (-1: none), and by how much it runs
    ahead of the others in all frames."""
    whole = lag(image, projected)
    rows = np.array_split(np.arange(len(image)), max(1, len(image) // LAG_WINDOW))
    parts = np.abs([lag(image[some], projected[some]) for some in rows]) if len(rows) > 1 else np.zeros((1, len(whole)))
    if np.abs(whole).max() < LAG_FRAMES and parts.max() < LAG_OF_PART:
        return -1, 0.0
    score = np.maximum(np.abs(whole) / LAG_FRAMES, parts.max(0) / LAG_OF_PART)
    view = int(score.argmax())
    return view, float(whole[view] - np.median(np.delete(whole, view)))


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


def pair_fits(
    a: Float[Array, "T J 2"],
    b: Float[Array, "T J 2"],
    reach: int,
    sigma: float,
    seed: int = 0,
    tries: int = SOLVER_TRIES,
) -> tuple[Array, list[Array | None]]:
    """Truncated Sampson cost, 0 to 1, at each shift from `-reach` to `reach`, and its matrix: `a[t]` beside `b[t + shift]`."""
    costs: Array = np.ones(2 * reach + 1)
    matrices: list[Array | None] = [None] * (2 * reach + 1)
    for i, shift in enumerate(range(-reach, reach + 1)):
        pa, pb = _beside(a, b, shift, seed)
        try:
            essential, _ = estimate_essential(pa, pb, sigma=sigma, seed=seed, tries=tries)
        except VergenceError:
            continue
        costs[i], matrices[i] = robust_mean(essential, pa, pb, sigma), essential
    return costs, matrices


def _total(costs: dict[tuple[int, int], Array], offset: Array) -> float:
    total = 0.0
    for (a, b), cost in costs.items():
        at = offset[b] - offset[a] + len(cost) // 2
        total += float(cost[at]) if 0 <= at < len(cost) else 1.0
    return total


def starts(costs: dict[tuple[int, int], Array], views: int, reach: int) -> list[Array]:
    """No offset at all, and what each camera says of all others."""
    found = [np.zeros(views, dtype=int)]
    for base in range(views):
        start = np.zeros(views, dtype=int)
        for (a, b), cost in costs.items():
            if base in (a, b):
                shift = int(cost.argmin()) - reach
                start[b if a == base else a] = shift if a == base else -shift
        found.append(start)
    return found


def settled(
    total: Callable[[Array], float], offset: Array, reach: int, far: Callable[[Array], Array] = np.abs
) -> Array:
    """Coordinate descent: one camera after the other moves to where the total is least, until none does.

    Args:
        total: cost of all cameras' offsets.
        offset: to begin with.
        reach: frames that a camera may move at once.
        far: how far off each camera is; of equal costs the nearer offsets are taken.
    """
    for _ in range(20):
        before = offset.copy()
        for v in range(len(offset)):
            tried = [offset + step * (np.arange(len(offset)) == v) for step in range(-reach, reach + 1)]
            offset = min(tried, key=lambda o: (round(total(o), 9), int(far(o).sum())))
        if (offset == before).all():
            break
    return offset


def _vertex(costs: dict[tuple[int, int], Array], offset: Array, view: int) -> float:
    """Where between the frames one camera's sum is least: of the parabola through three neighbours."""
    at = np.arange(len(offset)) == view
    low, here, high = (_total(costs, offset + step * at) for step in (-1, 0, 1))
    bend = low - 2 * here + high
    return float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5)) if bend > 1e-9 else 0.0
