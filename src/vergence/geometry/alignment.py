"""The best rigid or similarity motion between two clouds of corresponding points (Kabsch 1976, Umeyama 1991).

Why a closed form: one singular value decomposition of a 3x3 matrix gives the global optimum, weighted and batched.
What breaks it, and how that shows:

* **Mirror images.** The best orthogonal matrix may be a reflection, under which a mirrored person is perfect. A rotation
  is demanded unless `reflection=True` is said.
* **Degenerate clouds.** Fewer than three points, points on a line, or (when mirrored) as thick as they are wide, leave
  the rotation free about some axis. A minimiser is still returned, so residuals are right; `unique` is False there, and
  the gradient through the free direction is zero. Nothing to align at all (no weight) gives NaN.
* **Gradients.** The backward pass of an SVD divides by differences of singular values and explodes on symmetric bodies.
  The rotation itself depends smoothly on the points as long as it is unique; its own derivative, used here, divides by
  sums.

NaN points count as missing. In a squared loss with the same weights `detach=True` changes no gradient (the motion is
optimal) and spares the backward pass.

Where what maps one cloud to the other need not be a motion, `ridge_regression` finds the best affine map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from vergence.errors import VergenceError
from vergence.geometry.camera import matrix_product, rotate


@dataclass(frozen=True)
class Alignment:
    """`target ~ scale * rotation @ source + translation`.

    Attributes:
        rotation: proper (determinant 1) unless reflections were allowed.
        translation: in the target's unit.
        scale: 1 for a rigid alignment; never negative.
        unique: no other rotation fits as well.
    """

    rotation: Float[Tensor, "... 3 3"]
    translation: Float[Tensor, "... 3"]
    scale: Float[Tensor, ...]
    unique: Bool[Tensor, ...]

    def apply(self, points: Float[Tensor, "... J 3"]) -> Float[Tensor, "... J 3"]:
        """Points of the source's frame in the target's."""
        return self.scale[..., None, None] * rotate(points, self.rotation) + self.translation[..., None, :]


def align(
    source: Float[Tensor, "... J 3"],
    target: Float[Tensor, "... J 3"],
    weights: Float[Tensor, "... J"] | None = None,
    *,
    scale: bool = False,
    reflection: bool = False,
    detach: bool = False,
) -> Alignment:
    """argmin over (R, t) or (R, t, s) of `sum_j w_j |s R source_j + t - target_j|^2`.

    Args:
        source: moved; NaN = missing. Leading dimensions broadcast with the target's.
        target: fixed; NaN = missing.
        weights: of the squared distances; 0 or NaN = missing. Default 1.
        scale: also find a scale (Umeyama); a source shrunk to one point keeps 1.
        reflection: allow a mirroring where it fits better.
        detach: treat the result as a constant.

    Returns:
        The alignment, NaN where no point has weight.
    """
    if detach:
        source, target = source.detach(), target.detach()
        weights = None if weights is None else weights.detach()
    x, y, w, missing = _prepare(source, target, weights)
    centre_x, centre_y = (w[..., None] * x).sum(-2), (w[..., None] * y).sum(-2)
    x, y = x - centre_x[..., None, :], y - centre_y[..., None, :]
    moment = (w[..., None, None] * y[..., :, None] * x[..., None, :]).sum(-3)
    rotation, unique = _Procrustes.apply(moment, reflection)
    if scale:
        power = (w[..., None] * x * x).sum((-2, -1))
        point = power <= torch.finfo(x.dtype).tiny
        gain = (rotation * moment).sum((-2, -1)) / torch.where(point, torch.ones_like(power), power)
        factor = torch.where(point, torch.ones_like(gain), gain)
    else:
        factor = torch.ones_like(moment[..., 0, 0])
    nothing = torch.where(missing, math.nan, 0.0).to(x.dtype)
    translation = centre_y - factor[..., None] * (rotation * centre_x[..., None, :]).sum(-1)
    return Alignment(
        (rotation + nothing[..., None, None]).to(source.dtype),
        (translation + nothing[..., None]).to(source.dtype),
        (factor + nothing).to(source.dtype),
        unique & ~missing,
    )


def least_squares_scale(
    source: Float[Tensor, "... J D"], target: Float[Tensor, "... J D"], weights: Float[Tensor, "... J"] | None = None
) -> Float[Tensor, ...]:
    """argmin over s >= 0 of `sum_j w_j |s source_j - target_j|^2`, about the origin: `<p, g> / <p, p>`.

    Both clouds are expected relative to their root. A source shrunk to the origin keeps 1; NaN where no point has
    weight.
    """
    x, y, w, missing = _prepare(source, target, weights)
    power = (w[..., None] * x * x).sum((-2, -1))
    point = power <= torch.finfo(x.dtype).tiny
    gain = (w[..., None] * x * y).sum((-2, -1)) / torch.where(point, torch.ones_like(power), power)
    factor = torch.where(point, torch.ones_like(gain), gain.clamp_min(0))
    return torch.where(missing, torch.full_like(factor, math.nan), factor).to(source.dtype)


def ridge_regression(
    source: Float[Tensor, "N E"], target: Float[Tensor, "N D"], strength: float
) -> tuple[Float[Tensor, "E D"], Float[Tensor, " D"]]:
    """argmin over (W, b) of `mean_n |x_n W + b - y_n|^2 + strength |W|^2`, in closed form: the affine map between flat poses
    or embeddings. NaN is not allowed; b is not penalised.
    """
    centre, middle = source.mean(0), target.mean(0)
    x, y = source - centre, target - middle
    moment = x.T @ x / len(x) + strength * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(moment, x.T @ y / len(x))
    return weight, middle - centre @ weight


def _prepare(source: Tensor, target: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clouds without NaN in at least float32, weights that sum to 1, and where there was nothing to weigh."""
    if source.ndim < 2 or source.shape[-2:] != target.shape[-2:]:
        raise VergenceError(
            f"cannot align points {tuple(source.shape)} with points {tuple(target.shape)}",
            "Both need the same joints in the same order: (..., J, 3).",
        )
    work = torch.promote_types(torch.promote_types(source.dtype, target.dtype), torch.float32)
    source, target = torch.broadcast_tensors(source.to(work), target.to(work))
    seen = ~(source.isnan() | target.isnan()).any(-1)
    w = torch.ones_like(source[..., 0]) if weights is None else weights.to(work).expand(seen.shape)
    w = torch.where(seen & (w > 0), w, torch.zeros_like(w))
    total = w.sum(-1, keepdim=True)
    missing = total[..., 0] <= 0
    w = w / torch.where(missing[..., None], torch.ones_like(total), total)
    zero = torch.zeros_like(source)
    return torch.where(seen[..., None], source, zero), torch.where(seen[..., None], target, zero), w, missing


