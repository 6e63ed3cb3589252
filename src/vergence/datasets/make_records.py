"""Records of what a dataset knows: a reader of one's own names that, and the rest is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.formats.media import image_size
from vergence.datasets.records import ImageRef, Records
from vergence.skeleton import Skeleton


def make_records(
    images: Sequence[ImageRef | Path | str],
    skeleton: Skeleton,
    *,
    box: Float[ndarray, "N 4"],
    keypoints: Float[ndarray, "N J 2"] | None = None,
    **known: Any,
) -> Records:
    """Records of N people in images, of which only some things are known.

    Args:
        images: N, where the pixels lie; one image may show several people.
        skeleton: of keypoints and poses.
        box: of each person, x y width height in px of the full image.
        keypoints: px of the full image, NaN where there is no label.
        known: any other field of `Records`. What is not given is NaN; a keypoint has confidence 1; everybody is a subject, a
            recording and a time step of their own, in the first view; sizes are read from the image files.

    Raises:
        VergenceError: an array of another shape, or an image whose size cannot be read.
    """
    n, joints, rows = len(images), len(skeleton), np.arange(len(images))
    refs = [image if isinstance(image, ImageRef) else ImageRef(Path(image)) for image in images]
    points = np.full((n, joints, 2), np.nan) if keypoints is None else np.asarray(keypoints, dtype=float)
    shapes: dict[str, tuple[int, ...]] = {
        "pose": (joints, 3), "intrinsics": (3, 3), "distortion": (5,), "rotation": (3, 3), "translation": (3,), "up": (3,)
    }  # fmt: skip
    usual = {name: np.full((n, *shape), np.nan) for name, shape in shapes.items()}
    usual |= {
        "subject": rows,
        "sequence": rows,
        "time_step": rows,
        "view": 0 * rows,
        "frame": 0 * rows,
        "time": 0.0 * rows,
    }
    usual["confidence"] = np.isfinite(points).all(-1).astype(float)
    if "size" not in known:
        usual["size"] = np.array([image_size(ref.path) for ref in refs], dtype=float).reshape(n, 2)
    return Records(images=refs, skeleton=skeleton, box=box, keypoints=points, **{**usual, "groups": {}, **known})
