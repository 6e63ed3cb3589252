"""Vergence: from uncalibrated multi-camera footage to a single-camera 3D human pose estimator.

estimator = vergence.load("runs/x")
prediction = estimator(image, intrinsics)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vergence.version import __version__

if TYPE_CHECKING:
    from vergence.inference.estimator import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `vergence --help` must not wait for it.
    if name == "load":
        return importlib.import_module("vergence.inference.estimator").load
    if name == "metrics":
        return importlib.import_module("vergence.metrics")
    raise AttributeError(f"module 'vergence' has no attribute {name!r}")
