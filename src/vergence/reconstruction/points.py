"""Points of cameras that are held: each by itself, many at once.

The whole recording's joints pass here, where the adjustment of the rig (`bundle`) sees a part of them. So nothing is formed
but each point's own 3x3 system, view by view, in chunks that stay in the processor's cache, and each point goes on only as
long as it still falls.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from vergence.reconstruction.bundle import SYMMETRIC, Bundle, Loss, damped, invert_symmetric, least_depth, robust_loss

Array = np.ndarray

CHUNK = 4096
LEAST_DAMPING, FIRST_DAMPING, MOST_DAMPING = 1e-9, 1e-3, 1e8


def linear_points(
    cameras: Bundle, observed: Float[Array, "V 2 N"], weight: Float[Array, "V N"], iterations: int = 1
) -> Float[Array, "N 3"]:
    """Weighted linear triangulation, as `triangulation.triangulate_linear`, in this room's layout and many times as fast.

    Minimises `sum w |depth (projection - observation)|^2`, the depth of the round before divided out in each of
    `iterations`.
    NaN where fewer than two views have weight or the rays are parallel to rounding.
    """
    out = np.full((weight.shape[1], 3), np.nan)
    use = np.flatnonzero((weight > 0).sum(0) >= 2)
    for start in range(0, len(use), CHUNK):
        some = use[start : start + CHUNK]
        out[some] = _intersections(cameras, observed[:, :, some], weight[:, some], iterations)
    return out


def _intersections(cameras: Bundle, observed: Array, weight: Array, iterations: int) -> Float[Array, "N 3"]:
    seen = weight > 0
    xy = np.where(seen[:, None], observed, 0.0) / cameras.focal[:, :, None]
    rotation, translation = cameras.rotation, cameras.translation
    terms = np.empty((len(xy), 9, xy.shape[2]))  # of each view: xx xy xz yy yz zz, and the right side
    for (x, y), turn, moved, own in zip(xy, rotation[..., None], translation, terms):
        across, down = x * turn[2] - turn[0], y * turn[2] - turn[1]
        for k, (i, j) in enumerate(SYMMETRIC):
            own[k] = across[i] * across[j] + down[i] * down[j]
        own[6:] = across * (moved[0] - x * moved[2]) + down * (moved[1] - y * moved[2])
    trust = np.where(seen, weight, 0.0)
    share = trust
    for _ in range(iterations + 1):
        system = np.einsum("vkn,vn->kn", terms, share)
        with np.errstate(all="ignore"):  # of parallel rays
            points = _times(invert_symmetric(system[:6]), system[6:])
        depth = rotation[:, 2] @ points + translation[:, 2, None]
        share = trust / np.maximum(depth**2, 1e-12)
    return np.where(np.isfinite(points).all(0), points, np.nan).T


def _times(matrix: Float[Array, "3 3 N"], vector: Float[Array, "3 N"]) -> Float[Array, "3 N"]:
    return matrix[:, 0] * vector[0] + matrix[:, 1] * vector[1] + matrix[:, 2] * vector[2]


def _systems(
    cameras: Bundle, points: Float[Array, "3 N"], observed: Array, weight: Array, loss: Loss, scale: float, floor: float
) -> tuple[Float[Array, " N"], Float[Array, "6 N"], Float[Array, "3 N"]]:
    """Each point's robust cost, Gauss-Newton matrix and gradient."""
    cost, matrix, gradient = (np.zeros((*size, points.shape[1])) for size in ((), (6,), (3,)))
    for v in range(len(weight)):
        x, y, depth = cameras.rotation[v] @ points + cameras.translation[v][:, None]
        inverse = 1 / np.maximum(depth, floor)
        x, y = x * inverse, y * inverse
        off_x, off_y = cameras.focal[v, 0] * x - observed[v, 0], cameras.focal[v, 1] * y - observed[v, 1]
        rho, slope = robust_loss((off_x**2 + off_y**2) / scale**2, loss)
        cost += weight[v] * rho
        slope = weight[v] * slope
        first, second, third = cameras.rotation[v][:, :, None]
        across = (cameras.focal[v, 0] * inverse) * (first - x * third)
        down = (cameras.focal[v, 1] * inverse) * (second - y * third)
        pull_x, pull_y = slope * across, slope * down
        gradient += pull_x * off_x + pull_y * off_y
        for k, (i, j) in enumerate(SYMMETRIC):
            matrix[k] += pull_x[i] * across[j] + pull_y[i] * down[j]
    return 0.5 * scale**2 * cost, matrix, gradient


