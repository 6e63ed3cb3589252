"""A verb's command line out of its signature and its docstring: argparse reads, this says what.

The docstring is the help page: each of its sections is a group of options, its heading may hold an example. A name is
written with dashes everywhere; underscores are read as well. A switch takes no value; `true` and `false` behind it are
read for scripts of before. Nothing here knows of Python's types to the reader's face: a path, a number, a choice.
"""

from __future__ import annotations

import argparse
import inspect
import math
import re
import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from vergence.errors import VergenceError, meant
from vergence.lifting import SHIPPED_RUN
from vergence.recipes.typed import plain_kind

Verb = Callable[..., int | None]
Groups = list[tuple[str, dict[str, tuple[str, str]]]]  # heading, then name to metavar and text
TRUE, FALSE = ("true", "yes"), ("false", "no")
THREADS = "threads of the libraries (default: as many as cores are free)"
KINDS: dict[Any, tuple[str, str]] = {int: ("N", "a whole number"), float: ("X", "a number")}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        needed = re.sub(
            r"the following arguments are required: (.+)", lambda m: f"{m[1].lower()} is not given", message
        )
        raise VergenceError(needed.removeprefix("argument "), f"`{self.prog} --help` shows the options.")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Each option by the one spelling that is told; texts as wide as the terminal, at most 100 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=min(100, argparse.HelpFormatter(prog)._width))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return str(action.metavar) if action.nargs == "?" else f"{action.option_strings[0]} {action.metavar}"


