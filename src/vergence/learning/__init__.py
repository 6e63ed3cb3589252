"""From raw videos to a single-camera model in one call: detect, reconstruct, train, evaluate without truth."""
