"""Camera rigs in TOML, in the layout that anipose, caliscope and Pose2Sim share.

    [cam_01]
    name = "cam_01"
    size = [1088.0, 1920.0]
    matrix = [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]
    distortions = [k1, k2, p1, p2, k3]      # 4 or 5 values, OpenCV's order
    rotation = [rx, ry, rz]                 # Rodrigues; a 3x3 matrix is read too
    translation = [tx, ty, tz]              # x_cam = R x + t
    fisheye = false

The layout has no word for the unit of `translation`: Pose2Sim and caliscope write metres, anipose mostly millimetres.
A `unit` under `[metadata]` (Vergence writes one) or given by the caller decides; otherwise the distances between
cameras do: rooms measure a few metres, so a rig more than 100 across is in mm. What was decided is reported.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float

from vergence import plugins
from vergence.errors import VergenceError
from vergence.files import write_text
from vergence.footage.readers import Reader, find_reader
from vergence.geometry.cameras import Camera, Rig

# A rig whose cameras are farther apart than this, in the file's unit, cannot be in metres.
METRES_AT_MOST = 100.0
MM_PER = {"mm": 1.0, "m": 1000.0}


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a mapping; one clear error where it is missing or broken."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VergenceError(f"there is no file {path}", "Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise VergenceError(f"{path} is not readable TOML: {error}", "Mend the line it names.") from error


def read_calibration(path: Path | str, unit: Literal["mm", "m"] | None = None, reader: str = "") -> Rig:
    """Cameras of a calibration file: TOML (`read_rig_toml`), or what a plug-in reads.

    Args:
        path: the file.
        unit: of translations; None takes what the file says.
        reader: the registered name of what reads it; found by the path where empty.

    Raises:
        VergenceError: missing, or not a calibration.
    """
    found = find_reader(plugins.calibration_readers, Path(path), reader) or RIG_TOML
    rig: Rig = found.read(Path(path), unit)
    return rig


def read_rig_toml(path: Path | str, unit: Literal["mm", "m"] | None = None) -> Rig:
    """Cameras of an anipose, caliscope or Pose2Sim TOML file, translations in mm.

    Args:
        path: the file.
        unit: of `translation`; None takes what the file says, else measures.

    Raises:
        VergenceError: missing, no cameras in it, a fisheye camera, or values that are no camera.
    """
    path = Path(path)
    data = load_toml(path)
    nested = data.get("cameras")
    tables = dict(nested) if isinstance(nested, dict) else {k: v for k, v in data.items() if isinstance(v, dict)}
    tables = {key: table for key, table in tables.items() if "matrix" in table}
    if not tables:
        raise VergenceError(f"{path} holds no camera", "Each needs a table with `matrix`, `distortions`, `size`.")
    cameras = [_read_camera(key, table, path) for key, table in tables.items()]
    said = data.get("metadata", {}).get("unit") if isinstance(data.get("metadata"), dict) else None
    factor, notes = _unit_factor(cameras, unit or said, path)
    if factor is None:
        return Rig(tuple(cameras), str(unit or said), notes=notes)
    return Rig(tuple(camera.scaled(factor) for camera in cameras), notes=notes)


def _unit_factor(cameras: Sequence[Camera], unit: str | None, path: Path) -> tuple[float | None, tuple[str, ...]]:
    """Factor to mm (None: the unit is no length, a scale-free rig), and the note."""
    centres = np.array([c.centre for c in cameras])
    if not np.isfinite(centres).all(axis=1).sum() > 1:
        return 1.0, ()
    if unit in MM_PER:
        return MM_PER[unit], ()
    if unit is not None:
        return None, (f"{path.name}: translations are in {unit}, not in mm",)
    spread = float(np.nanmax(np.linalg.norm(centres[:, None] - centres[None], axis=-1)))
    guess = "m" if spread < METRES_AT_MOST else "mm"
    note = f"{path.name}: translations taken as {guess}, as the cameras are up to {spread:.3g} apart in the file's unit"
    return MM_PER[guess], (note,)


def _read_camera(key: str, table: dict[str, Any], path: Path) -> Camera:
    where = f"camera {key} of {path.name}"
    if table.get("fisheye"):
        raise VergenceError(
            f"{where} is a fisheye camera", "Undistort its video first; only OpenCV's k1 k2 p1 p2 k3 are read."
        )
    size = table.get("size")
    rotation, translation = table.get("rotation"), table.get("translation")
    return Camera(
        name=str(table.get("name", key)),
        image_size=None if size is None else check_size(size, where),
        intrinsics=check_intrinsics(table["matrix"], where),
        distortion=check_distortion(table.get("distortions", []), where),
        rotation=None if rotation is None else check_rotation(rotation, where),
        translation=None if translation is None else check_array(translation, (3,), f"translation of {where}"),
    )


def check_array(value: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The value as finite numbers of this shape."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise VergenceError(f"{what} is not an array of numbers: {value!r}", f"Its shape is {shape}.") from None
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
    if (size < 1).any() or (size != np.round(size)).any():
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


def check_distortion(value: Any, where: str) -> Float[np.ndarray, " 5"]:
    """k1 k2 p1 p2 k3; what is not given is 0, and what goes beyond must be 0."""
    given = np.asarray(value, dtype=np.float64).ravel()
    if not np.isfinite(given).all():
        raise VergenceError(f"distortion of {where} holds a value that is not finite", "Leave it out if unknown.")
    if given[5:].any() or len(given) in (1, 3):
        raise VergenceError(
            f"distortion of {where} has {len(given)} values", "It is k1 k2 p1 p2 k3 (4 or 5 values, OpenCV's order)."
        )
    return np.pad(given[:5], (0, max(0, 5 - len(given))))


def check_rotation(value: Any, where: str) -> Float[np.ndarray, "3 3"]:
    """A rotation matrix, from a matrix or a Rodrigues vector; a little off is put right, far off is refused."""
    array = np.asarray(value, dtype=np.float64)
    if array.size == 3:
        vector = check_array(value, (3,), f"rotation of {where}")
        return np.asarray(cv2.Rodrigues(vector)[0], dtype=np.float64)
    matrix = check_array(value, (3, 3), f"rotation of {where}")
    u, _, v = np.linalg.svd(matrix)
    nearest = u @ v
    if np.abs(matrix - nearest).max() > 0.01 or np.linalg.det(nearest) < 0:
        raise VergenceError(
            f"rotation of {where} is no rotation (determinant {np.linalg.det(matrix):.3f})",
            "R is 3x3 and orthonormal, with x_cam = R x + t.",
        )
    return nearest


def toml_key(name: str) -> str:
    """A name as a TOML key, quoted where it must be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def write_rig_toml(path: Path | str, rig: Rig, error_px: float | None = None) -> None:
    """Writes a rig in anipose's layout, atomically; `[metadata]` says the unit of the translations.

    Raises:
        VergenceError: intrinsics or the unit are not known, or the file cannot be written.
    """
    if rig.unit is None:
        raise VergenceError("a rig without a unit cannot be written", "Say what its translations are in: mm, say.")
    lines = []
    for camera in rig:
        lines += [f"[{toml_key(camera.name)}]"]
        lines += [f"name = {json.dumps(camera.name)}"]
        if camera.image_size is not None:
            lines += [f"size = {list(map(float, camera.image_size))}"]
        lines += [f"matrix = {camera.K.tolist()}", f"distortions = {camera.distortion.tolist()}"]
        if camera.has_extrinsics:
            vector = cv2.Rodrigues(camera.R.astype(np.float64))[0].ravel()
            lines += [f"rotation = {vector.tolist()}", f"translation = {camera.t.tolist()}"]
        lines += ["fisheye = false", ""]
    lines += ["[metadata]", "adjusted = false", f"unit = {json.dumps(rig.unit)}"]
    if error_px is not None and np.isfinite(error_px):
        lines += [f"error = {float(error_px)}"]
    write_text(path, "\n".join(lines) + "\n")


RIG_TOML = Reader(lambda path: path.suffix.lower() == ".toml", read_rig_toml)