class _Procrustes(torch.autograd.Function):
    """The rotation R that maximises trace(R^T M), with its own derivative.

    With M = U S V^T, R = U D V^T and P = V D S V^T it holds that M = R P. For dR = R A, A antisymmetric,
    `R^T dM - dM^T R = A P + P A`, which in V's basis reads `X_ij = A_ij (p_i + p_j)`: only sums of (signed) singular
    values are divided by, so equal ones do no harm. Where such a sum vanishes, R is not unique and A is taken as zero.
    """

    @staticmethod
    def forward(ctx: Any, moment: Tensor, reflection: bool) -> tuple[Tensor, Tensor]:
        u, s, vt = torch.linalg.svd(moment)
        sign = torch.ones_like(s)
        if not reflection:
            sign[..., 2] = torch.where(torch.linalg.det(u) * torch.linalg.det(vt) < 0, -1.0, 1.0)
        rotation = matrix_product(u * sign[..., None, :], vt)
        p = s * sign
        sums = p[..., :, None] + p[..., None, :]
        size = s[..., :1, None]
        free = sums <= 32 * torch.finfo(s.dtype).eps * size
        inverse = torch.where(free, torch.zeros_like(sums), 1 / torch.where(free, torch.ones_like(sums), sums))
        unique = ~free[..., 1, 2]
        ctx.save_for_backward(rotation, vt, inverse)
        ctx.mark_non_differentiable(unique)
        return rotation, unique

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        rotation, vt, inverse = ctx.saved_tensors
        inner = inverse * matrix_product(matrix_product(vt, rotation.mT), matrix_product(grad, vt.mT))
        return matrix_product(matrix_product(rotation, vt.mT), matrix_product(inner - inner.mT, vt)), None
