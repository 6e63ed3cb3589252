"""Cameras in which left and right are exchanged throughout, told before any rig is there.

A detector that takes a back for a front exchanges sides in one camera from the first frame to the last; no start finds
the rig then, and frame by frame repair, which needs one, comes too late. For each pair of cameras an essential matrix is
fitted with the labels as they are and with one camera's exchanged; the assignment that makes the costs of all pairs
least together says which cameras are wrong, up to all of them at once: that is the mirror image, which the bend of the
knees decides. A camera whose images are mirrored left to right looks the same here, since the detector's sides are
mirrored with them and an essential matrix absorbs the rest; the rig then tells them apart, if there are three cameras.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from jaxtyping import Bool, Float, Int

from vergence.reconstruction.checks.timing import pair_fits
from vergence.skeleton import Skeleton

Array = np.ndarray

SIGMA = 3e-3  # radians, the noise to judge by: a usual detector's
GAIN = 0.8  # cost with exchanged cameras over cost without, before it counts
RIGHT = 0.15  # cost of a pair whose sides are right; exchanged ones leave more, and nothing is tried below
TRIES = 100  # minimal samples: enough to tell right from exchanged; 500 decided alike
MOST_CAMERAS = 8  # of which all assignments are tried


def exchanged_cameras(image: Float[Array, "T V J 2"], skeleton: Skeleton, seed: int = 0) -> Bool[Array, " V"]:
    """Which cameras carry left labels on the right side in most frames; the fewer, where it could be either half.

    Args:
        image: normalised points (`x/z`, `y/z`, lens undone), NaN = missing.
        skeleton: of the J joints.
        seed: of the subsets.
    """
    views, mirror = image.shape[1], list(skeleton.mirror)
    if mirror == list(range(len(skeleton))) or views > MOST_CAMERAS:
        return np.zeros(views, dtype=bool)
    pairs = list(combinations(range(views), 2))

    def cost(a: Array, b: Array) -> float:
        return float(pair_fits(a, b, 0, SIGMA, seed, TRIES)[0][0])

    costs = {(a, b): [cost(image[:, a], image[:, b])] for a, b in pairs}
    if max(first for (first,) in costs.values()) < RIGHT:
        return np.zeros(views, dtype=bool)
    for a, b in pairs:
        costs[a, b].append(cost(image[:, a], image[:, b][:, mirror]))
    tried = [np.array((False, *rest)) for rest in product((False, True), repeat=views - 1)]
    total = [sum(both[int(flip[a] != flip[b])] for (a, b), both in costs.items()) for flip in tried]
    best = int(np.argmin(total))
    if total[best] > GAIN * total[0]:
        return np.zeros(views, dtype=bool)
    return tried[best] if tried[best].sum() <= views / 2 else ~tried[best]


def exchange(cameras: Bool[Array, " V"], frames: int, skeleton: Skeleton) -> Int[Array, "T V J"]:
    """The order of joints that exchanges left and right in these cameras."""
    own, other = np.arange(len(skeleton)), np.asarray(skeleton.mirror)
    return np.broadcast_to(np.where(cameras[:, None], other, own), (frames, len(cameras), len(skeleton)))
