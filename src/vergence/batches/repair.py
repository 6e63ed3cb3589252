"""A detector's 2D put right by the 3D that several cameras agree on: sides, jumped joints, other people.

Views find out together what one of them alone cannot: that left and right are exchanged in this image, that this wrist lies
on another person. The reconstruction drops or exchanges such joints for itself; a network that then learns the raw 2D
beside the repaired 3D learns the mistake (a camera with exchanged sides: 397 mm instead of 81). So what the 3D says is
carried back to the 2D before anything is trained on it.

Every distance is a share of the body's size in its image, so that near and far people are judged alike; the noise is that
of all images together, since a bad camera must not judge itself. Sides are decided for whole images first, then for pairs
of joints that differ clearly; an image that cannot decide follows the nearest one of its camera. Where the 3D does not
explain the 2D in general (noise above `MOST_NOISE`), it judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

OUTLIER_SIGMA = 6.0
LIMITS = (0.05, 0.15)  # least and most of a body's size that a joint may be off: 9 to 25 cm
MOST_NOISE = 0.05  # of a body's size; beyond it the poses are not of these images
LEAST_NOISE = 0.005
MARGIN = 18.0  # squared sigmas by which exchanged sides must fit better, or worse, to be decided


@dataclass(frozen=True)
class Repaired:
    """2D of N images after the repair.

    Attributes:
        keypoints: px; sides put right, NaN where a joint was dropped.
        confidence: of them; 0 where a joint was dropped.
        exchanged: images in which a pair of joints changed sides.
        dropped: joints that lay elsewhere than the 3D.
        stranger: images that show another person: most joints lie elsewhere, and all were dropped.
    """

    keypoints: Float[ndarray, "N J 2"]
    confidence: Float[ndarray, "N J"]
    exchanged: Bool[ndarray, " N"]
    dropped: Bool[ndarray, "N J"]
    stranger: Bool[ndarray, " N"]

    @property
    def counts(self) -> dict[str, int]:
        """What was put right, counted; {} where nothing was."""
        found = {"images with exchanged sides": self.exchanged, "joints dropped": self.dropped,
                 "images of another person": self.stranger}  # fmt: skip
        return {what: int(which.sum()) for what, which in found.items() if which.any()}


def repair(
    keypoints: Float[ndarray, "N J 2"],
    confidence: Float[ndarray, "N J"],
    projected: Float[ndarray, "N J 2"],
    camera: Int[ndarray, " N"],
    frame: Int[ndarray, " N"],
    mirror: tuple[int, ...],
) -> Repaired:
    """What a detector saw, as several views agree on it.

    Args:
        keypoints: px, NaN where missing.
        confidence: of them.
        projected: the 3D seen by the same cameras, px; NaN where there is none.
        camera: equal numbers for the images of one camera.
        frame: their order in time.
        mirror: permutation of the joints that swaps left and right.
    """
    other = np.array(mirror)
    size = _extent(projected)[:, None]
    keep = np.linalg.norm(keypoints - projected, axis=-1) / size
    swap = np.linalg.norm(keypoints[:, other] - projected, axis=-1) / size
    nearer = np.fmin(keep, swap)
    nothing = np.zeros(len(keypoints), bool)
    as_is = Repaired(keypoints, confidence, nothing, np.zeros(keep.shape, bool), nothing)
    if not np.isfinite(nearer).any():
        return as_is
    noise = max(float(np.nanmedian(nearer)), LEAST_NOISE)  # of the distance: 1.18 sigmas of a coordinate
    if noise > MOST_NOISE:
        return as_is
    limit = float(np.clip(OUTLIER_SIGMA * noise, *LIMITS))
    turned = _sides(keep, swap, noise, limit, camera, frame, other)
    points = np.where(turned[..., None], keypoints[:, other], keypoints)
    trust = np.where(turned, confidence[:, other], confidence)
    off = np.where(turned, swap, keep)
    judged = np.isfinite(off)
    with np.errstate(invalid="ignore"):
        dropped = judged & (off > limit)
    stranger = dropped.sum(1) * 2 > np.maximum(judged.sum(1), 3)
    dropped |= stranger[:, None] & np.isfinite(points).all(-1)
    exchanged = np.asarray(turned.any(1))
    return Repaired(
        np.where(dropped[..., None], np.nan, points), np.where(dropped, 0.0, trust), exchanged, dropped, stranger
    )


def _extent(points: Float[ndarray, "N J 2"]) -> Float[ndarray, " N"]:
    """The larger side of the box around each row's known points, px; NaN where fewer than two are known."""
    known = np.isfinite(points)
    low, high = np.where(known, points, np.inf).min(1), np.where(known, points, -np.inf).max(1)
    extent = (high - low).max(1)
    return np.where(np.isfinite(extent) & (extent > 0), extent, np.nan)


def _sides(
    keep: ndarray, swap: ndarray, noise: float, limit: float, camera: ndarray, frame: ndarray, other: ndarray
) -> Bool[ndarray, "N J"]:
    """Joints that change places with their mirror image."""
    both = np.isfinite(keep) & np.isfinite(swap) & (other != np.arange(len(other)))
    costs = [(np.minimum(np.nan_to_num(d), limit) / noise) ** 2 for d in (keep, swap)]
    gain = np.where(both, costs[0] - costs[1], 0.0)  # above 0: exchanged fits better
    whole = gain.sum(1)
    decided = np.abs(whole) > MARGIN
    image = whole > MARGIN
    for one in np.unique(camera):
        rows = np.flatnonzero(camera == one)
        known, open_ = rows[decided[rows]], rows[~decided[rows]]
        if len(known) and len(open_):
            image[open_] = image[known[_nearest(frame[known], frame[open_])]]
    pair = gain + gain[:, other]
    turned = np.where(np.abs(pair) > MARGIN, pair > 0, image[:, None])
    return np.asarray(turned & (other != np.arange(len(other))))


def _nearest(numbers: ndarray, wanted: ndarray) -> ndarray:
    """For each number wanted the place of the nearest among `numbers`, of which there is one at least."""
    order = np.argsort(numbers, kind="stable")
    after = np.clip(np.searchsorted(numbers[order], wanted), 0, len(order) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(numbers[order[before]] - wanted) <= np.abs(numbers[order[after]] - wanted)
    return np.asarray(order[np.where(nearer, before, after)])
