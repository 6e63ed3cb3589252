"""Moved to `vergence.reconstruction`; this old name of it is read with one warning."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

_NAMES = {"reconstruct": "reconstruct_keypoints", "Reconstruction": "Solution"}


def __getattr__(name: str) -> Any:
    if name == "stature":
        return import_module("vergence.geometry.body").stature
    moved = import_module("vergence.reconstruction.solve")  # by its name: nothing here may depend on a room above
    found = getattr(moved, _NAMES.get(name, name))
    warnings.warn(
        f"vergence.geometry.reconstruction.{name} is now vergence.reconstruction.{_NAMES.get(name, name)}",
        FutureWarning,
        stacklevel=2,
    )
    return found
