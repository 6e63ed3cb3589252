"""The stacked hourglass (Newell 2016) with the depth module of Zhou 2017: heatmaps at every stack, one depth per joint.

Why it is here: the geometric constraint was published on it. Its maps are not probabilities but regress Gaussians of
height 1, so a joint is the highest cell, moved a quarter of a cell towards its higher neighbour; no gradient passes
through that. Depth comes from the whole map by convolutions, poolings and one linear layer, in the crop's own units (the
crop spans -1 to 1). What breaks it: few steps (the squared error of nearly empty maps has small gradients), and other
image sizes: the depth module pools 64 cells to 4; smaller maps are pooled fewer times, then averaged to 4 by 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vergence.networks.backbone import IMAGENET_MEAN, IMAGENET_STD
from vergence.networks.pose_network import Maps
from vergence.recipes.recipe import NetworkSettings

LEVELS = 4  # poolings inside an hourglass
DEPTH_BLOCKS = 4
DEPTH_SIDE = 4  # cells that the depth module leaves


@dataclass
class HourglassMaps(Maps):
    """What a stacked hourglass sees; `depth` in units of half the crop's side, `keypoints` at the highest cell.

    Attributes:
        stacks: heatmaps of every stack, last one best, `N S J h w`.
    """

    stacks: Float[Tensor, "N S J h w"]


class Residual(nn.Module):
    """Pre-activation bottleneck: 1x1 to half the channels, 3x3, 1x1 (He 2016)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        half = outside // 2
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, half, 1),
            nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1),
            nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, outside, 1),
        )  # fmt: skip
        self.skip = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.layers(x)


def residuals(count: int, width: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(width, width) for _ in range(count)))


class Hourglass(nn.Module):
    """Half the resolution, a smaller hourglass inside, and back, beside a branch that keeps the resolution."""

    def __init__(self, levels: int, modules: int, width: int) -> None:
        super().__init__()
        self.beside, self.down, self.up = (residuals(modules, width) for _ in range(3))
        self.inner = Hourglass(levels - 1, modules, width) if levels > 1 else residuals(modules, width)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 2:  # nothing left to halve on a small image
            return self.beside(x) + self.up(self.inner(self.down(x)))
        low = self.up(self.inner(self.down(F.max_pool2d(x, 2))))
        return self.beside(x) + F.interpolate(low, size=x.shape[-2:], mode="nearest")


class DepthModule(nn.Module):
    """Four times (residuals, 2x2 max pooling), then one linear layer: a depth per joint."""

    def __init__(self, modules: int, width: int, joints: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(residuals(modules, width) for _ in range(DEPTH_BLOCKS))
        self.head = nn.Linear(width * DEPTH_SIDE**2, joints)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
            x = F.max_pool2d(x, 2) if min(x.shape[-2:]) >= 2 * DEPTH_SIDE else x
        return self.head(F.adaptive_avg_pool2d(x, DEPTH_SIDE).flatten(1)).float()


class StackedHourglass(nn.Module):
    """Published sizes: `width` 256, `stacks` 2, `modules` 2, images of 256 pixels.

    Args:
        settings: `width`, `stacks`, `modules`.
        joints: number of joints.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: NetworkSettings, joints: int) -> None:
        super().__init__()
        self.settings, self.joints = settings, joints
        width, modules, stacks = settings.width, settings.modules, settings.stacks
        stem = max(16, width // 4)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 7, stride=2, padding=3), nn.BatchNorm2d(stem), nn.ReLU(), Residual(stem, width // 2),
            nn.MaxPool2d(2), Residual(width // 2, width // 2), Residual(width // 2, width),
        )  # fmt: skip
        self.hourglasses = nn.ModuleList(Hourglass(LEVELS, modules, width) for _ in range(stacks))
        self.after = nn.ModuleList(
            nn.Sequential(
                residuals(modules, width), nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU()
            )
            for _ in range(stacks)
        )  # fmt: skip
        self.heatmaps = nn.ModuleList(nn.Conv2d(width, joints, 1) for _ in range(stacks))
        self.back = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks))
        self.again = nn.ModuleList(nn.Conv2d(joints, width, 1) for _ in range(stacks))
        self.depth = DepthModule(modules, width, joints)

    def forward(self, image: Tensor) -> HourglassMaps:
        """`N 3 H W`, uint8 or 0 to 1; sides of a multiple of 4."""
        brightest = 255.0 if image.dtype == torch.uint8 else 1.0
        x = torch.addcmul(-self.mean / self.std, image.float(), 1 / (brightest * self.std))
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        found = []
        for glass, after, heatmap, back, again in zip(
            self.hourglasses, self.after, self.heatmaps, self.back, self.again, strict=True
        ):
            features = after(glass(x))
            found.append(heatmap(features))
            x = x + back(features) + again(found[-1])
        stacks = torch.stack(found, 1).float()
        depth = self.depth(x)
        last = stacks[:, -1]
        with torch.no_grad():
            positive = last.clamp(min=1e-4)
            log_heatmap = (positive / positive.sum((-1, -2), keepdim=True)).log()
            keypoints = highest_pixel(last, image.shape[-1] / last.shape[-1])
            confidence = torch.zeros_like(depth) if self.training else last.amax((-1, -2)).clamp(0, 1)
        return HourglassMaps(log_heatmap, keypoints, depth, confidence, x, stacks)


def highest_pixel(heatmap: Float[Tensor, "N J h w"], stride: float) -> Float[Tensor, "N J 2"]:
    """The pixel of the highest cell, moved a quarter of a cell towards the higher of its neighbours along each axis."""
    h, w = heatmap.shape[-2:]
    best = heatmap.flatten(2).argmax(-1)
    y, x = best // w, best % w
    padded = F.pad(heatmap, (1, 1, 1, 1), value=-torch.inf).flatten(2)

    def at(dy: int, dx: int) -> Tensor:
        return padded.gather(2, ((y + 1 + dy) * (w + 2) + x + 1 + dx)[..., None])[..., 0]

    inside_x, inside_y = (x > 0) & (x < w - 1), (y > 0) & (y < h - 1)
    right = torch.where(inside_x, torch.sign(at(0, 1) - at(0, -1)).nan_to_num(0.0), 0.0)
    below = torch.where(inside_y, torch.sign(at(1, 0) - at(-1, 0)).nan_to_num(0.0), 0.0)
    cell = torch.stack([x + 0.25 * right, y + 0.25 * below], -1)
    return (cell + 0.5) * stride - 0.5
