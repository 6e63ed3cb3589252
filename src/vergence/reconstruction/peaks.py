"""Which of a heatmap's peaks is the joint: the views decide together.

A network that is not sure where a wrist is, behind the trunk or the other one, says so with two peaks. Their mean is
nowhere, and the higher one is the wrong one often enough that no two views agree. With known cameras every pair of
views proposes a point for every pair of its peaks, and the point that the peaks of all views together make likeliest
wins (Pavlakos et al. 2017, "Harvesting multiple views", with peaks for a volume of heatmap products).

What breaks it: two views, where a wrong pair of peaks that meet on an epipolar line wins if it is higher.
"""

from __future__ import annotations

import math
from itertools import combinations, product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vergence.geometry.triangulation import reprojection_error, triangulate_linear

UNSEEN = 0.05  # likelihood of a view in which no peak lies near: the joint is hidden there, or the network wrong


def choose_peaks(
    peaks: Float[Tensor, "N V M 2"],
    weights: Float[Tensor, "N V M"],
    cameras: Float[Tensor, "V 3 4"],
    focal: Float[Tensor, " V"],
    noise_px: float,
) -> Int[Tensor, "N V"]:
    """For every joint and view the peak that fits the likeliest point; the first where no two views see the joint.

    A point's likelihood is the product over views of `UNSEEN + max_m w_m exp(-e_m^2 / 2 noise^2)`, with e_m the distance
    of peak m from its projection.

    Args:
        peaks: normalised coordinates of M peaks, NaN = missing.
        weights: probability of each peak; 0 = missing.
        cameras: `[R | t]`.
        focal: px.
        noise_px: of the keypoints, px.
    """
    views, count = weights.shape[1:]
    weights = torch.where(peaks.isfinite().all(-1), weights, 0.0).nan_to_num(0.0)
    seen = torch.where(weights[..., None] > 0, peaks, math.nan)

    def fit(world: Float[Tensor, "N 3"]) -> Float[Tensor, "N V M"]:
        error = reprojection_error(world[:, None].expand(-1, count, 3), seen.transpose(1, 2), cameras) * focal
        return (weights * torch.exp(-0.5 * (error.transpose(1, 2) / noise_px) ** 2)).nan_to_num(0.0)

    chosen = torch.zeros(weights.shape[:2], dtype=torch.long, device=weights.device)
    least = torch.full_like(weights[:, 0, 0], math.inf)
    for (a, b), (m, n) in product(combinations(range(views), 2), product(range(count), repeat=2)):
        pair = torch.stack([seen[:, a, m], seen[:, b, n]], 1)
        fits = fit(triangulate_linear(pair, cameras[[a, b]]))
        cost = -torch.log(UNSEEN + fits.amax(-1)).sum(-1)
        better = (cost < least) & pair.isfinite().all(-1).all(-1)
        least = torch.where(better, cost, least)
        chosen = torch.where(better[:, None], fits.argmax(-1), chosen)
    return chosen
