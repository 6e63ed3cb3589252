"""Weights and checkpoints as files, made in memory and written whole: what safetensors and torch raise on a full disk is no
OSError, which `files` could tell."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from vergence.files import write_bytes


def save_weights(module: nn.Module, path: Path) -> None:
    """A module's weights as one safetensors file."""
    write_bytes(path, save({k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}))


def save_state(state: dict[str, Any], path: Path) -> None:
    """A checkpoint, as `torch.load` reads it."""
    torch.save(state, data := io.BytesIO())
    write_bytes(path, data.getvalue())
