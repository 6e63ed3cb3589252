"""The forms in which footage and what belongs to it lie on disk: names of files, keypoint files."""
