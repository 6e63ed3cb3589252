"""What the tables of a capture.toml may hold; a key that is not known is an error, with the nearest one that is.

Types alone: which numbers are a camera is said where they are used (`footage.calibration`).
"""

from __future__ import annotations

import difflib
from typing import Any

import msgspec
from msgspec import Struct

from vergence.errors import VergenceError, refusing

Numbers = list[float | list[float]]


class CaptureFile(Struct):
    """The whole file."""

    capture: dict[str, Any] = {}
    cameras: dict[str, Any] = {}


class CaptureTable(Struct):
    """[capture]"""

    fps: float | None = None
    unit: str | None = None
    keypoints: str | None = None
    calibration: str | None = None
    skeleton: str | None = None
    up: Numbers | None = None
    synchronised: bool = False


class CameraTable(Struct):
    """[cameras.NAME]"""

    video: str | None = None
    frames: str | None = None
    image_size: Numbers | None = None
    intrinsics: Numbers | None = None
    distortion: Numbers | None = None
    fisheye: bool = False
    keypoints: str | None = None
    R: Numbers | None = None
    t: Numbers | None = None
    offset: Numbers | float = 0.0
    drift: float = 0.0
    fps: float | None = None


def held(value: Any, kind: type[Struct], where: str) -> dict[str, Any]:
    """The table, as it was given, whose keys and types are those of `kind`.

    Raises:
        VergenceError: no table, a key that is not known, or a value of another type.
    """
    if not isinstance(value, dict):
        raise VergenceError(f"{where} is not a table but {value!r}", "Write it as [capture], [cameras.NAME].")
    keys = kind.__struct_fields__
    for key in value:
        if key not in keys:
            lower = {k.lower(): k for k in keys}
            near = difflib.get_close_matches(str(key).lower(), lower, n=1, cutoff=0.0)
            raise VergenceError(
                f"{where} has an unknown key {key!r}", f"Did you mean {lower[near[0]]!r}? Known: {', '.join(keys)}."
            )
    with refusing(where, "docs/footage.md shows a capture.toml with every key.", msgspec.ValidationError):
        msgspec.convert(value, kind)
    return value
