"""A recipe carried out: its stages in order, each finished one kept and not done again.

A stage's fingerprint is of everything that its result depends on and of nothing else, so that equal stages of different
runs can be shared: its settings, the network, the sources that *it* reads, the stages that it builds on, the seed. A
stage that learns nothing but the network's own 2D is trained as `supervised` whatever the method (`registry.trained_as`):
then all methods share it by construction, and not because their losses happen to agree.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vergence import __version__, plugins
from vergence.batches.dataset import Dataset, visible_labels
from vergence.batches.labelled import Labelled
from vergence.batches.pseudo_labels import PseudoLabels, fingerprint, keypoint_labels
from vergence.batches.sampler import Mixture, Part
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.files import read_json, read_yaml, write_json, write_text
from vergence.folders import claim
from vergence.inference.estimator import save
from vergence.methods.base import Method
from vergence.methods.refinement import Refined, RefinementUnit, make_pairs, train_unit
from vergence.methods.registry import build_method, own_settings
from vergence.methods.uncertainty import UNCERTAINTY, Uncertainty
from vergence.networks.devices import resolve_device
from vergence.networks.saved import save_weights
from vergence.progress import Pace, Progress, heard, silent
from vergence.recipes.recipe import CalibrateStage, Draw, LabelStage, Recipe, RefineStage, Source, TrainStage
from vergence.skeleton import get_skeleton
from vergence.training.calibrating import calibrated, poses_to_refine
from vergence.training.checks import NO_2D, carrier, check_recipe, kept_backbone, stage_before, unfinished
from vergence.training.labelling import find_keypoints, label_words, labelled_from, make_pseudo_labels
from vergence.training.loop import train_stage
from vergence.training.processes import ALONE, Team, check_alone
from vergence.training.sources import check_readable
from vergence.training.stage_cache import Opened, Shared
from vergence.world.scenes import WORLD_VERSION

log = logging.getLogger(__name__)


class Run:
    """A run's folder, and the execution of its recipe.

    Args:
        recipe: what to do.
        folder: where; in a folder of the same recipe the run continues.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: reports each stage's steps; other lines, warnings too, go to the logger of this module.
        shared: folder of parts that several runs have in common.
        team: the processes that execute it, each with a `Run` of its own; only the first writes.

    Attributes:
        method: the last trained one, once `execute` has returned.
        seconds: wall clock of each stage over all stops, also where another run made it; `data`: of opening images.
        cpu_seconds: the same in seconds of the processor, over all threads.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        device: str = "auto",
        progress: Progress = silent,
        shared: Shared | None = None,
        team: Team = ALONE,
    ) -> None:
        self.recipe, self.folder, self.progress, self.shared = recipe, folder, progress, shared
        self.device, self.team = resolve_device(device), team
        check_alone(team)
        self.method: Method | None = None
        self.open = (shared or Opened()).open
        self.datasets: dict[str, Dataset] = {}
        self.labels: dict[str, PseudoLabels] = {}
        self.prints: dict[str, str] = {}
        self.seconds, self.cpu_seconds = dict[str, float](), dict[str, float]()
        self.network, self.kept = kept_backbone(recipe.network, folder)
        check_recipe(replace(recipe, network=self.network), weights=not self.kept)
        for name in recipe.stages:
            self.prints[name] = self._fingerprint(name)
        task = fingerprint(__version__, asdict(recipe))
        team.check_same(task, "the recipe", "Give each the same command and version.")
        team.first(self._claim)
        if not (folder / "recipe.yaml").exists():
            remedy = "Put --out on a file system that all machines share."
            raise VergenceError(f"process {team.rank} does not see {folder}, which process 0 writes", remedy)

    def _claim(self) -> None:
        """Takes the folder for this recipe, also from another one's run that failed and has nothing to lose."""
        path, values = self.folder / "recipe.yaml", {"vergence": __version__, **asdict(self.recipe)}
        try:
            claim(path, values, "a run of another recipe")
        except VergenceError as error:
            of_run = "another recipe: " in error.problem and "vergence" in read_yaml(path)
            if not of_run or not unfinished(self.folder, self.prints):
                raise
            log.info("%s; it made nothing that this one would not, and gives way", error.problem)
            path.unlink()
            claim(path, values, "a run of another recipe")

    def dataset(self, name: str) -> Dataset:
        """A source, opened once."""
        if name not in self.datasets:
            started, cpu = time.monotonic(), time.process_time()
            log.info("source %s: opening its images", name)
            with heard(self.progress, f"source {name}"):
                self.datasets[name] = self.open(self.recipe.sources[name], self.recipe.image_size, self.recipe.skeleton)
            self.seconds["data"] = self.seconds.get("data", 0.0) + time.monotonic() - started
            self.cpu_seconds["data"] = self.cpu_seconds.get("data", 0.0) + time.process_time() - cpu
        return self.datasets[name]

    def execute(self) -> Method:
        """All stages; returns the last trained method, saved in the folder."""
        method: Method | None = None
        work = {n: float(t.steps * sum(t.batch.values())) for n, s in self.recipe.stages.items() if (t := s.train)}
        self.progress = Pace(self.progress, work, log.info)
        if not (self.folder / "config.json").exists():
            check_readable(self.recipe, self.dataset, self.open)
        for name, stage in self.recipe.stages.items():
            if stage.train:
                method = self._train(name, stage.train)
            elif stage.label:
                self.team.in_turn(partial(self._label, name, stage.label))
            elif stage.refine:
                method = self.team.in_turn(partial(self._refine, name, stage.refine))
            elif stage.calibrate and method is not None:
                self.team.in_turn(partial(self._calibrate, name, stage.calibrate, method))
        assert method is not None  # `check_recipe` looked
        self.method, recipe = method, self.recipe
        if self.kept:  # as it was saved: parts that no stage trained began as random numbers
            bare = method.method if isinstance(method, Refined) else method
            bare.load_state_dict(load_file(self.folder / "model.safetensors"))
            return method
        made_with: dict[str, Any] = {"plugins": [Path(file).name for file in recipe.plugins]} if recipe.plugins else {}
        made_with |= {"threads": torch.get_num_threads()} | ({"processes": n} if (n := self.team.size) > 1 else {})
        sources = {n: {"kind": source.kind, "path": Path(source.path).name} for n, source in recipe.sources.items()}
        labels = {name: labels.report for name, labels in self.labels.items()}
        self.team.first(lambda: save(
            method, self.folder, recipe.method, recipe.network, recipe.image_size, seed=recipe.seed, labels=labels,
            seconds=self.seconds, cpu_seconds=self.cpu_seconds, sources=sources, **made_with))  # fmt: skip
        return method

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        """Adds to a stage's seconds what the block takes without opening images, also where it is interrupted."""
        path = self._clock_file(name)
        before = json.loads(path.read_text()) if path.exists() else {}
        before = before if before.get("made_by") == self.prints[name] else {}
        clocks = (("seconds", self.seconds, time.monotonic), ("cpu_seconds", self.cpu_seconds, time.process_time))
        started = [now() - kept.get("data", 0.0) - before.get(word, 0.0) for word, kept, now in clocks]
        try:
            yield
        finally:
            for (_, kept, now), start in zip(clocks, started, strict=True):
                kept[name] = now() - kept.get("data", 0.0) - start
            if not self.team.rank:
                write_json(path, {"made_by": self.prints[name], **self._times(name)})

    def _times(self, name: str) -> dict[str, float]:
        return {"seconds": self.seconds[name], "cpu_seconds": self.cpu_seconds[name]}

    def _read_times(self, name: str, made: Mapping[str, Any]) -> None:
        self.seconds[name], self.cpu_seconds[name] = made.get("seconds", 0.0), made.get("cpu_seconds", 0.0)

    def _clock_file(self, name: str) -> Path:
        return self.folder / "stages" / f"{name}.seconds.json"

    def _fingerprint(self, name: str) -> str:
        """Of everything a stage's result depends on, and of nothing else; what is new here must be named here."""
        recipe, stage = self.recipe, self.recipe.stages[name]
        about: list[Any] = [__version__, recipe.skeleton, recipe.image_size, recipe.seed, recipe.precision]
        sources = {source: recipe.sources[source] for source in stage.sources}
        if stage.train:
            method = carrier(self.recipe, name)
            start = "" if stage.train.start == "scratch" else stage_before(self.recipe, stage.train.start, name)
            about += [method, own_settings(method, recipe.network), self.prints.get(start)]
            about += [list(stage.train.batch), list(stage.train.losses.items())]  # sums depend on the order
            about += [[self.prints.get(label) for label in stage.train.labels]]
        elif stage.label:
            about += ["the 2D put right"]  # label files of before have it as it was
            sources = {n: labelled_from(source, stage.label) for n, source in sources.items()}
            predicted = stage.label.keypoints == "predicted"
            about += [self.prints.get(stage_before(self.recipe, stage.label.network, name)) if predicted else None]
        elif stage.refine:
            about += [recipe.method, asdict(recipe.network), self.prints.get(stage_before(self.recipe, "", name))]
            about += [[self.prints.get(label) for label in stage.refine.labels]]
        elif stage.calibrate:
            about += list(self.prints.values())  # of all before it
        world = WORLD_VERSION if any(s.of_world for s in sources.values()) else ""
        about += self._foreign(method if stage.train else recipe.method if stage.refine else "", sources.values())
        return fingerprint(*about, asdict(stage), {n: asdict(source) for n, source in sources.items()}, world)

    def _foreign(self, method: str, sources: Iterable[Source]) -> list[str]:
        """Digests of the plug-in files that a stage runs: changed code is another result."""
        network = self.recipe.network
        things = [type(source) for source in sources] + ([plugins.methods[method]] if method else [])
        things += [plugins.heads[network.head]] if method else []
        things += [plugins.backbones[network.backbone]] if method and network.backbone in plugins.backbones else []
        return [code for code in map(plugins.code_of, things) if code]

    def _fresh(self, method: str = "") -> Method:
        torch.manual_seed(self.recipe.seed)
        return build_method(method or self.recipe.method, self.network, self.recipe.skeleton, not self.kept)

    def _trained(self, wanted: str, before: str, made_by: str = "") -> Method | None:
        """The run's method (or `made_by`, where that made it) as a training stage left it: the one named, else the last one
        before stage `before`."""
        name = stage_before(self.recipe, wanted, before)
        return self._left_by(name, made_by or self.recipe.method) if name else None

    def _left_by(self, name: str, method_name: str) -> Method:
        method = self._fresh(method_name)
        weights = load_file(self.folder / "stages" / name / "model.safetensors")
        if carrier(self.recipe, name) == method_name:
            method.load_state_dict(weights)
        else:
            method.adopt(weights)
        stage = self.recipe.stages[name].train
        method.mirrored = stage is not None and stage.augmentation.mirror > 0
        method.labelled = Labelled.read(read_json(self.folder / "stages" / name / "done.json").get("labelled"))
        return method.eval()

    def _train(self, name: str, stage: TrainStage) -> Method:
        folder = self.folder / "stages" / name
        if self.team.first(lambda: self._is_done(name, folder)):
            log.info("%s: done before", name)
            return self._left_by(name, self.recipe.method)
        self.network, self.kept = self.recipe.network, False
        carried = carrier(self.recipe, name)
        before = self._trained(stage.start, name, carried) if stage.start != "scratch" else None
        method = before or self._fresh(carried)
        method.mirrored = stage.augmentation.mirror > 0
        with self._clock(name):
            parts = [self._part(source, stage, count, method.whole_time_steps) for source, count in stage.batch.items()]
            method.prepare(stage, {part.name: part.visible for part in parts})
            if self.team.size > 1:
                seen = fingerprint(*(dict(part.visible.items()) for part in parts))
                self.team.check_same(seen, f"what stage {name!r} reads", "Give each the same data.")
            labelled: Labelled | None = Labelled.of([part.visible for part in parts if part.count], method.skeleton)
            if before is not None:
                labelled = before.labelled | labelled if before.labelled and labelled else None
            log.info("%s: %d steps of %d images", name, stage.steps, sum(stage.batch.values()))
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
                name=name,
                say=lambda text: log.warning("%s, %s", name, text),
                team=self.team,
            )
            self.team.first(lambda: save_weights(method, folder / "model.safetensors"))
        self.team.first(lambda: self._finish(name, folder, labelled=labelled and labelled.plain(method.skeleton)))
        return self._left_by(name, self.recipe.method)

    def _is_done(self, name: str, folder: Path) -> bool:
        """Whether a stage's folder holds its result, made before or found among what is shared."""
        done, made_by = folder / "done.json", self.prints[name]
        for _ in range(2):
            if done.exists() and (before := read_json(done))["made_by"] == made_by:
                self._read_times(name, before)
                self._settle(name, folder)
                return True
            if not (self.shared and self.shared.take(made_by, folder)):
                return False
        return False

    def _finish(self, name: str, folder: Path, **more: Any) -> None:
        write_json(folder / "done.json", {"made_by": self.prints[name], **self._times(name), **more})
        self._settle(name, folder)

    def _settle(self, name: str, made: Path) -> None:
        """What remains to be done of a stage that is whole, also where a kill came before it."""
        self._clock_file(name).unlink(missing_ok=True)
        if made.is_dir():
            (made / "last.ckpt").unlink(missing_ok=True)
        if self.shared:
            self.shared.put(self.prints[name], made)

    def _part(self, name: str, stage: TrainStage, count: int, whole: bool = False) -> Part:
        source = stage.source_of(name)
        visible = self._visible(source, stage.labels)
        return Part(name, self.dataset(source), visible, count, stage.draw.get(name, Draw()), whole)

    def _visible(self, source: str, labels: list[str]) -> Views:
        """A source's index with its visible labels and the pseudo-labels that stages made of it."""
        visible = visible_labels(self.dataset(source), self.recipe.sources[source])
        for label in labels:
            settings = self.recipe.stages[label].label
            if settings and settings.source == source:
                visible = self.labels[label].apply(visible)
        return visible

    def _label(self, name: str, stage: LabelStage) -> None:
        path = self.folder / "labels" / f"{name}-{self.prints[name]}.npz"
        if path.exists() or (self.shared and self.shared.take(self.prints[name], path)):
            self.labels[name] = PseudoLabels.load(path)
            self._read_times(name, self.labels[name].report)
            return self._settle(name, path)
        with self._clock(name), heard(self.progress, name):
            labels = self._make_labels(name, stage)
        labels = replace(labels, report={**labels.report, **self._times(name)})
        labels.save(path)
        self._settle(name, path)
        self.labels[name] = labels
        log.info("%s: %s", name, label_words(labels.report))

    def _make_labels(self, name: str, stage: LabelStage) -> PseudoLabels:
        dataset = self.dataset(stage.source)
        visible = visible_labels(dataset, labelled_from(self.recipe.sources[stage.source], stage))
        if stage.cameras == "known":
            visible = visible.replace(rotation=dataset.index.rotation, translation=dataset.index.translation)
        if stage.keypoints == "labelled":
            keypoints, confidence = visible.keypoints[:, :, None], visible.confidence[:, :, None]
            if keypoints.isnan().all():
                raise VergenceError(
                    f"stage {name!r} reads labelled 2D, but none of source {stage.source!r} is visible", NO_2D
                )
        else:
            method = self._trained(stage.network, name)
            assert method is not None
            keypoints, confidence = find_keypoints(
                method, dataset, self.device, half=self.recipe.precision == "bf16-mixed", count=stage.peaks
            )
        if stage.stores == "keypoints":
            return keypoint_labels(visible, keypoints[:, :, 0], confidence[:, :, 0], stage.confidence)
        source, joints = self.recipe.sources[stage.source], get_skeleton(self.recipe.skeleton)
        own = visible_labels(dataset, source) if source.kind == "capture" and source.keypoints else None
        labels = make_pseudo_labels(dataset, visible, keypoints, confidence, stage, joints, self.recipe.seed, own=own)
        return labels.cameras_only() if stage.stores == "cameras" else labels

    def _refine(self, name: str, stage: RefineStage) -> Refined:
        """The last trained method with a refinement unit; short, so it is done in one go."""
        method = self._trained("", name)
        assert method is not None
        folder = self.folder / "stages" / name
        unit = RefinementUnit(method.skeleton, stage.width, stage.dropout, stage.correct)
        if self._is_done(name, folder):
            unit.load_state_dict(load_file(folder / "model.safetensors"))
            return Refined(method, unit.eval(), json.loads((folder / "done.json").read_text())["made_with"])
        with self._clock(name):
            made_with = self._fit_unit(name, stage, method, unit, folder)
        self._finish(name, folder, made_with=made_with)
        return Refined(method, unit, made_with)

    def _calibrate(self, name: str, stage: CalibrateStage, method: Method) -> None:
        """Gives the finished method its expected errors."""
        file = self.folder / "stages" / name / UNCERTAINTY
        if not self._is_done(name, file.parent):
            with self._clock(name):
                held = [(self.dataset(source), *self._goals(source, stage)) for source in stage.sources]
                calibrated(method, held, [self.dataset(usual) for usual in stage.usual], self.device).save(file)
            self._finish(name, file.parent)
        method.uncertainty = Uncertainty.load(file)

    def _fit_unit(
        self, name: str, stage: RefineStage, method: Method, unit: RefinementUnit, folder: Path
    ) -> dict[str, Any]:
        """Trains a unit in place; returns what it was made with."""
        found = [(self.dataset(source), *self._goals(source, stage)) for source in stage.sources]
        poses = torch.cat([poses_to_refine(method, *own, self.device, self.recipe.precision) for own in found])
        method.cpu()
        bare = [self._goals(source, replace(stage, labels=[], images=0))[1].pose for source in stage.poses]
        generator = torch.Generator().manual_seed(self.recipe.seed)
        goals = Views.cat([goals for *_, goals in found])
        pairs = make_pairs(unit, poses, goals, torch.cat([poses[:0], *bare]), generator, stage.mirror)
        log.info("%s: a refinement unit from %d images", name, pairs.report["images"])
        curve = train_unit(unit, pairs, stage, self.recipe.seed, self.device)
        made_with = {**asdict(stage), **pairs.report}
        save_weights(unit, folder / "model.safetensors")
        lines = [json.dumps({"step": 100 * i, "loss": loss}) for i, loss in enumerate(curve)]
        write_text(folder / "metrics.jsonl", "".join(line + "\n" for line in lines))
        return made_with

    def _goals(self, source: str, stage: RefineStage | CalibrateStage) -> tuple[Tensor, Views]:
        """The rows of a source with visible 3D or pseudo-labels of the stage's label stages, none external, and their index."""
        before, views = self._visible(source, []), self._visible(source, stage.labels)
        rows = torch.nonzero((before.has_pose & ~before.pseudo) | (views.has_pose & ~before.has_pose))[:, 0]
        if 0 < stage.images < len(rows):
            rows = rows[torch.linspace(0, len(rows) - 1, stage.images).round().long()]
        return rows, views[rows]
