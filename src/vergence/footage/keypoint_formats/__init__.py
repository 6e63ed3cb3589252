"""2D keypoints as people's tools write them, beside OpenPose, COCO and our own NPZ (`footage.keypoints`)."""
