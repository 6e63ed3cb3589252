"""Calibrations: reading a file of any family into one `Rig`, and what its values must be.

A reader (`footage.calibrations`, or a plug-in) says what stands in a file: cameras as they are called there, their
extrinsics where they have any, and the unit where the format has one. `rig_of` decides the rest in one place, because each
of these was a silent error in some family: zeros that mean "not calibrated" are no extrinsics; a unit that nobody wrote is
measured (rooms measure a few metres, so a rig more than 100 across is in mm) and the guess is reported; a unit that is no
length leaves a rig free of scale, which is a rig nevertheless.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from vergence import plugins
from vergence.errors import VergenceError
from vergence.footage.readers import find_reader
from vergence.geometry.cameras import Camera, Rig

# A rig whose cameras are farther apart than this, in the file's unit, cannot be in metres.
METRES_AT_MOST = 100.0
MM_PER = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "in": 25.4, "ft": 304.8}
UNIT_WORDS = {
    **dict.fromkeys(("millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("centimeter", "centimeters", "centimetre", "centimetres"), "cm"),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("inch", "inches"), "in"),
    **dict.fromkeys(("foot", "feet"), "ft"),
}
UNKNOWN = ("", "null", "none", "nan")
COEFFICIENTS = (0, 2, 4, 5, 8, 12, 14)  # OpenCV's models; two are k1 k2


def read_calibration(path: Path | str, unit: str | None = None, reader: str = "") -> Rig:
    """Cameras of a calibration in any of the registered formats (`plugins.calibration_readers`).

    Args:
        path: the file; for formats of several files one of them, or their folder.
        unit: of translations, one of `MM_PER`; None takes what the file says, else measures.
        reader: the registered name of what reads it; found by the path where empty, TOML where nothing fits.

    Raises:
        VergenceError: missing, of no known format, or not a calibration.
    """
    found = find_reader(plugins.calibration_readers, Path(path), reader)
    if found is None and Path(path).is_dir():
        raise VergenceError(
            f"{path} holds no calibration that is known here",
            f"Known: {', '.join(plugins.calibration_readers)}; docs/footage.md lists their files.",
        )
    if found is None and Path(path).suffix.lower() == ".json":
        raise VergenceError(
            f"{path} is of no calibration format that is known here",
            "Write its numbers into capture.toml (intrinsics, distortion, R, t), or give a format that docs/footage.md lists.",
        )
    found = found or plugins.calibration_readers["toml"]
    rig: Rig = found.read(Path(path), unit)
    return rig


def rig_of(
    path: Path, cameras: Sequence[Camera], unit: str | None, said: Any = None, aliases: Sequence[str] = ()
) -> Rig:
    """A file's cameras as a rig: in mm where the unit is a length, and with extrinsics only where they are any.

    Args:
        path: named in notes.
        cameras: as they stand in the file.
        unit: that the user gives; goes before what the file says.
        said: the file's or the format's own unit; None where it has none.
        aliases: what else the file calls each camera.
    """
    if len({camera.name for camera in cameras}) < len(cameras):
        listed = ", ".join(camera.name for camera in cameras)
        raise VergenceError(f"{path.name} has two cameras of one name: {listed}", "Give each its own name.")
    cameras, notes = _without_placeholders(cameras, path.name)
    word = unit or (str(said).strip() if said is not None else "")
    word = UNIT_WORDS.get(word.lower(), word.lower() if word.lower() in MM_PER else word)
    factor = MM_PER.get(word)
    centres = np.array([camera.centre for camera in cameras])
    if np.isfinite(centres).all(axis=1).sum() < 2:
        factor = factor or 1.0  # nothing stands anywhere else, so nothing has a length
    elif not word:
        spread = float(np.nanmax(np.linalg.norm(centres[:, None] - centres[None], axis=-1)))
        guess = "m" if spread < METRES_AT_MOST else "mm"
        factor = MM_PER[guess]
        notes.append(
            f"{path.name}: translations taken as {guess}, as the cameras are up to {spread:.3g} apart in the file's unit"
        )
    elif factor is None:
        notes.append(f"{path.name}: translations are in {word}, not in mm: the rig is free of scale")
        return Rig(tuple(cameras), word, notes=tuple(notes), aliases=tuple(aliases))
    return Rig(tuple(camera.scaled(factor) for camera in cameras), "mm", notes=tuple(notes), aliases=tuple(aliases))


def _without_placeholders(cameras: Sequence[Camera], name: str) -> tuple[list[Camera], list[str]]:
    """Cameras of which several have one and the same pose have none: files of intrinsics alone write zeros."""
    poses: dict[bytes, list[int]] = {}
    for index, camera in enumerate(cameras):
        if camera.has_extrinsics:
            key = np.round(np.concatenate([camera.R.ravel(), camera.t]), 9) + 0.0
            poses.setdefault(key.tobytes(), []).append(index)
    equal = {index for group in poses.values() if len(group) > 1 for index in group}
    notes = []
    if equal:
        listed = ", ".join(cameras[index].name for index in sorted(equal))
        notes.append(f"{name}: cameras {listed} have one and the same pose, so their extrinsics are taken as not known")
    return [c.without_extrinsics() if i in equal else c for i, c in enumerate(cameras)], notes


def is_unknown(value: Any) -> bool:
    """Whether a file's value says that there is none: null as a word, nothing, or NaN throughout."""
    if value is None or (isinstance(value, str) and value.strip().lower() in UNKNOWN):
        return True
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return False
    return array.size == 0 or bool(np.isnan(array).all())


