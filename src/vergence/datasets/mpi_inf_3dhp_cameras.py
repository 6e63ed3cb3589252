"""Cameras of MPI-INF-3DHP: the studio's calibration files, and the test set's, which are partly to be worked out.

Words are split by blanks: column positions, which other converters go by, are not the same in every file. The test set's
intrinsics are not read from its `.calib` files: what its own 2D and 3D labels have in common is what its images were
labelled with (they agree to a pixel, but for the outdoor camera's lens distortion, which the labels do not have).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.errors import VergenceError, refusing
from vergence.geometry.cameras import Camera


def read_calibration(path: Path | str) -> dict[int, Camera]:
    """A `camera.calibration` by camera number, translations in mm.

    Raises:
        VergenceError: missing, or a camera without size, intrinsics or extrinsics, or with a rotation that is none.
    """
    path = Path(path)
    with refusing(f"{path} cannot be read", "Every S*/Seq* needs it.", OSError):
        text = path.read_text(encoding="utf-8", errors="replace")
    found: dict[int, Camera] = {}
    for block in re.split(r"(?m)^\s*name\s+", text)[1:]:
        name, *lines = block.splitlines()
        fields = {words[0]: words[1:] for line in lines if (words := line.split())}
        with refusing(f"{path}: camera {name.strip()!r} cannot be read", "Download it again.", KeyError, ValueError):
            k, m = (np.array(fields[key], dtype=float).reshape(4, 4) for key in ("intrinsic", "extrinsic"))
            width, height = (int(float(value)) for value in fields["size"])
            number = int(name)
        if np.abs(m[:3, :3] @ m[:3, :3].T - np.eye(3)).max() > 1e-3 or np.linalg.det(m[:3, :3]) < 0:
            raise VergenceError(f"the extrinsics of camera {number} in {path} hold no rotation", "Download it again.")
        found[number] = Camera(str(number), (width, height), k[:3, :3], rotation=m[:3, :3], translation=m[:3, 3])
    if not found:
        raise VergenceError(f"{path} describes no camera", "Download it again: its blocks begin with `name 0`.")
    return found


def fit_intrinsics(
    pose: Float[ndarray, "N J 3"], keypoints: Float[ndarray, "N J 2"], name: str, tolerance: float = 1.0
) -> Float[ndarray, "3 3"]:
    """The pinhole without lens distortion under which poses (mm) fall onto keypoints (px): two lines, by least squares.

    Raises:
        VergenceError: no pinhole brings half of them within `tolerance` px: wrong axes, units or joints.
    """
    k, residuals = np.eye(3), []
    for axis in (0, 1):
        slope = pose[..., axis].ravel() / pose[..., 2].ravel()
        value = keypoints[..., axis].ravel()
        known = np.isfinite(slope) & np.isfinite(value)
        design = np.stack([slope[known], np.ones(known.sum())], 1)
        (k[axis, axis], k[axis, 2]), *_ = np.linalg.lstsq(design, value[known], rcond=None)
        residuals.append(np.abs(design @ [k[axis, axis], k[axis, 2]] - value[known]))
    off = float(np.median(np.concatenate(residuals)))
    if not off <= tolerance or k[0, 0] <= 0 or k[1, 1] <= 0:
        mirrored = off <= tolerance and k[0, 0] * k[1, 1] < 0
        what = "is mirrored against annot2, or has another axis" if mirrored else "does not project onto annot2"
        raise VergenceError(
            f"{name}: annot3 {what} (median {off:.3g} px off under the best pinhole of focal "
            f"lengths {k[0, 0]:.4g} and {k[1, 1]:.4g})",
            "Take the original file.",
        )
    return k


def read_test_turn(base: Path, subject: int) -> tuple[Float[ndarray, "3 3"], Float[ndarray, " 3"]] | None:
    """Rotation and translation (mm) of a test camera, from `test_util/camera_calibration`; None without that file.

    Rows of the rotation are right, down and forward: right, -up, up x right.
    """
    name = "ts1-4cameras.calib" if subject <= 4 else "ts5-6cameras.calib"
    path = base / "test_util" / "camera_calibration" / name
    if not path.exists():
        return None
    fields = {words[0]: words[1:] for line in path.read_text(errors="replace").splitlines() if (words := line.split())}
    with refusing(f"{path} cannot be read", "It needs origin, up and right.", KeyError, ValueError):
        origin, up, right = (np.array(fields[key][:3], dtype=float).reshape(3) for key in ("origin", "up", "right"))
    rotation = np.stack([right, -up, np.cross(up, right)])
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3:
        raise VergenceError(f"up and right in {path} are not at right angles", "Download it again.")
    return rotation, -rotation @ origin
