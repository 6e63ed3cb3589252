"""Muon: gradient descent with orthogonalised momentum, for networks that have minutes to learn.

Why: a layer's gradient is dominated by a few directions; AdamW, which scales each number by itself, follows them. Muon
replaces the momentum of a layer by the nearest matrix with all singular values alike, so that every direction learns at
one pace. On the built-in world 500 steps of it leave as little error as 1,450 of AdamW, and wider networks, which
AdamW did not repay in minutes, gain; a step costs a tenth to a quarter more (`benchmarks/optimizer.py`).

What breaks it: a pretrained network that is only to be adapted. An orthogonal update is as long in the directions
that were right already, so its rate must be small there, and AdamW is the safer choice.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". PyTorch's own `torch.optim.Muon`
takes matrices only, and no convolution kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

NEWTON_SCHULZ = (
    3.4445,
    -4.7750,
    2.0315,
)  # quintic whose slope at 0 is steepest while [0, 1] maps near 1 (Jordan et al.)
BETAS = 0.9, 0.999  # AdamW's
ROUNDS = 3  # bring singular values from 1 % of the largest on to the order of 1; five change nothing measurable


@torch.no_grad()
def orthogonalise(matrix: Float[Tensor, "R C"], rounds: int = ROUNDS) -> Float[Tensor, "R C"]:
    """About the nearest matrix with orthonormal rows (or columns, whichever are fewer), by Newton-Schulz iterations.

    Singular values end between 0.3 and 1.3 rather than at 1, which training does not notice; those of a tenth of a
    percent of the matrix's norm and less stay small. All rounds are polynomials of the small Gram matrix, so the matrix
    itself is multiplied twice only.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.mT
    x = x / x.norm().clamp(min=1e-12)
    gram = x @ x.mT
    product = None
    for left in reversed(range(rounds)):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        product = polynomial if product is None else polynomial @ product
        if left:
            gram = polynomial @ gram @ polynomial
    if product is not None:
        x = product @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Muon for weights of two and more dimensions (kernels as matrices, one row per output channel), AdamW for the rest.

    Args:
        parameters: named, as `module.named_parameters()` gives them.
        learning_rate: AdamW's, of biases and normalisation.
        muon_rate: Muon's; the update's singular values are about 1, so 0.06 is a common start.
        weight_decay: decoupled, of both.
        momentum: Muon's, Nesterov's form.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        learning_rate: float,
        muon_rate: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
    ) -> None:
        trained = [p for _, p in parameters if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "lr": muon_rate, "kernels": True},
            {"params": [p for p in trained if p.ndim < 2], "lr": learning_rate, "kernels": False},
        ]
        super().__init__([g for g in groups if g["params"]], {"weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                (self._muon if group["kernels"] else self._adamw)(moved, group)
        return loss

    def _muon(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for p in parameters:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].mul_(group["momentum"]).add_(p.grad)
            update = p.grad.add(state["momentum"], alpha=group["momentum"]).movedim(1, -1)  # no copy in channels_last
            matrix = update.reshape(len(update), -1).float()
            tall = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(orthogonalise(matrix).view(update.shape).movedim(-1, 1).to(p), alpha=-group["lr"] * tall)

    def _adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        (first, second), rate = BETAS, group["lr"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if not self.state[p]:
                self.state[p].update(mean=torch.zeros_like(p), square=torch.zeros_like(p))
        group["steps"] = steps = group.get("steps", 0) + 1
        means, squares = ([self.state[p][k] for p in parameters] for k in ("mean", "square"))
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        below = torch._foreach_div(squares, 1 - second**steps)
        torch._foreach_sqrt_(below)
        torch._foreach_add_(below, 1e-8)
        torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        torch._foreach_addcdiv_(parameters, means, below, -rate / (1 - first**steps))
