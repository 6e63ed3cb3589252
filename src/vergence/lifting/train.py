"""Training the lifting network: minutes on a CPU, resumable at any step, the same bytes whether it was stopped or not.

The batch of a step is a function of seed and step alone, so nothing has to be replayed: a checkpoint holds the weights, their
running mean (which is what is kept in the end) and the optimizer's state.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vergence.errors import VergenceError, refusing
from vergence.lifting.network import Lifter, LifterSettings, features, rays_of_person
from vergence.lifting.virtual import Motion, Seen, VirtualCameras, draw
from vergence.networks.saved import save_state
from vergence.progress import Progress, silent
from vergence.skeleton import H36M_17, skeleton_from_names

# Motion capture and detectors agree on these; what they call head and neck they do not.
LIFTED = skeleton_from_names([name for name in H36M_17.joint_names if name not in ("neck_nose", "head_top")])
SINGLE = 0.1  # share of steps on single frames
KEEP_EVERY_S = 20.0


@dataclass(frozen=True)
class LifterTraining:
    """How the network is trained.

    Attributes:
        steps, batch, frames: optimizer steps, samples of each, frames of a sample.
        rate: learning rate at its height; it rises over 100 steps and falls to 0.
        smoothness: weight of the error of the joints' velocity beside that of their place.
        fps: frames per second that the network is for.
        network: its settings.
        cameras: what samples are seen through.
    """

    steps: int = 4000
    batch: int = 48
    frames: int = 40
    rate: float = 2e-3
    smoothness: float = 0.5
    fps: float = 30.0
    network: LifterSettings = field(default_factory=LifterSettings)
    cameras: VirtualCameras = field(default_factory=VirtualCameras)


def train_lifter(
    motions: Sequence[Motion],
    settings: LifterTraining = LifterTraining(),
    *,
    weights: Sequence[float] | None = None,
    start: Lifter | None = None,
    checkpoint: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Lifter:
    """A lifting network taught by motions alone.

    Args:
        motions: of the joints `LIFTED`.
        settings: of training.
        weights: how often each motion is drawn; the square root of its length where not given.
        start: a trained network to begin from; its settings count.
        checkpoint: file that a stopped training goes on from; removed at the end.
        seed: of weights and samples.
        progress: reports every step.

    Raises:
        VergenceError: no motions, motions with missing joints, or a checkpoint of another training.
    """
    for motion in motions:
        if motion.pose.shape[1:] != (len(LIFTED), 3) or not np.isfinite(motion.pose).all():
            raise VergenceError(f"a motion of shape {motion.pose.shape}", f"It must be whole, T {len(LIFTED)} 3.")
    if not motions:
        raise VergenceError("there is no motion to learn from", "Give one at least.")
    chance = np.array([len(m.pose) ** 0.5 for m in motions] if weights is None else weights, dtype=np.float64)
    torch.manual_seed(seed)
    network = Lifter(LIFTED, settings.network if start is None else start.settings)
    if start is not None:
        network.load_state_dict(start.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=0.01)
    mean = {name: value.clone() for name, value in network.state_dict().items()}
    first = _restored(checkpoint, network, optimizer, mean)
    kept = time.monotonic()
    half = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # by the processor itself; else it would be slower
    for step in range(first, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * min(1.0, (step + 1) / 100) * (1 - step / settings.steps)
        rng = np.random.default_rng([seed, step])
        single = rng.random() < SINGLE
        count, frames = (8 * settings.batch, 1) if single else (settings.batch, settings.frames)
        torch.manual_seed(int(rng.integers(2**31)))
        samples = draw(motions, chance, LIFTED, settings.cameras, count, frames, settings.fps, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = _loss(network.train(), samples, settings.smoothness)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        share = min(0.995, (step + 1) / (step + 20))
        for name, value in network.state_dict().items():
            mean[name].mul_(share).add_(value, alpha=1 - share)
        if checkpoint is not None and time.monotonic() - kept > KEEP_EVERY_S:
            _keep(checkpoint, step + 1, network, optimizer, mean)
            kept = time.monotonic()
        progress("lifting", step + 1, settings.steps)
    network.load_state_dict(mean)
    if checkpoint is not None:
        with suppress(OSError):
            checkpoint.unlink()
    return network.eval()


def _loss(network: Lifter, seen: Seen, smoothness: float) -> Tensor:
    """Mean distance of joints in reference bones, and of their velocities."""
    points, rotation, size = rays_of_person(np.where(seen.seen[..., None], seen.image, 0.0), seen.seen)
    root = seen.pose[:, :, list(network.skeleton.root)].mean(2, keepdims=True)
    truth = torch.from_numpy(np.einsum("btij,btkj->btki", rotation, seen.pose - root).astype(np.float32))
    error = network(features(points, seen.seen, size)) - truth
    loss = error.norm(dim=-1).mean()
    if error.shape[1] > 1:
        loss = loss + smoothness * (error[:, 1:] - error[:, :-1]).norm(dim=-1).mean()
    return loss


def _keep(path: Path, step: int, network: Lifter, optimizer: torch.optim.Optimizer, mean: dict[str, Tensor]) -> None:
    state: dict[str, Any] = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "mean": mean}
    save_state({"step": step, **state}, path)


def _restored(path: Path | None, network: Lifter, optimizer: torch.optim.Optimizer, mean: dict[str, Tensor]) -> int:
    """The step to go on from; 0 where there is no checkpoint."""
    if path is None or not path.is_file():
        return 0
    with refusing(f"{path} is no checkpoint of this training", "Delete it to begin anew."):
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        for name, value in state["mean"].items():
            mean[name].copy_(value)
        return int(state["step"])
