"""Recipes from YAML, with `--any.key value` over them: options are written into the plain values, which are read once.

A recipe may name plug-in files, which are imported before anything else of it is read: its method and its kinds may be
theirs. The recipe in a run's folder is another matter: whoever opens a run that somebody sent must not run that person's
code, so its plug-ins are imported only where the user names them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any

from vergence import plugins
from vergence.errors import VergenceError
from vergence.files import read_yaml, warn_renamed
from vergence.recipes.options import parse_options, parsed, write_options
from vergence.recipes.paper_tables import built_in_tables, is_row, is_table, read_row
from vergence.recipes.recipe import Recipe
from vergence.recipes.sources import Source
from vergence.recipes.typed import kind_of, typed

# Of every source in a run's recipe before each kind had its own keys; they did nothing there.
IDLE = (
    "path split step cameras universal faulty protocol scale parallax frames reconstruction look seed count subjects "
    "frames_per_subject views occlusion truncation"
).split()


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


def compared_path(word: str) -> Path:
    """The file of a recipe or of a set of them; nothing, or `compare`, is the built-in set."""
    built_in = Path(str(resources.files("vergence"))) / "recipes" / "sets" / "compare.yaml"
    return built_in if word in ("", built_in.stem) else recipe_path(word)


FORMS = (
    "Give a recipe's line, as '{kind: capture, path: FOLDER}' (`vergence data check FOLDER` prints it), a recipe and the "
    "name of its source, as demo:studio, or the folder of a capture or of shards."
)


def check_source(words: str) -> None:
    """A source that is a folder must be there; a recipe's line and RECIPE:NAME are looked at later.

    Raises:
        VergenceError: names it.
    """
    if words and not set(words) & {"{", ":"} and not Path(words).exists():
        raise VergenceError(f"there is no folder {words}", FORMS)


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
    """The plain values of what `load_recipe` loads, and what errors call it. Where a run wrote them they have the key
    `vergence`, as has whatever lies as `recipe.yaml` beside a model."""
    if is_row(recipe):
        table = Path(recipe.rpartition("/")[0])
        return with_plugin_paths(read_row(recipe).recipe, table.parent), recipe
    path = recipe_path(recipe)
    raw = read_yaml(path)
    if raw == {}:
        raise VergenceError(f"{path} is empty", "A whole recipe to begin with: vergence train demo --print-config.")
    if isinstance(raw, dict) and path.name == "recipe.yaml" and (path.parent / "config.json").exists():
        return {"vergence": "", **raw}, str(path)
    return with_plugin_paths(raw, path.parent), path.name


def with_plugin_paths(raw: Any, folder: Path) -> Any:
    """The plain values of a recipe with the plug-in files that lie in its own folder named by their whole path."""
    if not isinstance(raw, dict) or not isinstance(raw.get("plugins"), list):
        return raw
    files = [folder / str(file) if (folder / str(file)).is_file() else file for file in raw["plugins"]]
    return {**raw, "plugins": [str(file.resolve()) if isinstance(file, Path) else file for file in files]}


def recipe_from(raw: Any, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from the plain values of its file, whose `name` errors and warnings say; see `load_recipe`."""
    if is_table(raw):
        raise VergenceError(f"{name} is a table of recipes", f"Give one of its rows: {name}/ROW.")
    if not isinstance(raw, dict):
        raise VergenceError(f"recipe key top level is {raw!r}", "It must be a mapping.")
    raw, renamed = deepcopy(raw), dict[str, str]()
    of_run = raw.pop("vergence", None) is not None
    options = parse_options(overrides)
    files = [parsed(text, list[str]) for keys, text in options if keys == ["plugins"]]
    own = _files(raw.get("plugins"))
    loaded = _files(files[-1] if files else [] if of_run else own)
    plugins.load_plugins(loaded)
    raw["plugins"] = own if of_run else [str(Path(file).resolve()) for file in loaded]
    with plugins.needed_by(name, own if of_run else ()):
        if of_run:
            _drop_idle(raw)
        write_options(raw, [option for option in options if option[0] != ["plugins"]], renamed)
        recipe = typed(raw, Recipe, "", renamed)
    warn_renamed(name, renamed)
    assert isinstance(recipe, Recipe)
    return recipe


def _files(value: Any) -> list[str]:
    if not isinstance(value or [], list):
        raise VergenceError(f"plugins is {value!r}", "It must be a list of Python files: [my_method.py].")
    return [str(file) for file in value or []]


def _drop_idle(raw: dict[str, Any]) -> None:
    """Takes out of a run's recipe the keys that its sources had and that mean nothing to their kinds."""
    for group in ("sources", "test"):
        sources = raw.get(group)
        for source in sources.values() if isinstance(sources, dict) else ():
            if isinstance(source, dict):
                known = {field.name for field in dataclasses.fields(kind_of(source, Source, group))}
                for key in set(IDLE) - known:
                    source.pop(key, None)
