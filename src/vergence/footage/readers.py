"""Which reader a file is for: each is asked whether the path fits, those from outside first.

    @plugins.keypoint_readers.register("my_detector")
    class MyDetector:
        all_cameras = False  # a file is of one camera
        fits = staticmethod(lambda path: path.suffix == ".pose")
        read = staticmethod(read_pose)  # (path, skeleton or None) -> footage.keypoints.Detections

A reader of all cameras' keypoints at once is `(path) -> footage.keypoints.KeypointTable`; a reader of calibrations, registered
with `plugins.calibration_readers`, is `(path, unit or None) -> geometry.cameras.Rig`. A reader raises a `VergenceError`
where a file that fits is broken. Paths decide (contents where formats share
an ending): what a file is must not depend on what else is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vergence.plugins import Registry


@dataclass(frozen=True)
class Reader:
    """A reader; any object or class with these attributes is one.

    Attributes:
        fits: whether a path, which may be missing, looks like what is read.
        read: see the module's text.
        all_cameras: a file is of all cameras of a recording.
        holds: whether a file that fits is one by its contents; asked of calibrations that nobody named.
        one_each: there is a file for each camera, and those of a folder are one calibration.
    """

    fits: Callable[[Path], bool]
    read: Callable[..., Any]
    all_cameras: bool = False
    holds: Callable[[Path], bool] = lambda path: True
    one_each: bool = False


def find_reader(registry: Registry, path: Path, name: str = "", all_cameras: bool = False) -> Reader | None:
    """The reader of that name; without one, the last registered that the path fits; None where there is none.

    Args:
        registry: of readers.
        path: file or folder.
        name: registered name, or empty.
        all_cameras: whether one is wanted that reads all cameras at once.

    Raises:
        VergenceError: no reader has that name.
    """
    if name:
        found: Reader = registry[name]
        return found
    readers = [registry[known] for known in reversed(list(registry))]
    fitting = [r for r in readers if getattr(r, "all_cameras", False) == all_cameras and r.fits(path)]
    return fitting[0] if fitting else None
