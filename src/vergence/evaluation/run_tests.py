"""Evaluates a finished run on its test sets; writes `results.json` and a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vergence.batches.dataset import Dataset, MemoryDataset, visible_labels
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.evaluation.measure import (
    Scale,
    measure_keypoint_protocol,
    measure_protocol,
    measure_without_truth,
    protocol_words,
)
from vergence.evaluation.scores import (
    HEADING,
    RETRIEVAL,
    Ridge,
    Scores,
    camera_mean_poses,
    evaluate,
    fit_ridge,
    label_scores,
    mean_bone_sum,
    mean_pose,
    nearest_poses,
    predict_all,
    protocol,
    structure_clusters,
)
from vergence.files import write_json
from vergence.geometry.crops import full_pixels
from vergence.methods.base import Method, Prediction
from vergence.methods.mcss import MCSS, canonical_target
from vergence.metrics import Clusters
from vergence.protocols.base import Protocol, get_protocol
from vergence.protocols.keypoints import KeypointProtocol
from vergence.recipes.recipe import Recipe, Source
from vergence.report.render import write_page
from vergence.report.run_page import RETRIEVAL_COLUMNS, ROWS, retrieval_rows, run_page
from vergence.skeleton import Skeleton, get_skeleton
from vergence.training.run import Run
from vergence.training.sources import open_source, world_version

REFIT_IMAGES = 20_000  # of a source, evenly spread: enough for a linear map, and a dataset may label a million
REFIT_AT_ONCE = 512  # in memory

Open = Callable[[Source, int, str], Dataset]


@dataclass(frozen=True)
class Tested:
    """One test set and what the model made of it."""

    dataset: Dataset
    results: dict[str, Any]
    prediction: Prediction
    scores: Scores


def measure_tests(
    recipe: Recipe,
    method: Method,
    device: str,
    opened: Mapping[str, Dataset] | None = None,
    folder: Path | None = None,
    open_: Open = open_source,
    scale: Scale | None = None,
) -> tuple[dict[str, Any], dict[str, Tested]]:
    """Results by test set beside their baselines, with the protocol; and the predictions behind them.

    Args:
        recipe: its `test` sources are measured; the truth of its training sources makes the baselines.
        method: the trained method.
        device: where the network runs.
        opened: datasets that are open already, by source name.
        folder: the run's, which keeps the clusters of the Pose Structure Score.
        open_: opens the others.
        scale: how scale-free predictions are converted to mm under a protocol; None: as the test says.
    """
    skeleton = get_skeleton(recipe.skeleton)
    training = [_training_index(recipe, name, opened or {}, open_) for name in _baseline_sources(recipe)]
    known = [index for index in training if not index.pose.isnan().all()]
    refit = _refit(recipe, method, opened or {}, device, open_)
    results: dict[str, Any] = {"tests": {}, "labels": {}, "protocol": {}}
    true = [index for index in known if not index.pseudo.all()]
    bones_mm = mean_bone_sum(true, skeleton)
    tested = {}
    for name, source in recipe.test.items():
        dataset = open_(source, recipe.image_size, recipe.skeleton)
        named = get_protocol(source.protocol) if source.protocol else None
        if named and named.without_3d:
            results.setdefault("protocols", {})[name] = _without_3d(named, method, dataset, skeleton, device)
            results["protocol"][name] = protocol(
                dataset.index, skeleton, method.mirrored, source=source.kind, **_about(source, dataset), **method.protocol,
                alignment="none: px", root=[],
            )  # fmt: skip
            continue
        baselines = _baselines(known, dataset.index, skeleton, same_cameras=source.kind == "capture")
        clusters = _clusters(true, dataset.index, skeleton, folder, name)
        found = evaluate(method, dataset, skeleton, baselines, device, clusters, bones_mm, refit)
        tested[name] = Tested(dataset, *found)
        results["tests"][name] = found[0]
        if named:
            table, how = measure_protocol(named, found[1], dataset, skeleton, scale or source.scale, bones_mm)
            results.setdefault("protocols", {})[name] = {**table.plain(), **how}
        results["protocol"][name] = protocol(
            dataset.index, skeleton, source=source.kind, flip_averaging=method.mirrored,
            frame=found[1].frame, **({"heading": HEADING} if found[1].frame == "canonical" else {}),
            **({"retrieval": RETRIEVAL} if "retrieval" in found[0] else {}), **_about(source, dataset), **method.protocol,
            bone_sum_mm=bones_mm, structure={c.k: {**c.provenance, "joints": c.joints} for c in clusters},
        )  # fmt: skip
    return results, tested


def _without_3d(named: Protocol, method: Method, dataset: Dataset, skeleton: Skeleton, device: str) -> dict[str, Any]:
    """A model under a protocol that asks for no 3D truth and no intrinsics: its 2D, or its limbs in pixels."""
    found = predict_all(method, dataset, device)
    if not isinstance(named, KeypointProtocol):
        table, how = measure_without_truth(named, found, dataset, skeleton)
        return {**table.plain(), **how}
    if found.keypoints is None:
        raise VergenceError(
            f"protocol {named.name} measures 2D keypoints, and this model finds none", "Use another protocol."
        )
    points = full_pixels(found.keypoints, dataset.index.crop)
    trust = torch.ones(len(points)) if found.confidence is None else found.confidence.mean(1)
    table, how = measure_keypoint_protocol(named, points, trust, dataset, skeleton)
    return {**table.plain(), **how}


def _about(source: Source, dataset: Dataset) -> dict[str, Any]:
    """Where a test set's images are from."""
    if source.kind == "capture":
        reference = f"reconstruction {vars(source)['reconstruction']}"
        return {"path": source.path, "frames": source.frames, "reference": reference}
    if source.of_world:
        about = {
            k: v for k, v in vars(source).items() if k in ("look", "seed", "occlusion", "truncation") and v is not None
        }
        return {**about, "world_version": world_version()}
    own = {k: value for k, value in vars(source).items() if k in ("split", "step", "cameras")}
    return {"path": source.path, **own, "named": source.protocol, "data": dict(getattr(dataset, "report", {}))}


