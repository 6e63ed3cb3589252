"""What the cameras of a rig saw: a few whole images of each at the same moments, and the cut-outs of a page's samples.

All images of a page are read in one pass, in the order in which videos hold them, since going back costs as much as a
second of decoding. How many there are is bounded by what it costs to reach them; how large they are together, by `viewer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from vergence.errors import VergenceError
from vergence.report.page import CameraView
from vergence.report.viewer import STILL_SIDE_PX, shown_size

Array = np.ndarray
Images = Callable[[int, int], UInt8[np.ndarray, "H W 3"]]
Window = tuple[int, int, int, int]  # left, top, right, bottom, px

EMPTY_GROUND = (30, 32, 38)
MOST, LEAST = 24, 8  # moments with images
DECODED = 4800  # images that all cameras together may decode for them, about
SEEK = 100  # images that a jump within a video decodes, as much as going on over so many
BARE = 300  # moments where there are keypoints alone


@dataclass(frozen=True)
class Seen:
    """Images by (camera, frame): cut-outs, whole ones made small, and why one is missing."""

    cuts: dict[tuple[int, int], UInt8[np.ndarray, "H W 3"]] = field(default_factory=dict)
    small: dict[tuple[int, int], UInt8[np.ndarray, "H W 3"]] = field(default_factory=dict)
    missing: dict[tuple[int, int], str] = field(default_factory=dict)


def shown_rows(known: Bool[Array, " T"], stride: int, cameras: int, images: bool) -> list[int]:
    """Moments at which the cameras' images are shown, spread evenly over those in which somebody is reconstructed.

    Args:
        known: the time steps with a pose.
        stride: a page's 3D has every `stride`-th time step, so they are of these.
        cameras: how many there are.
        images: there are images, which cost time and room; keypoints alone cost hardly any.
    """
    there = np.flatnonzero(known)
    if not len(there):
        return []
    first, last = int(there[0]), int(there[-1])
    most = BARE
    if images:
        apart = min(SEEK, max(1.0, (last - first) / MOST))
        most = int(np.clip(DECODED / (cameras * apart), LEAST, MOST))
    return sorted(set((np.linspace(first, last, most) / stride).astype(int) * stride))


def read_images(
    cuts: Mapping[tuple[int, int], Window], whole: Iterable[tuple[int, int]], images: Images | None
) -> Seen:
    """What is wanted by (camera, frame), each image read once; one that cannot be read costs itself only.

    Cut-outs without an image are empty ground.
    """
    seen, shown = Seen(), set(whole) if images is not None else set()
    for key in sorted(shown | set(cuts)):
        image = None
        if images is not None:
            try:
                image = images(*key)
            except VergenceError as error:
                seen.missing[key] = f"No image: {error.problem}."
        if key in cuts:
            left, top, right, bottom = cuts[key]
            ground = np.broadcast_to(np.array(EMPTY_GROUND, dtype=np.uint8), (bottom - top, right - left, 3))
            seen.cuts[key] = ground if image is None else image[top:bottom, left:right].copy()
        if key in shown and image is not None:
            seen.small[key] = shrunk(image, STILL_SIDE_PX)
    return seen


def shrunk(image: UInt8[Array, "H W 3"], longest: int) -> UInt8[Array, "h w 3"]:
    """A copy of an image as large as a page shows it, so that many fit into memory."""
    size = shown_size(image.shape[1::-1], longest)
    if size == image.shape[1::-1]:
        return image.copy()
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def camera_views(
    seen: Seen,
    rows: Sequence[int],
    projected: Float[Array, "T V J 2"],
    observed: Float[Array, "T V J 2"],
    image_size: Sequence[tuple[int, int]],
) -> list[CameraView]:
    """One for each camera."""
    return [
        CameraView(
            size=size,
            rows=rows,
            images=[seen.small.get((view, row)) for row in rows],
            keypoints=projected[rows, view],
            keypoints_true=observed[rows, view],
        )
        for view, size in enumerate(image_size)
    ]
