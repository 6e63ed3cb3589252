"""The optimal correction of a two-view match: Hartley & Sturm, "Triangulation", CVIU 1997 (H&Z algorithm 12.1).

Why the polynomial and not an iteration: the reprojection error of two views can have three minima, and this finds all.
The steps: move both points to the origin, turn both epipoles onto the x axis, and every pair of corresponding epipolar
lines is one number t; the sum of the squared distances of the lines from the origins is stationary at the roots of a
polynomial.

What breaks it: a point on its own epipole (the cameras see each other there) has no epipolar line, and the answer is
NaN.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vergence.geometry.camera import camera_centre, matrix_product, relative_pose


@torch.no_grad()
def correct_matches(points: Float[Tensor, "... 2 2"], cameras: Float[Tensor, "... 2 3 4"]) -> Float[Tensor, "... 2 2"]:
    """The closest pair of points (sum of squared distances) whose rays meet exactly.

    Each candidate pair of epipolar lines is one number t; the cost's stationary points are the roots of a polynomial of
    degree six, found as eigenvalues in float64 and polished by Newton's method. Carries no gradient.
    """
    x = points.to(torch.float64)
    essential, epipoles = _essential(cameras.to(torch.float64))
    shape = torch.broadcast_shapes(x.shape[:-2], essential.shape[:-2])
    x, essential = x.expand(*shape, 2, 2), essential.expand(*shape, 3, 3)
    turned, turns, f = _canonical(x, essential, epipoles.expand(*shape, 2, 3))
    broken = ~turned.isfinite().all(-1).all(-1) | ~f.isfinite().all(-1)
    turned = torch.where(broken[..., None, None], torch.ones_like(turned), turned)
    f = torch.where(broken[..., None], torch.ones_like(f), f)
    a, b, c, d = turned[..., 1, 1], turned[..., 1, 2], turned[..., 2, 1], turned[..., 2, 2]
    t = _best_line(a, b, c, d, f[..., 0], f[..., 1])
    cosine, sine = torch.cos(t), torch.sin(t)  # the line's parameter is tan t: infinity is nothing special
    line1 = torch.stack([sine * f[..., 0], cosine, -sine], dim=-1)
    g, h = a * sine + b * cosine, c * sine + d * cosine
    line2 = torch.stack([-f[..., 1] * h, g, h], dim=-1)
    moved = torch.stack([_foot(line1), _foot(line2)], dim=-2)
    corrected = x + (turns.mT * moved[..., None, :]).sum(-1)
    return torch.where(broken[..., None, None], math.nan, corrected).to(points.dtype)


def _essential(cameras: Tensor) -> tuple[Float[Tensor, "... 3 3"], Float[Tensor, "... 2 3"]]:
    """E with `x2^T E x1 = 0`, and both epipoles."""
    first, second = cameras.unbind(-3)
    rotation, t = relative_pose(first[..., :3], first[..., 3], second[..., :3], second[..., 3])
    t = t / torch.linalg.vector_norm(t, dim=-1, keepdim=True)
    essential = torch.linalg.cross(t[..., None], rotation, dim=-2)
    return essential, torch.stack([camera_centre(rotation, t), t], dim=-2)


def _canonical(
    x: Tensor, essential: Tensor, epipoles: Tensor
) -> tuple[Float[Tensor, "... 3 3"], Float[Tensor, "... 2 2 2"], Float[Tensor, "... 2"]]:
    """E with both points moved to the origin and both epipoles turned to (1, 0, f); the turns, and f."""
    e = epipoles - torch.cat([x, torch.zeros_like(x[..., :1])], dim=-1) * epipoles[..., 2:]
    e = e / torch.linalg.vector_norm(e[..., :2], dim=-1, keepdim=True)
    ex, ey = e[..., 0], e[..., 1]
    turns = torch.stack([ex, ey, -ey, ex], dim=-1).unflatten(-1, (2, 2))
    # inverse of "subtract x, then turn", homogeneous
    back = torch.zeros(*x.shape[:-1], 3, 3, dtype=x.dtype, device=x.device)
    back[..., :2, :2] = turns.mT
    back[..., :2, 2] = x
    back[..., 2, 2] = 1
    turned = matrix_product(matrix_product(back[..., 1, :, :].mT, essential), back[..., 0, :, :])
    return turned, turns, e[..., 2]


def _best_line(a: Tensor, b: Tensor, c: Tensor, d: Tensor, f1: Tensor, f2: Tensor) -> Tensor:
    """arctan of the t at which the sum of squared distances of the origins from the two epipolar lines is least."""

    def cost(angle: Tensor) -> Tensor:
        s, k = torch.sin(angle), torch.cos(angle)
        g, h = a[..., None] * s + b[..., None] * k, c[..., None] * s + d[..., None] * k
        first = s**2 / (k**2 + (f1[..., None] * s) ** 2)
        return first + h**2 / (g**2 + (f2[..., None] * h) ** 2)

    roots = _roots(_stationary(a, b, c, d, f1, f2))
    angles = torch.cat([torch.atan(roots), torch.full_like(roots[..., :1], math.pi / 2)], dim=-1)
    costs = cost(angles).nan_to_num(math.inf)
    return torch.take_along_dim(angles, costs.argmin(-1, keepdim=True), dim=-1)[..., 0]


def _stationary(a: Tensor, b: Tensor, c: Tensor, d: Tensor, f1: Tensor, f2: Tensor) -> Float[Tensor, "... 7"]:
    """H&Z (12.7): t ((at+b)^2 + f2^2 (ct+d)^2)^2 - (ad-bc)(1+f1^2 t^2)^2 (at+b)(ct+d), lowest power first."""
    square = [b * b + (f2 * d) ** 2, 2 * (a * b + f2**2 * c * d), a * a + (f2 * c) ** 2]
    one, zero = torch.ones_like(a), torch.zeros_like(a)
    left = _multiply([zero, one], _multiply(square, square))
    lens = [one, zero, 2 * f1**2, zero, f1**4]
    right = _multiply(lens, _multiply([b, a], [d, c]))
    determinant = a * d - b * c
    left = left + [zero] * (len(right) - len(left))
    return torch.stack([p - determinant * q for p, q in zip(left, right, strict=True)], dim=-1)


def _multiply(p: list[Tensor], q: list[Tensor]) -> list[Tensor]:
    out = [torch.zeros_like(p[0])] * (len(p) + len(q) - 1)
    for i, u in enumerate(p):
        for j, v in enumerate(q):
            out[i + j] = out[i + j] + u * v
    return out


def _roots(polynomial: Float[Tensor, "... D+1"]) -> Float[Tensor, "... D"]:
    """Real parts of a polynomial's roots (lowest power first), polished by two Newton steps where these help."""
    size = polynomial.abs().amax(-1, keepdim=True)
    polynomial = polynomial / torch.where(size > 0, size, torch.ones_like(size))
    # A vanishing leading coefficient is a root at infinity: held far away instead.
    lead = polynomial[..., -1:]
    lead = torch.where(lead.abs() < 1e-14, torch.full_like(lead, 1e-14), lead)
    degree = polynomial.shape[-1] - 1
    companion = torch.zeros(*polynomial.shape[:-1], degree, degree, dtype=polynomial.dtype, device=polynomial.device)
    companion[..., 1:, :-1] = torch.eye(degree - 1, dtype=polynomial.dtype, device=polynomial.device)
    companion[..., :, -1] = -polynomial[..., :-1] / lead
    roots = torch.linalg.eigvals(companion).real
    for _ in range(2):
        value, slope = _horner(polynomial, roots)
        new = roots - value / torch.where(slope == 0, torch.ones_like(slope), slope)
        roots = torch.where(_horner(polynomial, new)[0].abs() < value.abs(), new, roots)
    return roots


def _horner(polynomial: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    value, slope = torch.zeros_like(t), torch.zeros_like(t)
    for coefficient in polynomial.flip(-1).unbind(-1):
        slope = slope * t + value
        value = value * t + coefficient[..., None]
    return value, slope


def _foot(line: Float[Tensor, "... 3"]) -> Float[Tensor, "... 2"]:
    """The point of a line (l, m, n) closest to the origin."""
    return -line[..., :2] * line[..., 2:] / (line[..., :2] ** 2).sum(-1, keepdim=True)
