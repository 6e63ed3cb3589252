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

There is one implementation, of N crops at once (`crop_cameras`); `crop_camera` is its case of one, which refuses bad
boxes in words. Arithmetic is float64. Pixels are moved in `vergence.batches.crops`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from vergence.errors import VergenceError
from vergence.geometry.camera import FISHEYE_SIZE, distort, normalise

CropMode = Literal["virtual", "rectangular"]

# A box edge further than this from the crop's axis would need a crop wider than any person detector gives.
MAX_HALF_ANGLE_DEG = 80.0
BOX_MARGIN = 0.2  # on every side of a box around joints, of its larger side: joints end before the body does


@dataclass(frozen=True)
class CropCamera:
    """The camera of one crop, or of N crops of one size, and the way to it from the full image's camera and back.

    Attributes:
        intrinsics: 3 3 of the crop; NaN where the full image's are unknown.
        rotation: 3 3, `x_crop = rotation x_camera`; the identity for a rectangular crop.
        homography: 3 3, full image pixels (lens distortion removed; in rectangular crops: as they are) to crop pixels.
        size: (height, width) of the crop.
        full_intrinsics: 3 3 of the full image; NaN where unknown.
        distortion: of the full image (`geometry.camera`); zero in rectangular crops: it stays in the
            pixels.
        rectangular: a plain cut-out, by wish or for want of intrinsics.
        good: False where the box has no crop (of one crop never: it is an error); the rest is NaN or wrong there.
    """

    intrinsics: Float[ndarray, "*N 3 3"]
    rotation: Float[ndarray, "*N 3 3"]
    homography: Float[ndarray, "*N 3 3"]
    size: tuple[int, int]
    full_intrinsics: Float[ndarray, "*N 3 3"]
    distortion: Float[ndarray, "*N D"]
    rectangular: Bool[ndarray, "*N"]
    good: Bool[ndarray, "*N"]

    def __getitem__(self, row: int | None) -> CropCamera:
        """One of N; with None one as N of one."""
        fields = (self.intrinsics, self.rotation, self.homography, self.full_intrinsics, self.distortion)
        k, r, h, full, lens = (value[row] for value in fields)
        return CropCamera(k, r, h, self.size, full, lens, self.rectangular[row], self.good[row])


def person_boxes(
    keypoints: Float[ndarray, "N J 2"], least: int = 2, margin: float = BOX_MARGIN
) -> Float[ndarray, "N 4"]:
    """The box (x, y, width, height; px) around each row's finite keypoints; NaN where fewer than `least` are known.

    `margin` is added on every side, as a share of the box's larger side.
    """
    known = np.isfinite(keypoints).all(-1)
    low = np.where(known[..., None], keypoints, np.inf).min(1, initial=np.inf)
    high = np.where(known[..., None], keypoints, -np.inf).max(1, initial=-np.inf)
    enough = (known.sum(1) >= least)[:, None]
    low, high = np.where(enough, low, np.nan), np.where(enough, high, np.nan)
    border = margin * (high - low).max(1, keepdims=True)
    return np.concatenate([low - border, high - low + 2 * border], 1)


def box_from_keypoints(keypoints: ArrayLike, margin: float = BOX_MARGIN) -> Float[ndarray, " 4"]:
    """`person_boxes` of one person's keypoints (`... 2`, px).

    Raises:
        VergenceError: fewer than two different keypoints are known.
    """
    points = np.asarray(keypoints, dtype=np.float64).reshape(1, -1, 2)
    box = person_boxes(points, margin=margin)[0]
    if not box[2:].any() or np.isnan(box).any():
        known = int(np.isfinite(points).all(-1).sum())
        raise VergenceError(
            f"{known} known keypoints, or all in one place, give no box", "Give a box, or at least two keypoints."
        )
    return box


def whole_image_box(height: int, width: int) -> Float[ndarray, " 4"]:
    """The box of a whole image, from the outer edge of its first pixel to that of its last."""
    return np.array([-0.5, -0.5, width, height])


