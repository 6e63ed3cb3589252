"""Named protocols: which images of a dataset are measured, and how."""
