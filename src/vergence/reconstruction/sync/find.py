"""When each camera's clock stands to the others', told by the person's motion, and whether that can be told.

First every whole shift within reach is tried for every pair of cameras (`pairs`), and the offsets of all cameras are
those that make the pairs' costs least together. Then these offsets, none at all, and the next best ones (a stride
earlier, say) are each adjusted with cameras and points (`together`). What is reported is the one that leaves least, if
the motion tells it from the others; where it does not, all that fit are named, and the least of them is taken. Cameras
whose offset is within its own uncertainty of 0 are left exactly as they are.

Limits are of walks seen by four cameras (`benchmarks/synchronisation.py`, seeds 0 to 7); later seeds check them.

What breaks it: nobody moves (the offsets' uncertainty says so), a treadmill's even gait (offsets a period apart fit
alike), frames lost at unknown moments (they show as a drift that no clock has), fewer than a second of footage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.reconstruction.checks.lag import lag
from vergence.reconstruction.checks.timing import settled, starts
from vergence.reconstruction.sync.motion import smoothed, without_strays
from vergence.reconstruction.sync.pairs import LEAST_FRAMES, scan
from vergence.reconstruction.sync.together import TRUNCATED, Timing, adjust_time, asked, moments, seen_again

Array = np.ndarray

LEAST_TAU = 1.5  # steps over which keypoints are smoothed
REACH_STEPS, REACH_SECONDS = 60, 1.5  # shifts that are tried: the larger of the two
LEAST_SHARE = 0.25  # of the time that a shift must leave in common, and `LEAST_FRAMES`
WINDOW = 2400  # steps over which a clock's drift does not matter
GROWTH = 3  # of the window when drift is known
BLOCKS, BLOCK_TAUS = 20, 4  # parts of time in which keypoints' noise is their own
APART = 3  # steps between offsets that count as different ones
TRIED = 3  # other offsets
SURE_Z = 2.5  # blocks' mean over its standard error: beyond it another offset is excluded
SURE_RATIO = 1.05
# Half the footage away few blocks are in common, and z stays small however badly an offset fits: with so much left less will
# do. A generated walk needs it (z 2.35, ratio 2.84, 51 of 110 steps away); of the benchmark's walks looked at, none.
FAR_Z, FAR_RATIO = 2.0, 1.5
SMOOTHED = 0.04  # steps that smoothing may cost, whatever the noise
NEEDED = 0.5  # steps, to which limbs must be at one time: nine in ten of errors are below 1.65 deviations
SURE_DEVIATION = NEEDED / 1.65
KNOWN_DEVIATION = 0.5  # steps: beyond it the motion does not tell
MOVED_DEVIATION = 1.0  # steps: nor offsets that are surely there
# Within the larger one an offset is none: so small a one (of the slowest camera's frames) costs less than footage that is
# synchronous and would be moved by noise.
STILL_STEPS, STILL_DEVIATIONS = 0.2, 3.0
STILL_DRIFT, WILD_DRIFT = 0.2, 0.75  # steps over half the footage: of a clock, and of frames that are lost
DRIFT_DEVIATIONS, WILD_DEVIATIONS = 4.0, 5.0
PART_STEPS, MOST_PARTS, WANDER_STEPS = 22, 12, 1.0  # of time, in which cameras must stay together
MOST_DRIFT = 1e-3  # steps per step: no clock is so wrong


@dataclass(frozen=True)
class Sync:
    """Offsets in time of a capture's cameras.

    Attributes:
        state: `synchronous` (nothing to move), `found`, `unsure` (found, but not to half a frame, or frames are lost),
            `ambiguous` (several offsets fit alike: the least are taken), `unknown` (the motion does not tell).
        offset: time step `i` of the capture is this much later in each camera: `i + offset + drift i`; exactly 0 where
            nothing is to be moved.
        drift: steps per step.
        deviation: of the offsets, steps; `between`: of the difference of every two.
        margin: how surely the next best offsets are excluded, in standard errors; inf where there are none.
        alternatives: other offsets that fit alike.
        reason: in words.
        zero_fits: no offset at all is among those that fit.
    """

    state: Literal["synchronous", "found", "unsure", "ambiguous", "unknown"]
    offset: Float[Array, " V"]
    drift: Float[Array, " V"]
    deviation: Float[Array, " V"]
    margin: float = float("nan")
    alternatives: tuple[tuple[float, ...], ...] = ()
    reason: str = ""
    between: Float[Array, "V V"] | None = None
    zero_fits: bool = True

    @property
    def moves(self) -> bool:
        """Whether any camera is to be moved in time."""
        return bool(self.offset.any() or self.drift.any())


def find_sync(
    image: Float[Array, "T V J 2"],
    *,
    fps: float = 30.0,
    coarsest: float = 1.0,
    focal_known: bool = True,
    seed: int = 0,
) -> Sync:
    """Offsets and drifts of fixed cameras that watch one person.

    Args:
        image: normalised points (`x/z`, `y/z`, lens undone) at common time steps, NaN = missing.
        fps: time steps a second.
        coarsest: steps between two frames of the slowest camera.
        focal_known: else focal lengths are found as well.
        seed: of subsets and starts.
    """
    steps, views = image.shape[:2]
    nothing = Sync("unknown", np.zeros(views), np.zeros(views), np.full(views, np.inf))
    if steps < 2 * LEAST_FRAMES or views < 2:
        return replace(nothing, reason=f"{steps} frames are too few to tell offsets in time by the motion")
    tau = max(LEAST_TAU, coarsest)
    course = np.stack([smoothed(without_strays(image[:, v], math.ceil(coarsest)), tau) for v in range(views)], axis=1)
    window = _window(course)
    part = course[window]
    reach = int(max(REACH_STEPS, REACH_SECONDS * fps))
    curves = _curves(part, reach, seed)
    if len({v for pair in curves for v in pair}) < views:
        return replace(nothing, reason="some camera shares too little with the others to tell its offset in time")
    found: list[Timing] = []
    for offset in _candidates(curves, views, reach):
        try:
            timing = adjust_time(
                part, offset, np.zeros(views), tau=tau, focal_known=focal_known, drifts=False, seed=seed
            )
        except VergenceError:
            continue
        if np.sort(np.abs(timing.offset[:, None] - timing.offset), axis=1)[:, 1].max() > len(part) - _least(len(part)):
            continue  # some camera shares too little with all others
        if not any(np.abs(timing.offset - other.offset).max() < APART / 2 for other in found):
            found.append(timing)
    if not found:
        return replace(nothing, reason="no offsets in time let the cameras agree")
    best = _best(found, tau)
    excluded = [_excluded(found[best], other, tau) for other in found]
    fits = [
        i
        for i, (z, ratio) in enumerate(excluded)
        if i == best or z < (SURE_Z if ratio < FAR_RATIO else FAR_Z) or ratio < SURE_RATIO
    ]
    margin = min((z for i, (z, _) in enumerate(excluded) if i != best), default=np.inf)
    taken = min(fits, key=lambda i: float(np.ptp(found[i].offset)))  # of those that fit, the least
    others = [found[i] for i in fits if i != taken]
    timing, twice_middle = _drifting(course, found[taken], window, tau, focal_known, seed)
    return _verdict(timing, others, margin, twice_middle, _wanders(part, found[taken]), STILL_STEPS * coarsest)


def _wanders(course: Array, timing: Timing) -> float:
    """Steps by which some camera is late in a part of the time and not in another: frames that it lost."""
    steps, views, joints = course.shape[:3]
    frame, joint = (x.ravel() for x in np.meshgrid(np.arange(steps), np.arange(joints), indexing="ij"))
    seen = asked(course, frame, joint, moments(frame, timing.offset, timing.drift, steps))
    shape = (views, steps, joints, 2)
    projected = seen_again(timing.cameras, seen).reshape(shape).transpose(1, 0, 2, 3)
    observed = seen.reshape(shape).transpose(1, 0, 2, 3)
    parts = np.array_split(np.arange(steps), int(np.clip(steps // PART_STEPS, 1, MOST_PARTS)))
    late = np.array([lag(observed[part], projected[part]) for part in parts])
    return float(np.ptp(late, axis=0).max())


def _window(course: Array) -> slice:
    """The part of long footage in which most is seen by all."""
    if len(course) <= WINDOW:
        return slice(0, len(course))
    seen = np.isfinite(course[..., 0]).sum(2).min(1)
    sums = np.convolve(seen, np.ones(WINDOW), "valid")
    start = int(sums.argmax())
    return slice(start, start + WINDOW)


Curves = dict[tuple[int, int], Float[Array, " S"]]


def _curves(course: Array, reach: int, seed: int) -> Curves:
    """Each pair's cost at every shift from `-reach` to `reach`, every second one measured; what cannot be is bad."""
    least = _least(len(course))
    shifts = np.arange(-reach, reach + 1, 2)
    curves = {}
    for a, b in combinations(range(course.shape[1]), 2):
        cost = scan(course[:, a], course[:, b], shifts, least, seed)
        known = np.isfinite(cost)
        if known.any():
            cost = np.where(known, cost, cost[known].max())
            curves[a, b] = np.interp(np.arange(-reach, reach + 1), shifts, cost)
    return curves


