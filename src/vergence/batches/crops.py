"""Crops: a crop is a camera, a virtual pinhole that looks at the centre of a box in the full image.

Why not simply cut a rectangle. A rectangle from the side of an image is what a pinhole sees whose axis points
elsewhere: the same body looks turned and stretched by where it stands, and a network that sees only the crop cannot
undo it. So the camera is turned about its own centre until its axis meets the box's centre, and zoomed until the box
fills the crop. A rotation about the centre shows nothing new: image, keypoints, 3D pose and extrinsics all move by it
exactly, whatever the depth. Lens distortion is taken out in the same warp, so crop pixels are pinhole pixels.

What breaks it: wrong intrinsics (the crop turns by a wrong angle; the effect grows with the box's distance from the
principal point) and fisheye lenses, which five coefficients do not describe: where they fold back on themselves the
crop is black, never a second copy of the scene. Without intrinsics only the rectangle can be cut: its intrinsics are
NaN, and the pose stays in the camera's frame, as it does in the rectangles that the papers cut (`mode="rectangular"`),
where intrinsics follow the pixels and lens distortion stays in the pixels, keypoints included.

The inner arithmetic is float64; `Views` hold float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from numpy.typing import ArrayLike

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.camera import distort, normalise

CropMode = Literal["virtual", "rectangular"]

# A box edge further than this from the crop's axis would need a crop wider than any person detector gives.
MAX_HALF_ANGLE_DEG = 80.0


@dataclass(frozen=True)
class CropCamera:
    """The camera of one crop, and the way to it from the full image's camera and back.

    Attributes:
        intrinsics: 3 3 of the crop; NaN where the full image's are unknown.
        rotation: 3 3, `x_crop = rotation x_camera`; the identity for a rectangular crop.
        homography: 3 3, full image pixels (lens distortion removed; in rectangular mode: as they are) to crop pixels.
        size: (height, width) of the crop.
        full_intrinsics: 3 3 of the full image; NaN where unknown.
        distortion: of the full image, OpenCV's k1 k2 p1 p2 k3 or its twelve; zero in rectangular mode: it stays in the
            pixels.
        mode: `virtual` or `rectangular`.
    """

    intrinsics: Float[ndarray, "3 3"]
    rotation: Float[ndarray, "3 3"]
    homography: Float[ndarray, "3 3"]
    size: tuple[int, int]
    full_intrinsics: Float[ndarray, "3 3"]
    distortion: Float[ndarray, " D"]
    mode: CropMode


def box_from_keypoints(keypoints: ArrayLike, margin: float = 0.2) -> Float[ndarray, " 4"]:
    """The box (x, y, width, height; px) around the finite keypoints.

    Args:
        keypoints: `... 2`, px; rows with a NaN are left out.
        margin: added on every side, as a share of the box's larger side: joints end before the body does.

    Raises:
        VergenceError: fewer than two different keypoints are known.
    """
    points = np.asarray(keypoints, dtype=np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(1)]
    if len(points) < 2 or not np.ptp(points, axis=0).any():
        raise VergenceError(
            f"{len(points)} known keypoints, or all in one place, give no box", "Give a box, or at least two keypoints."
        )
    low, high = points.min(0), points.max(0)
    border = margin * (high - low).max()
    return np.concatenate([low - border, high - low + 2 * border])


def whole_image_box(height: int, width: int) -> Float[ndarray, " 4"]:
    """The box of a whole image, from the outer edge of its first pixel to that of its last."""
    return np.array([-0.5, -0.5, width, height])


def check_box(box: ArrayLike, height: int, width: int) -> None:
    """A `VergenceError` unless the box (x, y, width, height; px) has an area and overlaps an image of this size."""
    x, y, w, h = _checked_box(box)
    if x >= width - 0.5 or y >= height - 0.5 or x + w <= -0.5 or y + h <= -0.5:
        raise VergenceError(
            f"the box {_words(box)} lies outside the {width}x{height} image",
            "Give x y width height in px of this image.",
        )


def crop_camera(
    intrinsics: ArrayLike | None,
    distortion: ArrayLike | None,
    box: ArrayLike,
    size: int | tuple[int, int],
    mode: CropMode = "virtual",
) -> CropCamera:
    """The camera of a crop.

    The crop shows the whole box, grown to the crop's aspect ratio about its centre; its pixels are square in angle.
    Its x axis stays level with the full image's, so people do not lean by where they stand.

    Args:
        intrinsics: 3 3 of the full image; None or NaN where unknown, and then the crop is rectangular.
        distortion: OpenCV's k1 k2 p1 p2 k3, four or five of them, or its twelve (`camera.distort`); None where there is
            none.
        box: x, y, width, height in px of the full image (as recorded, distorted).
        size: of the crop, one number or (height, width).
        mode: `virtual`, or `rectangular` for the papers' plain scale and shift.

    Raises:
        VergenceError: a box with NaN, without area or wider than a pinhole sees; a distortion of other lengths.
    """
    height, width = (size, size) if isinstance(size, int) else size
    x, y, w, h = _checked_box(box)
    full = np.full((3, 3), np.nan) if intrinsics is None else np.asarray(intrinsics, dtype=np.float64).reshape(3, 3)
    if mode == "rectangular" or not np.isfinite(full).all():
        scale = min(width / w, height / h)
        shift = [(width - 1) / 2 - scale * (x + w / 2), (height - 1) / 2 - scale * (y + h / 2)]
        affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1.0]])
        return CropCamera(affine @ full, np.eye(3), affine, (height, width), full, np.zeros(5), "rectangular")
    lens = _checked_distortion(distortion)
    along = np.array([[0.5, 0.5], [0, 0.5], [1, 0.5], [0.5, 0], [0.5, 1]])
    rays = _rays(np.array([x, y]) + along * [w, h], full, lens)
    rotation = _look_at(rays[0])
    seen = rays[1:] @ rotation.T
    limit = math.cos(math.radians(MAX_HALF_ANGLE_DEG))
    if not (seen[:, 2] > limit * np.linalg.norm(seen, axis=1)).all():
        raise VergenceError(
            f"the box {_words(box)} is wider than a pinhole crop can show (within {MAX_HALF_ANGLE_DEG:g} degrees of "
            "its centre, where the lens distortion has an inverse)",
            "Give a box around the person, or check the intrinsics and the distortion.",
        )
    half = np.abs(seen[:, :2] / seen[:, 2:]).max(0)
    focal = min(width / 2 / half[0], height / 2 / half[1])
    virtual = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    homography = virtual @ rotation @ np.linalg.inv(full)
    return CropCamera(virtual, rotation, homography / homography[2, 2], (height, width), full, lens, "virtual")


def warp(image: UInt8[ndarray, "H W 3"], camera: CropCamera) -> UInt8[ndarray, "h w 3"]:
    """The crop's pixels; black where the full image has none.

    Where the crop shrinks the image, the image is first reduced by area to the crop's own resolution, so that fine
    texture does not alias; then one bilinear look-up does crop, rotation and lens.
    """
    height, width = camera.size
    grid = np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), -1)
    source = _to_full(grid.reshape(-1, 2), camera).reshape(height, width, 2).astype(np.float32)
    region = _region(source, image.shape[:2])
    if region is None:
        raise VergenceError(
            f"the crop shows nothing of the {image.shape[1]}x{image.shape[0]} image",
            "Give a box (x y width height, px) that overlaps the image.",
        )
    top, bottom, left, right = region
    part = image[top:bottom, left:right]
    source = source - np.array([left, top], dtype=np.float32)
    shrink = _shrink(camera)
    if shrink > 1.0:
        small = (max(1, round(part.shape[1] / shrink)), max(1, round(part.shape[0] / shrink)))
        ratio = np.array([small[0] / part.shape[1], small[1] / part.shape[0]], dtype=np.float32)
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
        source = (source + 0.5) * ratio - 0.5
    source = np.where(np.isfinite(source), source, -1e4).astype(np.float32)
    x, y = np.ascontiguousarray(source[..., 0]), np.ascontiguousarray(source[..., 1])
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


def keypoints_to_crop(keypoints: ArrayLike, camera: CropCamera) -> Float[ndarray, "... 2"]:
    """Full image px (as recorded) `... 2` to crop px; NaN stays NaN, and so become points that the crop's camera
    cannot see: behind it, or where the lens distortion has no inverse."""
    points = np.asarray(keypoints, dtype=np.float64)
    flat = points.reshape(-1, 2)
    if camera.mode == "rectangular":
        return _apply(camera.homography, flat).reshape(points.shape)
    rays = _rays(flat, camera.full_intrinsics, camera.distortion) @ camera.rotation.T
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = np.where(rays[:, 2:] > 0, rays / rays[:, 2:], np.nan)
    return (seen @ camera.intrinsics.T)[:, :2].reshape(points.shape)


def keypoints_from_crop(keypoints: ArrayLike, camera: CropCamera) -> Float[ndarray, "... 2"]:
    """Crop px `... 2` to px of the full image as recorded, lens distortion included; NaN stays NaN."""
    points = np.asarray(keypoints, dtype=np.float64)
    return _to_full(points.reshape(-1, 2), camera).reshape(points.shape)


def pose_to_crop(pose: ArrayLike, camera: CropCamera) -> Float[ndarray, "... 3"]:
    """Points or directions `... 3` in the full image's camera frame, in the crop camera's frame (same centre)."""
    return np.asarray(pose, dtype=np.float64) @ camera.rotation.T


def pose_from_crop(pose: ArrayLike, camera: CropCamera) -> Float[ndarray, "... 3"]:
    """Points or directions `... 3` in the crop camera's frame, in the full image's camera frame (same centre)."""
    return np.asarray(pose, dtype=np.float64) @ camera.rotation


def crop_view(
    image: UInt8[ndarray, "H W 3"],
    intrinsics: ArrayLike | None,
    distortion: ArrayLike | None,
    box: ArrayLike,
    size: int | tuple[int, int],
    *,
    keypoints: ArrayLike | None = None,
    confidence: ArrayLike | None = None,
    pose: ArrayLike | None = None,
    pose_weight: ArrayLike | None = None,
    rotation: ArrayLike | None = None,
    translation: ArrayLike | None = None,
    up: ArrayLike | None = None,
    metric: bool = False,
    joints: int | None = None,
    mode: CropMode = "virtual",
) -> Views:
    """One image and all that is known of it, moved into the crop of a box.

    Args:
        image: RGB.
        intrinsics: 3 3 of the full image, or None.
        distortion: OpenCV's k1 k2 p1 p2 k3, or None.
        box: x, y, width, height in px of the image as recorded.
        size: of the crop, one number or (height, width).
        keypoints: J 2, px of the image as recorded.
        confidence: J; where it is not given, 1 for a known keypoint and 0 for a missing one.
        pose: J 3 in the camera's frame.
        pose_weight: J; 1 where it is not given.
        rotation: 3 3, `x_camera = rotation x_rig + translation`.
        translation: 3.
        up: 3, a unit vector in the camera's frame.
        metric: pose is in mm.
        joints: how many joints the batch has, where neither keypoints nor pose say so.
        mode: `virtual` or `rectangular`.

    Returns:
        Views of one, whose subject, sequence, view, frame, time and source are 0: `replace` them.

    Raises:
        VergenceError: the box is degenerate or outside the image; the joints disagree.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise VergenceError(f"an image of shape {image.shape}, {image.dtype}", "Give H x W x 3, uint8, RGB.")
    check_box(box, image.shape[0], image.shape[1])
    counts = {len(np.asarray(a)) for a in (keypoints, confidence, pose, pose_weight) if a is not None}
    counts |= set() if joints is None else {joints}
    if len(counts) != 1:
        raise VergenceError(
            f"the number of joints is not one number: {sorted(counts) or 'none given'}",
            "Give keypoints, pose and joints of one skeleton.",
        )
    camera = crop_camera(intrinsics, distortion, box, size, mode)
    view = Views.empty(1, counts.pop(), *camera.size)
    known: dict[str, ArrayLike] = {"intrinsics": camera.intrinsics, "crop": camera.homography}
    if keypoints is not None:
        moved = keypoints_to_crop(keypoints, camera)
        known["keypoints"] = moved
        known["confidence"] = np.isfinite(moved).all(-1) if confidence is None else confidence
    if pose is not None:
        known["pose"] = pose_to_crop(pose, camera)
    if pose_weight is not None:
        known["pose_weight"] = pose_weight
    if rotation is not None:
        known["rotation"] = camera.rotation @ np.asarray(rotation, dtype=np.float64)
    if translation is not None:
        known["translation"] = pose_to_crop(translation, camera)
    if up is not None:
        known["up"] = pose_to_crop(up, camera)
    fields = {name: torch.as_tensor(np.asarray(value, dtype=np.float32))[None] for name, value in known.items()}
    pixels = torch.from_numpy(warp(image, camera)).permute(2, 0, 1)[None].contiguous()
    return view.replace(image=pixels, metric=torch.tensor([metric]), **fields)


