"""Results as tables on the terminal, each with its protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vergence.evaluation.measure import protocol_words
from vergence.evaluation.scores import RETRIEVAL
from vergence.report.comparison import cell_text
from vergence.report.page import Table as PageTable
from vergence.report.run_page import RETRIEVAL_COLUMNS, ROWS, retrieval_rows


def show(results: Mapping[str, Any]) -> None:
    """An evaluation's tables."""
    table = Table("", "N-MPJPE mm", "P-MPJPE mm", title="Results")
    for name, found in results["tests"].items():
        for key, label in ROWS.items():
            if key in found:
                table.add_row(f"{name}: {label}", f"{found[key]['n_mpjpe']:.1f}", f"{found[key]['p_mpjpe']:.1f}")
    console = Console()
    console.print(table)
    for name, found in results.get("protocols", {}).items():
        show_protocol(name, found, console)
    if any("retrieval" in found for found in results["tests"].values()):
        retrieved = Table(*RETRIEVAL_COLUMNS, title="Cross-view retrieval")
        for row in retrieval_rows(results["tests"]):
            retrieved.add_row(str(row[0]), *(f"{value:.1f}" for value in row[1:]))
        console.print(retrieved)
        console.print(f"[dim]{RETRIEVAL}[/dim]")
    if results["protocol"]:
        how = next(iter(results["protocol"].values()))
        console.print(f"[dim]{how['alignment']}[/dim]")
        if unit := how.get("refinement_unit"):
            labels = "3D labels" if unit["uses_3d_labels"] else "pseudo-labels"
            console.print(f"[bold]With a refinement unit trained on {labels} of {', '.join(unit['sources'])}.[/bold]")


def show_protocol(name: str, found: Mapping[str, Any], console: Console) -> None:
    """A named protocol's table: a row for each action, subject or scene, and the average that papers print."""
    figures, protocol = list(found["average"]), found["protocol"]
    units = protocol["units"]
    table = Table("", *(f"{f} {units[f]}" for f in figures), "poses", title=f"{name}: protocol {protocol['name']}")
    for rows in found["tables"].values():
        for value, row in rows.items():
            table.add_row(value, *(f"{row[f]:.1f}" for f in figures), f"{row['poses']:.0f}")
        table.add_section()
    table.add_row("average", *(f"{found['average'][f]:.1f}" for f in figures), str(found["poses"]), style="bold")
    console.print(table)
    console.print(f"[dim]{protocol_words(found)}[/dim]")


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
        table = Table("", *headings, title=f"{name}: {scored['samples']} samples")
        for group, rows in scored.get("groups", {}).items():
            for value, row in rows.items():
                table.add_row(f"{group} {value}", *(f"{row[n]:.1f}" for n in columns))
            table.add_section()
        table.add_row("all", *(f"{scored['model'][n]:.1f}" for n in columns))
        console.print(table)
        words = f"{about['alignment']}; MPJPE, PCK (150 mm) and AUC root-aligned, at the file's own scale"
        console.print(f"[dim]{words}[/dim]")
    if missing := about["without_prediction"]:
        print(f"{missing} samples have no prediction and were left out")


def show_page_table(table: PageTable, console: Console, keep: Sequence[int] = ()) -> None:
    """A page's table, or those of its columns that fit on a terminal, with its protocol."""
    shown = Table(title=table.title, box=SIMPLE, padding=(0, 1, 0, 0))
    keep = keep or range(len(table.columns))
    for i in keep:
        shown.add_column(table.columns[i], justify="right" if i else "left", no_wrap=not i)
    for row in table.rows:
        shown.add_row(*(cell_text(row[i]) for i in keep))
    console.print(shown)
    console.print(f"[dim]{table.protocol}[/dim]", highlight=False)
