"""The built-in world: random people, cameras and images with the truth of everything."""

from vergence.world.faults import Faults
from vergence.world.motion import Motion
from vergence.world.motion_files import read_motion
from vergence.world.rigs import Rig, draw_rigs, make_rig
from vergence.world.scenes import WORLD_VERSION, Frame, recordings, render_capture, single_images, static_clips

__all__ = [
    "WORLD_VERSION", "Faults", "Frame", "Motion", "Rig", "draw_rigs", "make_rig", "read_motion", "recordings",
    "render_capture", "single_images", "static_clips",
]  # fmt: skip
