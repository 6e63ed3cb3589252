"""The built-in world: random people, cameras and pictures with the truth of everything."""

from vergence.synthetic.faults import Faults
from vergence.synthetic.motion import Motion
from vergence.synthetic.motion_files import read_motion
from vergence.synthetic.rigs import Rig, draw_rigs, make_rig
from vergence.synthetic.world import WORLD_VERSION, Frame, recordings, render_capture, single_pictures, static_clips

__all__ = [
    "WORLD_VERSION",
    "Faults",
    "Frame",
    "Motion",
    "Rig",
    "draw_rigs",
    "make_rig",
    "read_motion",
    "recordings",
    "render_capture",
    "single_pictures",
    "static_clips",
]
