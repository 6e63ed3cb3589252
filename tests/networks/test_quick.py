"""A network made quick gives the same numbers."""

from __future__ import annotations

import pytest
import torch

from vergence.errors import VergenceError
from vergence.inference.estimator import Estimator
from vergence.methods.registry import build_method
from vergence.networks.quick import Packed
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
