"""A recipe carried out: its stages in order, each finished one kept and not done again."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from vergence.dataset import Dataset, withhold
from vergence.devices import resolve_device
from vergence.errors import VergenceError
from vergence.estimator import save, save_weights
from vergence.files import write_json, write_text
from vergence.labels import Labels, fingerprint, keypoint_labels
from vergence.methods.base import Method
from vergence.methods.epipolar_pose import find_keypoints, make_labels
from vergence.methods.refinement import Refined, RefinementUnit, describe, make_pairs, train_unit
from vergence.methods.registry import build_method
from vergence.methods.supervised import Supervised
from vergence.mixture import Mixture, Part
from vergence.recipe import Draw, LabelStage, Recipe, RefineStage, TrainStage
from vergence.skeleton import get_skeleton
from vergence.sources import open_source
from vergence.training import train_stage
from vergence.version import __version__


class Run:
    """The folder of a run and what is done in it.

    Args:
        recipe: what to do.
        folder: where; a folder of the same recipe goes on where it stopped.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: show bars.
    """

    def __init__(self, recipe: Recipe, folder: Path, device: str = "auto", progress: bool = True) -> None:
        self.recipe, self.folder, self.progress = recipe, folder, progress
        self.device = resolve_device(device)
        self.console = Console(quiet=not progress)
        self.datasets: dict[str, Dataset] = {}
        self.labels: dict[str, Labels] = {}
        self.prints: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self._claim()

    def _claim(self) -> None:
        """Writes the resolved recipe, or makes sure that the folder's is the same."""
        text = yaml.safe_dump({"vergence": __version__, **asdict(self.recipe)}, sort_keys=False)
        path = self.folder / "recipe.yaml"
        if path.exists():
            try:
                old = yaml.safe_load(path.read_text()) or {}
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise VergenceError(f"{path} is not readable YAML", "Choose another --out, or delete it.") from error
            different = first_difference(old, yaml.safe_load(text))
            if different:
                raise VergenceError(
                    f"{self.folder} holds a run of another recipe: {different}", "Choose another --out, or delete it."
                )
        write_text(path, text)

    def dataset(self, name: str) -> Dataset:
        """A source, opened once."""
        if name not in self.datasets:
            started = time.monotonic()
            self.datasets[name] = open_source(self.recipe.sources[name], self.recipe.image_size, self.recipe.skeleton)
            self.seconds["data"] = self.seconds.get("data", 0.0) + time.monotonic() - started
        return self.datasets[name]

    def execute(self) -> Method:
        """All stages; returns the last trained method, saved in the folder."""
        method: Method | None = None
        for name, stage in self.recipe.stages.items():
            self.prints[name] = self._fingerprint(name)
            started = time.monotonic()
            if stage.train:
                method = self._train(name, stage.train)
            elif stage.label:
                self._label(name, stage.label)
            elif stage.refine:
                method = self._refine(name, stage.refine)
            self.seconds[name] = time.monotonic() - started
        if method is None:
            raise VergenceError("the recipe has no training stage", "Add one under stages:.")
        recipe = self.recipe
        save(method, self.folder, recipe.method, recipe.network, recipe.image_size, seed=recipe.seed,
             labels={name: labels.report for name, labels in self.labels.items()}, seconds=self.seconds)  # fmt: skip
        return method

    def _fingerprint(self, name: str) -> str:
        """Of everything a stage's result depends on: its settings, the stages before it, sources, network and seed."""
        recipe, stage = self.recipe, self.recipe.stages[name]
        return fingerprint(
            __version__, recipe.method, recipe.skeleton, recipe.image_size, recipe.seed, recipe.precision,
            asdict(recipe.network), asdict(stage), {k: asdict(v) for k, v in recipe.sources.items()}, dict(self.prints),
        )  # fmt: skip

    def _fresh(self) -> Method:
        torch.manual_seed(self.recipe.seed)
        return build_method(self.recipe.method, self.recipe.network, self.recipe.skeleton)

    def _trained(self, wanted: str, before: str) -> Method | None:
        """The method as a training stage left it: the one named, else the last one before stage `before`."""
        names = list(self.recipe.stages)
        earlier = [n for n in names[: names.index(before)] if self.recipe.stages[n].train]
        if wanted and wanted not in earlier:
            raise VergenceError(
                f"stage {before!r} wants the network of stage {wanted!r}",
                f"Training stages before it: {', '.join(earlier) or 'none'}.",
            )
        name = wanted or (earlier[-1] if earlier else "")
        if not name:
            return None
        method = self._fresh()
        method.load_state_dict(load_file(self.folder / "stages" / name / "model.safetensors"))
        stage = self.recipe.stages[name].train
        method.mirrored = stage is not None and stage.augmentation.mirror > 0
        return method.eval()

    def _train(self, name: str, stage: TrainStage) -> Method:
        folder = self.folder / "stages" / name
        done = folder / "done.json"
        started = self._trained(stage.start, name) if stage.start != "scratch" else None
        method = started or self._fresh()
        method.mirrored = stage.augmentation.mirror > 0
        if done.exists() and json.loads(done.read_text())["made_by"] == self.prints[name]:
            method.load_state_dict(load_file(folder / "model.safetensors"))
            self.console.print(f"[dim]{name}: done before[/dim]")
            return method.eval()
        parts = [self._part(source, stage, count, method.whole_instants) for source, count in stage.batch.items()]
        method.prepare(stage, {part.name: part.visible for part in parts})
        self.console.print(f"[bold]{name}[/bold]: {stage.steps} steps of {sum(stage.batch.values())} pictures")
        train_stage(
            method,
            Mixture(parts, seed=self.recipe.seed),
            stage,
            folder,
            seed=self.recipe.seed,
            device=self.device,
            precision=self.recipe.precision,
            checkpoint_every=self.recipe.checkpoint_every,
            progress=self.progress,
            say=lambda text: rich.get_console().print(f"[yellow]{name}, {text}[/yellow]"),
        )
        save_weights(method, folder / "model.safetensors")
        write_json(done, {"made_by": self.prints[name]})
        (folder / "last.ckpt").unlink(missing_ok=True)
        return method.eval()

    def _part(self, name: str, stage: TrainStage, count: int, whole: bool = False) -> Part:
        source = stage.source_of(name)
        dataset = self.dataset(source)
        visible = withhold(dataset.index, self.recipe.sources[source])
        for label in stage.labels:
            if label not in self.labels:
                raise VergenceError(
                    f"no label stage {label!r} comes before", f"There are {', '.join(self.labels) or 'none'}."
                )
            settings = self.recipe.stages[label].label
            if settings and settings.source == source:
                visible = self.labels[label].apply(visible)
        return Part(name, dataset, visible, count, stage.draw.get(name, Draw()), whole)

    def _label(self, name: str, stage: LabelStage) -> None:
        path = self.folder / "labels" / f"{name}-{self.prints[name]}.npz"
        if path.exists():
            self.labels[name] = Labels.load(path)
            return
        dataset = self.dataset(stage.source)
        visible = withhold(dataset.index, self.recipe.sources[stage.source])
        if stage.cameras == "known":
            visible = visible.replace(rotation=dataset.index.rotation, translation=dataset.index.translation)
        if stage.keypoints == "labelled":
            keypoints, confidence = visible.keypoints[:, :, None], visible.confidence[:, :, None]
            if keypoints.isnan().all():
                raise VergenceError(
                    f"stage {name!r} reads labelled 2D, but source {stage.source!r} shows none",
                    "Set keypoints: true on the source, or keypoints: predicted on the stage.",
                )
        else:
            method = self._trained(stage.network, name)
            if not isinstance(method, Supervised):
                raise VergenceError(f"no trained network finds the joints for stage {name!r}", "Train one before it.")
            keypoints, confidence = find_keypoints(
                method, dataset, self.device, half=self.recipe.precision == "bf16-mixed", count=stage.peaks
            )
        if stage.stores == "keypoints":
            labels = keypoint_labels(visible, keypoints[:, :, 0], confidence[:, :, 0], stage.confidence)
        else:
            labels = make_labels(
                dataset, visible, keypoints, confidence, stage, get_skeleton(self.recipe.skeleton), self.recipe.seed
            )
        if stage.stores == "cameras":
            labels = labels.cameras_only()
        labels.save(path)
        self.labels[name] = labels
        report = labels.report
        self.console.print(
            f"[bold]{name}[/bold]: {report['pictures_labelled']} of {report['pictures']} pictures labelled; "
            f"recordings {report['verdicts']}, refused {sum(report['refused'].values())}"
            if "recordings" in report
            else f"[bold]{name}[/bold]: 2D of {report['joints_labelled']:.0%} of the joints kept"
        )

    def _refine(self, name: str, stage: RefineStage) -> Refined:
        """The last trained method with a refinement unit; short, so it is done in one go."""
        names = list(self.recipe.stages)
        later = [
            n for n in names[names.index(name) + 1 :] if self.recipe.stages[n].train or self.recipe.stages[n].refine
        ]
        method = self._trained("", name)
        if method is None or later:
            raise VergenceError(
                f"stage {name!r} refines a finished method"
                + (f", but {later[0]!r} follows" if later else ", there is none"),
                "Put it behind the last training stage.",
            )
        folder = self.folder / "stages" / name
        done = folder / "done.json"
        unit = RefinementUnit(method.skeleton, stage.width, stage.dropout, stage.correct)
        before = json.loads(done.read_text()) if done.exists() else {}
        if before.get("made_by") == self.prints[name]:
            unit.load_state_dict(load_file(folder / "model.safetensors"))
            return Refined(method, unit.eval(), before["made_with"])
        predicted, truth = self._predicted(method, stage.sources)
        bare = [self._true_poses(source)[1] for source in stage.poses]
        generator = torch.Generator().manual_seed(self.recipe.seed)
        pairs = make_pairs(unit, predicted, truth, torch.cat([truth[:0], *bare]), generator)
        self.console.print(f"[bold]{name}[/bold]: a refinement unit from {len(pairs.targets)} 3D labels")
        curve = train_unit(unit, pairs, stage, self.recipe.seed, self.device)
        made_with = describe(stage, pairs.report)
        save_weights(unit, folder / "model.safetensors")
        lines = [json.dumps({"step": 100 * i, "loss": loss}) for i, loss in enumerate(curve)]
        write_text(folder / "metrics.jsonl", "".join(line + "\n" for line in lines))
        write_json(done, {"made_by": self.prints[name], "made_with": made_with})
        return Refined(method, unit, made_with)

    def _true_poses(self, source: str) -> tuple[Tensor, Tensor]:
        """A source's rows with visible 3D that was not made, and that 3D."""
        visible = withhold(self.dataset(source).index, self.recipe.sources[source])
        rows = torch.nonzero(visible.posed & ~visible.made)[:, 0]
        return rows, visible.pose[rows]

    def _predicted(self, method: Method, sources: list[str]) -> tuple[Tensor, Tensor]:
        """The method's poses of all pictures with visible 3D, and that 3D."""
        joints = len(method.skeleton)
        predicted, truth = [torch.zeros(0, joints, 3)], [torch.zeros(0, joints, 3)]
        method = method.to(self.device)
        for source in sources:
            rows, poses = self._true_poses(source)
            for chunk in rows.split(64) if len(rows) else ():
                views = self.dataset(source).read(chunk)
                found = method.predict(views.image.to(self.device), views.intrinsics.to(self.device))
                if found.frame != "camera":
                    raise VergenceError(f"poses in a {found.frame} frame cannot be refined", "Refine another method.")
                predicted.append(found.pose.cpu().float())
            truth.append(poses)
        method.cpu()
        return torch.cat(predicted), torch.cat(truth)


def first_difference(old: Any, new: Any, path: str = "") -> str:
    """Where two nested mappings differ first, in words; empty where they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            if found := first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key)):
                return found
        return ""
    return "" if old == new else f"{path} is {old!r} there and {new!r} here"
