"""Joint angles out of poses, and how far noise moves them.

An angle needs neither scale nor a calibrated world, so it can be told from footage of unknown size. Joint centres alone do
not show how a bone turns about its own axis: of hips and shoulders there is flexion or elevation, and no rotation.

    knee, elbow      180 degrees less the angle between the two bones: 0 is straight
    ankle            90 degrees less the angle between shank and foot (ankle to toe): up is positive
    hip              of the thigh against the trunk, about the line of the hips: forward is positive, 0 hangs along the trunk
    shoulder         elevation: between the upper arm and the trunk that points down, whichever the way; 0 hangs
    trunk            lean: between the line from mid-hips to mid-shoulders and the vertical; 0 is upright

A deviation is carried from joints to angles one coordinate after the other (each moved by its own deviation, both ways),
which holds at a straight knee too, where a derivative would say 0.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vergence.files import atomic_path
from vergence.outputs.sequence import PoseSequence
from vergence.outputs.tables import up_words
from vergence.skeleton import Skeleton

Array = np.ndarray
Formula = Callable[[Float[Array, "T K 3"]], Float[Array, " T"]]

OF_DISTANCE = math.sqrt(math.pi / 8)  # a coordinate's deviation, of the mean distance of errors that go all ways alike
TOES = ("big_toe", "toe", "foot")  # where a foot's direction is read, best first


def joint_angles(
    pose: Float[Array, "T J 3"],
    skeleton: Skeleton,
    up: Float[Array, " 3"] | None = None,
    deviation: Float[Array, "T J"] | None = None,
) -> dict[str, tuple[Float[Array, " T"], Float[Array, " T"]]]:
    """By name (`right_knee`), every angle that the skeleton has joints for, and its standard deviation, degrees.

    Args:
        pose: in any unit; NaN where a joint is unknown.
        up: against gravity in the poses' frame; without it there is no lean of the trunk.
        deviation: of one coordinate of each joint, in the poses' unit; None where unknown.

    Returns:
        Angles are NaN where a joint is; deviations too, and wherever a joint's is unknown.
    """
    found = {}
    for name, (joints, formula) in _formulas(skeleton, up).items():
        index = [skeleton.index(joint) for joint in joints]
        points = np.asarray(pose, dtype=float)[:, index]
        angle, spread = formula(points), np.full(len(points), np.nan)
        if deviation is not None:
            spread = _carried(formula, points, angle, np.asarray(deviation, dtype=float)[:, index])
        found[name] = (angle, spread)
    return found


def angles_of(
    poses: PoseSequence, up: Float[Array, " 3"] | None = None, deviation: Float[Array, "T J"] | None = None
) -> dict[str, tuple[Float[Array, " T"], Float[Array, " T"]]]:
    """`joint_angles` of a sequence, in pieces, since its poses may be more than memory should hold.

    Args:
        deviation: as `joint_angles` takes it; without it, of the poses' expected errors, where they have some.
    """
    found, start = [], 0
    for part in poses.parts():
        stop = start + len(part.pose)
        own = None if deviation is None else deviation[start:stop]
        if own is None and poses.error is not None:
            own = poses.error[start:stop] * OF_DISTANCE
        found.append(joint_angles(part.pose, poses.skeleton, up, own))
        start = stop
    names = found[0] if found else ()
    return {name: (np.concatenate([one[name][0] for one in found]), np.concatenate([one[name][1] for one in found]))
            for name in names}  # fmt: skip


def write_angles(path: Path | str, poses: PoseSequence, deviation: Float[Array, "T J"] | None = None) -> None:
    """The table, atomically: `frame`, `time`, each angle and its `_sigma`, then `unit`, `fps` and, where the skeleton's
    trunk is measured against it, `up` and where that is from; missing is an empty field.

    Args:
        deviation: as `angles_of` takes it; where nothing is known the `_sigma` are empty.

    Raises:
        VergenceError: the file cannot be written.
    """
    world = poses.known_world
    up = poses.up if world is None else world.up
    found = angles_of(poses, up, deviation)
    source = "" if up is None else "given" if world is None else world.up_from
    own = ["deg", f"{poses.fps:g}", up_words(up), source]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["frame", "time", *(c for n in found for c in (n, f"{n}_sigma")), "unit", "fps", "up", "up_from"])
        columns = [column for pair in found.values() for column in pair]
        for t, (frame, time) in enumerate(zip(poses.frames, poses.times)):
            values = ["" if not np.isfinite(c[t]) else f"{c[t]:.2f}" for c in columns]
            rows.writerow([int(frame), f"{time:.6f}", *values, *own])


def _formulas(skeleton: Skeleton, up: Array | None) -> dict[str, tuple[tuple[str, ...], Formula]]:
    """By angle, the joints that it needs and how it is told from them."""
    found: dict[str, tuple[tuple[str, ...], Formula]] = {}
    trunk = ("right_hip", "left_hip", "right_shoulder", "left_shoulder")
    for own, side in enumerate(("right", "left")):
        toe = next((toe for toe in TOES if skeleton.has(f"{side}_{toe}")), "toe")
        hip, knee, ankle, end, shoulder, elbow, wrist = (
            f"{side}_{joint}" for joint in ("hip", "knee", "ankle", toe, "shoulder", "elbow", "wrist")
        )
        found |= {
            f"{side}_hip": ((*trunk, knee), partial(_hip, own)),
            f"{side}_knee": ((hip, knee, ankle), lambda p: 180 - _bend(p)),
            f"{side}_ankle": ((knee, ankle, end), lambda p: 90 - _bend(p)),
            f"{side}_shoulder": ((*trunk, elbow), partial(_elevation, 2 + own)),
            f"{side}_elbow": ((shoulder, elbow, wrist), lambda p: 180 - _bend(p)),
        }
    if up is not None:
        found["trunk"] = (
            trunk,
            lambda p: _between(_trunk(p), np.broadcast_to(np.asarray(up, dtype=float), (len(p), 3))),
        )
    return {name: (joints, formula) for name, (joints, formula) in found.items() if skeleton.has(*joints)}


def _between(a: Float[Array, "T 3"], b: Float[Array, "T 3"]) -> Float[Array, " T"]:
    """Angle of two directions, 0 to 180 degrees; NaN where one is no direction."""
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))
    return np.where((a != 0).any(-1) & (b != 0).any(-1), angle, np.nan)


def _bend(points: Float[Array, "T 3 3"]) -> Float[Array, " T"]:
    return _between(points[:, 0] - points[:, 1], points[:, 2] - points[:, 1])


def _trunk(points: Float[Array, "T K 3"]) -> Float[Array, "T 3"]:
    """From mid-hips to mid-shoulders, of right hip, left hip, right shoulder, left shoulder and whatever follows."""
    return (points[:, 2] + points[:, 3] - points[:, 0] - points[:, 1]) / 2


def _elevation(own: int, points: Float[Array, "T 5 3"]) -> Float[Array, " T"]:
    return _between(points[:, 4] - points[:, own], -_trunk(points))


def _hip(own: int, points: Float[Array, "T 5 3"]) -> Float[Array, " T"]:
    """The thigh's angle in the plane across the hips, -180 to 180: from the trunk that points down, forward positive."""
    thigh, trunk, left = points[:, 4] - points[:, own], _trunk(points), points[:, 1] - points[:, 0]
    ahead = np.cross(left, trunk)
    down = np.cross(left, ahead)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = ((thigh * d).sum(-1) / np.linalg.norm(d, axis=-1) for d in (down, ahead))
    return np.degrees(np.arctan2(y, x))


def _carried(formula: Formula, points: Array, angle: Array, deviation: Float[Array, "T K"]) -> Float[Array, " T"]:
    variance = np.zeros(len(points))
    for joint in range(points.shape[1]):
        for axis in range(3):
            for way in (-1.0, 1.0):
                moved = points.copy()
                moved[:, joint, axis] += way * deviation[:, joint]
                variance += ((formula(moved) - angle + 180) % 360 - 180) ** 2 / 2
    return np.sqrt(variance)
