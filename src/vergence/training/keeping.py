"""What a stop costs a stage: a step, or 40 seconds where nobody could be asked.

Lightning answers Ctrl-C by ending the process with status 1, and its `ModelCheckpoint` writes the file in place. Here a
checkpoint is due after so many steps or seconds, whichever comes first, and is renamed when it is whole; Ctrl-C and
SIGTERM let the step end, keep it, and go on as `KeyboardInterrupt`. Of several processes any may be told to stop, or find
that a checkpoint is due by its clock: after each step they ask each other, and all keep the same step.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from vergence.networks.saved import save_state
from vergence.training.processes import ALONE, Team

SECONDS = 40.0  # between checkpoints at most, and a step


class Stopped(BaseException):
    """Ctrl-C or SIGTERM. No `KeyboardInterrupt`, at which Lightning would end the process."""


class Whole(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it. Lightning's own way is through the folder of temporary files, where
    a kill leaves it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save_state(checkpoint, path)


class Checkpoints(Checkpoint):
    """Keeps where a stage is. Lightning calls what derives from its `Checkpoint` after all other callbacks.

    Args:
        path: the file.
        steps: most steps between two checkpoints.
        seconds: most seconds, to the end of the step.
        team: the processes that train.
    """

    def __init__(self, path: Path, steps: int, seconds: float = SECONDS, team: Team = ALONE) -> None:
        self.path, self.steps, self.seconds, self.team = path, steps, seconds, team
        self.stopped = False
        self.last = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.last = time.monotonic()
        if self.team.size > 1 and _in_main_thread():
            # Lightning's own handler exchanges numbers with the other processes, which may not have been told anything
            signal.signal(signal.SIGTERM, self.hear)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        late = time.monotonic() - self.last > self.seconds
        asked = self.team.highest(2 if self.stopped else int(late))
        if asked or trainer.global_step % self.steps == 0:
            self._keep(trainer)
        if asked == 2:
            raise Stopped

    def _keep(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)  # all take part, the first writes
        self.team.highest(0)  # nobody goes on before the file has its name
        self.last = time.monotonic()

    def hear(self, signum: int, frame: FrameType | None) -> None:
        """A signal's handler: the first waits for the step's end, the second for nothing."""
        if self.stopped:
            raise Stopped
        self.stopped = True


def _in_main_thread() -> bool:
    """Only there Python lets signals be heard."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def stopping(kept: Checkpoints) -> Iterator[None]:
    """While the block runs, Ctrl-C and SIGTERM are heard by the checkpoints; it ends in `KeyboardInterrupt` then."""
    heard = (signal.SIGINT, signal.SIGTERM) if _in_main_thread() else ()
    before = {number: signal.signal(number, kept.hear) for number in heard}
    try:
        yield
    except Stopped:
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
