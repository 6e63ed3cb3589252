"""Records of what a dataset knows: a reader of one's own names that, and the rest is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.formats.media import image_size
from vergence.datasets.records import SHAPES, ImageRef, Records
from vergence.geometry.cameras import Camera
from vergence.skeleton import Skeleton

CAMERA = ("intrinsics", "distortion", "rotation", "translation")


def make_records(
    images: Sequence[ImageRef | Path | str],
    skeleton: Skeleton,
    *,
    box: Float[ndarray, "N 4"],
    keypoints: Float[ndarray, "N J 2"] | None = None,
    camera: Camera | None = None,
    **known: Any,
) -> Records:
    """Records of N people in images; unknown values are left out.

    Args:
        images: N image files or places; one image may show several people.
        skeleton: of keypoints and poses.
        box: of each person, x y width height in px of the full image.
        keypoints: px of the full image, NaN where there is no label.
        camera: of all images: their size, intrinsics, distortion, rotation and translation.
        known: any other field of `Records`, for each row, or one value for all of them. Missing values are NaN. By
            default a keypoint has confidence 1, each person is a subject, a recording and a time step of their own, in
            the first view, and sizes are read from the image files.

    Raises:
        VergenceError: an array of another shape, or an image whose size cannot be read.
    """
    n, joints, rows = len(images), len(skeleton), np.arange(len(images))
    refs = [image if isinstance(image, ImageRef) else ImageRef(Path(image)) for image in images]
    points = np.full((n, joints, 2), np.nan) if keypoints is None else np.asarray(keypoints, dtype=float)
    sizes = {"J": joints, "D": 5}
    fields: dict[str, Any] = {
        name: np.full([sizes.get(str(s), s) for s in shape], np.nan) for name, shape in SHAPES.items()
    }
    fields |= {"confidence": np.isfinite(points).all(-1).astype(float), "view": 0, "frame": 0, "time": 0.0}
    fields |= dict.fromkeys(("subject", "sequence", "time_step"), rows)
    if camera is not None:
        own = {"size": camera.image_size, **{name: getattr(camera, name) for name in CAMERA}}
        fields |= {name: value for name, value in own.items() if value is not None}
    elif "size" not in known:
        fields["size"] = np.array([image_size(ref.path) for ref in refs], dtype=float).reshape(n, 2)
    fields |= {"groups": {}, **known, "box": box, "keypoints": points}
    for name, shape in SHAPES.items():
        if np.ndim(fields[name]) == len(shape):
            fields[name] = np.repeat(np.asarray(fields[name])[None], n, axis=0)
    groups = {name: np.full(n, value) if isinstance(value, str) else value for name, value in fields["groups"].items()}
    return Records(images=refs, skeleton=skeleton, **{**fields, "groups": groups})
