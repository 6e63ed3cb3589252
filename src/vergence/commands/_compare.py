"""What `vergence compare` does: every entry on every seed, one after the other, each kept as soon as it is measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vergence.commands._finish import Tested, finish, measure_tests
from vergence.comparison import (
    BOOTSTRAP,
    Entry,
    Measured,
    all_differences,
    check_comparable,
    efficiency,
    figures,
    labels_3d,
    ladder,
    measured_like,
    read_entries,
    slot_of,
    summary,
    total_seconds,
)
from vergence.devices import resolve_device
from vergence.errors import VergenceError
from vergence.estimator import load
from vergence.evaluation import in_camera_frame
from vergence.files import plain, write_json, write_text
from vergence.labels import fingerprint
from vergence.recipe import Recipe
from vergence.report.comparison import cell_text, comparison_page, markdown, result_table, versus_table
from vergence.report.render import write_page
from vergence.runs import Run, first_difference
from vergence.shared import Shared
from vergence.skeleton import get_skeleton
from vergence.sources import check_present, world_version
from vergence.version import __version__

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
    _claim(plan, out)
    shared, console = Shared(out / "shared"), Console()
    measured: dict[str, list[Measured]] = {}
    results: dict[str, Any] = {}
    for seed in range(plan.seeds):
        for entry in plan.entries:
            if seed not in plan.seeds_of(entry):
                continue
            try:
                one = _measured(plan, entry, seed, out, shared, device, quiet)
            except VergenceError as error:
                raise VergenceError(f"{entry.name}, seed {seed}: {error.problem}", error.remedy) from error
            measured.setdefault(entry.name, []).append(one)
            console.print(_line(one))
        ordered = {entry.name: measured[entry.name] for entry in plan.entries if entry.name in measured}
        results = _results(plan, ordered, command)
        _write(plan, ordered, results, out, shared)
        shared.forget()
    _show(results, console)
    console.print(f"{out / 'report.html'}")
    return results


def _claim(plan: Plan, out: Path) -> None:
    """Writes what makes the comparison's figures comparable, or makes sure that the folder's are."""
    text = yaml.safe_dump(measured_like(plan.base), sort_keys=False)
    path = out / "comparison.yaml"
    if path.exists():
        try:
            old = yaml.safe_load(path.read_text()) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise VergenceError(f"{path} is not readable YAML", "Choose another --out, or delete it.") from error
        if different := first_difference(old, yaml.safe_load(text)):
            raise VergenceError(f"{out} holds another comparison: {different}", "Choose another --out, or delete it.")
    write_text(path, text)


def _measured(plan: Plan, entry: Entry, seed: int, out: Path, shared: Shared, device: str, quiet: bool) -> Measured:
    """One entry on one seed: kept from before, or trained as far as it is not, and measured."""
    kept, structure = out / "measured", out / "shared" / f"structure-{seed}"
    if entry.run:
        made_by = _made_by(entry.run, plan.base.at_seed(seed))
        before = Measured.load(kept, entry.name, seed, made_by)
        return before or _measure_run(entry, plan.base.at_seed(seed), seed, made_by, kept, structure, shared, device)
    recipe = entry.recipe.at_seed(seed)
    run = Run(recipe, out / "runs" / f"{entry.name}-{seed}", device, not quiet, shared)
    before = Measured.load(kept, entry.name, seed, _made_by(run.folder, recipe))
    if before:
        return before
    run.console.rule(f"{entry.name}, seed {seed}")
    method = run.execute()
    results, tested = finish(run, method, f"vergence compare: {entry.name}, seed {seed}", structure)
    about = {"results": results, "seconds": run.seconds, "cpu_seconds": run.cpu_seconds, **labels_3d(recipe, shared)}
    return _keep(entry, seed, about, tested, _made_by(run.folder, recipe), kept)


def _measure_run(
    entry: Entry, base: Recipe, seed: int, made_by: str, kept: Path, structure: Path, shared: Shared, device: str
) -> Measured:
    """A finished run on the comparison's tests; nothing is written into its folder."""
    assert entry.run is not None
    estimator = load(entry.run, resolve_device(device))
    entry.recipe.test = base.test
    results, tested = measure_tests(
        entry.recipe, estimator.method, estimator.device, folder=structure, open_=shared.open
    )
    seconds = {key: estimator.config.get(key, {}) for key in ("seconds", "cpu_seconds")}
    about = {"results": results, **seconds, **labels_3d(entry.recipe, shared)}
    return _keep(entry, seed, about, tested, made_by, kept)


