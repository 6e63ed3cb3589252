"""Builds the documentation site in `build/site` from the pages of this repository; a broken link is an error.

    pip install -e ".[docs]" && python scripts/build_docs.py

The pages are gathered in `build/pages`: README.md as the first one, `docs/`, and the other pages that these link to. Three
things are made of the code: the page of a recipe's keys, of its dataclasses, and the API reference, of the docstrings of the
public names, grouped as `docs/api.md` is. So is the page of all options, of the verbs' parsers. The pages of keys and of
options are kept in the repository too, to be read there; `--keys` writes them.

Zensical and not MkDocs with Material: the latter ends in 2027, and its strict build passes a link to a heading that does
not exist. `mkdocs.yml` is in the form that both read.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import vergence
from vergence import plugins
from vergence.cli import functions
from vergence.commands.console import options
from vergence.recipes import recipe, settings, sources
from vergence.recipes.typed import expected, plain_kind

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = "https://github.com/vergence-pose/vergence/tree/main/"
PAGES = ROOT / "build" / "pages"
KEYS, OPTIONS = ROOT / "docs" / "recipe-keys.md", ROOT / "docs" / "options.md"
EQUATION = re.compile(r"\[`([\w.]+)`\]\(\.\./(src/[\w/]+\.py)\) \| `([^`]+)`")  # function, file, line
NAMES = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
    "findings/README.md": "findings.md",
}  # fmt: skip

# Parts of a recipe: the path of their keys, and the dataclass.
PARTS: dict[str, type] = {
    "": recipe.Recipe,
    "network": recipe.NetworkSettings,
    "stages.STAGE": recipe.Stage,
    "stages.STAGE.train": recipe.TrainStage,
    "stages.STAGE.train.draw.NAME": recipe.Draw,
    "stages.STAGE.train.metric": recipe.MetricLoss,
    "stages.STAGE.train.augmentation": settings.Augmentation,
    "stages.STAGE.train.multiview": settings.MultiView,
    "stages.STAGE.label": recipe.LabelStage,
    "stages.STAGE.refine": recipe.RefineStage,
    "stages.STAGE.calibrate": recipe.CalibrateStage,
}


def meanings(kind: type) -> dict[str, str]:
    """What each key of a dataclass means: the `Args:` of its docstring and of those that it derives from."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        _, _, args = inspect.cleandoc(vars(one).get("__doc__") or "").partition("\nArgs:\n")
        for entry in re.split(r"\n(?= {4}\S)", args.split("\n\n")[0]):
            name, _, text = entry.strip().partition(": ")
            found[name] = " ".join(text.split())
    return found


def default_of(field: dataclasses.Field) -> str:
    """A key's default as YAML has it, in a table's cell."""
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if dataclasses.is_dataclass(value):
        return "its own"
    words = {None: "none", "": "empty", True: "`true`", False: "`false`"}
    if value is None or isinstance(value, bool | str):
        return words.get(value, f"`{value}`")
    return f"`{value}`" if value or isinstance(value, int | float) else "empty"


def type_of(kind: type, name: str) -> str:
    """What a key holds, in words, with the limits of its numbers."""
    hint = plain_kind(get_type_hints(kind)[name])
    inner = plain_kind(get_args(hint)[1]) if get_origin(hint) is dict else None
    one = hint if inner is None else inner
    if one is sources.Source:
        text = "[a source](#sources)"
    elif place := next((place for place, part in PARTS.items() if part is one), ""):
        text = f"[settings](#{anchor(place)})"
    else:
        text = expected(one)
    low, high = getattr(kind, "LIMITS", {}).get(name, (-math.inf, math.inf))
    limit = "" if low == -math.inf else f", {low:g} or more" if high == math.inf else f", {low:g} to {high:g}"
    return f"by name, {text}{limit}" if inner is not None else text + limit


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def rows(kind: type) -> Iterator[str]:
    """The table of a dataclass: a line for each key."""
    known = meanings(kind)
    yield from ("| key | holds | default | meaning |", "|---|---|---|---|")
    for field in dataclasses.fields(kind):
        yield row((f"`{field.name}`", type_of(kind, field.name), default_of(field), known[field.name]))
    old = ", ".join(f"`{old}` (now `{new}`)" for old, new in getattr(kind, "RENAMED", {}).items())
    yield from ("", f"Old names are still read: {old}.", "") if old else ("",)


def about(kind: type) -> str:
    """A dataclass's docstring without its keys."""
    return inspect.cleandoc(kind.__doc__ or "").partition("\nArgs:\n")[0].strip()


def recipe_keys() -> str:
    """The page of all keys of a recipe."""
    lines = [
        "# Recipe keys", "",
        "<!-- Made by scripts/build_docs.py --keys of the docstrings in src/vergence/recipes: change those. -->", "",
        "A recipe is a YAML file ([training](training.md)). This page has every key. A heading is the place of its keys:",
        "`steps` under `stages.STAGE.train` is the option `--stages.pose.train.steps 2000` for the stage `pose`. STAGE,",
        "SOURCE and NAME are names of your choice. A key that is left out has its default.", "",
    ]  # fmt: skip
    for place, kind in PARTS.items():
        lines += [f"## {place or 'The recipe'}", "", about(kind), "", *rows(kind)]
        if kind is recipe.NetworkSettings:
            lines += source_keys()
    return "\n".join(lines).rstrip() + "\n"


