"""Methods side by side: which are compared, and whether they may be.

A comparison is fair where everything but the method is equal, so recipes are compared only on equal tests, and a set
(`recipes/sets/compare.yaml`) writes each method over one base of images, network and 2D training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vergence.batches.dataset import visible_labels
from vergence.errors import VergenceError, refusing
from vergence.files import read_yaml
from vergence.folders import differences
from vergence.protocols.base import get_protocol
from vergence.recipes.load import compared_path, load_recipe, raw_recipe, recipe_from, with_plugin_paths
from vergence.recipes.paper_tables import is_row, merged
from vergence.recipes.recipe import Recipe
from vergence.training.sources import same_images
from vergence.training.stage_cache import Shared


@dataclass(frozen=True)
class Entry:
    """One row of a comparison.

    Attributes:
        name: in the table, and of its folders.
        recipe: what is trained; of a finished run, its own.
        run: the folder of a finished run, which is only measured.
        of: the method, where rows differ in the number of 3D labels or in one key alone.
        subjects: subjects with visible 3D labels, in a label sweep.
        value: of the key that is varied.
    """

    name: str
    recipe: Recipe
    run: Path | None = None
    of: str = ""
    subjects: str = ""
    value: str = ""


def read_set(path: Path, only: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The recipes of a set by name, as plain values: each entry of `methods`, and of `variants` where `only` names it,
    written over `base`, or over the recipe (file or built-in name) that its key `recipe` names."""
    raw = read_yaml(path)
    if isinstance(raw, dict) and isinstance(raw.get("base"), dict):
        raw["base"] = with_plugin_paths(raw["base"], path.parent)
    parts = [raw.get(part) or {} for part in ("base", "methods", "variants")] if isinstance(raw, dict) else []
    if not parts or set(raw) - {"base", "methods", "variants"} or not all(isinstance(part, dict) for part in parts):
        remedy = "It has `base:`, a recipe, and `methods:` (and `variants:`), recipes by name."
        raise VergenceError(f"{path} is no set of recipes", remedy)
    base, methods, variants = parts
    recipes = {}
    for name, entry in {**methods, **{n: own for n, own in variants.items() if n in only}}.items():
        own = with_plugin_paths(dict(entry or {}), path.parent)
        other = own.pop("recipe", None)
        recipes[str(name)] = merged(raw_recipe(str(other))[0] if other else base, own)
    if not recipes:
        raise VergenceError(f"{path} is a set of no recipes", "Put some under `methods:`.")
    return recipes


def read_entries(words: Sequence[str], only: Sequence[str] = (), overrides: Sequence[str] = ()) -> list[Entry]:
    """What is compared, from names and paths of recipes, of sets and of finished runs; nothing: the built-in set.

    Args:
        words: as on the command line.
        only: names to keep; empty keeps all but the variants of sets.
        overrides: `--any.key=value` for every recipe (a finished run stays as it is).
    """
    made = [one for word in words or [""] for one in _read(word, only, overrides)]
    names = [name for name, _ in made]
    if missing := [name for name in only if name not in names]:
        raise VergenceError(f"nothing to compare is called {missing[0]!r}", f"There are {', '.join(names)}.")
    for name in names:
        if names.count(name) > 1:
            raise VergenceError(f"two things to compare are called {name!r}", "Rename a file, a folder or an entry.")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise VergenceError(f"the name {name!r} cannot be a folder's", "Use letters, digits and . _ + -")
    entries = []
    for name, make in made:
        if not only or name in only:
            with refusing(name, "", VergenceError):
                entries.append(make())
    return entries


def vary(words: Sequence[str], only: Sequence[str], overrides: Sequence[str], varied: str) -> list[Entry]:
    """As `read_entries`, each recipe once for every value of a key, `KEY=V,V`; a finished run stays as it is.

    Raises:
        VergenceError: no key with values, or a key or value that a recipe cannot have.
    """
    key, _, listed = varied.partition("=")
    values = listed.split(",")
    if (
        not re.fullmatch(r"[\w-]+(\.[\w-]+)+", key)
        or len(values) < 2
        or len({*values}) < len(values)
        or not all(values)
    ):
        remedy = "Give a recipe's key and two or more values: sources.studio.occlusion=0,0.3."
        raise VergenceError(f"--vary is {varied!r}", remedy)
    columns = [read_entries(words, only, [*overrides, f"--{key}={value}"]) for value in values]
    out: list[Entry] = []
    for row in zip(*columns, strict=True):
        for value, entry in list(zip(values, row))[: 1 if row[0].run else None]:
            name = f"{entry.name}@{re.sub('[^A-Za-z0-9_.+-]+', '_', value)}"
            out.append(entry if entry.run else replace(entry, name=name, of=entry.name, value=value))
    return out


