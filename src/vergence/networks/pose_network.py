"""The pose network: backbone, neck and a head that gives 2.5D: a pixel and a relative depth for each joint.

The heads stand in `networks.heads`.
Two necks. `top_down` adds every stage of the backbone into the finest map (a small image leaves the last stage 2 or 3
cells wide, too few for a deconvolution alone); `deconvolution` is EpipolarPose's three 4x4 layers of 256 on the last map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vergence import plugins
from vergence.networks.backbone import Backbone
from vergence.networks.heads import Read
from vergence.recipes.recipe import NetworkSettings

SHARPNESS = 2.0  # power of the heatmap that joints are read from once training is over (see `PoseNetwork.decode`)


@dataclass
class Maps:
    """What a pose network sees in N crops.

    Attributes:
        log_heatmap: log-probability of each cell, `N J h w`; sums to 1 over a joint's map.
        keypoints: expected pixel of each joint, crop pixels, `N J 2`; out of training under the squared heatmap.
        depth: depth of each joint in reference bones, relative to an origin common to the joints of an image, `N J`.
        confidence: probability in the best 3x3 cells, 0 to 1, `N J`; 0 in training, where nothing reads it.
        features: the backbone's two finest maps, meant over the image, `N C`; empty in training, where nothing reads it.
    """

    log_heatmap: Float[Tensor, "N J h w"]
    keypoints: Float[Tensor, "N J 2"]
    depth: Float[Tensor, "N J"]
    confidence: Float[Tensor, "N J"]
    features: Float[Tensor, "N C"]


class TopDown(nn.Module):
    """All stages of the backbone summed into the finest map (Lin et al. 2017, FPN; one 3x3 at the end of each step)."""

    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for _ in channels[:-1]
        )
        self.channels = width

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = self.lateral[-1](maps[-1])
        for lateral, smooth, finer in zip(
            reversed(self.lateral[:-1]), reversed(self.smooth), reversed(maps[:-1]), strict=True
        ):
            x = smooth(lateral(finer) + F.interpolate(x, size=finer.shape[-2:], mode="nearest"))
        return x


class Deconvolution(nn.Module):
    """Three 4x4 transposed convolutions of stride 2 on the last map (Xiao et al. 2018, EpipolarPose)."""

    def __init__(self, channels: list[int], width: int, layers: int = 3) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for i in range(layers):
            steps += [
                nn.ConvTranspose2d(channels[-1] if i == 0 else width, width, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*steps)
        self.channels = width

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.layers(maps[-1])


class PoseNetwork(nn.Module):
    """2.5D joints from crops.

    Args:
        settings: sizes and kind; see `NetworkSettings`.
        joints: number of joints.
        pretrained: load a named backbone's weights; False when a run's own weights follow.
    """

    def __init__(self, settings: NetworkSettings, joints: int, pretrained: bool = True) -> None:
        super().__init__()
        self.settings = settings
        self.joints = joints
        self.backbone = Backbone(settings, pretrained)
        neck = {"top_down": TopDown, "deconvolution": Deconvolution}[settings.neck]
        self.neck = neck(self.backbone.channels, settings.width)
        self.reads = plugins.heads[settings.head](settings)
        self.quick_read: Callable[[Tensor], Read] | None = None
        self.head = nn.Conv2d(self.neck.channels, joints * self.reads.maps, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor) -> Maps:
        """`N 3 H W`, uint8 or 0 to 1."""
        return self.decode(self.backbone(image), image.shape[-1])

    def read(self, x: Float[Tensor, "N C h w"]) -> Read:
        """The head on the neck's map."""
        if self.quick_read is not None:
            return self.quick_read(x)
        out = self.head(x).float()
        n, _, h, w = out.shape
        return self.reads(out.view(n, self.joints, -1, h, w))

    def hasten(self, rough: bool) -> None:
        """Convolution and reading of the head as one step, where it has such (`Volume.joined`); for a finished network."""
        if hasattr(self.reads, "joined"):
            self.quick_read = self.reads.joined(self.head, rough)

    def decode(self, features: list[Tensor], size: int) -> Maps:
        """Neck and head on the backbone's maps of images `size` pixels wide.

        A heatmap is as wide as its training target, and where it has two peaks its mean is at neither. Squared and
        normalised it is narrower and leans to the higher one: 3.1 px instead of 3.5 at 96 pixels, 2 % less error in 3D.
        """
        log_heatmap, heatmap, depth = self.read(self.neck(features))
        stride = size / heatmap.shape[-1]
        published = self.settings.cells == "published"
        plain = self.training or published
        sharp = heatmap if plain else (SHARPNESS * log_heatmap).flatten(2).softmax(-1).view_as(log_heatmap)
        keypoints = expected_pixel(sharp, stride)
        return Maps(
            log_heatmap=log_heatmap,
            keypoints=keypoints - (stride - 1) / 2 if published else keypoints,
            depth=depth,
            confidence=depth.new_zeros(depth.shape) if self.training else best_window(heatmap),
            features=depth.new_zeros(len(depth), 0) if self.training else look_of(features),
        )


