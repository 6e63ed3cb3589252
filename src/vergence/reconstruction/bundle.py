"""Bundle adjustment: cameras and points that together explain the 2D joints best.

The essential matrix leaves relative rotations ten degrees off on noisy joints; adjusting all cameras and all points
at once under a robust loss brings them to a few tenths of a degree, so no rig is reported without it.

Why our own Levenberg-Marquardt and not `scipy.optimize.least_squares`: the unknowns are a handful of cameras and
thousands of points, and points meet only through cameras. Eliminating each point's 3x3 block (Schur complement;
Triggs et al., "Bundle Adjustment - A Modern Synthesis", section 6.1) leaves a dense system of 6 or 7 unknowns a
camera; all of it is a few vectorised numpy lines, and 200 frames x 17 joints x 4 cameras take milliseconds an
iteration. Several starts then cost less than one of SciPy's, and several starts are what this problem needs. The
tests hold it against SciPy.

What breaks it: a start in a wrong basin (many local minima have small steps and a large cost: compare costs of
several starts), points without parallax (their blocks are near singular; damping keeps the step finite), wrong focal
lengths (a smooth, large residual). The gauge is held: the first camera never moves, the scale of the rig about it is
kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from vergence.geometry.cameras import skew

Loss = Literal["squared", "soft_l1", "cauchy", "geman_mcclure"]
FocalMode = Literal["fixed", "shared", "each"]
Array = np.ndarray

CAMERA_SIZE = 7  # rotation 3, translation 3, log focal length 1
LENS_SIZE = 4  # principal point (px), radial terms: asked of by `reduced_system`, never adjusted
LATE = CAMERA_SIZE + LENS_SIZE  # the unknown beside these: frames by which a camera is late
SYMMETRIC = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # a symmetric 3x3 matrix as six numbers
MIN_DEPTH_SHARE = 0.02  # of the median depth: nearer points are treated as if at that depth, so that steps stay finite


@dataclass(frozen=True)
class Bundle:
    """Cameras and points, and how well they explain the joints.

    Attributes:
        rotation, translation: V 3 3 and V 3, `x_cam = R x + t`.
        focal: V 2, in pixels, x and y.
        points: N 3.
        cost: the robust cost, half the sum of weight x loss, in px^2.
        iterations: steps tried; `converged` is False where the limit ended them.
    """

    rotation: Float[Array, "V 3 3"]
    translation: Float[Array, "V 3"]
    focal: Float[Array, "V 2"]
    points: Float[Array, "N 3"]
    cost: float = np.inf
    iterations: int = 0
    converged: bool = False


class _System(NamedTuple):
    """The normal equations, by block (C = 7 unknowns a camera, 12 with lens and time)."""

    camera: Array  # V C C
    camera_gradient: Array  # V C
    point: Array  # 6 N: xx xy xz yy yz zz
    point_gradient: Array  # 3 N
    cross: Array  # V C 3 N


def robust_loss(squared: Array, loss: Loss) -> tuple[Array, Array]:
    """rho(z) and rho'(z) of a squared, scaled residual z; rho'(0) = 1 for every loss."""
    if loss == "squared":
        return squared, np.ones_like(squared)
    if loss == "soft_l1":
        root = np.sqrt(1 + squared)
        return 2 * (root - 1), 1 / root
    inverse = 1 / (1 + squared)
    if loss == "cauchy":
        return np.log1p(squared), inverse
    return squared * inverse, inverse**2


def project_points(bundle: Bundle) -> tuple[Float[Array, "V 2 N"], Float[Array, "V N"]]:
    """Projections in pixels from the principal point, and depths."""
    camera = bundle.rotation @ bundle.points.T + bundle.translation[:, :, None]
    depth = camera[:, 2]
    return bundle.focal[:, :, None] * camera[:, :2] / _safe_depth(depth)[:, None], depth


def least_depth(depth: Float[Array, "V N"]) -> float:
    """What nearer points are taken to be at."""
    some = np.abs(depth[:, :: max(depth.shape[1] // 100, 1)]).ravel()  # a median: points at infinity must not count
    middle = float(np.partition(some, len(some) // 2)[len(some) // 2]) if some.size else 0.0
    return MIN_DEPTH_SHARE * max(middle, 1e-12)


def _safe_depth(depth: Array) -> Array:
    return np.maximum(depth, least_depth(depth))


def residuals(bundle: Bundle, observed: Float[Array, "V 2 N"]) -> Float[Array, "V 2 N"]:
    """Projection minus observation, in pixels; NaN where nothing was observed."""
    return project_points(bundle)[0] - observed


def robust_cost(bundle: Bundle, observed: Array, weight: Float[Array, "V N"], loss: Loss, scale: float) -> float:
    """Half the sum of weight x scale^2 x rho(|r|^2 / scale^2) over what was observed."""
    squared = (np.nan_to_num(residuals(bundle, observed)) ** 2).sum(1)
    return float(0.5 * scale**2 * (weight * robust_loss(squared / scale**2, loss)[0]).sum())


def linearise(
    bundle: Bundle, observed: Array, weight: Array, loss: Loss, scale: float, motion: Array | None = None
) -> tuple[float, _System]:
    """Cost and Gauss-Newton normal equations with the robust weights of this point (IRLS); with the points' `motion` in the
    images (V 2 N, px a frame) those of the lens and of time as well."""
    views, count = weight.shape
    turned = bundle.rotation @ bundle.points.T
    moved = turned + bundle.translation[:, :, None]
    inverse = 1 / _safe_depth(moved[:, 2])
    x, y = moved[:, 0] * inverse, moved[:, 1] * inverse
    fx, fy = bundle.focal[:, 0, None], bundle.focal[:, 1, None]
    error = np.stack([fx * x, fy * y], 1) - observed
    rho, slope = robust_loss((error**2).sum(1) / scale**2, loss)
    cost = float(0.5 * scale**2 * (weight * rho).sum())
    root = np.sqrt(weight * slope)
    a, b = fx * inverse * root, fy * inverse * root
    qx, qy, qz = turned[:, 0], turned[:, 1], turned[:, 2]
    jc = np.zeros((views, CAMERA_SIZE + (0 if motion is None else LENS_SIZE + 1), 2, count))
    jc[:, 0, 0], jc[:, 0, 1] = -a * x * qy, -b * (qz + y * qy)
    jc[:, 1, 0], jc[:, 1, 1] = a * (qz + x * qx), b * y * qx
    jc[:, 2, 0], jc[:, 2, 1] = -a * qy, b * qx
    jc[:, 3, 0], jc[:, 4, 1] = a, b
    jc[:, 5, 0], jc[:, 5, 1] = -a * x, -b * y
    jc[:, 6, 0], jc[:, 6, 1] = fx * x * root, fy * y * root
    if motion is not None:  # projection = f x (1 + k1 r^2 + k2 r^4) + c + motion late
        radius = x**2 + y**2
        jc[:, 7, 0] = jc[:, 8, 1] = root
        jc[:, 9] = jc[:, 6] * radius[:, None]
        jc[:, 10] = jc[:, 9] * radius[:, None]
        jc[:, LATE] = motion * root[:, None]
    rows = bundle.rotation
    jp = np.empty((views, 3, 2, count))
    jp[:, :, 0] = a[:, None] * (rows[:, 0, :, None] - x[:, None] * rows[:, 2, :, None])
    jp[:, :, 1] = b[:, None] * (rows[:, 1, :, None] - y[:, None] * rows[:, 2, :, None])
    error = error * root[:, None]
    flat = jc.reshape(views, jc.shape[1], -1)
    return cost, _System(
        camera=flat @ flat.transpose(0, 2, 1),
        camera_gradient=(flat @ error.reshape(views, -1, 1))[..., 0],
        point=np.stack([(jp[:, i] * jp[:, j]).sum((0, 1)) for i, j in SYMMETRIC]),
        point_gradient=(jp * error[:, None]).sum((0, 2)),
        cross=jc[:, :, None, 0] * jp[:, None, :, 0] + jc[:, :, None, 1] * jp[:, None, :, 1],
    )


def invert_symmetric(m: Float[Array, "6 N"]) -> Float[Array, "3 3 N"]:
    """Inverses of symmetric 3x3 matrices given as xx xy xz yy yz zz, by cofactors."""
    a, b, c, d, e, f = m
    c00, c01, c02 = d * f - e * e, c * e - b * f, b * e - c * d
    c11, c12, c22 = a * f - c * c, b * c - a * e, a * d - b * b
    inverse = 1 / np.maximum(a * c00 + b * c01 + c * c02, 1e-300)
    out = np.empty((3, 3, m.shape[1]))
    out[0, 0], out[1, 1], out[2, 2] = c00 * inverse, c11 * inverse, c22 * inverse
    out[0, 1] = out[1, 0] = c01 * inverse
    out[0, 2] = out[2, 0] = c02 * inverse
    out[1, 2] = out[2, 1] = c12 * inverse
    return out


def damped(matrix: Float[Array, "6 N"], damping: float | Float[Array, " N"]) -> Float[Array, "6 N"]:
    """Points' own matrices (xx xy xz yy yz zz), their diagonals made longer."""
    out = matrix.copy()
    diagonal = matrix[[0, 3, 5]]
    out[[0, 3, 5]] += damping * diagonal + 1e-9 * diagonal.sum(0) + 1e-12
    return out


