"""Footage of several cameras to a rig and 3D poses, with a verdict."""
