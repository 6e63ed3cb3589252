"""A whole recording carried to files: what is done, kept, smoothed and drawn on the way."""