def parse(function: Verb, verb: str, words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a verb's function from the words behind it.

    Raises:
        VergenceError: an option that there is not, or a value that is none; says it as it was typed.
    """
    parser, keys = parser_of(function, verb), getattr(function, "keys", ())
    own, overrides = plain_options(function, words), list[str]()
    if "overrides" in inspect.signature(function).parameters:
        own, overrides = split_overrides(own, keys or None, parameters(function))
    found, unknown = parser.parse_known_intermixed_args(own)
    if unknown:
        word = unknown[0].partition("=")[0]
        placed = {f"--{n.replace('_', '-')}": positional(n, function) for n in parameters(function)}
        what = f"there is no option {unknown[0]}" if word.startswith("-") else f"{unknown[0]!r} is one too many"
        near = (
            "It is given by its place, without a name."
            if placed.get(word)
            else meant(word, (n for n in placed if not placed[n]))
        )
        raise VergenceError(what, f"{near} `{parser.prog} --help` shows the options.".strip())
    given = {name: value for name, value in vars(found).items() if value is not None}
    hints = get_type_hints(function)
    values = {name: _value(name, value, hints[name], parser.prog, function) for name, value in given.items()}
    told = {"overrides": overrides, "command": shlex.join([*parser.prog.split(), *words])}
    otherwise = getattr(function, "otherwise", {})
    return {**otherwise, **values, **{name: value for name, value in told.items() if name in parameters(function)}}


def parser_of(
    function: Verb, verb: str, make: Callable[..., argparse.ArgumentParser] = _Parser
) -> argparse.ArgumentParser:
    """The parser of a verb, whose help is the function's docstring; `make` makes it, as a part of another or alone."""
    about, groups = sections(inspect.getdoc(function) or "")
    arguments, hints = inspect.signature(function).parameters, get_type_hints(function)
    names = [name for _, entries in groups for name in entries if positional(name, function)]
    given = [(name, word) for _, entries in groups for name, (word, _) in entries.items() if name not in names]
    must = [(name, word) for name, word in given if arguments[name].default is inspect.Parameter.empty]
    needed = [f"--{name.replace('_', '-')} {word or name.upper()}" for name, word in must]
    usage = " ".join(["%(prog)s", *(shown(name, hints[name], function) for name in names), *needed, "[options]"])
    parser = make(
        prog=f"vergence {verb}", usage=usage, description=about, allow_abbrev=False, formatter_class=_Formatter,
        add_help=False,
    )  # fmt: skip
    for title, entries in groups:
        group = parser.add_argument_group(title)
        for name, (metavar, text) in entries.items():
            _add(group, name, arguments[name].default, hints[name], metavar, text.replace("%", "%%"), function)
    more = parser.add_argument_group("every verb")
    more.add_argument("--threads", metavar="N", help=THREADS)  # `cli.settled` reads it, before this
    more.add_argument("-h", "--help", action="help", help="show this and stop")
    return parser


def _add(
    group: argparse._ArgumentGroup, name: str, default: Any, hint: Any, metavar: str, text: str, function: Verb
) -> None:
    kind, listed = plain_kind(hint), get_origin(plain_kind(hint)) is list
    unsaid = isinstance(default, bool) or default in (None, "", [], inspect.Parameter.empty)
    said = "" if unsaid else f"{default:g}" if isinstance(default, float) else str(default)
    text += f" (default: {said})" if said and "default" not in text else ""
    if positional(name, function):
        lacking = name in getattr(function, "placed", ())
        nargs = "*" if listed and lacking else "+" if listed else "?" if lacking else None
        word = shown(name, hint, function).strip("[]").removesuffix(" ...")
        action = group.add_argument(name, nargs=nargs, help=text, metavar=word, default=None)
        action.names_file = Path in (kind, *get_args(kind))  # type: ignore[attr-defined]
        return
    dashed = name.replace("_", "-")
    spelled = [f"--{dashed}", *([f"--{name}"] if dashed != name else [])]
    if kind is bool:
        told = (
            [f"--no-{dashed}"] if default is True else [f"--{dashed}", *([f"--no-{dashed}"] if default is None else [])]
        )
        more = [word for word in spelled if word not in told]
        group.add_argument(*told, *more, dest=name, nargs="?", help=text, metavar=", ".join(told))
        return
    metavar = metavar or ("|".join(map(str, get_args(kind))) if get_origin(kind) is Literal else "")
    metavar = metavar or KINDS.get(kind, (dashed.rpartition("-")[2].upper(), ""))[0]
    needed = default is inspect.Parameter.empty
    action = group.add_argument(*spelled, dest=name, help=text, metavar=metavar, required=needed)
    action.names_file = kind is Path  # type: ignore[attr-defined]


def sections(doc: str) -> tuple[str, Groups]:
    """What stands before a docstring's sections; of each its heading and its entries: name to metavar and text."""
    about, *parts = re.split(r"^(\S.*):\n(?= {4}\w+(?: \(.+?\))?: )", doc, flags=re.MULTILINE)
    groups = []
    for title, body in zip(parts[::2], parts[1::2]):
        lines = re.split(r"^ {4}(\w+)(?: \((.+?)\))?: ", body, flags=re.MULTILINE)[1:]
        entries = {n: (m or "", " ".join(t.split()).rstrip(".")) for n, m, t in zip(*(lines[i::3] for i in range(3)))}
        groups.append(("arguments" if title == "Args" else title, entries))
    paragraphs = [" ".join(part.split()) for part in about.strip().split("\n\n")]
    width = argparse.HelpFormatter("")._width
    fill = partial(textwrap.fill, width=min(100, width), break_on_hyphens=False, break_long_words=False)
    return "\n\n".join(part if part.startswith("Example: ") else fill(part) for part in paragraphs), groups


def parameters(function: Verb) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def check_there(function: Verb, values: Mapping[str, Any]) -> None:
    """Paths that are read must be there, which is told before any library is loaded; what stands for a path (the model that
    comes with the package, a camera's number) passes.

    Raises:
        VergenceError: names the first that is not, and what it should be.
    """
    hints = get_type_hints(function)
    for name, value in values.items():
        kind = plain_kind(hints[name])
        if name == "out" or value is None or Path not in (kind, *get_args(kind)):
            continue
        for path in value if isinstance(value, list) else [value]:
            if not (path.exists() or str(path) == SHIPPED_RUN or str(path).isdigit()):
                entries = sections(inspect.getdoc(function) or "")[1]
                text = next(entry[name][1] for _, entry in entries if name in entry)
                written = shown(name, hints[name], function).strip("[]").removesuffix(" ...")
                written = written if positional(name, function) else f"--{name.replace('_', '-')}"
                raise VergenceError(f"there is no {path}", f"{written} is: {text}.")


def positional(name: str, function: Verb) -> bool:
    """Whether a value is given by its place: what must be given, but for what the function calls so in `named`; and what it
    calls so in `placed`, which may be left out."""
    needed = inspect.signature(function).parameters[name].default is inspect.Parameter.empty
    return (needed and name not in getattr(function, "named", ())) or name in getattr(function, "placed", ())


def shown(name: str, hint: Any, function: Verb) -> str:
    """A positional argument as the usage tells it."""
    known = re.search(rf"^ {{4}}{name} \((.+?)\): ", inspect.getdoc(function) or "", re.MULTILINE)
    word = known[1] if known else name.replace("_", "-").upper()
    if get_origin(plain_kind(hint)) is list:
        return f"[{word} ...]" if name in getattr(function, "placed", ()) else f"{word} ..."
    return f"[{word}]" if name in getattr(function, "placed", ()) else word


def _value(name: str, text: Any, hint: Any, prog: str, function: Verb) -> Any:
    """An option's text as its kind."""
    kind = plain_kind(hint)
    if isinstance(text, list):
        return [_value(name, one, get_args(kind)[0], prog, function) for one in text]
    written = name if positional(name, function) else f"--{name.replace('_', '-')}"
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if text in choices:
            return text
        wanted = " or ".join(", ".join(map(str, choices)).rsplit(", ", 1))
    elif kind is bool:
        if text in (*TRUE, *FALSE):
            return text in TRUE
        wanted = "true or false"
    elif kind in KINDS:
        try:
            if math.isfinite(number := kind(text)):
                return number
        except (ValueError, OverflowError):
            pass
        wanted = KINDS[kind][1]
    elif Path in (kind, *get_args(kind)) and not text:  # as of a shell's variable that is not set
        wanted = "a path"
    else:
        return kind(text) if kind in (Path, str) else text
    raise VergenceError(f"{written} {text or 'is empty'}", f"Give {wanted}; `{prog} --help` shows the options.")


def plain_options(function: Verb, words: Sequence[str]) -> list[str]:
    """Options as the parser reads them: hyphens in a name are underscores, and a switch needs no `true`."""
    hints = get_type_hints(function)
    switches = {name for name in parameters(function) if plain_kind(hints[name]) is bool}
    out: list[str] = []
    for word, following in zip(words, [*words[1:], ""]):
        name, equals, value = word[2:].partition("=")
        known = name.replace("-", "_")
        known = getattr(function, "formerly", {}).get(known, known)
        if word.startswith("--") and known.removeprefix("no_") in parameters(function):
            alone = not equals and following.lower() not in (*TRUE, *FALSE)
            if known in switches and inspect.signature(function).parameters[known].default is None:
                alone &= following[:1] in ("", "-")
            if known in switches:
                word = f"--{known}{equals}{value.lower()}" + ("=true" if alone else "")
            elif known.removeprefix("no_") in switches:
                word = f"--{known.removeprefix('no_')}=false"
            else:
                word = f"--{known}{equals}{value}"
        out.append(word.lower() if out and out[-1][2:] in switches and word.lower() in (*TRUE, *FALSE) else word)
    return out


def with_plugins(overrides: Sequence[str], plugins: str) -> list[str]:
    """Options over a recipe, with the plug-in files of the option of that name."""
    return [*overrides, *([f"--plugins={plugins}"] if plugins else [])]


def split_overrides(
    words: Sequence[str], keys: Sequence[str] | None = None, own_names: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """The verb's own words, and the options that set a recipe's keys, each with its value.

    Args:
        words: behind the verb.
        keys: first parts of the keys that may be set so; None: whatever is none of `own_names`.
        own_names: the verb's options.
    """
    own: list[str] = []
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word[2:].partition("=")
        first = name.partition(".")[0].replace("-", "_")
        of_recipe = first in keys if keys is not None else name.replace("-", "_") not in (*own_names, "help")
        if word.startswith("--") and name and of_recipe:
            overrides.append(word if equals or not rest or rest[0].startswith("--") else f"{word}={rest.pop(0)}")
        else:
            own.append(word)
    return own, overrides