def _least(steps: int) -> int:
    """Time steps that offsets must leave in common."""
    return int(max(LEAST_FRAMES, LEAST_SHARE * steps))


def _total(curves: Curves, offset: Array) -> float:
    total = 0.0
    for (a, b), curve in curves.items():
        at = int(offset[b] - offset[a]) + len(curve) // 2
        total += float(curve[at]) if 0 <= at < len(curve) else float(curve.max())
    return total / len(curves)


def _candidates(curves: Curves, views: int, reach: int) -> list[Array]:
    """Offsets worth adjusting: the best, none, and where one camera alone is nearly as good elsewhere."""
    none = np.zeros(views, dtype=int)
    total = partial(_total, curves)
    ends = [settled(total, start, reach, lambda o: np.abs(o - o[0])) for start in starts(curves, views, reach)]
    ends = sorted(ends, key=total)
    best = ends[0]
    moved = []
    for v in range(views):
        unit = (np.arange(views) == v).astype(int)
        row = np.array([total(best + s * unit) for s in range(-reach, reach + 1)])
        for i in range(1, len(row) - 1):
            if row[i] <= min(row[i - 1], row[i + 1]) and abs(i - reach) >= APART:
                moved.append((float(row[i]), best + (i - reach) * unit))
    moved += [(total(end), end) for end in ends[1:]]
    kept, plain = [best], [best - best[0]]
    for _, offset in [(0.0, none), *sorted(moved, key=lambda m: m[0])]:
        same = any(np.abs(offset - offset[0] - other).max() < APART for other in plain)
        if not same and len(kept) < TRIED + 2:
            kept.append(offset)
            plain.append(offset - offset[0])
    return [offset - offset[0] for offset in kept]


