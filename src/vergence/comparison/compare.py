"""`vergence.compare`: recipes and runs side by side, on equal data and tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vergence import __version__
from vergence.batches.pseudo_labels import fingerprint
from vergence.comparison.bootstrap import BOOTSTRAP, all_differences
from vergence.comparison.efficiency import crossings, efficiency, varied
from vergence.comparison.entries import Entry, check_comparable, ladder, measured_like, read_entries, slot_of
from vergence.comparison.entries import vary as each_value
from vergence.comparison.results import Measured, figures, summary
from vergence.comparison.runner import SoFar, Work, carried_out, check_entries, each_row, unmeasured
from vergence.comparison.shown import Shown
from vergence.errors import VergenceError, several
from vergence.folders import claim, held, nothing_left
from vergence.progress import Progress, silent
from vergence.recipes.recipe import Recipe, Source
from vergence.training.sources import check_present
from vergence.training.stage_cache import Shared, images_of
from vergence.world.scenes import WORLD_VERSION

REFERENCE = "supervised"


@dataclass(frozen=True)
class Plan:
    """What is to be compared.

    Attributes:
        entries: in the order of the table.
        seeds: how many.
        reference: the entry that the others are held against.
        slots: of finished runs, the seed on whose tests each is measured.
        amounts: numbers of people whose 3D is seen, where they are varied.
        key: the recipes' key that is varied, if one is.
    """

    entries: list[Entry]
    seeds: int
    reference: str
    slots: dict[str, int]
    amounts: Sequence[str]
    key: str = ""

    @staticmethod
    def of(
        words: Sequence[str],
        only: Sequence[str],
        amounts: Sequence[str],
        overrides: Sequence[str],
        seeds: int,
        reference: str,
        data: Path | None = None,
        of_key: str = "",
    ) -> Plan:
        found = each_value(words, only, overrides, of_key) if of_key else read_entries(words, only, overrides)
        entries = [entry if entry.run else replace(entry, recipe=entry.recipe.under(data)) for entry in found]
        if amounts:
            entries = ladder(entries, amounts)
        check_comparable(entries)
        names = [entry.name for entry in entries]
        if reference and not any(reference in (entry.name, entry.of) for entry in entries):
            raise VergenceError(f"the reference {reference!r} is not compared", f"There are {', '.join(names)}.")
        base = entries[0].recipe
        slots = {entry.name: slot_of(entry, base, seeds) for entry in entries if entry.run}
        return Plan(entries, seeds, _reference(entries, reference), slots, amounts, of_key.partition("=")[0])

    @property
    def base(self) -> Recipe:
        """The recipe on whose tests all are measured."""
        return self.entries[0].recipe

    def seeds_of(self, entry: Entry) -> list[int]:
        return [self.slots[entry.name]] if entry.run else list(range(self.seeds))


@dataclass(frozen=True)
class Comparison(SoFar):
    """What has been measured so far, and of what.

    Attributes:
        plan: what is compared.
        shared: images that are open.
        kept: folder of what was measured.
    """

    plan: Plan
    shared: Shared
    kept: Path

    @cached_property
    def results(self) -> dict[str, Any]:
        """Plain values: `methods` (figures over seeds), `differences` with their intervals, `baselines`, `protocol`; in mm."""
        plan, measured = self.plan, self.measured
        methods = {name: summary(each) for name, each in measured.items()}
        first = next(iter(measured.values()))[0]
        looks = list(first.tests)
        results: dict[str, Any] = {
            "methods": methods,
            "reference": plan.reference if plan.reference in methods else next(iter(methods)),
            "differences": all_differences(measured),
            "baselines": {look: _baselines(first.tests[look]) for look in looks},
        }
        if plan.amounts:
            results["label_efficiency"] = efficiency(plan.entries, methods)
            results["label_crossings"] = crossings(plan.entries, measured)
        elif plan.key:
            results["varied"] = {"key": plan.key, **varied(plan.entries, measured, methods)}
        if self.failed:
            results["failed"] = self.failures
        results["protocol"] = {
            **first.about["results"]["protocol"],
            "methods": {name: _own_protocol(each[0], first) for name, each in measured.items()},
            "figures_of": looks[0],
            "seeds": sorted({m.seed for each in measured.values() for m in each}),
            "over_seeds": "mean, and standard deviation (n - 1); a seed changes people, cameras, weights and batches",
            "differences": BOOTSTRAP,
            "unit": "mm",
            "seconds": "wall clock, of all stages, shared ones included in each, without drawing images; cpu_seconds: of the "
            "processor, over all threads",
            "world_version": WORLD_VERSION,
            "version": __version__,
        }
        return results

    @cached_property
    def seed(self) -> int:
        """The seed on whose tests `shown` and `tests` are."""
        return min(one.seed for each in self.measured.values() for one in each)

    @property
    def shown(self) -> dict[str, Measured]:
        """Each entry on that seed's tests."""
        return {name: one for name, each in self.measured.items() for one in each if one.seed == self.seed}

    def tests(self) -> dict[str, Shown]:
        """Images of that seed's tests, which are opened where one is looked at for the first time."""
        base = self.plan.base.at_seed(self.seed)

        def shown(source: Source) -> Shown:
            made_by = fingerprint(__version__, WORLD_VERSION, images_of(source), base.image_size, base.skeleton)
            open_ = lambda: self.shared.open(source, base.image_size, base.skeleton)
            return Shown(self.kept / "shown" / made_by, open_)

        return {name: shown(source) for name, source in base.test.items()}


