"""Calibrations in OpenCV's FileStorage: EasyMocap's two files, and what `stereoCalibrate` is usually saved as.

    intri.yml   names: [ "1", "2" ]   K_1 (3x3)   dist_1 (1x5)   H_1, W_1 (newer versions)
    extri.yml   names                 R_1 (Rodrigues), Rot_1 (3x3)   T_1 (3x1)        x_cam = R x + T

    stereo.yml  K1 or M1 or cameraMatrix1 ..., D1 or distCoeffs1 ..., the same with 2, R and T with x_2 = R x_1 + T, image_size

FileStorage's YAML starts with `%YAML:1.0`, which no YAML parser takes, so OpenCV reads it. Neither has a word for the unit of
translations (EasyMocap's tools write metres), so it is measured. `R1 R2 P1 P2 Q` of `stereoRectify` describe rectified
images, which footage is not, and are not used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vergence.errors import VergenceError
from vergence.footage.calibration import checked_camera, rig_of
from vergence.footage.readers import Reader
from vergence.geometry.cameras import Camera, Rig

SUFFIXES = (".yml", ".yaml", ".xml")
MATRIX = ("K{}", "M{}", "cameraMatrix{}", "camera_matrix_{}", "CameraMatrix{}", "camera_matrix{}", "K_{}", "mtx{}")
LENS = ("D{}", "distCoeffs{}", "dist_coeffs_{}", "DistCoeffs{}", "distortion{}", "dist_coeffs{}", "D_{}", "dist{}")
SIZE = ("image_size", "imageSize", "img_size", "ImageSize", "size", "image_Size")
_PAIRS = (("intri", "extri"), ("intrinsics", "extrinsics"), ("intrinsic", "extrinsic"))
SISTERS = {**dict(_PAIRS), **{extrinsics: intrinsics for intrinsics, extrinsics in _PAIRS}}


def read_opencv_yaml(path: Path | str, unit: str | None = None) -> Rig:
    """Cameras of EasyMocap's files (either of the two, or their folder) or of a stereo calibration.

    Args:
        path: file or folder; a file of intrinsics alone is completed by its sister (`extri.yml`) where it lies beside it.
        unit: of the translations; None measures.

    Raises:
        VergenceError: missing, not FileStorage, or no cameras in it.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "intri.yml"
    values = _nodes(path)
    if (other := SISTERS.get(path.stem.lower())) is not None:
        for sister in path.parent.iterdir():
            if sister.stem.lower() == other and sister.suffix == path.suffix:
                values = {**_nodes(sister), **values}
    names = values.get("names")
    found = _easymocap(values, [str(n) for n in names], path) if isinstance(names, list) else _stereo(values, path)
    if not found:
        raise VergenceError(
            f"{path} holds no camera",
            "EasyMocap's files have `names` and K_NAME; a stereo calibration has K1, D1, K2, D2, R and T.",
        )
    return rig_of(path, found, unit)


def _nodes(path: Path) -> dict[str, Any]:
    """The file's top level: matrices as arrays, lists, numbers and words."""
    if not path.is_file():
        raise VergenceError(f"there is no file {path}", "Check the path.")
    try:
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
        root = storage.root()
        return {key: _value(root.getNode(key)) for key in root.keys()}  # noqa: SIM118
    except (cv2.error, SystemError, UnicodeDecodeError) as error:
        raise VergenceError(
            f"{path} is no file of OpenCV's FileStorage: {str(error).strip().splitlines()[-1]}", "Write it again."
        ) from error


def _value(node: Any) -> Any:
    if node.isMap():
        keys = node.keys()
        if "data" in keys and "rows" in keys:
            return _matrix(*(_value(node.getNode(key)) for key in ("rows", "cols", "data")))
        if "data" in keys and "sizes" in keys:  # OpenCV 5 writes vectors so
            return _matrix(-1, 1, _value(node.getNode("data")))
        return {key: _value(node.getNode(key)) for key in keys}
    if node.isSeq():
        return [_value(node.at(i)) for i in range(node.size())]
    if node.isString():
        return node.string()
    return node.real() if node.isReal() or node.isInt() else None


def _matrix(rows: Any, cols: Any, data: Any) -> list[Any] | np.ndarray:
    """A matrix whose numbers are as many as it says; else its bare numbers, which no shape fits. (OpenCV's own reading of
    such a matrix writes beyond its memory.)"""
    try:
        values = np.asarray(data, dtype=np.float64).ravel()
        return values.reshape(int(rows), int(cols))
    except (TypeError, ValueError, OverflowError):
        return [data]


def _easymocap(values: Mapping[str, Any], names: list[str], path: Path) -> list[Camera]:
    cameras = []
    for number, name in enumerate(names, start=1):
        where = f"camera {name} of {path.name}"
        # Pose2Sim's converter lists real names but counts the matrices from 1.
        key = name if f"K_{name}" in values or f"R_{name}" in values else str(number)
        matrix, lens = values.get(f"K_{key}"), values.get(f"dist_{key}", values.get(f"D_{key}"))
        turn, shift = values.get(f"Rot_{key}", values.get(f"R_{key}")), values.get(f"T_{key}")
        size = [float(values.get(f"{side}_{key}") or 0) for side in "WH"]
        known = size if min(size) > 0 else None
        cameras.append(checked_camera(name, where, known, matrix, lens, turn, shift, shift_is="T"))
    return cameras


def _stereo(values: Mapping[str, Any], path: Path) -> list[Camera]:
    size = next((values[key] for key in SIZE if values.get(key) is not None), None)
    if size is None and {"image_width", "image_height"} <= set(values):
        size = [values["image_width"], values["image_height"]]
    fisheye = str(values.get("model", values.get("camera_model", ""))).lower() == "fisheye"
    first = (np.eye(3), np.zeros(3)) if values.get("R") is not None and values.get("T") is not None else (None, None)
    cameras: list[Camera] = []
    for number, pose in enumerate((first, (values.get("R"), values.get("T"))), start=1):
        where = f"camera {number} of {path.name}"
        matrix = next((values[k.format(number)] for k in MATRIX if values.get(k.format(number)) is not None), None)
        lens: Any = next((values[k.format(number)] for k in LENS if values.get(k.format(number)) is not None), [])
        if matrix is None:
            return []
        cameras.append(checked_camera(str(number), where, size, matrix, lens, *pose, fisheye=fisheye, shift_is="T"))
    return cameras


def _fits(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or (path / "intri.yml").is_file()


def _holds(path: Path) -> bool:
    """Whether the intrinsics stand in it; the file with extrinsics alone is found through its sister."""
    if path.is_dir():
        return True
    text = path.read_text(errors="replace")
    head = text.lstrip("\ufeff")[:200]
    known = re.search(
        r"^\s*\"?(K_?\w+|M1|cameraMatrix1|camera_matrix_?1|mtx1)\"?\s*:|<(K1|M1|cameraMatrix1|K_\w+)", text, re.M
    )
    return ("%YAML" in head or "opencv_storage" in head) and known is not None


OPENCV_YAML = Reader(_fits, read_opencv_yaml, holds=_holds)
