"""Methods side by side: which are compared, what is measured of each, and whether their difference is more than chance.

A comparison is fair where everything but the method is equal, so recipes are compared only on equal tests, and a set
(`recipes/sets/compare.yaml`) writes each method over one base of images, network and 2D training. A difference is
judged by a paired bootstrap over the test's *people*: images of one person are no independent witnesses, and what is
hard about a person is hard for both methods. People of several seeds are pooled, since every seed brings its own.

What it cannot see: how much a method varies from training to training. That is the standard deviation over seeds, and
with one seed there is none. A bootstrap interval that leaves out 0 on one seed says that *these two networks* differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.batches.dataset import visible_labels
from vergence.errors import VergenceError
from vergence.files import atomic_path, first_difference, read_yaml, write_json
from vergence.protocols.base import get_protocol
from vergence.recipes.load import load_recipe, raw_recipe, recipe_from, recipe_path, with_plugin_paths
from vergence.recipes.paper_tables import is_row, merged
from vergence.recipes.recipe import Recipe, Source
from vergence.training.stage_cache import Shared, images_of

BUILT_IN = "sets/compare.yaml"
RESAMPLES = 5000
CONFIDENCE = 95  # per cent
BOOTSTRAP = (
    f"{CONFIDENCE} % of {RESAMPLES:,} paired bootstrap samples over test people (all their images together), people of all "
    "seeds pooled; images that both methods are measured on"
)

# What is told of each method, in the order of the table: the figure's heading there.
FIGURES = {
    "n_mpjpe": "N-MPJPE mm",
    "p_mpjpe": "P-MPJPE mm",
    "pck": "N-PCK %",
    "pss50": "PSS@50 %",
    "pss100": "PSS@100 %",
    "left_right_mm": "L/R mm",
    "detection_1": "Det@1 %",
    "retrieved_pa_mpjpe_1": "hit's PA mm",
    "keypoints_2d": "2D px",
    "auc": "N-AUC %",
    "left_right_px": "L/R px",
    "depth_correlation": "depth correlation",
}
MORE = ("auc", "left_right_px", "depth_correlation")  # told in a table of their own
_SCORES = {
    "n_mpjpe": "n_mpjpe", "p_mpjpe": "p_mpjpe", "n_pck": "pck", "n_auc": "auc", "pss_50": "pss50", "pss_100": "pss100",
    "left_right_mm": "left_right_mm", "left_right_px": "left_right_px", "depth_correlation": "depth_correlation",
}  # fmt: skip


# What is compared


@dataclass(frozen=True)
class Entry:
    """One row of a comparison.

    Attributes:
        name: in the table, and of its folders.
        recipe: what is trained; of a finished run, its own.
        run: the folder of a finished run, which is only measured.
        of: the method, where rows differ in the number of 3D labels alone.
        subjects: subjects with visible 3D labels, in a label sweep.
    """

    name: str
    recipe: Recipe
    run: Path | None = None
    of: str = ""
    subjects: str = ""


def read_set(path: Path, only: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The recipes of a set by name, as plain values: each entry of `methods`, and of `variants` where `only` names it,
    written over `base`, or over the recipe (file or built-in name) that its key `recipe` names."""
    raw = read_yaml(path)
    if isinstance(raw, dict) and isinstance(raw.get("base"), dict):
        raw["base"] = with_plugin_paths(raw["base"], path.parent)
    parts = [raw.get(part) or {} for part in ("base", "methods", "variants")] if isinstance(raw, dict) else []
    if not parts or set(raw) - {"base", "methods", "variants"} or not all(isinstance(part, dict) for part in parts):
        raise VergenceError(
            f"{path} is no set of recipes",
            "It has `base:`, a recipe, and `methods:` (and `variants:`), recipes by name.",
        )
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
    entries = [entry for word in words or [""] for entry in _read(word, only, overrides)]
    names = [entry.name for entry in entries]
    if missing := [name for name in only if name not in names]:
        raise VergenceError(f"nothing to compare is called {missing[0]!r}", f"There are {', '.join(names)}.")
    for name in names:
        if names.count(name) > 1:
            raise VergenceError(f"two things to compare are called {name!r}", "Rename a file, a folder or an entry.")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise VergenceError(f"the name {name!r} cannot be a folder's", "Use letters, digits and . _ + -")
    return [entry for entry in entries if not only or entry.name in only]


