"""Recipes: every setting of a run, typed, documented where it stands, and free of torch so that `--help` is instant.

`RENAMED` of a class tells which of its keys had which name before; they are still read (`recipes.typed`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from vergence.errors import VergenceError
from vergence.recipes.settings import ANY, SHARE, SOME, Augmentation, Limited, MultiView
from vergence.recipes.sources import Source


@dataclass
class NetworkSettings(Limited):
    """The network's sizes.

    Args:
        backbone: `resnet` built from the sizes below; `resnet18`, `resnet34`, `resnet50`; or a hub name or a local
            folder of a transformers backbone, whose pretrained weights are then the start; a plug-in's name; or `hourglass`,
            Zhou 2017's whole network, which reads `width`, `stacks` and `modules` alone.
        embedding_size: channels of the stem (`resnet` only).
        hidden_sizes: channels of each stage (`resnet` only).
        depths: blocks in each stage (`resnet` only).
        layer_type: kind of block (`resnet` only).
        neck: `top_down` over all stages, or `deconvolution` on the last (the papers' choice at 256 pixels).
        width: channels of the neck, or of the hourglass (256 as published).
        head: `depth_map` (2.5D heatmap and depth map), `volume` (soft-argmax over three axes), or a plug-in's name.
        depth_bins: slices of the volume.
        depth_box: depth of the volume in reference bones; EpipolarPose's 2,000 mm are 4.2 of 480 mm.
        cells: where the joints are read in the heatmap: at the cells' `centre`, or as EpipolarPose's released weights
            were trained (`published`: cell i at pixel i times the stride, from the heatmap itself).
        stacks: hourglasses one after the other (`hourglass` only).
        modules: residual modules at each place of the hourglass (`hourglass` only).
        pose_embedding: size of the embedding (`mcss` only).
        pose_hidden: width of the layers before and after the embedding (`mcss` only).
        pose_grid: cells a side that the backbone's last map is averaged into before the embedding; 1 is the whole map
            (`mcss` only).
    """

    backbone: str = "resnet"
    embedding_size: int = 24
    hidden_sizes: list[int] = field(default_factory=lambda: [24, 48, 96, 160])
    depths: list[int] = field(default_factory=lambda: [1, 1, 1, 1])
    layer_type: Literal["basic", "bottleneck"] = "basic"
    neck: Literal["top_down", "deconvolution"] = "top_down"
    width: int = 48
    head: str = "depth_map"
    depth_bins: int = 32
    depth_box: float = 4.2
    cells: Literal["centre", "published"] = "centre"
    stacks: int = 2
    modules: int = 2
    pose_embedding: int = 128
    pose_hidden: int = 256
    pose_grid: int = 2

    LIMITS: ClassVar = dict.fromkeys(
        ("embedding_size", "hidden_sizes", "depths", "width", "stacks", "modules", "pose_embedding", "pose_hidden",
         "pose_grid"), SOME) | {"depth_bins": (2, 1024), "depth_box": (0.1, 100)}  # fmt: skip


@dataclass
class Draw:
    """How a batch takes a source's images; without one, all of them in random order.

    Args:
        source: the source of the images; empty means the source of the batch's own name. A second name lets one batch
            take the same source twice, in two ways.
        labelled: only images with visible 3D labels.
        time_steps: time steps of each clip; then the batch is clips x time steps x views. 0: single images.
        apart: seconds between any two time steps of one clip (the papers' temporal distance tau).
        views: images of each time step.
    """

    source: str = ""
    labelled: bool = False
    time_steps: int = 0
    apart: float = 1.0
    views: int = 2

    RENAMED: ClassVar = {"instants": "time_steps"}

    def __post_init__(self) -> None:
        if self.time_steps < 0 or self.apart < 0 or self.views < 1:
            raise VergenceError(
                f"a draw of {self.time_steps} time steps, {self.apart:g} s apart, by {self.views} views",
                "Give 0 or more time steps and seconds, and at least one view.",
            )


@dataclass
class MetricLoss:
    """The metric-learning loss of `mcss`.

    Args:
        kind: `hardnet`, the hardest negative by a margin; or `infonce`, all negatives in a softmax.
        margin: between the distances of a positive and its hardest negative, on the unit sphere (`hardnet`).
        temperature: of the softmax (`infonce`).
        negatives: time steps of the same `clip`, of `others` only, or of `all`.
        apart: two time steps of one clip that are closer than this, in seconds, are not negatives (tau).
        floor: two labelled poses that are closer than this are not negatives; mean joint distance in reference bones.
    """

    kind: Literal["hardnet", "infonce"] = "hardnet"
    margin: float = 1.0
    temperature: float = 0.1
    negatives: Literal["clip", "others", "all"] = "clip"
    apart: float = 1.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.margin <= 0 or self.temperature <= 0 or self.apart < 0 or self.floor < 0:
            raise VergenceError(
                f"a metric loss of margin {self.margin:g}, temperature {self.temperature:g}, {self.apart:g} s apart and "
                f"floor {self.floor:g}",
                "Margin and temperature must be above 0, the others not below.",
            )


@dataclass
class TrainStage(Limited):
    """Steps of training.

    Args:
        steps: number of batches.
        batch: images of each source in a batch.
        draw: how some of them are drawn, by their name in `batch`.
        losses: weight of each of the method's loss terms; a term that is not named has weight 0.
        metric: the metric-learning loss (`mcss` only).
        frozen: parts of the method that keep their weights and batch statistics, as `network`.
        start: stage whose weights it starts from; empty is the training stage before it, `scratch` is none.
        labels: label stages whose labels it reads.
        optimizer: `adamw`; `rmsprop` (Zhou 2017; decay 0.99, no momentum); or `muon` for kernels and matrices with AdamW
            for the rest: learns from fewer steps, from scratch.
        schedule: of the learning rate: `cosine`, a linear warm-up over 3 % and then a cosine to 1 % of the peak; or
            `steps`, constant between its `milestones`.
        milestones: shares of the stage after which the rate is divided by ten (`steps`).
        learning_rate: the peak; with `muon`, AdamW's.
        muon_rate: Muon's peak of the same schedule.
        weight_decay: decoupled; RMSprop has none.
        ema_decay: decay of the running average of weights that is kept as the result; 0 keeps the last weights.
        grad_clip: largest gradient norm.
        augmentation: how images are changed at random.
        no_augment: names in `batch` whose images are not augmented.
        multiview: how views of one time step teach each other (`multiview_consistency`).
    """

    steps: int = 1000
    batch: dict[str, int] = field(default_factory=dict)
    draw: dict[str, Draw] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    metric: MetricLoss = field(default_factory=MetricLoss)
    frozen: list[str] = field(default_factory=list)
    start: str = ""
    labels: list[str] = field(default_factory=list)
    optimizer: Literal["adamw", "rmsprop", "muon"] = "adamw"
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: list[float] = field(default_factory=list)
    learning_rate: float = 5e-3
    muon_rate: float = 0.06
    weight_decay: float = 1e-4
    ema_decay: float = 0.98
    grad_clip: float = 1.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    no_augment: list[str] = field(default_factory=list)
    multiview: MultiView = field(default_factory=MultiView)

    RENAMED: ClassVar = {
        "drops": "milestones", "average": "ema_decay", "clip": "grad_clip", "kernel_rate": "muon_rate",
        "unchanged": "no_augment",
    }  # fmt: skip
    LIMITS: ClassVar = {
        "steps": SOME, "ema_decay": SHARE,
        **dict.fromkeys(("batch", "learning_rate", "muon_rate", "weight_decay", "grad_clip"), ANY),
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, names in (("draw", list(self.draw)), ("no_augment", self.no_augment)):
            if strange := [name for name in names if name not in self.batch]:
                remedy = f"The batch has {', '.join(self.batch) or 'nothing'}."
                raise VergenceError(f"{key} names {strange[0]!r}, but the batch takes none of it", remedy)
        if not all(0 < share < 1 for share in self.milestones) or (self.milestones and self.schedule != "steps"):
            remedy = "Give shares of the stage between 0 and 1, and schedule: steps."
            raise VergenceError(f"milestones are {self.milestones} of a schedule {self.schedule}", remedy)

    def source_of(self, name: str) -> str:
        """The source behind a name of the batch."""
        return (self.draw[name].source if name in self.draw else "") or name


@dataclass
class LabelStage(Limited):
    """Labels made by a network and several views.

    Args:
        source: which source's recordings are labelled.
        network: training stage whose network, frozen, finds the joints; empty is the last one before.
        keypoints: `predicted` by that network, or `labelled`: the source's own 2D.
        cameras: `unknown` or `known` extrinsics.
        frames: at most this many time steps are pooled for one estimate of the cameras.
        per_frame: each frame alone, as in the paper, for comparison.
        peaks: how many peaks of each joint's heatmap are kept; the views choose one when the cameras are known. 1 is
            the highest alone, the paper's way (and that of `per_frame`).
        stores: what is kept: `pose` (3D, its 2D and the cameras' rotations), `cameras` (the rotations alone), or
            `keypoints`: the 2D that the network found, no geometry.
        confidence: with `stores: keypoints`, joints of less confidence are left out.
    """

    source: str = ""
    network: str = ""
    keypoints: Literal["predicted", "labelled"] = "predicted"
    cameras: Literal["unknown", "known"] = "unknown"
    frames: int = 200
    per_frame: bool = False
    peaks: int = 2
    stores: Literal["pose", "cameras", "keypoints"] = "pose"
    confidence: float = 0.0

    LIMITS: ClassVar = {"frames": SOME, "confidence": SHARE}
    SAID: ClassVar = "label."

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.peaks <= 4:
            raise VergenceError(f"label.peaks is {self.peaks}", "Give 1 to 4; every pair of peaks is tried.")
        if self.confidence and self.stores != "keypoints":
            remedy = "It belongs to stores: keypoints."
            raise VergenceError(f"label.confidence is {self.confidence:g} and stores is {self.stores}", remedy)


@dataclass
class RefineStage(Limited):
    """A refinement unit behind the trained method (EpipolarPose 3.3).

    Its targets are 3D labels, and every result says so; or, with `labels`, pseudo-labels: then it needs none.

    Args:
        sources: whose images the method predicts; their visible 3D and the pseudo-labels of `labels` are the targets.
        labels: label stages whose poses are targets.
        images: at most so many of each source, spread over it; 0 is all.
        poses: more sources, of which the visible 3D alone is used: their poses get an error like the method's.
        mirror: every pair is also learned mirrored (not in the paper).
        steps: number of batches.
        batch: poses in a batch.
        learning_rate: Adam's, with a cosine to 0.
        width: of the hidden layers.
        dropout: share of features dropped in training.
        correct: the unit's output is added to its input; False is the paper's form, which needs far more labels and
            steps.
    """

    sources: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    images: int = 0
    poses: list[str] = field(default_factory=list)
    mirror: bool = True
    steps: int = 5000
    batch: int = 64
    learning_rate: float = 1e-3
    width: int = 1024
    dropout: float = 0.5
    correct: bool = True

    RENAMED: ClassVar = {"pictures": "images"}
    LIMITS: ClassVar = {
        **dict.fromkeys(("steps", "batch", "width"), SOME), **dict.fromkeys(("images", "learning_rate"), ANY),
        "dropout": (0, 0.99),
    }  # fmt: skip


@dataclass
class CalibrateStage(Limited):
    """Expected errors of the finished method, from labels of images that no stage trained on (`methods.uncertainty`).

    Args:
        sources: whose images it predicts; none that a stage trains on.
        labels: label stages whose poses its predictions are compared with; without any, the sources' visible 3D.
        usual: sources that were trained on, whose images say what an image looks like; without any, no image is called unlike.
        images: at most so many of each source, spread over it; 0 is all.
    """

    sources: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    usual: list[str] = field(default_factory=list)
    images: int = 2000

    LIMITS: ClassVar = {"images": ANY}
    SAID: ClassVar = "calibrate."


@dataclass
class Stage:
    """One step of a recipe: `train`, `label`, `refine` or `calibrate`.

    Args:
        train: training.
        label: makes 3D labels.
        refine: a refinement unit, after the last training.
        calibrate: expected errors, last of all.
    """

    train: TrainStage | None = None
    label: LabelStage | None = None
    refine: RefineStage | None = None
    calibrate: CalibrateStage | None = None

    def __post_init__(self) -> None:
        if sum(kind is not None for kind in vars(self).values()) != 1:
            kinds = ", ".join(f"`{name}:`" for name in vars(self))
            raise VergenceError(f"a stage is none of {kinds}, or several", "Give exactly one of them.")

    @property
    def sources(self) -> list[str]:
        """Names of the sources it reads."""
        if self.train:
            return [self.train.source_of(name) for name in self.train.batch]
        if self.calibrate:
            return [*self.calibrate.sources, *self.calibrate.usual]
        return [self.label.source] if self.label else [*self.refine.sources, *self.refine.poses] if self.refine else []


@dataclass
class Recipe(Limited):
    """Everything that makes a run.

    Args:
        method: `supervised`, `epipolar_pose`, `multiview_consistency`, `geometric_constraint`, `mcss`, a plug-in's name, or
            `module:Class`.
        skeleton: the run's joints.
        image_size: side of the crops, pixels; multiples of 32 fit every network.
        network: sizes of the network.
        sources: images by name.
        stages: the steps of the recipe, in this order.
        test: sources that the finished model is measured on.
        precision: Lightning's; `bf16-mixed` is 1.7 times as fast where the processor has bf16.
        checkpoint_every: steps between checkpoints to resume from.
        seed: of weights, batches and augmentation.
        plugins: Python files that add methods, kinds of sources, backbones or heads (`vergence.plugins`); a relative path is
            the recipe's neighbour, else in the working folder.
    """

    method: str = "epipolar_pose"
    skeleton: str = "h36m_17"
    image_size: int = 96
    network: NetworkSettings = field(default_factory=NetworkSettings)
    sources: dict[str, Source] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    test: dict[str, Source] = field(default_factory=dict)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    checkpoint_every: int = 200
    seed: int = 0
    plugins: list[str] = field(default_factory=list)

    LIMITS: ClassVar = {"image_size": (8, 4096), "checkpoint_every": SOME, "seed": ANY}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, stage in self.stages.items():
            for source in stage.sources:
                if source not in self.sources:
                    raise VergenceError(
                        f"stage {name!r} reads source {source!r}, which the recipe does not have",
                        f"Its sources are {', '.join(self.sources) or 'none'}.",
                    )

    def under(self, root: Path | None) -> Recipe:
        """The same recipe with relative paths of its datasets below a folder; None changes nothing."""
        other = copy.deepcopy(self)
        for source in (*other.sources.values(), *other.test.values()):
            if root is not None and source.path and not Path(source.path).is_absolute():
                source.path = str(root / source.path)
        return other

    def at_seed(self, seed: int) -> Recipe:
        """The same recipe with other people, cameras, weights and batches: `seed` 0 is itself."""
        other = replace(copy.deepcopy(self), seed=self.seed + seed)
        for source in (*other.sources.values(), *other.test.values()):
            if "seed" in vars(source):
                source.seed += 10 * seed
        return other
