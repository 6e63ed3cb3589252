"""Videos, keypoint files, calibrations and captures: what is read before any geometry starts."""
