"""`vergence.evaluate`: a run, or somebody's predictions, measured; every figure with its protocol."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vergence.batches.dataset import Dataset
from vergence.errors import VergenceError
from vergence.evaluation.external import Predicted, on_rows, read_predictions, score_poses, score_protocol
from vergence.evaluation.footage import measure_footage
from vergence.evaluation.run_tests import Tested, measure_tests
from vergence.evaluation.scores import label_scores
from vergence.evaluation.scores import protocol as protocol_of
from vergence.files import write_json
from vergence.inference.estimator import Estimator, load
from vergence.lifting import SHIPPED_RUN
from vergence.lifting.model import LiftingModel, is_lifting
from vergence.networks.devices import resolve_device
from vergence.plugins import load_plugins
from vergence.progress import Progress, heard, silent
from vergence.protocols.base import get_protocol
from vergence.recipes.load import load_recipe
from vergence.recipes.recipe import Recipe
from vergence.recipes.sources import Scale, Source
from vergence.recipes.typed import make_source
from vergence.skeleton import Skeleton, get_skeleton
from vergence.training.run import Run
from vergence.training.sources import open_source, parse_source, protocol_source, warn_of_old_images
from vergence.world.scenes import WORLD_VERSION

OWN_SKELETON = {"mpi_inf_3dhp": "mpi_inf_17", "mpii": "mpii_16", "coco": "coco_17"}
LEAST_SIZE = 16  # labels are compared; the size of the crops plays no part


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        results: plain values: `footage` (without truth), or `tests` (by test set the figures of the `model` and its
            baselines), `protocols` (tables of named protocols), `protocol` (how each was measured), `labels`; errors in mm.
        recipe: whose tests these are; None of somebody's predictions.
        tests: the images, predictions and errors behind the figures.
        curves: each training stage's `metrics.jsonl`.
    """

    results: dict[str, Any]
    recipe: Recipe | None = None
    tests: Mapping[str, Tested] = field(default_factory=dict)
    curves: Mapping[str, Path] = field(default_factory=dict)

    def save(self, path: str | Path, **more: Any) -> None:
        """Writes the results as JSON, with `more` in it."""
        write_json(path, {**self.results, **more})


