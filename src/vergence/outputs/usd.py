"""USD, the scene file of Omniverse, Blender, Houdini and Unreal: a skeleton that moves, in metres with y up.

Written as text, which every reader of USD takes, so that nothing needs to be installed. Three things that a reader does
not ask for and silently goes wrong without are there: an animation has scales (without them it is ignored), the binding
schema is applied to what is bound, and metersPerUnit is said (else a unit is a centimetre). Parents stand before
children, and the rest pose is also the bind pose, without which Blender makes no bones.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from vergence.files import write_text
from vergence.outputs.kinematics import Kinematics, animate
from vergence.outputs.sequence import PoseSequence
from vergence.outputs.world import ASSUMED_STATURE_MM

M_PER_MM = 0.001


def write_usd(path: Path | str, poses: PoseSequence, stature_mm: float = ASSUMED_STATURE_MM) -> str:
    """Writes a USD file (as text) atomically.

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
    motion, note = animate(poses, stature_mm, M_PER_MM)
    frames = (poses.frames[0] if len(poses.pose) else 0) + np.arange(len(motion.root))
    write_text(path, _stage(motion, frames, poses.fps, poses.told(note)))
    return note


def _stage(motion: Kinematics, frames: np.ndarray, fps: float, note: str) -> str:
    paths: list[str] = []
    for name, parent in zip(motion.joint_names, motion.parents):
        paths.append(f"{paths[parent]}/{name}" if parent >= 0 else name)
    joints = json.dumps(paths)
    rest = np.where(np.arange(len(paths))[:, None] == 0, motion.root[:1], motion.offsets)
    bind = np.zeros_like(rest)
    for j, parent in enumerate(motion.parents):
        bind[j] = rest[j] + (bind[parent] if parent >= 0 else 0.0)
    low, high = motion.positions().min((0, 1)), motion.positions().max((0, 1))
    places = np.broadcast_to(rest, (len(frames), *rest.shape)).copy()
    places[:, 0] = motion.root
    turns = Rotation.from_matrix(motion.rotation.reshape(-1, 3, 3)).as_quat(scalar_first=True)
    turns = _steady(turns.reshape(*motion.rotation.shape[:2], 4))
    return f"""#usda 1.0
(
    defaultPrim = "person"
    doc = {json.dumps(note)}
    startTimeCode = {frames[0]}
    endTimeCode = {frames[-1]}
    timeCodesPerSecond = {fps:.9g}
    framesPerSecond = {fps:.9g}
    metersPerUnit = 1
    upAxis = "Y"
)

def SkelRoot "person" (
    prepend apiSchemas = ["SkelBindingAPI"]
)
{{
    float3[] extent = [{_row(low)}, {_row(high)}]

    def Skeleton "skeleton" (
        prepend apiSchemas = ["SkelBindingAPI"]
    )
    {{
        uniform token[] joints = {joints}
        uniform matrix4d[] bindTransforms = [{", ".join(map(_matrix, bind))}]
        uniform matrix4d[] restTransforms = [{", ".join(map(_matrix, rest))}]
        rel skel:animationSource = </person/motion>
    }}

    def SkelAnimation "motion"
    {{
        uniform token[] joints = {joints}
        half3[] scales = [{", ".join(["(1, 1, 1)"] * len(paths))}]
        float3[] translations.timeSamples = {{
{_samples(frames, places)}
        }}
        quatf[] rotations.timeSamples = {{
{_samples(frames, turns)}
        }}
    }}
}}
"""


def _steady(quaternion: Float[np.ndarray, "T J 4"]) -> Float[np.ndarray, "T J 4"]:
    """Each on the half of the sphere of the one before, so that times between two frames turn the short way."""
    flips = (quaternion[1:] * quaternion[:-1]).sum(-1) < 0
    quaternion = quaternion.copy()
    quaternion[1:] *= np.where(np.cumsum(flips, axis=0) % 2, -1.0, 1.0)[..., None]
    return quaternion


def _samples(frames: np.ndarray, values: Float[np.ndarray, "T J C"]) -> str:
    return "\n".join(f"            {frame}: [{', '.join(map(_row, rows))}]," for frame, rows in zip(frames, values))


def _row(values: Float[np.ndarray, " C"]) -> str:
    return "(" + ", ".join(f"{value:.9g}" for value in values) + ")"


def _matrix(place: Float[np.ndarray, " 3"]) -> str:
    """A shift as USD's matrix of row vectors."""
    return f"( (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), {_row(np.append(place, 1.0))} )"
