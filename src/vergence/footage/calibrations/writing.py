"""Rigs as files for other programs, each in the layout that its reader takes.

One file cannot serve all: caliscope wants `[cameras.0]` with whole numbers, which anipose and Pose2Sim would take for a
camera without values. So `rig.toml` is anipose's layout, with our unit under `[metadata]`; `camera_array.toml` is
caliscope's; and `Calib.toml` is Pose2Sim's, in metres and z up. Tables have bare keys, since anipose's parser fails at some
quoted ones; `name` is the camera's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.files import write_text
from vergence.geometry.cameras import Camera, Rig


def write_rig_toml(path: Path | str, rig: Rig, error_px: float | None = None) -> None:
    """Writes a rig in anipose's layout, atomically; `[metadata]` says the unit of the translations, and whether it is doubtful.

    Raises:
        VergenceError: intrinsics or the unit are not known, or the file cannot be written.
    """
    if rig.unit is None:
        raise VergenceError("a rig without a unit cannot be written", "Say what its translations are in: mm, say.")
    lines = []
    for key, camera in zip(_plain_names(rig.names), rig):
        lines += [f"[{key}]", *_values(camera), ""]
    lines += ["[metadata]", "adjusted = false", f"unit = {json.dumps(rig.unit)}"]
    if error_px is not None and np.isfinite(error_px):
        lines += [f"error = {float(error_px)}"]
    write_text(path, "\n".join([*lines, *_verdict(rig), ""]))


def write_caliscope_toml(path: Path | str, rig: Rig, metres_per_unit: float, assumed: str = "") -> None:
    """Writes caliscope's `camera_array.toml`: cameras numbered from 0 in the rig's order, translations in metres.

    Args:
        path: the file.
        rig: its cameras.
        metres_per_unit: of the translations.
        assumed: what the scale rests on where it is not known; stands in the file, which then claims no length.

    Raises:
        VergenceError: intrinsics are not known, or the file cannot be written.
    """
    lines = []
    for number, camera in enumerate(rig):
        lines += [f"[cameras.{number}]", f"cam_id = {number}", *_values(camera.scaled(metres_per_unit), whole=True)]
        lines += ["rotation_count = 0", "ignore = false", ""]
    write_text(path, "\n".join([*lines, "[metadata]", _unit(assumed), *_verdict(rig), ""]))


def write_pose2sim_toml(
    path: Path | str,
    rig: Rig,
    metres_per_unit: float,
    up: Float[np.ndarray, " 3"] | None = None,
    assumed: str = "",
) -> None:
    """Writes Pose2Sim's `Calib.toml`: metres, the world turned so that `up` is its z; `assumed` as above.

    Raises:
        VergenceError: intrinsics are not known, or the file cannot be written.
    """
    turn = np.eye(3) if up is None else _to_z(np.asarray(up, dtype=np.float64))
    lines = []
    for name, camera in zip(_plain_names(rig.names), rig):
        turned = Camera(
            name,
            camera.image_size,
            camera.intrinsics,
            camera.distortion,
            camera.R @ turn.T if camera.has_extrinsics else None,
            camera.translation,
        )
        lines += [f"[{name}]", *_values(turned.scaled(metres_per_unit)), ""]
    lines += ["[metadata]", "adjusted = false", "error = 0.0", _unit(assumed), *_verdict(rig), ""]
    write_text(path, "\n".join(lines))


def _unit(assumed: str) -> str:
    return f"unit = {json.dumps(f'm ({assumed})' if assumed else 'm')}"


def _verdict(rig: Rig) -> list[str]:
    """Read by `toml_rigs`, so that a doubt about cameras goes with them; other programs pass over it."""
    return ['verdict = "doubtful"'] if rig.doubtful else []


def _values(camera: Camera, whole: bool = False) -> list[str]:
    """A camera's lines; a size that is not known is left out."""
    lines = [f"name = {json.dumps(camera.name, ensure_ascii=False)}"]
    if camera.image_size is not None:
        size = list(camera.image_size) if whole else list(map(float, camera.image_size))
        lines += [f"size = {size}"]
    lines += [f"matrix = {camera.K.tolist()}", f"distortions = {camera.coefficients.tolist()}"]
    if camera.has_extrinsics:
        vector = cv2.Rodrigues(camera.R.astype(np.float64))[0].ravel()
        lines += [f"rotation = {vector.tolist()}", f"translation = {camera.t.tolist()}"]
    return [*lines, f"fisheye = {'true' if camera.fisheye else 'false'}"]


def _plain_names(names: Sequence[str]) -> list[str]:
    """Names as bare TOML keys, still different from each other."""
    plain: list[str] = []
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", name) or "cam"
        plain.append(base if base not in plain else f"{base}_{len(plain) + 1}")
    return plain


def _to_z(up: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that brings `up` to z."""
    up = up / np.linalg.norm(up)
    axis = np.cross(up, [0.0, 0.0, 1.0])
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        return np.eye(3) if up[2] > 0 else np.diag([1.0, -1.0, -1.0])
    return np.asarray(cv2.Rodrigues(axis / sine * np.arctan2(sine, up[2]))[0])
