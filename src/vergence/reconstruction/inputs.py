"""What a reconstruction is given, checked once: shapes, values, the lens, what is missing.

Everything that can be refused before any geometry is refused here, in a sentence. What passes is in the form that the
geometry works in: pixels from the principal point with the lens undone, and weights that are 0 where nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from vergence.errors import VergenceError
from vergence.footage.keypoint_formats.confidences import much
from vergence.geometry.arrays import normalise
from vergence.geometry.lens import FISHEYE_SIZE
from vergence.reconstruction.bundle import Bundle, FocalMode
from vergence.skeleton import Skeleton

Focal = Literal["auto", "shared", "each"]
Array = np.ndarray

MIN_MOVING_FRAMES = 5  # fewer frames than this are refused unless cameras are known
ASSUMED_FOV_DEG = 50.0
ZOOM_STARTS = (1.0, 0.65, 1.5)  # focal lengths to start from where nothing is known, times that of the assumed view
REPORT_CONFIDENCE = 0.3


@dataclass(frozen=True)
class Joints:
    """Checked input.

    Attributes:
        offset: px from the principal point, the lens undone, NaN = missing.
        weight: confidence over its median, 0 where missing.
        counted: confidence above `REPORT_CONFIDENCE` of what is `much` for its camera: what reprojection errors are
            reported over.
        intrinsics, distortion: as given or assumed.
        focal: V 2, px.
        focal_mode: which focal lengths are to be found.
        auto: whether one or each is for the footage to decide.
        zooms: factors on the focal length to start from.
        names: of the cameras, for sentences.
        image_size: px.
        centred: nobody gave principal points, and they are taken to be in the middle.
    """

    offset: Float[Array, "T V J 2"]
    weight: Float[Array, "T V J"]
    counted: Bool[Array, "T V J"]
    intrinsics: Float[Array, "V 3 3"]
    distortion: Float[Array, "V D"]
    focal: Float[Array, "V 2"]
    focal_mode: FocalMode
    auto: bool
    zooms: tuple[float, ...]
    names: tuple[str, ...]
    image_size: Float[Array, "V 2"]
    centred: bool

    @property
    def room(self) -> Float[Array, "V 2 2"]:
        """The images' first and last px, from the principal points."""
        return np.stack([0 * self.image_size, self.image_size - 1], 1) - self.intrinsics[:, None, :2, 2]

    @property
    def known_focal(self) -> bool:
        return self.focal_mode == "fixed"

    @property
    def observed(self) -> Array:
        return np.ascontiguousarray(self.offset.transpose(1, 3, 0, 2)).reshape(self.offset.shape[1], 2, -1)

    @property
    def flat_weight(self) -> Array:
        return np.ascontiguousarray(self.weight.transpose(1, 0, 2)).reshape(self.weight.shape[1], -1)

    @property
    def image(self) -> Float[Array, "T V J 2"]:
        """Normalised points, NaN = missing."""
        return np.where((self.weight > 0)[..., None], self.offset / self.focal[None, :, None], np.nan)

    @property
    def frame(self) -> Array:
        return np.repeat(np.arange(len(self.offset)), self.offset.shape[2])

    def exchanged(self, order: Array) -> Joints:
        return replace(
            self,
            offset=np.take_along_axis(self.offset, order[..., None], axis=2),
            weight=np.take_along_axis(self.weight, order, axis=2),
            counted=np.take_along_axis(self.counted, order, axis=2),
        )