def _best(found: Sequence[Timing], tau: float) -> int:
    """The timing that none of the others beats where they differ."""
    best = 0
    for i in range(1, len(found)):
        if _excluded(found[best], found[i], tau)[0] < 0:
            best = i
    return best


def _excluded(best: Timing, other: Timing, tau: float) -> tuple[float, float]:
    """How surely the best offsets beat others, over what cameras see under both of them: what is left of the residuals
    beyond the noise, its mean over its standard error of joints in blocks of time, and by its share in the cameras that
    are moved. A camera's own observations are compared, so that their noise is the same in both."""
    apart = other.offset - best.offset
    moved = np.abs(apart - apart[int(np.argmin(np.abs(apart[:, None] - apart[None]).sum(1)))]) > APART / 2
    joints = max(int(timing.joint.max()) for timing in (best, other)) + 1
    low, high = int(best.frame.min()), int(best.frame.max()) + 1
    blocks = int(np.clip((high - low) // (BLOCK_TAUS * tau), 3, BLOCKS))
    noise = min(best.noise, other.noise, key=lambda n: float((n**2).sum()))
    cells = [_beyond(t, best, noise, low, (high - low) / blocks, blocks, joints) for t in (best, other)]
    count = np.minimum(cells[0][1], cells[1][1])
    if (count > 0).sum() < 2 * joints or (count.sum((0, 2)) > 0).sum() < 2:
        more = (best.square.shape[1] >= other.square.shape[1]) * 2 - 1  # nothing to go by but what is in common
        return more * np.inf, np.inf
    gain = (cells[1][0] - cells[0][0]) * count
    both = gain.sum(0)[count.sum(0) > 0]
    z = float(both.sum() / max(np.sqrt(((both - both.mean()) ** 2).sum()), 1e-9))
    freedom = (cells[0][2] * count)[moved].sum()
    return z, 1 + float(gain.sum() / max(freedom, 1e-9))


def _beyond(
    timing: Timing, clock: Timing, noise: Array, low: int, length: float, blocks: int, joints: int
) -> tuple[Array, Array, Array]:
    """Means of squared residuals over the noise's, less what noise leaves, in V x blocks x joints; how many they are of;
    means of what noise leaves. Each camera's observations are in the block in which `clock` has them."""
    views = len(noise)
    known = np.isfinite(timing.square)
    late = (timing.offset - clock.offset)[:, None]
    block = np.floor((timing.frame[None] + np.round(late) - low) / length).astype(int)
    known &= (block >= 0) & (block < blocks)
    cell = ((np.arange(views)[:, None] * blocks + block) * joints + timing.joint[None])[known]
    free = timing.freedom[known]
    beyond = (
        np.minimum(timing.square[known] / (noise[:, None] ** 2 + 0 * timing.square)[known], TRUNCATED * free) - free
    )
    count, sums, left = (
        np.bincount(cell, w, minlength=views * blocks * joints).reshape(views, blocks, joints)
        for w in (None, beyond, free)
    )
    return sums / np.maximum(count, 1), count, left / np.maximum(count, 1)


def _drifting(
    course: Array, timing: Timing, window: slice, tau: float, focal_known: bool, seed: int
) -> tuple[Timing, int]:
    """The timing with clocks that run at different rates, over windows that grow to the whole footage; its middle."""
    start, stop = window.start, window.stop
    offset, drift = timing.offset, np.zeros(len(timing.offset))
    grown = timing
    while True:
        try:
            grown = adjust_time(
                course[start:stop], offset, drift, tau=tau, focal_known=focal_known, drifts=True, seed=seed
            )
        except VergenceError:
            break
        if (start, stop) == (0, len(course)):
            break
        middle, length = (start + stop) / 2, GROWTH * (stop - start)
        low = int(max(0, min(middle - length / 2, len(course) - length)))
        high = min(len(course), low + length)
        drift = grown.drift
        offset = grown.offset + drift * ((low + high) / 2 - middle)
        start, stop = low, high
    half = (stop - start) / 2
    views = len(timing.offset)
    spread = np.sqrt(np.maximum(np.diag(grown.spread)[views:], 0))
    bent, sure = np.abs(grown.drift) * half, np.abs(grown.drift) > DRIFT_DEVIATIONS * spread
    clocks = (bent > STILL_DRIFT) & sure & (np.abs(grown.drift) <= MOST_DRIFT)
    wild = (bent > WILD_DRIFT) & (np.abs(grown.drift) > MOST_DRIFT + WILD_DEVIATIONS * spread)
    if clocks.any() or wild.any():
        return grown, start + stop - 1
    if stop - start > window.stop - window.start:
        still = adjust_time(
            course[start:stop],
            np.round(grown.offset, 2),
            np.zeros(views),
            tau=tau,
            focal_known=focal_known,
            drifts=False,
        )
        return still, start + stop - 1
    return timing, start + stop - 1


def _verdict(
    timing: Timing, others: Sequence[Timing], margin: float, twice_middle: int, wanders: float, none: float
) -> Sync:
    """What the timing means, against the camera that most agree with."""
    views = len(timing.offset)
    spread = timing.spread[:views, :views]
    apart = np.array([[spread[a, a] + spread[b, b] - 2 * spread[a, b] for b in range(views)] for a in range(views)])
    between = np.sqrt(np.maximum(apart, 0) + SMOOTHED**2 * (1 - np.eye(views)))
    drift = timing.drift
    begin = timing.offset - drift * twice_middle / 2
    still = np.abs(timing.offset[:, None] - timing.offset[None]) <= np.maximum(none, STILL_DEVIATIONS * between)
    still &= np.abs(drift[:, None] - drift[None]) < 1e-12
    base = int(still.sum(0).argmax())
    deviation = between[:, base]
    # the base's own clock is the capture's: t -> begin + (1 + drift) t
    own = (1 + drift) / (1 + drift[base])
    offset, drift = begin - own * begin[base], own - 1
    offset = np.where(still[:, base], 0.0, offset)
    listed = [tuple(round(float(x), 2) for x in o.offset - o.offset[base]) for o in others]
    bound = np.maximum(none, STILL_DEVIATIONS * deviation)
    fits = bool(still[:, base].all()) or any((np.abs(np.array(o)) <= bound).all() for o in listed)
    nothing = Sync("unknown", np.zeros(views), np.zeros(views), deviation, margin, (), "", between, True)
    vague = f"the motion shows offsets to {2 * deviation.max():.1f} frames only, and {NEEDED} is needed"
    if deviation.max() > (KNOWN_DEVIATION if still[:, base].all() else MOVED_DEVIATION):
        return replace(nothing, reason=vague)
    found = replace(nothing, state="unsure", offset=offset, drift=drift, zero_fits=fits)
    if others:
        reason = "offsets a period of the motion apart fit nearly alike and cannot be told from each other"
        fit = (tuple(round(float(x), 2) for x in offset), *listed)
        found = replace(found, state="ambiguous", alternatives=fit, reason=reason)
        return replace(found, offset=0 * offset, drift=0 * drift) if fits else found
    if np.abs(drift).max() > MOST_DRIFT:
        reason = "a camera's time runs at another rate than the others': frames are lost, or its rate is another one"
        return replace(nothing, state="unsure", reason=reason, zero_fits=False)
    if wanders > WANDER_STEPS:
        reason = f"frames seem to be lost while recording (cameras stay together to {wanders:.1f} frames only)"
        return replace(found, reason=reason, zero_fits=False)
    if deviation.max() > SURE_DEVIATION:
        return replace(found, reason=vague)
    return replace(found, state="synchronous" if still[:, base].all() else "found")
