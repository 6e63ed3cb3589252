"""OpenCV's lens on numpy arrays, for whoever reads, solves or draws footage: torch takes seconds to import.

`geometry.camera` is the same lens where gradients are needed, and the reference: what Newton's method does not undo here
within a few plain steps (corners of strong lenses, pixels beyond a fold, fisheye lenses) is handed to it. The formulas
themselves stand here once. They are plain arithmetic, so that tensors pass through them as arrays do.

Arrays broadcast as there: points carry a joint axis, second to last, and cameras do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

Array = np.ndarray

FISHEYE_SIZE = 17  # coefficients of a row that may be a fisheye lens
QUICK_STEPS = 6


def bend(x: Any, y: Any, lens: Sequence[Any]) -> tuple[Any, Any]:
    """The lens on normalised coordinates: k1 k2 p1 p2 k3 (Brown-Conrady), or twelve, with k4 k5 k6 (a denominator) and the
    thin prism s1 s2 s3 s4 behind them."""
    k1, k2, p1, p2, k3, *more = lens
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    across, down = p2 * (r2 + 2 * x * x) + 2 * p1 * x * y, p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    if more:
        k4, k5, k6, s1, s2, s3, s4 = more
        radial = radial / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        across, down = across + r2 * (s1 + r2 * s2), down + r2 * (s3 + r2 * s4)
    return x * radial + across, y * radial + down


def bend_slopes(x: Any, y: Any, lens: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """The 2x2 derivative of `bend` by its point: (xx, xy, yx, yy)."""
    k1, k2, p1, p2, k3, *more = lens
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
    prism = [0 * r2] * 2
    if more:
        k4, k5, k6, s1, s2, s3, s4 = more
        below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        slope = (slope - radial / below * 2 * (k4 + r2 * (2 * k5 + r2 * 3 * k6))) / below
        radial = radial / below
        prism = [2 * (s1 + 2 * r2 * s2), 2 * (s3 + 2 * r2 * s4)]
    xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x + prism[0] * x
    yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x + prism[1] * y
    both = slope * x * y + 2 * p1 * x + 2 * p2 * y
    return xx, both + prism[0] * y, both + prism[1] * x, yy


def _coefficients(lens: Array) -> list[Array] | None:
    """Five or twelve, each with a joint axis; none of a lens without a bend; None where one may be a fisheye lens."""
    if lens.shape[-1] == FISHEYE_SIZE:
        if (lens[..., -1] > 0).any():
            return None
        lens = lens[..., :12]
    lens = lens if lens[..., 5:].any() else lens[..., :5]
    return [lens[..., None, i] for i in range(lens.shape[-1])] if lens.any() else []


def _by_torch(name: str, *values: Array) -> Array:
    import torch

    from vergence.geometry import camera

    found: Array = getattr(camera, name)(*map(torch.from_numpy, values)).numpy()
    return found


def project(
    points: Float[Array, "*N J 3"], intrinsics: Float[Array, "*N 3 3"], lens: Float[Array, "*N D"]
) -> Float[Array, "*N J 2"]:
    """Pixels of points in the camera's frame; NaN at or behind the camera. In float64."""
    points, k, lens = (np.asarray(value, dtype=np.float64) for value in (points, intrinsics, lens))
    bent = _coefficients(lens)
    if bent is None:
        return _by_torch("project", points, k, lens)
    depth = np.where(points[..., 2] > 0, points[..., 2], np.nan)
    x, y = points[..., 0] / depth, points[..., 1] / depth
    if bent:
        x, y = bend(x, y, bent)
    k = k[..., None, :, :]
    return np.stack([k[..., 0, 0] * x + k[..., 0, 1] * y + k[..., 0, 2], k[..., 1, 1] * y + k[..., 1, 2]], axis=-1)


def normalise(
    pixels: Float[Array, "*N J 2"], intrinsics: Float[Array, "*N 3 3"], lens: Float[Array, "*N D"]
) -> Float[Array, "*N J 2"]:
    """(x/z, y/z) of pixels, the lens undone; NaN where its model has no inverse. In float64."""
    pixels, k, lens = (np.asarray(value, dtype=np.float64) for value in (pixels, intrinsics, lens))
    bent = _coefficients(lens)
    if bent is None:
        return _by_torch("normalise", pixels, k, lens)
    k = k[..., None, :, :]
    y = (pixels[..., 1] - k[..., 1, 2]) / k[..., 1, 1]
    x = (pixels[..., 0] - k[..., 0, 2] - k[..., 0, 1] * y) / k[..., 0, 0]
    xy = np.stack([x, y], axis=-1)
    if not bent:
        return xy
    found, sound = _unbent(x, y, bent)
    hard = ~sound & np.isfinite(x) & np.isfinite(y)
    if hard.any():
        rows = np.broadcast_to(lens[..., None, :], (*x.shape, lens.shape[-1]))[hard]
        found[hard] = _by_torch("undistort", xy[hard][:, None], np.ascontiguousarray(rows))[:, 0]
    return found


@np.errstate(all="ignore")
def _unbent(wanted_x: Array, wanted_y: Array, lens: list[Array]) -> tuple[Array, Array]:
    """Newton's method in plain steps, and which points it has solved on the lens' own branch."""
    x, y, sound = wanted_x, wanted_y, np.ones(np.shape(wanted_x), dtype=bool)
    for step in range(QUICK_STEPS):
        bent_x, bent_y = bend(x, y, lens)
        a, b, c, d = bend_slopes(x, y, lens)
        det, off_x, off_y = a * d - b * c, bent_x - wanted_x, bent_y - wanted_y
        error = np.maximum(np.abs(off_x), np.abs(off_y))
        if step and not (error > 4 * np.finfo(np.float64).eps).any():
            break
        step_x, step_y = (d * off_x - b * off_y) / det, (a * off_y - c * off_x) / det
        reach = np.maximum(np.abs(wanted_x), np.abs(wanted_y)) / 2
        sound &= np.maximum(np.abs(step_x), np.abs(step_y)) <= reach + 1e-9  # else it may leap to another branch
        x, y = x - step_x, y - step_y
    sound &= (error <= 1e3 * np.finfo(np.float64).eps) & (det > 0) & (a > 0)
    found = np.stack([x, y], axis=-1)
    found[~sound] = np.nan
    return found, sound
