"""Heads: how a network's last maps are read as a heatmap and a relative depth for each joint.

A head says how many maps it wants for a joint (`maps`), and a call turns them into log-probabilities of each cell, these
probabilities (so that the gradients of 2D and depth meet there) and depths in reference bones. The last convolution
belongs to the network (`PoseNetwork`). One from outside has the same form (`plugins.heads`); where it has weights of its
own it is an `nn.Module`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vergence.recipes.recipe import NetworkSettings

PIECE = 256  # cells of a volume that are read together
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
        """The same without gradients: one exponential for each of the millions of cells, and sums along one axis at a time:
        ONNX Runtime adds 262,144 cells in a row, and is 5e-5 off where they are alike."""
        mass = (out - out.amax((2, 3, 4), keepdim=True)).exp()
        return _normalised(mass.sum(2), mass.sum(-1).sum(-1), depths)

    def joined(self, layer: nn.Conv2d, rough: bool) -> Callable[[Tensor], Read]:
        """The last convolution (1x1) and the reading as one step from feature maps, without gradients.

        A volume has millions of numbers, and most of the time went into writing it to memory and reading it again. So a few
        rows of cells at a time are multiplied, exponentiated and added up in the processor's cache, each piece beside its
        own highest value; at the end the pieces are brought to a common one.

        Args:
            layer: the head's convolution.
            rough: factors are rounded to bfloat16, products and sums are not.
        """
        weight = layer.weight.detach()[:, :, 0, 0].float().t().contiguous()
        bias = None if layer.bias is None else layer.bias.detach().float()
        joints = weight.shape[1] // self.maps

        def read(x: Float[Tensor, "N C h w"]) -> Read:
            n, channels, h, w = x.shape
            mass, slices = x.new_empty((n, joints, h * w), dtype=torch.float32), []
            with rounded_products(rough):
                for i, cells in enumerate(x.permute(0, 2, 3, 1).reshape(n, h * w, channels)):
                    tops, rows = [], []
                    for start in range(0, h * w, PIECE):
                        piece = cells[start : start + PIECE].float()
                        out = (piece @ weight if bias is None else torch.addmm(bias, piece, weight)).view(
                            -1, joints, self.maps
                        )
                        tops.append(out.amax((0, 2)))
                        out.sub_(tops[-1][:, None]).exp_()
                        mass[i, :, start : start + PIECE] = out.sum(2).t()
                        rows.append(out.sum(0))
                    top = torch.stack(tops)
                    share = (top - top.amax(0)).exp()
                    mass[i] *= share.t().repeat_interleave(PIECE, 1)[:, : h * w]
                    slices.append((torch.stack(rows) * share[..., None]).sum(0))
            depths = (torch.arange(self.maps, device=x.device) / self.maps - 0.5) * self.box
            return _normalised(mass.view(n, joints, h, w), torch.stack(slices), depths)

        return read


def _normalised(heatmap: Float[Tensor, "N J h w"], slices: Float[Tensor, "N J M"], depths: Float[Tensor, " M"]) -> Read:
    """Masses of cells and slices, of any scale, as `Read`."""
    whole = slices.sum(-1)
    heatmap = heatmap / whole[..., None, None]
    return heatmap.clamp(min=LEAST).log(), heatmap, (slices * depths).sum(-1) / whole


@contextmanager
def rounded_products(rough: bool) -> Iterator[None]:
    """Products of float32 matrices on the CPU round their factors to bfloat16 where asked, and where torch can."""
    matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if not rough or matmul is None:
        yield
        return
    before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before