def _read(word: str, only: Sequence[str], overrides: Sequence[str]) -> list[tuple[str, Callable[[], Entry]]]:
    """The names, and what makes each entry: options are only for those that are compared."""
    if word and Path(word).is_dir():
        run = _finished(Path(word), [word for word in overrides if word.startswith("--plugins=")])
        return [(run.name, lambda: run)]
    if is_row(word):
        name = word.rpartition("/")[2]
        return [(name, lambda: Entry(name, load_recipe(word, overrides)))]
    path = compared_path(word)
    raw = read_yaml(path)
    if not (isinstance(raw, dict) and "methods" in raw):
        return [(path.stem, lambda: Entry(path.stem, load_recipe(word, overrides)))]

    def make(name: str, own: dict[str, Any]) -> Entry:
        return Entry(name, recipe_from(own, f"{path.name}, {name}", overrides))

    return [(name, partial(make, name, own)) for name, own in read_set(path, only).items()]


def _finished(folder: Path, overrides: Sequence[str] = ()) -> Entry:
    for name in ("config.json", "model.safetensors", "recipe.yaml"):
        if not (folder / name).is_file():
            raise VergenceError(
                f"{folder} is not a finished run: it has no {name}", "Give the folder that `vergence train` wrote."
            )
    whole = folder.resolve()
    name = whole.parent.name if whole.name == "run" else whole.name
    return Entry(re.sub(r"[^\w.+-]", "_", name), load_recipe(str(folder / "recipe.yaml"), overrides), run=folder)


def ladder(entries: Sequence[Entry], amounts: Sequence[str]) -> list[Entry]:
    """Each recipe once for every number of people whose 3D labels it sees. Only sources that already use 3D labels are
    varied; a recipe without any, and a finished run, stays as it is."""
    out: list[Entry] = []
    for entry in entries:
        varied = [n for n, s in entry.recipe.sources.items() if s.pose != "none" and s.kind != "world_images"]
        if entry.run or not varied:
            out.append(replace(entry, of=entry.name))
            continue
        for amount in amounts:
            recipe = deepcopy(entry.recipe)
            for name in varied:
                most = recipe.sources[name].subjects
                if amount.isdigit() and recipe.sources[name].of_world and int(amount) > most:
                    raise VergenceError(
                        f"3D of {amount} people: {entry.name}'s {name!r} has {most}", "Give fewer, or all."
                    )
                recipe.sources[name] = replace(recipe.sources[name], pose=amount)
            out.append(Entry(f"{entry.name}@{amount}", recipe, None, entry.name, amount))
    return out


def measured_like(recipe: Recipe) -> dict[str, Any]:
    """What must be equal for figures to be comparable."""
    tests = {name: asdict(source) for name, source in recipe.test.items()}
    return {"test": tests, "image_size": recipe.image_size, "skeleton": recipe.skeleton}


def check_comparable(entries: Sequence[Entry]) -> None:
    """Refuses recipes whose tests differ from the first's, and runs that cannot be measured on them.

    Raises:
        VergenceError: names the two and where they differ.
    """
    first = entries[0]
    if not first.recipe.test:
        raise VergenceError(f"{first.name} has no test sets to be compared on", "Add test: to its recipe.")
    for name, test in first.recipe.test.items():
        named = get_protocol(test.protocol) if test.protocol else None
        if named and named.without_3d:
            raise VergenceError(
                f"the test {name!r} is measured by {named.name}, which knows no 3D, and compare tells of 3D",
                "Leave it out, and measure each run with `vergence evaluate RUN --data D --protocol NAME`.",
            )
    for entry in entries[1:]:
        ours, theirs = measured_like(first.recipe), measured_like(entry.recipe)
        if entry.run:
            ours.pop("test"), theirs.pop("test")
        if different := differences(ours, theirs, f"in {first.name}", f"in {entry.name}"):
            raise VergenceError(
                f"{first.name} and {entry.name} are not comparable: {different}",
                "Give both the same test sets, image_size and skeleton (--any.key=value sets a key of all recipes).",
            )


def slot_of(entry: Entry, base: Recipe, seeds: int) -> int:
    """The seed on whose tests a finished run is measured: the one whose tests are its own, else the first.

    Raises:
        VergenceError: it was trained on people of those tests.
    """
    for seed in range(seeds):
        if base.at_seed(seed).test == entry.recipe.test:
            return seed
    for name, test in base.test.items():
        for other, source in entry.recipe.sources.items():
            if same_images(test, source):
                raise VergenceError(
                    f"{entry.name} was trained on {other!r}, whose people are those of the test {name!r}",
                    "Give another seed to the test, or compare it on its own tests: name it first.",
                )
    return 0


def labels_3d(recipe: Recipe, shared: Shared) -> dict[str, int]:
    """Number of images, and of people, whose true 3D is visible to the stages of a recipe."""
    images, people = 0, 0
    read = {name for stage in recipe.stages.values() for name in stage.sources if not stage.label}
    for name in sorted(read):
        source = recipe.sources[name]
        if source.pose == "none":
            continue
        visible = visible_labels(shared.open(source, recipe.image_size, recipe.skeleton), source)
        labelled = ~visible.pose.isnan().flatten(1).all(1) & ~visible.pseudo
        images, people = images + int(labelled.sum()), people + len(visible.subject[labelled].unique())
    return {"labels_3d": images, "people_3d": people}
