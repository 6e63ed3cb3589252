"""What a run knows of its errors, made up."""

from __future__ import annotations

import torch

from vergence.methods.uncertainty import ErrorFit, Uncertainty, Usual


def uncertain(joints: int = 17, colours: int = 16, limit: float = 1e3) -> Uncertainty:
    """Errors that depend on every cue, of predictions alone and of averaged ones; the radius is twice the error."""
    ways = [
        ErrorFit(torch.full((joints, n), 0.01), torch.linspace(-3, -1, joints), torch.full((joints,), 2.0))
        for n in (2, 4)
    ]
    usual = Usual(torch.zeros(colours), torch.eye(colours), torch.tensor(limit), torch.tensor(0.1))
    return Uncertainty(*ways, usual)
