"""What every finished run gets: its test sets measured, `results.json` and a page."""

from __future__ import annotations

from typing import Any

import torch

from vergence.evaluation import evaluate, label_scores, mean_pose, protocol
from vergence.files import write_json
from vergence.methods.base import Method
from vergence.runs import Run
from vergence.skeleton import get_skeleton
from vergence.sources import open_source


def measure(run: Run, method: Method) -> dict[str, Any]:
    """Results by test set, of the labels, and the protocol."""
    recipe, skeleton = run.recipe, get_skeleton(run.recipe.skeleton)
    anchors = {}
    truths = [run.dataset(n).index for n, s in recipe.sources.items() if s.kind == "world_recordings"] or [
        run.dataset(n).index for n in recipe.sources
    ]
    poses = [mean_pose(t, skeleton) for t in truths if not t.pose.isnan().all()]
    if poses:
        anchors["mean_pose"] = torch.stack(poses).mean(0)
    results: dict[str, Any] = {"tests": {}, "labels": {}, "protocol": {}}
    for name, source in recipe.test.items():
        dataset = open_source(source, recipe.image_size, recipe.skeleton)
        found, _, _ = evaluate(method, dataset, skeleton, anchors, run._torch_device())
        results["tests"][name] = found
        results["protocol"][name] = protocol(dataset.index, skeleton, source=source.kind, look=source.look)
    for name, labels in run.labels.items():
        settings = recipe.stages[name].label
        assert settings is not None
        truth = run.dataset(settings.source).index
        if not truth.pose.isnan().all():
            results["labels"][name] = label_scores(labels.pose, truth, skeleton)
        results["labels"].setdefault(name, {}).update(labels.report)
    return results


def finish(run: Run, method: Method, command: str) -> dict[str, Any]:
    """Measures a run and writes its results."""
    results = measure(run, method)
    results["command"] = command
    results["seconds"] = run.seconds
    write_json(run.folder / "results.json", results)
    for name, found in results["tests"].items():
        model, flat = found["model"], found["zero_depth"]
        run.console.print(
            f"[bold]{name}[/bold]: N-MPJPE {model['n_mpjpe']:.1f}, P-MPJPE {model['p_mpjpe']:.1f} mm; "
            f"own 2D with zero depth {flat['n_mpjpe']:.1f} / {flat['p_mpjpe']:.1f}"
            + (
                f"; mean pose {found['mean_pose']['n_mpjpe']:.1f} / {found['mean_pose']['p_mpjpe']:.1f}"
                if "mean_pose" in found
                else ""
            )
        )
    return results
