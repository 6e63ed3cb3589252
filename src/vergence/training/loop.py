"""One stage of training as a Lightning run that can be killed at any step and resumed bit for bit.

What makes it exact: the batch of a step is a function of its number (`mixture.py`), so are its augmentation and the
seed of whatever else is random in it; weights, their average, the optimizer and the schedule come from the checkpoint.
Lightning restarts a loader at its first batch, so the loader is told the step at which to start. With several processes
(`training.processes`) each has some rows of a batch (`training.split`).
"""

from __future__ import annotations

import json
import logging
import math
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.callbacks.weight_averaging import WeightAveraging
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from vergence.batches.augment import augment, to_float
from vergence.batches.sampler import Mixture
from vergence.batches.views import Views
from vergence.errors import VergenceError, refusing
from vergence.files import remove_leftovers, write_text
from vergence.methods.base import Method
from vergence.networks.memory import keep_memory
from vergence.networks.threads import helper
from vergence.plugins import blaming
from vergence.progress import Progress, silent
from vergence.recipes.recipe import TrainStage
from vergence.training.checks import terms_of
from vergence.training.keeping import Checkpoints, Whole, stopping
from vergence.training.optimizers import Muon
from vergence.training.processes import ALONE, Team
from vergence.training.split import Split, drawing

WARM_UP = 0.03  # share of the steps over which the learning rate rises
FINAL_RATE = 0.01  # of the peak, at the last step
LOG_EVERY = 10
NO_SPACE = "Free some space; the same command continues from the last checkpoint."
ALARM_LASTS = 3  # logged steps that an alarm must last before it is said
LOST = re.compile("gloo|NCCL|[Cc]onnection|peer")  # what gloo and NCCL say where a process has gone


class NotFinite(VergenceError):
    """A loss that is no number: from the last checkpoint on it would be none again."""


class _Steps(IterableDataset):
    """The mixture's batches from a step on; the next one is read while a step is computed."""

    def __init__(self, mixture: Mixture, steps: int, own: slice | None = None) -> None:
        self.read = mixture.batch if own is None else partial(mixture.batch, own=own)
        self.steps, self.start = steps, 0

    def __iter__(self) -> Iterator[Views]:
        with helper("reading") as reader:
            batch = reader.submit(self.read, self.start)
            for step in range(self.start + 1, self.steps):
                batch, ready = reader.submit(self.read, step), batch
                yield ready.result()
            yield batch.result()


