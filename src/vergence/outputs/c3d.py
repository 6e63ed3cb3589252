"""C3D, the marker file of motion labs, through ezc3d: millimetres, z up, gaps as residual -1.

ezc3d leaves POINT:UNITS empty by default, and kineticstoolkit and pyomeca then fail; it is set here. The format counts
frames in 16 bits.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from vergence.errors import VergenceError
from vergence.files import atomic_path
from vergence.outputs.markers import Markers, named_markers
from vergence.outputs.sequence import PoseSequence
from vergence.outputs.world import ASSUMED_STATURE_MM

MOST_FRAMES = 65535
_Z_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # y up to z up, axes exchanged cyclically


def check_installed() -> None:
    """Raises:
    VergenceError: ezc3d is not installed.
    """
    if importlib.util.find_spec("ezc3d") is None:
        raise VergenceError("C3D files need ezc3d, which is not installed", "pip install 'vergence[c3d]'.")


def write_c3d(
    path: Path | str, poses: PoseSequence, stature_mm: float = ASSUMED_STATURE_MM, markers: Markers = ""
) -> str:
    """Writes a C3D file atomically.

    Args:
        path: of the file.
        poses: what to write; missing joints become gaps.
        stature_mm: the person's height, used only where the scale is not known.
        markers: `pose2sim`, `opensim`, or a TOML file of joint names and markers; the joints' own names where empty.

    Returns:
        What was assumed, as a sentence; empty where nothing was.

    Raises:
        VergenceError: ezc3d is not installed, too many frames, or the file cannot be written.
    """
    check_installed()
    import ezc3d

    poses = poses.even()
    world = poses.in_world(stature_mm)
    placed = poses.placed(world)
    frames = len(placed.pose)
    if frames > MOST_FRAMES:
        raise VergenceError(f"a C3D file of {frames} frames; it counts to {MOST_FRAMES}", "Write fewer frames a file.")
    names, points = named_markers(placed, markers)
    points = points @ _Z_UP.T
    missing = ~np.isfinite(points).all(2)
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [float(poses.fps)]
    file["parameters"]["POINT"]["LABELS"]["value"] = names
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    if told := poses.told(world.note, taught=False):  # a text of C3D has 255 characters
        file.add_parameter("POINT", "DESCRIPTION", [told])
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", ["+Z"])
    data = np.ones((4, len(names), frames))
    data[:3] = np.where(missing[..., None], np.nan, points).transpose(2, 1, 0)
    file["data"]["points"] = data
    file["data"]["meta_points"]["residuals"] = np.where(missing, -1.0, 0.0).T[None]
    with atomic_path(path) as temporary:
        file.write(str(temporary))
    return world.note


write_c3d.check = check_installed  # type: ignore[attr-defined]
