"""Backbones: sizes, strides, pretrained folders and names that are none."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoBackbone,
    AutoModelForImageClassification,
    ConvNextConfig,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    ViTConfig,
)
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from vergence import plugins
from vergence.errors import VergenceError
from vergence.methods.registry import build_method
from vergence.networks.backbone import IMAGENET_MEAN, IMAGENET_STD, RESNETS, Backbone
from vergence.recipes.recipe import NetworkSettings

# Parameters of He et al.'s networks without their classifier (torchvision prints 11.69, 21.80 and 25.56 M with it).
MILLIONS = {"resnet18": 11.69 - 0.513, "resnet34": 21.80 - 0.513, "resnet50": 25.56 - 2.049}


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_have_their_papers_size(name):
    backbone = Backbone(NetworkSettings(backbone=name))
    count = sum(p.numel() for p in backbone.parameters()) / 1e6
    assert count == pytest.approx(MILLIONS[name], abs=0.01)
    assert backbone.strides == [4, 8, 16, 32]
    assert backbone.channels == RESNETS[name][2] == [c * (4 if name == "resnet50" else 1) for c in (64, 128, 256, 512)]


def test_a_small_resnet_from_sizes():
    backbone = Backbone(NetworkSettings(embedding_size=4, hidden_sizes=[4, 6, 8], depths=[1, 2, 1])).eval()
    maps = backbone(torch.zeros(2, 3, 96, 96, dtype=torch.uint8))
    assert [tuple(m.shape) for m in maps] == [(2, 4, 24, 24), (2, 6, 12, 12), (2, 8, 6, 6)]
    assert backbone.channels == [4, 6, 8]
    assert backbone.strides == [4, 8, 16]


def test_bytes_and_shares_are_the_same_image():
    torch.manual_seed(0)
    backbone = Backbone(NetworkSettings(embedding_size=4, hidden_sizes=[4], depths=[1])).eval()
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.allclose(backbone(image)[0], backbone(image.float() / 255)[0], atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "tiny"
    torch.manual_seed(5)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    AutoBackbone.from_config(config).save_pretrained(path)
    return path


def saved_in(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_pretrained_folder_gives_its_weights_and_all_its_stages(folder):
    torch.manual_seed(6)
    backbone = Backbone(NetworkSettings(backbone=str(folder)))
    saved = saved_in(folder)
    ours = backbone.model.state_dict()
    assert set(saved) == set(ours)
    for name, value in saved.items():
        assert torch.equal(value, ours[name]), name
    assert backbone.channels == [4, 8]
    assert backbone.strides == [4, 8]


def test_its_weights_are_not_read_where_a_runs_own_follow(folder):
    torch.manual_seed(6)
    fresh = Backbone(NetworkSettings(backbone=str(folder)), pretrained=False).model.state_dict()
    saved = saved_in(folder)
    assert any(not torch.equal(v, fresh[k]) for k, v in saved.items())


def test_a_classifiers_folder_gives_its_backbone(tmp_path):
    """As the hub's ResNets are kept."""
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3)
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    ours = Backbone(NetworkSettings(backbone=str(tmp_path))).model.state_dict()
    saved = {k.removeprefix("resnet."): v for k, v in saved_in(tmp_path).items()}
    for name, value in ours.items():
        assert torch.equal(value, saved[name]), name


