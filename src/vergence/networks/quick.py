"""A finished network made quick to run: the same numbers from fewer and cheaper steps.

Training needs weights that move; a finished network's do not, and much can be done once instead of at every image. A batch
normalisation behind a convolution is another convolution. oneDNN wants weights in blocks of its own: torch brings them into
that order anew at every call, a quarter of the time of one image in a 256 px ResNet-50 with transposed convolutions. Maps
lie with their channels together. In bfloat16 (`bf16`) the convolutions take half the memory and, where the processor has
instructions for it, less than half the time; what is read from the maps, lifting and refinement stay in float32 or float64.

`torch.compile` was tried beside it on one thread: slower than this, after minutes of compiling.

What breaks it: weights that change afterwards are not seen (the copy has its own), and there are no gradients. The packed
operators are those that `torch.compile` itself uses; where a build of torch lacks them, plain convolutions remain.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor, nn

from vergence.errors import VergenceError

PRECISIONS = ("fp32", "bf16")
MANY = 1024  # channels
RESNETS = "transformers.models.resnet.modeling_resnet"  # a second to import; whoever holds such a block has done so
_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # a processor's instructions

log = logging.getLogger("vergence")


def check_precision(precision: str, device: str) -> None:
    """Whether it is one; a line in the log where the processor has no instructions for it.

    Raises:
        VergenceError: it is none.
    """
    if precision not in PRECISIONS:
        raise VergenceError(f"a precision of {precision}", f"Use {' or '.join(PRECISIONS)}.")
    asked = getattr(torch.cpu, "get_capabilities", None)
    if precision == "bf16" and device == "cpu" and asked and not any(asked().get(name) for name in _BF16):
        log.warning("this processor has no instructions for bf16: it will be slower than fp32")


def quickened(module: nn.Module, parts: Sequence[str], device: str, precision: str = "fp32") -> Any:
    """A copy of a finished module that computes the same faster, for prediction alone.

    Args:
        module: as trained; it stays as it is.
        parts: names of the modules in it (`network.backbone`) that see the image: what `precision` is for.
        device: where the copy is to run.
        precision: `fp32` (equal but for rounding) or `bf16`.
    """
    made = copy.deepcopy(module).eval().to(device).requires_grad_(False)
    packs = (
        device == "cpu" and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )
    packs = packs and torch.backends.cpu.get_cpu_capability().startswith("AVX")
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    for name in parts:
        part: Any = made.get_submodule(name)
        _fold(part)
        part.to(memory_format=torch.channels_last)
        if packs:
            part = made_of_packed(part, kind)
            _join(part)
            made.set_submodule(name, part)
        if precision == "bf16":
            part.forward = torch.autocast(device, torch.bfloat16)(part.forward)
    return made


def _fold(part: nn.Module) -> None:
    """Batch normalisations behind a convolution become part of it: in a sequence, and in transformers' ResNets."""
    for inner in part.modules():
        names = list(inner._modules) if isinstance(inner, nn.Sequential) else ["convolution", "normalization"]
        for first, second in pairwise(names):
            layer: Any = getattr(inner, first, None)
            norm = getattr(inner, second, None)
            turned = isinstance(layer, nn.ConvTranspose2d)
            if isinstance(norm, nn.BatchNorm2d) and (turned or isinstance(layer, nn.Conv2d)):
                setattr(inner, first, nn.utils.fuse_conv_bn_eval(layer, norm, transpose=turned))
                setattr(inner, second, nn.Identity())


def _join(part: nn.Module) -> None:
    """ReLUs and residual sums become part of the convolution before them: a pass over memory less for each."""
    resnets: Any = sys.modules.get(RESNETS)
    chains = (nn.Sequential,) if resnets is None else (nn.Sequential, resnets.ResNetConvLayer)
    blocks = () if resnets is None else (resnets.ResNetBasicLayer, resnets.ResNetBottleNeckLayer)
    for inner in list(part.modules()):
        chain = isinstance(inner, chains)
        last: Packed | Spread | None = None
        for name, layer in list(inner.named_children()) if chain else ():
            if isinstance(layer, nn.ReLU) and last is not None:
                last.after = "relu"
                setattr(inner, name, nn.Identity())
            elif not isinstance(layer, nn.Identity):
                last = layer if isinstance(layer, Packed | Spread) else None
    for inner in list(part.modules()):
        for name, layer in list(inner.named_children()):
            if isinstance(layer, blocks) and Residual.fits(layer):
                setattr(inner, name, Residual(layer))


