"""Points from several views of known cameras.

Which function: `triangulate_linear` for many points fast (the n-view least-squares intersection of rays).

What breaks them all: rays that are nearly parallel. Two rays at angle a turn an error across the ray into one along it
that is 1/sin(a) times as large; `triangulation_angle` measures it. A single wrong view moves the linear solution
without bound.

Cameras are normalised matrices `[R | t]` (`camera.projection_matrix`), points are normalised coordinates
(`camera.normalise`). The view axis V is the last of the leading dimensions, and cameras broadcast: points `T J V 2` go
with cameras `V 3 4`.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vergence.errors import VergenceError


def _check(points: Tensor, cameras: Tensor) -> None:
    if points.ndim < 2 or points.shape[-1] != 2 or cameras.ndim < 3 or cameras.shape[-2:] != (3, 4):
        raise VergenceError(
            f"points {tuple(points.shape)} and cameras {tuple(cameras.shape)} are not (..., V, 2) and (..., V, 3, 4)"
        )
    if points.shape[-2] != cameras.shape[-3]:
        raise VergenceError(
            f"{points.shape[-2]} views of points, {cameras.shape[-3]} cameras", "Give each camera its points."
        )


def seen_weights(
    points: Float[Tensor, "... V 2"], cameras: Float[Tensor, "... V 3 4"], weights: Float[Tensor, "... V"] | None
) -> Float[Tensor, "... V"]:
    """Weights, 0 where a view says nothing: a NaN point, an unknown camera, a weight that is NaN or not positive."""
    seen = points.isfinite().all(-1) & cameras.isfinite().all(-1).all(-1)
    given = torch.ones_like(points[..., 0]) if weights is None else weights
    return torch.where(seen & (given > 0), given, torch.zeros_like(given)).to(points.dtype)


def triangulate_linear(
    points: Float[Tensor, "... V 2"],
    cameras: Float[Tensor, "... V 3 4"],
    weights: Float[Tensor, "... V"] | None = None,
    iterations: int = 0,
) -> Float[Tensor, "... 3"]:
    """Least-squares intersection of the rays of n views (Hartley & Zisserman 12.2, the inhomogeneous form).

    Minimises `sum_v w_v |depth_v * (projection_v - point_v)|^2` by its 3x3 normal equations, solved in closed form. It
    is exact for exact rays. The factor depth_v makes far views count more; each of `iterations` divides it away by the
    last depths (Hartley & Sturm 1997, "iterative linear LS"): two or three come close to the least reprojection error.

    Args:
        points: normalised coordinates; NaN = not seen.
        cameras: `[R | t]`; NaN = unknown.
        weights: of the squared residuals; 0 or NaN = not seen. Default 1.
        iterations: reweighting rounds.

    Returns:
        World points; NaN where fewer than two views see the point or their rays are parallel to rounding.
    """
    _check(points, cameras)
    weight = seen_weights(points, cameras, weights)
    seen = weight > 0
    xy = torch.where(seen[..., None], points, torch.zeros_like(points))
    p = torch.where(seen[..., None, None], cameras, torch.zeros_like(cameras))
    rows = xy[..., None] * p[..., 2:, :] - p[..., :2, :]  # ... V 2 4
    result = _solve_normal(rows, weight)
    for _ in range(iterations):
        depth = (p[..., 2, :3] * result[..., None, :]).sum(-1) + p[..., 2, 3]
        safe = torch.where(seen & (depth.abs() > 0), depth, torch.ones_like(depth)).detach()
        result = _solve_normal(rows, weight / safe**2)
    return torch.where((seen.sum(-1) >= 2)[..., None], result, torch.full_like(result, math.nan))


def _solve_normal(rows: Float[Tensor, "... V 2 4"], weight: Float[Tensor, "... V"]) -> Float[Tensor, "... 3"]:
    """argmin_X sum w |A X + b|^2 with rows [A | b], by the adjugate of the 3x3 normal matrix; NaN where singular."""
    weight = weight / weight.amax(-1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
    flat = rows.flatten(-3, -2)
    with torch.autocast(rows.device.type, enabled=False):
        gram = (flat * weight.repeat_interleave(2, dim=-1)[..., None]).mT @ flat
    m, b = gram[..., :3, :3], -gram[..., :3, 3]
    c0, c1, c2 = (torch.linalg.cross(m[..., i, :], m[..., j, :]) for i, j in ((1, 2), (2, 0), (0, 1)))
    det = (m[..., 0, :] * c0).sum(-1)
    size = m.diagonal(dim1=-2, dim2=-1).sum(-1) / 3
    sound = det > 8 * torch.finfo(det.dtype).eps * size**3
    adjugate = torch.stack([c0, c1, c2], dim=-1)
    solution = (adjugate * b[..., None, :]).sum(-1) / torch.where(sound, det, torch.ones_like(det))[..., None]
    return torch.where(sound[..., None], solution, torch.full_like(solution, math.nan))


def depths(points: Float[Tensor, "... 3"], cameras: Float[Tensor, "... V 3 4"]) -> Float[Tensor, "... V"]:
    """Depth of each world point before each camera, in world units; negative = behind it."""
    return (cameras[..., 2, :3] * points[..., None, :]).sum(-1) + cameras[..., 2, 3]


def in_front(points: Float[Tensor, "... 3"], cameras: Float[Tensor, "... V 3 4"]) -> Bool[Tensor, "... V"]:
    """Cheirality: the point is before the camera. False where point or camera is NaN."""
    return depths(points, cameras) > 0
