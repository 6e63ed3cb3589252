"""The pages' HTML and SVG as templates: `assets/page.html` is the document, `assets/parts.html` a macro for each chart.

A template's line breaks and indents are for its readers only, and are taken away. All text is escaped.
"""

from __future__ import annotations

import html
import json
import re
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import BytecodeCache, Environment, FileSystemBytecodeCache, FunctionLoader
from markupsafe import Markup

from vergence.report.page import format_number

OPTION = re.compile(r"(?<!\S)(--[a-z][\w.-]*)")  # as it is typed


def asset(name: str) -> Markup:
    """A file beside the templates, as it is."""
    return Markup((files("vergence.report") / "assets" / name).read_text(encoding="utf-8"))


def _tick_label(value: float) -> str:
    if abs(value) >= 100_000:
        text = f"{value / 1000:,.0f}k"
    else:
        text = f"{value:,.10g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.0e}"
    return text.replace("-", "−")


def _across(count: int) -> int:
    """In how many columns so many pictures stand, at most four: those that leave the fewest places empty."""
    return count if count <= 4 else min((4, 3), key=lambda columns: -count % columns)


def _escaped(value: Any) -> Any:
    return value if hasattr(value, "__html__") else Markup(html.escape(str(value)))


def _breaking(text: str) -> Markup:
    """What a narrow column breaks behind `_`, `@` and `/`, and not in the middle of a word or of an option's name."""
    parts = [re.sub(r"[_@]+(?=.)|(?<=\w)/(?=\w)", r"\g<0><wbr>", html.escape(part)) for part in OPTION.split(text)]
    parts[1::2] = [f'<span class="whole">{part}</span>' for part in parts[1::2]]
    return Markup("".join(parts))


def _series(lines: list[dict[str, Any]]) -> str:
    """What the script reads of a curve."""
    return json.dumps([{k: line[k] for k in ("name", "points")} for line in lines], ensure_ascii=False)


@cache
def templates() -> Environment:
    """The environment of all templates."""
    loader = FunctionLoader(lambda name: re.sub(r"\n\s*", "", asset(name)))
    kept: BytecodeCache | None = None
    with suppress(
        RuntimeError, OSError
    ):  # compiling takes as long as drawing; without a folder of one's own it is done anew
        kept = FileSystemBytecodeCache()
    found = Environment(loader=loader, autoescape=True, finalize=_escaped, bytecode_cache=kept)
    found.filters.update(way=quote, number=format_number, tick=_tick_label, share="{:.2%}".format, series=_series)
    found.filters.update(breaking=_breaking, across=_across)
    return found


def draw(part: str, *values: Any) -> Markup:
    """One macro of `parts.html`."""
    macros: Any = templates().get_template("parts.html").module
    return getattr(macros, part)(*values)


def draw_file(name: str, **values: Any) -> str:
    """A template that is a whole file."""
    return templates().get_template(name).render(**values)
