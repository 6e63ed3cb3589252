"""Confidences of any detector on one scale, where they enter.

Everything behind the readers takes 1 for a sure joint, asks its checks of those above 0.3, and drops those below 0.05.
Detectors give peaks of heatmaps (0.2 is a good one for some), per cent, bytes, unbounded scores (SimCC reaches 10), or
nothing, which files write as 0 or -1. So a file's own confidences say what is much: where the surest twentieth begins far
below 1 or far above, they are divided by that; where no point of a file has any, all that have a place count as seen.
Files of the usual range are left to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

SUREST = 0.95  # quantile
USUAL = (0.4, 1.5)  # of that quantile; what lies in it above 1 is taken as 1

Person = Float[np.ndarray, "J 3"]


def much(confidences: Float[np.ndarray, " N"]) -> float:
    """What counts as 1 among a camera's confidences: 1 where they are of the usual range, else where the surest begin."""
    known = confidences[confidences > 0]
    surest = float(np.quantile(known, SUREST)) if len(known) else 1.0
    return 1.0 if USUAL[0] <= surest <= USUAL[1] else surest


def on_one_scale(
    frames: Mapping[int, Sequence[Person]], where: str
) -> tuple[Mapping[int, Sequence[Person]], list[str]]:
    """A file's people with confidences of which 1 is much, and what was done, as sentences.

    Args:
        frames: x, y, confidence as they stand in the file.
        where: the file's name, for the sentences.
    """
    every = [person for people in frames.values() for person in people]
    if not every:
        return frames, []
    points = np.concatenate(every)
    seen = np.isfinite(points[:, :2]).all(1) & (points[:, :2] != 0).any(1)
    known = points[seen & (points[:, 2] > 0) & np.isfinite(points[:, 2]), 2]
    if len(known):
        one = much(known)
        if one == 1:
            return frames, []
        note = f"{where}: confidences reach {known.max():.3g}, the surest twentieth {one:.3g}, which is taken as 1"
        return {number: [_scaled(person, one) for person in people] for number, people in frames.items()}, [note]
    if not seen.any():
        return frames, []
    note = f"{where}: no joint has a confidence above 0, so all that have a place count as seen"
    return {number: [_seen(person) for person in people] for number, people in frames.items()}, [note]


def views_on_one_scale(
    points: Float[np.ndarray, "T V J 3"], where: str
) -> tuple[Float[np.ndarray, "T V J 3"], list[str]]:
    """The same for one person in all cameras, each camera by itself."""
    views, told = [], []
    for view in range(points.shape[1]):
        frames, notes = on_one_scale(dict(enumerate(points[:, view, None])), f"{where}, camera {view + 1}")
        views.append(np.concatenate([np.stack(people) for people in frames.values()]) if notes else points[:, view])
        told += notes
    return (np.stack(views, axis=1) if told else points), told


def _scaled(person: Person, one: float) -> Person:
    return np.concatenate([person[:, :2], np.minimum(person[:, 2:] / one, 1.0)], axis=1)


def _seen(person: Person) -> Person:
    seen = np.isfinite(person[:, :2]).all(1) & (person[:, :2] != 0).any(1)
    return np.concatenate([person[:, :2], seen[:, None].astype(float)], axis=1)
