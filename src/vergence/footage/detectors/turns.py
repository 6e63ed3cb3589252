"""Cameras mounted on their side: the quarter turn in which people stand, and keypoints turned back.

Detectors miss people who lie. A few frames are looked at in all four quarter turns, and the detector is shown the one in
which people stand; keypoints stay in the image as displayed.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from vergence.errors import VergenceError
from vergence.footage.detectors.base import Detector, People
from vergence.footage.images import RGB, Video, turned_image
from vergence.skeleton import Skeleton

LOOKED_AT = 6  # frames
LEAST_KEYS = 4  # of a video's frames that need no others: as good, and nothing else is decoded
TURNS = (0, 1, 3, 2)  # quarter turns counter-clockwise, the likeliest first
# A turn must make people stand this much better than none does.
BETTER = 1.5
UPRIGHT = (
    (("nose",), ("left_shoulder", "right_shoulder")),
    (("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")),
    (("left_hip", "right_hip"), ("left_ankle", "right_ankle")),
)


def upright_turn(frames: Video, detector: Detector) -> int:
    """Quarter turns counter-clockwise after which most people stand; 0 where none is clearly better."""
    rows = sorted({int(row) for row in np.linspace(0, len(frames) - 1, LOOKED_AT + 2)[1:-1]})
    keys = sorted({frames.key_before(row) for row in rows})
    rows = keys if len(keys) >= LEAST_KEYS else rows
    images: list[RGB] = []
    for row in rows:
        with suppress(VergenceError):  # a frame that cannot be read
            images.append(frames[row])
    return turn_of_images(images, detector)


def turn_of_images(images: list[RGB], detector: Detector) -> int:
    """The same of a few images that were read already."""
    standing = {}
    for turn in TURNS:
        people = detector([turned_image(image, turn) for image in images])
        standing[turn] = sum(_standing(found, detector.skeleton) for found in people)
        if turn == 0 and standing[0] > 0.5 * len(images):
            return 0
    best = max(TURNS, key=lambda turn: standing[turn])
    return best if standing[best] > BETTER * max(standing[0], 0.1) else 0


def _standing(people: People, skeleton: Skeleton) -> float:
    """Uprightness of the largest person: a poster on the wall may show one who stands differently."""
    if not len(people):
        return 0.0
    sizes = np.nan_to_num(np.nanmax(people[..., :2], axis=1) - np.nanmin(people[..., :2], axis=1)).max(axis=-1)
    return uprightness(people[int(sizes.argmax())], skeleton)


def uprightness(person: People, skeleton: Skeleton) -> float:
    """How far a person's head, shoulders, hips and ankles stand above each other: confidence times cosine, -1 to 1."""
    total, weight = 0.0, 0.0
    for above, below in UPRIGHT:
        if not skeleton.has(*above, *below):
            continue
        top, low = (person[[skeleton.index(name) for name in names]].mean(0) for names in (above, below))
        if np.isfinite(top).all() and np.isfinite(low).all():
            way = low[:2] - top[:2]
            sure = min(top[2], low[2])
            total += sure * sure * way[1] / max(float(np.hypot(*way)), 1e-9)
            weight += sure
    return total / weight if weight else 0.0


def turned_back(people: People, turn: int, size: tuple[int, int]) -> People:
    """Keypoints found in `np.rot90(image, turn)`, in the image itself, which has this (width, height)."""
    width, height = size
    x, y = people[..., 0].copy(), people[..., 1].copy()
    out = np.array(people)
    out[..., 0] = (x, width - 1 - y, width - 1 - x, y)[turn]
    out[..., 1] = (y, x, height - 1 - y, height - 1 - x)[turn]
    return out


def people_in(images: list[RGB], detector: Detector, turn: int) -> list[People]:
    """Everybody in every image, by a detector that is shown them turned by so many quarters."""
    shown = [turned_image(image, turn) for image in images]
    found = detector(shown)
    return [turned_back(p, turn, (i.shape[1], i.shape[0])) for p, i in zip(found, images, strict=True)]