def look_of(features: list[Tensor]) -> Float[Tensor, "N C"]:
    """What an image looks like, whoever is in it: the two finest maps' means."""
    return torch.cat([one.mean((-2, -1), dtype=torch.float32) for one in features[:2]], 1)


def best_window(heatmap: Float[Tensor, "N J h w"]) -> Float[Tensor, "N J"]:
    """The most probability that 3x3 neighbouring cells hold together."""
    return (F.avg_pool2d(heatmap, 3, stride=1, padding=1) * 9).amax((-1, -2)).clamp(max=1)


def peaks(
    log_heatmap: Float[Tensor, "N J h w"], stride: float, count: int
) -> tuple[Float[Tensor, "N J M 2"], Float[Tensor, "N J M"]]:
    """The highest local maxima of each heatmap, highest first, as pixels and as probability in the 5x5 cells around.

    A pixel is the expected one within those cells. Where a map has fewer than `count` maxima the rest have probability 0.
    """
    heatmap = log_heatmap.float().exp()
    n, joints, _, w = heatmap.shape
    top = F.max_pool2d(heatmap, 3, stride=1, padding=1) == heatmap
    value, cell = torch.where(top, heatmap, 0.0).flatten(2).topk(count)
    y, x = cell // w, cell % w
    around = F.pad(heatmap, (2, 2, 2, 2)).unfold(2, 5, 1).unfold(3, 5, 1)
    rows = torch.arange(n, device=cell.device)[:, None, None], torch.arange(joints, device=cell.device)[:, None]
    window = around[(*rows, y, x)]
    mass = window.sum((-1, -2))
    step = torch.arange(-2.0, 3.0, device=mass.device)
    beside = torch.stack([(window.sum(-2) * step).sum(-1), (window.sum(-1) * step).sum(-1)], -1) / mass[..., None]
    pixels = (torch.stack([x, y], -1) + beside + 0.5) * stride - 0.5
    return pixels, torch.where(value > 0, mass.clamp(max=1), 0.0)


def expected_pixel(heatmap: Float[Tensor, "N J h w"], stride: float) -> Float[Tensor, "N J 2"]:
    """Soft-argmax: the expected pixel of a map of probabilities whose cells are `stride` pixels wide.

    The centre of cell i lies at pixel `(i + 0.5) stride - 0.5`.
    """
    h, w = heatmap.shape[-2:]
    x = ((torch.arange(w, device=heatmap.device) + 0.5) * stride - 0.5).to(heatmap.dtype)
    y = ((torch.arange(h, device=heatmap.device) + 0.5) * stride - 0.5).to(heatmap.dtype)
    return torch.stack([(heatmap.sum(-2) * x).sum(-1), (heatmap.sum(-1) * y).sum(-1)], dim=-1)
