"""A page's tables as Markdown, and for spreadsheets and papers as CSV and LaTeX; its charts as SVG."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from vergence.files import write_text
from vergence.report.charts import curve_file
from vergence.report.comparison import cell_text
from vergence.report.page import Cell, Page, Table

SEVERAL = re.compile(r"(-?[\d.,]+)(?: ± ([\d.]+)| \[(-?[\d.]+), (-?[\d.]+)\])")  # a mean with deviation, or with limits
SIGNS = str.maketrans({
    **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "°": r"$^\circ$",
})  # fmt: skip


def write_tables(page: Page, folder: Path) -> None:
    """`tables/NAME.csv` and `tables/NAME.tex` below a folder, for each table of a page that has rows."""
    for table in (*page.tables, *page.details):
        if table.rows:
            name = _file_name(table.title)
            write_text(folder / "tables" / f"{name}.csv", table_csv(table))
            write_text(folder / "tables" / f"{name}.tex", table_latex(table))


def write_figures(page: Page, folder: Path) -> None:
    """`figures/NAME.svg` below a folder, for each chart of lines that a page has."""
    for curve in page.curves:
        write_text(folder / "figures" / f"{_file_name(f'{page.curves_title} {curve.title}')}.svg", curve_file(curve))


def _file_name(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def markdown(page: Page) -> str:
    """The page's tables as Markdown."""
    return f"# {page.title}\n\n" + "\n".join(table_markdown(table) for table in (*page.tables, *page.details))


def table_markdown(table: Table) -> str:
    rows = [list(table.columns), ["---"] + ["---:"] * (len(table.columns) - 1)]
    rows += [[cell_text(cell).replace("|", "\\|") for cell in row] for row in table.rows]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    note = f"\n{table.note}\n" if table.note else ""
    return f"## {table.title}\n\n" + "\n".join(lines) + f"\n\n{table.protocol}\n{note}"


def table_csv(table: Table) -> str:
    """Plain numbers, missing is an empty field; a deviation or limits have columns of their own."""
    columns = [_spread([row[i] for row in table.rows]) for i in range(len(table.columns))]
    heads = [head or "name" for head in table.columns]
    names = [n for head, (parts, _) in zip(heads, columns) for n in (head, *(f"{head} {part}" for part in parts))]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(names)
    rows.writerows([cell for _, cells in columns for cell in cells[i]] for i in range(len(table.rows)))
    return text.getvalue()


def _spread(cells: Sequence[Cell]) -> tuple[tuple[str, ...], list[list[Cell]]]:
    """What a column's texts hold beside their first number, and its cells with that apart."""
    found = [SEVERAL.fullmatch(cell) if isinstance(cell, str) else None for cell in cells]
    parts: tuple[str, ...] = ("std",) if any(one and one[2] for one in found) else ()
    parts = ("low", "high") if any(one and one[3] for one in found) else parts
    out: list[list[Cell]] = []
    for cell, one in zip(cells, found):
        more: list[Cell] = [None] * len(parts) if one is None else [one[2]] if parts == ("std",) else [one[3], one[4]]
        first = cell if one is None else one[1]
        number = isinstance(first, str) and re.fullmatch(r"-?\d[\d,]*(\.\d+)?", first)
        first = None if first in ("–", "-") or first != first else first.replace(",", "") if number else first  # type: ignore[union-attr]
        out.append([first, *more[: len(parts)]])
    return parts, out


def table_latex(table: Table) -> str:
    """A `table` with booktabs' rules; how it was measured is the caption."""
    lines = [" & ".join(name.translate(SIGNS) for name in table.columns) + r" \\", r"\midrule"]
    lines += [" & ".join(cell_text(cell).translate(SIGNS) for cell in row) + r" \\" for row in table.rows]
    head = [r"\begin{table}", r"\centering", r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}", r"\toprule"]
    caption = f"\\caption{{{table.title.translate(SIGNS)}. {table.protocol.translate(SIGNS)}}}"
    end = [r"\bottomrule", r"\end{tabular}", caption, r"\end{table}"]
    return "\n".join(["% \\usepackage{booktabs}", *head, *lines, *end]) + "\n"
