"""Pinhole cameras on numpy arrays, for whoever reads, solves or draws footage: torch takes seconds to import.

`geometry.camera` is the same where gradients are needed, and the reference: what Newton's method does not undo here within
a few plain steps (corners of strong lenses, pixels beyond a fold, fisheye lenses) is handed to it. Arrays broadcast as
there: points carry a joint axis, second to last, and cameras do not.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vergence.geometry.lens import FISHEYE_SIZE, bend, bend_slopes

Array = np.ndarray

QUICK_STEPS = 6


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

    found: Array = getattr(camera, name)(*(torch.from_numpy(np.array(value)) for value in values)).numpy()
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
        return np.where(np.isnan(xy).any(-1, keepdims=True), np.nan, xy)
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
