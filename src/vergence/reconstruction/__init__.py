"""Footage of several cameras to a rig and 3D poses, with a verdict: from a capture (`footage`), or from arrays (`solve`)."""

from vergence.reconstruction.solve import Solution, reconstruct_keypoints

__all__ = ["Solution", "reconstruct_keypoints"]
