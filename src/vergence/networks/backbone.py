"""Backbones from transformers' AutoBackbone: any ResNet size, from a small one for a CPU to a pretrained ResNet-50.

A hub name or a local folder loads its weights; otherwise the network is built from sizes and starts untrained. One from
outside (`plugins.backbones`) is a function of the settings and `pretrained` to a module that has `channels` and turns
normalised images `N 3 H W` into a list of maps, the coarsest last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, ResNetConfig, logging

from vergence import plugins
from vergence.errors import VergenceError, refusing
from vergence.networks.hub import hub_options
from vergence.recipes.recipe import NetworkSettings

NEW_NORMS = "hidden_states_norms."  # behind each stage: a classifier's file has none, and they begin as no change
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNETS = {  # depths, layer type, widths: He et al. 2016, table 1
    "resnet18": ([2, 2, 2, 2], "basic", [64, 128, 256, 512]),
    "resnet34": ([3, 4, 6, 3], "basic", [64, 128, 256, 512]),
    "resnet50": ([3, 4, 6, 3], "bottleneck", [256, 512, 1024, 2048]),
}


class Backbone(nn.Module):
    """Images to feature maps, coarsest last.

    Attributes:
        channels: channels of each map.
        strides: pixels per cell of each map.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: NetworkSettings, pretrained: bool = True) -> None:
        super().__init__()
        model = _build(settings, pretrained)
        self.model = model
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        with torch.no_grad():
            training = self.model.training
            maps = _maps(self.model.eval()(torch.zeros(1, 3, 128, 128)))
            self.model.train(training)
        self.channels = _checked(settings.backbone, getattr(model, "channels", None), maps)
        self.strides = [128 // m.shape[-1] for m in maps]

    def forward(self, image: Tensor) -> list[Tensor]:
        """`N 3 H W`, uint8 or 0 to 1, to maps `N C_i H/s_i W/s_i`."""
        brightest = 255.0 if image.dtype == torch.uint8 else 1.0
        x = torch.addcmul(-self.mean / self.std, image.float(), 1 / (brightest * self.std))
        x = x.contiguous(memory_format=torch.channels_last)
        return _maps(self.model(x))


def _maps(found: Any) -> list[Tensor]:
    """The maps of transformers' output, or of a backbone that gives them as they are."""
    return list(getattr(found, "feature_maps", found))


def _checked(name: str, channels: Any, maps: list[Tensor]) -> list[int]:
    """The channels of a backbone's maps; refuses maps that no neck can read, which one from outside may give.

    Raises:
        VergenceError: not a list of maps `N C h w` with those channels, the coarsest last.
    """
    shapes = [tuple(one.shape) for one in maps]
    sizes = [shape[-1] for shape in shapes]
    if any(len(shape) != 4 for shape in shapes) or sizes != sorted(sizes, reverse=True):
        raise VergenceError(
            f"backbone {name!r} turns an image of 1 3 128 128 into maps of {shapes}",
            "It must return a list of maps N C h w, the coarsest last.",
        )
    if channels is None or list(channels) != [shape[1] for shape in shapes]:
        found = "has no `channels`" if channels is None else f"says channels {list(channels)}"
        remedy = f"Set self.channels = {[shape[1] for shape in shapes]}."
        raise VergenceError(f"backbone {name!r} {found}, its maps are of {shapes}", remedy)
    return list(channels)


def _build(settings: NetworkSettings, pretrained: bool) -> Any:
    name = settings.backbone
    if name in plugins.backbones or (":" in name and not Path(name).exists()):
        return plugins.backbones[name](settings, pretrained)
    return from_transformers(name, pretrained)


def resnet(settings: NetworkSettings, pretrained: bool) -> Any:
    """A ResNet of the settings' own sizes, or of He's where they name one; untrained."""
    name = settings.backbone
    depths, layer, widths = RESNETS.get(name, (settings.depths, settings.layer_type, settings.hidden_sizes))
    if len(depths) != len(widths):
        remedy = "Give one number each per stage."
        raise VergenceError(f"network.depths has {len(depths)} stages, network.hidden_sizes {len(widths)}", remedy)
    stem = settings.embedding_size if name == "resnet" else 64
    config = ResNetConfig(embedding_size=stem, hidden_sizes=list(widths), depths=list(depths), layer_type=layer)
    config.out_features = [f"stage{i + 1}" for i in range(len(depths))]
    return AutoBackbone.from_config(config)


def from_transformers(name: str, pretrained: bool) -> Any:
    """A backbone of the hub or of a local folder, with its weights where they are wanted."""
    ours = f"Use {', '.join(plugins.backbones)}, a hub name that can be reached, or a folder with config.json and "
    remedy = f"{ours}model.safetensors of a transformers backbone (ResNet, ConvNeXt, Swin)."
    with refusing(f"backbone {name!r} could not be loaded", remedy, OSError, ValueError, AttributeError), _silent():
        options = hub_options(name)
        config = AutoConfig.from_pretrained(name, **options)
        if not hasattr(config, "stage_names"):
            raise ValueError(f"a {config.model_type} has one map at the end, no stages of several sizes")
        config.out_features = [s for s in config.stage_names if s != "stem"]
        model = AutoBackbone.from_config(config)
        if not pretrained:
            return model
        # AutoBackbone.from_pretrained itself asks the hub first, and so refuses folders and works online only.
        model, report = type(model).from_pretrained(name, config=config, output_loading_info=True, **options)
        if missing := [key for key in report["missing_keys"] if not key.startswith(NEW_NORMS)]:
            raise ValueError(f"its file has no weights for {min(missing)}")
        return model


@contextmanager
def _silent() -> Iterator[None]:
    """Without transformers' reports of what is loaded."""
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
