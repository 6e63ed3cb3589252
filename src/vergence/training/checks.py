"""What can be said against a recipe before its first step, so that nobody waits for hours for a misspelt word.

A method's loss terms are asked of the method itself, by a batch without labels (for which every term is 0): so those of
plug-ins are known too. One that cannot answer so is asked by its first batch, as ever.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vergence import plugins
from vergence.batches.views import Views
from vergence.errors import VergenceError, meant
from vergence.files import read_json
from vergence.inference.estimator import BACKBONE
from vergence.methods.base import Method
from vergence.methods.registry import build_method, trained_as
from vergence.networks.pose_network import PoseNetwork
from vergence.recipes.recipe import CalibrateStage, LabelStage, NetworkSettings, Recipe, TrainStage

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
NO_2D = "Set keypoints: true on the source, or keypoints: predicted on the stage."

log = logging.getLogger(__name__)


def stage_before(recipe: Recipe, wanted: str, before: str) -> str:
    """Name of a training stage before stage `before`: the one wanted, else the last; empty where there is none."""
    names = list(recipe.stages)
    earlier = [n for n in names[: names.index(before)] if recipe.stages[n].train]
    if wanted and wanted not in earlier:
        raise VergenceError(
            f"stage {before!r} wants the network of stage {wanted!r}",
            f"Training stages before it: {', '.join(earlier) or 'none'}.",
        )
    return wanted or (earlier[-1] if earlier else "")


def carrier(recipe: Recipe, name: str) -> str:
    """The method that carries out a training stage: the run's own, or `supervised` where it adds nothing to that."""
    stage, method = recipe.stages[name].train, recipe.method
    assert stage is not None
    before = "" if stage.start == "scratch" else stage_before(recipe, stage.start, name)
    if before and carrier(recipe, before) == method:
        return method
    return trained_as(method, recipe.network, stage)


def check_recipe(recipe: Recipe, weights: bool = True) -> None:
    """Refuses a recipe of which some stage could not begin.

    Args:
        recipe: to be carried out, or only printed.
        weights: whether the backbone's are at hand is asked too; else no hub is.

    Raises:
        VergenceError: a backbone that there is not, a loss term or a part that the method does not have, stages that
            cannot follow each other.
    """
    with plugins.blaming():
        _check_stages(recipe, weights)


def _check_stages(recipe: Recipe, weights: bool) -> None:
    torch.manual_seed(recipe.seed)
    if not weights and HUB_NAME.fullmatch(recipe.network.backbone) and not Path(recipe.network.backbone).exists():
        recipe = replace(recipe, network=replace(recipe.network, backbone="resnet18"))
    for name, own in recipe.sources.items():
        if own.pose != "none" and not own.has_pose:
            problem = f"sources.{name}.pose is {own.pose}, but a source of kind {own.kind} has no 3D labels"
            raise VergenceError(problem, "Leave pose out.")
    methods = {recipe.method: build_method(recipe.method, recipe.network, recipe.skeleton, weights)}
    for name, stage in recipe.stages.items():
        if stage.train:
            if (carried := carrier(recipe, name)) not in methods:
                methods[carried] = build_method(carried, recipe.network, recipe.skeleton, pretrained=False)
            _check_train(name, stage.train, recipe, methods[carried])
            _check_size(recipe.image_size, methods[carried].network)
        if stage.label:
            _check_views(name, stage.label, recipe)
        if stage.label and stage.label.keypoints == "labelled":
            source = stage.label.source
            if not recipe.sources[source].keypoints:
                raise VergenceError(
                    f"stage {name!r} reads labelled 2D, but none of source {source!r} is visible", NO_2D
                )
        elif stage.label:
            if not (stage_before(recipe, stage.label.network, name) and methods[recipe.method].makes_labels):
                raise VergenceError(f"no trained network finds the joints for stage {name!r}", "Train one before it.")
        elif stage.refine:
            _check_refine(name, recipe)
        elif stage.calibrate:
            _check_calibrate(name, stage.calibrate, recipe)
        _check_labels(name, recipe)
    if not any(stage.train for stage in recipe.stages.values()):
        raise VergenceError("the recipe has no training stage", "Add one under stages:.")


def _check_views(name: str, stage: LabelStage, recipe: Recipe) -> None:
    if stage.stores != "keypoints" and not recipe.sources[stage.source].has_views:
        raise VergenceError(
            f"stage {name!r} makes 3D of several views, but source {stage.source!r} "
            f"({recipe.sources[stage.source].kind}) has single images",
            "Name a source of several cameras, or set stores: keypoints.",
        )


def _check_visible(name: str, stage: TrainStage, recipe: Recipe) -> None:
    """Refuses a stage that would learn nothing: it has but losses on labels, and sees none."""
    read = [stage.source_of(one) for one, count in stage.batch.items() if count]
    seen = [one for one in read if recipe.sources[one].keypoints or recipe.sources[one].pose != "none"]
    if not seen and not stage.labels and set(stage.losses) <= {"heatmap", "coordinates", "depth"}:
        raise VergenceError(
            f"stage {name!r} learns nothing: no label of {', '.join(read)} is visible to it",
            "Set keypoints: true or pose: on a source of its batch, or give it a label stage under labels:.",
        )


