"""What every metric accepts: numpy arrays, tensors or lists; computed in float64; answered in kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vergence.errors import VergenceError, refusing

Array = Any  # np.ndarray | Tensor | nested lists; the answer is a Tensor where any input is, else an np.ndarray
Root = int | Sequence[int] | None
Joints = Sequence[int] | None  # those that count; None: all
Limbs = Sequence[tuple[int, int]]


def to_tensor(value: Array, what: str) -> Tensor:
    """`... J 3` in float64, without gradient, where it was (on the CPU where float64 is not to be had)."""
    with refusing(f"{what} is not an array of numbers", "Give (..., J, 3) arrays.", TypeError, ValueError):
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=np.float64))
    if tensor.ndim < 2 or tensor.shape[-1] != 3 or tensor.is_complex():
        raise VergenceError(f"{what} has shape {tuple(tensor.shape)}, not (..., J, 3)", "Give joints as x, y, z.")
    if tensor.shape[-2] == 0:
        raise VergenceError(f"{what} has no joints (shape {tuple(tensor.shape)})", "Give at least one joint.")
    tensor = tensor.detach()
    if tensor.device.type == "mps":
        tensor = tensor.cpu()
    tensor = tensor.to(torch.float64)
    if bool(tensor.isinf().any()):
        raise VergenceError(f"{what} has infinite coordinates", "Mark what is missing as NaN.")
    return tensor


def to_pair(prediction: Array, target: Array) -> tuple[Tensor, Tensor]:
    """Both, of equal shape and on one device."""
    p, t = to_tensor(prediction, "prediction"), to_tensor(target, "target")
    if p.shape != t.shape:
        remedy = "Both need the same poses and joints in the same order."
        raise VergenceError(f"prediction has shape {tuple(p.shape)}, target {tuple(t.shape)}", remedy)
    return p, t.to(p.device)


def in_kind(result: Tensor, *inputs: Array) -> Array:
    """The result as a Tensor if any input was one, else as an array."""
    return result if any(isinstance(value, Tensor) for value in inputs) else result.numpy()


def indices(value: int | Sequence[int], joints: int, what: str) -> list[int]:
    """Joint indices as a list, each within the pose."""
    found = [value] if isinstance(value, int | np.integer) else list(value)
    if not found or min(found) < -joints or max(found) >= joints:
        raise VergenceError(f"{what} {value} does not fit a pose of {joints} joints", "Indices count from 0.")
    return [int(index) % joints for index in found]


def relative(pose: Tensor, root: Root) -> Tensor:
    """The pose relative to its root: a joint, the mean of several, or (None) as it is. NaN where the root is."""
    if root is None:
        return pose
    return pose - pose[..., indices(root, pose.shape[-2], "root"), :].mean(-2, keepdim=True)


def refuse_missing(prediction: Tensor, target: Tensor, name: Callable[[int], str] = str) -> None:
    """A predicted joint that is NaN though the target knows it has no error to average: say so."""
    missing = prediction.isnan().any(-1) & ~target.isnan().any(-1)
    if bool(missing.any()):
        joints = sorted(set(missing.nonzero()[:, -1].tolist()))
        poses = int(missing.any(-1).sum())
        named = ", ".join(name(joint) for joint in joints)
        raise VergenceError(
            f"the prediction is NaN in {poses} poses (joints {named}) where the target is known",
            "Leave those poses out and report how many they were, or use PCK, which counts them as misses.",
        )