def _read(word: str, only: Sequence[str], overrides: Sequence[str]) -> list[Entry]:
    if word and Path(word).is_dir():
        return [_finished(Path(word), [word for word in overrides if word.startswith("--plugins=")])]
    if is_row(word):
        return [Entry(word.rpartition("/")[2], load_recipe(word, overrides))]
    path = recipe_path(word) if word else Path(str(resources.files("vergence"))) / "recipes" / BUILT_IN
    raw = read_yaml(path)
    if not (isinstance(raw, dict) and "methods" in raw):
        return [Entry(path.stem, load_recipe(word, overrides))]
    chosen = read_set(path, only)
    return [Entry(name, recipe_from(own, f"{path.name}, {name}", overrides)) for name, own in chosen.items()]


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
        VergenceError: names the two and where they differ first.
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
        if different := first_difference(ours, theirs):
            different = different.replace(" there and ", f" in {first.name} and ").removesuffix(" here")
            raise VergenceError(
                f"{first.name} and {entry.name} are not comparable: {different} in {entry.name}",
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
            if _same_people(test, source):
                raise VergenceError(
                    f"{entry.name} was trained on {other!r}, whose people are those of the test {name!r}",
                    "Give another seed to the test, or compare it on its own tests: name it first.",
                )
    return 0


def _same_people(a: Source, b: Source) -> bool:
    """Whether two sources may show the same people: same world and seed; captures and datasets: the same part of a folder."""
    if not (a.of_world and b.of_world):
        part = [(s.kind, Path(s.path).resolve(), s.frames, s.split, s.protocol) for s in (a, b)]
        return part[0] == part[1]
    return images_of(a)["seed"] == images_of(b)["seed"] and a.kind == b.kind


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


# What was measured


@dataclass(frozen=True, eq=False)
class Measured:
    """One entry on one seed's tests.

    Attributes:
        name, seed: of what.
        about: plain values: `results` of the evaluation, `labels_3d`, `people_3d`, `seconds`, `made_by`.
        images: per test set and image, by `TEST.n_mpjpe`, `TEST.p_mpjpe`, `TEST.subject`, `TEST.pose`, `TEST.keypoints`.
    """

    name: str
    seed: int
    about: dict[str, Any]
    images: dict[str, np.ndarray]

    def save(self, folder: Path) -> None:
        """Two files; the JSON, whose presence says that it is whole, comes last."""
        with atomic_path(folder / f"{self.name}-{self.seed}.npz") as partial:
            np.savez_compressed(partial, **self.images)  # type: ignore[arg-type]
        write_json(folder / f"{self.name}-{self.seed}.json", self.about)

    @staticmethod
    def load(folder: Path, name: str, seed: int, made_by: str) -> Measured | None:
        """What was kept, where the same made it; else None."""
        path = folder / f"{name}-{seed}.json"
        try:
            about = json.loads(path.read_text())
            if about["made_by"] != made_by:
                return None
            with np.load(path.with_suffix(".npz")) as file:
                return Measured(name, seed, about, {key: file[key] for key in file.files})
        except (OSError, ValueError, KeyError):
            return None

    @property
    def tests(self) -> dict[str, Any]:
        return dict(self.about["results"]["tests"])


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """The table's figures of one test set's plain results; those that a method has."""
    out = {ours: found["model"][theirs] for theirs, ours in _SCORES.items() if found["model"].get(theirs) is not None}
    if found.get("pixel_error") is not None:
        out["keypoints_2d"] = found["pixel_error"]
    retrieval = found.get("retrieval", {})
    best = retrieval.get("embedding") or retrieval.get("predicted_pose")
    if best:
        out["detection_1"] = best["same"]["detection"]["1"]
        out["retrieved_pa_mpjpe_1"] = best["same"]["mean_pa_mpjpe"]["1"]
    return {key: out[key] for key in FIGURES if key in out}


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Mean and standard deviation over seeds (n - 1 below); no deviation of one."""
    known = np.array([v for v in values if v is not None and np.isfinite(v)], dtype=float)
    return {
        "mean": float(known.mean()) if len(known) else None,
        "std": float(known.std(ddof=1)) if len(known) > 1 else None,
    }


def summary(measured: Sequence[Measured]) -> dict[str, Any]:
    """What is told of one method: the figures of its first test set, those of all in `by_look`, over seeds."""
    looks = list(measured[0].tests)
    each = {m.seed: {look: figures(m.tests[look]) for look in looks} for m in measured}
    by_look = {
        look: {key: spread(one[look].get(key) for one in each.values()) for key in _known(each.values(), look)}
        for look in looks
    }
    clocks = ("seconds", "cpu_seconds")
    totals = [{clock: total_seconds(m.about[clock]) for clock in clocks} for m in measured]
    stages = [name for name in measured[0].about["seconds"] if name != "data"]
    first = measured[0].tests[looks[0]]
    return {
        **by_look[looks[0]],
        **{clock: spread(total[clock] for total in totals) for clock in clocks},
        "stages": {
            n: {clock: spread(m.about[clock].get(n) for m in measured)["mean"] for clock in clocks} for n in stages
        },
        "labels_3d": measured[0].about["labels_3d"],
        "people_3d": measured[0].about["people_3d"],
        "parameters": first["parameters"]["all"],
        "by_look": by_look,
        "per_joint": {
            look: {j: spread(m.tests[look]["per_joint"][j] for m in measured)["mean"] for j in first["per_joint"]}
            for look in looks
        },
        "seeds": {
            str(m.seed): {**each[m.seed][looks[0]], "by_look": each[m.seed], **total}
            for m, total in zip(measured, totals, strict=True)
        },
    }


def _known(each: Iterable[Mapping[str, Mapping[str, float]]], look: str) -> list[str]:
    have = {key for one in each for key in one[look]}
    return [key for key in FIGURES if key in have]


def total_seconds(seconds: Mapping[str, float]) -> float:
    """Of all stages, those made by another run included; without opening images, which all share."""
    return float(sum(value for name, value in seconds.items() if name != "data"))


# Is one better?


def difference(
    ours: Sequence[Measured], theirs: Sequence[Measured], look: str, measure: str = "n_mpjpe"
) -> dict[str, Any] | None:
    """Paired bootstrap of one method against another (`BOOTSTRAP`), over the seeds that both have.

    Returns:
        `difference` (ours less theirs, mm) and `ratio`, each with `low` and `high`; `people`, `images`. None where no
        image is measured by both.
    """
    pairs = [(a, b) for a in ours for b in theirs if a.seed == b.seed]
    units, errors = [], []
    for a, b in pairs:
        subject, other = a.images[f"{look}.subject"], b.images[f"{look}.subject"]
        if not np.array_equal(subject, other):
            raise VergenceError(
                f"{a.name} and {b.name} were not measured on the same images", "Delete --out's measured/."
            )
        both = np.stack([a.images[f"{look}.{measure}"], b.images[f"{look}.{measure}"]], 1)
        known = np.isfinite(both).all(1)
        units.append(np.stack([np.full(known.sum(), a.seed), subject[known]], 1))
        errors.append(both[known])
    if not errors or not sum(map(len, errors)):
        return None
    return paired_bootstrap(np.concatenate(units), np.concatenate(errors))


def paired_bootstrap(unit: np.ndarray, error: Float[np.ndarray, "N 2"]) -> dict[str, Any]:
    """Difference and ratio of two mean errors with their intervals; rows of one `unit` are drawn together."""
    people, inverse = np.unique(unit, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    count = np.bincount(inverse).astype(float)
    total = np.stack([np.bincount(inverse, error[:, i]) for i in (0, 1)], 1)
    drawn = _draws(len(people))
    mean = (drawn @ total) / (drawn @ count)[:, None]
    whole = error.mean(0)
    tail = (100 - CONFIDENCE) / 2

    def interval(name: str, value: float, samples: np.ndarray) -> dict[str, dict[str, float]]:
        low, high = np.percentile(samples, [tail, 100 - tail])
        return {name: {"mean": float(value), "low": float(low), "high": float(high)}}

    return {
        **interval("difference", whole[0] - whole[1], mean[:, 0] - mean[:, 1]),
        **interval("ratio", whole[0] / max(whole[1], 1e-12), mean[:, 0] / np.maximum(mean[:, 1], 1e-12)),
        "people": len(people),
        "images": len(error),
    }


@lru_cache(maxsize=4)
def _draws(people: int) -> np.ndarray:
    """How often each of so many people is in each bootstrap sample; the same for every pair of methods."""
    return np.random.default_rng(0).multinomial(people, np.full(people, 1 / people), size=RESAMPLES).astype(float)


def all_differences(measured: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Every pair of methods, by test set, measure and `A - B`."""
    names, looks = list(measured), list(next(iter(measured.values()))[0].tests)
    out: dict[str, Any] = {}
    for look in looks:
        for measure in ("n_mpjpe", "p_mpjpe"):
            for i, a in enumerate(names):
                for b in names[:i]:
                    found = difference(measured[a], measured[b], look, measure)
                    if found:
                        out.setdefault(look, {}).setdefault(measure, {})[f"{a} - {b}"] = found
    return out


def efficiency(entries: Sequence[Entry], methods: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Error against the number of 3D labels for each method of a ladder, fewest labels first."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        if entry.name in methods:
            found = methods[entry.name]
            point = {"people": entry.subjects or "none", "name": entry.name, "labels_3d": found["labels_3d"]}
            point["people"] = entry.subjects or str(found["people_3d"])
            point["by_look"] = {
                look: {key: figures_[key] for key in ("n_mpjpe", "p_mpjpe") if key in figures_}
                for look, figures_ in found["by_look"].items()
            }
            point["seeds"] = {seed: one["by_look"] for seed, one in found["seeds"].items()}
            curves.setdefault(entry.of or entry.name, []).append(point)
    return {name: sorted(points, key=lambda p: p["labels_3d"]) for name, points in curves.items()}
