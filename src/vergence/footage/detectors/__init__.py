"""2D pose detectors: images in, the keypoints of everybody in them out; the first step where footage has no keypoints."""
