"""Heads: how a network's last maps are read as a heatmap and a relative depth for each joint.

A head says how many maps it wants for a joint (`maps`), and a call turns them into log-probabilities of each cell, these
probabilities (so that the gradients of 2D and depth meet there) and depths in reference bones. The last convolution
belongs to the network (`PoseNetwork`). One from outside has the same form (`plugins.heads`); where it has weights of its
own it is an `nn.Module`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vergence.recipes.recipe import NetworkSettings

LEAST = 1e-37  # probability; its logarithm is finite
Read = tuple[Float[Tensor, "N J h w"], Float[Tensor, "N J h w"], Float[Tensor, "N J"]]


class DepthMap:
    """A heatmap and a depth map, depth read where the heatmap is (Iqbal 2018, 2020)."""

    def __init__(self, settings: NetworkSettings) -> None:
        self.maps = 2

    def __call__(self, out: Float[Tensor, "N J M h w"]) -> Read:
        latent, depths = out.unbind(2)
        log_heatmap = latent.flatten(2).log_softmax(-1).view_as(latent)
        heatmap = log_heatmap.exp()
        return log_heatmap, heatmap, (heatmap * depths).sum((-1, -2))


class Volume:
    """A softmax over a w x h x d volume, its expectation along three axes (Sun 2018, EpipolarPose)."""

    def __init__(self, settings: NetworkSettings) -> None:
        self.maps = settings.depth_bins
        self.box = settings.depth_box

    def __call__(self, out: Float[Tensor, "N J M h w"]) -> Read:
        # The depth of each slice is `i / D - 0.5` of the box, as EpipolarPose's coordinates.
        depths = (torch.arange(self.maps, device=out.device) / self.maps - 0.5) * self.box
        if not out.requires_grad:
            return self._sums(out, depths)
        log_volume = out.flatten(2).log_softmax(-1).view_as(out)
        log_heatmap = log_volume.logsumexp(2)
        return log_heatmap, log_heatmap.exp(), (log_volume.exp().sum((-1, -2)) * depths).sum(-1)

    def _sums(self, out: Float[Tensor, "N J M h w"], depths: Float[Tensor, " M"]) -> Read:
        """The same without gradients: one exponential for each of the millions of cells, and sums."""
        mass = (out - out.amax((2, 3, 4), keepdim=True)).exp()
        heatmap, slices = mass.sum(2), mass.sum((3, 4))
        whole = slices.sum(-1)
        heatmap = heatmap / whole[..., None, None]
        return heatmap.clamp(min=LEAST).log(), heatmap, (slices * depths).sum(-1) / whole