def _reduce(system: _System, damping: float) -> tuple[Array, Array, Array]:
    """Schur complement of the points: the system (VC, VC), its right side (VC,), and the points' inverses."""
    views, size = system.camera_gradient.shape
    inverse = invert_symmetric(damped(system.point, damping))
    cross = system.cross
    scaled = cross[:, :, 0, None] * inverse[0] + cross[:, :, 1, None] * inverse[1] + cross[:, :, 2, None] * inverse[2]
    flat = scaled.reshape(views * size, -1)
    reduced = -(flat @ cross.reshape(views * size, -1).T)
    for v in range(views):
        block = slice(v * size, (v + 1) * size)
        camera = system.camera[v]
        reduced[block, block] += camera + damping * np.diag(np.diag(camera))
    right = system.camera_gradient.reshape(-1) - flat @ system.point_gradient.reshape(-1)
    return reduced, right, inverse


def free_parameters(views: int, focal: FocalMode) -> Float[Array, "P F"]:
    """What may move: columns are free unknowns, rows the 7 of each camera. The first camera's pose is the gauge."""
    columns = [np.eye(views * CAMERA_SIZE)[:, v * CAMERA_SIZE + i] for v in range(1, views) for i in range(6)]
    focal_rows = np.eye(views * CAMERA_SIZE)[:, CAMERA_SIZE - 1 :: CAMERA_SIZE]
    if focal == "shared":
        columns.append(focal_rows.sum(1))
    elif focal == "each":
        columns += list(focal_rows.T)
    return np.stack(columns, 1)


