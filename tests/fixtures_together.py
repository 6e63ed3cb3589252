"""Trainings that one process and several do alike: imported by tests, and run as a script by each process of `together`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from vergence.batches.dataset import MemoryDataset
from vergence.batches.sampler import Mixture, Part
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.methods.registry import build_method
from vergence.recipes.recipe import Draw, LabelStage, MetricLoss, NetworkSettings, Recipe, Stage, TrainStage
from vergence.recipes.settings import Augmentation, MultiView
from vergence.recipes.typed import make_source
from vergence.training.loop import train_stage
from vergence.training.processes import ALONE, Team, join
from vergence.training.run import Run
from vergence.training.sources import open_source

AUGMENTATION = Augmentation(mirror=0.5, rotation=10, scale=0.1, gain=0.1, occlusion=0.5)
NETWORK = NetworkSettings(
    embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8, pose_embedding=8, pose_hidden=16
)
WEIGHTS = {
    "supervised": {"heatmap": 1.0, "coordinates": 0.1, "depth": 1.0},
    "geometric_constraint": {"heatmap": 1.0, "depth": 1.0, "geometry": 1.0, "geometry_3d": 0.1},
    "multiview_consistency": {"heatmap": 1.0, "consistency": 1.0, "limbs": 1.0, "bend": 0.1},
    "mcss": {"pose": 1.0, "metric": 1.0},  # its 2D head stays without a gradient
}


def stage(method: str, steps: int) -> TrainStage:
    """Two sources, of which the second has no 2D, in batches that two processes do not divide evenly."""
    return TrainStage(
        steps=steps,
        batch={"studio": 12, "bare": 5},
        draw={"studio": Draw(time_steps=3, views=2, apart=0.3)} if method == "mcss" else {},
        losses=WEIGHTS[method],
        metric=MetricLoss(apart=0.3, negatives="all"),
        learning_rate=1e-3,
        augmentation=AUGMENTATION,
        no_augment=["bare"],
        multiview=MultiView(limbs_from="studio", rotations="given", ramp=0.5),
    )


@cache
def people() -> Views:
    settings = {"look": "studio", "subjects": 2, "frames_per_subject": 6, "views": [3], "seed": 5}
    views = open_source(make_source(kind="world_recordings", **settings), 32, "h36m_17")
    return views.read(torch.arange(len(views)))


class Read(MemoryDataset):
    """Notes which rows are read."""

    def __init__(self, views: Views) -> None:
        super().__init__(views)
        self.rows: list[list[int]] = []

    def read(self, rows: Tensor) -> Views:
        self.rows.append(rows.tolist())
        return super().read(rows)


class Watched(Callback):
    """Notes each step's loss; does something before a step."""

    def __init__(self, at: int = -1, do: Callable[[], None] | None = None) -> None:
        self.at, self.do, self.losses = at, do, []

    def on_train_batch_start(self, trainer, module, batch, number) -> None:
        if trainer.global_step == self.at and self.do:
            self.do()

    def on_train_batch_end(self, trainer, module, outputs, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))


class Killed(Exception):
    pass


def kill() -> None:
    raise Killed


def trained(
    folder: Path, team: Team = ALONE, name: str = "supervised", steps: int = 20, watched: Watched | None = None
) -> dict[str, Any]:
    """Losses of each step, rows that this process read, and the weights at the end."""
    watched = watched or Watched()
    views = people()
    torch.manual_seed(0)
    method = build_method(name, NETWORK, "h36m_17")
    settings = stage(name, steps)
    unlabelled = views.replace(keypoints=torch.full_like(views.keypoints, float("nan")))
    shown = {"studio": views, "bare": unlabelled}
    parts = [Part(n, Read(v), v, settings.batch[n], settings.draw.get(n, Draw()), method.whole_time_steps)
             for n, v in shown.items()]  # fmt: skip
    method.prepare(settings, shown)
    train_stage(method, Mixture(parts, 3), settings, folder, seed=3, device="cpu", checkpoint_every=8,
                callbacks=(watched,), team=team)  # fmt: skip
    assert not method.network._forward_hooks
    assert type(method.network(views.image[:2])) is not None
    rows = {part.name: part.dataset.rows for part in parts}
    return {"losses": watched.losses, "rows": rows, "weights": method.state_dict()}


