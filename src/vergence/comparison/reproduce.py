"""`vergence.reproduce`: a paper's table trained again, ours beside what was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vergence import __version__
from vergence.comparison.compare import check_seeds
from vergence.comparison.entries import Entry
from vergence.comparison.reproduction import check_figures, row_results
from vergence.comparison.results import Measured
from vergence.comparison.runner import Row, Work, each_row, in_order
from vergence.errors import VergenceError
from vergence.files import write_json
from vergence.progress import Progress, silent
from vergence.recipes.load import recipe_from
from vergence.recipes.paper_tables import Table, built_in_tables, read_table
from vergence.training.sources import check_present, world_version


@dataclass(frozen=True)
class Plan:
    """What is to be reproduced.

    Attributes:
        table: whose rows.
        entries: the chosen rows' recipes, on the data that is there.
        overrides: settings that are not the rows' own.
        seeds: how many.
    """

    table: Table
    entries: list[Entry]
    overrides: Sequence[str]
    seeds: int

    @staticmethod
    def of(name: str, only: Sequence[str], overrides: Sequence[str], seeds: int, data: Path) -> Plan:
        """Raises VergenceError for what can be known before: wrong names and keys, datasets that are missing."""
        table = read_table(name)
        if missing := [row for row in only if row not in table.rows]:
            raise VergenceError(
                f"table {table.name} has no row {missing[0]!r}", f"Its rows are {', '.join(table.rows)}."
            )
        check_figures(table)
        rows = [row for row in table.rows.values() if not only or row.name in only]
        entries = [
            Entry(row.name, recipe_from(row.recipe, f"{table.name}/{row.name}", overrides).under(data)) for row in rows
        ]
        check_present(entry.recipe for entry in entries)
        return Plan(table, entries, overrides, seeds)


@dataclass(frozen=True)
class Reproduction:
    """What has been measured so far.

    Attributes:
        plan: what is reproduced.
        measured: by row, one for each seed.
        row: the last one.
        folder: of this table's runs and of what was measured.
    """

    plan: Plan
    measured: Mapping[str, Sequence[Measured]]
    row: Row
    folder: Path

    @cached_property
    def results(self) -> dict[str, Any]:
        """Plain values: `rows` (by protocol the figures, ours beside the published ones, and why they are not comparable)."""
        return results_of(self.plan, self.measured)

    def save(self, path: str | Path, **more: Any) -> None:
        """Writes the results as JSON, with `more` in it."""
        write_json(path, {**self.results, **more})


def reproduce(
    table: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path = "reproduced",
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seeds: int = 1,
    device: str = "auto",
    progress: Progress = silent,
    after: Callable[[Reproduction], None] | None = None,
) -> Reproduction:
    """Trains a table's rows and measures each by the protocols of its published figures. What rows, and tables, have in
    common is made once; stopped, the same call goes on where it was.

    Args:
        table: a built-in table's name, or a file.
        data: folder in which the datasets' folders lie.
        out: folder of all tables, each with a folder of its own.
        only: rows to keep.
        overrides: keys of every row's recipe, as on the command line.
        seeds: each row is trained with seeds 0 to `seeds - 1`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: told of each stage's steps.
        after: called with the reproduction so far after each row and seed, before that is kept.

    Raises:
        VergenceError: wrong names and keys, data that is not there or cannot be read.
    """
    check_seeds(seeds)
    table = str(table)
    read_table(table)
    if data is None:
        raise VergenceError(
            f"where the datasets of {table} lie is not said",
            "Give --data ROOT, the folder in which they lie, each in a folder of its kind's name (docs/datasets.md).",
        )
    plan = Plan.of(table, only, overrides, seeds, Path(data))
    out = Path(out)
    work = Work(out / plan.table.name, device, progress, common=out / "shared")
    _open_all(plan, work)
    measured: dict[str, list[Measured]] = {}
    reproduction = None
    for row in each_row(work, plan.entries, lambda entry: range(plan.seeds), lambda entry: entry.recipe):
        measured.setdefault(row.measured.name, []).append(row.measured)
        reproduction = Reproduction(plan, in_order(measured, plan.entries), row, work.out)
        if after:
            after(reproduction)
    assert reproduction is not None  # a table has rows
    return reproduction


def _open_all(plan: Plan, work: Work) -> None:
    """Opens every dataset of every row, so that one that cannot be read is known before days of training."""
    for entry in plan.entries:
        recipe = entry.recipe
        for name, source in (*recipe.sources.items(), *recipe.test.items()):
            try:
                work.shared.open(source, recipe.image_size, recipe.skeleton)
            except VergenceError as error:
                raise VergenceError(f"{entry.name}, {name} ({source.path}): {error.problem}", error.remedy) from error


def results_of(plan: Plan, measured: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """What `results.json` holds, of what has been measured so far."""
    return {
        "table": plan.table.name,
        "title": plan.table.title,
        "rows": {name: row_results(plan.table.rows[name], each, plan.overrides) for name, each in measured.items()},
        "seeds": sorted({one.seed for each in measured.values() for one in each}),
        "overrides": list(plan.overrides),
        "world_version": world_version(),
        "version": __version__,
    }


def overview() -> str:
    """The tables there are, their rows with the published figures, and the datasets that they need."""
    lines = ["usage: vergence reproduce TABLE --data ROOT [--only ROW,...] [--out DIR] [--seeds N] [--any.key value]"]
    for name in built_in_tables():
        table = read_table(name)
        lines += ["", f"{name}: {table.title}", f"  needs {', '.join(f'ROOT/{d}' for d in datasets(table))}"]
        for row in table.rows.values():
            told = [f"{p.protocol}: {_told(p.figures)}" for p in row.published]
            lines.append(f"  {row.name:<20} {'; '.join(told)}")
    return "\n".join(lines)


def _told(figures: Mapping[str, float | None]) -> str:
    known = [f"{name} {value:g}" for name, value in figures.items() if value is not None]
    return ", ".join(known) or "no published figure could be read"


def datasets(table: Table) -> list[str]:
    """The folders below the data root that a table's rows read."""
    parts = [{**row.recipe.get("sources", {}), **row.recipe["test"]} for row in table.rows.values()]
    return sorted({str(source["path"]) for part in parts for source in part.values() if source.get("path")})
