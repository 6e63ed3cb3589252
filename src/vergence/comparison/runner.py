"""Recipes trained and measured one after the other in one folder, each kept as soon as it is measured.

What `vergence.compare` and `vergence.reproduce` do alike: images and stages that several of them have in common are made
once, and the same call goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vergence import __version__
from vergence.batches.pseudo_labels import fingerprint
from vergence.comparison.entries import Entry, labels_3d, measured_like
from vergence.comparison.results import Measured
from vergence.errors import FULL, VergenceError, refusing, said
from vergence.evaluation.evaluate import Evaluation, of_run
from vergence.evaluation.run_tests import Tested, measure_tests
from vergence.evaluation.scores import in_camera_frame
from vergence.files import plain, read_json, write_json, write_text
from vergence.inference.estimator import load
from vergence.networks.devices import resolve_device
from vergence.progress import Progress, silent
from vergence.recipes.recipe import Recipe
from vergence.skeleton import get_skeleton
from vergence.training.checks import check_recipe, kept_backbone
from vergence.training.run import Run
from vergence.training.stage_cache import Shared
from vergence.world.scenes import WORLD_VERSION

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """Where and how recipes are carried out.

    Attributes:
        out: folder of their runs and of what was measured.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: told of each stage's steps, with the entry and the seed in front.
        common: folder of stages and labels that are made once; None: in `out`.
        one_structure: all entries share the first entry's clusters of the Pose Structure Score.
    """

    out: Path
    device: str
    progress: Progress = silent
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


@dataclass(frozen=True)
class Row:
    """One entry on one seed, measured just now or before.

    Attributes:
        measured: its figures.
        evaluation: of a run that was trained for this; None where all that was kept from before, and of a finished run.
        folder: that run's.
        ends_seed: all entries of its seed are measured.
        left: rows behind it, of which some may have been measured before.
    """

    measured: Measured
    evaluation: Evaluation | None = None
    folder: Path | None = None
    ends_seed: bool = False
    left: int = 0


@dataclass(frozen=True)
class Failed:
    """One entry on one seed that could not be trained or measured, and why."""

    name: str
    seed: int
    reason: str

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}: {self.reason}"


@dataclass(frozen=True)
class SoFar(ABC):
    """What has been measured so far.

    Attributes:
        measured: by entry, one for each seed.
        row: the last one.
        failed: those that are lacking; the same call tries them again.
    """

    measured: Mapping[str, Sequence[Measured]]
    row: Row
    failed: Sequence[Failed]

    @property
    @abstractmethod
    def results(self) -> dict[str, Any]:
        """Plain values."""

    def save(self, path: str | Path, **more: Any) -> None:
        """Writes the results as JSON, with `more` in it."""
        write_json(path, {**self.results, **more})

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Plain values: name, seed and reason of each row that failed."""
        return [asdict(one) for one in self.failed]


def check_entries(entries: Sequence[Entry], work: Work, seeds: int) -> None:
    """Refuses recipes of which some stage could not begin, before the first is trained. Of one that is trained with every
    seed the backbone's own folder is not needed any more.

    Raises:
        VergenceError: with the entry in front.
    """
    for entry in entries:
        if not entry.run:
            network = entry.recipe.network
            kept = [kept_backbone(network, work.run_folder(entry, seed)) for seed in range(seeds)]
            whole = all(own for _, own in kept)
            recipe = replace(entry.recipe, network=kept[0][0] if whole else network)
            with refusing(entry.name, "", VergenceError):
                check_recipe(recipe, weights=not whole)


def each_row(
    work: Work,
    entries: Sequence[Entry],
    seeds_of: Callable[[Entry], Sequence[int]],
    tests_of: Callable[[Entry], Recipe],
) -> Iterator[Row | Failed]:
    """Trains and measures what is not done yet, seed by seed. What is new is kept once the next row is asked for, so that
    whatever is done with a row is done again where it was interrupted. One that fails does not stop the others.

    Args:
        work: where and how.
        entries: what, in the order of the results.
        seeds_of: the seeds of an entry.
        tests_of: the recipe on whose tests a finished run is measured.

    Raises:
        VergenceError: what would stop every row: a full disk, a folder that may not be written to.
    """
    seeds = sorted({seed for entry in entries for seed in seeds_of(entry)})
    left = sum(len(set(seeds_of(entry))) for entry in entries)
    for seed in seeds:
        if seed != seeds[0]:
            work.shared.forget()
        of_seed = [entry for entry in entries if seed in seeds_of(entry)]
        for entry in of_seed:
            left -= 1
            try:
                row, new = _row(work, entry, seed, tests_of(entry))
            except Exception as error:
                yield _failed(work, entry, seed, error)
                continue
            yield replace(row, ends_seed=entry is of_seed[-1], left=left)
            if new:
                row.measured.save(work.kept)


