"""What `vergence reproduce` does: a table's rows are checked, carried out (`_rows`), and told beside what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vergence import __version__
from vergence.comparison.entries import Entry, Measured
from vergence.comparison.reproduction import check_figures, row_results
from vergence.comparison.runner import Work, each_seed, print_table
from vergence.errors import VergenceError
from vergence.files import write_json, write_text
from vergence.recipes.load import recipe_from
from vergence.recipes.paper_tables import Table, built_in_tables, read_table
from vergence.report.comparison import markdown
from vergence.report.published import published_page
from vergence.report.render import write_page
from vergence.skeleton import get_skeleton
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
    overrides: list[str]
    seeds: int

    @staticmethod
    def of(name: str, only: Sequence[str], overrides: list[str], seeds: int, data: Path) -> Plan:
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


def carry_out(plan: Plan, out: Path, device: str, quiet: bool, command: str) -> dict[str, Any]:
    """Trains and measures what is not done yet; writes `results.json`, `results.md` and `report.html` after every seed.

    Each table has its folder in `out`; what tables have in common, as a network that two of them measure, is made once.
    """
    common, out = out / "shared", out / plan.table.name
    work, console = Work(out, device, quiet, f"vergence reproduce {plan.table.name}", common), Console()
    _open_all(plan, work)
    results: dict[str, Any] = {}
    for measured in each_seed(work, plan.entries, lambda entry: range(plan.seeds), lambda entry: entry.recipe):
        results = _results(plan, measured, command)
        page = published_page(results, get_skeleton(plan.entries[0].recipe.skeleton))
        write_page(out / "report.html", page)
        write_text(out / "results.md", markdown(page))
        write_json(out / "results.json", results)
    for table in page.tables:
        print_table(table, console)
        console.print(table.note, highlight=False)
    console.print(f"{out / 'report.html'}")
    return results


def _open_all(plan: Plan, work: Work) -> None:
    """Opens every dataset of every row, so that one that cannot be read is known before days of training."""
    for entry in plan.entries:
        recipe = entry.recipe
        for name, source in (*recipe.sources.items(), *recipe.test.items()):
            try:
                work.shared.open(source, recipe.image_size, recipe.skeleton)
            except VergenceError as error:
                raise VergenceError(f"{entry.name}, {name} ({source.path}): {error.problem}", error.remedy) from error


def _results(plan: Plan, measured: Mapping[str, Sequence[Measured]], command: str) -> dict[str, Any]:
    """What `results.json` holds, of what has been measured so far."""
    return {
        "table": plan.table.name,
        "title": plan.table.title,
        "rows": {name: row_results(plan.table.rows[name], each, plan.overrides) for name, each in measured.items()},
        "seeds": sorted({one.seed for each in measured.values() for one in each}),
        "overrides": plan.overrides,
        "world_version": world_version(),
        "version": __version__,
        "command": command,
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
