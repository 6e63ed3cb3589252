"""What `vergence compare` and `vergence reproduce` do with each row as soon as it is measured: a line, a run's page, theirs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import rich
from rich.markup import escape

from vergence.commands.console.export import markdown, write_figures, write_tables
from vergence.comparison.results import Measured, total_seconds
from vergence.comparison.runner import SoFar
from vergence.files import write_text
from vergence.progress import about
from vergence.report.page import Page
from vergence.report.render import write_page
from vergence.report.run_page import write_run_page

T = TypeVar("T", bound=SoFar)
SHOWN = (("n_mpjpe", "N-MPJPE"), ("p_mpjpe", "P-MPJPE"))


def following(verb: str, page: Callable[[T], None]) -> Callable[[T], None]:
    """Called after each row: prints its line; of a new one writes the run's page and that of all so far."""
    began, new = time.monotonic(), 0

    def after(so_far: T) -> None:
        nonlocal new
        row = so_far.row
        new += row.evaluation is not None
        rich.get_console().print(line(row.measured) + (to_go(row.left, time.monotonic() - began, new) if new else ""))
        if row.evaluation is not None and row.folder is not None:
            command = f"{verb}: {row.measured.name}, seed {row.measured.seed}"
            row.evaluation.save(row.folder / "results.json", command=command)
            write_run_page(row.evaluation, row.folder / "report.html", command)
            page(so_far)

    return after


def save(so_far: SoFar, page: Page, out: Path, command: str) -> None:
    """`report.html`; of whole seeds also `results.md`, `results.json` the tables as CSV and LaTeX, and the charts as SVG."""
    write_page(out / "report.html", page)
    if so_far.row.ends_seed:
        write_text(out / "results.md", markdown(page))
        write_tables(page, out)
        write_figures(page, out)
        so_far.save(out / "results.json", command=command)


def ended(found: T, page: Callable[[T], None]) -> int:
    """Writes the page of all rows where the last one did not, tells which failed, and gives the exit status."""
    if found.failed or found.row.evaluation is None:
        page(found)
    for one in found.failed:
        rich.get_console().print(f"[bold red]failed:[/] {escape(str(one))}", highlight=False, soft_wrap=True)
    if found.failed:
        rich.get_console().print("The same command tries again what failed.", highlight=False)
    return int(bool(found.failed))


def to_go(left: int, seconds: float, new: int) -> str:
    """How many rows there are still, and how long they take by the pace of the new ones."""
    return f"; {left} more row{'s' * (left > 1)}, {about(seconds / new * left)}" if left else ""


def line(one: Measured) -> str:
    """A row's first figures."""
    look, found = next(iter(one.tests.items()))
    errors = found["model"]
    return (
        f"[bold]{escape(one.name)}[/bold], seed {one.seed}: {escape(look)} "
        + ", ".join(f"{errors[key]:.1f} mm {word}" for key, word in SHOWN if errors.get(key) is not None)
        + f"; {total_seconds(one.about['seconds']):.0f} s"
    )
