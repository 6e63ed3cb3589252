"""Principal points far from the middle of their images, which footage seldom can tell.

A camera turned by an angle and a principal point moved by it give nearly the same images (they differ in the second order
of the field of view), so that a wrong principal point goes into the camera's rotation and leaves no residual: 100 px at
a focal length of 1,145 px are 5 degrees, unseen under 3 px of noise. Lenses have it within 3 degrees of the middle. Where a
calibration says otherwise (it may be of a cut image), the footage is asked whether the middle is excluded; if not,
nothing but the calibration speaks for it, and the rotation hangs on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.geometry.arrays import normalise, project
from vergence.reconstruction.bundle import Bundle, adjust
from vergence.reconstruction.inputs import Joints
from vergence.reconstruction.lenses import agreeing
from vergence.reconstruction.points import linear_points
from vergence.reconstruction.rig import LOSS_SIGMA, spread_points

Array = np.ndarray

MOST_DEG = 3.0  # from the middle of the image; calibrations of whole images have 0.2 to 2.8
POINTS = 1200
EXCLUDED = 9.2  # cost of the middle over the given point's, in variances: 1 % of two unknowns


def centre_doubt(
    given: Joints, cameras: Bundle, sigma: float, image_size: Float[Array, "V 2"], names: tuple[str, ...]
) -> str:
    """A sentence where a given principal point lies far from the middle and the footage does not hold it there."""
    away = (np.asarray(image_size) - 1) / 2 - given.intrinsics[:, :2, 2]
    angle = np.degrees(np.arctan(np.linalg.norm(away / given.focal, axis=1)))
    far = [v for v in np.argsort(-angle) if angle[v] > MOST_DEG]
    if not far:
        return ""
    cost = _cost_of(away, far, given, cameras, sigma)
    loose = [v for v in far if not cost[v] > EXCLUDED]
    if not loose:
        return ""
    v = loose[0]
    return (
        f"The given principal point of {names[v]} lies {np.linalg.norm(away[v]):.0f} px from the middle of its image, "
        f"{angle[v]:.1f} degrees (limit {MOST_DEG:.0f}), and this footage cannot check it. If it is wrong, "
        "the camera's rotation is off by as much. Is its calibration of images of this size and cut?"
    )


def _cost_of(
    step: Float[Array, "V 2"], far: list[int], given: Joints, cameras: Bundle, sigma: float
) -> dict[int, float]:
    """What moving one camera's principal point by so much costs, the rig adjusted anew, in variances of the noise.

    A linearisation does not do: over some degrees the second order, which is all that tells the two apart, is lost in it.
    Nor does a shift of straightened points: the lens was undone about the point that is in question.
    """
    some = spread_points(given.flat_weight, given.frame, POINTS)
    observed, weight = given.observed[:, :, some], given.flat_weight[:, some]
    points = linear_points(cameras, observed, weight)
    known = np.isfinite(points).all(1)
    some, observed, weight = some[known], observed[:, :, known], weight[:, known]
    how: dict[str, Any] = {"scale": LOSS_SIGMA * sigma, "iterations": 20, "tolerance": 1e-5}
    start = Bundle(cameras.rotation, cameras.translation, cameras.focal, points[known])
    scene = adjust(start, observed, weight, **how)
    _, (kept, trust), widened = agreeing(scene, observed, weight, sigma, some, given.weight.shape[2])
    observed = observed[:, :, kept]
    scene = adjust(replace(scene, points=scene.points[kept]), observed, trust, **how)
    out = {}
    for v in far:
        moved = observed.copy()
        moved[v] = _seen_from(moved[v], step[v], given.intrinsics[v], given.distortion[v])
        out[v] = 2 * (adjust(scene, moved, trust, **how).cost - scene.cost) / widened**2
    return out


def _seen_from(
    observed: Float[Array, "2 N"], step: Float[Array, " 2"], intrinsics: Float[Array, "3 3"], lens: Float[Array, " D"]
) -> Float[Array, "2 N"]:
    """Points (px from the principal point, lens undone) with the lens undone about a principal point moved by `step`."""
    focal, other = intrinsics[[0, 1], [0, 1]], intrinsics.copy()
    rays = np.concatenate([observed.T / focal, np.ones((observed.shape[1], 1))], axis=1)
    other[:2, 2] += step
    return (normalise(project(rays, intrinsics, lens), other, lens) * focal).T
