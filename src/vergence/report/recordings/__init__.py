"""Pages about recordings, before anything is learned from them."""
