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
Line = tuple[Array, Array, Array]  # values, and from where to where their band goes; NaN for none

SECONDS = "time, s"
BAND = 2.0  # deviations, about 95 %
ANGLES = {
    "knee": "Knee flexion",
    "hip": "Hip flexion",
    "ankle": "Ankle dorsiflexion",
    "shoulder": "Shoulder elevation",
    "elbow": "Elbow flexion",
}
HEIGHTS = ("ankle", "wrist")
SIDES = ("left", "right")  # in the colours of the 3D
LEAD = (
    "Angles are computed from joint centres, without smoothing; 0 is standing straight with hanging arms. Bands are two "
    "standard deviations on both sides, from keypoints' noise and the cameras' places. They do not contain errors that "
    "all frames share: a detector's bias, turned cameras, an assumed scale or vertical."
)


def with_bands(angles: Mapping[str, tuple[Array, Array]]) -> dict[str, Line]:
    """Values with twice their deviation on both sides."""
    return {name: (v, v - BAND * sigma, v + BAND * sigma) for name, (v, sigma) in angles.items()}


def binned(values: Mapping[str, Float[Array, " T"]], x: Float[Array, " T"]) -> tuple[dict[str, Line], Array]:
    """Of `MAX_FRAMES` stretches the median, the least and the greatest, where they are; and the middle of each one's `x`."""
    parts = np.array_split(np.arange(len(x)), MAX_FRAMES)
    found = {}
    for name, all_values in values.items():
        own = [all_values[part][np.isfinite(all_values[part])] for part in parts]
        middle, low, high = np.array([(np.median(v), v.min(), v.max()) if len(v) else (np.nan,) * 3 for v in own]).T
        found[name] = (middle, low, high)
    return found, np.array([x[part].mean() for part in parts])


def angle_curves(angles: Mapping[str, Line], x: Array) -> list[Curve]:
    """A chart for each kind of angle that was ever seen, right and left in one.

    Args:
        angles: by the names of `joint_angles`, degrees.
        x: seconds of their rows.
    """
    charts = [
        _chart(title, "degrees", x, {side: angles.get(f"{side}_{joint}") for side in SIDES})
        for joint, title in ANGLES.items()
    ]
    charts.append(_chart("Lean of the trunk", "degrees", x, {"trunk": angles.get("trunk")}))
    return [chart for chart in charts if chart is not None]


def motion_curves(
    pose: Float[Array, "T J 3"],
    deviation: Float[Array, "T J"],
    skeleton: Skeleton,
    up: Array,
    unit: str,
    fps: float,
    ground: float = float("nan"),
) -> list[Curve]:
    """A chart for each kind of angle that was ever seen, then heights of ankles and wrists and the way of the hips.

    Args:
        pose, deviation: in `unit`.
        up: against gravity in the poses' frame.
        fps: frames per second: charts are over seconds.
        ground: the floor's height along `up`; NaN where unknown: heights are then over the poses' origin, and titles say so.
    """
    rows = np.arange(0, len(pose), max(1, -(-len(pose) // MAX_FRAMES)))
    pose, deviation = np.asarray(pose, dtype=float)[rows], np.asarray(deviation, dtype=float)[rows]
    charts: list[Curve | None] = []
    x = rows / fps
    charts += angle_curves(with_bands(joint_angles(pose, skeleton, up, deviation)), x)
    floor = np.isfinite(ground)
    placed, over = pose @ display_rotation(up).T, "floor" if floor else "origin"
    placed[..., 2] -= ground if floor else 0.0

    for joint in HEIGHTS:
        here = {side: skeleton.index(name) for side in SIDES if skeleton.has(name := f"{side}_{joint}")}
        heights = with_bands({side: (placed[:, j, 2], deviation[:, j]) for side, j in here.items()})
        charts.append(_chart(f"Height of the {joint}s over the {over}", unit, x, heights))
    root = list(skeleton.root)
    spread = np.sqrt((deviation[:, root] ** 2).sum(1)) / len(root)
    middle = placed[:, root].mean(1)
    way = with_bands({name: (middle[:, axis], spread) for axis, name in enumerate(("right", "away", "up"))})
    charts.append(_chart(f"Path of the root in the 3D view, up from the {over}", unit, x, way))
    return [chart for chart in charts if chart is not None]


def _chart(title: str, y_label: str, x: Array, series: Mapping[str, Line | None]) -> Curve | None:
    """Over seconds; None where nothing was seen."""
    known = {name: line for name, line in series.items() if line is not None and np.isfinite(line[0]).any()}
    if not known:
        return None
    spread = {name: (low, high) for name, (_, low, high) in known.items() if np.isfinite(low).any()}
    lines = {name: (x, line[0]) for name, line in known.items()}
    return Curve(title, SECONDS, y_label, lines, spread=spread, band=True, clock="time")
