"""Vergence: from uncalibrated multi-camera footage to a single-camera 3D human pose estimator."""