def evaluate(
    run: str | Path | Run | Estimator | LiftingModel | None = None,
    *,
    data: str | Path | None = None,
    footage: str | Path | None = None,
    protocol: str = "",
    frames: str = "",
    reconstruction: str | Path = "",
    height: float | None = None,
    scale: Scale | None = None,
    predictions: str | Path | Mapping[str, Any] | None = None,
    skeleton: str = "",
    partial: bool = False,
    detector: str = "",
    model: str = "",
    keypoints: str | Path | None = None,
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
    progress: Progress = silent,
) -> Evaluation:
    """Measures a run on its recipe's test sets, on a capture beside its reconstruction, on footage without ground
    truth, or on a dataset by a protocol. It can also measure given poses.

    Args:
        run: a run's folder, or the result of `vergence.train` or `vergence.load`; with `footage` also a lifting model
            or its folder; None with `predictions`.
        data: a capture's folder, a recipe's line as `{kind: shards, path: FOLDER}`, `RECIPE:NAME`, or with `protocol` a
            dataset's folder or shards made of it. Left out: the test sets of the run's recipe.
        protocol: name of a published protocol, or of a registered one: which images, joints, alignment and average.
        footage: folder of a capture, or of a recording in what `vergence.learn` wrote: held-out time and
            cameras, agreement between views, limbs and jitter; needs no ground truth (`evaluation.without_truth`).
        frames: frames of the capture, as `35-64`; of `footage`, default: those that the run did not learn from.
        reconstruction: folder that `vergence.reconstruct` filled for the capture; `footage` is reconstructed without one.
        height: of the person in `footage`, metres: gives its millimetres where the cameras do not.
        scale: how scale-free predictions are converted to mm under a protocol: by the `training` people's mean limb
            lengths, or by each pose's own (`true`) or its root's distance (`depth`), which use ground truth. None: as
            in the recipe's tests.
        predictions: NPZ or JSON file, or its arrays by name (`evaluation.external` has the form): measured instead of a run.
        skeleton: joints that predictions are measured on; default the protocol's dataset's own, else `h36m_17`.
        partial: measure the samples that have a prediction instead of refusing where some have none.
        detector, model: of the 2D keypoints of videos in `footage` that have none (`vergence.detect`).
        keypoints: folder for the detector's keypoints; default: the user's cache.
        device: `auto`, `cpu`, `cuda` or `mps`.
        plugins: files whose protocols, metrics and methods are registered first.
        progress: reports the test sets.

    Raises:
        VergenceError: nothing to measure or to compare with, missing data, a protocol of another dataset.
    """
    load_plugins(plugins)
    data = "" if data is None else str(data)
    if predictions is not None:
        if run is not None:
            raise VergenceError("predictions stand for a run", "Give one of both.")
        with heard(progress, "their data"):
            return _of_predictions(predictions, data, protocol, skeleton, partial)
    if run is None:
        raise VergenceError("nothing to evaluate", "Give a run, or predictions.")
    if footage is not None:
        if data or protocol:
            raise VergenceError("--footage stands alone", "Leave --data and --protocol out.")
        own = run.folder if isinstance(run, Run) else run
        of_footage = measure_footage(
            own, footage, frames=frames, reconstruction=reconstruction, height=height, detector=detector, model=model,
            keypoints=keypoints, device=device, progress=progress,
        )  # fmt: skip
        return Evaluation(of_footage)
    for name, given in (("--height", height), ("--detector", detector), ("--detector-model", model)):
        if given not in (None, ""):
            raise VergenceError(f"{name} belongs to --footage", f"Give --footage, or leave {name} out.")
    if isinstance(run, LiftingModel) or (isinstance(run, str | Path) and (is_lifting(run) or str(run) == SHIPPED_RUN)):
        raise VergenceError(
            f"{run if isinstance(run, str | Path) else 'this'} is a lifting model, which is measured on footage",
            "Give --footage: the folder of a capture.",
        )
    if not data and (frames or reconstruction):
        raise VergenceError("--frames and --reconstruction belong to a capture", "Give --data: the capture's folder.")
    if isinstance(run, Run) and not (data or protocol):
        return of_run(run, scale=scale, progress=progress)
    recipe, estimator, folder = _opened(run, device)
    recipe.test = _tests(recipe, data, protocol, frames, str(reconstruction))
    if not recipe.test:
        raise VergenceError(
            f"the recipe of {folder or 'this estimator'} has no test sets",
            "Give --data, or --footage, which needs no truth.",
        )
    if data:
        warn_of_old_images(recipe)
    found = measure_tests(
        recipe, estimator.method, estimator.device, folder=folder, scale=scale, progress=progress
    )  # fmt: skip
    return Evaluation(found[0], recipe, found[1])


def of_run(
    run: Run, structure: Path | None = None, scale: Scale | None = None, progress: Progress = silent
) -> Evaluation:
    """A run that this process trained, on its own tests, with the errors of its pseudo-labels.

    Args:
        run: executed.
        structure: the folder whose clusters the Pose Structure Score uses, if not the run's.
        scale, progress: as in `evaluate`.
    """
    if run.method is None:
        raise VergenceError(f"the run in {run.folder} is not trained", "Let it execute first.")
    results, tests = measure_tests(
        run.recipe, run.method, run.device, run.datasets, structure or run.folder, run.open, scale, progress
    )
    skeleton = get_skeleton(run.recipe.skeleton)
    for name, labels in run.labels.items():
        settings = run.recipe.stages[name].label
        assert settings is not None
        truth = run.dataset(settings.source).index
        results["labels"][name] = dict(labels.report)
        if settings.stores == "pose" and not truth.pose.isnan().all():
            results["labels"][name] |= label_scores(labels.pose, truth, skeleton)
    results["seconds"] = run.seconds
    trained = [name for name, stage in run.recipe.stages.items() if stage.train]
    curves = {name: run.folder / "stages" / name / "metrics.jsonl" for name in trained}
    return Evaluation(results, run.recipe, tests, curves)


def _opened(run: str | Path | Run | Estimator, device: str) -> tuple[Recipe, Estimator, Path | None]:
    """A run's recipe, to be changed, its estimator and its folder; an estimator alone has an empty recipe."""
    if isinstance(run, Estimator):
        return Recipe(skeleton=run.skeleton.name, image_size=run.image_size), run, None
    folder = run.folder if isinstance(run, Run) else Path(run)
    estimator = load(folder, resolve_device(run.device if isinstance(run, Run) else device))
    if isinstance(run, Run):
        return copy.deepcopy(run.recipe), estimator, folder
    if not (folder / "recipe.yaml").is_file():
        raise VergenceError(f"{folder} has no recipe.yaml", "Give the folder that `vergence train` wrote.")
    return load_recipe(str(folder / "recipe.yaml")), estimator, folder


