"""Pinhole cameras with OpenCV's lens model: project, normalise, move between frames.

Everything here is elementwise arithmetic rather than matrix products, so that a loss computed under mixed precision
keeps the precision of its inputs: at 5 m, bfloat16 is a step of 32 mm.

Conventions: x right, y down, z forward; `x_camera = R x_world + t`; pixel (0, 0) is the centre of the top-left pixel;
distortion is k1 k2 p1 p2 k3, or OpenCV's twelve, with k4 k5 k6 (a denominator) and s1 s2 s3 s4 (thin prism) behind them,
or seventeen: those twelve, the four of OpenCV's fisheye model, and 1 where that model holds (`fisheye_lens`), so that
cameras of both kinds are rows of one array. What is missing is NaN and stays NaN.

**Broadcasting.** Points and pixels always carry a joint axis, second to last, and cameras never do: points `... J 3`
go with intrinsics `... 3 3`, distortion `... 5` (or 12), rotation `... 3 3` and translation `... 3`, whose leading dimensions
broadcast against the points' leading dimensions *without* J. One camera `3 3` fits any points; cameras `V 3 3` see
points `J 3` as `V J 2`; one camera per point is points `N 1 3` with cameras `N 3 3`.

What breaks: intrinsics are upper triangular with a last row 0 0 1 (anything else is a homography, not a camera). A lens
polynomial is a fit, good up to the image's corners. Beyond, it folds back: `project` follows it as OpenCV does, and
`normalise` gives NaN where no point of the model's own branch lands on the pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vergence.errors import VergenceError
from vergence.geometry.lens import FISHEYE_SIZE, bend, bend_slopes

NEWTON_STEPS = 30  # quadratic near the solution: 4 to 6 are used; the rest is for corners of strong lenses


def _check(points: Tensor, size: int, what: str) -> None:
    if points.ndim < 2 or points.shape[-1] != size:
        raise VergenceError(
            f"{what} have shape {tuple(points.shape)}, not (..., J, {size})",
            "Give one point a joint axis: point[None].",
        )


def fisheye_lens(coefficients: Sequence[float]) -> list[float]:
    """OpenCV's fisheye k1 k2 k3 k4 as a distortion of this module: theta (1 + k1 theta^2 + ... + k4 theta^8) from the axis."""
    return [0.0] * 12 + [float(value) for value in coefficients] + [1.0]


def project(
    points: Float[Tensor, "... J 3"],
    intrinsics: Float[Tensor, "... 3 3"],
    distortion: Float[Tensor, "... D"] | None = None,
) -> Float[Tensor, "... J 2"]:
    """Pixels of points in the camera frame. A point at or behind the camera (z <= 0) has none: NaN, zero gradient."""
    _check(points, 3, "points")
    depth = points[..., 2:]
    seen = depth > 0
    xy = points[..., :2] / torch.where(seen, depth, torch.ones_like(depth))
    pixels = denormalise(xy, intrinsics, distortion)
    return torch.where(seen, pixels, torch.full_like(pixels, math.nan))


def denormalise(
    xy: Float[Tensor, "... J 2"],
    intrinsics: Float[Tensor, "... 3 3"],
    distortion: Float[Tensor, "... D"] | None = None,
) -> Float[Tensor, "... J 2"]:
    """Pixels of normalised coordinates (x/z, y/z): the lens, then K."""
    _check(xy, 2, "normalised coordinates")
    if distortion is not None:
        xy = distort(xy, distortion)
    x, y = xy.unbind(-1)
    k = intrinsics[..., None, :, :]
    return torch.stack([k[..., 0, 0] * x + k[..., 0, 1] * y + k[..., 0, 2], k[..., 1, 1] * y + k[..., 1, 2]], dim=-1)


def normalise(
    pixels: Float[Tensor, "... J 2"],
    intrinsics: Float[Tensor, "... 3 3"],
    distortion: Float[Tensor, "... D"] | None = None,
) -> Float[Tensor, "... J 2"]:
    """Normalised coordinates (x/z, y/z) of pixels: K^-1, then the lens undone.

    NaN passes through; a pixel outside the lens model's range is NaN (see `undistort`).
    """
    _check(pixels, 2, "pixels")
    k = intrinsics[..., None, :, :]
    y = (pixels[..., 1] - k[..., 1, 2]) / k[..., 1, 1]
    x = (pixels[..., 0] - k[..., 0, 2] - k[..., 0, 1] * y) / k[..., 0, 0]
    xy = torch.stack([x, y], dim=-1)
    return xy if distortion is None else undistort(xy, distortion)