def check_box(box: ArrayLike, height: int, width: int) -> None:
    """A `VergenceError` unless the box (x, y, width, height; px) has an area and overlaps an image of this size."""
    values = _checked_box(box)
    if not _overlaps(values[None], np.array([[width, height]]))[0]:
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
    """The camera of one crop: `crop_cameras` of one row.

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
    values = _checked_box(box)
    full = np.full((3, 3), np.nan) if intrinsics is None else np.asarray(intrinsics, dtype=np.float64).reshape(3, 3)
    plain = mode == "rectangular" or not np.isfinite(full).all()
    lens = np.zeros(5) if plain else _checked_distortion(distortion)
    camera = crop_cameras(full[None], lens[None], values[None], size, mode)[0]
    if not camera.good:
        raise VergenceError(
            f"the box {_words(box)} is wider than a pinhole crop can show (within {MAX_HALF_ANGLE_DEG:g} degrees of "
            "its centre, where the lens distortion has an inverse)",
            "Give a box around the person, or check the intrinsics and the distortion.",
        )
    return camera


def crop_cameras(
    intrinsics: Float[ndarray, "N 3 3"],
    distortion: Float[ndarray, "N D"],
    box: Float[ndarray, "N 4"],
    size: int | tuple[int, int],
    mode: CropMode = "virtual",
    image_size: Float[ndarray, "N 2"] | None = None,
) -> CropCamera:
    """The cameras of N crops; those whose box has none are not `good`.

    A crop shows the whole box, grown to the crop's aspect ratio about its centre; its pixels are square in angle. Its x
    axis stays level with the full image's, so people do not lean by where they stand.

    Args:
        intrinsics: of the full images, NaN where unknown: then the crop is rectangular.
        distortion: OpenCV's k1 k2 p1 p2 k3 or its twelve, NaN where there is none.
        box: x, y, width, height in px of the full images (as recorded, distorted).
        size: of the crops, one number or (height, width).
        mode: `virtual`, or `rectangular` for the papers' plain scale and shift.
        image_size: width and height, where boxes outside their images are to be found bad.
    """
    height, width = (size, size) if isinstance(size, int) else size
    k, side = intrinsics, np.array([width, height])
    rectangular = np.full(len(k), mode == "rectangular") | ~np.isfinite(k).all((1, 2))
    plain = rectangular[:, None, None]
    lens = np.where(rectangular[:, None], 0.0, np.nan_to_num(distortion))
    with np.errstate(invalid="ignore", divide="ignore"):
        low, extent = box[:, :2], box[:, 2:]
        inside = np.isfinite(box).all(1) & (extent > 0).all(1) & (image_size is None or _overlaps(box, image_size))
        along = np.array([[0.5, 0.5], [0, 0.5], [1, 0.5], [0.5, 0], [0.5, 1]])
        rays = _rays(low[:, None] + along * extent[:, None], k, lens)
        rotation = _look_at(rays[:, 0])
        seen = rays[:, 1:] @ rotation.mT
        limit = math.cos(math.radians(MAX_HALF_ANGLE_DEG))
        narrow = (seen[..., 2] > limit * np.linalg.norm(seen, axis=-1)).all(1)
        focal = (side / 2 / np.abs(seen[..., :2] / seen[..., 2:]).max(1)).min(1)
        virtual = _scale_and_shift(focal, np.broadcast_to((side - 1) / 2, (len(k), 2)))
        homography = virtual @ rotation @ np.linalg.inv(np.where(plain, np.eye(3), k))
        homography /= homography[:, 2:, 2:]
        scale = (side / extent).min(1)
        affine = _scale_and_shift(scale, (side - 1) / 2 - scale[:, None] * (low + extent / 2))
    return CropCamera(
        intrinsics=np.where(plain, affine @ k, virtual),
        rotation=np.where(plain, np.eye(3), rotation),
        homography=np.where(plain, affine, homography),
        size=(height, width),
        full_intrinsics=k,
        distortion=lens,
        rectangular=rectangular,
        good=inside & (rectangular | narrow),
    )


def keypoints_to_crop(keypoints: ArrayLike, camera: CropCamera) -> Float[ndarray, "... 2"]:
    """Full image px (as recorded) to crop px, `... 2` of one crop and `N J 2` of N; NaN stays NaN, and so become points
    that the crop's camera cannot see: behind it, or where the lens distortion has no inverse."""
    points = np.asarray(keypoints, dtype=np.float64)
    flat = points.reshape(-1, 2) if camera.rotation.ndim == 2 else points
    rays = _rays(flat, camera.full_intrinsics, camera.distortion) @ camera.rotation.mT
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = np.where(rays[..., 2:] > 0, rays / rays[..., 2:], np.nan)
    virtual = (seen @ camera.intrinsics.mT)[..., :2]
    plain = camera.rectangular[..., None, None]
    return np.where(plain, _apply(camera.homography, flat) if plain.any() else 0.0, virtual).reshape(points.shape)


