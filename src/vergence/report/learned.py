"""What a run is worth where nobody knows the truth: tables, the lines of `learn`, and all of `evaluate --footage`."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table as ScreenTable

from vergence.evaluation.evaluate import Evaluation
from vergence.evaluation.footage import held_from
from vergence.evaluation.without_truth import AGAINST as HOW_AGAINST
from vergence.evaluation.without_truth import ITSELF as HOW_ITSELF
from vergence.evaluation.without_truth import PROTOCOL, Held
from vergence.learning.learn import Learned
from vergence.lifting.train import LIFTED
from vergence.report.page import Cell, Page, Table, Verdict
from vergence.report.render import write_page

AGAINST = ("", "N", "P", "N others", "P others", "score", "poses")
HIDDEN = ("N hidden", "P hidden")
ITSELF = ("", "views", "turned", "share", "limbs, %", "jitter", "diversity")


def held_tables(held: Held, title: str, about: str = "") -> list[Table]:
    """Against the reconstruction, against itself, and by camera."""
    rows: list[list[Cell]] = []
    for way, found in held.ways.items():
        cells: list[Cell] = [way, *held.mean(way), *held.mean(way, others=True), found.score]
        cells.append(f"{sum(found.coverage) / len(found.coverage):.0%}")
        rows.append([*cells, *(held.mean(way, held.hidden, others=True) if held.hidden else ())])
    columns = [*AGAINST, *(HIDDEN if held.hidden else ())]
    own: list[list[Cell]] = [
        [way, f.views, f.views_rigid, f.views_share, 100 * f.limbs, f.jitter, f.diversity]
        for way, f in held.ways.items()
    ]
    own.append(["the reconstruction", None, None, None, 100 * held.limbs, held.jitter, 1.0])
    model = held.ways["model"]
    by_camera: list[list[Cell]] = [
        [name + (" (held out)" if name in held.hidden else ""), *cells]
        for name, *cells in zip(
            held.cameras, held.frames, model.n_mpjpe, model.p_mpjpe, model.n_mpjpe_others, model.p_mpjpe_others
        )
    ]
    fooled = "A constant pose has steady limbs and no jitter: compare both with the reconstruction's."
    return [
        Table(
            f"{title}: against the reconstruction, N- and P-MPJPE, mm",
            columns,
            rows,
            about + HOW_AGAINST,
            highlight=(0,),
        ),
        Table(f"{title}: against itself", ITSELF, own, about + HOW_ITSELF, fooled, highlight=(0,)),
        Table(f"{title}: the model by camera", ("camera", "frames", *AGAINST[1:5]), by_camera, about + HOW_AGAINST),
    ]


def measured_of(learned: Learned) -> list[tuple[str, Held]]:
    """The figures of every recording's held-out time, with their title."""
    found = [(one.name, one.figures) for one in learned.recordings]
    found += [(f"{one.name}, image model", one.image_figures) for one in learned.recordings]
    return [(f"{name}, held-out time", held) for name, held in found if held is not None]


def uses(learned: Learned) -> dict[str, str]:
    """The commands that use what was learned, by which student it is: `lifting`, `image`."""
    found = (
        {}
        if learned.model is None
        else {"lifting": f"vergence predict {shlex.quote(str(learned.folder / 'model'))} VIDEO"}
    )
    image = {"image": f"vergence predict {shlex.quote(str(learned.image_run))} VIDEO"}
    return found if learned.image_run is None else found | image


def show_footage(found: Evaluation, folder: Path) -> None:
    """Writes results.json and the page of a run measured on footage, and prints its tables."""
    about, held = found.results["footage"], held_from(found.results)
    found.save(folder / "results.json")
    learned = about["frames_learned_from"]
    seen = f"; {learned} of these frames were used in training, so this is not held-out time" if learned else ""
    tables = held_tables(held, Path(about["path"]).resolve().name, f"frames {about['frames']}{seen}. ")
    page = Page(
        title=f"Without truth: {about['run']}",
        subtitle=f"measured on {about['path']}, without ground truth",
        skeleton=LIFTED,
        facts={"run": about["run"], "footage": about["path"], "frames": about["frames"] + seen,
               "held-out cameras": ", ".join(held.hidden) or "none"},
        tables=tables,
        verdict=Verdict(about["verdict"], list(about["reasons"])),
    )  # fmt: skip
    write_page(folder / "report.html", page)
    console = Console()
    for table in (_narrow(tables[0]), tables[1]):
        console.print(_on_screen(table))
    console.print(f"[dim]{PROTOCOL}[/dim]", highlight=False)
    if seen:
        console.print(f"[bold]{seen[2:]}[/bold]", highlight=False)
    if about["reasons"]:
        console.print(f"the reconstruction is {about['verdict']}: {escape(' '.join(about['reasons']))}", soft_wrap=True)
    print(folder / "report.html")


def print_learned(learned: Learned, console: Console) -> None:
    """The same on the screen, and the next step."""
    for one in learned.recordings:
        why = f": {escape(' '.join(one.reconstruction.reasons))}" if one.reconstruction.reasons else ""
        console.print(f"{escape(one.name)}: {one.reconstruction.verdict}{why}", highlight=False, soft_wrap=True)
    for title, held in measured_of(learned):
        console.print(_on_screen(_narrow(held_tables(held, title)[0])))
    if measured_of(learned):
        console.print(f"[dim]{HOW_AGAINST}[/dim]", highlight=False)
    for words in uses(learned).values():
        console.print(f"next: {words}", highlight=False, markup=False, soft_wrap=True)


def _narrow(table: Table) -> Table:
    """The first of `held_tables` as a terminal has room for it: N and P in one cell, no share of frames."""

    def both(row: Sequence[Cell], at: int) -> str:
        return f"{_number(row[at])} / {_number(row[at + 1])}"

    places = [1, 3, *([7] if len(table.columns) > len(AGAINST) else [])]
    columns = ["", *("N / P" + table.columns[at][1:] for at in places), "score"]
    rows = [[row[0], *(both(row, at) for at in places), row[5]] for row in table.rows]
    return Table(table.title, columns, rows, table.protocol)


def _on_screen(table: Table) -> ScreenTable:
    shown = ScreenTable(title=escape(table.title), box=SIMPLE, padding=(0, 1, 0, 0))
    for i, name in enumerate(table.columns):
        shown.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(escape(cell) if isinstance(cell, str) else _number(cell) for cell in row))
    return shown


def _number(value: Cell) -> str:
    if not isinstance(value, float | int) or not math.isfinite(value):
        return "-"
    return f"{value:z.3f}" if abs(value) < 2 else f"{value:.1f}"
