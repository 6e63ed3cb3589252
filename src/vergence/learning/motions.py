"""Reconstructed and captured people as motions for the lifting network: whole, z up, in its joints."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from vergence.errors import VergenceError
from vergence.footage.images import natural_key
from vergence.lifting.model import stretches
from vergence.lifting.train import LIFTED
from vergence.lifting.virtual import Motion
from vergence.outputs import PoseSequence
from vergence.outputs.world import y_up
from vergence.skeleton import H36M_17
from vergence.world.motion_files import read_motion

LONGEST_GAP_S = 0.3  # over which a joint's path is drawn straight
SHORTEST_S = 0.2


def motions_of(poses: PoseSequence, wanted: Bool[np.ndarray, " T"]) -> list[Motion]:
    """The stretches of a reconstruction in which every joint is known, or nearly always was.

    Args:
        poses: in any unit and frame.
        wanted: rows that may be used.

    Returns:
        Motions, z up, joints `LIFTED`; none where the person was never whole.
    """
    joints = poses.skeleton.convert(np.asarray(poses.pose, dtype=np.float64), LIFTED)
    world = poses.known_world
    if world is None:
        return []
    joints = (joints @ y_up(world.up).T)[..., [0, 2, 1]] * [1, -1, 1]
    joints[~wanted] = np.nan
    joints = bridged(joints, round(LONGEST_GAP_S * poses.fps))
    whole = stretches(np.isfinite(joints).all((1, 2)))
    shortest = max(2, round(SHORTEST_S * poses.fps))
    return [Motion(joints[run.start : run.stop], poses.fps) for run in whole if len(run) >= shortest]


def bridged(joints: Float[np.ndarray, "T J 3"], longest: int) -> Float[np.ndarray, "T J 3"]:
    """Gaps of at most so many frames, each joint's own, filled by straight lines."""
    out = joints.copy()
    rows = np.arange(len(joints))
    for joint in range(joints.shape[1]):
        known = np.flatnonzero(np.isfinite(joints[:, joint]).all(-1))
        for before, after in itertools.pairwise(known):
            if 1 < after - before <= longest + 1:
                between = rows[before + 1 : after]
                share = ((between - before) / (after - before))[:, None]
                out[between, joint] = joints[before, joint] * (1 - share) + joints[after, joint] * share
    return out


def read_motions(folder: Path | str) -> dict[str, Motion]:
    """Motion capture of a folder (BVH, NPZ; one person each), by file name.

    Raises:
        VergenceError: no such folder, no motion in it, or a file that cannot be read.
    """
    folder = Path(folder)
    files: Sequence[Path] = sorted(
        (f for f in folder.glob("*") if f.suffix.lower() in (".bvh", ".npz")), key=lambda f: natural_key(f.name)
    )
    if not files:
        raise VergenceError(f"there is no motion in {folder}", "Give a folder of BVH or NPZ files.")
    read = {file.name: read_motion(file) for file in files}
    return {
        name: Motion(H36M_17.convert(np.asarray(one.joints, dtype=np.float64), LIFTED), one.fps)
        for name, one in read.items()
    }