def _failed(work: Work, entry: Entry, seed: int, error: Exception) -> Failed:
    """A row that fails by itself; what would stop every row is raised. Of what is no refusal the trace is kept in a file."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and (below.errno in FULL or _of_folder(below, work.out)):
            with refusing(f"{entry.name}, seed {seed}", "Free some space.", VergenceError, OSError):
                raise error
        below = below.__cause__
    if isinstance(error, VergenceError):
        return Failed(entry.name, seed, str(error))
    trace = work.run_folder(entry, seed) / "failure.txt"
    write_text(trace, "".join(traceback.format_exception(error)))
    return Failed(entry.name, seed, f"{type(error).__name__}: {said(error)}. {trace} has the trace.")


def _of_folder(error: OSError, folder: Path) -> bool:
    """Whether it is about a file of the folder, as one that may not be written."""
    return error.filename is not None and Path(str(error.filename)).absolute().is_relative_to(folder.absolute())


def carried_out(
    rows: Iterator[Row | Failed],
    entries: Sequence[Entry],
    so_far: Callable[[dict[str, list[Measured]], Row, Sequence[Failed]], T],
    after: Callable[[T], None] | None,
) -> T:
    """All rows; the last of what `so_far` makes of those measured (by entry, in order), the last one and those that failed,
    each told `after`.

    Raises:
        VergenceError: no row could be measured.
    """
    measured: dict[str, list[Measured]] = {}
    failed: list[Failed] = []
    last, found = None, None
    for row in rows:
        if isinstance(row, Failed):
            log.warning("%s failed; the others go on. %s", f"{row.name}, seed {row.seed}", row.reason)
            failed.append(row)
            continue
        measured.setdefault(row.measured.name, []).append(row.measured)
        by_entry, last = {one.name: list(measured[one.name]) for one in entries if one.name in measured}, row
        found = so_far(by_entry, row, tuple(failed))
        if after:
            after(found)
    if found is None or last is None:
        more = f" (and {len(failed) - 1} more rows failed)" if len(failed) > 1 else ""
        raise VergenceError(f"{failed[0]}{more}")
    return so_far(by_entry, replace(last, ends_seed=True), tuple(failed)) if failed else found


def unmeasured(
    work: Work,
    entries: Sequence[Entry],
    seeds_of: Callable[[Entry], Sequence[int]],
    tests_of: Callable[[Entry], Recipe],
) -> list[Entry]:
    """The entries of which some seed is not kept: only their data has to be there. Arguments as of `each_row`."""

    def kept(entry: Entry, seed: int) -> bool:
        path = work.kept / f"{entry.name}-{seed}.json"
        with suppress(VergenceError):
            return path.is_file() and read_json(path).get("made_by") == _made_by(work, entry, seed, tests_of(entry))
        return False

    return [entry for entry in entries if not all(kept(entry, seed) for seed in seeds_of(entry))]


def _row(work: Work, entry: Entry, seed: int, base: Recipe) -> tuple[Row, bool]:
    """One entry on one seed, loaded if cached, else trained (resuming) and evaluated; whether it is new."""
    made_by = _made_by(work, entry, seed, base)
    if entry.run:
        before = Measured.load(work.kept, entry.name, seed, made_by)
        return Row(before or _measure_run(work, entry, base.at_seed(seed), seed, made_by)), not before
    recipe = entry.recipe.at_seed(seed)

    def progress(what: str, done: int, total: int | None) -> None:
        work.progress(f"{entry.name}, seed {seed}: {what}", done, total)

    # Refuses another recipe's folder.
    run = Run(recipe, work.run_folder(entry, seed), work.device, progress, work.shared)
    before = Measured.load(work.kept, entry.name, seed, made_by)
    if before:
        return Row(before), False
    log.info("%s, seed %d", entry.name, seed)
    run.execute()
    found = of_run(run, work.structure(entry, seed), progress=progress)
    about: dict[str, Any] = {"results": found.results, "seconds": run.seconds, "cpu_seconds": run.cpu_seconds}
    about |= labels_3d(recipe, work.shared)
    made_by = _made_by(work, entry, seed, base)  # of weights that are there by now
    return Row(_measured(entry, seed, about, found.tests, made_by), found, run.folder), True


def _measure_run(work: Work, entry: Entry, base: Recipe, seed: int, made_by: str) -> Measured:
    """A finished run on the comparison's tests; nothing is written into its folder."""
    assert entry.run is not None
    estimator = load(entry.run, resolve_device(work.device))
    entry.recipe.test = base.test
    results, tested = measure_tests(
        entry.recipe, estimator.method, estimator.device, folder=work.structure(entry, seed), open_=work.shared.open,
        progress=lambda what, done, total: work.progress(f"{entry.name}, seed {seed}: {what}", done, total),
    )  # fmt: skip
    seconds = {key: estimator.config.get(key, {}) for key in ("seconds", "cpu_seconds")}
    about = {"results": results, **seconds, **labels_3d(entry.recipe, work.shared)}
    return _measured(entry, seed, about, tested, made_by)


def _made_by(work: Work, entry: Entry, seed: int, base: Recipe) -> str:
    """Of a run's weights and of what they are measured on; empty where it is not finished."""
    folder, recipe = (entry.run, base) if entry.run else (work.run_folder(entry, seed), entry.recipe)
    digest = hashlib.sha256()
    for name in ("model.safetensors", "refinement.safetensors"):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
        elif name == "model.safetensors":
            return ""
    return fingerprint(__version__, WORLD_VERSION, digest.hexdigest(), measured_like(recipe.at_seed(seed)))


def _measured(entry: Entry, seed: int, about: dict[str, Any], tested: Mapping[str, Tested], made_by: str) -> Measured:
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
    return Measured(entry.name, seed, plain({**about, "made_by": made_by}), images)
