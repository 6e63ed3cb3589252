"""Losses that more than one paper uses, each over what is labelled: NaN targets and zero weights leave a joint out."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

MAXIMUM_WEIGHT = 1e-6  # smallest sum of weights that still counts as a label


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of `values` under `weight` (same shape); 0 with a gradient of 0 where nothing is labelled."""
    return (values * weight).sum() / weight.sum().clamp(min=MAXIMUM_WEIGHT)


def known(target: Float[Tensor, "N J D"], weight: Float[Tensor, "N J"]) -> tuple[Tensor, Tensor]:
    """Target with NaN replaced by 0, and the weight with those joints at 0."""
    missing = target.isnan().any(-1)
    return target.nan_to_num(0.0), torch.where(missing, 0.0, weight)


def gaussian_axes(
    keypoints: Float[Tensor, "N J 2"], height: int, width: int, stride: float, sigma: float
) -> tuple[Float[Tensor, "N J h"], Float[Tensor, "N J w"]]:
    """Gaussians along y and x whose product is a map that sums to 1, for joints in crop pixels; `sigma` in cells of
    `stride` pixels.

    A joint outside the map gets the map's nearest cells: its probability is not spread over the image.
    """
    cell = (keypoints + 0.5) / stride - 0.5
    x = cell[..., :1].clamp(-0.5, width - 0.5) - torch.arange(width, device=cell.device)
    y = cell[..., 1:].clamp(-0.5, height - 0.5) - torch.arange(height, device=cell.device)
    gx, gy = torch.exp(-0.5 * (x / sigma) ** 2), torch.exp(-0.5 * (y / sigma) ** 2)
    return gy / gy.sum(-1, keepdim=True).clamp(min=1e-12), gx / gx.sum(-1, keepdim=True).clamp(min=1e-12)


def heatmap_loss(
    log_heatmap: Float[Tensor, "N J h w"],
    keypoints: Float[Tensor, "N J 2"],
    weight: Float[Tensor, "N J"],
    stride: float,
    sigma: float = 1.0,
) -> Float[Tensor, ""]:
    """Cross-entropy between the predicted map of probabilities and a Gaussian at the label, mean over joints, in nats.

    Cross-entropy rather than the papers' squared error: its gradient does not vanish on a map of 1/576 each, which
    decides how far a network gets in minutes.
    """
    target, weight = known(keypoints, weight)
    height, width = log_heatmap.shape[-2:]
    down, across = gaussian_axes(target, height, width, stride, sigma)
    along_x = (down[..., None, :] @ log_heatmap)[..., 0, :]
    return weighted_mean(-(along_x * across).sum(-1), weight)


def coordinate_loss(
    predicted: Float[Tensor, "N J 2"], keypoints: Float[Tensor, "N J 2"], weight: Float[Tensor, "N J"], stride: float
) -> Float[Tensor, ""]:
    """Mean L1 distance between soft-argmax and label along each axis, in cells of `stride` pixels."""
    target, weight = known(keypoints, weight)
    return weighted_mean((predicted - target).abs().mean(-1) / stride, weight)
