"""What all methods share: the 2.5D network, its prediction lifted to 3D, and the contract a run relies on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vergence.batches.labelled import Labelled
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.camera import normalise
from vergence.geometry.canonical import canonical_pose
from vergence.geometry.lifting import bone_vector, lift
from vergence.methods.uncertainty import AveragedMaps, Uncertainty, cues_of
from vergence.networks.hourglass import StackedHourglass
from vergence.networks.pose_network import Maps, PoseNetwork
from vergence.networks.quick import quickened
from vergence.outputs import PoseSequence
from vergence.outputs.sequence import UNSURE
from vergence.plugins import exporters
from vergence.recipes.recipe import TrainStage
from vergence.skeleton import Skeleton


@dataclass
class Prediction:
    """What an estimator says about N crops.

    Attributes:
        pose: root-relative, reference bone of length 1, in the frame below.
        frame: `camera` (the crop's) or `canonical` (turned to a fixed heading).
        keypoints: crop pixels.
        confidence: of the keypoints, 0 to 1.
        root_depth: distance of the root along the optical axis, in reference bones.
        embedding: of the pose, unit length; near for equal poses, whatever the view.
        reliable: False where the closed form had to be clamped or its root was ambiguous (reference bone foreshortened).
        error: expected distance of each joint from where it truly is, in `unit`, root-relative; None where the run was not
            calibrated (a recipe's `calibrate:` stage).
        error_90: the distance that nine of ten joints stay within.
        strangeness: how unlike the images that it learned its poses from an image is: 1 is the limit that 99 % of such images
            stay within.
        cues, look: what these are told from, until they are (`Method.learned`).
        joint_names: of the J joints, as an estimator gives them; empty where a method speaks.
        unit: of poses and depths.
    """

    pose: Float[Tensor, "N J 3"]
    frame: Literal["camera", "canonical"]
    keypoints: Float[Tensor, "N J 2"] | None = None
    confidence: Float[Tensor, "N J"] | None = None
    root_depth: Float[Tensor, " N"] | None = None
    reliable: Tensor | None = None
    embedding: Float[Tensor, "N E"] | None = None
    error: Float[Tensor, "N J"] | None = None
    error_90: Float[Tensor, "N J"] | None = None
    strangeness: Float[Tensor, " N"] | None = None
    cues: Float[Tensor, "N J C"] | None = None
    look: Float[Tensor, "N D"] | None = None
    joint_names: tuple[str, ...] = ()
    unit: str = "reference_bone"

    @property
    def unlike(self) -> Tensor | None:
        """Which images are unlike those that it learned its poses from."""
        return None if self.strangeness is None else self.strangeness > 1

    def __repr__(self) -> str:
        count, joints = self.pose.shape[:2]
        more = f", with {', '.join(self._tensors()[1:])}" if len(self._tensors()) > 1 else ""
        return f"Prediction({count} poses of {joints} joints in {self.unit}, {self.frame} frame{more})"

    def save(self, path: str | Path, fps: float = 30.0) -> str:
        """Poses, keypoints and confidence as a pose file, one row for each image, in the format of its suffix (`.npz`, `.json`,
        `.csv`, `.trc`, and what `plugins.exporters` knows).

        Args:
            path: the file.
            fps: images per second, which every pose file states.

        Raises:
            VergenceError: no joint names, no such format, or a file that cannot be written.
        """
        if not self.joint_names:
            raise VergenceError("a prediction without joint names cannot be saved", "Save what an estimator gives.")
        names = ("keypoints", "confidence", *UNSURE)
        numbers = {n: getattr(self, n).double().cpu().numpy() for n in names if getattr(self, n) is not None}
        poses = PoseSequence(
            self.pose.double().cpu().numpy(),
            self.joint_names,
            fps,
            self.unit,
            reliable=None if self.reliable is None else self.reliable.cpu().numpy(),
            **numbers,
        )
        return exporters[Path(path).suffix.lower().lstrip(".")](Path(path), poses) or ""

    def rows(self, index: Tensor) -> Prediction:
        """The predictions of some crops, in that order."""
        return replace(self, **{name: getattr(self, name)[index] for name in self._tensors()})

    @staticmethod
    def cat(parts: Sequence[Prediction]) -> Prediction:
        """Joins one estimator's predictions, one at least, in order and on the CPU."""
        joined: dict[str, Any] = {n: torch.cat([getattr(p, n).cpu() for p in parts]) for n in parts[0]._tensors()}
        return replace(parts[0], **joined)

    def _tensors(self) -> list[str]:
        return [f.name for f in fields(self) if isinstance(getattr(self, f.name), Tensor)]


@dataclass
class Watch:
    """What a method sees of itself while it trains.

    Attributes:
        figures: by name, for the metrics.
        alarms: by name, a sentence on what goes wrong.
    """

    figures: dict[str, float] = field(default_factory=dict)
    alarms: dict[str, str] = field(default_factory=dict)


class Method(nn.Module):
    """A network with losses on Views and a prediction from images; subclasses are the papers.

    Args:
        network: gives 2.5D joints.
        skeleton: the run's joints.

    Attributes:
        mirrored: trained with horizontal flips, so that predictions may be averaged with those of the flipped image.
        progress: share of the training stage that is done, 0 to 1; set before every batch.
        whole_time_steps: batches hold all views of a time step.
        makes_labels: its network's heatmaps may find the joints of which a label stage makes pseudo-labels.
        embeds: predictions have an embedding, from which evaluation fits poses anew (`refit_target`).
        labelled: joints that its training's labels show; None where that is not known: all are taken as learned.
        uncertainty: what it knows of its own errors; None: predictions carry none.
    """

    whole_time_steps = False
    makes_labels = True
    embeds = False
    labelled: Labelled | None = None
    uncertainty: Uncertainty | None = None

    def __init__(self, network: PoseNetwork | StackedHourglass, skeleton: Skeleton) -> None:
        super().__init__()
        self.network = network
        self.skeleton = skeleton
        self.mirrored = True
        self.progress = 0.0

    def prepare(self, stage: TrainStage, visible: dict[str, Views]) -> None:
        """Called before a training stage with its settings and the labels that its sources show, by their name in `batch`."""

    def adopt(self, weights: dict[str, Tensor]) -> None:
        """Takes the network that a stage of 2D alone left, whatever the method; parts of its own stay as they are."""
        self.network.load_state_dict({name.removeprefix("network."): value for name, value in weights.items()})

    def refit_target(self, views: Views) -> tuple[Float[Tensor, "N J 3"], Float[Tensor, "N J"]]:
        """Poses in the frame that `predict` gives them in and their weights, 0 where unknown: of a method that `embeds`, what
        a ridge regression from its embeddings is fitted to."""
        raise NotImplementedError

    def watch(self) -> Watch:
        """How training stands, judged by the batch that `losses` saw last."""
        return Watch()

    def quick(self, device: str, precision: str = "fp32") -> Method:
        """A copy on that device whose network runs faster, for prediction alone; weights that change later are not seen
        (`networks.quick`)."""
        parts = [f"network.{part}" for part in ("backbone", "neck", "head")]
        whole = not isinstance(self.network, PoseNetwork)
        made: Method = quickened(self, ["network"] if whole else parts, device, precision)
        if isinstance(made.network, PoseNetwork) and device == "cpu":
            made.network.hasten(precision == "bf16")
        return made

    @property
    def strangest(self) -> float | None:
        """The mean strangeness that no recording like those of the training exceeded; None where the run does not say."""
        known = self.uncertainty
        return None if known is None or known.usual is None else float(known.usual.together)

    def absent(self, frame: str = "camera") -> tuple[str, ...]:
        """Joints of poses in that frame that no label ever showed."""
        taught = [] if self.labelled is None else self.labelled.taught(self.skeleton, frame)[1].tolist()
        return tuple(name for name, known in zip(self.skeleton.joint_names, taught) if not known)

    def learnable(self, pose: Float[Tensor, "*N J 3"]) -> Float[Tensor, "*N J 3"]:
        """True poses without the joints that no label ever showed: these are not measured, neither of baselines."""
        absent = [self.skeleton.index(name) for name in self.absent()]
        return pose if not absent else pose.index_fill(-2, torch.tensor(absent, device=pose.device), float("nan"))

    def learned(self, prediction: Prediction) -> Prediction:
        """The prediction with its errors told, and NaN in place of joints that no label ever showed."""
        if self.uncertainty is not None and prediction.cues is not None and prediction.look is not None:
            error, radius, strangeness = self.uncertainty(prediction.cues, prediction.look)
            told: dict[str, Any] = {"error": error, "error_90": radius, "strangeness": strangeness}
            prediction = replace(prediction, **told, cues=None, look=None)
        if self.labelled is None:
            return prediction
        flat, deep = (
            known.to(prediction.pose.device) for known in self.labelled.taught(self.skeleton, prediction.frame)
        )
        points, trust, nan = prediction.keypoints, prediction.confidence, float("nan")
        error, radius = prediction.error, prediction.error_90
        return replace(
            prediction,
            pose=torch.where(deep[:, None], prediction.pose, nan),
            keypoints=None if points is None else torch.where(flat[:, None], points, nan),
            confidence=None if trust is None else torch.where(flat, trust, nan),
            error=None if error is None else torch.where(deep, error, nan),
            error_90=None if radius is None else torch.where(deep, radius, nan),
        )

    def read(self, image: Tensor, flip: bool) -> Maps:
        """The network's maps, averaged with those of the mirrored image where asked."""
        return averaged_maps(self.network, image, self.skeleton) if flip else self.network(image)

    @property
    def protocol(self) -> dict[str, Any]:
        """What results must say of how this model was made, beside how it was measured."""
        return {}

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Unweighted loss terms by the paper's names; a term without labels in the batch is 0."""
        raise NotImplementedError

    @torch.no_grad()
    def predict(self, image: Tensor, intrinsics: Float[Tensor, "N 3 3"], flip: bool | None = None) -> Prediction:
        """3D poses from crops.

        Args:
            image: `N 3 H W`, uint8 or 0 to 1.
            intrinsics: of the crops.
            flip: average with the mirrored image's prediction (gains 3 to 4 mm); None does so where the training
                saw mirrored images. One that never did reads them wrongly (68 mm become 212 on footage of one person).
        """
        maps = self.read(image, self.mirrored if flip is None else flip)
        depth = relative_depth(maps.depth, self.skeleton)
        rays = normalise(maps.keypoints.double(), intrinsics.double())
        lifted = lift(rays, depth.double(), self.skeleton.reference_bone)
        pose = lifted.pose - lifted.pose[:, list(self.skeleton.root)].mean(1, keepdim=True)
        return Prediction(
            pose=pose.to(depth.dtype),
            frame="camera",
            keypoints=maps.keypoints,
            confidence=maps.confidence,
            root_depth=lifted.root_depth.to(depth.dtype),
            reliable=lifted.valid & ~lifted.ambiguous,
            cues=None if self.uncertainty is None else cues_of(maps, image.shape[-1]),
            look=None if self.uncertainty is None else maps.features,
        )


def relative_depth(depth: Float[Tensor, "N J"], skeleton: Skeleton) -> Float[Tensor, "N J"]:
    """Depths measured from the root joint."""
    return depth - depth[:, list(skeleton.root)].mean(1, keepdim=True)


def label_bone(views: Views, skeleton: Skeleton) -> Float[Tensor, " N"]:
    """What pose labels are divided by to be in reference bones.

    A metric pose is divided by its own reference bone, so that the closed form (bone of length 1) holds for it; a
    pseudo-label is in reference bones of its recording already, and its own noisy bone is not used.
    """
    return torch.where(views.metric, bone_vector(views.pose, skeleton.reference_bone).norm(dim=-1), 1.0)


def depth_target(views: Views, skeleton: Skeleton) -> tuple[Float[Tensor, "N J"], Float[Tensor, "N J"]]:
    """Relative depth labels in reference bones (`label_bone`), and their weights."""
    depth = relative_depth(views.pose[..., 2], skeleton) / label_bone(views, skeleton)[:, None]
    weight = torch.where(depth.isnan(), 0.0, views.pose_weight)
    return depth.nan_to_num(0.0), weight


def pose_descriptor(prediction: Prediction, skeleton: Skeleton) -> Float[Tensor, "N D"]:
    """Predicted poses so that equal poses are near whatever the view: canonical ones as they are, others turned until trunk
    and hips lie as in a canonical pose (what is vertical is not known). Zeros where they have no heading."""
    pose = prediction.pose
    if prediction.frame == "camera":
        pose = canonical_pose(pose, bone_vector(pose, skeleton.reference_bone), skeleton)
    return pose.nan_to_num(0.0).flatten(1)


def averaged_maps(network: nn.Module, image: Tensor, skeleton: Skeleton) -> Maps:
    """The network's reading of an image and of its mirror image, averaged joint by joint."""
    maps, other = network(image), network(image.flip(-1))
    mirror = list(skeleton.mirror)
    x = image.shape[-1] - 1 - other.keypoints[..., 0]
    keypoints = torch.stack([x, other.keypoints[..., 1]], -1)[:, mirror]
    ours, theirs = relative_depth(maps.depth, skeleton), relative_depth(other.depth, skeleton)[:, mirror]
    return AveragedMaps(
        log_heatmap=torch.logaddexp(maps.log_heatmap, other.log_heatmap.flip(-1)[:, mirror])
        - torch.log(torch.tensor(2.0)),
        keypoints=(maps.keypoints + keypoints) / 2,
        depth=(ours + theirs) / 2,
        confidence=(maps.confidence + other.confidence[:, mirror]) / 2,
        features=maps.features,
        apart=torch.stack([(maps.keypoints - keypoints).norm(dim=-1), (ours - theirs).abs()], -1),
    )
