"""Pose files: TRC, CSV, JSON and NPZ. All carry units, joint names, frame rate and up axis."""

from vergence.outputs.sequence import PoseSequence
from vergence.outputs.tables import read_npz, write_csv, write_json_poses, write_npz
from vergence.outputs.trc import ASSUMED_STATURE_MM, Trc, read_trc, write_trc

__all__ = [
    "ASSUMED_STATURE_MM",
    "PoseSequence",
    "Trc",
    "read_npz",
    "read_trc",
    "write_csv",
    "write_json_poses",
    "write_npz",
    "write_trc",
]