def _clusters(training: list[Views], test: Views, skeleton: Skeleton, folder: Path | None, name: str) -> list[Clusters]:
    """Clusters of the training people's true poses, made once a run and kept in `structure/training-K.npz`; where there are
    none, of this test's reference."""
    own = "training" if training else name
    kept = sorted((folder / "structure").glob("training-*.npz")) if folder and training else []
    if kept:
        return sorted((Clusters.load(path) for path in kept), key=lambda c: c.k)
    found = structure_clusters(training, test, skeleton)
    if folder:
        for clusters in found:
            clusters.save(folder / "structure" / f"{own}-{clusters.k}.npz")
    return found


def _refit(recipe: Recipe, method: Method, opened: Mapping[str, Dataset], device: str, open_: Open) -> Ridge | None:
    """Poses from a frozen embedding by ridge regression on the images with visible 3D labels."""
    if not isinstance(method, MCSS):
        return None
    embeddings, poses = [], []
    for name, source in recipe.sources.items():
        if source.pose == "none":
            continue
        dataset = opened.get(name) or open_(source, recipe.image_size, recipe.skeleton)
        visible = visible_labels(dataset, source)
        target, weight = canonical_target(visible, method.skeleton)
        rows = (weight > 0).all(1).nonzero()[:, 0]
        if len(rows) > REFIT_IMAGES:
            rows = rows[torch.linspace(0, len(rows) - 1, REFIT_IMAGES).round().long()]
        for some in rows.split(REFIT_AT_ONCE):
            embedding = predict_all(method, MemoryDataset(dataset.read(some)), device, flip=False).embedding
            assert embedding is not None
            embeddings.append(embedding)
            poses.append(target[some])
    return fit_ridge(torch.cat(embeddings), torch.cat(poses)) if poses else None


def _baseline_sources(recipe: Recipe) -> list[str]:
    """Training sources whose truth makes the baselines: recordings where there are any."""
    return [n for n, s in recipe.sources.items() if s.kind != "world_images"] or list(recipe.sources)


def _training_index(recipe: Recipe, name: str, opened: Mapping[str, Dataset], open_: Open) -> Views:
    """A training source's truth, without its images where the world can tell it without drawing."""
    if name in opened:
        return opened[name].index
    return open_(recipe.sources[name], recipe.image_size, recipe.skeleton).index


def _baselines(training: list[Views], test: Views, skeleton: Skeleton, same_cameras: bool) -> dict[str, Tensor]:
    if not training:
        return {}
    baselines = {"mean_pose": torch.stack([mean_pose(index, skeleton) for index in training]).mean(0)}
    if same_cameras:
        baselines["camera_mean_pose"] = camera_mean_poses(training[0], test, skeleton)
        baselines["nearest_pose"] = nearest_poses(training[0].pose, test.pose, skeleton)
    return baselines