def _scale_direction(bundle: Bundle) -> Float[Array, " P"]:
    """The direction in camera unknowns that grows the rig about its first camera."""
    centre = -bundle.rotation[0].T @ bundle.translation[0]
    direction = np.zeros((len(bundle.rotation), CAMERA_SIZE))
    direction[:, 3:6] = bundle.translation + bundle.rotation @ centre
    return direction.reshape(-1)


def _solve_step(system: _System, bundle: Bundle, free: Array, damping: float) -> tuple[Array, Array]:
    """Damped step of cameras (V C) and points (N 3)."""
    reduced, right, inverse = _reduce(system, damping)
    views = len(bundle.rotation)
    small, gauge = free.T @ reduced @ free, free.T @ _scale_direction(bundle)
    norm = gauge @ gauge
    if norm > 0:
        small = small + np.outer(gauge, gauge) * (np.trace(small) / norm)
    small = small + np.eye(len(small)) * (1e-12 * np.trace(small) + 1e-300)
    step = -(free @ np.linalg.solve(small, free.T @ right)).reshape(views, CAMERA_SIZE)
    gradient = system.point_gradient + np.tensordot(step, system.cross, axes=((0, 1), (0, 1)))
    points = -(inverse[:, 0] * gradient[0] + inverse[:, 1] * gradient[1] + inverse[:, 2] * gradient[2])
    return step, points.T


