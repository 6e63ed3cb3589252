"""A model on a recipe's test sets, beside the baselines that its training sources give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vergence.batches.dataset import Dataset, MemoryDataset, visible_labels
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.evaluation.measure import (
    Scale,
    measure_keypoint_protocol,
    measure_protocol,
    measure_without_truth,
)
from vergence.evaluation.scores import (
    HEADING,
    RETRIEVAL,
    Ridge,
    Scores,
    camera_mean_poses,
    evaluate,
    fit_ridge,
    mean_bone_sum,
    mean_pose,
    nearest_poses,
    predict_all,
    protocol,
    structure_clusters,
)
from vergence.geometry.crops import full_pixels
from vergence.methods.base import Method, Prediction
from vergence.metrics import Clusters
from vergence.progress import Progress, heard, silent
from vergence.protocols.base import Protocol, get_protocol
from vergence.protocols.keypoints import KeypointProtocol
from vergence.recipes.recipe import Recipe, Source
from vergence.skeleton import Skeleton, get_skeleton
from vergence.training.sources import old_images, open_source
from vergence.world.scenes import WORLD_VERSION

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
    progress: Progress = silent,
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
    # Recordings where there are any; the world tells their truth without drawing them.
    sources = {n: s for n, s in recipe.sources.items() if s.kind != "world_images"} or recipe.sources
    already, size = opened or {}, recipe.image_size
    with heard(progress, "what the baselines learn from"):
        training = [(already.get(n) or open_(s, size, recipe.skeleton)).index for n, s in sources.items()]
        training = [index.replace(pose=method.learnable(index.pose)) for index in training]
        known = [index for index in training if not index.pose.isnan().all()]
        refit = _refit(recipe, method, already, device, open_)
    results: dict[str, Any] = {"tests": {}, "labels": {}, "protocol": {}}
    true = [index for index in known if not index.pseudo.all()]
    bones_mm = mean_bone_sum(true, skeleton)
    tested, absent, old = {}, method.absent(), old_images(recipe)
    for name, source in _each(recipe.test, progress):
        dataset = open_(source, recipe.image_size, recipe.skeleton)
        origin = _about(source, dataset) | ({"learned_from": old[name]} if name in old else {})
        named = get_protocol(source.protocol) if source.protocol else None
        if named and named.without_3d:
            results.setdefault("protocols", {})[name] = _without_3d(named, method, dataset, skeleton, device)
            results["protocol"][name] = protocol(
                dataset.index, skeleton, method.mirrored, source=source.kind, **origin, **method.protocol,
                alignment="none: px", root=[],
            )  # fmt: skip
            continue
        baselines = _baselines(known, dataset.index, skeleton, same_cameras=source.kind == "capture")
        measured = dataset.index.replace(pose=method.learnable(dataset.index.pose))
        clusters = _clusters(true, measured, skeleton, folder, name)
        found = evaluate(method, dataset, skeleton, baselines, device, clusters, bones_mm, refit)
        tested[name] = Tested(dataset, *found)
        results["tests"][name] = found[0]
        if named:
            table, how = measure_protocol(named, found[1], dataset, skeleton, scale or source.scale, bones_mm)
            results.setdefault("protocols", {})[name] = {**table.plain(), **how}
        results["protocol"][name] = protocol(
            dataset.index, skeleton, source=source.kind, flip_averaging=method.mirrored,
            frame=found[1].frame, **({"heading": HEADING} if found[1].frame == "canonical" else {}),
            **({"retrieval": RETRIEVAL} if "retrieval" in found[0] else {}), **origin, **method.protocol,
            bone_sum_mm=bones_mm, structure={c.k: {**c.provenance, "joints": c.joints} for c in clusters},
            joints=[joint for joint in skeleton.joint_names if joint not in absent], joints_never_labelled=list(absent),
        )  # fmt: skip
    return results, tested


def _each(tests: Mapping[str, Source], progress: Progress) -> Iterator[tuple[str, Source]]:
    """The tests, each while it is told of."""
    for name, source in tests.items():
        with heard(progress, f"test {name}"):
            yield name, source


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
        return {**about, "world_version": WORLD_VERSION}
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
    """Poses from a frozen embedding by ridge regression on the images whose 3D the recipe shows."""
    if not method.embeds:
        return None
    embeddings, poses = [], []
    for name, source in recipe.sources.items():
        if source.pose == "none":
            continue
        dataset = opened.get(name) or open_(source, recipe.image_size, recipe.skeleton)
        visible = visible_labels(dataset, source)
        target, weight = method.refit_target(visible)
        unknown = [method.skeleton.index(name) for name in method.absent("canonical")]
        target[:, unknown], weight[:, unknown] = 0.0, 1.0
        rows = (weight > 0).all(1).nonzero()[:, 0]
        if len(rows) > REFIT_IMAGES:
            rows = rows[torch.linspace(0, len(rows) - 1, REFIT_IMAGES).round().long()]
        for some in rows.split(REFIT_AT_ONCE):
            embedding = predict_all(method, MemoryDataset(dataset.read(some)), device, flip=False).embedding
            assert embedding is not None
            embeddings.append(embedding)
            poses.append(target[some])
    return fit_ridge(torch.cat(embeddings), torch.cat(poses)) if poses else None


def _baselines(training: list[Views], test: Views, skeleton: Skeleton, same_cameras: bool) -> dict[str, Tensor]:
    if not training:
        return {}
    baselines = {"mean_pose": torch.stack([mean_pose(index, skeleton) for index in training]).mean(0)}
    if same_cameras:
        baselines["camera_mean_pose"] = camera_mean_poses(training[0], test, skeleton)
        baselines["nearest_pose"] = nearest_poses(training[0].pose, test.pose, skeleton)
    return baselines