def _made_by(folder: Path, recipe: Recipe) -> str:
    """Of a run's weights and of what they are measured on; empty where it is not finished."""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "refinement.safetensors"):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
        elif name == "model.safetensors":
            return ""
    return fingerprint(__version__, world_version(), digest.hexdigest(), measured_like(recipe))


def _keep(
    entry: Entry, seed: int, about: dict[str, Any], tested: Mapping[str, Tested], made_by: str, kept: Path
) -> Measured:
    skeleton = get_skeleton(entry.recipe.skeleton)
    pictures: dict[str, np.ndarray] = {}
    for look, test in tested.items():
        index, found = test.dataset.index, test.prediction
        pose = in_camera_frame(found, index, skeleton)
        pictures |= {
            f"{look}.subject": index.subject.numpy(),
            f"{look}.n_mpjpe": test.scores.n_mpjpe.astype(np.float32),
            f"{look}.p_mpjpe": test.scores.p_mpjpe.astype(np.float32),
            f"{look}.pose": pose.float().numpy(),
        }
        if found.keypoints is not None:
            pictures[f"{look}.keypoints"] = found.keypoints.float().numpy()
    measured = Measured(entry.name, seed, plain({**about, "made_by": made_by}), pictures)
    measured.save(kept)
    return measured


def _results(plan: Plan, measured: Mapping[str, Sequence[Measured]], command: str) -> dict[str, Any]:
    """What `results.json` holds, of what has been measured so far."""
    methods = {name: summary(each) for name, each in measured.items()}
    first = next(iter(measured.values()))[0]
    looks = list(first.tests)
    results: dict[str, Any] = {
        "methods": methods,
        "reference": plan.reference if plan.reference in methods else next(iter(methods)),
        "differences": all_differences(measured),
        "anchors": {look: _anchors(first.tests[look]) for look in looks},
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
        "seconds": "wall clock, of all stages, shared ones included in each, without drawing pictures; cpu_seconds: of the "
        "processor, over all threads",
        "world_version": world_version(),
        "version": __version__,
    }
    results["command"] = command
    return results


def _anchors(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What needs no training beside the methods, from the first one's evaluation."""
    names = ("mean_pose", "true_2d_zero_depth", "camera_mean_pose", "nearest_pose")
    anchors = {name: figures({"model": found[name]}) for name in names if name in found}
    for name in ("oracle", "random"):
        if name in found.get("retrieval", {}):
            anchors[name] = figures({"model": {}, "retrieval": {"embedding": found["retrieval"][name]}})
    return anchors


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


def _line(one: Measured) -> str:
    look, found = next(iter(one.tests.items()))
    errors = found["model"]
    return (
        f"[bold]{one.name}[/bold], seed {one.seed}: {look} "
        + ", ".join(f"{errors[key]:.1f} mm {word}" for key, word in _SHOWN if errors.get(key) is not None)
        + f"; {total_seconds(one.about['seconds']):.0f} s"
    )


_SHOWN = (("n_mpjpe", "N-MPJPE"), ("p_mpjpe", "P-MPJPE"))


def _show(results: Mapping[str, Any], console: Console) -> None:
    """As many of the figures as fit on a terminal."""
    for table, most in ((result_table(results, keys=NARROW), None), (versus_table(results), 3)):
        if table is None:
            continue
        keep = [i for i, column in enumerate(table.columns[:most]) if column != "parameters"]
        shown = Table(title=table.title, box=SIMPLE, padding=(0, 1, 0, 0))
        for i in keep:
            shown.add_column(table.columns[i], justify="right" if i else "left", no_wrap=not i)
        for row in table.rows:
            shown.add_row(*(cell_text(row[i]) for i in keep))
        console.print(shown)
        console.print(f"[dim]{table.protocol}[/dim]", highlight=False)
