"""Keypoints as a course in time that can be asked at any moment.

Linear interpolation of noisy points is least noisy half-way between two frames, and an offset found by comparing points
would be drawn there. So points are smoothed first, by a line fitted to their neighbours in time (a Gaussian's weights),
after which their noise hardly depends on the moment asked. All cameras are smoothed over the same time, so that what
smoothing takes from the motion it takes from all views alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from vergence.footage.people.sides import changes

Array = np.ndarray

REACH_TAUS = 2.5  # of the Gaussian that is used
LEAST_WEIGHT = 0.4  # of the weight of a gapless course: less is a gap
LOOKED_AT = 30  # time steps that tell which joints are near each other
STRAY = 6.0  # times the usual distance from the median of the neighbours


def without_strays(points: Float[Array, "T J 2"], every: int = 1) -> Float[Array, "T J 2"]:
    """NaN where a point leaves the median of five by far more than points usually do.

    Args:
        points: at each time step.
        every: steps between the five: those between two frames of a slow camera are made of the same two points.
    """
    lags = np.arange(-2, 3) * every
    padded = np.pad(points, ((2 * every, 2 * every), (0, 0), (0, 0)), constant_values=np.nan)
    around = np.stack([padded[2 * every + lag : 2 * every + lag + len(points)] for lag in lags])
    known = np.isfinite(around)
    ordered = np.sort(np.where(known, around, np.inf), axis=0)
    middle = np.take_along_axis(ordered, np.maximum(known.sum(0) - 1, 0)[None] // 2, axis=0)[0]
    far = np.linalg.norm(points - np.where(np.isfinite(middle), middle, np.nan), axis=-1)
    usual = np.median(far[np.isfinite(far)]) if np.isfinite(far).any() else 0.0
    return np.where((far > STRAY * max(usual, 1e-12))[..., None], np.nan, points)


def with_steady_sides(points: Float[Array, "T J 2"], mirror: Sequence[int]) -> Float[Array, "T J 2"]:
    """Left and right as most frames have them: a detector that takes one for the other for a while makes all joints jump,
    there and back, and an offset in time would be sought for these jumps.

    Args:
        points: NaN = missing.
        mirror: by joint, the one of the other side.
    """
    exchanged = np.logical_xor.accumulate(changes(points, mirror))
    if exchanged.mean() > 0.5:
        exchanged = ~exchanged
    return np.where(exchanged[:, None, None], points[:, list(mirror)], points)


def smoothed(points: Float[Array, "T J 2"], tau: float) -> Float[Array, "T J 2"]:
    """A line fitted around each time step with a Gaussian's weights of deviation `tau` (steps); NaN in gaps."""
    reach = int(np.ceil(REACH_TAUS * tau))
    lags = np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * (lags / tau) ** 2)
    known = np.isfinite(points).all(-1)
    values = np.where(known[..., None], points, 0.0)
    sums = [np.zeros(known.shape) for _ in range(3)]
    first, moment = np.zeros(points.shape), np.zeros(points.shape)
    for lag, w in zip(lags, weight):
        rows = slice(max(0, -lag), min(len(points), len(points) - lag))
        source = slice(max(0, lag), min(len(points), len(points) + lag))
        for power in range(3):
            sums[power][rows] += w * lag**power * known[source]
        first[rows] += w * values[source]
        moment[rows] += w * lag * values[source]
    s0, s1, s2 = sums
    bottom = s0 * s2 - s1**2
    sound = (s0 >= LEAST_WEIGHT * weight.sum()) & (bottom > 1e-9)
    line = (s2[..., None] * first - s1[..., None] * moment) / np.where(sound, bottom, 1.0)[..., None]
    return np.where(sound[..., None], line, np.nan)


def between(points: Float[Array, "T J 2"], when: Float[Array, " N"], joint: Array) -> Float[Array, "N 2"]:
    """Joints of a smoothed course at fractional time steps; NaN outside and in gaps."""
    low = np.clip(np.floor(when).astype(int), 0, len(points) - 2)
    share = (when - low)[:, None]
    found = (1 - share) * points[low, joint] + share * points[low + 1, joint]
    return np.where(((when >= 0) & (when <= len(points) - 1))[:, None], found, np.nan)


def near(course: Float[Array, "T V J 2"], most: int) -> Int[Array, " J"]:
    """The part of the body, of `most`, that each joint belongs to: joints that stay near each other in the images (average
    linkage of their root mean square distances, in parts of each camera's mean). Joints that are never seen are apart."""
    some = course[:: max(1, len(course) // LOOKED_AT)]
    away = np.linalg.norm(some[:, :, :, None] - some[:, :, None], axis=-1)  # T V J J
    known = np.isfinite(away)
    square = np.where(known, away, 0.0) ** 2
    usual = square.sum((0, 2, 3)) / np.maximum(known.sum((0, 2, 3)), 1)
    square = (square / np.maximum(usual, 1e-12)[:, None, None]).sum((0, 1))
    count = known.sum((0, 1))
    distance = np.sqrt(np.where(count > 0, square / np.maximum(count, 1), np.max(square / np.maximum(count, 1))))
    if len(distance) < 2:
        return np.zeros(len(distance), dtype=int)
    from scipy.cluster.hierarchy import fcluster, linkage  # loads longer than most calls take

    pairs = distance[np.triu_indices(len(distance), 1)]
    return np.asarray(fcluster(linkage(pairs, "average"), most, "maxclust") - 1)