class Residual(nn.Module):
    """A residual block of transformers' ResNets whose sum and ReLU are done by its last convolution."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.first, self.shortcut = block.layer[:-1], block.shortcut
        self.last: Packed = block.layer[-1].convolution

    @staticmethod
    def fits(block: Any) -> bool:
        last = block.layer[-1]
        packed = isinstance(last.convolution, Packed) and isinstance(last.normalization, nn.Identity)
        return packed and isinstance(last.activation, nn.Identity) and type(block.activation) is nn.ReLU

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x), self.shortcut(x))


class Packed(nn.Module):
    """A convolution, also a transposed one, whose weights lie as oneDNN wants them.

    Attributes:
        after: `relu`, or `none`.
    """

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d, kind: torch.dtype) -> None:
        super().__init__()
        ops, turned = torch.ops.mkldnn, isinstance(layer, nn.ConvTranspose2d)
        between = [layer.output_padding] if turned else []
        self.given = [list(x) for x in (layer.padding, *between, layer.stride, layer.dilation)] + [layer.groups]
        self.run = ops._convolution_transpose_pointwise if turned else ops._convolution_pointwise
        self.pack = ops._reorder_convolution_transpose_weight if turned else ops._reorder_convolution_weight
        # Not buffers: packed weights cannot be moved or saved. Which order is best depends on the images' number and size.
        self.weight = self.packed = layer.weight.detach().to(kind)
        self.bias = None if layer.bias is None else layer.bias.detach().to(kind)
        self.shape: list[int] = []
        self.after = "none"

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The convolution, and what comes after; with a residual its sum with that, and a ReLU."""
        x = x.to(self.weight.dtype)
        if self.shape != list(x.shape):
            self.shape = list(x.shape)
            self.packed = self.pack(self.weight, *self.given, self.shape)
        if residual is not None:
            residual = residual.to(self.weight.dtype)
            return self.run.binary(x, residual, self.packed, self.bias, *self.given, "add", 1.0, "relu", [], "")
        return self.run(x, self.packed, self.bias, *self.given, self.after, [], "")


class Spread(nn.Module):
    """A transposed convolution of 4x4, stride 2, padding 1, from many channels, as one product of matrices.

    Each input cell gives 4x4 output cells, which are added up where they meet. oneDNN's own needs twice as long or more from
    2048 channels of 8x8 cells, and half as long from 256.
    """

    after = "none"

    def __init__(self, layer: nn.ConvTranspose2d, kind: torch.dtype) -> None:
        super().__init__()
        self.weight = layer.weight.detach().to(kind).permute(0, 2, 3, 1).flatten(1).contiguous()
        self.bias = None if layer.bias is None else layer.bias.detach().to(kind)

    @staticmethod
    def fits(layer: Any) -> bool:
        sizes = layer.kernel_size, layer.stride, layer.padding, layer.output_padding, layer.dilation, layer.groups
        known = sizes == ((4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1)
        return known and layer.in_channels >= MANY

    def forward(self, x: Tensor) -> Tensor:
        n, channels, h, w = x.shape
        cells = x.to(self.weight.dtype).permute(0, 2, 3, 1).reshape(-1, channels) @ self.weight
        parts = cells.view(n, h, w, 4, 4, -1).permute(0, 1, 3, 2, 4, 5)
        out = parts.new_zeros((n, h + 1, 2, w + 1, 2, parts.shape[-1]))  # with a margin of a pixel, which is cut off
        for i, j in product(range(2), repeat=2):
            out[:, i : i + h, :, j : j + w] += parts[:, :, 2 * i : 2 * i + 2, :, 2 * j : 2 * j + 2]
        out = out.view(n, 2 * h + 2, 2 * w + 2, -1)[:, 1:-1, 1:-1]
        out = out if self.bias is None else out + self.bias
        return (out.relu() if self.after == "relu" else out).permute(0, 3, 1, 2)


def made_of_packed(part: nn.Module, kind: torch.dtype) -> nn.Module:
    """The part with `Packed` (or `Spread`) in place of its convolutions; the part itself where it is one."""

    def fits(layer: nn.Module) -> bool:
        kinds = type(layer) in (nn.Conv2d, nn.ConvTranspose2d)
        return kinds and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)

    def made(layer: Any) -> Packed | Spread:
        return (
            Spread(layer, kind) if isinstance(layer, nn.ConvTranspose2d) and Spread.fits(layer) else Packed(layer, kind)
        )

    if fits(part):
        return made(part)
    for inner in list(part.modules()):
        for name, layer in list(inner.named_children()):
            if fits(layer):
                setattr(inner, name, made(layer))
    return part
