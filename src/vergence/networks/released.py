"""Weights released by others, by an explicit map of names: EpipolarPose's network (Kocabas et al. 2019).

The public network is a ResNet with torchvision's names (`conv1`, `layer3.2.bn2`, `layer4.0.downsample.0`), three 4x4
transposed convolutions of stride 2 (`deconv_layers.0`, `.3`, `.6`, each with a BatchNorm behind it) and a 1x1 convolution
to J * 64 channels (`final_layer`), joint by joint, slice by slice. Ours has the same layers in the same order, so every
tensor finds its place and the two agree to rounding. What must be minded:

- **Where a cell lies.** It was trained with cell i of a volume at `i / 64 - 0.5`, so at pixel `4 i` of 256, not at the
  cell's centre; `network.cells: published` reads it so, from the heatmap itself rather than its square.
- **Depth** is in boxes of 2,000 mm; our depths are in reference bones, so the box becomes `2000 / bone_mm` bones.
- **Joints.** 16 joints are MPII's order (the self-supervised models), 17 are Human3.6M's (the supervised ones).
- **BatchNorm** keeps its running statistics; counters that old files lack are 0. The stride of a bottleneck lies in its
  3x3, as in torchvision.

What breaks it: heads that predict depth by a fully connected layer (`MODEL.VOLUME: false`) have no volume to read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vergence.errors import VergenceError
from vergence.networks.backbone import RESNETS
from vergence.recipes.recipe import NetworkSettings

DEPTH_BINS = 64
BOX_MM = 2000.0
BONE_MM = 480.0  # pelvis to thorax of an average adult
JOINT_ORDERS = {16: "mpii_16", 17: "h36m_17"}
UNUSED = ("fc.", "depth_fc.")  # of ImageNet's classifier, and of heads that are not read
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Released:
    """Weights as ours.

    Attributes:
        network: settings of the network that they fit.
        skeleton: name of the joints' order.
        weights: the state dict of a `PoseNetwork`.
    """

    network: NetworkSettings
    skeleton: str
    weights: dict[str, Tensor]


def pose_resnet_names(depths: list[int], bottleneck: bool) -> dict[str, str]:
    """The public network's names, each with ours."""
    names: dict[str, str] = {}

    def convolution(theirs: str, norm: str, ours: str) -> None:
        names[f"{theirs}.weight"] = f"{ours}.convolution.weight"
        for part in _NORM:
            names[f"{norm}.{part}"] = f"{ours}.normalization.{part}"

    model = "backbone.model"
    convolution("conv1", "bn1", f"{model}.embedder.embedder")
    for stage, blocks in enumerate(depths):
        for block in range(blocks):
            theirs, ours = f"layer{stage + 1}.{block}", f"{model}.encoder.stages.{stage}.layers.{block}"
            for i in range(3 if bottleneck else 2):
                convolution(f"{theirs}.conv{i + 1}", f"{theirs}.bn{i + 1}", f"{ours}.layer.{i}")
            if block == 0 and (bottleneck or stage > 0):
                convolution(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut")
    for i in (0, 3, 6):
        names[f"deconv_layers.{i}.weight"] = f"neck.layers.{i}.weight"
        names |= {f"deconv_layers.{i + 1}.{part}": f"neck.layers.{i + 1}.{part}" for part in _NORM}
    return names | {f"final_layer.{part}": f"head.{part}" for part in ("weight", "bias")}


def read_pose_resnet(
    path: Path | str, depth_bins: int = DEPTH_BINS, box_mm: float = BOX_MM, bone_mm: float = BONE_MM
) -> Released:
    """An EpipolarPose checkpoint (`.pth`) as our network's weights.

    Args:
        path: a state dict, or a mapping that has one as `state_dict`; a `module.` before all names is left out.
        depth_bins: slices of its volume.
        box_mm: depth of its volume.
        bone_mm: length of the reference bone that turns that into reference bones.

    Raises:
        VergenceError: not a file of plain tensors; names or shapes of another network; another number of joints.
    """
    theirs = _state_dict(Path(path))
    depths = [
        1 + max((int(m[1]) for n in theirs if (m := re.match(rf"layer{s}\.(\d+)\.", n))), default=-1)
        for s in range(1, 5)
    ]
    bottleneck = "layer1.0.conv3.weight" in theirs
    names = pose_resnet_names(depths, bottleneck)
    needed = {name for name in names if not name.endswith("num_batches_tracked")}
    missing, strange = sorted(needed - theirs.keys()), sorted(theirs.keys() - names.keys())
    if not all(depths) or missing or strange:
        raise VergenceError(
            f"{path} is not EpipolarPose's network: it lacks {_some(missing)}, and has {_some(strange)} besides",
            "Give a checkpoint of a ResNet with deconv_layers and final_layer.",
        )
    joints, rest = divmod(len(theirs["final_layer.weight"]), depth_bins)
    if rest or joints not in JOINT_ORDERS:
        raise VergenceError(
            f"{path} gives {len(theirs['final_layer.weight'])} maps, which are not 16 or 17 joints of {depth_bins} slices",
            "Only networks with a volume are read (MODEL.VOLUME: true); give their number of slices.",
        )
    weights = {ours: theirs.get(name, torch.tensor(0)) for name, ours in names.items()}
    network = _settings(depths, bottleneck, len(theirs["deconv_layers.0.weight"][0]), depth_bins, box_mm / bone_mm)
    return Released(network, JOINT_ORDERS[joints], weights)


def _settings(depths: list[int], bottleneck: bool, width: int, bins: int, box: float) -> NetworkSettings:
    layer, widths = ("bottleneck", [256, 512, 1024, 2048]) if bottleneck else ("basic", [64, 128, 256, 512])
    named = [name for name, sizes in RESNETS.items() if sizes == (depths, layer, widths)]
    settings = NetworkSettings(
        backbone=named[0] if named else "resnet", neck="deconvolution", width=width, head="volume", depth_bins=bins,
        depth_box=box, cells="published",
    )  # fmt: skip
    if not named:
        settings.embedding_size, settings.hidden_sizes, settings.depths = 64, widths, depths
        settings.layer_type = "bottleneck" if bottleneck else "basic"
    return settings


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"


def _state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name; nothing of the file is executed."""
    if not path.exists():
        raise VergenceError(f"there is no checkpoint {path}", "Check the path.")
    remedy = "Only files of plain tensors are read: save its state_dict again with torch.save."
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # without torch's words, which advise to load it with its code
        what = "it holds something else, or is damaged"
        raise VergenceError(f"{path} cannot be read as tensors: {what}", remedy) from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise VergenceError(f"{path} holds no state dict", "Give a file of tensors by name, or one with `state_dict`.")
    plain = {str(name).removeprefix("module."): value for name, value in found.items()}
    return {name: value for name, value in plain.items() if not name.startswith(UNUSED)}
