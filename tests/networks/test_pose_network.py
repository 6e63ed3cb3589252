"""Heads and necks: conventions against slow loops, shapes at two image sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from vergence.networks.pose_network import PoseNetwork, expected_pixel, peaks
from vergence.recipes.recipe import NetworkSettings

TINY = NetworkSettings(embedding_size=4, hidden_sizes=[4, 6, 8, 8], depths=[1, 1, 1, 1], width=8)
J = 5


def network(**changes) -> PoseNetwork:
    torch.manual_seed(0)
    made = PoseNetwork(dataclasses.replace(TINY, **changes), J).eval()
    with torch.no_grad():
        made.head.weight *= 100  # maps that are not flat
    return made


def images(size: int, n: int = 2):
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_expected_pixel_against_a_slow_loop():
    g = torch.Generator().manual_seed(0)
    heatmap = torch.rand(2, 3, 4, 6, generator=g, dtype=torch.double)
    heatmap /= heatmap.sum((-1, -2), keepdim=True)
    for stride in (1.0, 4.0, 5.5):
        found = expected_pixel(heatmap, stride)
        for n in range(2):
            for j in range(3):
                x = y = 0.0
                for row in range(4):
                    for column in range(6):
                        p = float(heatmap[n, j, row, column])
                        # a cell covers pixels from edge to edge: -0.5 + stride * i to -0.5 + stride * (i + 1)
                        x += p * (-0.5 + stride * column - 0.5 + stride * (column + 1)) / 2
                        y += p * (-0.5 + stride * row - 0.5 + stride * (row + 1)) / 2
                assert found[n, j].tolist() == pytest.approx([x, y], abs=1e-9)


def test_a_uniform_map_says_the_middle_of_the_image():
    assert torch.allclose(expected_pixel(torch.full((1, 1, 8, 8), 1 / 64), 4.0), torch.tensor(15.5))


def test_a_mirrored_map_says_the_mirrored_pixel():
    heatmap = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).flatten(2).softmax(-1).view(1, 2, 8, 8)
    there, here = expected_pixel(heatmap.flip(-1), 4.0), expected_pixel(heatmap, 4.0)
    assert torch.allclose(there[..., 0], 31 - here[..., 0], atol=1e-4)
    assert torch.allclose(there[..., 1], here[..., 1])


def blobs(*centres: tuple[float, float, float], size: int = 24) -> torch.Tensor:
    """Log-probability of a sum of round blobs (x, y, height), one cell wide; `1 1 h w`."""
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    heat = sum(h * torch.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2)) for a, b, h in centres)
    return (heat / heat.sum()).clamp(min=1e-12).log()[None, None]


def test_peaks_lie_where_the_blobs_do_and_weigh_what_they_hold():
    pixels, mass = peaks(blobs((5.3, 7.6, 1.0), (17.0, 12.2, 2.0)), 4.0, 2)
    expected = torch.tensor([[17.0, 12.2], [5.3, 7.6]]) * 4 + 1.5
    assert torch.allclose(pixels[0, 0], expected, atol=0.25)  # the 5x5 window cuts the blob's edge
    assert mass[0, 0].tolist() == pytest.approx([0.66, 0.33], abs=0.02)


def test_a_map_with_one_peak_has_no_second():
    _, mass = peaks(blobs((0.0, 0.0, 1.0)).double(), 4.0, 3)
    assert mass[0, 0, 0] > 0.95
    assert (mass[0, 0, 1:] < 1e-6).all()


def test_out_of_training_a_joint_is_read_where_the_higher_peak_is():
    model = network()
    maps = model(images(64))
    heatmap = maps.log_heatmap.exp() ** 2
    squared = heatmap / heatmap.sum((-1, -2), keepdim=True)
    assert torch.allclose(maps.keypoints, expected_pixel(squared, 4.0), atol=1e-3)
    trained = model.train()(images(64))
    assert torch.allclose(trained.keypoints, expected_pixel(trained.log_heatmap.exp(), 4.0), atol=1e-3)


@pytest.mark.parametrize("size", [96, 64])
@pytest.mark.parametrize("neck", ["top_down", "deconvolution"])
@pytest.mark.parametrize("head", ["depth_map", "volume"])
def test_shapes_and_ranges(size, neck, head):
    maps = network(neck=neck, head=head, depth_bins=6)(images(size))
    h = w = size // 4
    assert maps.log_heatmap.shape == (2, J, h, w)
    assert maps.keypoints.shape == (2, J, 2)
    assert maps.depth.shape == maps.confidence.shape == (2, J)
    assert maps.features.shape == (2, 10)  # of the two finest maps
    assert torch.allclose(maps.log_heatmap.exp().sum((-1, -2)), torch.ones(2, J), atol=1e-4)
    assert ((maps.keypoints > -0.5) & (maps.keypoints < size - 0.5)).all()
    assert ((maps.confidence > 0) & (maps.confidence <= 1)).all()


def raw_head(made: PoseNetwork, image):
    return made.head(made.neck(made.backbone(image)))


def test_the_depth_map_is_read_where_the_heatmap_is():
    made, image = network(), images(64)
    with torch.no_grad():
        maps, out = made(image), raw_head(made, image)
    for n in range(2):
        for j in range(J):
            logit, depth = out[n, 2 * j].double(), out[n, 2 * j + 1].double()
            weight = [[float(v) for v in row] for row in torch.exp(logit - logit.max())]
            total = sum(map(sum, weight))
            expected = sum(
                weight[r][c] / total * float(depth[r, c]) for r in range(len(weight)) for c in range(len(weight))
            )
            assert float(maps.depth[n, j]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_volumes_depth_against_a_slow_loop():
    made, image = network(head="volume", depth_bins=6, depth_box=4.2), images(64)
    with torch.no_grad():
        maps, out = made(image), raw_head(made, image)
    n, j = 1, 3
    volume = out[n, 6 * j : 6 * (j + 1)].double()
    weight = torch.exp(volume - volume.max())
    weight /= weight.sum()
    squared = weight.sum(0) ** 2 / (weight.sum(0) ** 2).sum()
    depth = x = y = 0.0
    for d in range(6):
        for r in range(16):
            for c in range(16):
                depth += float(weight[d, r, c]) * (d / 6 - 0.5) * 4.2
                x += float(squared[r, c]) / 6 * ((c + 0.5) * 4 - 0.5)
                y += float(squared[r, c]) / 6 * ((r + 0.5) * 4 - 0.5)
    assert float(maps.depth[n, j]) == pytest.approx(depth, abs=1e-4)
    assert maps.keypoints[n, j].tolist() == pytest.approx([x, y], abs=1e-2)
    assert torch.allclose(maps.log_heatmap[n, j].exp().double(), weight.sum(0), atol=1e-5)


def test_confidence_is_the_probability_in_the_best_3x3_cells():
    maps = network()(images(64))
    heatmap = maps.log_heatmap.exp()[0, 2]
    padded = torch.nn.functional.pad(heatmap, (1, 1, 1, 1))
    best = max(float(padded[r : r + 3, c : c + 3].sum()) for r in range(16) for c in range(16))
    assert float(maps.confidence[0, 2].detach()) == pytest.approx(min(best, 1), rel=1e-4)


def test_gradients_reach_every_weight():
    made = network().train()
    maps = made(images(64))
    (maps.keypoints.sum() + maps.depth.sum() - maps.log_heatmap[..., 0, 0].sum()).backward()
    silent = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


def test_an_untrained_network_knows_nothing():
    torch.manual_seed(0)
    maps = PoseNetwork(TINY, J).eval()(images(64))
    assert (maps.keypoints - 31.5).abs().max() < 8
    assert maps.depth.abs().max() < 0.3
