"""Every loss against plain Python, its gradient against finite differences, and what is not labelled leaves no trace."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck

from vergence.methods.losses import coordinate_loss, gaussian_axes, heatmap_loss, known, weighted_mean

STRIDE, CELLS = 4.0, 6


def case(n: int = 3, j: int = 4, missing: bool = True):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(n, j, CELLS, CELLS, generator=g, dtype=torch.double)
    keypoints = torch.rand(n, j, 2, generator=g, dtype=torch.double) * STRIDE * CELLS
    predicted = torch.rand(n, j, 2, generator=g, dtype=torch.double) * STRIDE * CELLS
    weight = torch.rand(n, j, generator=g, dtype=torch.double)
    if missing:
        keypoints[0, 1] = math.nan
        keypoints[2, 0, 1] = math.nan  # half a label is none
        weight[1, 2] = 0
    return logits, keypoints, predicted, weight


def log_maps(logits):
    return logits.flatten(2).log_softmax(-1).view_as(logits)


def slow_goal(x: float, y: float, sigma: float) -> list[list[float]]:
    """A Gaussian around the pixel (x, y), at the centres of the cells, by definition."""
    rows = []
    for r in range(CELLS):
        row = []
        for c in range(CELLS):
            dx = (x - ((c + 0.5) * STRIDE - 0.5)) / STRIDE
            dy = (y - ((r + 0.5) * STRIDE - 0.5)) / STRIDE
            row.append(math.exp(-(dx**2 + dy**2) / (2 * sigma**2)))
        rows.append(row)
    total = sum(map(sum, rows))
    return [[v / total for v in row] for row in rows]


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0])
def test_heatmap_loss_against_plain_python(sigma):
    logits, keypoints, _, weight = case()
    log = log_maps(logits)
    total = weights = 0.0
    for n in range(3):
        for j in range(4):
            x, y = keypoints[n, j].tolist()
            if math.isnan(x) or math.isnan(y):
                continue
            goal = slow_goal(x, y, sigma)
            nats = -sum(goal[r][c] * float(log[n, j, r, c]) for r in range(CELLS) for c in range(CELLS))
            total, weights = total + float(weight[n, j]) * nats, weights + float(weight[n, j])
    assert float(heatmap_loss(log, keypoints, weight, STRIDE, sigma)) == pytest.approx(total / weights, rel=1e-9)


def test_coordinate_loss_against_plain_python():
    _, keypoints, predicted, weight = case()
    total = weights = 0.0
    for n in range(3):
        for j in range(4):
            if any(math.isnan(v) for v in keypoints[n, j].tolist()):
                continue
            off = sum(abs(float(predicted[n, j, a] - keypoints[n, j, a])) for a in range(2)) / 2 / STRIDE
            total, weights = total + float(weight[n, j]) * off, weights + float(weight[n, j])
    assert float(coordinate_loss(predicted, keypoints, weight, STRIDE)) == pytest.approx(total / weights, rel=1e-9)


def gaussian_target(*args):
    down, across = gaussian_axes(*args)
    return down[..., :, None] * across[..., None, :]


def test_targets_are_probabilities_that_peak_at_the_label():
    keypoints = torch.tensor([[[1.5, 1.5], [13.5, 5.5], [9.0, 21.5]]])
    target = gaussian_target(keypoints, CELLS, CELLS, STRIDE, 1.0)
    assert torch.allclose(target.sum((-1, -2)), torch.ones(1, 3))
    peaks = [divmod(int(t.argmax()), CELLS) for t in target[0]]
    assert peaks[:2] == [(0, 0), (1, 3)]
    assert peaks[2][0] == 5


def test_targets_of_maps_that_are_not_square():
    target = gaussian_target(torch.tensor([[[25.5, 1.5]]]), 3, 8, STRIDE, 0.5)
    assert target.shape == (1, 1, 3, 8)
    assert divmod(int(target.argmax()), 8) == (0, 6)


def test_a_joint_beyond_the_edge_pulls_to_the_nearest_cells():
    far = torch.tensor([[[-500.0, 9.5], [1e5, 1e5]]])
    target = gaussian_target(far, CELLS, CELLS, STRIDE, 1.0)
    assert target.isfinite().all()
    assert torch.allclose(target.sum((-1, -2)), torch.ones(1, 2))
    assert [divmod(int(t.argmax()), CELLS) for t in target[0]] == [(2, 0), (5, 5)]


def test_the_best_map_is_the_target_itself():
    _, keypoints, _, weight = case(missing=False)
    goal = gaussian_target(keypoints, CELLS, CELLS, STRIDE, 1.0)
    entropy = float(heatmap_loss(goal.log(), keypoints, weight, STRIDE))
    g = torch.Generator().manual_seed(3)
    for _ in range(5):
        other = log_maps(goal.log() + 0.3 * torch.randn(goal.shape, generator=g, dtype=torch.double))
        assert float(heatmap_loss(other, keypoints, weight, STRIDE)) > entropy
    assert entropy == pytest.approx(float(weighted_mean(-(goal * goal.log()).sum((-1, -2)), weight)))


def test_gradients():
    logits, keypoints, predicted, weight = case()
    logits.requires_grad_()
    predicted.requires_grad_()
    assert gradcheck(lambda x: heatmap_loss(log_maps(x), keypoints, weight, STRIDE), (logits,))
    assert gradcheck(lambda x: coordinate_loss(x, keypoints, weight, STRIDE), (predicted,))


def test_missing_and_worthless_labels_leave_no_gradient():
    logits, keypoints, predicted, weight = case()
    logits.requires_grad_()
    predicted.requires_grad_()
    (
        heatmap_loss(log_maps(logits), keypoints, weight, STRIDE)
        + coordinate_loss(predicted, keypoints, weight, STRIDE)
    ).backward()
    silent = keypoints.isnan().any(-1) | (weight == 0)
    assert int(silent.sum()) == 3
    assert logits.grad.isfinite().all()
    assert (logits.grad[silent] == 0).all()
    assert (predicted.grad[silent] == 0).all()
    assert (logits.grad[~silent].flatten(1).abs().amax(1) > 0).all()
    assert (predicted.grad[~silent].abs() > 0).all()


def test_no_label_at_all_costs_nothing():
    logits, keypoints, predicted, weight = case()
    keypoints = torch.full_like(keypoints, math.nan)
    logits.requires_grad_()
    predicted.requires_grad_()
    loss = heatmap_loss(log_maps(logits), keypoints, weight, STRIDE) + coordinate_loss(
        predicted, keypoints, weight, STRIDE
    )
    assert float(loss.detach()) == 0
    loss.backward()
    assert (logits.grad == 0).all()
    assert (predicted.grad == 0).all()


def test_a_common_factor_of_the_weights_changes_nothing():
    logits, keypoints, predicted, weight = case()
    for factor in (0.1, 7.0):
        assert torch.allclose(
            heatmap_loss(log_maps(logits), keypoints, factor * weight, STRIDE),
            heatmap_loss(log_maps(logits), keypoints, weight, STRIDE),
        )
        assert torch.allclose(
            coordinate_loss(predicted, keypoints, factor * weight, STRIDE),
            coordinate_loss(predicted, keypoints, weight, STRIDE),
        )


def test_known_removes_what_is_nan_and_keeps_the_rest():
    _, keypoints, _, weight = case()
    target, kept = known(keypoints, weight)
    assert target.isfinite().all()
    assert kept[0, 1] == kept[2, 0] == 0
    rest = ~keypoints.isnan().any(-1)
    assert torch.equal(kept[rest], weight[rest])
    assert torch.equal(target[rest], keypoints[rest])
