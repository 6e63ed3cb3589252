"""Calibrations with a file for each camera: ROS's camera_info as `camera_calibration` saves it, and OpenCV's own sample.

    image_width, image_height   camera_name (ROS)   distortion_model (ROS: plumb_bob, rational_polynomial, equidistant)
    camera_matrix (or K, mtx; 3x3)   distortion_coefficients (or dist_coeffs, D, dist)   R and T (or t), where added

The camera is called as the file: ROS's drivers give many cameras one name. Rectification and projection matrices describe
rectified images, which footage is not, and are not used. OpenCV's sample says of a fisheye lens `fisheye_model: 1`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vergence.errors import VergenceError, refusing
from vergence.footage.calibration import checked_camera, rig_of
from vergence.footage.images import natural_key
from vergence.footage.readers import Reader
from vergence.geometry.cameras import Camera, Rig

SUFFIXES = (".yml", ".yaml")
MATRIX = ("camera_matrix", "cameraMatrix", "Camera_Matrix", "K", "mtx")
LENS = ("distortion_coefficients", "Distortion_Coefficients", "dist_coeffs", "distCoeffs", "D", "dist")
MODELS = {"": False, "plumb_bob": False, "rational_polynomial": False, "equidistant": True, "fisheye": True}
MOST_READ = 1_000_000  # characters: a calibration is short
_KNOWN = re.compile(rf"^\s*\"?({'|'.join(MATRIX)})\"?\s*:", re.M)


def read_camera_files(path: Path | str, unit: str | None = None) -> Rig:
    """One camera from each such file of a folder; of a file's folder where one file is named.

    Args:
        path: folder, or one of its files.
        unit: of the translations; None measures.

    Raises:
        VergenceError: not YAML, or a camera that is none.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    cameras = [_camera(file) for file in _files(folder)]
    return rig_of(path, cameras, unit)


def _camera(path: Path) -> Camera:
    text = re.sub(r"^%YAML.*$", "", path.read_text(errors="replace"), count=1, flags=re.M)
    with refusing(f"{path} is not readable YAML", "Write it again.", yaml.YAMLError):
        values = yaml.safe_load(re.sub(r"!!opencv-(nd-)?matrix", "", text))
    where = f"the camera of {path.name}"
    model = str(values.get("distortion_model") or "").strip().lower()
    if model not in MODELS:
        raise VergenceError(
            f"distortion_model of {where} is {model!r}", f"Known are {', '.join(filter(None, MODELS))}."
        )
    fisheye = MODELS[model] or bool(values.get("fisheye_model"))
    size = [values.get("image_width"), values.get("image_height")]
    turn, shift = _first(values, ("R",)), _first(values, ("T", "t"))
    lens = _first(values, LENS)
    return checked_camera(
        path.stem, where, None if None in size else size, _first(values, MATRIX), [] if lens is None else lens, turn, shift,
        fisheye=fisheye, shift_is="T",
    )  # fmt: skip


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these values that is there, a matrix in its shape."""
    value = next((values[name] for name in names if values.get(name) is not None), None)
    if not isinstance(value, Mapping):
        return value
    data = value.get("data")
    try:
        flat = np.asarray(data, dtype=np.float64).ravel()
        return flat.reshape(int(value["rows"]), int(value["cols"])) if "rows" in value else flat
    except (KeyError, TypeError, ValueError, OverflowError):
        return [data]


def _files(folder: Path) -> list[Path]:
    return sorted(filter(_is_camera, folder.iterdir()), key=lambda file: natural_key(file.name))


def _is_camera(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
        return False
    with open(path, errors="replace") as file:
        return _KNOWN.search(file.read(MOST_READ)) is not None


def _fits(path: Path) -> bool:
    return bool(_files(path)) if path.is_dir() else _is_camera(path)


CAMERA_FILES = Reader(_fits, read_camera_files, one_each=True)
