"""How a video asks to be shown: turned by quarters, mirrored. Phones store upright images lying down with such a note."""

from __future__ import annotations

from typing import Any

import av
import cv2
import numpy as np

from vergence.errors import VergenceError
from vergence.footage.images import RGB, turned_image

Turn = tuple[int, bool]  # quarter turns counter-clockwise, then mirrored left-right?


def display_turn(frame: av.VideoFrame, metadata: dict[str, str]) -> Turn:
    """What shows the frame as a player does."""
    side_data: Any = frame.side_data
    for data in side_data:
        if getattr(data.type, "name", "") == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data), dtype="<i4")[:5] / 65536.0
            return _turn_of_matrix(float(a), float(b), float(c), float(d))
    turn = float(metadata.get("rotate", 0))
    return round(-turn / 90) % 4, False


def _turn_of_matrix(a: float, b: float, c: float, d: float) -> Turn:
    """The display matrix maps (x, y) to (a x + c y, b x + d y), y down: a turn by quarters, after a mirror or not."""
    scale = max(np.hypot(a, b), 1e-9)
    mirrored = a * d - b * c < 0
    # Mirroring left-right last: undo it first to read the turn.
    x, y = (-a if mirrored else a) / scale, b / scale
    quarters = np.degrees(np.arctan2(-y, x)) / 90
    if abs(quarters - round(quarters)) > 0.01:
        raise VergenceError(
            f"the video asks to be shown turned by {quarters * 90:.1f} degrees", "Only quarter turns are read."
        )
    return round(quarters) % 4, bool(mirrored)


def as_displayed(image: RGB, turn: Turn) -> RGB:
    turned = np.ascontiguousarray(turned_image(image, turn[0]))
    return np.asarray(cv2.flip(turned, 1)) if turn[1] else turned
