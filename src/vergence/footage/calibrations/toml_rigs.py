"""Camera rigs in TOML, in the layouts of anipose, caliscope and Pose2Sim.

    [cam_01]                                # caliscope: [cameras.1]
    name = "cam_01"
    size = [1088.0, 1920.0]
    matrix = [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]
    distortions = [k1, k2, p1, p2, k3]      # OpenCV's order
    rotation = [rx, ry, rz]                 # Rodrigues; a 3x3 matrix is read too
    translation = [tx, ty, tz]              # x_cam = R x + t
    fisheye = false                         # true: distortions are OpenCV's fisheye k1 k2 k3 k4

What people's files do beside that: "null" as a word for what a camera has not got (caliscope), zeros for it (Pose2Sim), no
matrix at all (a camera of caliscope that was never calibrated), and names that were not quoted, so that `[cam.1]` is a table
in a table and `[cam 1]` no TOML. The layouts have no word for the unit of `translation`: Pose2Sim and caliscope write metres,
anipose mostly millimetres; `unit` under `[metadata]` (Vergence writes one) decides where it stands.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vergence.errors import VergenceError
from vergence.files import read_text, read_toml
from vergence.footage.calibration import checked_camera, is_unknown, rig_of
from vergence.footage.readers import Reader
from vergence.geometry.cameras import Camera, Rig

KEYS = ("matrix", "rotation", "translation", "distortions", "cam_id")
NO_CAMERAS = ("metadata", "capture_volume", "charuco", "checkerboard")


def read_rig_toml(path: Path | str, unit: str | None = None) -> Rig:
    """Cameras of an anipose, caliscope or Pose2Sim TOML file, translations in mm.

    Args:
        path: the file.
        unit: of `translation`; None takes what the file says, else measures.

    Raises:
        VergenceError: missing, no cameras in it, or values that are no camera.
    """
    path = Path(path)
    data = _loaded(path)
    tables = dict(_tables(data, ""))
    if not tables:
        raise VergenceError(f"{path} holds no camera", "Each needs a table with `matrix`, `distortions`, `size`.")
    cameras: list[Camera] = []
    lacking: dict[str, list[str]] = {}
    for key, table in tables.items():
        camera, lacks = _read_camera(key, table, path)
        cameras.append(camera)
        for what in lacks:
            lacking.setdefault(what, []).append(camera.name)
    notes = [f"{path.name}: no {what} of camera {', '.join(names)}" for what, names in lacking.items()]
    metadata = data.get("metadata")
    said = metadata.get("unit") if isinstance(metadata, dict) else data.get("unit")
    doubtful = isinstance(metadata, dict) and metadata.get("verdict") == "doubtful"
    rig = rig_of(path, cameras, unit, said, aliases=tuple(tables))
    return replace(rig, notes=(*notes, *rig.notes), doubtful=doubtful)


def _loaded(path: Path) -> dict[str, Any]:
    """The file; with unquoted names in its headers quoted where it is no TOML otherwise."""
    try:
        return read_toml(path)
    except VergenceError as error:
        quoted = re.sub(r"(?m)^\s*\[\s*([^\[\]\"'.=]*\s[^\[\]\"'.=]*?)\s*\]\s*$", r'["\1"]', read_text(path))
        try:
            return tomllib.loads(quoted)
        except tomllib.TOMLDecodeError:
            raise error from None


def _tables(data: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Cameras' tables by name, however deep; a name with a dot that nobody quoted is put together again."""
    for key, value in data.items():
        if not isinstance(value, dict) or (not prefix and key in NO_CAMERAS):
            continue
        if any(name in value and not isinstance(value[name], dict) for name in KEYS):
            yield prefix + key, value
        else:
            yield from _tables(value, "" if not prefix and key == "cameras" else f"{prefix}{key}.")


def _read_camera(key: str, table: dict[str, Any], path: Path) -> tuple[Camera, list[str]]:
    """One camera, and what its table says that it has not got."""
    where = f"camera {key} of {path.name}"
    parts = ("size", "matrix", "distortions", "rotation", "translation")
    known = {name: value for name in parts if not is_unknown(value := table.get(name))}
    if known.get("rotation") == [[0.0] * 3] * 3:
        del known["rotation"]
    lacks = [] if "matrix" in known else ["intrinsics"]
    lacks += [] if {"rotation", "translation"} <= set(known) else ["extrinsics"]
    lacks += ["lens distortion"] if "distortions" in table and "distortions" not in known else []
    name, fisheye = str(table.get("name", key)), table.get("fisheye") is True
    return checked_camera(name, where, *map(known.get, parts), fisheye=fisheye), lacks


def _holds(path: Path) -> bool:
    return "matrix" in path.read_text(encoding="utf-8-sig", errors="replace")


RIG_TOML = Reader(lambda path: path.suffix.lower() == ".toml", read_rig_toml, holds=_holds)