def finish(
    run: Run, method: Method, command: str, structure: Path | None = None
) -> tuple[dict[str, Any], dict[str, Tested]]:
    """Measures a run; writes its `results.json` and `report.html`. `structure`: whose clusters PSS uses, if not its own."""
    open_ = run.shared.open if run.shared else open_source
    results, tested = measure_tests(run.recipe, method, run.device, run.datasets, structure or run.folder, open_)
    for name, labels in run.labels.items():
        settings = run.recipe.stages[name].label
        assert settings is not None
        truth = run.dataset(settings.source).index
        results["labels"][name] = dict(labels.report)
        if settings.stores == "pose" and not truth.pose.isnan().all():
            results["labels"][name] |= label_scores(labels.pose, truth, skeleton=get_skeleton(run.recipe.skeleton))
    results["command"] = command
    results["seconds"] = run.seconds
    stages = {name: run.folder / "stages" / name / "metrics.jsonl" for name, s in run.recipe.stages.items() if s.train}
    write_json(run.folder / "results.json", results)
    write_report(run.recipe, results, tested, stages, run.folder / "report.html")
    if run.progress and not structure:  # one of several is shown beside the others
        show(results)
    return results, tested


def show(results: Mapping[str, Any]) -> None:
    """The table on the terminal, with its protocol."""
    table = Table("", "N-MPJPE mm", "P-MPJPE mm", title="Results")
    for name, found in results["tests"].items():
        for key, label in ROWS.items():
            if key in found:
                table.add_row(f"{name}: {label}", f"{found[key]['n_mpjpe']:.1f}", f"{found[key]['p_mpjpe']:.1f}")
    console = Console()
    console.print(table)
    for name, found in results.get("protocols", {}).items():
        console.print(protocol_table(name, found))
        console.print(f"[dim]{protocol_words(found)}[/dim]")
    if any("retrieval" in found for found in results["tests"].values()):
        console.print(_retrieval_table(results))
        console.print(f"[dim]{RETRIEVAL}[/dim]")
    if results["protocol"]:
        how = next(iter(results["protocol"].values()))
        console.print(f"[dim]{how['alignment']}[/dim]")
        if unit := how.get("refinement_unit"):
            labels = "3D labels" if unit["uses_3d_labels"] else "pseudo-labels"
            console.print(f"[bold]With a refinement unit trained on {labels} of {', '.join(unit['sources'])}.[/bold]")


def _retrieval_table(results: Mapping[str, Any]) -> Table:
    table = Table(*RETRIEVAL_COLUMNS, title="Cross-view retrieval")
    for row in retrieval_rows(results["tests"]):
        table.add_row(str(row[0]), *(f"{value:.1f}" for value in row[1:]))
    return table


def protocol_table(name: str, found: Mapping[str, Any]) -> Table:
    """A named protocol's table: a row for each action, subject or scene, and the average that papers print."""
    figures, protocol = list(found["average"]), found["protocol"]
    units = protocol["units"]
    table = Table("", *(f"{f} {units[f]}" for f in figures), "poses", title=f"{name}: protocol {protocol['name']}")
    for rows in found["tables"].values():
        for value, row in rows.items():
            table.add_row(value, *(f"{row[f]:.1f}" for f in figures), f"{row['poses']:.0f}")
        table.add_section()
    table.add_row("average", *(f"{found['average'][f]:.1f}" for f in figures), str(found["poses"]), style="bold")
    return table


def write_report(
    recipe: Recipe, results: Mapping[str, Any], tested: Mapping[str, Tested], stages: Mapping[str, Path], path: Path
) -> None:
    """The page of a run or an evaluation."""
    pages = [(name, t.dataset, t.prediction, t.scores) for name, t in tested.items()]
    write_page(path, run_page(recipe, results, pages, stages, results["command"]))


def finish_demo(run: Run, method: Method, out: Path, command: str, clock: Callable[[], float]) -> dict[str, Any]:
    """The demo's `results.json` and page.

    Its first figures are those on the recipe's first test set: people and cameras never seen, in the look of the footage
    that taught the third dimension. Every test set stands in `by_look`.
    """
    results, tested = finish(run, method, command)
    (out / "report.html").write_bytes((run.folder / "report.html").read_bytes())
    first = next(iter(tested))
    found = results["tests"][first]
    summary = {
        "mean_pose": found["mean_pose"],
        "zero_depth": found["zero_depth"],
        "label_free": found["model"],
        "true_2d_zero_depth": found["true_2d_zero_depth"],
        "labels": next(iter(results["labels"].values())),
        "by_look": results["tests"],
        "protocol": {**results["protocol"], "figures_of": first, "unit": "mm"},
        "stages": run.seconds,
        "seconds": clock(),
    }
    write_json(out / "results.json", summary)
    return summary
