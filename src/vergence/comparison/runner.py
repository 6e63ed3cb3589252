"""Recipes trained and measured one after the other in one folder, each kept as soon as it is measured.

What `vergence compare` and `vergence reproduce` do alike: images and stages that several of them have in common are made
once, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vergence import __version__
from vergence.batches.pseudo_labels import fingerprint
from vergence.comparison.entries import Entry, Measured, labels_3d, measured_like, total_seconds
from vergence.errors import VergenceError
from vergence.evaluation.run_tests import Tested, finish, measure_tests
from vergence.evaluation.scores import in_camera_frame
from vergence.files import plain
from vergence.inference.estimator import load
from vergence.networks.devices import resolve_device
from vergence.recipes.recipe import Recipe
from vergence.report.comparison import cell_text
from vergence.report.page import Table as PageTable
from vergence.skeleton import get_skeleton
from vergence.training.run import Run
from vergence.training.sources import world_version
from vergence.training.stage_cache import Shared


@dataclass(frozen=True)
class Work:
    """Where and how recipes are carried out.

    Attributes:
        out: folder of their runs and of what was measured.
        device: `auto`, `cpu`, `cuda` or `mps`.
        quiet: no progress bars.
        verb: the command, for the results of each run.
        common: folder of stages and labels that are made once; None: in `out`.
        one_structure: all entries share the first entry's clusters of the Pose Structure Score.
    """

    out: Path
    device: str
    quiet: bool
    verb: str
    common: Path | None = None
    one_structure: bool = False

    @cached_property
    def shared(self) -> Shared:
        return Shared(self.common or self.out / "shared")

    @property
    def kept(self) -> Path:
        return self.out / "measured"

    def run_folder(self, entry: Entry, seed: int) -> Path:
        return self.out / "runs" / f"{entry.name}-{seed}"

    def structure(self, entry: Entry, seed: int) -> Path:
        """The folder of the clusters."""
        return self.out / "shared" / f"structure-{seed}" if self.one_structure else self.run_folder(entry, seed)


def each_seed(
    work: Work,
    entries: Sequence[Entry],
    seeds_of: Callable[[Entry], Sequence[int]],
    tests_of: Callable[[Entry], Recipe],
) -> Iterator[dict[str, list[Measured]]]:
    """Trains and measures what is not done yet; after every seed gives all that is measured so far, by name.

    Args:
        work: where and how.
        entries: what, in the order of the results.
        seeds_of: the seeds of an entry.
        tests_of: the recipe on whose tests a finished run is measured.

    Raises:
        VergenceError: with the entry and the seed in front.
    """
    console = Console()
    measured: dict[str, list[Measured]] = {}
    for seed in sorted({seed for entry in entries for seed in seeds_of(entry)}):
        for entry in entries:
            if seed not in seeds_of(entry):
                continue
            try:
                one = _measured(work, entry, seed, tests_of(entry))
            except VergenceError as error:
                raise VergenceError(f"{entry.name}, seed {seed}: {error.problem}", error.remedy) from error
            measured.setdefault(entry.name, []).append(one)
            console.print(line(one))
        yield {entry.name: measured[entry.name] for entry in entries if entry.name in measured}
        work.shared.forget()


def _measured(work: Work, entry: Entry, seed: int, base: Recipe) -> Measured:
    """One entry on one seed: loaded if cached, else trained (resuming) and evaluated."""
    if entry.run:
        made_by = _made_by(entry.run, base.at_seed(seed))
        before = Measured.load(work.kept, entry.name, seed, made_by)
        return before or _measure_run(work, entry, base.at_seed(seed), seed, made_by)
    recipe = entry.recipe.at_seed(seed)
    run = Run(recipe, work.run_folder(entry, seed), work.device, not work.quiet, work.shared)
    before = Measured.load(work.kept, entry.name, seed, _made_by(run.folder, recipe))
    if before:
        return before
    run.console.rule(f"{entry.name}, seed {seed}")
    method = run.execute()
    results, tested = finish(run, method, f"{work.verb}: {entry.name}, seed {seed}", work.structure(entry, seed))
    about: dict[str, Any] = {"results": results, "seconds": run.seconds, "cpu_seconds": run.cpu_seconds}
    about |= labels_3d(recipe, work.shared)
    return _keep(entry, seed, about, tested, _made_by(run.folder, recipe), work.kept)


def _measure_run(work: Work, entry: Entry, base: Recipe, seed: int, made_by: str) -> Measured:
    """A finished run on the comparison's tests; nothing is written into its folder."""
    assert entry.run is not None
    estimator = load(entry.run, resolve_device(work.device))
    entry.recipe.test = base.test
    results, tested = measure_tests(
        entry.recipe,
        estimator.method,
        estimator.device,
        folder=work.structure(entry, seed),
        open_=work.shared.open,
    )
    seconds = {key: estimator.config.get(key, {}) for key in ("seconds", "cpu_seconds")}
    about = {"results": results, **seconds, **labels_3d(entry.recipe, work.shared)}
    return _keep(entry, seed, about, tested, made_by, work.kept)


def _made_by(folder: Path, recipe: Recipe) -> str:
    """Of a run's weights and of what they are measured on; empty where it is not finished."""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "refinement.safetensors"):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
        elif name == "model.safetensors":
            return ""
    return fingerprint(__version__, world_version(), digest.hexdigest(), measured_like(recipe))


def _keep(
    entry: Entry, seed: int, about: dict[str, Any], tested: Mapping[str, Tested], made_by: str, kept: Path
) -> Measured:
    skeleton = get_skeleton(entry.recipe.skeleton)
    images: dict[str, np.ndarray] = {}
    for look, test in tested.items():
        index, found = test.dataset.index, test.prediction
        pose = in_camera_frame(found, index, skeleton)
        images |= {
            f"{look}.subject": index.subject.numpy(),
            f"{look}.n_mpjpe": test.scores.n_mpjpe.astype(np.float32),
            f"{look}.p_mpjpe": test.scores.p_mpjpe.astype(np.float32),
            f"{look}.pose": pose.float().numpy(),
        }
        if found.keypoints is not None:
            images[f"{look}.keypoints"] = found.keypoints.float().numpy()
    measured = Measured(entry.name, seed, plain({**about, "made_by": made_by}), images)
    measured.save(kept)
    return measured


def line(one: Measured) -> str:
    look, found = next(iter(one.tests.items()))
    errors = found["model"]
    return (
        f"[bold]{one.name}[/bold], seed {one.seed}: {look} "
        + ", ".join(f"{errors[key]:.1f} mm {word}" for key, word in _SHOWN if errors.get(key) is not None)
        + f"; {total_seconds(one.about['seconds']):.0f} s"
    )


_SHOWN = (("n_mpjpe", "N-MPJPE"), ("p_mpjpe", "P-MPJPE"))


def print_table(table: PageTable, console: Console, keep: Sequence[int] = ()) -> None:
    """A page's table on the terminal, or those of its columns that fit there, with its protocol."""
    shown = Table(title=table.title, box=SIMPLE, padding=(0, 1, 0, 0))
    keep = keep or range(len(table.columns))
    for i in keep:
        shown.add_column(table.columns[i], justify="right" if i else "left", no_wrap=not i)
    for row in table.rows:
        shown.add_row(*(cell_text(row[i]) for i in keep))
    console.print(shown)
    console.print(f"[dim]{table.protocol}[/dim]", highlight=False)
