"""Joint angles and joints' paths over time, each with twice its deviation on both sides, as charts of a page.

The deviation is what noise of keypoints and the cameras' places leave. Errors that all frames share (a detector that
sets a knee too high, cameras that are turned, an assumed scale or vertical) are not in it, and the lead says so.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from vergence.outputs.angles import joint_angles
from vergence.report.page import Curve
from vergence.report.viewer import MAX_FRAMES, display_rotation
from vergence.skeleton import Skeleton

Array = np.ndarray

BAND = 2.0  # deviations, about 95 %
ANGLES = {
    "knee": "Knee flexion",
    "hip": "Hip flexion",
    "ankle": "Ankle dorsiflexion",
    "shoulder": "Shoulder elevation",
    "elbow": "Elbow flexion",
}
HEIGHTS = ("ankle", "wrist")
LEAD = (
    "Angles are told from joint centres, without smoothing; 0 is standing straight with hanging arms. Bands are two standard "
    "deviations on both sides, from keypoints' noise and the cameras' places; errors that all frames share are not in them: a "
    "detector's bias, turned cameras, an assumed scale or vertical."
)


def motion_curves(
    pose: Float[Array, "T J 3"],
    deviation: Float[Array, "T J"],
    skeleton: Skeleton,
    up: Array,
    unit: str,
    ground: float = float("nan"),
) -> list[Curve]:
    """A chart for each kind of angle that was ever seen, then heights of ankles and wrists and the way of the hips.

    Args:
        pose, deviation: in `unit`.
        up: against gravity in the poses' frame.
        ground: the floor's height along `up`; NaN where unknown: heights are then over the poses' origin, and titles say so.
    """
    rows = np.arange(0, len(pose), max(1, -(-len(pose) // MAX_FRAMES)))
    pose, deviation = np.asarray(pose, dtype=float)[rows], np.asarray(deviation, dtype=float)[rows]
    angles = joint_angles(pose, skeleton, up, deviation)
    sides = ("right", "left")
    charts = [
        _chart(title, "degrees", rows, {side: angles.get(f"{side}_{joint}") for side in sides})
        for joint, title in ANGLES.items()
    ]
    charts.append(_chart("Lean of the trunk", "degrees", rows, {"trunk": angles.get("trunk")}))
    floor = np.isfinite(ground)
    placed, over = pose @ display_rotation(up).T, "floor" if floor else "origin"
    placed[..., 2] -= ground if floor else 0.0

    def height(name: str) -> tuple[Array, Array] | None:
        if not skeleton.has(name):
            return None
        return placed[:, skeleton.index(name), 2], deviation[:, skeleton.index(name)]

    for joint in HEIGHTS:
        heights = {side: height(f"{side}_{joint}") for side in sides}
        charts.append(_chart(f"Height of the {joint}s over the {over}", unit, rows, heights))
    root = list(skeleton.root)
    spread = np.sqrt((deviation[:, root] ** 2).sum(1)) / len(root)
    middle = placed[:, root].mean(1)
    way = {name: (middle[:, axis], spread) for axis, name in enumerate(("right", "away", "up"))}
    charts.append(_chart(f"Path of the root in the 3D view, up from the {over}", unit, rows, way))
    return [chart for chart in charts if chart is not None]


def _chart(title: str, y_label: str, rows: Array, series: Mapping[str, tuple[Array, Array] | None]) -> Curve | None:
    """None where nothing was seen."""
    known = {name: values for name, values in series.items() if values is not None and np.isfinite(values[0]).any()}
    if not known:
        return None
    spread = {n: (v - BAND * sigma, v + BAND * sigma) for n, (v, sigma) in known.items() if np.isfinite(sigma).any()}
    return Curve(title, "frame", y_label, {n: (rows, v) for n, (v, _) in known.items()}, spread=spread, band=True)
