"""Points from several views of known cameras.

Which function:

* `triangulate_linear`: any number of views, fast, differentiable; least squares, so exact for exact rays.
* `triangulate_optimal`: two views, the global optimum of the reprojection error. Matters where depths differ much or
  rays are nearly parallel; elsewhere linear errors are one percent larger, and none after a few `iterations`.
* `triangulate_robust`: three or more views of which some may be wrong. Use it on detected keypoints.
* `vector_median`: EpipolarPose's way from the points of all pairs to one (`reconstruction.per_frame`).

What breaks them all: rays that are nearly parallel. Two rays at angle a turn an error across the ray into one along it
that is 1/sin(a) times as large. A single wrong view moves the linear solution without bound.

Cameras are normalised matrices `[R | t]`, points are normalised coordinates
(`camera.normalise`). The view axis V is the last of the leading dimensions, and cameras broadcast: points `T J V 2` go
with cameras `V 3 4`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vergence.errors import VergenceError
from vergence.geometry.cameras import Rig
from vergence.geometry.two_view import essential_of_cameras

ON_BASELINE = 1e-12  # length of a point's epipolar line, in that of the essential matrix


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


def reprojection_error(
    world: Float[Tensor, "... 3"], points: Float[Tensor, "... V 2"], cameras: Float[Tensor, "... V 3 4"]
) -> Float[Tensor, "... V"]:
    """Distance in normalised units (times the focal length: px) of each view's point from the projection.

    Infinite where the point is at or behind the camera, NaN where the view or the point is missing.
    """
    moved = (cameras[..., :3] * world[..., None, None, :]).sum(-1) + cameras[..., 3]
    z = moved[..., 2]
    behind = z <= 0
    xy = moved[..., :2] / torch.where(behind, torch.ones_like(z), z)[..., None]
    error = torch.linalg.vector_norm(xy - points, dim=-1)
    return torch.where(behind & ~error.isnan(), torch.full_like(error, math.inf), error)


@dataclass(frozen=True)
class RobustTriangulation:
    """Points with the views that they rest on.

    Attributes:
        points: NaN where fewer than two views agree.
        weights: given weight times Tukey's; 0 = the view is unseen or disagrees.
        error_px: reprojection error of every seen view, of those that disagree too.
    """

    points: Float[Tensor, "... 3"]
    weights: Float[Tensor, "... V"]
    error_px: Float[Tensor, "... V"]


def triangulate_robust(
    points: Float[Tensor, "... V 2"],
    cameras: Float[Tensor, "... V 3 4"],
    threshold_px: float,
    focal: float | Float[Tensor, "... V"],
    weights: Float[Tensor, "... V"] | None = None,
    rounds: int = 5,
) -> RobustTriangulation:
    """Triangulation that tolerates wrong views, as long as two right ones remain and outvote them.

    Every pair of views proposes a point; the one with the least truncated squared error over all views wins (MSAC, made
    exhaustive); Tukey-weighted least squares on reprojection errors refines it. With two views nothing can be outvoted:
    either they agree or the point is NaN. With three, a wrong view whose ray happens to meet a right one can win.

    Args:
        points: normalised coordinates; NaN = not seen.
        cameras: `[R | t]`; NaN = unknown.
        threshold_px: error from which a view counts nothing; about 4.7 standard deviations of the keypoints' noise is
            Tukey's usual choice.
        focal: px, of each view.
        weights: of the squared errors. Default 1.
        rounds: of refinement.
    """
    _check(points, cameras)
    given = seen_weights(points, cameras, weights)
    seen = given > 0
    scale = torch.as_tensor(focal, dtype=points.dtype, device=points.device)

    def errors(world: Tensor) -> Tensor:
        return reprojection_error(world, points, cameras) * scale

    world = _best_pair(points, cameras, given, errors, threshold_px)
    for _ in range(rounds):
        tukey = _tukey(errors(world), threshold_px)
        depth = depths(world, cameras)
        per_px = torch.where(seen & (depth > 0), scale / depth, torch.zeros_like(depth))
        world = triangulate_linear(points, cameras, given * tukey * per_px**2)
    error = torch.where(seen, errors(world), math.nan)
    support = given * _tukey(error, threshold_px)
    agree = (support > 0).sum(-1, keepdim=True) >= 2
    return RobustTriangulation(
        torch.where(agree, world, math.nan),
        torch.where(agree, support, torch.zeros_like(support)),
        torch.where(agree, error, math.nan),
    )


def _tukey(error: Tensor, threshold: float) -> Tensor:
    """Tukey's biweight; 0 for NaN."""
    return (1 - (error / threshold) ** 2).nan_to_num(0.0).clamp_min(0) ** 2


def _best_pair(
    points: Tensor, cameras: Tensor, given: Tensor, errors: Callable[[Tensor], Tensor], threshold: float
) -> Float[Tensor, "... 3"]:
    """The pair's point with the least truncated squared error over all views; NaN where no pair sees the joint."""
    best = torch.full((*given.shape[:-1], 3), math.nan, dtype=points.dtype, device=points.device)
    least = torch.full_like(best[..., 0], math.inf)
    for i, j in itertools.combinations(range(points.shape[-2]), 2):
        pair = [i, j]
        world = triangulate_linear(points[..., pair, :], cameras[..., pair, :, :], given[..., pair])
        truncated = errors(world).nan_to_num(threshold, posinf=threshold).clamp_max(threshold) ** 2
        cost = torch.where(world.isnan().any(-1), math.inf, (given * truncated).sum(-1))
        better = cost < least
        best, least = torch.where(better[..., None], world, best), torch.where(better, cost, least)
    return best