def _check_train(name: str, stage: TrainStage, recipe: Recipe, method: Method) -> None:
    if not any(stage.batch.values()):
        raise VergenceError(
            f"stages.{name}.train.batch names no images",
            "Say how many images of each source a batch has, as in {wild: 48}; a whole recipe to begin with is written by "
            "`vergence train supervised --print-config`.",
        )
    parts = [part for part, _ in method.named_children()]
    if strange := [part for part in stage.frozen if part not in parts]:
        raise VergenceError(f"stages.{name}.train.frozen names {strange[0]!r}", f"The method has {', '.join(parts)}.")
    _check_visible(name, stage, recipe)
    terms = _terms(method, recipe)
    if terms and (strange := [term for term in stage.losses if term not in terms]):
        where = f"no loss term is called {strange[0]!r} (stages.{name}.train.losses)"
        raise VergenceError(where, f"{meant(strange[0], terms)} The method has {', '.join(terms)}.".strip())


def _check_size(size: int, network: nn.Module) -> None:
    """Refuses images that a network's maps do not divide evenly: its cells would lie elsewhere than joints are read."""
    if not isinstance(network, PoseNetwork):
        return
    network.eval()
    with torch.no_grad():
        maps = network.backbone(torch.zeros(1, 3, size, size))
        finest, cells = maps[0].shape[-1], network.neck(maps).shape[-1]
    network.train()
    if size % cells or max(cells, finest) % min(cells, finest):
        even = max(32, round(size / 32) * 32)
        problem = f"image_size is {size}, which the network's heatmaps of {cells} x {cells} cells do not divide evenly"
        raise VergenceError(problem, f"Take a multiple of 32, as in {even}.")


def _terms(method: Method, recipe: Recipe) -> tuple[str, ...]:
    """Names of a method's loss terms; () where it does not tell without labels."""
    size = recipe.image_size
    try:
        return tuple(terms_of(method, Views.empty(2, len(method.skeleton), size, size)))
    except VergenceError:
        raise
    except Exception:  # a plug-in may want what a first batch has
        log.debug("%s does not tell its loss terms without labels", recipe.method, exc_info=True)
        return ()


def terms_of(method: Method, views: Views) -> dict[str, Tensor]:
    """A method's loss terms of a batch.

    Raises:
        VergenceError: they are not numbers by name; a plug-in's may be anything.
    """
    terms, who = method.losses(views), type(method).__name__
    if not isinstance(terms, Mapping):
        raise VergenceError(
            f"what {who} gives as its loss terms is {_kind(terms)}",
            "Return a dictionary from names to scalar tensors: {**super().terms(views, maps), 'mine': x.mean()}.",
        )
    for name, term in terms.items():
        if not (isinstance(term, Tensor) and term.numel() == 1):
            raise VergenceError(
                f"loss term {name!r} of {who} is {_kind(term)}", "It must be a tensor of one number: take the mean."
            )
    return dict(terms)


def _kind(value: object) -> str:
    """What a value is, in words."""
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"of type {type(value).__name__}"


def _check_labels(name: str, recipe: Recipe) -> None:
    stage, names = recipe.stages[name], list(recipe.stages)
    earlier = [one for one in names[: names.index(name)] if recipe.stages[one].label]
    reader = stage.train or stage.refine or stage.calibrate
    reads = reader.labels if reader else []
    if strange := [label for label in reads if label not in earlier]:
        raise VergenceError(
            f"no label stage {strange[0]!r} comes before stage {name!r}", f"There are {', '.join(earlier) or 'none'}."
        )


def _check_refine(name: str, recipe: Recipe) -> None:
    names = list(recipe.stages)
    later = [n for n in names[names.index(name) + 1 :] if recipe.stages[n].train or recipe.stages[n].refine]
    if later or not stage_before(recipe, "", name):
        raise VergenceError(
            f"stage {name!r} refines a finished method"
            + (f", but {later[0]!r} follows" if later else ", there is none"),
            "Put it behind the last training stage.",
        )


def _check_calibrate(name: str, stage: CalibrateStage, recipe: Recipe) -> None:
    learns = {n: s for n, s in recipe.stages.items() if s.train or s.refine}
    taught = {source for s in learns.values() for source in s.sources}
    if list(recipe.stages)[-1] != name or not any(s.train for s in learns.values()):
        raise VergenceError(f"stage {name!r} calibrates a finished method", "Put it last, behind the training.")
    if not stage.sources or (seen := [source for source in stage.sources if source in taught]):
        problem = (
            f"source {seen[0]!r} of stage {name!r} is trained on" if stage.sources else f"stage {name!r} has no source"
        )
        raise VergenceError(
            problem, "Give calibrate.sources whose images no stage learns from: other people or frames."
        )
    if strange := [source for source in stage.usual if source not in taught]:
        raise VergenceError(f"stage {name!r} calls {strange[0]!r} usual, which nothing learns from",
                            f"These are learned from: {', '.join(sorted(taught))}.")  # fmt: skip


def kept_backbone(network: NetworkSettings, folder: Path) -> tuple[NetworkSettings, bool]:
    """The settings with the backbone that a finished run describes in its folder, and whether it is that one: where the
    backbone's own folder is gone, or a hub would be asked for weights that are not needed any more."""
    there = network.backbone in plugins.backbones or Path(network.backbone).exists()
    if there or not all((place / "config.json").is_file() for place in (folder, folder / BACKBONE)):
        return network, False
    return replace(network, backbone=str(folder / BACKBONE)), True


def unfinished(folder: Path, prints: Mapping[str, str]) -> bool:
    """Whether a run of another recipe may go on in a folder, since nothing would be lost: no finished run is there, no
    half-trained stage, and of finished stages only those that this recipe has as well.

    Args:
        folder: the run's.
        prints: by stage, of everything that its result depends on.
    """
    done = {path.parent.name: read_json(path).get("made_by") for path in folder.glob("stages/*/done.json")}
    kept = (folder / "config.json").exists() or any(folder.glob("stages/*/last.ckpt"))
    return not kept and all(prints.get(name) == made_by for name, made_by in done.items())
