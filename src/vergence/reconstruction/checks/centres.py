"""Principal points far from the middle of their images, which footage seldom can tell.

A camera turned by an angle and a principal point moved by it give nearly the same images (they differ in the second order
of the field of view), so that a wrong principal point goes into the camera's rotation and leaves no residual: 100 px at
a focal length of 1,145 px are 5 degrees, unseen under 3 px of noise. Lenses have it within 3 degrees of the middle. Where a
calibration says otherwise (it may be of a cut image), the footage is asked whether the middle is excluded; if not,
nothing but the calibration speaks for it, and the rotation hangs on it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vergence.reconstruction.bundle import Bundle, adjust, linear_points, reduced_system
from vergence.reconstruction.inputs import Joints
from vergence.reconstruction.lenses import agreeing, reduced_to
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
    cost = _cost_of(away, given, cameras, sigma)
    loose = [v for v in far if not cost[v] > EXCLUDED]
    if not loose:
        return ""
    v = loose[0]
    return (
        f"The given principal point of {names[v]} lies {np.linalg.norm(away[v]):.0f} px from the middle of its image, "
        f"{angle[v]:.1f} degrees (limit {MOST_DEG:.0f}), and this footage cannot tell whether it does: if it does not, the "
        "camera's rotation is off by as much. Is its calibration of images of this size and cut?"
    )


def _cost_of(step: Float[Array, "V 2"], given: Joints, cameras: Bundle, sigma: float) -> Float[Array, " V"]:
    """What moving one camera's principal point by so much costs, the rig following, in variances of the noise."""
    some = spread_points(given.flat_weight, given.frame, POINTS)
    observed, weight = given.observed[:, :, some], given.flat_weight[:, some]
    points = linear_points(cameras, observed, weight)
    known = np.isfinite(points).all(1)
    some, observed, weight = some[known], observed[:, :, known], weight[:, known]
    start = Bundle(cameras.rotation, cameras.translation, cameras.focal, points[known])
    scene = adjust(start, observed, weight, scale=LOSS_SIGMA * sigma, iterations=12, tolerance=1e-4)
    sound, (kept, trust), widened = agreeing(scene, observed, weight, sigma, some, given.weight.shape[2])
    matrix, gradient = reduced_system(sound, observed[:, :, kept], trust, LOSS_SIGMA * sigma)
    views, size = gradient.shape
    unit = np.eye(views * size).reshape(views, size, -1)
    out = np.zeros(views)
    for v in range(views):
        left, slope = reduced_to(matrix, gradient, unit[1:, :6].reshape(-1, views * size), unit[v, 7:9])
        out[v] = (2 * slope @ step[v] + step[v] @ left @ step[v]) / widened**2
    return out
