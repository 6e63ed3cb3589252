"""One camera of a capture, and how its table of a `capture.toml` is read and checked.

What the table says goes before what the calibration file says of that camera, and a video is opened once, for its size,
its rate and its number of frames. Whatever was taken for granted is a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage import calibration as calib
from vergence.footage.resize import ImageFit, fit_sizes
from vergence.footage.video import open_video
from vergence.geometry.cameras import Camera

CAMERA_KEYS = ("video", "frames", "image_size", "intrinsics", "distortion", "keypoints", "R", "t", "offset")


@dataclass(frozen=True, eq=False)
class CaptureCamera(Camera):
    """One camera of a capture; its translation is in mm.

    Attributes:
        image_size: (width, height) of the images that intrinsics and keypoints belong to.
        video: file, or folder of images; None where there are only keypoints.
        keypoints: OpenPose folder or COCO JSON; None where the capture has an NPZ, or none.
        offset: frame i of the capture is frame i + offset of this camera.
        fit: how the video's images come to `image_size`; None without a video.
        frame_count: frames of the video, None without one.
    """

    image_size: tuple[int, int]
    video: Path | None = None
    keypoints: Path | None = None
    offset: float = 0.0
    fit: ImageFit | None = None
    frame_count: int | None = None


def existing_path(value: Any, folder: Path, what: str) -> Path:
    """A path that a capture.toml names, which must be there."""
    if not isinstance(value, str) or not value:
        raise VergenceError(f"{what} is {value!r}", "It is a path, relative to capture.toml.")
    path = folder / value
    if not path.exists():
        raise VergenceError(f"{what}: there is no {path}", "Check the path; it is relative to capture.toml.")
    return path


def read_camera(
    name: str,
    table: Mapping[str, Any],
    folder: Path,
    where: str,
    known: Camera | None,
    mm: float,
    notes: list[str],
) -> tuple[CaptureCamera, float | None]:
    """One camera and its video's frame rate; `known` is what the calibration file says."""
    if "video" in table and "frames" in table:
        raise VergenceError(f"{where} has both video and frames", "Give one of the two.")
    source = table.get("video", table.get("frames"))
    video = None if source is None else existing_path(source, folder, f"video of {where}")
    keypoints = existing_path(table["keypoints"], folder, f"keypoints of {where}") if "keypoints" in table else None
    shown, count, rate = _probe(video, notes)
    intrinsics = calib.check_intrinsics(table["intrinsics"], where) if "intrinsics" in table else None
    distortion = calib.check_distortion(table["distortion"], where) if "distortion" in table else None
    size = calib.check_size(table["image_size"], where) if "image_size" in table else None
    if known is not None:
        intrinsics = _calibrated_intrinsics(known, size, where, notes) if intrinsics is None else intrinsics
        distortion = known.distortion if distortion is None else distortion
        size = size or known.image_size
    if size is None and shown is None and intrinsics is not None:
        size = (round(2 * intrinsics[0, 2] + 1), round(2 * intrinsics[1, 2] + 1))
        notes.append(f"{name}: image_size is not given; taken as {size[0]} x {size[1]} from the principal point")
    size = size or shown
    if size is None:
        raise VergenceError(f"{where} has no image_size", "Give image_size = [width, height], or its video.")
    if intrinsics is not None:
        _check_principal_point(intrinsics, size, where)
    fit = None if shown is None else fit_sizes(shown, size, f"video {video.name if video else ''} of {where}")
    if fit is not None and fit.kind != "same":
        notes.append(fit.describe(f"video of {name}"))
    rotation, translation = _extrinsics(table, where, known, mm)
    offset = float(calib.check_array(table.get("offset", 0.0), (), f"offset of {where}"))
    distortion = np.zeros(5) if distortion is None else distortion
    camera = CaptureCamera(
        name, size, intrinsics, distortion, rotation, translation, video, keypoints, offset, fit, count
    )
    return camera, rate


def _probe(video: Path | None, notes: list[str]) -> tuple[tuple[int, int] | None, int | None, float | None]:
    """Size as displayed, number of frames, and frame rate of a video."""
    if video is None:
        return None, None, None
    with open_video(video) as opened:
        count = len(opened)
        notes += opened.notes
        if abs(opened.pixel_aspect - 1) > 1e-3:
            notes.append(
                f"{video.name}: pixels are {opened.pixel_aspect:.3f} times as wide as high; images are not stretched"
            )
        return opened.size, count, opened.fps


def _calibrated_intrinsics(
    known: Camera, size: tuple[int, int] | None, where: str, notes: list[str]
) -> Float[np.ndarray, "3 3"]:
    if size is None or known.image_size is None or size == known.image_size:
        return known.K
    fit = fit_sizes(known.image_size, size, f"calibration of {where}")
    notes.append(fit.describe(f"the calibration of {where}"))
    return fit.matrix @ known.K


def _check_principal_point(intrinsics: np.ndarray, size: tuple[int, int], where: str) -> None:
    x, y = intrinsics[0, 2] / size[0], intrinsics[1, 2] / size[1]
    if not (0 < x < 1 and 0 < y < 1):
        raise VergenceError(
            f"the principal point of {where} is ({intrinsics[0, 2]:g}, {intrinsics[1, 2]:g}), outside its image of "
            f"{size[0]} x {size[1]}",
            "The intrinsics belong to an image of another size, or rows and columns are swapped.",
        )


def _extrinsics(
    table: Mapping[str, Any], where: str, known: Camera | None, mm: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if ("R" in table) != ("t" in table):
        raise VergenceError(f"{where} has only one of R and t", "Give both, or neither.")
    if "R" in table:
        return calib.check_rotation(table["R"], where), calib.check_array(table["t"], (3,), f"t of {where}") * mm
    return (None, None) if known is None else (known.rotation, known.translation)
