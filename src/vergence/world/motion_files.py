"""Recorded motion from files: BVH (bone rotations) and NPZ (joint positions), as joints in mm with z up.

BVH. Joints are offsets and Euler rotations down a tree: position = parent's position + parent's rotation x offset. The file
says neither units nor the up axis nor which joint is which. Joints are found by the names that common tools write
(CMU, Mixamo, MotionBuilder, Blender); y is up; the unit is guessed from the legs, which are 0.55 to
1.15 m long on grown people, and can be given. A wrong guess shows as a giant or a dwarf: bones keep their proportions.

NPZ. `pose` T J 3 with `joint_names`, `fps`, `unit` and `up`, as Vergence writes them; or `xyz17` T 17 3 in metres with z
up and `fps`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError, refusing
from vergence.files import read_arrays, read_bytes
from vergence.outputs.tables import read_npz
from vergence.skeleton import H36M_17, skeleton_from_names
from vergence.world.body import TABLES
from vergence.world.motion import Motion, as_motion

UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4, "cmu": 25.4 / 0.45}
LEG_LIMITS_MM = (550.0, 1150.0)


@dataclass(frozen=True)
class Bvh:
    """A BVH file's joints (J of them, end sites included) and their motion.

    Attributes:
        names: an end site is called `<parent>_end`.
        parents: -1 for the root.
        positions: the file's own unit and axes.
        fps: frames a second.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    positions: Float[ndarray, "T J 3"]
    fps: float


def read_motion(path: Path | str, *, unit: str | float | None = None) -> Motion:
    """A motion from a `.bvh` or `.npz` file.

    Args:
        path: the file.
        unit: of a BVH: `mm`, `cm`, `m`, `inch`, `cmu`, or mm per unit; None: guessed from the length of the legs.

    Raises:
        VergenceError: unreadable, joints not found or missing, a unit that gives no human legs.
    """
    path = Path(path)
    if path.suffix.lower() == ".bvh":
        bvh = read_bvh(path)
        joints = _to_h36m(bvh, path)[..., [0, 2, 1]] * [1, -1, 1]
        return as_motion(joints * _unit_mm(joints, unit, path), bvh.fps)
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    raise VergenceError(f"{path} is neither .bvh nor .npz", "Give a motion file of one of these kinds.")


def read_bvh(path: Path | str) -> Bvh:
    """Joint positions of a BVH file by forward kinematics.

    Raises:
        VergenceError: missing or not a valid BVH file.
    """
    path = Path(path)
    text = read_bytes(path).decode("utf-8", "replace")
    with refusing(f"{path} is not a valid BVH file", "Export it again.", ValueError, IndexError):
        head, *body = re.split(r"^\s*MOTION\b", text, maxsplit=1, flags=re.MULTILINE)
        if not body:
            raise ValueError("it has no MOTION")
        names, parents, offsets, channels = _hierarchy(head.split())
        tokens = body[0].split()
        count, seconds = int(tokens[1]), float(tokens[4])
        values = np.array(tokens[5:], dtype=np.float64)
        width = sum(len(c) for c in channels)
        if len(values) < count * width:
            raise ValueError(f"{len(values)} numbers, {count} frames of {width} channels have {count * width}")
        values = values[: count * width].reshape(count, width)
        if count < 1 or not seconds > 0 or not np.isfinite(values).all():
            raise ValueError(f"{count} frames of {seconds} s")
    return Bvh(names, parents, _positions(parents, offsets, channels, values), 1 / seconds)