class _Module(pl.LightningModule):
    def __init__(
        self,
        method: Method,
        stage: TrainStage,
        seed: int,
        say: Callable[[str], None] | None = None,
        split: Split | None = None,
    ) -> None:
        super().__init__()
        self.method, self.stage, self.seed, self.split = method, stage, seed, split
        self.alarms = Alarms(say)
        self.still = [_part(method, name) for name in stage.frozen]
        for part in self.still:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> _Module:
        super().train(mode)
        for part in getattr(self, "still", ()):
            part.eval()
        return self

    def configure_optimizers(self) -> Any:
        stage = self.stage
        optimizer: torch.optim.Optimizer
        trained, lr, decay = [p for p in self.parameters() if p.requires_grad], stage.learning_rate, stage.weight_decay
        if stage.optimizer == "muon":
            optimizer = Muon(self.named_parameters(), lr, stage.muon_rate, weight_decay=decay)
        elif stage.optimizer == "rmsprop":
            optimizer = torch.optim.RMSprop(trained, lr=lr)
        else:  # Lightning cannot clip the gradients of a fused optimizer in mixed precision
            optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=decay, fused=not stage.grad_clip)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: stage_rate(step, stage))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Views, device: torch.device, dataloader_idx: int) -> Views:
        return batch.to(device)

    def _augmented(self, batch: Views, generator: torch.Generator) -> Views:
        """The batch augmented, but for the images of the stage's `no_augment`."""
        among = (self.split.gathered(batch.time_step), self.split.rows) if self.split else None
        changed = augment(batch, self.stage.augmentation, self.method.skeleton, generator, among)
        if not self.stage.no_augment:
            return changed
        names = [name for name, count in self.stage.batch.items() if count > 0]  # as `Mixture` numbers them
        numbers = torch.tensor(
            [names.index(n) for n in self.stage.no_augment if n in names], device=batch.source.device
        )
        plain = torch.isin(batch.source, numbers)
        before = dict(batch.replace(image=to_float(batch.image)).items())
        rows = {name: plain.view(-1, *[1] * (value.ndim - 1)) for name, value in before.items()}
        return changed.replace(**{n: torch.where(rows[n], before[n], value) for n, value in changed.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["threads"] = torch.get_num_threads()  # sums are rounded by their number

    def training_step(self, batch: Views, batch_idx: int) -> Tensor:
        seed = zlib.crc32(f"{self.seed} {self.global_step}".encode())
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            batch = self._augmented(batch, generator)
            batch = self.split.whole(batch) if self.split else batch
        self.method.progress = self.global_step / self.stage.steps
        terms = terms_of(self.method, batch)
        unknown = set(self.stage.losses) - set(terms)
        if unknown:
            raise VergenceError(f"no loss term is called {sorted(unknown)}", f"The method has {', '.join(terms)}.")
        loss = sum(
            (weight * terms[name] for name, weight in self.stage.losses.items()), torch.zeros((), device=self.device)
        )
        if not torch.isfinite(loss):
            values = {name: float(term.detach()) for name, term in terms.items()}
            alone = " A method that reads images beside its network trains in one process." if self.split else ""
            wrong = [name for name, value in values.items() if not math.isfinite(value)]
            unlearned = f"{' and '.join(wrong)} must leave out labels that are NaN (unknown)"
            remedy = f"No step was made yet: {unlearned}." if wrong and not self.global_step else "Lower learning_rate."
            raise NotFinite(f"the loss at step {self.global_step} is {loss.item()}: {values}", f"{remedy}{alone}")
        if self.global_step % LOG_EVERY == 0:
            values = {name: float(term.detach()) for name, term in {"loss": loss, **terms}.items()}
            watch = self.method.watch()
            for logger in self.loggers:  # Lightning's own `log` would file this step's figures under a later one
                logger.log_metrics({**values, **watch.figures}, self.global_step)
                if isinstance(logger, JsonlLogger) and watch.alarms:
                    logger.log_line(self.global_step, alarms=watch.alarms)
            self.alarms.hear(watch.alarms, self.global_step)
        return loss


class _Told(Callback):
    """Tells `progress` each step, the first one at which training starts among them."""

    def __init__(self, progress: Progress, name: str, steps: int) -> None:
        self.progress, self.name, self.steps = progress, name, steps

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.progress(self.name, trainer.global_step, self.steps)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.progress(self.name, trainer.global_step, self.steps)


def _part(method: Method, name: str) -> torch.nn.Module:
    parts = dict(method.named_children())
    if name not in parts:
        raise VergenceError(f"no part of the method is called {name!r}", f"It has {', '.join(parts)}.")
    return parts[name]


def stage_rate(step: int, stage: TrainStage) -> float:
    """Share of a stage's peak learning rate, by its schedule: steps down, or a linear warm-up and then half a cosine."""
    if stage.schedule == "steps":
        return 0.1 ** sum(step >= round(share * stage.steps) for share in stage.milestones)
    warm = max(1, round(WARM_UP * stage.steps))
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, stage.steps - warm))
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


class Alarms:
    """Says what goes wrong once it has lasted, and when it has ended.

    Args:
        say: told a line; None hears nothing.
    """

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self.say = say
        self.lasted: dict[str, int] = {}

    def hear(self, alarms: dict[str, str], step: int) -> None:
        if self.say is None:
            return
        for name in [n for n in self.lasted if n not in alarms]:
            if self.lasted.pop(name) >= ALARM_LASTS:
                self.say(f"step {step}: over: {name.replace('_', ' ')}")
        for name, text in alarms.items():
            self.lasted[name] = self.lasted.get(name, 0) + 1
            if self.lasted[name] == ALARM_LASTS:
                self.say(f"step {step}: {text}")


