"""Results as tables on the terminal, each with its protocol."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vergence.evaluation.evaluate import Evaluation
from vergence.evaluation.measure import protocol_words
from vergence.evaluation.scores import RETRIEVAL
from vergence.report.comparison import cell_text
from vergence.report.page import Table as PageTable
from vergence.report.run_page import RETRIEVAL_COLUMNS, ROWS, label_tables, retrieval_rows

WORDS = 24  # characters: longer cells are words, which may be broken


def show(found: Evaluation, run: Path, page: Path) -> None:
    """An evaluation's tables, where its page is, and what can be done next."""
    results, console = found.results, Console()
    if results["tests"]:
        table = Table("", "N-MPJPE mm", "P-MPJPE mm", title="Results")
        for name, test in results["tests"].items():
            for key, label in ROWS.items():
                if key in test:
                    table.add_row(escape(f"{name}: {label}"), *(f"{test[key][m]:.1f}" for m in ("n_mpjpe", "p_mpjpe")))
        console.print(table)
    else:
        for made in label_tables(results["labels"]):
            show_page_table(made, console)
    for name, protocol in results.get("protocols", {}).items():
        show_protocol(name, protocol, console)
    if rows := retrieval_rows(results["tests"]):
        keep = [0, 1, 3, 5, 8]  # of ten columns those that a narrow terminal has room for
        show_page_table(PageTable("Cross-view retrieval", RETRIEVAL_COLUMNS, rows, RETRIEVAL), console, keep)
    if results["protocol"]:
        how = next(iter(results["protocol"].values()))
        console.print(f"[dim]{how['alignment']}[/dim]")
        if unit := how.get("refinement_unit"):
            labels = "3D labels" if unit["uses_3d_labels"] else "pseudo-labels"
            console.print(
                f"[bold]With a refinement unit trained on {labels} of {escape(', '.join(unit['sources']))}.[/bold]"
            )
    plugins = [str(file) for file in found.recipe.plugins] if found.recipe else []
    own = f" --plugins {shlex.quote(','.join(plugins))}" if plugins else ""
    opened = shlex.quote(str(run))
    more = [f"next: vergence predict {opened} VIDEO{own}"]
    if not results["tests"]:
        console.print("The recipe has no test sets: nothing was measured.", highlight=False)
        more.insert(0, f"next: vergence evaluate {opened} --footage CAPTURE{own}, which needs no ground truth")
    for line in [*more, str(page)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def show_protocol(name: str, found: Mapping[str, Any], console: Console) -> None:
    """A named protocol's table: a row for each action, subject or scene, and the average that papers print."""
    figures, protocol = list(found["average"]), found["protocol"]
    units = protocol["units"]
    table = Table(
        "", *(f"{f} {units[f]}" for f in figures), "poses", title=escape(f"{name}: protocol {protocol['name']}")
    )
    for rows in found["tables"].values():
        for value, row in rows.items():
            table.add_row(escape(value), *(f"{row[f]:.1f}" for f in figures), f"{row['poses']:.0f}")
        table.add_section()
    table.add_row("average", *(f"{found['average'][f]:.1f}" for f in figures), str(found["poses"]), style="bold")
    console.print(table)
    console.print(f"[dim]{escape(protocol_words(found))}[/dim]")


def show_predictions(name: str, results: Mapping[str, Any]) -> None:
    """The table of somebody's predictions."""
    console = Console()
    if "protocols" in results:
        about = results["protocols"]["predictions"]
        show_protocol(name, about, console)
    else:
        scored, about = results["tests"]["predictions"], results["protocol"]["predictions"]
        columns = [n for n in ("mpjpe", "n_mpjpe", "p_mpjpe", "pck", "auc") if n in scored["model"]]
        headings = (f"{n.replace('_', '-').upper()} {'%' if n in ('pck', 'auc') else 'mm'}" for n in columns)
        table = Table("", *headings, title=escape(f"{name}: {scored['samples']} samples"))
        for group, rows in scored.get("groups", {}).items():
            for value, row in rows.items():
                table.add_row(escape(f"{group} {value}"), *(f"{row[n]:.1f}" for n in columns))
            table.add_section()
        table.add_row("all", *(f"{scored['model'][n]:.1f}" for n in columns))
        console.print(table)
        words = f"{about['alignment']}; MPJPE, PCK (150 mm) and AUC root-aligned, at the file's own scale"
        console.print(f"[dim]{words}[/dim]")
    if missing := about["without_prediction"]:
        print(f"{missing} samples have no prediction and were left out")


def show_page_table(table: PageTable, console: Console, keep: Sequence[int] = ()) -> None:
    """A page's table, or those of its columns that fit on a terminal, with its protocol."""
    shown = Table(title=escape(table.title), box=SIMPLE, padding=(0, 1, 0, 0))
    keep = keep or range(len(table.columns))
    for i in keep:
        heading, cells = table.columns[i], [cell_text(row[i]) for row in table.rows]
        width = max(map(len, [*heading.split(), *cells]), default=0)
        heading = "\n".join(textwrap.wrap(heading, max(width, 1)))
        # Where room is short names are folded, and no figure is cut.
        shown.add_column(
            escape(heading), justify="right" if i else "left", overflow="fold", no_wrap=i > 0 and width <= WORDS
        )
    for row in table.rows:
        shown.add_row(*(escape(cell_text(row[i])) for i in keep))
    console.print(shown)
    console.print(f"[dim]{escape(table.protocol)}[/dim]", highlight=False)
