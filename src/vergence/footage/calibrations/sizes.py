"""Whose pixels: the sizes of calibration, video and keypoints, which meet in one camera and must be one size.

A calibration made at full size and footage recorded at half of it is usual, and nothing in a keypoint file says which of the
two it belongs to. So: what capture.toml states holds. Otherwise a video of another size by one factor brings the calibration
to its size, since detectors run on the video at hand; only keypoints that do not fit into the smaller of the two show that
they are of the larger. Where no size is known, the principal point must lie near the middle of the picture, and keypoints must
not keep to a corner of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vergence.errors import VergenceError
from vergence.footage.calibration import check_distortion, check_intrinsics, check_size
from vergence.footage.resize import fit_sizes
from vergence.geometry.cameras import Camera
from vergence.skeleton import Skeleton

if TYPE_CHECKING:
    from vergence.footage.capture_camera import CaptureCamera

# A principal point this far from the middle on both axes alike, as a share of the side, is that of another size.
OFF_CENTRE, ALIKE = 0.08, 0.15
FAR_OFF_CENTRE = 0.15
BEYOND_SHARE = 0.01  # of a camera's points outside the smaller size: they are of the larger
# Keypoints of all cameras within this share of their images' sides, from the top left corner, are of smaller images.
CORNER = 0.6
NO_MORE = 0.55
LEAST_CAMERAS = 2


@dataclass(frozen=True)
class Sized:
    """Intrinsics and lens for images of `size`.

    Attributes:
        stated: capture.toml says the size.
        other: the size that the calibration is for, where that is `size` times a factor and nobody said whose the keypoints
            are.
    """

    size: tuple[int, int]
    intrinsics: np.ndarray | None
    distortion: np.ndarray
    stated: bool = False
    other: tuple[int, int] | None = None


def sized(
    table: Mapping[str, Any],
    known: Camera | None,
    shown: tuple[int, int] | None,
    name: str,
    where: str,
    notes: list[str],
) -> Sized:
    """One camera's size, intrinsics and lens.

    Args:
        table: of capture.toml.
        known: what the calibration says.
        shown: the video's size.
        name, where: the camera, in notes and in errors.

    Raises:
        VergenceError: sizes that are neither a cut nor a rescale of one another, or none at all.
    """
    intrinsics = check_intrinsics(table["intrinsics"], where) if "intrinsics" in table else None
    stated = check_size(table["image_size"], where) if "image_size" in table else None
    distortion = _lens(table, where)
    inline, of, other = intrinsics is not None, stated, None
    if known is not None:
        distortion = known.distortion if distortion is None else distortion
        if intrinsics is None:
            intrinsics, of = known.intrinsics, known.image_size
    size = stated or (of if not inline else None)
    if size is not None and stated is None and shown is not None and shown != size:
        fit = fit_sizes(shown, size, f"video of {where}")
        size, other = (shown, size) if fit.kind == "rescale" else (size, None)
    size = size or shown
    if size is None and intrinsics is not None:
        size = (round(2 * intrinsics[0, 2] + 1), round(2 * intrinsics[1, 2] + 1))
        notes.append(f"{name}: image_size is not given; taken as {size[0]} x {size[1]} from the principal point")
    if size is None:
        raise VergenceError(f"{where} has no image_size", "Give image_size = [width, height], or its video.")
    if intrinsics is not None:
        if of is not None and of != size:
            fit = fit_sizes(of, size, f"calibration of {where}")
            notes.append(fit.describe(f"the calibration of {where}"))
            intrinsics = fit.matrix @ intrinsics
        _check_centre(intrinsics, size, name, where, of is not None, notes)
    return Sized(size, intrinsics, np.zeros(5) if distortion is None else distortion, stated is not None, other)


def _lens(table: Mapping[str, Any], where: str) -> np.ndarray | None:
    fisheye = table.get("fisheye", False)
    if not isinstance(fisheye, bool):
        raise VergenceError(f"fisheye of {where} is {fisheye!r}", "It is true or false.")
    if fisheye and "distortion" not in table:
        raise VergenceError(f"{where} is a fisheye camera without distortion", "Give its k1 k2 k3 k4, zeros included.")
    return check_distortion(table["distortion"], where, fisheye) if "distortion" in table else None


def _check_centre(k: np.ndarray, size: tuple[int, int], name: str, where: str, certain: bool, notes: list[str]) -> None:
    x, y = (k[0, 2] + 0.5) / size[0], (k[1, 2] + 0.5) / size[1]
    if not (0 < x < 1 and 0 < y < 1):
        raise VergenceError(
            f"the principal point of {where} is ({k[0, 2]:g}, {k[1, 2]:g}), outside its image of {size[0]} x {size[1]}",
            "The intrinsics belong to an image of another size, or rows and columns are swapped.",
        )
    off = min(abs(x - 0.5), abs(y - 0.5))
    if not certain and off > OFF_CENTRE and abs(x / y - 1) < ALIKE:
        factor = 0.5 / ((x + y) / 2)
        raise VergenceError(
            f"the intrinsics of {where} are for images of about {2 * k[0, 2]:.0f} x {2 * k[1, 2]:.0f}, twice their principal "
            f"point, but its images are {size[0]} x {size[1]}",
            f"Multiply fx, fy, cx and cy by the ratio of the sizes (about {factor:.2f}); or state image_size, if they are "
            "meant so.",
        )
    if max(abs(x - 0.5), abs(y - 0.5)) > FAR_OFF_CENTRE:
        notes.append(
            f"{name}: the principal point lies at {x:.2f} and {y:.2f} of the image's sides, far from its middle; if the "
            "intrinsics were made at another size, the result is wrong"
        )


def settle(
    cameras: Sequence[CaptureCamera], keypoint_file: Path | None, skeleton: Skeleton | None, notes: list[str]
) -> tuple[CaptureCamera, ...]:
    """The cameras in the size of their keypoints, where calibration and video differ by a factor.

    Raises:
        VergenceError: a stated size that the keypoints of all cameras contradict; keypoints that cannot be read.
    """
    open_ = [i for i, camera in enumerate(cameras) if camera.other_size is not None]
    told = [i for i, c in enumerate(cameras) if c.size_stated and c.fit is not None and c.fit.kind == "rescale"]
    if not open_ and not told:
        return tuple(cameras)
    reach = _reaches(cameras, keypoint_file, skeleton)
    _check_told(cameras, told, reach)
    larger = False
    for i in open_:
        camera, other = cameras[i], cameras[i].other_size
        assert other is not None
        small = min(camera.image_size, other)
        points, size = reach[i]
        outside = (points > np.array(small) * 1.01).any(1).mean() if len(points) else 0.0
        larger |= (size == max(camera.image_size, other)) if size else bool(outside > BEYOND_SHARE)
    out = list(cameras)
    for i in open_:
        camera, other = cameras[i], cameras[i].other_size
        assert other is not None
        if len(reach[i][0]) and larger != (camera.image_size > other):
            back = fit_sizes(camera.image_size, other, f"calibration of {camera.name}")
            k = None if camera.intrinsics is None else back.matrix @ camera.intrinsics
            fit = None if camera.fit is None else fit_sizes(camera.fit.source, other, f"video of {camera.name}")
            camera = replace(camera, image_size=other, intrinsics=k, fit=fit)
        notes.append(
            f"{camera.name}: keypoints are taken as those of images of {camera.image_size[0]} x {camera.image_size[1]}"
        )
        out[i] = replace(camera, other_size=None)
    return tuple(out)


def _reaches(
    cameras: Sequence[CaptureCamera], keypoint_file: Path | None, skeleton: Skeleton | None
) -> list[tuple[np.ndarray, tuple[int, int] | None]]:
    """Of each camera its keypoints N 2 (none where it has none), and the size that their file says."""
    from vergence.footage.keypoints import read_keypoint_table, read_keypoints

    none = np.zeros((0, 2))
    if keypoint_file is not None:
        table = read_keypoint_table(keypoint_file).keypoints
        own = [table[:, v, :, :2].reshape(-1, 2) if v < table.shape[1] else none for v in range(len(cameras))]
        return [(points[np.isfinite(points).all(1)], None) for points in own]
    found: list[tuple[np.ndarray, tuple[int, int] | None]] = []
    for camera in cameras:
        if camera.keypoints is None:
            found.append((none, None))
            continue
        detections = read_keypoints(camera.keypoints, skeleton)
        people = [np.asarray(p)[..., :2].reshape(-1, 2) for frame in detections.people.values() for p in frame]
        points = np.concatenate([none, *people])
        found.append((points[np.isfinite(points).all(1)], detections.image_size))
    return found


def _check_told(
    cameras: Sequence[CaptureCamera], told: Sequence[int], reach: Sequence[tuple[np.ndarray, tuple[int, int] | None]]
) -> None:
    """A stated size is of the keypoints too; those that all keep to the corner of it that the video's size takes are not."""
    suspects = []
    for i in told:
        camera, (points, size) = cameras[i], reach[i]
        assert camera.fit is not None
        video = camera.fit.source
        if size is None and len(points) and video[0] <= CORNER * camera.image_size[0]:
            suspects.append(bool(((points > np.array(video) * 1.01).any(1)).mean() <= BEYOND_SHARE))
    if len(suspects) >= LEAST_CAMERAS and len(suspects) == len(told) and all(suspects):
        camera = cameras[told[0]]
        assert camera.fit is not None
        raise VergenceError(
            f"image_size is {camera.image_size[0]} x {camera.image_size[1]}, but the keypoints of all cameras lie within "
            f"{camera.fit.source[0]} x {camera.fit.source[1]}, the size of the videos",
            "image_size and intrinsics are of the keypoints: bring both to the videos' size.",
        )