def triangulate_optimal(points: Float[Tensor, "... 2 2"], cameras: Float[Tensor, "2 3 4"]) -> Float[Tensor, "... 3"]:
    """The two-view point of least reprojection error, globally (Hartley & Sturm 1997; H&Z algorithm 12.1).

    Errors are taken in normalised coordinates, that is, both focal lengths as equal. Not differentiable.

    Args:
        points: normalised coordinates of exactly two views; NaN = not seen.
        cameras: `[R | t]`, R a rotation.

    Returns:
        World points; NaN where a view is missing or the rays are parallel.
    """
    _check(points, cameras)
    if points.shape[-2] != 2:
        raise VergenceError(f"{points.shape[-2]} views given, 2 needed", "Use triangulate_linear for more.")
    return triangulate_linear(correct_matches(points, cameras), cameras)


def correct_matches(points: Float[Tensor, "... 2 2"], cameras: Float[Tensor, "2 3 4"]) -> Float[Tensor, "... 2 2"]:
    """The closest pairs of points (sum of squared distances) whose rays meet exactly, by OpenCV: the error of two views can
    have three minima, and the roots of one polynomial of degree six are all of them. NaN where a view is missing;
    unchanged where both points look along the line between the cameras, for which OpenCV has no answer."""
    first, second = cameras.double().cpu().numpy()
    essential = essential_of_cameras(first[:, :3], first[:, 3], second[:, :3], second[:, 3])
    seen, out = points.isfinite().all(-1).all(-1), torch.full_like(points, math.nan)
    pairs = np.ascontiguousarray(points[seen].double().cpu().numpy().reshape(-1, 2, 2).swapaxes(0, 1))
    whole = np.concatenate([pairs, np.ones_like(pairs[..., :1])], -1)
    lines = np.maximum(np.abs(whole[0] @ essential.T), np.abs(whole[1] @ essential)).max(-1)
    meant = lines > ON_BASELINE * np.linalg.norm(essential)
    if meant.any():
        some = np.ascontiguousarray(pairs[:, meant])
        pairs[:, meant] = np.concatenate(cv2.correctMatches(essential, some[:1], some[1:]))
    out[seen] = torch.from_numpy(pairs.swapaxes(0, 1)).to(out).reshape(points[seen].shape)
    return out


def vector_median(candidates: Float[Tensor, "... C 3"]) -> Float[Tensor, "... 3"]:
    """The candidate with the least summed distance to the others; of two, their mean; NaN candidates do not vote."""
    seen = candidates.isfinite().all(-1)
    filled = torch.where(seen[..., None], candidates, torch.zeros_like(candidates))
    count = seen.sum(-1)
    total = torch.zeros_like(candidates[..., 0])
    for other in range(candidates.shape[-2]):
        distance = torch.linalg.vector_norm(filled - filled[..., other : other + 1, :], dim=-1)
        total = total + torch.where(seen[..., other : other + 1], distance, torch.zeros_like(distance))
    best = torch.where(seen, total, math.inf).argmin(-1)
    chosen = torch.take_along_dim(filled, best[..., None, None], dim=-2)[..., 0, :]
    mean = filled.sum(-2) / count.clamp_min(1)[..., None]
    result = torch.where((count == 2)[..., None], mean, chosen)
    return torch.where((count > 0)[..., None], result, math.nan)


def triangulate(
    rig: Rig, keypoints: Float[np.ndarray, "V J D"], threshold_px: float = 20.0
) -> tuple[Float[np.ndarray, "J 3"], Float[np.ndarray, " J"]]:
    """World points of what cameras see at one moment. A wrong view is outvoted where three or more cameras see the joint.

    Args:
        rig: cameras with intrinsics, R and t.
        keypoints: px of the images with their lenses, and a confidence (weight) where D is 3; NaN where not seen.
        threshold_px: reprojection error from which a camera counts nothing.

    Returns:
        Points in the rig's world and unit, NaN where fewer than two cameras agree, and the root mean square of the agreeing
        cameras' reprojection errors, px.

    Raises:
        VergenceError: keypoints of another number of cameras, or cameras that are not known.
    """
    given = np.asarray(keypoints, dtype=np.float64)
    if given.ndim != 3 or len(given) != len(rig) or given.shape[2] not in (2, 3):
        raise VergenceError(
            f"keypoints have shape {given.shape}", f"It is {len(rig)} (cameras) J 2 (x, y), or J 3 with a confidence."
        )
    image = np.stack([camera.normalise(own[:, :2]) for camera, own in zip(rig, given)], 1)
    sure = np.nan_to_num(given[..., 2].T) if given.shape[2] == 3 else np.ones(image.shape[:2])
    pose = np.stack([np.column_stack([camera.R, camera.t]) for camera in rig])
    focal = np.array([np.sqrt(camera.K[0, 0] * camera.K[1, 1]) for camera in rig])
    tensors = [torch.from_numpy(values) for values in (image, pose, focal, sure)]
    found = triangulate_robust(tensors[0], tensors[1], threshold_px, tensors[2], tensors[3])
    points, agree = found.points.numpy(), found.weights.numpy() > 0
    square = np.where(agree, found.error_px.numpy() ** 2, 0.0).sum(1) / np.maximum(agree.sum(1), 1)
    return points, np.where(np.isfinite(points).all(1), np.sqrt(square), np.nan)
