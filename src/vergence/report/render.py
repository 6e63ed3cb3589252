"""From a `Page` to one HTML file that opens offline.

Text, tables and charts are plain HTML and SVG and need no script; the script adds what moves. Nothing is loaded:
styles, script, images and data stand in the file, and a content-security policy inside it forbids the browser to
fetch anything, so a page copied to a machine without a network, or mailed, shows the same, and cannot call home.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from vergence.files import write_text
from vergence.report.charts import curve_svg, format_number
from vergence.report.page import Cell, Curve, Page, RigScene, Section, Table, Verdict
from vergence.report.side_by_side import dots_svg, strip_html
from vergence.report.viewer import MAX_FRAMES, display_rotation, page_data

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@cache
def _asset(name: str) -> str:
    return (files("vergence.report") / "assets" / name).read_text(encoding="utf-8")


def _values(cells: Iterable[Cell]) -> list[float]:
    """The numbers among some cells."""
    return [float(c) for c in cells if isinstance(c, (int, float, np.number)) and np.isfinite(c)]


def _decimals(column: Sequence[Cell]) -> int | None:
    """Decimals that all of a column's numbers share; None where they differ too much in size, or are whole."""
    sizes = [abs(v) for v in _values(column) if v]
    if not sizes or max(sizes) > 50 * min(sizes) or all(isinstance(c, (int, np.integer)) for c in column):
        return None
    return 0 if max(sizes) >= 999.5 else 1 if max(sizes) >= 9.95 else 2 if max(sizes) >= 0.995 else None


def _cell_text(cell: Cell, decimals: int | None) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return escape(cell)
    text = format_number(cell) if decimals is None or not np.isfinite(cell) else f"{cell:,.{decimals}f}"
    return text.replace("-", "−")


def _reads_as_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or re.match(r"[-−+<>≤≥~]?\s*\d", cell) is not None


def _heat(cell: Cell, low: float, high: float) -> str:
    values = _values([cell])
    return f' style="--heat:{(values[0] - low) / (high - low) * 100:.0f}%"' if values and high > low else ""


def _table_html(table: Table) -> str:
    """A table with its caption, and its protocol below."""
    values = _values(cell for row in table.rows for cell in row[1:]) if table.heat else []
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    columns = list(zip(*table.rows)) or [()] * len(table.columns)
    decimals = [_decimals(column) for column in columns]
    if table.heat:
        decimals = [_decimals([cell for column in columns[1:] for cell in column])] * len(columns)
    kind = ["" if i == 0 or not all(map(_reads_as_number, c)) else ' class="num"' for i, c in enumerate(columns)]
    head = "".join(f'<th scope="col"{kind[i]}>{escape(c)}</th>' for i, c in enumerate(table.columns))
    body = []
    for i, row in enumerate(table.rows):
        cells = [f'<th scope="row">{_cell_text(row[0], None)}</th>']
        for j, cell in enumerate(row[1:], start=1):
            cells.append(f"<td{kind[j]}{_heat(cell, low, high)}>{_cell_text(cell, decimals[j])}</td>")
        body.append(f"<tr{' class=highlight' if i in table.highlight else ''}>{''.join(cells)}</tr>")
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<figure class="table{" heat" if table.heat else ""}"><div class="scroll"><table>'
        f"<caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f'<figcaption><span class="tag">protocol</span> {escape(table.protocol)}</figcaption>{note}</figure>'
    )


def _verdict_html(verdict: Verdict) -> str:
    word = verdict.word.lower()
    kind = word if word in ("good", "doubtful") else "refused"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
    return (
        f'<div class="verdict {kind}"><p class="word"><span class="dot" aria-hidden="true"></span>'
        f"{escape(verdict.word)}</p>{f'<ul>{reasons}</ul>' if reasons else ''}</div>"
    )


def _results(page: Page) -> str:
    parts = [_verdict_html(page.verdict)] if page.verdict else []
    parts += [_table_html(table) for table in page.tables]
    if page.dots:
        charts = (f'<figure class="curve"><h3>{escape(d.title)}</h3>{dots_svg(d)}</figure>' for d in page.dots)
        parts.append(f'<div class="curves">{"".join(charts)}</div>')
    return _section("results", "Results", "".join(parts)) if parts else ""


def _section(key: str, title: str, body: str, lead: str = "") -> str:
    intro = f'<p class="lead">{lead}</p>' if lead else ""
    return f'<section id="{key}"><h2>{escape(title)}</h2>{intro}{body}</section>'