def camera_names(views: int, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The cameras' own names where they are known, else their numbers."""
    return tuple(names) or tuple(f"camera {v + 1}" for v in range(views))


def known_cameras(rotation: Array | None, translation: Array | None, given: Joints) -> Bundle | None:
    if rotation is None and translation is None:
        return None
    if rotation is None or translation is None:
        raise VergenceError("rotation and translation must be given together", "Give both, or neither.")
    views = given.weight.shape[1]
    rotation, translation = np.asarray(rotation, dtype=float), np.asarray(translation, dtype=float).reshape(-1, 3)
    if rotation.shape != (views, 3, 3) or translation.shape != (views, 3):
        raise VergenceError(f"extrinsics {rotation.shape} and {translation.shape} do not fit {views} cameras")
    if not given.known_focal:
        raise VergenceError("extrinsics are known but intrinsics are not", "Give intrinsics too, or no extrinsics.")
    return Bundle(rotation, translation, given.focal, np.zeros((1, 3)))


def check_joints(
    keypoints: Array,
    confidence: Array | None,
    intrinsics: Array | None,
    distortion: Array | None,
    image_size: Array,
    skeleton: Skeleton,
    fov: float | None,
    fov_fixed: bool,
    focal: Focal,
    min_confidence: float,
    names: Sequence[str] = (),
) -> Joints:
    """Shapes, values and the lens; everything that can be refused before any geometry."""
    keypoints = np.asarray(keypoints, dtype=float)
    if keypoints.ndim != 4 or keypoints.shape[3] != 2 or keypoints.shape[2] != len(skeleton):
        raise VergenceError(
            f"keypoints have shape {keypoints.shape}, not (frames, cameras, {len(skeleton)}, 2)",
            f"Skeleton {skeleton.name} has {len(skeleton)} joints.",
        )
    views = keypoints.shape[1]
    check_views(views)
    if confidence is None:
        confidence = np.ones(keypoints.shape[:3])
    confidence = np.asarray(confidence, dtype=float)
    if confidence.shape != keypoints.shape[:3]:
        raise VergenceError(f"confidence has shape {confidence.shape}, keypoints {keypoints.shape}")
    image_size = np.asarray(image_size, dtype=float)
    if image_size.shape != (views, 2):
        raise VergenceError(f"image_size has shape {image_size.shape}, not ({views}, 2)")
    valid = np.isfinite(keypoints).all(3) & (np.nan_to_num(confidence) > min_confidence)
    if not valid.any():
        raise VergenceError("every keypoint is missing", "Check the detector's output and `min_confidence`.")
    labels = camera_names(views, names)
    if empty := [labels[v] for v in range(views) if not valid[:, v].any()]:
        raise VergenceError(f"{', '.join(empty)} has no keypoints", "Leave it out or detect the person in it.")
    known_focal = intrinsics is not None or (fov is not None and fov_fixed)
    k = _intrinsics(intrinsics, image_size, fov)
    lens = np.zeros((views, 5))
    if distortion is not None:
        distortion = np.asarray(distortion, dtype=float)
        if intrinsics is None:
            raise VergenceError("distortion is given without intrinsics", "Give both, or neither.")
        if distortion.shape not in [(views, size) for size in (4, 5, 12, FISHEYE_SIZE)]:
            raise VergenceError(f"distortion has shape {distortion.shape}, not ({views}, 5)")
        lens = np.pad(distortion, ((0, 0), (0, max(0, 5 - distortion.shape[1]))))
    flat = normalise(np.where(valid[..., None], keypoints, np.nan), k, lens)
    fxy = np.stack([k[:, 0, 0], k[:, 1, 1]], 1)
    offset = flat * fxy[:, None]
    valid &= np.isfinite(offset).all(3)
    one = np.array([much(confidence[:, v][valid[:, v]]) for v in range(views)])[:, None]
    weight = np.where(valid, confidence / max(float(np.median(confidence[valid])), 1e-6), 0.0)
    return Joints(
        offset=offset,
        weight=np.clip(weight, 0.0, 2.0),
        counted=valid & (confidence > REPORT_CONFIDENCE * one),
        intrinsics=k,
        distortion=lens,
        focal=fxy,
        focal_mode="fixed" if known_focal else "shared" if focal == "auto" else focal,
        auto=not known_focal and focal == "auto",
        zooms=(1.0,) if known_focal or fov is not None else ZOOM_STARTS,
        names=labels,
        image_size=image_size,
        centred=intrinsics is None,
    )


def _intrinsics(intrinsics: Array | None, image_size: Array, fov: float | None) -> Array:
    """V 3 3: as given, or from a field of view (degrees along the longer side; 50 where nothing is said)."""
    if intrinsics is None:
        width, height = np.floor(image_size).T
        half = np.tan(np.radians(ASSUMED_FOV_DEG if fov is None else fov) / 2)
        focal, zero = np.maximum(width, height) / (2 * half), np.zeros_like(width)
        rows = [focal, zero, (width - 1) / 2, zero, focal, (height - 1) / 2, zero, zero, zero + 1]
        return np.stack(rows, axis=1).reshape(-1, 3, 3)
    k = np.asarray(intrinsics, dtype=float)
    if k.shape != (len(image_size), 3, 3):
        raise VergenceError(f"intrinsics have shape {k.shape}, not ({len(image_size)}, 3, 3)")
    if not np.isfinite(k).all() or (k[:, 0, 0] <= 0).any() or (k[:, 1, 1] <= 0).any():
        raise VergenceError("intrinsics hold NaN or a focal length that is not positive", "Give fx and fy in pixels.")
    return k


def check_frames(given: Joints) -> None:
    """Enough frames in which two cameras see the person."""
    together = int((((given.weight > 0).any(2)).sum(1) >= 2).sum())
    if together == 0:
        raise VergenceError("no frame shows the person to two cameras", "Check that the videos are synchronised.")
    if together < MIN_MOVING_FRAMES:
        raise VergenceError(
            f"{together} frame{'s' if together > 1 else ''} cannot fix the cameras, {MIN_MOVING_FRAMES} are the least",
            "Give more frames of the moving person, or ask for the per-frame variant.",
        )


def check_views(count: int) -> None:
    """Two cameras at least.

    Raises:
        VergenceError: there are fewer.
    """
    if count < 2:
        raise VergenceError("one camera gives no depth", "Give footage of at least two cameras.")
