"""Options over a recipe: `--any.key value` written into its plain values, before they are read once (`recipes.typed`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from vergence import plugins
from vergence.errors import VergenceError, refusing
from vergence.recipes.paper_tables import merged
from vergence.recipes.recipe import Recipe
from vergence.recipes.sources import Source
from vergence.recipes.typed import joined, kind_of, known_key, plain_kind

EVERY = ("stages", "sources", "test")  # mappings of which `all` names every entry in an option

Option = tuple[list[str], str]  # the key's parts, the value's text


def write_options(raw: dict[str, Any], options: Sequence[Option], renamed: dict[str, str]) -> None:
    """Writes options into a recipe's plain values, kinds of sources first; `renamed` gets old keys with the new ones."""
    for keys, text in sorted(_for_all(options, raw), key=lambda option: option[0][-1] != "kind"):
        _write(raw, keys, text, renamed)


def parse_options(words: Sequence[str]) -> list[Option]:
    """Each option's keys and the text of its value."""
    out, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        name, equals, text = word[2:].partition("=")
        if not word.startswith("--") or not name:
            raise VergenceError(f"{word!r} is no option of a recipe", "Write --any.key VALUE.")
        if not equals and (not rest or rest[0].startswith("--")):
            raise VergenceError(f"{word} has no value", f"Write {word} VALUE.")
        out.append((name.split("."), text if equals else rest.pop(0)))
    return out


def _for_all(options: Sequence[Option], raw: dict[str, Any]) -> list[Option]:
    """Options `--stages.all.train.steps 2` and `--sources.all.step 5` as one for each stage or source that has such a part;
    of sources, one that no kind at all has is left to be refused."""
    out = []
    for keys, text in options:
        entries = raw.get(keys[0]) or {}
        of_all = keys[0] in EVERY and keys[1:2] == ["all"] and len(keys) >= 3
        if not of_all or not isinstance(entries, dict) or "all" in entries:
            out.append((keys, text))
            continue
        parts = {
            name: (entry or {}) if keys[0] == "stages" else get_type_hints(kind_of(entry, Source, name))
            for name, entry in entries.items()
        }
        having = [name for name, part in parts.items() if keys[2] in part]
        if not having and keys[0] != "stages":
            kinds = [get_type_hints(plugins.datasets[kind]) for kind in plugins.datasets]
            having = [] if any(keys[2] in kind for kind in kinds) else list(entries)
        out += [([keys[0], name, *keys[2:]], text) for name in having]
    return out


def _write(raw: dict[str, Any], keys: list[str], text: str, renamed: dict[str, str]) -> None:
    """Writes one option into a recipe's plain values: a mapping that is settings is written over key by key, any other value
    replaced.

    Raises:
        VergenceError: the recipe has no such key, source or stage.
    """
    kind: Any = Recipe
    at: Any = raw
    where = ""
    for i, key in enumerate(keys):
        if get_origin(kind) is dict:
            kind = plain_kind(get_args(kind)[1])
            if dataclasses.is_dataclass(kind) and key not in at:
                every = ".".join([*keys[:i], "all", *keys[i + 1 :]])
                remedy = f"There are {', '.join(at) or 'none'}."
                remedy += f" --{every} is for all that have it." if at and keys[i + 1 :] else ""
                raise VergenceError(f"the recipe has no {joined(where, key)}", remedy)
        elif dataclasses.is_dataclass(kind):
            kind = kind_of(at, kind, where)
            key = _key_today(at, key, kind, where, renamed, text if i == len(keys) - 1 else None)
            if key == "kind" and issubclass(kind, Source):
                _change_kind(at, text, where, renamed)
            kind = plain_kind(get_type_hints(kind)[key])
        else:
            raise VergenceError(f"{where} is a single value, so --{'.'.join(keys)} does not exist")
        where = joined(where, key)
        if i == len(keys) - 1:
            value = parsed(text, kind)
            over = all(isinstance(one, dict) for one in (at.get(key), value)) and dataclasses.is_dataclass(kind)
            at[key] = merged(at[key], value) if over and not (kind is Source and "kind" in value) else value
        elif dataclasses.is_dataclass(kind) or get_origin(kind) is dict:
            at[key] = {} if at.get(key) is None else at[key]
            at = at[key]
            if not isinstance(at, dict):
                raise VergenceError(f"{key} of --{'.'.join(keys)} is {at!r}", "It must be a mapping.")


def _change_kind(source: dict[str, Any], kind: str, where: str, renamed: dict[str, str]) -> None:
    """Another kind takes away the keys of the one before, so that shards stand in for the dataset they were made of."""
    known = {field.name for field in dataclasses.fields(kind_of({"kind": kind}, Source, where, renamed))}
    for other in set(source) - known:
        del source[other]


def _key_today(at: dict[str, Any], key: str, kind: Any, where: str, renamed: dict[str, str], text: str | None) -> str:
    """The key as it is called today, under which the file's value of its old name is put as well."""
    key = known_key(key, kind, where, renamed, text)
    for old, new in getattr(kind, "RENAMED", {}).items():
        if new == key and old in at:
            at[known_key(old, kind, where, renamed)] = at.pop(old)
    return key


def parsed(text: str, kind: Any) -> Any:
    """An option's value: text where the key holds text, else YAML; a plain word for a list of texts is `A,B`."""
    if plain_kind(kind) is str:
        return text
    with refusing(f"{text!r} is not readable YAML", "", yaml.YAMLError):
        value = yaml.safe_load(text)
    if plain_kind(kind) == list[str] and isinstance(value, str):
        return [word.strip() for word in value.split(",")]
    return value
