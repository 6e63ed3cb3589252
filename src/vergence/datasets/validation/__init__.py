"""Whether a dataset on disk is what it should be."""