def keypoints_from_crop(
    keypoints: ArrayLike, camera: CropCamera, dtype: type[np.floating] = np.float64
) -> Float[ndarray, "... 2"]:
    """Px `... 2` of one crop to px of the full image as recorded, lens distortion included; NaN stays NaN."""
    points = np.asarray(keypoints, dtype)
    flat = points.reshape(-1, 2)
    if camera.rectangular:
        return _apply(np.linalg.inv(camera.homography), flat).reshape(points.shape)
    back = (camera.rotation.T @ np.linalg.inv(camera.intrinsics)).astype(flat.dtype)
    rays = back[:, :2] @ flat.T + back[:, 2:]  # x, y and z each in one piece: a crop's 65,536 pixels go through here
    with np.errstate(divide="ignore", invalid="ignore"):
        ideal = rays[:2] / rays[2]
    _forget(ideal, ~(rays[2] > 0))
    full = camera.full_intrinsics.astype(flat.dtype)
    return (_bend(ideal, camera.distortion).T @ full[:2, :2].T + full[:2, 2]).reshape(points.shape)


def pose_to_crop(pose: ArrayLike, camera: CropCamera) -> Float[ndarray, "... 3"]:
    """Points or directions in the full image's camera frame, in the crop camera's frame (same centre): `... 3` of one
    crop, `N J 3` of N."""
    return np.asarray(pose, dtype=np.float64) @ camera.rotation.mT


def pose_from_crop(pose: ArrayLike, camera: CropCamera) -> Float[ndarray, "... 3"]:
    """`pose_to_crop`, back."""
    return np.asarray(pose, dtype=np.float64) @ camera.rotation


def full_pixels(points: Float[Tensor, "N J 2"], crop: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N J 2"]:
    """Crop pixels as those of the full image (float64), up to its lens distortion (which is not put back); `crop` is
    `Views.crop`."""
    ones = torch.ones_like(points[..., :1])
    there = torch.cat([points, ones], -1).double() @ torch.linalg.inv(crop.double()).mT
    return there[..., :2] / there[..., 2:]


def full_cameras(
    crop: Float[Tensor, "N 3 3"], intrinsics: Float[Tensor, "N 3 3"]
) -> tuple[Float[Tensor, "N 3 3"], Float[Tensor, "N 3 3"]]:
    """The full image's intrinsics and the rotation from its camera to the crop's, from the crop alone (float64).

    For what does not say: files written before `Views` did, and a camera that is reported wrongly. As `crop = K_crop R
    K_full^-1`, `crop^-1 K_crop = K_full R^T`: an upper triangular matrix with positive diagonal times a rotation, which
    has one RQ decomposition. Of float32 crops it gives a focal length of 1,000 px to some 0.05 px.
    """
    product = torch.linalg.inv(crop.double()) @ intrinsics.double()
    flip = torch.eye(3, dtype=torch.double).flip(0)
    q, r = torch.linalg.qr((flip @ product).mT)
    upper, rotation = flip @ r.mT @ flip, flip @ q.mT
    sign = torch.diagonal(upper, dim1=-2, dim2=-1).sign()
    upper, rotation = upper * sign[:, None, :], rotation * sign[:, :, None]
    return upper / upper[:, 2:, 2:], rotation.mT


def _words(box: ArrayLike) -> str:
    return " ".join(f"{value:g}" for value in np.asarray(box, dtype=np.float64).ravel())


def _checked_box(box: ArrayLike) -> Float[ndarray, " 4"]:
    values = np.asarray(box, dtype=np.float64).ravel()
    if values.shape != (4,) or not np.isfinite(values).all() or (values[2:] <= 0).any():
        raise VergenceError(
            f"the box {_words(box)} has no area", "Give x y width height in px, finite, width and height above 0."
        )
    return values


def _overlaps(box: Float[ndarray, "N 4"], image_size: Float[ndarray, "N 2"]) -> Bool[ndarray, " N"]:
    low, high = box[:, :2], box[:, :2] + box[:, 2:]
    return ((low < image_size - 0.5) & (high > -0.5)).all(1)


def _checked_distortion(distortion: ArrayLike | None) -> Float[ndarray, " D"]:
    if distortion is None:
        return np.zeros(5)
    values = np.asarray(distortion, dtype=np.float64).ravel()
    if len(values) not in (4, 5, 12, FISHEYE_SIZE) or not np.isfinite(values).all():
        raise VergenceError(
            f"a lens distortion of {_words(values)}",
            "Give four or five finite numbers, OpenCV's k1 k2 p1 p2 [k3], its twelve, or `fisheye_lens`.",
        )
    return np.pad(values, (0, max(5 - len(values), 0)))


def _scale_and_shift(scale: Float[ndarray, " N"], shift: Float[ndarray, "N 2"]) -> Float[ndarray, "N 3 3"]:
    out = np.zeros((len(scale), 3, 3))
    out[:, 0, 0] = out[:, 1, 1] = scale
    out[:, :2, 2], out[:, 2, 2] = shift, 1
    return out


def _look_at(ray: Float[ndarray, "N 3"]) -> Float[ndarray, "N 3 3"]:
    """The rotations that bring rays onto the optical axis and keep the x axis level."""
    z = ray / np.linalg.norm(ray, axis=-1, keepdims=True)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], 1)


