"""What `vergence compare` does: what is compared is checked, carried out (`_rows`), and told in one table and one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vergence import __version__
from vergence.comparison.entries import (
    BOOTSTRAP,
    Entry,
    Measured,
    all_differences,
    check_comparable,
    efficiency,
    figures,
    ladder,
    measured_like,
    read_entries,
    slot_of,
    summary,
)
from vergence.comparison.runner import Work, each_seed, print_table
from vergence.errors import VergenceError
from vergence.files import claim, write_json, write_text
from vergence.recipes.recipe import Recipe
from vergence.report.comparison import comparison_page, markdown, result_table, versus_table
from vergence.report.render import write_page
from vergence.skeleton import get_skeleton
from vergence.training.sources import check_present, world_version
from vergence.training.stage_cache import Shared

REFERENCE = "supervised"
NARROW = ("n_mpjpe", "p_mpjpe", "keypoints_2d", "detection_1")


@dataclass(frozen=True)
class Plan:
    """What is to be compared.

    Attributes:
        entries: in the order of the table.
        seeds: how many.
        reference: the entry that the others are held against.
        slots: of finished runs, the seed on whose tests each is measured.
        amounts: numbers of people whose 3D is seen, where they are varied.
    """

    entries: list[Entry]
    seeds: int
    reference: str
    slots: dict[str, int]
    amounts: list[str]

    @staticmethod
    def of(
        words: Sequence[str],
        only: Sequence[str],
        amounts: list[str],
        overrides: Sequence[str],
        seeds: int,
        reference: str,
        data: Path | None = None,
    ) -> Plan:
        found = read_entries(words, only, overrides)
        entries = [entry if entry.run else replace(entry, recipe=entry.recipe.under(data)) for entry in found]
        check_present(entry.recipe for entry in entries if not entry.run)
        if amounts:
            entries = ladder(entries, amounts)
        check_comparable(entries)
        names = [entry.name for entry in entries]
        if reference and reference not in names:
            raise VergenceError(f"the reference {reference!r} is not compared", f"There are {', '.join(names)}.")
        of_kind = [name for name in names if name.partition("@")[0] == REFERENCE]
        base = entries[0].recipe
        slots = {entry.name: slot_of(entry, base, seeds) for entry in entries if entry.run}
        return Plan(entries, seeds, reference or (of_kind or names)[-1 if of_kind else 0], slots, amounts)

    @property
    def base(self) -> Recipe:
        """The recipe on whose tests all are measured."""
        return self.entries[0].recipe

    def seeds_of(self, entry: Entry) -> list[int]:
        return [self.slots[entry.name]] if entry.run else list(range(self.seeds))


def carry_out(plan: Plan, out: Path, device: str, quiet: bool, command: str) -> dict[str, Any]:
    """Trains and measures what is not done yet; writes `results.json`, `results.md` and `report.html` after every seed."""
    claim(out / "comparison.yaml", measured_like(plan.base), "another comparison")
    work, console = Work(out, device, quiet, "vergence compare", one_structure=True), Console()
    results: dict[str, Any] = {}
    for measured in each_seed(work, plan.entries, plan.seeds_of, lambda entry: plan.base):
        results = _results(plan, measured, command)
        _write(plan, measured, results, out, work.shared)
    _show(results, console)
    console.print(f"{out / 'report.html'}")
    return results


def _results(plan: Plan, measured: Mapping[str, Sequence[Measured]], command: str) -> dict[str, Any]:
    """What `results.json` holds, of what has been measured so far."""
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
        "world_version": world_version(),
        "version": __version__,
    }
    results["command"] = command
    return results


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


def _write(
    plan: Plan, measured: Mapping[str, Sequence[Measured]], results: dict[str, Any], out: Path, shared: Shared
) -> None:
    seed = min(m.seed for each in measured.values() for m in each)
    base = plan.base.at_seed(seed)
    tests = {name: shared.open(source, base.image_size, base.skeleton) for name, source in base.test.items()}
    of_seed = {name: m for name, each in measured.items() for m in each if m.seed == seed}
    page = comparison_page(results, of_seed, tests, get_skeleton(base.skeleton))
    write_page(out / "report.html", page)
    write_text(out / "results.md", markdown(page))
    write_json(out / "results.json", results)


def _show(results: Mapping[str, Any], console: Console) -> None:
    """As many of the figures as fit on a terminal."""
    for table, most in ((result_table(results, keys=NARROW), None), (versus_table(results), 3)):
        if table is not None:
            keep = [i for i, column in enumerate(table.columns[:most]) if column != "parameters"]
            print_table(table, console, keep)