def _words(box: ArrayLike) -> str:
    return " ".join(f"{value:g}" for value in np.asarray(box, dtype=np.float64).ravel())


def _checked_box(box: ArrayLike) -> Float[ndarray, " 4"]:
    values = np.asarray(box, dtype=np.float64).ravel()
    if values.shape != (4,) or not np.isfinite(values).all() or (values[2:] <= 0).any():
        raise VergenceError(
            f"the box {_words(box)} has no area", "Give x y width height in px, finite, width and height above 0."
        )
    return values


def _checked_distortion(distortion: ArrayLike | None) -> Float[ndarray, " D"]:
    if distortion is None:
        return np.zeros(5)
    values = np.asarray(distortion, dtype=np.float64).ravel()
    if len(values) not in (4, 5, 12) or not np.isfinite(values).all():
        raise VergenceError(
            f"a lens distortion of {_words(values)}",
            "Give four or five finite numbers, OpenCV's k1 k2 p1 p2 [k3], or its twelve.",
        )
    return np.pad(values, (0, max(5 - len(values), 0)))


def _look_at(ray: Float[ndarray, " 3"]) -> Float[ndarray, "3 3"]:
    """The rotation that brings a ray onto the optical axis and keeps the x axis level."""
    z = ray / np.linalg.norm(ray)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _apply(homography: Float[ndarray, "3 3"], points: Float[ndarray, "P 2"]) -> Float[ndarray, "P 2"]:
    moved = points @ homography[:, :2].T + homography[:, 2]
    return moved[:, :2] / moved[:, 2:]


