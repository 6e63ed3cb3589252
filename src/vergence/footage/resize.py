"""A video whose size disagrees with its calibration or keypoints: what was done to it, from the sizes alone.

Two things happen on the way from a camera to a file. Encoders cut or pad to multiples of 16 (1088 becomes 1080): the
difference is a few pixels and the scale is unchanged. Editing programs rescale: both sides change by one factor.
Sizes that fit neither (an image turned by 90 degrees, another camera's file) are an error. A cut is taken as
centred, which a stretch by the same amount differs from by at most half the difference, at the border; the note says
by how much. Keypoints and intrinsics stay as given, and images are brought into their frame when read, so that
results can be compared with the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vergence.errors import VergenceError

# Encoders work in blocks of 16 px; a cut takes at most one block and this share of a side.
BLOCK_PX = 16
CUT_SHARE = 0.02


@dataclass(frozen=True)
class ImageFit:
    """How images of one size are brought to another.

    Attributes:
        kind: `same`, `cut` (centred cut or padding, scale kept) or `rescale` (one factor).
        source, target: (width, height).
    """

    kind: Literal["same", "cut", "rescale"]
    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def shift(self) -> tuple[int, int]:
        """Whole pixels added on the left and on top (negative: cut off); only for a cut."""
        return (self.target[0] - self.source[0]) // 2, (self.target[1] - self.source[1]) // 2

    @property
    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """Source pixels to target pixels, homogeneous; (0, 0) is the centre of the top-left pixel."""
        if self.kind == "cut":
            return np.array([[1.0, 0.0, self.shift[0]], [0.0, 1.0, self.shift[1]], [0.0, 0.0, 1.0]])
        sx, sy = self.target[0] / self.source[0], self.target[1] / self.source[1]
        return np.array([[sx, 0.0, (sx - 1) / 2], [0.0, sy, (sy - 1) / 2], [0.0, 0.0, 1.0]])

    def apply(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H2 W2 3"]:
        """The image in the target's frame; what a cut took away is black."""
        if self.kind == "same":
            return image
        if self.kind == "rescale":
            shrinks = self.target[0] < self.source[0]
            return cv2.resize(image, self.target, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        out = np.zeros((self.target[1], self.target[0], *image.shape[2:]), image.dtype)
        (x, y), (height, width) = self.shift, image.shape[:2]
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, self.target[0]), min(y + height, self.target[1])
        out[y0:y1, x0:x1] = image[y0 - y : y1 - y, x0 - x : x1 - x]
        return out

    def moved(self, points: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
        """Keypoints (x, y, confidence) of the source in the target's pixels."""
        out = np.array(points, dtype=float)
        out[..., :2] = out[..., :2] * np.diag(self.matrix)[:2] + self.matrix[:2, 2]
        return out

    def describe(self, what: str) -> str:
        """The note for the report."""
        width, height = self.source
        head = f"{what} is {width} x {height}, not {self.target[0]} x {self.target[1]}: "
        if self.kind == "rescale":
            return head + f"taken as rescaled by {self.target[0] / width:.4f} and brought back"
        gap = max(abs(self.target[0] - width), abs(self.target[1] - height))
        return head + (
            f"taken as a centred cut, moved by {self.shift[0]} and {self.shift[1]} px "
            f"(had it been rescaled, points at the border would be {gap / 2:g} px off)"
        )


def fit_sizes(source: tuple[int, int], target: tuple[int, int], what: str) -> ImageFit:
    """How `source` became `target`.

    Args:
        source, target: (width, height).
        what: named in the error, e.g. "video cam01.mp4".

    Raises:
        VergenceError: the sizes are neither a cut nor a rescale of one another.
    """
    if source == target:
        return ImageFit("same", source, target)
    gaps = [abs(a - b) for a, b in zip(source, target)]
    if all(gap <= min(BLOCK_PX, CUT_SHARE * max(a, b)) for gap, a, b in zip(gaps, source, target)):
        return ImageFit("cut", source, target)
    scale = target[1] / source[1]
    if abs(source[0] * scale - target[0]) <= max(1.0, scale):
        return ImageFit("rescale", source, target)
    turned = " It looks turned by 90 degrees." if source == target[::-1] else ""
    raise VergenceError(
        f"{what} is {source[0]} x {source[1]}, but its intrinsics or keypoints are for {target[0]} x {target[1]}, "
        f"which is neither a cut nor a rescale of it.{turned}",
        "Correct image_size and intrinsics, or give the video that they belong to.",
    )
