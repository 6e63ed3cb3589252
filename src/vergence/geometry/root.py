"""Where a person stands, from a root-relative pose and the rays to its joints: the translation that puts each joint on its ray.

A joint P seen at (x, y) of the normalised image obeys t_x - x t_z = x P_z - P_x and the same in y: linear in the
translation t, three unknowns for two rows a joint. Divided by the joint's depth a row is an error in the image, so a few
rounds with the depths of the round before minimise the reprojection error; joints that lie far off lose their weight. The
weak-perspective estimate (size in the image over size of the pose) is the same sum without the rows' perspective.

What it rests on: the pose's size. One that is 5 % too small stands 5 % too near, and no residual shows it; nor does a wrong
focal length. The first is part of the stated uncertainty, the second is not.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

ROUNDS = 12
# Of the median error, over which a joint counts less (Cauchy), and the least error that any joint has.
OUTLYING = 2.0
LEAST_ERROR = 1e-3  # of the normalised image: a pixel at full HD
LEAST_JOINTS = 3
# Of a pose's size over the person's, one standard deviation.
SIZE_SIGMA = 0.06
# Of what a detector calls the root, in sizes of the pose.
PLACE_SIGMA = 0.01
# Errors of a pose's joints have one cause: as many as a dozen count as this many independent ones.
INDEPENDENT = 3.0

Array = np.ndarray


def place_root(
    pose: Float[Array, "T J 3"], rays: Float[Array, "T J 2"], weight: Float[Array, "T J"]
) -> tuple[Float[Array, "T 3"], Float[Array, "T 3"]]:
    """The root's place in the camera's frame, and its standard deviation.

    Args:
        pose: relative to the root, in the camera's frame; NaN = missing.
        rays: x/z, y/z of the joints as they are seen, lens undone; NaN = missing.
        weight: confidence of the joints, 0 or more.

    Returns:
        Both in the pose's unit; NaN in frames of fewer than three joints, or of a pose that fits only behind the camera.
    """
    known = np.isfinite(pose).all(-1) & np.isfinite(rays).all(-1) & (np.nan_to_num(weight) > 0)
    pose, rays = np.where(known[..., None], pose, 0.0), np.where(known[..., None], rays, 0.0)
    weight = np.where(known, np.nan_to_num(weight), 0.0)
    enough = known.sum(-1) >= LEAST_JOINTS
    depth, trust = np.ones(pose.shape[:-1]), weight
    root = np.full((len(pose), 3), np.nan)
    normal = np.tile(np.eye(3), (len(pose), 1, 1))
    rows = np.zeros((*pose.shape[:-1], 2, 3))
    rows[..., 0, 0] = rows[..., 1, 1] = 1.0
    rows[..., 2] = -rays
    target = rays * pose[..., 2:] - pose[..., :2]
    error = np.zeros(pose.shape[:-1])
    for _ in range(ROUNDS):
        scaled = rows * (trust / depth**2)[..., None, None]
        normal = np.einsum("tjri,tjrk->tik", scaled, rows)
        usable = enough & (np.linalg.cond(normal + np.eye(3) * ~enough[:, None, None]) < 1e12)
        right = np.einsum("tjri,tjr->ti", scaled, target)
        root = np.full_like(root, np.nan)
        root[usable] = np.linalg.solve(normal[usable], right[usable][..., None])[..., 0]
        depth = np.maximum(pose[..., 2] + np.nan_to_num(root[:, None, 2], nan=1.0), 1e-3)
        residual = np.einsum("tjri,ti->tjr", rows, root) - target
        error = np.linalg.norm(residual, axis=-1) / depth
        middle = _median(np.where(known, error, np.nan))
        trust = weight / (1 + (error / (OUTLYING * np.maximum(middle, LEAST_ERROR))[:, None]) ** 2)
        trust = np.nan_to_num(trust)
    behind = ~(root[:, 2] + np.where(known, pose[..., 2], 0.0).min(-1) > 0)
    root[behind] = np.nan
    extent = np.ptp(pose, axis=1).max(-1)  # missing joints lie at the root here
    return root, _sigma(root, normal, trust, error, extent)


def _sigma(root: Array, normal: Array, trust: Array, error: Array, extent: Array) -> Float[Array, "T 3"]:
    """Of the fit, of the pose's size (along the ray to the root), and of what is called the root."""
    good = np.isfinite(root).all(-1)
    out = np.full_like(root, np.nan)
    total = np.maximum(trust[good].sum(-1), 1e-9)
    variance = (trust[good] * error[good] ** 2).sum(-1) / total / 2 + LEAST_ERROR**2
    count = trust[good].sum(-1) ** 2 / np.maximum((trust[good] ** 2).sum(-1), 1e-9)
    spread = np.linalg.inv(normal[good] / total[:, None, None])
    fit = np.diagonal(spread, axis1=-2, axis2=-1) * (variance / np.minimum(count, INDEPENDENT))[:, None]
    out[good] = np.sqrt(fit + (SIZE_SIGMA * root[good]) ** 2 + (PLACE_SIGMA * extent[good, None]) ** 2)
    return out


def _median(values: Float[Array, "T J"]) -> Float[Array, " T"]:
    """Over joints; 0 where there is none."""
    some = np.isfinite(values).any(-1)
    out = np.zeros(len(values))
    out[some] = np.nanmedian(values[some], axis=-1)
    return out
