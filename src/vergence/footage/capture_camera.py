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

from vergence.errors import VergenceError
from vergence.footage import calibration as calib
from vergence.footage.calibrations.sizes import sized
from vergence.footage.resize import ImageFit, fit_sizes
from vergence.footage.video import open_video
from vergence.geometry.cameras import Camera

CAMERA_KEYS = ("video", "frames", "image_size", "intrinsics", "distortion", "fisheye", "keypoints", "R", "t", "offset")


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
        size_stated: whether capture.toml says `image_size`.
        other_size: of the calibration, where it is a rescale of `image_size` and keypoints have not decided yet.
    """

    image_size: tuple[int, int]
    video: Path | None = None
    keypoints: Path | None = None
    offset: float = 0.0
    fit: ImageFit | None = None
    frame_count: int | None = None
    size_stated: bool = False
    other_size: tuple[int, int] | None = None


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
    lens = sized(table, known, shown, name, where, notes)
    size = lens.size
    fit = None if shown is None else fit_sizes(shown, size, f"video {video.name if video else ''} of {where}")
    if fit is not None and fit.kind != "same":
        notes.append(fit.describe(f"video of {name}"))
    rotation, translation = _extrinsics(table, where, known, mm)
    offset = float(calib.check_array(table.get("offset", 0.0), (), f"offset of {where}"))
    camera = CaptureCamera(
        name, size, lens.intrinsics, lens.distortion, rotation, translation, video, keypoints, offset, fit, count,
        size_stated=lens.stated, other_size=lens.other,
    )  # fmt: skip
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


def _extrinsics(
    table: Mapping[str, Any], where: str, known: Camera | None, mm: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if ("R" in table) != ("t" in table):
        raise VergenceError(f"{where} has only one of R and t", "Give both, or neither.")
    if "R" in table:
        return calib.check_rotation(table["R"], where), calib.check_array(table["t"], (3,), f"t of {where}") * mm
    return (None, None) if known is None else (known.rotation, known.translation)