def _apply(homography: Float[ndarray, "*N 3 3"], points: Float[ndarray, "*N P 2"]) -> Float[ndarray, "*N P 2"]:
    moved = points @ homography[..., :2].mT + homography[..., None, :, 2]
    return moved[..., :2] / moved[..., 2:]


def _rays(
    points: Float[ndarray, "*N P 2"], intrinsics: Float[ndarray, "*N 3 3"], lens: Float[ndarray, "*N D"]
) -> Float[ndarray, "*N P 3"]:
    distortion = torch.from_numpy(lens) if lens.any() else None
    ideal = normalise(torch.from_numpy(points), torch.from_numpy(intrinsics), distortion).numpy()
    return np.concatenate([ideal, np.ones_like(ideal[..., :1])], axis=-1)


def _forget(planes: Float[ndarray, "2 P"], where: Bool[ndarray, " P"]) -> None:
    if where.any():
        planes[:, where] = np.nan


@lru_cache(maxsize=256)
def _radius_limit(*coefficients: float) -> float:
    """Where the radial function r (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6) turns back, or has no
    value: beyond it the lens model folds. In q = r^2, n + 2 q n' = 2 q n d' / d."""
    lens = np.array(coefficients)
    if len(lens) == FISHEYE_SIZE and lens[-1] > 0:
        return _fisheye_limit(lens[12:16])
    k1, k2, k3 = lens[[0, 1, 4]]
    n, d = np.poly1d([k3, k2, k1, 1.0]), np.poly1d([*lens[[7, 6, 5]], 1.0] if len(lens) > 5 else [1.0])
    q = np.poly1d([1.0, 0.0])
    roots = np.concatenate([((n + 2 * q * n.deriv()) * d - 2 * q * n * d.deriv()).roots, d.roots])
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return math.sqrt(real.min()) if len(real) else math.inf


def _fisheye_limit(k: Float[ndarray, " 4"]) -> float:
    """Where a fisheye lens' angle stops growing, or stands square to the axis: as a distance on the plane z = 1."""
    roots = np.poly1d([9 * k[3], 7 * k[2], 5 * k[1], 3 * k[0], 1.0]).roots
    turns = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    angle = math.sqrt(turns.min()) if len(turns) else math.pi / 2
    return math.tan(angle) if angle < math.pi / 2 else math.inf


def _bend(ideal: Float[ndarray, "2 P"], lens: Float[ndarray, " D"]) -> Float[ndarray, "2 P"]:
    """Ideal to lens-distorted normalised coordinates; NaN where the lens model folds, so that nothing is seen twice."""
    if not lens.any():
        return ideal
    points = ideal.copy()
    with np.errstate(invalid="ignore"):
        _forget(points, ~(points[0] ** 2 + points[1] ** 2 < _radius_limit(*lens.tolist()) ** 2))
    return distort(torch.from_numpy(points.T), torch.from_numpy(lens.astype(points.dtype))).numpy().T
