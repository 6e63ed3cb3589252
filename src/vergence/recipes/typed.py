"""Plain values as settings: one walk that renames old keys, refuses strange ones and makes the typed objects.

The types are the dataclasses' own. A value is taken as YAML and the command line mean it (`1` for a float, `"1e-3"` for a
number, `true` as a word); anything else is refused with its path. A key whose value is empty (`~`) is left at its default.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from vergence import plugins
from vergence.errors import VergenceError, refusing
from vergence.recipes.sources import Source, settings_of

RENAMED_KINDS = {"world_pictures": "world_images"}
_BOOLS = {"true": True, "yes": True, "false": False, "no": False}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def make_source(kind: str = "world_images", **settings: Any) -> Source:
    """A source of that kind, as a recipe's line makes it."""
    found = typed({"kind": kind, **settings}, Source, "")
    assert isinstance(found, Source)
    return found


def typed(value: Any, kind: Any, path: str, renamed: dict[str, str] | None = None) -> Any:
    """A plain value as `kind`: a dataclass, mapping, list, choice or number.

    Args:
        value: as YAML has it; it is not changed.
        kind: a type, as dataclasses write it.
        path: of the value in its file, for errors.
        renamed: gets every old key that was read, with the new one.

    Raises:
        VergenceError: a strange key or a value of another type; names its path.
    """
    kind, origin = plain_kind(kind), typing.get_origin(plain_kind(kind))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _settings(value, kind, path, {} if renamed is None else renamed)
    if origin is dict:
        inner = typing.get_args(kind)[1]
        return {key: typed(item, inner, joined(path, key), renamed) for key, item in _mapping(value, path).items()}
    if origin is list:
        if not isinstance(value, list | tuple):
            raise VergenceError(f"{path} is {value!r}", "It must be a list: [A, B].")
        return [typed(item, typing.get_args(kind)[0], f"{path}[{i}]", renamed) for i, item in enumerate(value)]
    if origin is Literal:
        if value not in typing.get_args(kind):
            choices = ", ".join(map(str, typing.get_args(kind)))
            raise VergenceError(f"{path} is {value!r}", f"It must be one of {choices}.")
        return value
    if origin in (typing.Union, types.UnionType):
        fitting = [one for one in typing.get_args(kind) if isinstance(one, type) and type(value) is one]
        return value if fitting else typed(value, typing.get_args(kind)[0], path, renamed)
    return _number(value, kind, path) if kind in _WORDS else value


def _settings(value: Any, kind: type, path: str, renamed: dict[str, str]) -> Any:
    """A dataclass of a mapping."""
    kind = kind_of(value, kind, path, renamed)
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {}
    for old, item in _mapping(value, path).items():
        key = known_key(old, kind, path, renamed, item)
        if key in found:
            raise VergenceError(f"{joined(path, key)} stands there under its old name as well", f"Keep {key}.")
        found[key] = item
    if issubclass(kind, Source) and found.get("kind"):
        found["kind"] = RENAMED_KINDS.get(found["kind"], found["kind"])
    values = {k: typed(v, hints[k], joined(path, k), renamed) for k, v in found.items() if v is not None}
    try:
        return kind(**values)
    except VergenceError as error:
        said = error.problem
        named = said.partition(" ")[0] in hints
        said = joined(path, said) if named else said if not path or path in said else f"{path}: {said}"
        raise type(error)(said, error.remedy) from error


def kind_of(value: Any, kind: Any, path: str, renamed: dict[str, str] | None = None) -> Any:
    """The dataclass that reads a mapping: of a source, the one that its `kind` names."""
    if kind is not Source:
        return kind
    name = _mapping(value, path).get("kind") or "world_images"
    if name in RENAMED_KINDS and renamed is not None:
        renamed[name] = RENAMED_KINDS[name]
    with refusing(joined(path, "kind"), "", VergenceError):
        return settings_of(RENAMED_KINDS.get(str(name), str(name)))


def known_key(key: Any, kind: Any, path: str, renamed: dict[str, str] | None = None, value: Any = None) -> str:
    """The key as it is called today; `value`, where there is one, is for the error.

    Raises:
        VergenceError: the dataclass has no such key; names the nearest and what it holds, or all.
    """
    keys = [field.name for field in dataclasses.fields(kind)]
    for spelled in (key, str(key).replace("-", "_")):  # options are written either way
        if spelled in keys:
            return str(spelled)
        if new := getattr(kind, "RENAMED", {}).get(spelled):
            if renamed is not None:
                renamed[str(key)] = new
            return str(new)
    who = f"a source of kind {kind.kind or plugins.datasets.name_of(kind)}" if issubclass(kind, Source) else "a recipe"
    given = "" if value is None or isinstance(value, Mapping) else f" The value given is {value!r}."
    near = difflib.get_close_matches(str(key), keys, n=1) or [name for name in keys if str(key).lower() in name]
    remedy = f"Keys there: {', '.join(keys)}."
    if near:
        remedy = f"Did you mean {joined(path, near[0])}? It holds {expected(typing.get_type_hints(kind)[near[0]])}."
    raise VergenceError(f"{who} has no key {joined(path, key)}", remedy + given)


def expected(kind: Any) -> str:
    """What a value of a type is, in words."""
    kind, origin = plain_kind(kind), typing.get_origin(plain_kind(kind))
    inner = typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is list:
        return f"a list, each {expected(inner[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(expected(one) for one in inner)
    return _WORDS.get(kind, "a mapping")


def _mapping(value: Any, path: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise VergenceError(f"recipe key {path or 'top level'} is {value!r}", "It must be a mapping.")
    return value


def _number(value: Any, kind: Any, path: str) -> Any:
    """A number, truth value or text."""
    fits = type(value) is kind or (kind is float and type(value) is int)
    if isinstance(value, str) and not fits:
        try:
            return _BOOLS[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError):
            pass
    if not fits:
        raise VergenceError(f"{path} is {value!r}", f"It must be {_WORDS[kind]}.")
    return kind(value)


def plain_kind(kind: Any) -> Any:
    """`X` of `X | None`."""
    options = [k for k in typing.get_args(kind) if k is not type(None)]
    return options[0] if len(options) == 1 and type(None) in typing.get_args(kind) else kind


def joined(path: str, key: Any) -> str:
    """`a.b` of `a` and `b`."""
    return f"{path}.{key}" if path else str(key)