def _to_full(points: Float[ndarray, "P 2"], camera: CropCamera) -> Float[ndarray, "P 2"]:
    if camera.mode == "rectangular":
        return _apply(np.linalg.inv(camera.homography), points)
    back = (camera.rotation.T @ np.linalg.inv(camera.intrinsics)).astype(points.dtype)
    rays = points @ back[:, :2].T + back[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ideal = np.where(rays[:, 2:] > 0, rays[:, :2] / rays[:, 2:], np.nan)
    full = camera.full_intrinsics.astype(points.dtype)
    bent = _bend(ideal, camera.distortion)
    return bent @ full[:2, :2].T + full[:2, 2]


def _rays(
    points: Float[ndarray, "P 2"], intrinsics: Float[ndarray, "3 3"], lens: Float[ndarray, " D"]
) -> Float[ndarray, "P 3"]:
    distortion = torch.from_numpy(lens) if lens.any() else None
    ideal = normalise(torch.from_numpy(points), torch.from_numpy(intrinsics), distortion).numpy()
    return np.concatenate([ideal, np.ones((len(points), 1))], axis=1)


def _radius_limit(lens: Float[ndarray, " D"]) -> float:
    """Where the radial function r (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6) turns back, or has no
    value: beyond it the lens model folds. In q = r^2, n + 2 q n' = 2 q n d' / d."""
    k1, k2, k3 = lens[[0, 1, 4]]
    n, d = np.poly1d([k3, k2, k1, 1.0]), np.poly1d([*lens[[7, 6, 5]], 1.0] if len(lens) > 5 else [1.0])
    q = np.poly1d([1.0, 0.0])
    roots = np.concatenate([((n + 2 * q * n.deriv()) * d - 2 * q * n * d.deriv()).roots, d.roots])
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return math.sqrt(real.min()) if len(real) else math.inf


def _bend(points: Float[ndarray, "P 2"], lens: Float[ndarray, " D"]) -> Float[ndarray, "P 2"]:
    """Ideal to lens-distorted normalised coordinates; NaN where the lens model folds, so that nothing is seen twice."""
    if not lens.any():
        return points
    points = np.where((points**2).sum(1, keepdims=True) < _radius_limit(lens) ** 2, points, np.nan)
    return distort(torch.from_numpy(points), torch.from_numpy(lens.astype(points.dtype))).numpy()


def _shrink(camera: CropCamera) -> float:
    """Full image px per crop px at the crop's centre, along the direction where there are most."""
    centre = np.array([[camera.size[1] - 1, camera.size[0] - 1]]) / 2
    step = 1e-3
    around = _to_full(centre + step * np.array([[0, 0], [1, 0], [0, 1.0]]), camera)
    jacobian = (around[1:] - around[:1]).T / step
    return float(np.linalg.norm(jacobian, ord=2))


def _region(source: Float[ndarray, "h w 2"], shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """(top, bottom, left, right) of the part of an image that a map looks at, with a border; None for none."""
    known = source[np.isfinite(source).all(-1)]
    if not len(known):
        return None
    border = 2 + int(np.abs(np.diff(source, axis=1)[np.isfinite(np.diff(source, axis=1))]).max(initial=1.0))
    left, top = np.floor(known.min(0)).astype(int) - border
    right, bottom = np.ceil(known.max(0)).astype(int) + border + 1
    top, bottom = max(top, 0), min(bottom, shape[0])
    left, right = max(left, 0), min(right, shape[1])
    return (top, bottom, left, right) if top < bottom and left < right else None
