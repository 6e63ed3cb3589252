"""Left and right, where a detector takes a back for a front for some frames: told by one camera alone, from the motion.

Between two frames a joint goes a short way, and the joint of the other side is further off than that; where the joints
of a whole body lie nearer to the other side's, the detector has changed its mind. That parts a recording into frames of
two kinds, and the rarer kind is the exchanged one, as long as it is much the rarer.

What breaks it: a change while the body is seen from its side, where both sides lie in one place, is not seen. Then the
kinds are mixed, and where neither is clearly the rarer all is left as it is. A detector that is wrong from the first frame
to the last is not noticed either.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from vergence.skeleton import Skeleton

NEARER = 0.5  # way to the other side's joints over the way to a joint's own, before sides count as exchanged
LEAST_JOINTS = 6  # that have a side, in both frames
LONGEST_S = 0.1  # between two frames; in more, legs pass each other
RARER = 1 / 3  # of the frames in a row, at most, are the exchanged kind


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
    sided = np.flatnonzero(mirror != np.arange(len(mirror)))
    other = mirror[sided]
    kinds: list[bool] = []
    rows: list[list[int]] = []  # frames that are told by each other
    last, at = None, -1
    for block in blocks:
        for person in block[..., :2]:
            frame = len(kinds)
            kinds.append(False)
            if np.isfinite(person[sided]).all(1).sum() < LEAST_JOINTS:
                continue
            if last is None or frame - at > LONGEST_S * fps:
                rows.append([])
            else:
                kinds[frame] = kinds[at] != _changed(last[sided], person[sided], person[other])
            rows[-1].append(frame)
            last, at = person, frame
    kind = np.array(kinds, dtype=bool)
    for row in rows:
        rarer = kind[row] if kind[row].mean() < 0.5 else ~kind[row]
        kind[row] = rarer & (rarer.mean() <= RARER)
    return kind


def _changed(before: Float[np.ndarray, "K 2"], own: Float[np.ndarray, "K 2"], other: Float[np.ndarray, "K 2"]) -> bool:
    known = np.isfinite(np.concatenate([before, own, other], 1)).all(1)
    if known.sum() < LEAST_JOINTS:
        return False
    stayed, exchanged = (np.linalg.norm(now[known] - before[known], axis=1).sum() for now in (own, other))
    return bool(exchanged < NEARER * stayed)