class JsonlLogger(Logger):
    """Metrics as one JSON object a line. On resume, lines at or past the resumed step are dropped first."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    name = "vergence"
    version = ""

    def resume_at(self, step: int) -> None:
        if self.path.exists():
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in _rows(self.path) if row["step"] < step))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.log_line(step, **{k: float(v) for k, v in metrics.items() if k != "epoch"})

    @rank_zero_only
    def log_line(self, step: int | None, **values: Any) -> None:
        with refusing(f"{self.path} could not be written", NO_SPACE, OSError), self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        return None


def read_metrics(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Curves of a `metrics.jsonl`: name to (step, value)."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in _rows(path):
        for name, value in row.items():
            if name not in ("step", "alarms"):
                curves.setdefault(name, []).append((row["step"], value))
    return curves


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, without the half one that a kill left."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            return


def train_stage(
    method: Method,
    mixture: Mixture,
    stage: TrainStage,
    folder: Path,
    *,
    seed: int,
    device: str = "auto",
    precision: str = "32-true",
    checkpoint_every: int = 200,
    progress: Progress = silent,
    name: str = "training",
    callbacks: tuple[Callback, ...] = (),
    say: Callable[[str], None] | None = None,
    team: Team = ALONE,
) -> None:
    """Trains `method` in place; resumes from `folder/last.ckpt` where it exists.

    Args:
        method: what is trained; ends with its averaged weights.
        mixture: the batches.
        stage: steps, losses, schedule, augmentation.
        folder: for the checkpoint and `metrics.jsonl`.
        seed: of augmentation and of what else is random in a step.
        device: `auto`, `cpu`, `cuda`, `mps`.
        precision: Lightning's.
        checkpoint_every: most steps between checkpoints; there is one every 40 seconds as well.
        progress: told the number of steps done, after each.
        name: what `progress` is told that is done.
        callbacks: Lightning's, more of them.
        say: told what the method warns of.
        team: the processes that train; each calls this, with the same method.
    """
    logger, checkpoint = JsonlLogger(folder / "metrics.jsonl"), folder / "last.ckpt"
    split = Split(team, mixture.size) if team.size > 1 else None
    dataset = _Steps(mixture, stage.steps, split.rows if split else None)
    dataset.start = team.first(lambda: _begin(checkpoint, logger, say if device == "cpu" else None))
    if split and say and (part := drawing(method.network)):
        say(f"{part} draws other random numbers than in one process: the curves agree on average")
    kept = Checkpoints(checkpoint, checkpoint_every, team=team)
    more: list[Callback] = [kept]
    if stage.ema_decay:
        more.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(stage.ema_decay)))
    more.append(_Told(progress, name, stage.steps))
    _quiet()
    keep_memory()
    trainer = pl.Trainer(
        **team.trainer_settings(device, [Whole()]),
        precision=precision,  # type: ignore[arg-type, unused-ignore]
        max_steps=stage.steps,
        limit_train_batches=stage.steps,
        max_epochs=1,
        gradient_clip_val=stage.grad_clip or None,
        logger=[logger, *_tensorboard(folder)],
        callbacks=[*more, *callbacks],
        log_every_n_steps=LOG_EVERY,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = _Module(method, stage, seed, say, split)
    module.train()  # a method that another stage left in eval mode would keep its batch statistics frozen
    if dataset.start >= stage.steps:  # stopped before the result was saved; Lightning would hand out unaveraged weights
        module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    else:
        try:
            with blaming(), stopping(kept), split.over(method) if split else nullcontext():
                loader = DataLoader(dataset, batch_size=None)
                trainer.fit(module, loader, ckpt_path=checkpoint if dataset.start else None)
        except NotFinite:
            checkpoint.unlink(missing_ok=True)
            raise
        except RuntimeError as error:
            if split and LOST.search(str(error)):
                raise VergenceError("another process of this run has ended", "It says why.") from error
            raise
    method.eval().cpu()
    if say and not team.rank:
        curves = read_metrics(folder / "metrics.jsonl")
        for term in stage.losses:
            if not any(value for _, value in curves.get(term, [("", 1.0)])):
                say(f"the loss {term} was 0 from the first step to the last, and had no effect")


def _begin(checkpoint: Path, logger: JsonlLogger, say: Callable[[str], None] | None = None) -> int:
    """The step at which a stage goes on; its folder as it was then."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(checkpoint.parent)
    start = 0
    if checkpoint.exists():
        with refusing(f"the checkpoint {checkpoint} cannot be read", "Delete it to start the stage anew."):
            kept = torch.load(checkpoint, map_location="cpu", weights_only=True)
            start, threads = int(kept["global_step"]), kept.get("threads")
        if say and threads not in (None, now := torch.get_num_threads()):
            say(f"step {start}: begun with --threads {threads}, goes on with {now}: equal up to rounding")
    logger.resume_at(start)
    return start


def _tensorboard(folder: Path) -> list[Logger]:
    try:
        from lightning.pytorch.loggers import TensorBoardLogger

        return [TensorBoardLogger(folder, name="", version="tensorboard")]
    except ModuleNotFoundError:
        return []


def _quiet() -> None:
    """Lightning tells developers much that users cannot act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for text in (
        ".*does not have many workers.*",
        ".*smaller than the logging interval.*",
        ".*checkpoint that ended before the epoch ended.*", ".*`IterableDataset` has `__len__`.*",
        ".*exists and is not empty.*", ".*in eval mode at the start of training.*",
                 ".*treespec.*", ".*lr_scheduler.step.*"):  # fmt: skip
        warnings.filterwarnings("ignore", message=text)
