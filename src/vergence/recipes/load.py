"""Recipes from YAML, with `--any.key value` over them; a key that does not exist is refused by name."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from vergence.errors import VergenceError
from vergence.files import read_yaml
from vergence.recipes.paper_tables import built_in_tables, is_row, is_table, read_row
from vergence.recipes.recipe import Recipe

EVERY = ("stages", "sources", "test")  # mappings of which `all` names every entry in an option


def built_in_recipes() -> dict[str, Path]:
    """Recipes that come with the package, by name."""
    folder = Path(str(resources.files("vergence"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def recipe_path(recipe: str) -> Path:
    """A recipe's file from its path or its built-in name."""
    path = Path(recipe)
    if path.is_file():
        return path
    known = built_in_recipes()
    if recipe in known:
        return known[recipe]
    if recipe in built_in_tables():
        raise VergenceError(
            f"{recipe} is a table of recipes", f"Give one of its rows, {recipe}/ROW; `vergence reproduce` lists them."
        )
    raise VergenceError(
        f"no recipe {recipe!r}",
        f"Give a YAML file, one of {', '.join(known)}, or a row of a table ({', '.join(built_in_tables())}) as TABLE/ROW.",
    )


def recipe_parser() -> jsonargparse.ArgumentParser:
    """Every key of a recipe as an option."""
    parser = jsonargparse.ArgumentParser(prog="vergence train RECIPE", exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Recipe)
    return parser


def load_recipe(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from its file or built-in name, or from a row of a table.

    Args:
        recipe: path, name or `TABLE/ROW`.
        overrides: `--any.key value` words.

    Raises:
        VergenceError: names the key that is wrong and the nearest right one.
    """
    return recipe_from(*raw_recipe(recipe), overrides)


def raw_recipe(recipe: str) -> tuple[Any, str]:
    """The plain values of what `load_recipe` loads, and what errors call it."""
    if is_row(recipe):
        return read_row(recipe).recipe, recipe
    path = recipe_path(recipe)
    return read_yaml(path), path.name


def recipe_from(raw: Any, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from the plain values of its file, whose `name` errors say; see `load_recipe`."""
    if isinstance(raw, dict):
        raw.pop("vergence", None)  # written by a run
    if is_table(raw):
        raise VergenceError(f"{name} is a table of recipes", f"Give one of its rows: {name}/ROW.")
    check_keys(raw, Recipe, "")
    overrides = _for_all(overrides, raw)
    for word in overrides:
        if word.startswith("--"):
            check_path(word[2:].partition("=")[0].split("."), Recipe, raw)
    overrides = _set_entries(list(overrides), raw)
    parser = recipe_parser()
    try:
        with_file = parser.parse_object(raw)
        namespace = parser.parse_args(list(overrides), namespace=with_file) if overrides else with_file
        settings = parser.instantiate(namespace)
    except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise VergenceError(f"{name}: {' '.join(lines)}", "`--print_config` shows every key and its value.") from error
    return Recipe(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(Recipe)})


def check_keys(value: Any, kind: Any, path: str) -> None:
    """Refuses keys that the dataclass `kind` does not have, at any depth."""
    kind = _plain(kind)
    if typing.get_origin(kind) is dict and isinstance(value, dict):
        for key, item in value.items():
            check_keys(item, typing.get_args(kind)[1], f"{path}{key}.")
    if not dataclasses.is_dataclass(kind) or value is None:
        return
    if not isinstance(value, dict):
        raise VergenceError(f"recipe key {path.rstrip('.') or 'top level'} is {value!r}", "It must be a mapping.")
    hints = typing.get_type_hints(kind)
    for key, item in value.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            raise VergenceError(
                f"a recipe has no key {path}{key}",
                f"Did you mean {path}{near[0]}?" if near else f"Keys there: {', '.join(hints)}.",
            )
        check_keys(item, hints[key], f"{path}{key}.")


def check_path(keys: list[str], kind: Any, value: Any) -> None:
    """Refuses an option `--a.b.c` whose keys a recipe does not have, or that names a source or stage that is not there."""
    for i, key in enumerate(keys):
        kind, where = _plain(kind), ".".join([*keys[:i], ""])
        if typing.get_origin(kind) is dict:
            inner = typing.get_args(kind)[1]
            if dataclasses.is_dataclass(_plain(inner)) and key not in (value or {}):
                raise VergenceError(f"the recipe has no {where}{key}", f"There are {', '.join(value or {}) or 'none'}.")
            kind = inner
        elif dataclasses.is_dataclass(kind):
            check_keys({key: None}, kind, where)
            kind = typing.get_type_hints(kind)[key]
        else:
            raise VergenceError(f"{where.rstrip('.')} is a single value, so --{'.'.join(keys)} does not exist")
        value = value.get(key) if isinstance(value, dict) else None


def _for_all(words: Sequence[str], raw: dict[str, Any]) -> list[str]:
    """Options `--stages.all.train.steps 2` and `--sources.all.step 5` as one for each stage or source that has such a part,
    each with its value in the same word."""
    out, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        group, _, tail = word[2:].partition(".all.")
        if not word.startswith("--") or not tail or group not in EVERY or "all" in (raw.get(group) or {}):
            out.append(word)
            continue
        word = word if "=" in word or not rest else f"{word}={rest.pop(0)}"
        _, _, tail = word.partition(".all.")
        part = tail.partition(".")[0]
        for name, entry in (raw.get(group) or {}).items():
            if group != "stages" or part in entry:
                out.append(f"--{group}.{name}.{tail}")
    return out


def _set_entries(words: list[str], raw: dict[str, Any]) -> list[str]:
    """Writes options that name an entry of a plain mapping (a loss's weight, a source's share) into `raw`; gives the rest.

    jsonargparse overrides fields, but not the entries of a mapping, nor fields in a mapping inside another.
    """
    rest = []
    while words:
        word = words.pop(0)
        name, equals, value = word[2:].partition("=")
        keys = name.split(".")
        if not (word.startswith("--") and _is_entry(keys)):
            rest.append(word)
            continue
        if not equals and not words:
            raise VergenceError(f"{word} has no value", f"Write {word} VALUE.")
        target = raw
        for key in keys[:-1]:
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise VergenceError(f"{key} of {word} is {target!r}", "It must be a mapping.")
        target[keys[-1]] = yaml.safe_load(value if equals else words.pop(0))
    return rest


def _is_entry(keys: list[str]) -> bool:
    """Whether the last key is an entry of a mapping to plain values, or lies in a mapping inside a mapping (a stage's
    `draw`)."""
    kind: Any = Recipe
    inside = 0
    for key in keys:
        kind = _plain(kind)
        if typing.get_origin(kind) is dict:
            kind, inside = typing.get_args(kind)[1], inside + 1
            if inside > 1:
                return True
            if not dataclasses.is_dataclass(_plain(kind)):
                return key == keys[-1]
        elif dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind)[key]
    return False


def _plain(kind: Any) -> Any:
    """`X` of `X | None`."""
    options = [k for k in typing.get_args(kind) if k is not type(None)]
    return options[0] if len(options) == 1 and type(None) in typing.get_args(kind) else kind
