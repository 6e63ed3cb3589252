"""From a `Page` to one HTML file that opens offline.

Text, tables and charts are plain HTML and SVG and need no script; the script adds what moves. Nothing is loaded:
styles, script, images and data stand in the file, and a content-security policy inside it forbids the browser to
fetch anything, so a page copied to a machine without a network, or mailed, shows the same, and cannot call home. The policy
names the one script that may run by its digest: names of files, cameras and joints are anybody's text.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from vergence.files import write_text
from vergence.report.charts import curve_svg, dots_svg, strip_html
from vergence.report.page import Cell, Page, RigScene, Table, format_number
from vergence.report.templates import asset, draw, templates
from vergence.report.viewer import MAX_FRAMES, display_rotation, encode_image, page_data

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'"
SCRIPTS = ("view3d.js", "clock.js", "clip.js", "rig.js", "page.js")
LONG = 60  # characters of a protocol or note that are not said twice on a page
SENTENCES = re.compile(r"\.(?: |$)")
AS_OF, NOTES_AS_OF = ("as of", "figures as of"), ("Notes as of", "Notes as of")


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
    if cell is None or isinstance(cell, str):
        return "–" if cell is None else cell
    text = format_number(cell) if decimals is None or not np.isfinite(cell) else f"{cell:z,.{decimals}f}"
    return text.replace("-", "−")


def _reads_as_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or re.match(r"[-−+<>≤≥~]?\s*\d", cell) is not None


Said = dict[str, tuple[str, str]]  # the anchor and title of the table or section that says a text first


def _said_once(text: str, anchor: str, title: str, said: Said, words: tuple[str, str]) -> str:
    """A text; of first sentences that an earlier one has too only where that is, in the words for all and for a part of it."""
    own, before, most = SENTENCES.split(text), None, 0
    for earlier, place in said.items():
        both = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(SENTENCES.split(earlier), own))
        same = len(list(both))
        if same > most and sum(map(len, own[:same])) > LONG:
            before, most = place, same
    how = words[text not in said]
    said.setdefault(text, (anchor, title))
    return text if before is None else draw("said", how, before, ". ".join(own[most:]).strip())


def table_html(table: Table, anchor: str, said: Said) -> str:
    """A table with its caption, and its protocol below; what an earlier one says at length is not said again."""
    columns = list(zip(*table.rows)) or [()] * len(table.columns)
    decimals = [_decimals(column) for column in columns]
    values: list[float] = []
    if table.heat:
        shaded = [cell for column in columns[1:] for cell in column]
        values, decimals = _values(shaded), [_decimals(shaded)] * len(columns)
    low, high = (min(values), max(values)) if values else (0.0, 0.0)

    def heat(cell: Cell) -> str | None:
        known = _values([cell]) if high > low else []
        return f"{(known[0] - low) / (high - low) * 100:.0f}" if known else None

    numeric = [i > 0 and all(map(_reads_as_number, column)) for i, column in enumerate(columns)]
    cells = [
        [(_cell_text(c, d if i else None), heat(c)) for i, (c, d) in enumerate(zip(row, decimals))]
        for row in table.rows
    ]
    protocol = _said_once(table.protocol, anchor, table.title, said, AS_OF)
    note = _said_once(table.note, anchor, table.title, said, NOTES_AS_OF)
    return draw("table", table, cells, numeric, anchor, protocol, note)


def _cameras(rig: RigScene) -> Table:
    """Name, position in display axes, focal length, field of view and image size of each camera."""
    turn = display_rotation(rig.up)
    places = np.array([turn @ camera.centre for camera in rig.cameras]).reshape(-1, 3)
    decimals = 0 if np.abs(places).max(initial=0.0) >= 100 else 2
    rows: list[list[Cell]] = []
    for camera, place in zip(rig.cameras, places):
        width, height = camera.image_size or (0, 0)
        focal = float(camera.K[0, 0])
        view = float(np.degrees(2 * np.arctan(width / (2 * focal))))
        shown = (f"{value:z,.{decimals}f}".replace("-", "−") for value in place)
        rows.append([camera.name, *shown, focal, f"{view:.0f}°", f"{width} × {height}"])
    frame = (
        "z is up, against gravity." if rig.up is not None else "Which way is up is unknown: the first camera is level."
    )
    columns = ["camera", *(f"{axis}, {rig.unit}" for axis in "xyz"), "focal length, px", "view across", "image, px"]
    protocol = f"positions of the optical centres in the scene's axes, {rig.unit}. {rig.up_note or frame}"
    return Table("Cameras", columns, rows, protocol)


def _rig_lead(rig: RigScene) -> str:
    many = "" if len(rig.cameras) == 1 else "s"
    lead = f"{len(rig.cameras)} camera{many}, {len(rig.poses):,} frames at {rig.fps:g} per second."
    if len(rig.poses) > MAX_FRAMES:
        lead += f" This page holds one frame in {-(-len(rig.poses) // MAX_FRAMES)}."
    return f"{lead} {rig.note}".strip()


def _json_in_html(value: object) -> Markup:
    """JSON that no browser mistakes for the end of its script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def render_page(page: Page) -> str:
    """The page as one HTML document."""
    rig = {"cameras": _cameras(page.rig), "rig_lead": _rig_lead(page.rig)} if page.rig else {}
    numbers, said = itertools.count(1), Said()
    parts: dict[str, Any] = {"asset": asset, "curve": curve_svg, "dots": dots_svg, "strip": strip_html}
    parts |= {
        "table": lambda one: table_html(one, f"table-{next(numbers)}", said),
        "protocol": lambda text, title: _said_once(text, "samples", title, said, AS_OF),
        "encoded": lambda image: encode_image(image)[0],
    }
    script = Markup("").join(asset(name) for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts |= {"script": script, "policy": Markup(POLICY.format(digest)), "data": _json_in_html(page_data(page))}
    text: str = templates().get_template("page.html").render(page=page, **parts, **rig)
    return re.sub("[\ud800-\udfff]", "\ufffd", text)  # names of files may hold bytes that are no text


def write_page(path: Path | str, page: Page) -> Path:
    """Writes the page, all of it or nothing.

    Raises:
        VergenceError: the folder cannot be made or written to.
    """
    write_text(path, render_page(page))
    return Path(path)