def test_weights_of_another_network_are_refused(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_file({"something": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(VergenceError, match="has no weights for"):
        Backbone(NetworkSettings(backbone=str(tmp_path)))


def test_a_method_around_a_pretrained_folder(folder):
    method = build_method("supervised", NetworkSettings(backbone=str(folder), width=8), "h36m_17").eval()
    maps = method.network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert maps.log_heatmap.shape == (1, 17, 16, 16)


@pytest.mark.parametrize("content", [None, "{}", "not json", '{"model_type": "no-such-model"}'])
def test_a_name_that_is_no_backbone_is_one_clear_error(tmp_path, content):
    path = tmp_path / "none"
    if content is not None:
        path.mkdir()
        (path / "config.json").write_text(content)
    with pytest.raises(VergenceError, match=r"backbone .*none' could not be loaded: .*Use resnet, resnet18") as caught:
        Backbone(NetworkSettings(backbone=str(path)))
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_one_clear_error(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(VergenceError, match="could not be loaded"):
        Backbone(NetworkSettings(backbone=str(tmp_path)))


def test_sizes_that_do_not_belong_together_are_one_clear_error():
    with pytest.raises(VergenceError, match="depths"):
        Backbone(NetworkSettings(hidden_sizes=[4, 8, 8], depths=[1, 1]))


class Halves(torch.nn.Module):
    """Two maps, by averaging."""

    channels = (3, 3)

    def forward(self, image):
        half = torch.nn.functional.avg_pool2d(image, 4)
        return [half, torch.nn.functional.avg_pool2d(half, 2)]


class Fixed:
    """The same for every joint: anywhere, one deep."""

    def __init__(self, settings):
        self.maps = 3

    def __call__(self, out):
        n, joints, _, h, w = out.shape
        even = torch.full((n, joints, h, w), 1 / (h * w))
        return even.log(), even, torch.ones(n, joints)


def test_backbones_and_heads_from_outside_carry_a_method(monkeypatch):
    for registry in (plugins.backbones, plugins.heads):
        monkeypatch.setattr(registry, "_found", dict(registry._found))
    plugins.backbones.register("halves")(lambda settings, pretrained: Halves())
    plugins.heads.register("fixed")(Fixed)
    settings = NetworkSettings(backbone="halves", head="fixed", width=8)
    method = build_method("vergence.methods.supervised:Supervised", settings, "h36m_17")
    assert (method.network.backbone.channels, method.network.backbone.strides) == ([3, 3], [4, 8])
    assert method.network.head.weight.shape[0] == 3 * 17
    maps = method.network.eval()(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert torch.allclose(maps.keypoints, torch.full((2, 17, 2), 15.5))
    assert (maps.depth == 1).all()
    with pytest.raises(VergenceError, match=r"no head is called 'fixt'\. Did you mean fixed"):
        build_method("supervised", dataclasses.replace(settings, head="fixt"), "h36m_17")
    with pytest.raises(VergenceError, match="is no method"):
        build_method("vergence.skeleton:H36M_17", settings, "h36m_17")


@pytest.mark.parametrize(
    "config",
    [
        ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]),
        SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
    ],
    ids=lambda config: config.model_type,
)
def test_classifiers_whose_backbones_have_norms_of_their_own(config, tmp_path, capfd):
    whole = AutoModelForImageClassification.from_config(config)
    whole.save_pretrained(tmp_path)
    made = Backbone(NetworkSettings(backbone=str(tmp_path))).eval()
    assert made.strides == [4, 8, 16, 32]
    inner = whole.state_dict() | {name.partition(".")[2]: value for name, value in whole.state_dict().items()}
    taken = {name: value for name, value in made.model.state_dict().items() if "hidden_states_norms" not in name}
    assert set(taken) <= set(inner)
    assert all(torch.equal(value, inner[name]) for name, value in taken.items())
    shown = capfd.readouterr()
    assert "LOAD REPORT" not in shown.out + shown.err


def test_a_vision_transformer_is_refused_with_the_reason(tmp_path):
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16)
    AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(VergenceError, match=r"a vit has one map at the end, no stages.*ResNet, ConvNeXt, Swin"):
        Backbone(NetworkSettings(backbone=str(tmp_path)))


def test_colours_are_normalised_as_pretrained_weights_were():
    assert list(IMAGENET_MEAN) == IMAGENET_DEFAULT_MEAN
    assert list(IMAGENET_STD) == IMAGENET_DEFAULT_STD