def compare(
    what: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path = "comparison",
    only: Sequence[str] = (),
    labels: Sequence[str | int] = (),
    overrides: Sequence[str] = (),
    seeds: int = 1,
    reference: str = "",
    data: str | Path | None = None,
    vary: str = "",
    device: str = "auto",
    progress: Progress = silent,
    after: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """Trains recipes on the same data and measures them on the same tests. Common parts are made once. After a stop the
    same call continues. A row that fails does not stop the others; it is among the result's `failed`.

    Args:
        what: recipes (files, built-in names, `TABLE/ROW`), sets of recipes, folders of finished runs, which are only
            measured; none: the built-in set.
        out: folder of the runs and of what was measured.
        only: names to keep of all these.
        labels: numbers of people, and `all`: recipes that use 3D labels are trained once for each.
        overrides: keys of every recipe, as on the command line.
        seeds: each is trained with seeds 0 to `seeds - 1`.
        reference: the method that the others are compared with; default `supervised`, where that is compared.
        vary: `KEY=V,V`: each recipe is trained once for every value of one of its keys.
        data: folder that relative paths of datasets are in.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: reports each stage's steps.
        after: called with the comparison so far after each entry and seed, before that is kept.

    Raises:
        VergenceError: wrong names and keys, tests that differ, missing data, `out` of another comparison.
    """
    amounts = [str(amount) for amount in labels]
    for amount in amounts:
        if amount != "all" and not (amount.isdigit() and int(amount)):
            raise VergenceError(f"--labels has {amount!r}", "Give numbers of people, and all: 1,2,4,all.")
    check_seeds(seeds)
    words = [str(word) for word in several(what)]
    plan = Plan.of(words, only, amounts, overrides, seeds, reference, None if data is None else Path(data), vary)
    out = Path(out)
    work = Work(out, device, progress, one_structure=True)
    given = work, plan.entries, plan.seeds_of, lambda entry: plan.base
    lacking = unmeasured(*given)
    check_present([entry.recipe for entry in lacking if not entry.run])
    check_entries(lacking, work, seeds)
    with nothing_left(out), held(out):
        claim(out / "comparison.yaml", measured_like(plan.base), "another comparison")
        of = lambda measured, row, failed: Comparison(measured, row, failed, plan, work.shared, work.kept)
        return carried_out(each_row(*given), plan.entries, of, after)


def _reference(entries: Sequence[Entry], asked: str) -> str:
    """The entry that is asked for, else `supervised`, else the first; of one in several numbers of labels, that of most."""
    if asked in [entry.name for entry in entries]:
        return asked
    of = [entry.of or entry.name for entry in entries]
    wanted = asked or (REFERENCE if REFERENCE in of else of[0])
    own = [entry for entry, kind in zip(entries, of) if kind == wanted]
    amounts = {entry.name: float(entry.subjects) if entry.subjects.isdigit() else math.inf for entry in own}
    return max(amounts, key=lambda name: amounts[name])


def check_seeds(seeds: int) -> None:
    """Refuses to train no seed at all."""
    if seeds < 1:
        raise VergenceError(f"--seeds is {seeds}", "Give 1 or more.")


def _baselines(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What needs no training beside the methods, from the first one's evaluation."""
    names = ("mean_pose", "true_2d_zero_depth", "camera_mean_pose", "nearest_pose")
    baselines = {name: figures({"model": found[name]}) for name in names if name in found}
    for name in ("oracle", "random"):
        if name in found.get("retrieval", {}):
            baselines[name] = figures({"model": {}, "retrieval": {"embedding": found["retrieval"][name]}})
    return baselines


def _own_protocol(one: Measured, first: Measured) -> dict[str, Any]:
    """What of a method's protocol is not the first one's, and the frame of its poses."""
    out: dict[str, Any] = {}
    for look, about in one.about["results"]["protocol"].items():
        usual = first.about["results"]["protocol"].get(look, {})
        out[look] = {key: value for key, value in about.items() if key == "frame" or value != usual.get(key)}
    return out