def _hierarchy(tokens: list[str]) -> tuple[tuple[str, ...], tuple[int, ...], Float[ndarray, "J 3"], list[list[str]]]:
    """Names, parents, offsets and channels from the words of a HIERARCHY section."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    stack: list[int] = []
    i = 0
    while i < len(tokens):
        word = tokens[i].upper()
        if word in ("ROOT", "JOINT", "END"):
            parents.append(stack[-1] if stack else -1)
            names.append(f"{names[parents[-1]]}_end" if word == "END" else tokens[i + 1])
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            i += 2
        elif word == "{":
            stack.append(len(names) - 1)
            i += 1
        elif word == "}":
            stack.pop()
            i += 1
        elif word == "OFFSET":
            offsets[stack[-1]] = [float(x) for x in tokens[i + 1 : i + 4]]
            i += 4
        elif word == "CHANNELS":
            n = int(tokens[i + 1])
            channels[stack[-1]] = [c.lower() for c in tokens[i + 2 : i + 2 + n]]
            i += 2 + n
        else:
            i += 1
    if not names or stack:
        raise ValueError("its HIERARCHY is empty or has unequal braces")
    return tuple(names), tuple(parents), np.array(offsets), channels


def _positions(
    parents: tuple[int, ...], offsets: Float[ndarray, "J 3"], channels: list[list[str]], values: Float[ndarray, "T C"]
) -> Float[ndarray, "T J 3"]:
    frames = len(values)
    place = np.zeros((frames, len(parents), 3))
    turn = np.zeros((frames, len(parents), 3, 3))
    column = 0
    for j, parent in enumerate(parents):
        local, shift = np.broadcast_to(np.eye(3), (frames, 3, 3)), np.broadcast_to(offsets[j], (frames, 3)).copy()
        for channel in channels[j]:
            if channel.endswith("position"):
                # A position channel replaces the offset; files that mean the sum have a root offset of 0.
                shift[:, "xyz".index(channel[0])] = values[:, column]
            elif channel.endswith("rotation"):
                local = local @ Rotation.from_euler(channel[0], values[:, [column]], degrees=True).as_matrix()
            else:
                raise ValueError(f"channel {channel!r}")
            column += 1
        above = turn[:, parent] if parent >= 0 else np.eye(3)
        turn[:, j] = above @ local
        place[:, j] = (place[:, parent] if parent >= 0 else 0.0) + (above @ shift[..., None])[..., 0]
    return place


def _to_h36m(bvh: Bvh, path: Path) -> Float[ndarray, "T 17 3"]:
    """Human3.6M's joints from the names; pelvis and spine are means (as `skeletons.toml` has it)."""
    # Small letters and digits, without a tool's prefix (`mixamorig:`); of several joints of one name the first.
    plain = [re.sub(r"[^a-z0-9]", "", name.split(":")[-1].lower()) for name in bvh.names]
    where = {name: i for i, name in reversed(list(enumerate(plain)))}

    def find(joint: str, options: Sequence[str]) -> int:
        for option in options:
            if option in where:
                return where[option]
        remedy = f"Rename it to {options[0]!r}, for example."
        raise VergenceError(f"{path} has no joint for {joint}; it has {', '.join(bvh.names)}", remedy)

    joints: dict[str, ndarray] = {}
    for part, options in TABLES["bvh_sides"].items():
        for side in ("right", "left"):
            named = tuple(o.replace("%", side).replace("&", side[0]) for o in options)
            joints[f"{side}_{part}"] = bvh.positions[:, find(f"{side}_{part}", named)]
    head = find("head", TABLES["bvh_middle"]["head"])
    tips = [i for i, parent in enumerate(bvh.parents) if parent == head]
    if not tips:
        raise VergenceError(f"{path}: nothing ends the head", "Export it with an End Site on the head.")
    joints["thorax"] = bvh.positions[:, find("neck", TABLES["bvh_middle"]["neck"])]
    joints["neck_nose"], joints["head_top"] = bvh.positions[:, head], bvh.positions[:, tips[0]]
    joints["pelvis"] = (joints["right_hip"] + joints["left_hip"]) / 2
    joints["spine"] = (joints["pelvis"] + joints["thorax"]) / 2
    return np.stack([joints[name] for name in H36M_17.joint_names], 1)


def _unit_mm(joints: Float[ndarray, "T 17 3"], unit: str | float | None, path: Path) -> float:
    """mm per unit, given or guessed; legs beyond human limits are an error."""
    first, knee, ankle = (joints[0, H36M_17.index(f"left_{part}")] for part in ("hip", "knee", "ankle"))
    leg = float(np.linalg.norm(first - knee) + np.linalg.norm(knee - ankle))
    if isinstance(unit, str) and unit not in UNITS_MM:
        raise VergenceError(f"the unit {unit!r} is unknown", f"Give one of {', '.join(UNITS_MM)}, or mm per unit.")
    if unit is None:
        scale = min(UNITS_MM.values(), key=lambda s: abs(np.log(max(leg, 1e-9) * s / 830)))
    else:
        scale = UNITS_MM[unit] if isinstance(unit, str) else float(unit)
    if not LEG_LIMITS_MM[0] <= leg * scale <= LEG_LIMITS_MM[1]:
        raise VergenceError(
            f"{path}: legs of {leg:.3g} units would be {leg * scale:.0f} mm, outside {LEG_LIMITS_MM[0]:.0f} to "
            f"{LEG_LIMITS_MM[1]:.0f}",
            "Give the unit: mm, cm, m, inch, cmu, or mm per unit.",
        )
    return scale


def _read_npz(path: Path) -> Motion:
    file = read_arrays(path)
    if "xyz17" in file and "fps" in file:
        return as_motion(file["xyz17"].astype(np.float64) * 1000, float(file["fps"]))
    poses = read_npz(path)
    if poses.unit not in ("mm", "m"):
        raise VergenceError(f"{path} is in {poses.unit}", "A motion to draw needs mm or m.")
    up = None if poses.up is None else np.asarray(poses.up, dtype=np.float64)
    if up is None or np.abs(up - [0, 0, 1]).max() > 1e-3:
        raise VergenceError(f"{path}: up is {up}", "A motion to draw needs z up: [0, 0, 1].")
    joints = skeleton_from_names(poses.joint_names).convert(np.asarray(poses.pose, dtype=np.float64), H36M_17)
    return as_motion(joints * (1000.0 if poses.unit == "m" else 1.0), poses.fps)
