"""Left and right, where a detector takes a back for a front for some frames: told by one camera alone, from the motion.

Between two frames a joint goes a short way, and the joint of the other side is further off than that; where the joints
of a whole body lie nearer to the other side's, the detector has changed its mind. That parts a recording into frames of
two kinds, and the rarer kind is the exchanged one, as long as it is much the rarer.

What breaks it: a change while the body is seen from its side, where both sides lie in one place, is not seen. Then the
kinds are mixed, and where neither is clearly the rarer all is left as it is. A detector that is wrong from the first frame
to the last is not noticed either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from vergence.skeleton import Skeleton

NEARER = 0.5  # way to the other side's joints over the way to a joint's own, before sides count as exchanged
LEAST_JOINTS = 6  # that have a side
LONGEST_S = 0.1  # between two frames; in more, legs pass each other
RARER = 1 / 3  # of the frames in a row, at most, are the exchanged kind


def changes(points: Float[np.ndarray, "T J 2"], mirror: Sequence[int]) -> Bool[np.ndarray, " T"]:
    """Whether a detector has changed its mind since the frame before, by the median joint.

    Args:
        points: in any unit, NaN = missing.
        mirror: by joint, the one of the other side.
    """
    sided = [joint for joint, twin in enumerate(mirror) if joint != twin]
    other = points[:, list(mirror)]
    kept, turned = (
        np.nan_to_num(np.linalg.norm(points[:-1, sided] - next_[1:, sided], axis=-1)) for next_ in (points, other)
    )
    changed = np.zeros(len(points), dtype=bool)
    changed[1:] = np.median(turned, axis=1) < NEARER * np.median(kept, axis=1)
    return changed


def exchanged_frames(
    blocks: Iterable[Float[np.ndarray, "T J 3"]], skeleton: Skeleton, fps: float
) -> Bool[np.ndarray, " N"]:
    """Frames in which left and right are exchanged against most of the frames around them.

    Args:
        blocks: one person's keypoints in one camera, frame after frame: x, y in px, confidence; NaN where missing.
        skeleton: of the J joints.
        fps: frames per second.
    """
    mirror = np.asarray(skeleton.mirror)
    sided = mirror != np.arange(len(mirror))
    found, turns, count, last = [np.zeros(0, int)], [np.zeros(0, bool)], 0, np.zeros((0, len(mirror), 2))
    for block in blocks:
        known = np.isfinite(block[:, sided, :2]).all(2).sum(1) >= LEAST_JOINTS
        points = np.concatenate([last, block[known, :, :2]])
        found.append(count + np.flatnonzero(known))
        turns.append(changes(points, skeleton.mirror)[len(last) :])
        count, last = count + len(block), points[-1:]
    frames, kind = np.concatenate(found), np.zeros(count, dtype=bool)
    turned = np.logical_xor.accumulate(np.concatenate(turns))
    rows = np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames) > LONGEST_S * fps) + 1)
    for row in rows if len(frames) else ():
        own = turned[row]
        rarer = own if own.mean() < 0.5 else ~own
        kind[frames[row]] = rarer & (rarer.mean() <= RARER)
    return kind
