"""Many recordings with one verb: each a task of its own that can be killed, lost and done again without the others."""