def adjust_points(
    cameras: Bundle,
    observed: Float[Array, "V 2 N"],
    weight: Float[Array, "V N"],
    *,
    loss: Loss = "cauchy",
    scale: float = 1.0,
    iterations: int = 30,
    tolerance: float = 1e-6,
) -> Float[Array, "N 3"]:
    """Points of least robust reprojection error, from the cameras' own on (`bundle.adjust`, cameras held).

    Args:
        cameras: held; their points are the start, all finite.
        observed: px from the principal point, lens undone; anything where the weight is 0.
        weight: confidence of each, 0 where missing.
        loss, scale: the robust loss and the residual (px) at which it bends.
        iterations: at most so many steps.
        tolerance: relative fall of its cost at which a point is done.
    """
    out = cameras.points.copy()
    if not len(out):
        return out
    depth = cameras.rotation[:, 2] @ out.T + cameras.translation[:, 2, None]
    floor, how = least_depth(depth), (loss, scale, iterations, tolerance)
    for start in range(0, len(out), CHUNK):
        some = slice(start, start + CHUNK)
        seen = np.where((weight[:, some] > 0)[:, None], observed[:, :, some], 0.0)
        out[some] = _descended(cameras, out[some].T, seen, weight[:, some], floor, *how).T
    return out


def _descended(
    cameras: Bundle, points: Float[Array, "3 N"], observed: Array, weight: Array, floor: float,
    loss: Loss, scale: float, iterations: int, tolerance: float,
) -> Float[Array, "3 N"]:  # fmt: skip
    """Levenberg-Marquardt of each point by itself; those that are done leave."""
    points, how = points.copy(), (loss, scale, floor)
    damping, left = np.full(points.shape[1], FIRST_DAMPING), np.arange(points.shape[1])
    cost, matrix, gradient = _systems(cameras, points, observed, weight, *how)
    for _ in range(iterations):
        inverse = invert_symmetric(damped(matrix, damping))
        tried = points[:, left] - _times(inverse, gradient)
        new = _systems(cameras, tried, observed, weight, *how)
        better = new[0] < cost
        points[:, left[better]] = tried[:, better]
        done = np.where(better, cost - new[0] < tolerance * cost, damping > MOST_DAMPING)
        damping = np.where(better, np.maximum(damping / 5, LEAST_DAMPING), damping * 6)
        go = ~done
        cost, matrix, gradient = (np.where(better, n, o)[..., go] for n, o in zip(new, (cost, matrix, gradient)))
        left, damping, observed, weight = left[go], damping[go], observed[:, :, go], weight[:, go]
        if not len(left):
            break
    return points


def point_covariance(
    cameras: Bundle, points: Float[Array, "N 3"], weight: Float[Array, "V N"]
) -> Float[Array, "N 3 3"]:
    """Covariance of points of fixed cameras for a noise of 1 px; huge where the views do not hold a point."""
    scene = replace(cameras, points=points)
    floor = least_depth(scene.rotation[:, 2] @ points.T + scene.translation[:, 2, None])
    _, matrix, _ = _systems(cameras, points.T, np.zeros((len(weight), 2, 1)), weight, "squared", 1.0, floor)
    return invert_symmetric(damped(matrix, 0.0)).transpose(2, 0, 1)


def normal_equations(
    cameras: Bundle,
    points: Float[Array, "N 3"],
    observed: Float[Array, "V 2 N"],
    weight: Float[Array, "V N"],
    scale: float,
) -> tuple[Float[Array, "6 N"], Float[Array, "3 N"]]:
    """Gauss-Newton matrix (xx xy xz yy yz zz) and gradient of each point's Cauchy reprojection cost, cameras held."""
    observed = np.where((weight > 0)[:, None], observed, 0.0)
    floor = least_depth(cameras.rotation[:, 2] @ points.T + cameras.translation[:, 2, None])
    return _systems(cameras, points.T, observed, weight, "cauchy", scale, floor)[1:]
