"""BVH, the animation file that Blender, MotionBuilder and game engines read: y up, centimetres, rotations only.

Only the root has position channels: below it Blender replaces bones' offsets by them. A file has no gaps: frames that
show nobody lead from the pose before them to the one after, and the note says how many. Nor has it a place for words: what
was assumed of the world stands in the note only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from vergence.files import write_text
from vergence.outputs.kinematics import Kinematics, animate
from vergence.outputs.sequence import PoseSequence
from vergence.outputs.world import ASSUMED_STATURE_MM

CM_PER_MM = 0.1
_ORDER: Literal["ZXY"] = "ZXY"


def write_bvh(path: Path | str, poses: PoseSequence, stature_mm: float = ASSUMED_STATURE_MM) -> str:
    """Writes a BVH file atomically.

    Args:
        path: of the file.
        poses: what to write.
        stature_mm: the person's height, used only where the scale is not known.

    Returns:
        What was assumed or filled, as a sentence; empty where nothing was.

    Raises:
        VergenceError: it cannot be written, or the pelvis never turns into view.
    """
    poses = poses.even()
    motion, note = animate(poses, stature_mm, CM_PER_MM)
    lines, order = _hierarchy(motion)
    write_text(path, "\n".join([*lines, *_motion(motion, order, poses.fps)]) + "\n")
    return note


def _hierarchy(motion: Kinematics) -> tuple[list[str], list[int]]:
    """Its lines, and the joints as they come in it."""
    lines, order = ["HIERARCHY"], list[int]()

    def joint(j: int, indent: str) -> None:
        order.append(j)
        children = [c for c, p in enumerate(motion.parents) if p == j]
        x, y, z = motion.offsets[j]
        lines.append(f"{indent}{'JOINT' if motion.parents[j] >= 0 else 'ROOT'} {motion.joint_names[j]}")
        lines.extend([f"{indent}{{", f"{indent}\tOFFSET {x:.6f} {y:.6f} {z:.6f}"])
        turn = " ".join(f"{axis}rotation" for axis in _ORDER)
        places = "" if motion.parents[j] >= 0 else "Xposition Yposition Zposition "
        lines.append(f"{indent}\tCHANNELS {6 if places else 3} {places}{turn}")
        for child in children:
            joint(child, indent + "\t")
        if not children:
            x, y, z = 0.2 * motion.offsets[j]
            lines.extend([f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\tOFFSET {x:.6f} {y:.6f} {z:.6f}"])
            lines.append(f"{indent}\t}}")
        lines.append(f"{indent}}}")

    joint(0, "")
    return lines, order


def _motion(motion: Kinematics, order: list[int], fps: float) -> list[str]:
    frames = len(motion.root)
    angles = np.empty((frames, len(order), 3))
    for i, j in enumerate(order):
        angles[:, i] = np.unwrap(Rotation.from_matrix(motion.rotation[:, j]).as_euler(_ORDER), axis=0)
    rows = np.concatenate([motion.root, np.degrees(angles).reshape(frames, -1)], 1)
    lines = ["MOTION", f"Frames: {frames}", f"Frame Time: {1 / fps:.8f}"]
    return [*lines, *(" ".join(f"{value:.6f}" for value in row) for row in rows)]
