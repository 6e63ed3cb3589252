"""The published network: sizes, what it answers, and where a joint is read off a map."""

from __future__ import annotations

import pytest
import torch

from vergence.errors import VergenceError
from vergence.methods.geometric_constraint import GeometricConstraint
from vergence.methods.registry import build_method
from vergence.networks.hourglass import Hourglass, HourglassMaps, Residual, StackedHourglass, highest_pixel
from vergence.recipes.recipe import NetworkSettings


def small(**sizes) -> StackedHourglass:
    torch.manual_seed(0)
    return StackedHourglass(
        NetworkSettings(backbone="hourglass", **{"width": 16, "stacks": 2, "modules": 1, **sizes}), 17
    )


@pytest.mark.parametrize("side", [32, 64, 96, 128])
def test_answers_for_any_side(side):
    found = small().eval()(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8))
    assert isinstance(found, HourglassMaps)
    assert found.stacks.shape == (2, 2, 17, side // 4, side // 4)
    assert found.depth.shape == found.confidence.shape == (2, 17)
    assert found.keypoints.shape == (2, 17, 2)
    assert torch.allclose(found.log_heatmap.exp().sum((-1, -2)), torch.ones(2, 17), atol=1e-4)
    last = found.stacks[:, -1]
    assert torch.equal(found.keypoints, highest_pixel(last, 4.0))
    assert not torch.equal(found.keypoints, highest_pixel(found.stacks[:, 0], 4.0))
    assert torch.equal(found.confidence, last.amax((-1, -2)).clamp(0, 1))


def test_published_sizes():
    """Two hourglasses of four levels on 64 cells; the depth module leaves 4 x 4 x 256 for its one linear layer."""
    network = StackedHourglass(NetworkSettings(backbone="hourglass", width=256), 16)
    assert network.depth.head.weight.shape == (16, 4 * 4 * 256)
    assert len(network.hourglasses) == 2
    level, levels = network.hourglasses[0], 1
    while hasattr(level.inner, "inner"):
        level, levels = level.inner, levels + 1
    assert levels == 4
    assert len(level.down) == 2
    parameters = sum(p.numel() for p in network.parameters())
    assert 10e6 < parameters < 20e6


def test_every_part_learns_from_heatmaps_and_depth():
    network = small()
    found = network(torch.rand(3, 3, 128, 128))
    (found.stacks.square().sum() + found.depth.square().sum()).backward()
    weights = {name: p.grad for name, p in network.named_parameters() if name.endswith("weight")}
    assert [name for name, grad in weights.items() if grad is None or not grad.abs().sum() > 0] == []


def test_depth_moves_the_trunk_and_heatmaps_do_not_read_depth():
    network = small()
    network(torch.rand(2, 3, 64, 64)).depth.sum().backward()
    assert network.stem[0].weight.grad.abs().sum() > 0
    assert network.again[-1].weight.grad.abs().sum() > 0  # the last heatmaps are part of what depth is read from


def test_highest_pixel_by_loops():
    g = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 5, 7, 9, generator=g)
    maps[0, 0, 0, 0] = 2.0  # a corner: no neighbour on one side, not moved
    found = highest_pixel(maps, 4.0)
    for i in range(3):
        for j in range(5):
            rows = maps[i, j].tolist()
            y, x = max(((y, x) for y in range(7) for x in range(9)), key=lambda p: rows[p[0]][p[1]])
            dx = dy = 0.0
            if 0 < x < 8:
                dx = 0.25 if rows[y][x + 1] > rows[y][x - 1] else -0.25
            if 0 < y < 6:
                dy = 0.25 if rows[y + 1][x] > rows[y - 1][x] else -0.25
            assert found[i, j].tolist() == pytest.approx([(x + dx + 0.5) * 4 - 0.5, (y + dy + 0.5) * 4 - 0.5])
    assert found[0, 0].tolist() == [1.5, 1.5]


def test_only_its_own_method_trains_a_hourglass():
    settings = NetworkSettings(backbone="hourglass", width=16, stacks=1, modules=1)
    assert isinstance(build_method("geometric_constraint", settings, "h36m_17"), GeometricConstraint)
    with pytest.raises(VergenceError, match="supervised does not train a hourglass"):
        build_method("supervised", settings, "h36m_17")


def test_a_residual_is_added_to_what_came_in():
    block = Residual(8, 8).eval()
    torch.nn.init.zeros_(block.layers[-1].weight)
    torch.nn.init.constant_(block.layers[-1].bias, 0.25)
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(block(x), x + 0.25)


def test_two_cells_are_halved_and_one_is_not():
    """By cells that differ: halved, the larger of two goes on alone."""
    torch.manual_seed(0)
    block = Hourglass(1, 1, 4).eval()
    x = torch.tensor([1.0, -1.0, -1.0, -1.0]).reshape(1, 1, 2, 2).expand(1, 4, 2, 2)
    inner = (block(x) - block.beside(x)).detach()
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner))
    whole = x[..., :1, :1]
    torch.testing.assert_close(block(whole), block.beside(whole) + block.up(block.inner(block.down(whole))))
