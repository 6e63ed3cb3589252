"""EpipolarPose's public network, written here in plain torch from the paper, and ours with the same random weights."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vergence.commands.evaluate import evaluate
from vergence.commands.import_weights import import_weights
from vergence.errors import VergenceError
from vergence.inference.estimator import load
from vergence.methods.base import relative_depth
from vergence.networks.backbone import IMAGENET_MEAN, IMAGENET_STD
from vergence.networks.pose_network import PoseNetwork
from vergence.networks.released import BONE_MM, pose_resnet_names, read_pose_resnet

BINS, SIZE = 8, 64


class Block(nn.Module):
    """He et al. 2016, figure 5: two 3x3, or 1x1, 3x3 with the stride, 1x1 of four times the channels."""

    def __init__(self, channels: int, width: int, stride: int, deep: bool) -> None:
        super().__init__()
        out = width * 4 if deep else width
        plan = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)] if deep else [
            (channels, width, 3, stride), (width, width, 3, 1)
        ]  # fmt: skip
        self.count = len(plan)
        for i, (a, b, kernel, step) in enumerate(plan, 1):
            self.add_module(f"conv{i}", nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(b))
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.count else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Public(nn.Module):
    """ResNet, three transposed convolutions of 4x4 and 256 channels, 1x1 to a volume for each joint."""

    def __init__(self, depths: list[int], deep: bool, joints: int) -> None:
        super().__init__()
        self.joints = joints
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for stage, blocks in enumerate(depths):
            row = []
            for block in range(blocks):
                width = 64 * 2**stage
                row.append(Block(channels, width, 2 if stage and not block else 1, deep))
                channels = width * 4 if deep else width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*row))
        steps: list[nn.Module] = []
        for _ in range(3):
            steps += [nn.ConvTranspose2d(channels, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
            channels = 256
        self.deconv_layers = nn.Sequential(*steps)
        self.final_layer = nn.Conv2d(256, joints * BINS, 1)

    def logits(self, image: Tensor) -> Tensor:
        mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        x = F.max_pool2d(F.relu(self.bn1(self.conv1((image / 255 - mean) / std))), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.final_layer(self.deconv_layers(x))

    def forward(self, image: Tensor) -> Tensor:
        """Coordinates of each joint from -0.5: expected cell / cells - 0.5, for x, y and depth."""
        x = self.logits(image)
        n, _, h, w = x.shape
        volume = x.reshape(n, self.joints, -1).softmax(-1).reshape(n, self.joints, BINS, h, w)
        out = []
        for axes, count in (((2, 3), w), ((2, 4), h), ((3, 4), BINS)):
            out.append((volume.sum(axes) * torch.arange(count)).sum(-1) / count - 0.5)
        return torch.stack(out, -1)


def drawn(depths: list[int], deep: bool, joints: int) -> Public:
    """Random weights whose heatmaps have peaks, and BatchNorms that have seen data."""
    torch.manual_seed(0)
    network = Public(depths, deep, joints).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
    nn.init.normal_(network.final_layer.bias)
    with torch.no_grad():  # logits that differ by several over the cells
        image = torch.randint(0, 256, (2, 3, SIZE, SIZE)).float()
        network.final_layer.weight *= 4 / network.logits(image).std((-2, -1)).mean()
    return network


NETWORKS = {"resnet18": ([2, 2, 2, 2], False), "resnet34": ([3, 4, 6, 3], False), "resnet50": ([3, 4, 6, 3], True)}


@pytest.mark.parametrize(("name", "joints"), [("resnet18", 17), ("resnet34", 16), ("resnet50", 16)])
def test_the_public_network_and_ours_agree(tmp_path, name, joints):
    public = drawn(*NETWORKS[name], joints)
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in public.state_dict().items()}}, tmp_path / "a.pth"
    )
    released = read_pose_resnet(tmp_path / "a.pth", BINS)
    assert released.network.backbone == name
    assert released.skeleton == {16: "mpii_16", 17: "h36m_17"}[joints]
    ours = PoseNetwork(released.network, joints, pretrained=False).eval()
    ours.load_state_dict(released.weights)
    image = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    with torch.no_grad():
        theirs, maps = public(image.float()), ours(image)
    assert theirs.std(1).min() > 0.01  # the joints do not all lie in one place
    assert (maps.keypoints / SIZE - 0.5 - theirs[..., :2]).abs().max() < 1e-4
    assert (maps.depth * BONE_MM / 2000 - theirs[..., 2]).abs().max() < 1e-4
    # what would break it: cells read at their centres, statistics of the batch, joints in another order
    released.network.cells = "centre"
    with torch.no_grad():
        assert (ours(image).keypoints / SIZE - 0.5 - theirs[..., :2]).abs().max() > 0.01
        released.network.cells = "published"
        ours.train()
        assert (ours(image).keypoints / SIZE - 0.5 - theirs[..., :2]).abs().max() > 1e-3


def test_every_tensor_has_one_place():
    for depths, deep in NETWORKS.values():
        names = pose_resnet_names(depths, deep)
        assert set(names) == set(Public(depths, deep, 16).state_dict())
        assert len(set(names.values())) == len(names)


def test_imported_weights_are_a_run_that_evaluates(tmp_path, capsys):
    public = drawn(*NETWORKS["resnet18"], 17)
    weights = {k: v for k, v in public.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(weights | {"fc.weight": torch.zeros(2, 2)}, tmp_path / "released.pth")
    import_weights(tmp_path / "released.pth", tmp_path / "run", image_size=SIZE, depth_bins=BINS)
    estimator = load(tmp_path / "run")
    image = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    prediction = estimator(image)
    with torch.no_grad():
        theirs = public(image.float())
        depth = estimator.method.network(image).depth
    assert (prediction.keypoints / SIZE - 0.5 - theirs[..., :2]).abs().max() < 1e-4
    expected = (theirs[..., 2] - theirs[:, :1, 2]) * 2000 / BONE_MM
    assert (relative_depth(depth, estimator.skeleton) - expected).abs().max() < 1e-3
    line = "{kind: world_images, count: 6, look: studio, seed: 4}"
    evaluate(tmp_path / "run", data=line, device="cpu")
    assert "N-MPJPE" in capsys.readouterr().out
    assert (tmp_path / "run" / "evaluation" / "report.html").is_file()
    with pytest.raises(VergenceError, match="is not empty"):
        import_weights(tmp_path / "released.pth", tmp_path / "run")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-was-here",)


def test_other_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VergenceError, match="no checkpoint"):
        read_pose_resnet("gone.pth")
    torch.save({"state_dict": Hostile()}, "hostile.pth")
    with pytest.raises(VergenceError, match="cannot be read as tensors") as caught:
        read_pose_resnet("hostile.pth")
    assert "weights_only" not in str(caught.value)  # torch advises to run what is in it
    assert not (tmp_path / "hostile-was-here").exists()
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(VergenceError, match="cannot be read as tensors"):
        read_pose_resnet("text.pth")
    weights = drawn(*NETWORKS["resnet18"], 17).state_dict()
    torch.save({k: v for k, v in weights.items() if k != "layer3.1.bn2.running_var"}, "short.pth")
    with pytest.raises(VergenceError, match=r"lacks layer3\.1\.bn2\.running_var"):
        read_pose_resnet("short.pth", BINS)
    torch.save({**weights, "extra.weight": torch.zeros(1)}, "long.pth")
    with pytest.raises(VergenceError, match=r"has extra\.weight besides"):
        read_pose_resnet("long.pth", BINS)
    torch.save(weights, "good.pth")
    with pytest.raises(VergenceError, match="not 16 or 17 joints of 64 slices"):
        read_pose_resnet("good.pth")
