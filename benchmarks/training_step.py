"""Training as it is, beside the bare network: what reading, augmentation, losses, metrics and checkpoints cost.

python benchmarks/training_step.py [--recipes demo,epipolar_pose] [--blocks 6] [--steps 10] [--images 8] [--threads 2]

Training is `train_stage` with the recipe's `pose` stage (epipolar_pose: ResNet-50 at 256 px with random weights, `--images`
in a batch). Every so many steps it waits while a twin of the network does as many bare ones on batches kept from before:
forward, backward of the outputs' mean, the stage's optimizer. So both see the same machine. The studio's true 3D stands for
its labels, which cost the same once they are made. The last line says whose the other seconds are.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vergence.batches.dataset import visible_labels
from vergence.batches.sampler import Mixture, Part
from vergence.batches.views import Views
from vergence.methods.registry import build_method
from vergence.networks.memory import keep_memory
from vergence.recipes.load import load_recipe
from vergence.training import loop
from vergence.training.sources import open_source


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


class Parts:
    """Seconds of the thread's processor in each function that is watched."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.on = True

    def watch(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] += (time.thread_time() - start) * self.on

        return watched


class Beside:
    """A twin's bare steps, after every block of training's."""

    def __init__(self, module: loop._Module, batches: list[Views], half: bool, steps: int) -> None:
        self.module, self.batches, self.half, self.steps = module, batches, half, steps
        self.optimizer = module.configure_optimizers()["optimizer"]
        self.training: list[np.ndarray] = []
        self.bare: list[np.ndarray] = []
        self.start: np.ndarray | None = None

    def step(self, views: Views) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            maps = self.module.method.network(views.image)
            found = [getattr(maps, field.name) for field in fields(maps)]
            means = [x.float().mean() for x in found if isinstance(x, Tensor) and x.requires_grad]
            loss = torch.stack(means).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def hear(self, name: str, done: int, total: int | None) -> None:
        if done % self.steps:
            return
        now = clocks()
        if self.start is not None and done > self.steps:  # the first block warms up
            self.training.append(now - self.start)
        for number in range(self.steps):
            self.step(self.batches[number % len(self.batches)])
        self.start = clocks()
        self.bare.append(self.start - now)


def measure(name: str, options: argparse.Namespace) -> None:
    words = ["--sources.wild.count", "400", "--sources.studio.subjects", "8", "--sources.studio.pose", "all",
             "--sources.studio.keypoints", "true"]  # fmt: skip
    recipe = load_recipe(name, words)
    stage = replace(recipe.stages["pose"].train, labels=[], steps=options.steps * (options.blocks + 1), start="scratch")
    if name != "demo":
        stage = replace(stage, batch=dict.fromkeys(stage.batch, options.images))
    torch.manual_seed(0)
    method = build_method(recipe.method, recipe.network, recipe.skeleton)
    parts = []
    for source, count in stage.batch.items():
        data = open_source(recipe.sources[source], recipe.image_size, recipe.skeleton)
        parts.append(Part(source, data, visible_labels(data, recipe.sources[source]), count))
    mixture, half = Mixture(parts, seed=0), recipe.precision == "bf16-mixed"
    twin = loop._Module(copy.deepcopy(method).to(memory_format=torch.channels_last), stage, 0)
    generator = torch.Generator().manual_seed(0)
    beside = Beside(twin, [twin._augmented(mixture.batch(n), generator) for n in range(4)], half, options.steps)
    watch = Parts()
    mixture.batch = watch.watch("reading", mixture.batch)
    augmented = loop._Module._augmented
    loop._Module._augmented = watch.watch("augmentation", augmented)
    method.losses = watch.watch("losses", method.losses)
    method.network.forward = watch.watch("forward", method.network.forward)
    with tempfile.TemporaryDirectory() as folder:
        loop.train_stage(method, mixture, stage, Path(folder), seed=0, device="cpu", precision=recipe.precision,
                         progress=beside.hear)  # fmt: skip
    loop._Module._augmented = augmented
    bare = beside.bare[: len(beside.training)]
    rows = np.array([beside.training, bare]) / options.steps * 1e3
    middle = np.median(rows, 1)
    print(f"{name}: {sum(stage.batch.values())} images of {recipe.image_size} px; load {os.getloadavg()[0]:.1f}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    for what, row in zip(("training", "bare network"), middle, strict=True):
        print(f"  {what:<14} {row[0]:7.1f} ms of the clock {row[1]:7.1f} ms of the processor a step")
    sums = rows[1].sum(0) / rows[0].sum(0)
    print(f"  bare / training: {sums[0]:.2f} by the clock, {sums[1]:.2f} by the processor; of medians "
          f"{middle[1][0] / middle[0][0]:.2f}, {middle[1][1] / middle[0][1]:.2f}")  # fmt: skip
    each = {k: v * 1e3 / stage.steps for k, v in watch.seconds.items()}
    each["losses"] -= each.pop("forward")
    print("  of it, thread's processor: " + ", ".join(f"{k} {v:.1f} ms" for k, v in each.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", default="demo,epipolar_pose")
    for option, default in (("blocks", 6), ("steps", 10), ("images", 8), ("threads", 0)):
        parser.add_argument(f"--{option}", type=int, default=default)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_memory()
    for name in options.recipes.split(","):
        measure(name, options)


if __name__ == "__main__":
    main()