def distort(xy: Float[Tensor, "... J 2"], distortion: Float[Tensor, "... D"]) -> Float[Tensor, "... J 2"]:
    """The lens: radial k1 k2 k3 and tangential p1 p2 (Brown-Conrady; OpenCV's `calib3d` documentation), and of twelve
    coefficients the radial denominator k4 k5 k6 and the thin prism s1 s2 s3 s4; of seventeen, the fisheye model (Kannala and
    Brandt 2006; OpenCV's `fisheye`) where the last is 1."""
    if distortion.shape[-1] == FISHEYE_SIZE:
        wide = distortion[..., None, 16:] > 0
        return torch.where(wide, _distort_fisheye(xy, distortion[..., 12:16]), distort(xy, distortion[..., :12]))
    return torch.stack(bend(xy[..., 0], xy[..., 1], distortion[..., None, :].unbind(-1)), dim=-1)


def _angle_polynomial(theta: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Theta as a fisheye lens bends it, and its derivative; `k` has theta's dimensions and one of four behind."""
    q = theta * theta
    k1, k2, k3, k4 = k.unbind(-1)
    value = theta * (1 + q * (k1 + q * (k2 + q * (k3 + q * k4))))
    return value, 1 + q * (3 * k1 + q * (5 * k2 + q * (7 * k3 + q * 9 * k4)))


def _distort_fisheye(xy: Tensor, k: Tensor) -> Tensor:
    r2 = (xy * xy).sum(-1)
    near = r2 < torch.finfo(xy.dtype).eps
    r = torch.where(near, torch.ones_like(r2), r2).sqrt()
    bent, _ = _angle_polynomial(torch.atan(r), k[..., None, :])
    return xy * torch.where(near, torch.ones_like(r), bent / r)[..., None]


def _undistort_fisheye(xy: Tensor, k: Tensor) -> Tensor:
    """Newton's method on the angle from the axis; NaN beyond the model's fold and from 90 degrees on."""
    k = k[..., None, :]
    r2 = (xy * xy).sum(-1)
    near = r2 < torch.finfo(xy.dtype).eps
    bent = torch.where(near, torch.ones_like(r2), r2).sqrt()
    with torch.no_grad():
        theta = bent.clamp(max=math.pi / 2)
        for _ in range(NEWTON_STEPS):
            value, slope = _angle_polynomial(theta, k)
            new = theta - ((value - bent) / slope.clamp(min=0.05)).clamp(-0.3, 0.3)
            done = not bool(((new - theta).abs() > 4 * torch.finfo(xy.dtype).eps).any())
            theta = new.clamp(0, math.pi)
            if done:
                break
        value, slope = _angle_polynomial(theta, k)
        close = (value - bent).abs() <= 1e3 * torch.finfo(xy.dtype).eps * (1 + bent)
        sound = close & (slope > 0) & (theta < math.pi / 2 - 1e-4) & (theta < _fold(k))
    value, _ = _angle_polynomial(theta, k)
    theta = torch.where(sound, theta - (value - bent) / slope, torch.full_like(bent, 0.5))
    scale = torch.where(near, torch.ones_like(bent), torch.tan(theta) / bent)[..., None]
    return torch.where((sound | near)[..., None], xy * scale, torch.full_like(xy, math.nan))


def _fold(k: Tensor) -> Tensor:
    """The first angle at which the lens' polynomial stops growing (pi / 2 where it never does), to half a degree."""
    angles = torch.linspace(0, math.pi / 2, 181, dtype=k.dtype, device=k.device)
    shape = (*k.shape[:-1], len(angles))
    _, slope = _angle_polynomial(angles.expand(shape), k[..., None, :].expand(*shape, 4))
    falls = slope <= 0
    first = torch.where(falls.any(-1), falls.to(torch.uint8).argmax(-1), len(angles) - 1)
    return angles[first]


def _distort_jacobian(xy: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The 2x2 derivative of `distort` by its point: (xx, xy, yx, yy)."""
    return bend_slopes(xy[..., 0], xy[..., 1], distortion[..., None, :].unbind(-1))


def _newton_step(xy: Tensor, residual: Tensor, jacobian: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    a, b, c, d = jacobian
    det = a * d - b * c
    rx, ry = residual.unbind(-1)
    return xy - torch.stack([(d * rx - b * ry) / det, (a * ry - c * rx) / det], dim=-1)


def undistort(xy: Float[Tensor, "... J 2"], distortion: Float[Tensor, "... D"]) -> Float[Tensor, "... J 2"]:
    """Inverse of `distort` by Newton's method, to rounding (OpenCV's fixed-point iteration stops at five steps).

    The first derivative is exact, by the implicit function theorem, whatever the number of steps. Where the model has
    no inverse on its own branch (a pixel beyond the fold of a barrel lens) the result is NaN.
    """
    if distortion.shape[-1] == FISHEYE_SIZE:
        wide, plain = distortion[..., None, 16:] > 0, distortion[..., :12]
        # What the other model cannot undo must not turn this one's gradients into NaN.
        inner, outer = torch.where(wide, torch.zeros_like(xy), xy), torch.where(wide, xy, torch.zeros_like(xy))
        return torch.where(wide, _undistort_fisheye(outer, distortion[..., 12:16]), undistort(inner, plain))
    with torch.no_grad():
        wanted, lens = torch.broadcast_tensors(xy, distortion[..., None, :1])[0], distortion
        solution = wanted.clone()
        for _ in range(NEWTON_STEPS):
            residual = distort(solution, lens) - wanted
            new = _newton_step(solution, residual, _distort_jacobian(solution, lens))
            # A step never leaps further than the point is from the axis, or a strong lens throws it past the fold.
            reach = 0.5 * (wanted.abs().amax(-1, keepdim=True) + solution.abs().amax(-1, keepdim=True))
            step = torch.clamp(new - solution, -reach, reach)
            solution = solution + step
            if not (step.abs() > 4 * torch.finfo(xy.dtype).eps).any():
                break
        jacobian = _distort_jacobian(solution, lens)
        error = (distort(solution, lens) - wanted).abs().amax(-1)
        tolerance = 1e3 * torch.finfo(xy.dtype).eps * (1 + wanted.abs().amax(-1))
        sound = (error <= tolerance) & (jacobian[0] * jacobian[3] - jacobian[1] * jacobian[2] > 0) & (jacobian[0] > 0)
    refined = _newton_step(solution, distort(solution, distortion) - xy, jacobian)
    return torch.where(sound[..., None], refined, torch.full_like(refined, math.nan))


def rotate(points: Float[Tensor, "... J 3"], rotation: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... J 3"]:
    """`R x` for every point."""
    _check(points, 3, "points")
    return (rotation[..., None, :, :] * points[..., None, :]).sum(-1)


def transform(
    points: Float[Tensor, "... J 3"], rotation: Float[Tensor, "... 3 3"], translation: Float[Tensor, "... 3"]
) -> Float[Tensor, "... J 3"]:
    """`R x + t` for every point."""
    return rotate(points, rotation) + translation[..., None, :]


def matrix_product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product of `... n k` and `... k m` in the inputs' own precision."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def axis_angle_to_matrix(axis_angle: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """Rodrigues' formula; smooth through zero."""
    squared = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = squared < torch.finfo(axis_angle.dtype).eps ** 0.5
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    versine = torch.where(small, 0.5 - squared / 24, 2 * torch.sin(angle / 2) ** 2 / safe)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine * cross + versine * matrix_product(cross, cross)


def intrinsics_from_fov(fov: float | Float[Tensor, ...], width: int, height: int) -> Float[Tensor, "... 3 3"]:
    """Square pixels, principal point at the image's centre ((w-1)/2, (h-1)/2).

    Args:
        fov: radians seen along the image's LONGER side, in (0, pi); a float gives float64.
        width: px.
        height: px.
    """
    angle = torch.as_tensor(fov, dtype=torch.float64) if not isinstance(fov, Tensor) else fov
    if not bool(((angle > 0) & (angle < math.pi)).all()):
        raise VergenceError(
            f"field of view {fov} is not between 0 and pi radians", "Give the longer side's angle in radians."
        )
    focal = max(width, height) / (2 * torch.tan(angle / 2))
    intrinsics = torch.zeros(*angle.shape, 3, 3, dtype=angle.dtype, device=angle.device)
    intrinsics[..., 0, 0] = focal
    intrinsics[..., 1, 1] = focal
    intrinsics[..., 0, 2] = (width - 1) / 2
    intrinsics[..., 1, 2] = (height - 1) / 2
    intrinsics[..., 2, 2] = 1
    return intrinsics


def look_at(
    position: Float[Tensor, "... 3"], target: Float[Tensor, "... 3"], up: Float[Tensor, "... 3"]
) -> tuple[Float[Tensor, "... 3 3"], Float[Tensor, "... 3"]]:
    """(R, t) of a camera at `position` looking at `target`, upright with respect to `up` (all world coordinates).

    Raises:
        VergenceError: `position` is `target`, or the view direction is parallel to `up`.
    """
    position, target, up = torch.broadcast_tensors(position, target, up)
    forward = target - position
    right = torch.linalg.cross(forward, up)
    lengths = [torch.linalg.vector_norm(v, dim=-1, keepdim=True) for v in (forward, right, up)]
    if bool((lengths[1] <= 1e-6 * lengths[0] * lengths[2]).any()):
        raise VergenceError(
            "a camera looks along its up vector, or at its own position", "Move the camera, the target or `up`."
        )
    z = forward / lengths[0]
    x = right / lengths[1]
    rotation = torch.stack([x, torch.linalg.cross(z, x), z], dim=-2)
    return rotation, -(rotation * position[..., None, :]).sum(-1)