def check_corner(cameras: Sequence[CaptureCamera], tracks: Sequence[Sequence[np.ndarray]]) -> str:
    """Keypoints of all cameras in the upper left of their images: they may be of smaller ones.

    Returns:
        That as a sentence, where somebody stated the size; empty where nothing speaks for it.

    Raises:
        VergenceError: that, where only the calibration says the size.
    """
    shares = []
    for camera, own in zip(cameras, tracks):
        if camera.video is not None or not own or camera.image_size is None:
            continue
        points = np.concatenate([track[..., :2].reshape(-1, 2) for track in own])
        points = points[np.isfinite(points).all(1)]
        shares.append(np.percentile(points, 99, axis=0) / np.array(camera.image_size))
    if len(shares) >= LEAST_CAMERAS and len(shares) == len(cameras) and np.max(shares) < NO_MORE:
        size = cameras[0].image_size
        where = (
            f"the keypoints of all cameras lie within {np.max(shares):.0%} of their images' sides, from the top left"
        )
        if any(camera.size_stated for camera in cameras):
            return f"{where}: are they of images smaller than {size[0]} x {size[1]}?"
        raise VergenceError(
            f"{where}; the calibration is for {size[0]} x {size[1]}",
            "State image_size = [width, height] of the images that the keypoints are of.",
        )
    return ""