def turns(vectors: Float[Array, "V 3"]) -> Float[Array, "V 3 3"]:
    """Rotations by axis and angle."""
    return np.stack([cv2.Rodrigues(vector)[0] for vector in vectors])


def stepped(bundle: Bundle, step: Array, points: Array) -> Bundle:
    return replace(
        bundle,
        rotation=turns(step[:, :3]) @ bundle.rotation,
        translation=bundle.translation + step[:, 3:6],
        focal=bundle.focal * np.exp(np.clip(step[:, 6:], -0.5, 0.5)),
        points=bundle.points + points,
    )


def _recentred(bundle: Bundle, shift: Array) -> Bundle:
    """The same scene with `shift` as the world's origin: rotations then turn about the person, not a far camera."""
    return replace(bundle, points=bundle.points - shift, translation=bundle.translation + bundle.rotation @ shift)


def adjust(
    start: Bundle,
    observed: Float[Array, "V 2 N"],
    weight: Float[Array, "V N"],
    *,
    loss: Loss = "cauchy",
    scale: float = 1.0,
    focal: FocalMode = "fixed",
    iterations: int = 30,
    tolerance: float = 1e-6,
) -> Bundle:
    """Levenberg-Marquardt on cameras and points under a robust loss.

    Args:
        start: cameras and points to begin with, all finite.
        observed: joints in pixels from the principal point, lens distortion removed; anything where the weight is 0.
        weight: confidence of each, 0 where missing.
        loss, scale: the robust loss and the residual (px) at which it bends.
        focal: hold the focal lengths, or find one factor for all cameras, or one for each.
        iterations: at most so many steps.
        tolerance: relative fall of the cost that ends the descent.
    """
    observed = np.where((weight > 0)[:, None], observed, 0.0)
    shift = np.median(start.points, axis=0)
    bundle = _recentred(start, shift)
    free = free_parameters(len(weight), focal)
    damping, converged, tried = 1e-3, False, 0
    cost, system = linearise(bundle, observed, weight, loss, scale)
    while tried < iterations and not converged:
        tried += 1
        candidate = stepped(bundle, *_solve_step(system, bundle, free, damping))
        new_cost = robust_cost(candidate, observed, weight, loss, scale)
        if new_cost < cost:
            converged = cost - new_cost < tolerance * cost
            bundle, damping = candidate, max(damping / 5, 1e-9)
            cost, system = linearise(bundle, observed, weight, loss, scale)
        else:
            damping *= 6
            converged = damping > 1e8
    return replace(_recentred(bundle, -shift), cost=cost, iterations=tried, converged=converged)


def camera_covariance(
    bundle: Bundle,
    observed: Float[Array, "V 2 N"],
    weight: Float[Array, "V N"],
    *,
    sigma: float,
    focal: FocalMode = "fixed",
) -> Float[Array, "P P"]:
    """Covariance of the camera unknowns, points marginalised, first camera and scale held.

    The inverse of the reduced normal equations times the noise's variance. Only what agrees may be given weight: one
    joint thrown metres away by an outlier would otherwise count as a point seen far off, that is, as information.

    Args:
        bundle: the adjusted scene.
        observed, weight: as adjusted, outliers at weight 0.
        sigma: noise of one coordinate, px.
        focal: which focal lengths were free.
    """
    observed = np.where((weight > 0)[:, None], observed, 0.0)
    centred = _recentred(bundle, np.median(bundle.points, axis=0))
    _, system = linearise(centred, observed, weight, "squared", 1.0)
    reduced, _, _ = _reduce(system, 0.0)
    free = free_parameters(len(weight), focal)
    gauge = free.T @ _scale_direction(centred)
    small = free.T @ reduced @ free
    small = small + np.outer(gauge, gauge) * (np.trace(small) / max(gauge @ gauge, 1e-300))
    return free @ np.linalg.pinv(small, hermitian=True) @ free.T * sigma**2


