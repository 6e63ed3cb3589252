"""Short stand-ins of vectors whose distances never exceed those of the vectors, and are read in a fraction of the time.

A sketch is a vector's coordinates along the directions in which all differ most, and the length of what they leave out.
The lengths of two rests differ by at most the length of their difference, so no distance is stretched: the distance
between sketches is a lower bound, and whatever it puts farther than a known hit is farther. The third part is the squared
length of both, so that one product of a vector and a matrix gives the bounds. What float32 may add on the way is taken off
it: with 32 numbers a bound is wrong by at most 5e-6 of the two squared lengths, `SAFE` takes off 2e-5.

What breaks it: vectors without main directions (noise), whose bounds are all near zero: true, and of no use.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

AXES = 30
SAFE = 2e-5
PART = 16_384  # rows that are worked on at a time


def parts_of(first: int, end: int) -> list[slice]:
    """Rows from one up to another in parts of `PART`."""
    return [slice(at, min(at + PART, end)) for at in range(first, end, PART)]


def main_axes(descriptor: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "A D"]:
    """The middle of the descriptors, then orthonormal directions in which they differ most, by some of them."""
    some = descriptor[:: len(descriptor) // PART + 1].astype(np.float64)
    some = some[np.isfinite(some).all(1)] if np.isfinite(some).all(1).any() else np.zeros_like(some[:1])
    middle = some.mean(0)
    directions = np.linalg.eigh((some - middle).T @ (some - middle))[1][:, ::-1]
    return np.vstack([middle, directions[:, :AXES].T])


def sketch_of(descriptor: Float[np.ndarray, "n D"], axes: Float[np.ndarray, "A D"]) -> Float[np.ndarray, "S n"]:
    """Coordinates along the directions, length of the rest, and the squared length of both, less what rounding may add to a
    distance; where a descriptor is not finite, infinitely far from everything."""
    away, lost = descriptor.astype(np.float64) - axes[0], ~np.isfinite(descriptor).all(1)
    away[lost] = 0
    along = axes[1:] @ away.T
    within = (along * along).sum(0)
    rest = np.sqrt(np.maximum((away * away).sum(1) - within, 0))
    squared = np.where(lost, np.inf, (1 - SAFE) * (within + rest * rest))
    return np.vstack([along, rest, squared]).astype(np.float32)