def numbers(value: Any, what: str, remedy: str) -> np.ndarray:
    """The value as an array of numbers; one error for words, ragged lists, dates and numbers beyond a float."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        shown = repr(value)
        shown = shown if len(shown) < 120 else shown[:117] + "..."
        raise VergenceError(f"{what} is not an array of numbers: {shown}", remedy) from None


def check_array(value: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The value as finite numbers of this shape."""
    array = numbers(value, what, f"Its shape is {shape}.")
    if array.size == int(np.prod(shape)) and array.ndim == 2 and 1 in array.shape:
        array = array.reshape(shape)
    if array.shape != shape:
        raise VergenceError(f"{what} has shape {array.shape}", f"Its shape is {shape}.")
    if not np.isfinite(array).all():
        raise VergenceError(f"{what} holds a value that is not finite: {array.tolist()}", "Leave it out if unknown.")
    return array


def check_size(value: Any, where: str) -> tuple[int, int]:
    """(width, height), whole and above 0."""
    size = check_array(value, (2,), f"image size of {where}")
    if (size < 1).any() or (size != np.round(size)).any() or (size > 1e6).any():
        raise VergenceError(f"image size of {where} is {size.tolist()}", "It is [width, height] in whole pixels.")
    return int(size[0]), int(size[1])


def check_intrinsics(value: Any, where: str) -> Float[np.ndarray, "3 3"]:
    """K with focal lengths in pixels."""
    matrix = check_array(value, (3, 3), f"intrinsics of {where}")
    if not np.allclose(matrix[2], [0, 0, 1]) or abs(matrix[1, 0]) > 1e-6:
        raise VergenceError(
            f"intrinsics of {where} are {matrix.tolist()}", "They are [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]."
        )
    if min(matrix[0, 0], matrix[1, 1]) < 10:
        raise VergenceError(
            f"focal lengths of {where} are {matrix[0, 0]:g} and {matrix[1, 1]:g}, too short for pixels",
            "Intrinsics are in pixels; multiply normalised ones by the image's width.",
        )
    return matrix


def check_distortion(value: Any, where: str, fisheye: bool = False) -> Float[np.ndarray, " D"]:
    """A lens as `geometry.camera` takes it, from OpenCV's 4, 5, 8, 12 or 14 values, or the 4 of a fisheye lens."""
    words = "It is k1 k2 p1 p2 k3 (4 or 5 values, OpenCV's order)."
    given = numbers(value, f"distortion of {where}", words).ravel()
    if not np.isfinite(given).all():
        raise VergenceError(f"distortion of {where} holds a value that is not finite", "Leave it out if unknown.")
    if fisheye:
        if given[4:].any():
            raise VergenceError(
                f"distortion of the fisheye camera {where} has {len(given)} values",
                "OpenCV's fisheye model has k1 k2 k3 k4; set fisheye = false if this is k1 k2 p1 p2 k3.",
            )
        return np.concatenate([np.zeros(12), np.pad(given[:4], (0, max(0, 4 - len(given)))), [1.0]])
    if len(given) not in COEFFICIENTS and (given[5:].any() or len(given) < 5):
        raise VergenceError(f"distortion of {where} has {len(given)} values", words)
    if given[12:].any():
        raise VergenceError(f"distortion of {where} has a tilted sensor", "Twelve of OpenCV's coefficients are known.")
    given = given[:12] if given[5:].any() else given[:5]
    return np.pad(given, (0, (12 if len(given) > 5 else 5) - len(given)))


def check_rotation(value: Any, where: str) -> Float[np.ndarray, "3 3"]:
    """A rotation matrix, from a matrix or a Rodrigues vector; a little off is put right, far off is refused."""
    array = numbers(value, f"rotation of {where}", "R is 3x3 and orthonormal, or a Rodrigues vector.")
    if array.size == 3:
        vector = check_array(array.ravel(), (3,), f"rotation of {where}")
        return np.asarray(cv2.Rodrigues(vector)[0], dtype=np.float64)
    matrix = check_array(array, (3, 3), f"rotation of {where}")
    u, _, v = np.linalg.svd(matrix)
    nearest = u @ v
    if np.abs(matrix - nearest).max() > 0.01 or np.linalg.det(nearest) < 0:
        raise VergenceError(
            f"rotation of {where} is no rotation (determinant {np.linalg.det(matrix):.3f})",
            "R is 3x3 and orthonormal, with x_cam = R x + t.",
        )
    return nearest


def checked_camera(
    name: str, where: str, size: Any, matrix: Any, lens: Any, turn: Any, shift: Any, *, fisheye: bool = False,
    shift_is: str = "translation",
) -> Camera:  # fmt: skip
    """A camera of what a file says, None where it says nothing; with extrinsics where it says both parts of them."""
    posed = turn is not None and shift is not None
    return Camera(
        name,
        None if size is None else check_size(size, where),
        None if matrix is None else check_intrinsics(matrix, where),
        check_distortion([] if lens is None else lens, where, fisheye),
        check_rotation(turn, where) if posed else None,
        check_array(shift, (3,), f"{shift_is} of {where}") if posed else None,
    )