def reduced_system(
    bundle: Bundle,
    observed: Float[Array, "V 2 N"],
    weight: Float[Array, "V N"],
    scale: float,
    motion: Float[Array, "V 2 N"] | None = None,
) -> tuple[Float[Array, "V 12 V 12"], Float[Array, "V 12"]]:
    """Matrix and gradient of the Cauchy cost in all that a camera and its lens may be wrong in, points eliminated.

    A camera's unknowns: rotation 3, translation 3, log focal length, principal point 2 (px), radial terms k1 and k2, and the
    frames by which it shows something later (`motion`: px a frame; not given: nothing moves). The scale of the rig is held,
    the first camera is not.
    """
    motion = np.zeros(observed.shape) if motion is None else motion
    observed = np.where((weight > 0)[:, None], observed, 0.0)
    centred = _recentred(bundle, np.median(bundle.points, axis=0))
    _, system = linearise(centred, observed, weight, "cauchy", scale, motion)
    reduced, gradient, _ = _reduce(system, 0.0)
    views, size = system.camera_gradient.shape
    matrix = reduced.reshape(views, size, views, size)
    gauge = _scale_direction(centred).reshape(views, CAMERA_SIZE)
    strength = np.trace(reduced) / max((gauge**2).sum(), 1e-300)
    matrix[:, :CAMERA_SIZE, :, :CAMERA_SIZE] += strength * gauge[:, :, None, None] * gauge
    return matrix, gradient.reshape(views, size)


def rotation_uncertainty(bundle: Bundle, covariance: Float[Array, "P P"]) -> Float[Array, "V V"]:
    """Predicted error of each pair's relative rotation: root mean square angle in radians."""
    views = len(bundle.rotation)
    blocks = covariance.reshape(views, CAMERA_SIZE, views, CAMERA_SIZE)[:, :3, :, :3]
    out = np.zeros((views, views))
    for a in range(views):
        for b in range(a + 1, views):
            turn = bundle.rotation[b] @ bundle.rotation[a].T
            cross = blocks[b, :, a] @ turn.T
            spread = blocks[b, :, b] + turn @ blocks[a, :, a] @ turn.T - cross - cross.T
            out[a, b] = out[b, a] = np.sqrt(max(np.trace(spread), 0.0))
    return out


def baseline_uncertainty(bundle: Bundle, covariance: Float[Array, "P P"]) -> Float[Array, "V V"]:
    """Predicted error of the direction from camera a to camera b in a's axes, for a < b: root mean square angle, radians."""
    centred, views = _recentred(bundle, np.median(bundle.points, axis=0)), len(bundle.rotation)
    out = np.zeros((views, views))
    for a in range(views):
        for b in range(a + 1, views):
            turn = centred.rotation[a] @ centred.rotation[b].T
            seen = turn @ centred.translation[b]
            baseline = centred.translation[a] - seen
            moves = np.zeros((3, views, CAMERA_SIZE))
            moves[:, a, :3], moves[:, a, 3:6] = skew(seen), np.eye(3)
            moves[:, b, :3], moves[:, b, 3:6] = -turn @ skew(centred.translation[b]), -turn
            length = np.linalg.norm(baseline)
            aside = np.eye(3) - np.outer(baseline, baseline) / length**2
            moves = aside @ moves.reshape(3, -1) / length
            out[a, b] = out[b, a] = np.sqrt(max(np.trace(moves @ covariance @ moves.T), 0.0))
    return out
