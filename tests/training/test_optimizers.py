from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vergence.training import optimizers
from vergence.training.optimizers import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (96, 288)])
def test_singular_values_come_near_one_and_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    result = orthogonalise(matrix)
    assert result.shape == matrix.shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.mT @ result @ v.mT
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-9, rtol=0)


def test_zero_gradient_is_no_update():
    assert torch.equal(orthogonalise(torch.zeros(4, 6)), torch.zeros(4, 6))


def twins(*layers: nn.Module) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(*layers)
    return model, copy.deepcopy(model)


def run(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, steps: int = 4) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        (model(x + step) ** 2).sum().backward()
        optimizer.step()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_matrices_move_as_under_torchs_muon(monkeypatch):
    ours, theirs = twins(nn.Linear(5, 7, bias=False), nn.Tanh(), nn.Linear(7, 3, bias=False))
    x = torch.randn(11, 5)
    reference = torch.optim.Muon(theirs.parameters(), lr=0.02, weight_decay=0.1, momentum=0.9)
    with monkeypatch.context() as exact:  # torch iterates in bfloat16, whose rounding depends on threads and processors
        exact.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
        run(theirs, reference, x)
    real = optimizers.orthogonalise
    monkeypatch.setattr(optimizers, "orthogonalise", lambda m: real(m, 5))
    run(ours, Muon(ours.named_parameters(), 1.0, 0.02, weight_decay=0.1), x)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)  # of a way of 0.08


def test_vectors_move_as_under_torchs_adamw():
    ours, theirs = twins(nn.BatchNorm1d(6), nn.LayerNorm(6))
    x = torch.randn(9, 6)
    run(ours, Muon(ours.named_parameters(), 0.01, 1.0, weight_decay=0.1), x)
    run(theirs, torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1), x)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_kernel_moves_as_its_matrix_of_one_row_per_output():
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last))
    matrix = nn.Parameter(kernel.detach().reshape(6, 36).clone())
    gradient = torch.randn(6, 4, 3, 3)
    for p, g in ((kernel, gradient), (matrix, gradient.reshape(6, 36))):
        p.grad = g.clone()
        Muon([("w", p)], 1.0, 0.05).step()
    torch.testing.assert_close(kernel.detach().reshape(6, 36), matrix.detach())


def test_state_goes_through_a_checkpoint():
    model, other = twins(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    x = torch.randn(2, 3, 8, 8)
    optimizer = Muon(model.named_parameters(), 0.01, 0.05)
    run(model, optimizer, x, steps=3)
    other.load_state_dict(model.state_dict())
    again = Muon(other.named_parameters(), 0.01, 0.05)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(model, optimizer, x)
    run(other, again, x)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
