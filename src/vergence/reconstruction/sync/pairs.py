"""Two cameras: how well each offset in time lets one epipolar geometry hold.

At every whole shift a fundamental matrix is fitted to the joints that both see, by the eight-point method with weights
that let go of strays. It is quick, and needs no focal lengths; right shifts stand out by its truncated residuals.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vergence.geometry.two_view import INLIER_SIGMA, robust_sigma, sampson_residual

Array = np.ndarray

POINTS = 400  # of a pair and shift
ROUNDS = 4  # of reweighting
LEAST_POINTS, LEAST_FRAMES = 60, 24  # that both see at a shift
LEAST_SIGMA = 3e-4  # radians


def scan(
    a: Float[Array, "T J 2"], b: Float[Array, "T J 2"], shifts: Array, least_frames: int, seed: int = 0
) -> Float[Array, " S"]:
    """Truncated Sampson cost, 0 to 1, at each shift (`a[t]` beside `b[t + shift]`); NaN where they share too little."""
    left: list[Array | None] = [_residual(a, b, int(shift), least_frames, seed) for shift in shifts]
    known = [robust_sigma(r) for r in left if r is not None]
    sigma = max(min(known), LEAST_SIGMA) if known else 1.0
    return np.array(
        [np.nan if r is None else float(np.minimum((r / (INLIER_SIGMA * sigma)) ** 2, 1).mean()) for r in left]
    )


def _residual(a: Array, b: Array, shift: int, least_frames: int, seed: int) -> Array | None:
    start, stop = max(0, -shift), min(len(a), len(b) - shift)
    if stop - start < least_frames:
        return None
    both = np.isfinite(a[start:stop, :, 0]) & np.isfinite(b[start + shift : stop + shift, :, 0])
    seen = np.flatnonzero(both)
    if len(seen) < LEAST_POINTS or both.any(1).sum() < LEAST_FRAMES:
        return None
    some = np.random.default_rng(seed).permutation(len(seen))[:POINTS]
    frame, joint = np.divmod(seen[some], both.shape[1])
    frame += start
    return epipolar_residual(a[frame, joint], b[frame + shift, joint])


def epipolar_residual(a: Float[Array, "N 2"], b: Float[Array, "N 2"]) -> Float[Array, " N"]:
    """Sampson residuals of the fundamental matrix that explains most points."""
    (ha, ta), (hb, tb) = _normalised(a), _normalised(b)
    rows = (hb[:, :, None] * ha[:, None, :]).reshape(len(a), 9)
    weight, left = np.ones(len(a)), np.zeros(len(a))
    for _ in range(ROUNDS):
        values = np.linalg.eigh((rows * weight[:, None]).T @ rows)[1]
        u, s, vt = np.linalg.svd(values[:, 0].reshape(3, 3))
        matrix = tb.T @ (u * [s[0], s[1], 0]) @ vt @ ta
        left = sampson_residual(matrix, a, b)
        weight = 1 / (1 + (left / (2 * robust_sigma(left))) ** 2)
    return left


def _normalised(points: Array) -> tuple[Array, Array]:
    """Homogeneous points of mean 0 and deviation 1, and the matrix that makes them."""
    scale, middle = 1 / max(float(points.std(0).mean()), 1e-9), points.mean(0)
    matrix = np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])
    return np.concatenate([(points - middle) * scale, np.ones((len(points), 1))], 1), matrix
