"""Whether a camera stands still: corners of its images, people left out, matched from the first image to later ones.

A tripod that was touched turns all of the background alike, so one similarity of the image is fitted robustly to the matches,
and what counts is how far it moves the image's corners. What breaks it: a background without corners, or one that itself
moves throughout (then nothing is said).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vergence.footage.detectors.base import People
from vergence.footage.images import RGB

LONGEST = 640  # px of the images that are compared
CORNERS = 800
LEAST_MATCHES = 25
LEAST_SHARE = 0.3  # of the matches that must agree with the movement
WITHIN = 2.0  # px of the small image
MARGIN = 0.15  # of a person's box, on every side


@dataclass(frozen=True, eq=False)
class Scene:
    """One image, small and grey, with the boxes (left, top, right, bottom; its px) of the people in it."""

    grey: UInt8[np.ndarray, "H W"]
    boxes: Float[np.ndarray, "P 4"]


def scene(image: RGB, people: People | Sequence[np.ndarray]) -> Scene:
    """An image as it is compared.

    Args:
        image: of the camera.
        people: P J 3, in its px.
    """
    factor = min(1.0, LONGEST / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    boxes = [
        [*np.nanmin(one[:, :2], axis=0), *np.nanmax(one[:, :2], axis=0)] for one in people if np.isfinite(one).any()
    ]
    return Scene(grey, factor * np.array(boxes, dtype=float).reshape(-1, 4))


def movement(scenes: Sequence[Scene]) -> float:
    """How far the image's corners move at most, in parts of its longer side; NaN where nothing can be told."""
    found = [_corners(one) for one in scenes]
    moves = [_move(found[0], other, scenes[0].grey.shape) for other in found[1:]]
    known = [move for move in moves if move == move]
    return max(known) if len(known) * 2 > len(moves) else float("nan")


def _corners(one: Scene) -> tuple[np.ndarray, np.ndarray | None]:
    mask = np.full(one.grey.shape, 255, np.uint8)
    for left, top, right, bottom in one.boxes:
        pad = MARGIN * max(right - left, bottom - top)
        low = np.maximum([top - pad, left - pad], 0).astype(int)
        mask[low[0] : int(bottom + pad) + 1, low[1] : int(right + pad) + 1] = 0
    finder: cv2.ORB = cv2.ORB_create(nfeatures=CORNERS, fastThreshold=8)  # type: ignore[attr-defined]
    points, words = finder.detectAndCompute(one.grey, mask)
    return np.array([point.pt for point in points], dtype=np.float32).reshape(-1, 2), words


def _move(
    first: tuple[np.ndarray, np.ndarray | None], other: tuple[np.ndarray, np.ndarray | None], shape: tuple[int, ...]
) -> float:
    (a, words_a), (b, words_b) = first, other
    if words_a is None or words_b is None:
        return float("nan")
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(words_a, words_b)
    if len(pairs) < LEAST_MATCHES:
        return float("nan")
    before, after = a[[p.queryIdx for p in pairs]], b[[p.trainIdx for p in pairs]]
    similarity, agree = cv2.estimateAffinePartial2D(before, after, method=cv2.RANSAC, ransacReprojThreshold=WITHIN)
    if similarity is None or agree.sum() < max(LEAST_MATCHES, LEAST_SHARE * len(pairs)):
        return float("nan")
    height, width = shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=float)
    moved = corners @ similarity[:, :2].T + similarity[:, 2]
    return float(np.linalg.norm(moved - corners, axis=1).max() / max(height, width))
