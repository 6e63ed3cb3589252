"""A network made quick gives the same numbers."""

from __future__ import annotations

import pytest
import torch

from vergence.errors import VergenceError
from vergence.inference.estimator import Estimator
from vergence.methods.registry import build_method
from vergence.networks.heads import Volume
from vergence.networks.quick import Packed, Residual, Spread, quickened
from vergence.recipes.recipe import NetworkSettings

SMALL = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "width": 16}
KINDS = [
    ("epipolar_pose", {"neck": "deconvolution", "head": "volume", "depth_bins": 8}),
    ("supervised", {}),
    ("mcss", {}),
    ("geometric_constraint", {"backbone": "hourglass", "stacks": 1, "modules": 1}),
]


@pytest.mark.parametrize(("name", "more"), KINDS, ids=[name for name, _ in KINDS])
def test_predictions_stay(name, more):
    torch.manual_seed(0)
    method = build_method(name, NetworkSettings(**SMALL | more), "h36m_17", pretrained=False).eval()
    for module in method.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    images = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    intrinsics = torch.tensor([[140.0, 0, 31.5], [0, 140, 31.5], [0, 0, 1]])
    before = method.predict(images, intrinsics.expand(2, 3, 3))
    config = {"image_size": 64}
    after = Estimator(method, config)(images, intrinsics)
    torch.testing.assert_close(after.pose, before.pose, atol=1e-3, rtol=1e-3)
    half = Estimator(method, config, precision="bf16")(images, intrinsics)
    assert half.pose.shape == before.pose.shape
    assert half.pose.dtype == torch.float32
    assert bool(half.pose.isfinite().all())
    if before.keypoints is not None and name != "geometric_constraint":  # a highest cell may jump
        torch.testing.assert_close(after.keypoints, before.keypoints, atol=1e-3, rtol=0)
        torch.testing.assert_close(half.keypoints, before.keypoints, atol=0.5, rtol=0)
    assert not any(isinstance(module, Packed) for module in method.modules())  # the method stays as it is


def test_another_precision_is_refused():
    method = build_method("supervised", NetworkSettings(**SMALL), "h36m_17", pretrained=False)
    with pytest.raises(VergenceError, match="precision of fp8"):
        Estimator(method, {"image_size": 64}, precision="fp8")


@pytest.mark.parametrize(("h", "w"), [(2, 2), (3, 5)])
def test_a_transposed_convolution_from_many_channels_is_one_product(h, w):
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(1024, 6, 4, 2, 1)
    x = torch.randn(2, 1024, h, w)
    assert Spread.fits(layer)
    torch.testing.assert_close(Spread(layer, torch.float32)(x), layer(x), atol=1e-5, rtol=1e-4)
    assert not Spread.fits(torch.nn.ConvTranspose2d(1024, 6, 4, 2, 0))


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_sums_and_relus_are_done_by_convolutions(kind):
    torch.manual_seed(0)
    settings = NetworkSettings(**SMALL | {"layer_type": kind, "depths": [2, 2]})
    method = build_method("supervised", settings, "h36m_17", pretrained=False).eval()
    made = quickened(method, ["network.backbone"], "cpu")
    blocks = [one for one in made.modules() if isinstance(one, Residual)]
    assert len(blocks) == 4
    assert not any(isinstance(one, torch.nn.ReLU) for one in made.network.backbone.modules())
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(made.network.backbone(image), method.network.backbone(image), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("cells", "bias"), [(6, True), (20, True), (20, False)])
def test_a_volume_is_read_in_pieces(cells, bias):
    torch.manual_seed(0)
    reads = Volume(NetworkSettings(depth_bins=8))
    layer = torch.nn.Conv2d(16, 3 * 8, 1, bias=bias)
    x = 20 * torch.randn(2, 16, cells, cells - 1)  # logits that overflow without a common top
    with torch.no_grad():
        whole = reads(layer(x).view(2, 3, 8, cells, cells - 1))
        for rough, atol in ((False, 1e-5), (True, 0.1)):
            for ours, theirs in zip(reads.joined(layer, rough)(x)[1:], whole[1:], strict=True):
                torch.testing.assert_close(ours, theirs, atol=atol, rtol=1e-4)
        ours = reads.joined(layer, False)(x)[0]
    torch.testing.assert_close(ours, whole[0], atol=1e-3, rtol=1e-3)