def _samples(page: Page) -> str:
    if page.strips:
        lead = f'<span class="tag">protocol</span> {escape(page.samples_protocol)}'
        body = "".join(strip_html(strip, page.skeleton) for strip in page.strips)
        return _section("samples", "The same images, every method", body, lead)
    if not page.samples:
        return ""
    lead = "Turn the skeletons with the mouse; the arrow keys step through the samples."
    if page.samples_protocol:
        lead += f' <span class="tag">protocol</span> {escape(page.samples_protocol)}'
    return _section("samples", "Images and poses", _asset("samples.html"), lead)


def _camera_rows(rig: RigScene) -> list[list[Cell]]:
    """Name, position in display axes, focal length, field of view and image size of each camera."""
    turn, rows = display_rotation(rig.up), []
    for camera in rig.cameras:
        x, y, z = turn @ camera.centre
        width, height = camera.image_size or (0, 0)
        focal = float(camera.K[0, 0])
        view = float(np.degrees(2 * np.arctan(width / (2 * focal))))
        rows.append([camera.name, x, y, z, focal, f"{view:.0f}°", f"{width} × {height}"])
    decimals = 0 if max((abs(v) for row in rows for v in _values(row[1:4])), default=0.0) >= 100 else 2
    return [[row[0], *(f"{v:,.{decimals}f}".replace("-", "−") for v in _values(row[1:4])), *row[4:]] for row in rows]


def _rig(page: Page) -> str:
    rig = page.rig
    if rig is None:
        return ""
    unit = escape(rig.unit)
    frame = (
        "z is up, against gravity." if rig.up is not None else "Which way is up is unknown: the first camera is level."
    )
    frame = rig.up_note or frame
    cameras = Table(
        "Cameras",
        ["camera", f"x, {unit}", f"y, {unit}", f"z, {unit}", "focal length, px", "view across", "image, px"],
        _camera_rows(rig),
        f"positions of the optical centres in the scene's axes, {rig.unit}. {frame}",
        rig.note,
    )
    many = "" if len(rig.cameras) == 1 else "s"
    lead = f"{len(rig.cameras)} camera{many}, {len(rig.poses):,} frames at {rig.fps:g} per second."
    if len(rig.poses) > MAX_FRAMES:
        lead += f" This page holds one frame in {-(-len(rig.poses) // MAX_FRAMES)}."
    return _section("rig", "Cameras and motion", _asset("rig.html") + _table_html(cameras), escape(lead))


def _curve_html(curve: Curve) -> str:
    keys = "".join(
        f'<li><span class="swatch s{i % 8}" aria-hidden="true"></span>{escape(name)}</li>'
        for i, name in enumerate(curve.series)
    )
    return (
        f'<figure class="curve"><h3>{escape(curve.title)}</h3><ul class="keys">{keys}</ul>{curve_svg(curve)}</figure>'
    )


def _curves(page: Page) -> str:
    if not page.curves:
        return ""
    body = "".join(_curve_html(curve) for curve in page.curves)
    return _section("curves", page.curves_title, f'<div class="curves">{body}</div>')


def _details(page: Page) -> str:
    return _section("details", "In detail", "".join(map(_table_html, page.details))) if page.details else ""


def _run(page: Page) -> str:
    if not page.facts:
        return ""
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in page.facts.items())
    return _section("run", "What was run", f"<dl>{items}</dl>")


_SECTIONS: dict[Section, Callable[[Page], str]] = {
    "results": _results, "samples": _samples, "rig": _rig, "curves": _curves, "run": _run,
    "details": _details,
}  # fmt: skip


def _json_in_html(value: object) -> str:
    """JSON that no browser mistakes for the end of its script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def render_page(page: Page) -> str:
    """The page as one HTML document."""
    body = "".join(_SECTIONS[section](page) for section in page.sections)
    script = _asset("view3d.js") + _asset("page.js")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(page.title)} · Vergence</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<style>{_asset('page.css')}</style></head>\n"
        f'<body><main><header><p class="mark">{_asset("mark.svg")} Vergence</p>'
        f'<h1>{escape(page.title)}</h1><p class="subtitle">{escape(page.subtitle)}</p></header>\n{body}</main>\n'
        f'<script type="application/json" id="data">{_json_in_html(page_data(page))}</script>\n'
        f"<script>{script}</script></body></html>\n"
    )


def write_page(path: Path | str, page: Page) -> Path:
    """Writes the page, all of it or nothing.

    Raises:
        VergenceError: the folder cannot be made or written to.
    """
    write_text(path, render_page(page))
    return Path(path)
