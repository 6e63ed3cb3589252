"""Cameras that were not triggered together: their offsets and drifts in time, told by the person's motion."""
