"""The quick look at time: residuals along the joints' own motion, over that motion (first order)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Array = np.ndarray

SETTLED = 1e-3  # frames between two rounds, from which on more rounds change nothing


def lag(
    observed: Float[Array, "T V J 2"], projected: Float[Array, "T V J 2"], reach: int = 2, rounds: int = 10
) -> Float[Array, " V"]:
    """Frames by which what a camera sees runs ahead of the reconstruction; Cauchy weights, 0 where nothing moves.

    What is off in all frames alike is taken out: somebody who walks one way would else make a turned camera a late one.

    Args:
        observed: px or radians, NaN = missing.
        projected: the reconstruction seen by the cameras, in the same unit.
        reach: frames on either side between which the motion is measured.
        rounds: of reweighting.
    """
    motion = np.full(projected.shape, np.nan)
    if len(projected) > 2 * reach:
        step = (projected[reach:] - projected[:-reach]) / reach
        least = np.where(np.abs(step[:-reach]) < np.abs(step[reach:]), step[:-reach], step[reach:])
        motion[reach:-reach] = np.where(step[:-reach] * step[reach:] > 0, least, 0 * least)  # strays go to and fro
    found = np.zeros(observed.shape[1])
    for v in range(len(found)):
        known = np.isfinite(motion[:, v]).all(-1) & np.isfinite(observed[:, v]).all(-1)
        left = (observed[:, v] - projected[:, v])[known].T.copy()  # 2 N
        move = motion[:, v][known].T.copy()
        steady = np.zeros((2, 1))
        for _ in range(rounds if known.any() else 0):
            error = left - steady - found[v] * move
            weight = 1 / (1 + (error / max(2 * 1.4826 * np.median(np.abs(error)), 1e-12)) ** 2)
            whole = weight.sum(1, keepdims=True)
            pulled = weight * (move - (weight * move).sum(1, keepdims=True) / whole)
            power = float((pulled * move).sum())
            before = found[v]
            found[v] = float((pulled * left).sum()) / power if power > 1e-12 else 0.0
            steady = (weight * (left - found[v] * move)).sum(1, keepdims=True) / whole
            if abs(found[v] - before) < SETTLED:
                break
    return found
