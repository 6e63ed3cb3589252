"""Crops of images: their pixels, and all that is known of them, moved into the crop's camera (`vergence.geometry.crops`).

`Views` hold float32; the arithmetic on the way is float64.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from numpy.typing import ArrayLike

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.crops import (
    CropCamera,
    CropMode,
    check_box,
    crop_camera,
    keypoints_from_crop,
    keypoints_to_crop,
    pose_to_crop,
)


def warp(image: UInt8[ndarray, "H W 3"], camera: CropCamera) -> UInt8[ndarray, "h w 3"]:
    """The crop's pixels; black where the full image has none.

    Where the crop shrinks the image, the image is first reduced by area to the crop's own resolution, so that fine
    texture does not alias; then one bilinear look-up does crop, rotation and lens.
    """
    height, width = camera.size
    grid = np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), -1)
    source = keypoints_from_crop(grid, camera, np.float32).astype(np.float32)
    x, y = np.ascontiguousarray(np.moveaxis(source, -1, 0))
    region = _region(x, y, image.shape[:2])
    if region is None:
        raise VergenceError(
            f"the crop shows nothing of the {image.shape[1]}x{image.shape[0]} image",
            "Give a box (x y width height, px) that overlaps the image.",
        )
    top, bottom, left, right = region
    part = image[top:bottom, left:right]
    x, y = x - np.float32(left), y - np.float32(top)
    shrink = _shrink(camera)
    if shrink > 1.0:
        small = (max(1, round(part.shape[1] / shrink)), max(1, round(part.shape[0] / shrink)))
        across, down = np.float32(small[0] / part.shape[1]), np.float32(small[1] / part.shape[0])
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
        x, y = (x + np.float32(0.5)) * across - np.float32(0.5), (y + np.float32(0.5)) * down - np.float32(0.5)
    x, y = (np.nan_to_num(one, nan=-1e4, posinf=-1e4, neginf=-1e4, copy=False) for one in (x, y))
    return np.asarray(cv2.remap(np.ascontiguousarray(part), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))


def crop_image(
    image: UInt8[ndarray, "H W 3"],
    intrinsics: ArrayLike | None,
    distortion: ArrayLike | None,
    box: ArrayLike,
    size: int | tuple[int, int],
    mode: CropMode = "virtual",
) -> tuple[UInt8[ndarray, "h w 3"], CropCamera]:
    """The pixels of a box's crop and its camera; arguments and errors as of `check_box`, `crop_camera` and `warp`."""
    check_box(box, image.shape[0], image.shape[1])
    camera = crop_camera(intrinsics, distortion, box, size, mode)
    return warp(image, camera), camera


def moved_labels(
    camera: CropCamera,
    size: ndarray,
    *,
    keypoints: ndarray,
    confidence: ndarray,
    pose: ndarray,
    rotation: ndarray,
    translation: ndarray,
    up: ndarray,
) -> Views:
    """What is known of N full images of a size (N 2, width and height, px), in the cameras of their N crops: Views with
    images of size 0. Missing is NaN; a keypoint that is missing, or that the crop's camera cannot see, has confidence 0."""
    points, turn = keypoints_to_crop(keypoints, camera), camera.rotation
    floats = {
        "intrinsics": camera.intrinsics,
        "keypoints": points,
        "confidence": np.where(np.isfinite(points).all(-1), np.nan_to_num(confidence), 0.0),
        "pose": pose_to_crop(pose, camera),
        "rotation": turn @ rotation,
        "translation": (turn @ translation[..., None])[..., 0],
        "up": (turn @ up[..., None])[..., 0],
        "crop": camera.homography,
        "turn": turn,
        "full_intrinsics": camera.full_intrinsics,
        "size": size,
    }
    fields = {name: torch.from_numpy(value.astype(np.float32)) for name, value in floats.items()}
    return Views.empty(len(pose), pose.shape[1], 0, 0).replace(**fields)


def _shrink(camera: CropCamera) -> float:
    """Full image px per crop px at the crop's centre, along the direction where there are most."""
    centre = np.array([[camera.size[1] - 1, camera.size[0] - 1]]) / 2
    step = 1e-3
    around = keypoints_from_crop(centre + step * np.array([[0, 0], [1, 0], [0, 1.0]]), camera)
    jacobian = (around[1:] - around[:1]).T / step
    return float(np.linalg.norm(jacobian, ord=2))


def _region(
    x: Float[ndarray, "h w"], y: Float[ndarray, "h w"], shape: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    """(top, bottom, left, right) of the part of an image that a map looks at, with a border; None for none."""
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return None
    steps = [np.abs(one[:, 1:] - one[:, :-1]) for one in (x, y)]
    every = bool(known.all())  # then nothing has to be picked, which takes longer than all the rest
    border = 2 + int(max(step[... if every else np.isfinite(step)].max(initial=1.0) for step in steps))
    inside = [one[... if every else known] for one in (x, y)]
    left, top = (int(np.floor(one.min())) - border for one in inside)
    right, bottom = (int(np.ceil(one.max())) + border + 1 for one in inside)
    top, bottom = max(top, 0), min(bottom, shape[0])
    left, right = max(left, 0), min(right, shape[1])
    return (top, bottom, left, right) if top < bottom and left < right else None