def source_keys() -> list[str]:
    """The sections of the built-in kinds of sources."""
    lines = [
        "## Sources", "",
        "The keys of `sources.SOURCE` and `test.SOURCE` depend on the source's `kind`. A key that a kind does not have is",
        "refused.", "",
    ]  # fmt: skip
    for name in plugins.datasets:
        kind = sources.settings_of(name)
        if kind.__module__ == sources.__name__:
            lines += [f"### kind: {name}", "", about(kind), "", *rows(kind)]
    return lines


def row(cells: Iterable[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def spelled(action: argparse.Action) -> str:
    """An argument, or an option with what follows it, as the help has it."""
    if action.nargs == "?" and action.option_strings:  # a switch
        return str(action.metavar)
    return " ".join(filter(None, (*action.option_strings[:1], str(action.metavar or action.dest))))


def verb_options() -> str:
    """The page of all options of all verbs, as their parsers have them."""
    lines = [
        "# Options", "",
        "<!-- Made by scripts/build_docs.py --keys of the docstrings in src/vergence/commands: change those. -->", "",
        "Every option of every verb, as `vergence help VERB` shows them. [The command line](command-line.md) says how they are",
        f"written. Every verb takes `--help` and `--threads N`: {options.THREADS}.", "",
    ]  # fmt: skip
    for verb, function in functions().items():
        parser = options.parser_of(function, verb)
        about = [
            f"`{part}`" if part.startswith("Example: ") else part for part in (parser.description or "").split("\n\n")
        ]
        lines += [f"## {verb}", "", *(line for part in about for line in (" ".join(part.split()), ""))]
        for group in parser._action_groups:
            if actions := [a for a in group._group_actions if a.dest not in ("help", "threads")]:
                title = re.sub(r"\((--.+)\)$", r"(`\1`)", group.title or "")
                rows_ = [(f"`{spelled(action)}`", (action.help or "").replace("%%", "%")) for action in actions]
                lines += [f"| {title} | |", "|---|---|", *map(row, rows_), ""]
    return "\n".join(lines).rstrip() + "\n"


def reference() -> dict[str, str]:
    """Pages of the API reference by file name: the public names, in the groups of `docs/api.md`."""
    pages = {}
    for group in re.split(r"^## ", (ROOT / "docs" / "api.md").read_text("utf-8"), flags=re.MULTILINE)[1:]:
        title = group.partition("\n")[0]
        names = re.findall(r"^### `(\w+)`", group, re.MULTILINE)
        pages[f"reference/{anchor(title)}.md"] = f"# {title}\n\n" + "\n".join(map(directive, names))
    return pages


def directive(name: str) -> str:
    """A public name's entry in the reference."""
    return f"::: {vergence.PUBLIC[name] or 'vergence'}.{name}\n"


def moved_links(text: str, page: Path) -> str:
    """A page's links, as they lead from its place in the site; what the site does not have is in the repository."""
    home = page.relative_to(ROOT)

    def lead(match: re.Match[str]) -> str:
        target, mark, part = match[1].partition("#")
        there = (page.parent / target).resolve().relative_to(ROOT).as_posix() if target else home.as_posix()
        name = NAMES.get(there) or (there.removeprefix("docs/") if there.startswith("docs/") else "")
        return f"]({name or REPOSITORY + there}{mark}{part})"

    return re.sub(r"\]\((?!\w+:)([^)\s]+)\)", lead, text)


def line_of(name: str, path: str, code: str) -> int | None:
    """The line of `code` in a function of a file (`Class.method` or `function`); None where either is not there."""
    text = (ROOT / path).read_text("utf-8")
    node: Any = ast.parse(text)
    for part in name.split("."):
        node = next((one for one in getattr(node, "body", ()) if getattr(one, "name", "") == part), None)
    inside = [] if node is None else text.splitlines()[node.lineno - 1 : node.end_lineno]
    first, wanted = " ".join("\n".join(inside).split()).find(" ".join(code.split())), code.split()[0]
    if first < 0:
        return None
    return next(node.lineno + i for i, line in enumerate(inside) if wanted in line and starts_at(inside[i:], code))


def starts_at(lines: list[str], code: str) -> bool:
    """Whether `code` begins on the first of the lines, however it is broken."""
    whole, rest = (" ".join("\n".join(part).split()) for part in (lines, lines[1:]))
    wanted = " ".join(code.split())
    return whole.count(wanted) > rest.count(wanted)


def with_lines(text: str) -> str:
    """The page of equations with the number of each line, in its function's link."""

    def numbered(match: re.Match[str]) -> str:
        line = line_of(*match.groups())
        return match[0].replace(f"({'../' + match[2]})", f"(../{match[2]}#L{line}), line {line}")

    return EQUATION.sub(numbered, text)


def gather() -> None:
    """Writes the pages of the site to `build/pages`."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("scripts", "*.ipynb"))
    for page in [*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in NAMES)]:
        name = NAMES.get(page.relative_to(ROOT).as_posix(), page.name)
        text = page.read_text("utf-8")
        (PAGES / name).write_text(moved_links(with_lines(text), page), "utf-8")
    (PAGES / "reference").mkdir()
    for name, text in {KEYS.name: recipe_keys(), OPTIONS.name: verb_options(), **reference()}.items():
        (PAGES / name).write_text(text, "utf-8")


def main(words: list[str]) -> int:
    if "--keys" in words:
        KEYS.write_text(recipe_keys(), "utf-8")
        OPTIONS.write_text(verb_options(), "utf-8")
        return 0
    gather()
    command: list[Any] = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
