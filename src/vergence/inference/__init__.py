"""A finished run as an estimator, carried through images, videos and searches."""