def recipe(**changes: Any) -> Recipe:
    """2D first, labels made by that network, then 3D."""
    first = TrainStage(steps=4, batch={"wild": 6}, losses={"heatmap": 1.0})
    then = TrainStage(steps=4, batch={"wild": 2, "studio": 5}, labels=["labels"], losses={"heatmap": 1.0, "depth": 1.0})
    return Recipe(
        image_size=32,
        network=NETWORK,
        sources={
            "wild": make_source(kind="world_images", count=12, seed=1, keypoints=True),
            "studio": make_source(kind="world_recordings", look="studio", subjects=1, frames_per_subject=8, views=[3],
                                  seed=2, keypoints=True),
        },
        stages={
            "keypoints": Stage(train=first),
            "labels": Stage(label=LabelStage(source="studio", keypoints="labelled")),
            "pose": Stage(train=then),
        },
        **changes,
    )  # fmt: skip


def refused(work: Callable[[], Any]) -> str:
    try:
        work()
    except VergenceError as error:
        return str(error)
    return ""


def whole_run(folder: Path, team: Team) -> dict[str, Any]:
    run = Run(recipe(), folder, "cpu", team=team)
    weights = run.execute().state_dict()
    return {"weights": weights, "again": run.execute().state_dict()}


def script(folder: Path) -> None:
    """What each of two processes does."""
    torch.set_num_threads(1)
    team = join("cpu")
    found: dict[str, Any] = {name: trained(folder / name, team, name, 6) for name in WEIGHTS if name != "supervised"}
    found["whole"] = trained(folder / "whole", team)
    with contextlib.suppress(Killed):
        trained(folder / "cut", team, watched=Watched(13, kill))
    if team.rank == 0:
        (folder / "other").mkdir()
        (folder / "other" / "last.ckpt").write_bytes((folder / "cut" / "last.ckpt").read_bytes())
        (folder / "other" / "metrics.jsonl").write_bytes((folder / "cut" / "metrics.jsonl").read_bytes())
    found["resumed"] = trained(folder / "cut", team)
    only = (lambda: signal.raise_signal(signal.SIGTERM)) if team.rank == 1 else None
    try:
        trained(folder / "told", team, watched=Watched(5, only))
    except KeyboardInterrupt:
        found["told"] = int(torch.load(folder / "told" / "last.ckpt", weights_only=True)["global_step"])
    found["run"] = whole_run(folder / "run", team)
    found["small"] = refused(lambda: trained(folder / "small", Team(team.rank, 40, 40)))
    found["other recipe"] = refused(lambda: Run(recipe(seed=team.rank), folder / "strange", "cpu", team=team))
    found["taken"] = refused(lambda: Run(recipe(seed=5), folder / "run", "cpu", team=team))
    torch.save(found, folder / f"found{team.rank}.pt")


def together(folder: Path, size: int = 2) -> list[dict[str, Any]]:
    """What each process of `script` found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
              "OMP_NUM_THREADS": "1"}  # fmt: skip
    each = [
        subprocess.Popen([sys.executable, __file__, str(folder)], env={**shared, "RANK": str(r), "LOCAL_RANK": str(r)})
        for r in range(size)
    ]
    try:
        assert [process.wait(900) for process in each] == [0] * size
    finally:
        for process in each:
            process.kill()
    return [torch.load(folder / f"found{rank}.pt", weights_only=False) for rank in range(size)]


if __name__ == "__main__":
    script(Path(sys.argv[1]))