def _tests(recipe: Recipe, data: str, protocol: str, frames: str, reconstruction: str) -> dict[str, Source]:
    """The test sets that the words mean; the recipe's own without any."""
    if protocol:
        kind = get_protocol(protocol).dataset
        if not data or frames or reconstruction:
            raise VergenceError(
                f"--protocol {protocol} measures {kind} data",
                "Give --data: its folder, or shards of it, no --frames or --reconstruction.",
            )
        return {kind: protocol_source(protocol, data)}
    if not data:
        return recipe.test
    if not Path(data).is_dir():
        return {"data": parse_source(data)}
    if not reconstruction:
        if {"truth.npz", "keypoints.json"} <= {file.name for file in Path(data).iterdir()}:
            raise VergenceError(
                f"{data} has images of `vergence synth`, which no test reads",
                "Give --data '{kind: world_images, count: 200, seed: 9, pose: all, keypoints: true}', which draws such images.",
            )
        raise VergenceError(
            "a capture has no 3D truth of its own",
            "Give --reconstruction: the folder that `vergence reconstruct` wrote for it.",
        )
    for source in recipe.sources.values():  # its other frames make the baselines
        if source.kind == "capture" and Path(source.path).resolve() == Path(data).resolve():
            source.reconstruction = reconstruction
    return {"capture": make_source(kind="capture", path=data, frames=frames, reconstruction=reconstruction)}


def _of_predictions(
    predictions: str | Path | Mapping[str, Any], data: str, protocol: str, skeleton: str, partial: bool
) -> Evaluation:
    if not data:
        raise VergenceError("--predictions needs --data", "Say which samples the predictions are of.")
    own = OWN_SKELETON.get(get_protocol(protocol).dataset, "") if protocol else ""
    joints = get_skeleton(skeleton or own or "h36m_17")
    predicted = read_predictions(predictions)
    source = protocol_source(protocol, data) if protocol else parse_source(data)
    dataset = open_source(source, LEAST_SIZE, joints.name)
    name = "in memory" if isinstance(predictions, Mapping) else str(predictions)
    measured = _by_protocol if protocol else _by_samples
    return Evaluation(measured(name, predicted, source, dataset, joints, partial))


def _by_samples(
    name: str, predicted: Predicted, source: Source, dataset: Dataset, joints: Skeleton, partial: bool
) -> dict[str, Any]:
    """Figures over all samples and over each group."""
    pose, found = on_rows(predicted, dataset, joints)
    missing = _missing(int((~found & dataset.index.has_pose).sum()), int(dataset.index.has_pose.sum()), partial)
    scored = score_poses(pose, predicted.metric, dataset, joints)
    world = {k: v for k, v in vars(source).items() if k in ("look", "seed")} | {"world_version": WORLD_VERSION}
    about = world if source.of_world else {"path": source.path}
    how = protocol_of(
        dataset.index, joints, flip_averaging=False, source=source.kind, predictions=name,
        measured=scored["samples"], without_prediction=missing, axes=predicted.axes, metric=predicted.metric, **about,
    )  # fmt: skip
    return {"tests": {"predictions": scored}, "protocol": {"predictions": how}}


def _by_protocol(
    name: str, predicted: Predicted, source: Source, dataset: Dataset, joints: Skeleton, partial: bool
) -> dict[str, Any]:
    """The table of a named protocol."""
    table, how, missing = score_protocol(get_protocol(source.protocol), predicted, dataset, joints)
    _missing(missing, missing + table.poses, partial)
    found = {**table.plain(), **how, "predictions": name, "without_prediction": missing, "skeleton": joints.name,
             "data": {"kind": source.kind, "path": source.path}}  # fmt: skip
    return {"protocols": {"predictions": found}}


def _missing(missing: int, samples: int, partial: bool) -> int:
    if missing and not partial:
        raise VergenceError(
            f"{missing} of {samples} samples have no prediction", "Give all, or --partial to measure the rest."
        )
    return missing
