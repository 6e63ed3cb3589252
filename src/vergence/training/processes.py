"""The processes that carry out one run together, as `torchrun` or SLURM's `srun` started them; nearly always there is one.

The processes are there before the first stage: each reads the recipe and the sources; the first alone writes files and makes
labels, while the others wait. What it refuses, all refuse: one that waited for another that has gone would wait for ever.
Words between them (`talk`) go by gloo and may wait for days; what a step exchanges goes by the device's own way
(`training.split`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only

from vergence.errors import VergenceError, refusing

T = TypeVar("T")

PATIENCE = timedelta(days=7)  # of processes that wait while the first makes labels


@dataclass(frozen=True)
class Team:
    """One process among those of a run.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        here: how many of them are on each machine.
        environment: Lightning's, of who started them; None where one process was started.
        talk: group for words.
    """

    rank: int = 0
    size: int = 1
    here: int = 1
    environment: ClusterEnvironment | None = None
    talk: Any = None

    def first(self, work: Callable[[], T]) -> T:
        """What process 0 made, a plain value, once it has; where it was refused, all are."""
        if self.size == 1:
            return work()
        said: list[Any] = [None, ("process 0 has stopped", "It says why.")]
        try:
            if self.rank == 0:
                said = [work(), None]
        except VergenceError as error:
            said[1] = (error.problem, error.remedy)
            raise
        finally:
            with refusing("another process of this run has ended", "It says why.", RuntimeError):
                dist.broadcast_object_list(said, src=0, group=self.talk)
        if said[1]:
            raise VergenceError(*said[1])
        return said[0]

    def in_turn(self, work: Callable[[], T]) -> T:
        """Does what leaves files: process 0 first, then the others, who find it done."""
        made: list[T] = []
        self.first(lambda: made.append(work()))
        return made[0] if made else work()

    def highest(self, number: int) -> int:
        """The highest of all processes' numbers."""
        if self.size == 1:
            return number
        found = torch.tensor(number)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.talk)
        return int(found)

    def check_same(self, value: str, what: str, remedy: str) -> None:
        """Refuses processes that are about to train on different things."""
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.talk)
        if other := [rank for rank, one in enumerate(found) if one != found[0]]:
            raise VergenceError(f"{what} of process {other[0]} is not that of process 0", remedy)

    def trainer_settings(self, device: str, plugins: Sequence[Any] = ()) -> dict[str, Any]:
        """Lightning's options: where, by how many, with which strategy, and with which plug-ins of its own."""
        place = {"accelerator": "gpu" if device == "cuda" else device, "devices": self.here}
        if self.size == 1:  # nor is Lightning to look for a cluster by itself
            return {**place, "plugins": [LightningEnvironment(), *plugins]}
        strategy = DDPStrategy(find_unused_parameters=True)  # a metric loss leaves heads without a gradient
        nodes = self.size // self.here
        return {**place, "num_nodes": nodes, "strategy": strategy, "plugins": [self.environment, *plugins]}


ALONE = Team()


def started() -> int:
    """How many processes were started together with this one, itself included."""
    if {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= set(os.environ):
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))  # a batch script's own process has none


def check_alone(team: Team = ALONE) -> None:
    """Refuses work that several processes were started for and that does not divide it."""
    if team.size == 1 and started() > 1:
        raise VergenceError(
            f"{started()} processes were started, and would all do the same work", "`vergence train` alone divides it: "
            "start one process."
        )  # fmt: skip


def join(device: str) -> Team:
    """Finds the other processes; each must call it.

    Args:
        device: `cpu` (gloo) or `cuda` (NCCL), one GPU for each process of a machine.

    Raises:
        VergenceError: the processes are not spread evenly, have too few GPUs, or do not find each other.
    """
    size = started()
    if size == 1:
        return ALONE
    if dist.is_initialized():
        raise VergenceError(f"{size} processes train one run", "Start them anew for another one.")
    environment, here = _environment(size)
    if device == "mps" or (device == "cuda" and torch.cuda.device_count() < here):
        raise VergenceError(
            f"{here} processes of this machine want a GPU each; it shows {torch.cuda.device_count()} of CUDA",
            "Start as many processes as there are GPUs, all of them visible to each, or train with --device cpu.",
        )
    if device == "cuda":
        torch.cuda.set_device(environment.local_rank())
    rank = environment.global_rank()
    os.environ |= {"MASTER_ADDR": environment.main_address, "MASTER_PORT": str(environment.main_port)}
    with refusing(
        f"process {rank} of {size} does not find the others", "Look at MASTER_ADDR, MASTER_PORT, the network."
    ):
        dist.init_process_group("nccl" if device == "cuda" else "gloo", rank=rank, world_size=size)
        talk = dist.new_group(backend="gloo", timeout=PATIENCE)
    if rank:
        logging.getLogger("vergence").setLevel(logging.ERROR)  # the first speaks for all
    rank_zero_only.rank = rank  # type: ignore[attr-defined, unused-ignore]
    return Team(rank, size, here, environment, talk)


def _environment(size: int) -> tuple[ClusterEnvironment, int]:
    """Lightning's word for who started the processes, and how many there are on each machine."""
    environment: ClusterEnvironment
    if "WORLD_SIZE" in os.environ:
        environment, here = TorchElasticEnvironment(), int(os.environ.get("LOCAL_WORLD_SIZE", size))
    else:
        with refusing("SLURM's tasks cannot be counted", "Give sbatch --nodes and --ntasks-per-node."):
            environment = SLURMEnvironment(auto_requeue=False)
            here = int(os.environ["SLURM_NTASKS_PER_NODE"])
    if size % here:
        raise VergenceError(f"{size} processes, {here} on this machine", "Start as many on every machine.")
    return environment, here
