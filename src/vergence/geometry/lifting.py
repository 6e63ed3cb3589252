"""2.5D to 3D: the absolute depth of the root from the known length of one bone, in closed form.

An image gives each joint's normalised coordinates (x, y) and a network its depth relative to the root, in units of a
reference bone. The one unknown, the root's depth z, follows from the bone having length 1 (Iqbal et al., ECCV 2018,
equation of the root depth; corrected here: coordinates are normalised by K^-1, and b carries a factor 2 that is missing
in print, which costs only 0.4 % of depth and so is easily overlooked).

With q_j = z_j (x_j, y_j, 1) the joint is `P_j = z (x_j, y_j, 1) + q_j`. The bone's ends are means of joints, so its
vector is `z d + e` with d = difference of the means of (x, y, 1), e = difference of the means of q, and |z d + e| = 1
reads

    a z^2 + b z + c = 0,   a = d.d,   b = 2 d.e,   c = e.e - 1,   z = (-b + sqrt(b^2 - 4 a c)) / (2 a)

What breaks it: a **foreshortened** bone. At 0 / 60 / 80 degrees out of the image plane 2 px and 3 % of depth noise
become 2 / 9 / 77 % of root depth (median; bone of 500 mm at 5 m). Where |e| >= 1 (c >= 0) both roots are positive and
the + is a guess: `ambiguous`. Where the discriminant is negative no depth gives the bone its length; the depth of the
shortest possible bone is returned, and `valid` is False. Mask with these in losses and in what is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vergence.errors import VergenceError

Bone = tuple[Sequence[int], Sequence[int]]  # joints whose means end it: `Skeleton.reference_bone`

MIN_DISCRIMINANT = 1e-8  # the square root's slope is infinite at 0: clamped before it, so that gradients stay finite
MIN_BONE_SQUARED = 1e-7  # of d.d: a bone seen under less than 0.3 mrad says nothing about depth


@dataclass(frozen=True)
class Lifted:
    """3D from 2.5D.

    Attributes:
        pose: camera frame, absolute, in reference-bone units.
        root_depth: of the root, in reference-bone units.
        valid: a real solution, a bone not seen end-on, and every known joint before the camera.
        ambiguous: a second positive root depth fits as well.
        tilt: sine of the reference bone's angle out of the image plane, as given by the relative depths; above about
            0.85 (60 degrees) the root depth is poor, above 1 impossible.
    """

    pose: Float[Tensor, "... J 3"]
    root_depth: Float[Tensor, ...]
    valid: Bool[Tensor, ...]
    ambiguous: Bool[Tensor, ...]
    tilt: Float[Tensor, ...]


def _check_bone(bone: Bone, joints: int) -> None:
    used = [*bone[0], *bone[1]]
    if not (bone[0] and bone[1]) or min(used) < 0 or max(used) >= joints:
        raise VergenceError(
            f"reference bone {bone} does not fit {joints} joints", "Give two non-empty tuples of joint indices."
        )


def bone_vector(points: Float[Tensor, "... J D"], bone: Bone) -> Float[Tensor, "... D"]:
    """From the mean of the bone's first joints to the mean of its second."""
    return points[..., list(bone[1]), :].mean(-2) - points[..., list(bone[0]), :].mean(-2)


def lift(xy: Float[Tensor, "... J 2"], depth: Float[Tensor, "... J"], reference_bone: Bone) -> Lifted:
    """Absolute 3D, up to the reference bone's length, of a 2.5D pose.

    Args:
        xy: normalised coordinates (`camera.normalise`); NaN = unknown.
        depth: relative to the root, in reference-bone units; NaN = unknown.
        reference_bone: `Skeleton.reference_bone`.

    Returns:
        The pose; an unknown joint is NaN, and with an unknown bone end everything is, and nothing is valid.
    """
    if xy.ndim < 2 or xy.shape[-1] != 2 or xy.shape[:-1] != depth.shape:
        raise VergenceError(
            f"coordinates {tuple(xy.shape)} and depths {tuple(depth.shape)} are not (..., J, 2) and (..., J)"
        )
    _check_bone(reference_bone, depth.shape[-1])
    rays = torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1)
    d = bone_vector(rays, reference_bone)
    e = bone_vector(rays * depth[..., None], reference_bone)
    a, b, c = (d * d).sum(-1), 2 * (d * e).sum(-1), (e * e).sum(-1) - 1
    root_depth = _larger_root(a, b, c)
    z = root_depth[..., None] + depth
    before = ((z > 0) | z.isnan()).all(-1)
    valid = (b * b - 4 * a * c > MIN_DISCRIMINANT) & (a > MIN_BONE_SQUARED) & before & (root_depth > 0)
    return Lifted(z[..., None] * rays, root_depth, valid, c >= 0, e[..., 2].abs())


def _larger_root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The + root of a z^2 + b z + c, a > 0, in the form that subtracts nothing; guarded as the module says."""
    a = a.clamp_min(MIN_BONE_SQUARED)
    discriminant = b * b - 4 * a * c
    root = discriminant.clamp_min(MIN_DISCRIMINANT).sqrt()
    # -b and the root cancel where b > 0; the other form of the same solution does not.
    stable = (b > 0) & (discriminant > MIN_DISCRIMINANT)
    other = -2 * c / torch.where(stable, b + root, torch.ones_like(b))
    plain = torch.where(discriminant > MIN_DISCRIMINANT, root - b, -b) / (2 * a)
    return torch.where(stable, other, plain)
