"""MCSS (Mitra, Gundavarapu, Sharma, Jain, CVPR 2020): an embedding in which a pose is near itself seen from elsewhere.

The idea. Several synchronised cameras show one pose in several images: whatever those images share is the pose, or the
person, or the clothes. Other time steps of the same recording share person, clothes and place, and not the pose. So an
embedding that draws the views of a time step together and pushes the time steps of a recording apart has learned poses, from
no label, no calibration and no 2D. A few 3D labels then suffice to read poses from it.

    image -> backbone f -> embedding phi(f), |phi| = 1 -> pose head h(phi): a canonical pose

    L = L_pose + lambda L_metric                         `losses: {pose: 1.0, metric: lambda}`

**Canonical pose.** An embedding equal in all views can only give a pose equal in all views: the root-relative pose turned
about the vertical until the hip line is parallel to the image plane (`canonical_rotation`). The person then faces the
camera. Where the hips lie one above the other the shoulder line takes their place; where it is vertical as well, there is
no heading and the label is left out. The vertical comes with the labels: only labelled images need it.

**What breaks it, and how that shows.** Negatives of other recordings are told apart by clothes and place: the embedding
learns people, and in a search among all people the top hits show one person (`same_person_at_1`). Two time steps of one pose
taken as a negative pair are the hardest of all, and teach noise: time steps lie `apart` seconds apart, in the batch and in
the loss. A batch of few time steps has no hard negatives. All embeddings on one point cost exactly the margin: training
that sits there has a `metric` curve flat at it.

Not in the sources that we could read, and so ours: margin 1 (HardNet's), lambda, tau, sizes and depth of the heads, L1 for
the pose, lengths in reference bones, batches, optimiser. The heatmaps of the 2.5D network can be learned first, or beside
(`heatmap`, `coordinates`): the paper uses no 2D label.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vergence.batches.sampler import least_gap
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.canonical import canonical_pose
from vergence.geometry.lifting import bone_vector
from vergence.methods.base import Method, Prediction, label_bone
from vergence.methods.losses import coordinate_loss, heatmap_loss, known, weighted_mean
from vergence.networks.pose_network import PoseNetwork
from vergence.recipes.recipe import MetricLoss, TrainStage
from vergence.skeleton import Skeleton

LEAST_BONE = 0.1  # reference bones; a predicted pose is not blown up by more than ten


class MCSS(Method):
    """The embedding and the pose read from it, on the backbone of a 2.5D network.

    Args:
        network: whose backbone is the trunk; its 2D is told where a stage learned it.
        skeleton: the run's joints.

    Attributes:
        embed: the backbone's last map, averaged into `pose_grid` squared cells, to an embedding.
        pose: an embedding to a canonical pose.
        metric: the settings of the metric loss.
        finds_joints: the heatmaps were learned in the last stage, or have been kept since they were.
    """

    network: PoseNetwork
    finds_joints: Tensor
    makes_labels = False
    embeds = True

    def __init__(self, network: PoseNetwork, skeleton: Skeleton) -> None:
        super().__init__(network, skeleton)
        sizes = network.settings
        self.grid, hidden = sizes.pose_grid, sizes.pose_hidden
        self.embed = nn.Sequential(
            nn.Linear(network.backbone.channels[-1] * self.grid**2, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, sizes.pose_embedding),
        )
        self.pose = nn.Sequential(
            nn.Linear(sizes.pose_embedding, hidden), nn.ReLU(), nn.Linear(hidden, 3 * len(skeleton))
        )
        self.metric = MetricLoss()
        self.register_buffer("finds_joints", torch.tensor(False))

    def prepare(self, stage: TrainStage, visible: dict[str, Views]) -> None:
        """Takes a stage's settings, and notes whether 2D will have been learned."""
        self.metric = stage.metric
        kept = bool(self.finds_joints) and "network" in stage.frozen
        self.finds_joints.fill_(stage.losses.get("heatmap", 0.0) > 0 or kept)

    def adopt(self, weights: dict[str, Tensor]) -> None:
        """The network with what it learned of 2D, which `prepare` may find frozen."""
        super().adopt(weights)
        self.finds_joints.fill_(True)

    def refit_target(self, views: Views) -> tuple[Float[Tensor, "N J 3"], Float[Tensor, "N J"]]:
        """Canonical labels: what the pose head learns as well."""
        return canonical_target(views, self.skeleton)

    def embedding(self, features: list[Tensor]) -> Float[Tensor, "N E"]:
        """Unit vectors from the backbone's maps."""
        cells = F.adaptive_avg_pool2d(features[-1].float(), self.grid).flatten(1)
        return F.normalize(self.embed(cells).float(), dim=1)

    def canonical(self, embedding: Float[Tensor, "N E"]) -> Float[Tensor, "N J 3"]:
        """Canonical poses, relative to their root, in reference bones."""
        pose = self.pose(embedding).float().unflatten(1, (-1, 3))
        return pose - pose[:, list(self.skeleton.root)].mean(1, keepdim=True)

    def losses(self, views: Views) -> dict[str, Tensor]:
        """`pose` and `metric` are the paper's; `heatmap` and `coordinates` those of the 2.5D network."""
        features = self.network.backbone(views.image)
        target, weight = canonical_target(views, self.skeleton)
        anchor, positive = pairs(views)
        needed = (weight > 0).any(1)
        needed[anchor], needed[positive] = True, True
        rows = needed.nonzero()[:, 0]
        zero = features[-1].sum() * 0.0
        terms = {"pose": zero, "metric": zero, **self._joint_terms(views, features)}
        if len(rows) < 2:  # batch statistics of one image say nothing
            return terms
        place = torch.cumsum(needed, 0) - 1
        embedding = self.embedding([features[-1][rows]])
        error = (self.canonical(embedding) - target[rows]).abs().mean(-1)
        terms["pose"] = weighted_mean(error, weight[rows])
        allowed = negatives(views, anchor, self.metric, target, weight)
        terms["metric"] = metric_loss(embedding[place[anchor]], embedding[place[positive]], allowed, self.metric)
        return terms

    def _joint_terms(self, views: Views, features: list[Tensor]) -> dict[str, Tensor]:
        """The 2D losses, where 2D is labelled: only there are the heatmaps drawn at all."""
        rows = (~views.keypoints.isnan().any(-1)).any(1).nonzero()[:, 0]
        if len(rows) == 0:
            zero = features[-1].sum() * 0.0
            return {"heatmap": zero, "coordinates": zero}
        maps = self.network.decode([f[rows] for f in features], views.image.shape[-1])
        stride = views.image.shape[-1] / maps.log_heatmap.shape[-1]
        labels, trust = views.keypoints[rows], views.confidence[rows]
        return {
            "heatmap": heatmap_loss(maps.log_heatmap, labels, trust, stride),
            "coordinates": coordinate_loss(maps.keypoints, labels, trust, stride),
        }

    @torch.no_grad()
    def predict(self, image: Tensor, intrinsics: Float[Tensor, "N 3 3"], flip: bool | None = None) -> Prediction:
        """Canonical poses, embeddings, and 2D where it was learned. The intrinsics are not needed.

        With `flip` poses and 2D are averaged with those of the mirrored image, mirrored back; the embedding is that of
        the image itself.
        """
        flip = self.mirrored if flip is None else flip
        features = self.network.backbone(image)
        embedding = self.embedding(features)
        pose = self.canonical(embedding)
        if flip:
            other = self.canonical(self.embedding(self.network.backbone(image.flip(-1))))
            across = other.new_tensor([-1.0, 1.0, 1.0])
            pose = (pose + other[:, list(self.skeleton.mirror)] * across) / 2
        bone = bone_vector(pose, self.skeleton.reference_bone).norm(dim=-1).clamp(min=LEAST_BONE)
        found = Prediction(pose / bone[:, None, None], "canonical", embedding=embedding)
        if bool(self.finds_joints):
            maps = self.read(image, flip) if flip else self.network.decode(features, image.shape[-1])
            found.keypoints, found.confidence = maps.keypoints, maps.confidence
        return found


def canonical_target(views: Views, skeleton: Skeleton) -> tuple[Float[Tensor, "N J 3"], Float[Tensor, "N J"]]:
    """Canonical labels in reference bones, and their weights; 0 where there is no label or no heading.

    Raises:
        VergenceError: poses are labelled, and the vertical is unknown in every one of them.
    """
    labelled = views.has_pose
    if bool(labelled.any()) and bool(views.up[labelled].isnan().all()):
        remedy = "Use sources whose cameras are calibrated, with up known."
        raise VergenceError("the 3D labels come without the vertical, and a canonical pose turns about it", remedy)
    bone = label_bone(views, skeleton)
    return known(canonical_pose(views.pose, views.up, skeleton) / bone[:, None, None], views.pose_weight)


def pairs(views: Views) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"]]:
    """Rows of two views of each time step of which the batch shows two; of more, the first two."""
    index, mask = views.groups()
    index = index[mask.sum(1) >= 2]
    return (index[:, 0], index[:, 1]) if len(index) else (index.new_zeros(0), index.new_zeros(0))


def negatives(
    views: Views,
    anchor: Int[Tensor, " M"],
    settings: MetricLoss,
    target: Float[Tensor, "N J 3"],
    weight: Float[Tensor, "N J"],
) -> Bool[Tensor, "M M"]:
    """Which time steps are negatives of which: of the clips that the settings name, far enough apart in time, and, where both
    are labelled, in pose."""
    sequence, source, time = views.sequence[anchor], views.source[anchor], views.time[anchor]
    same = (sequence[:, None] == sequence) & (source[:, None] == source)
    apart = (time[:, None] - time).abs() >= least_gap(settings.apart)
    allowed = {"clip": same & apart, "others": ~same, "all": apart | ~same}[settings.negatives]
    if settings.floor:
        pose, labelled = target[anchor], (weight[anchor] > 0).all(1)
        near = (pose[:, None] - pose).norm(dim=-1).mean(-1) < settings.floor
        allowed = allowed & ~(near & labelled[:, None] & labelled)
    return allowed


def distances(a: Float[Tensor, "M E"], b: Float[Tensor, "M E"]) -> Float[Tensor, "M M"]:
    """`D_ij = |a_i - b_j|`, with a finite gradient at 0."""
    return (a[:, None] - b).square().sum(-1).clamp(min=1e-12).sqrt()


def metric_loss(
    anchor: Float[Tensor, "M E"], positive: Float[Tensor, "M E"], allowed: Bool[Tensor, "M M"], settings: MetricLoss
) -> Float[Tensor, ""]:
    """Two views of M time steps drawn together, time steps pushed apart; the mean over time steps that have a negative.

    `hardnet` (Mishchuk et al. 2017): with D_ij the distance of anchor i and positive j,

        n_i = min(min_j D_ij, min_k D_ki) over allowed negatives,     L = mean_i max(0, margin + D_ii - n_i)

    `infonce`: the cross-entropy of i among its negatives by cosine over temperature, from both sides.
    """
    has = allowed.any(1)
    if not bool(has.any()):
        return (anchor.sum() + positive.sum()) * 0.0
    d = distances(anchor, positive)
    if settings.kind == "hardnet":
        far = torch.where(allowed, d, torch.inf)
        hardest = torch.minimum(far.amin(1), far.amin(0))[has]
        return (settings.margin + d.diagonal()[has] - hardest).clamp(min=0).mean()
    cosine = (1 - d.square() / 2) / settings.temperature
    seen = allowed | torch.eye(len(d), dtype=torch.bool, device=d.device)
    logits = torch.where(seen, cosine, -torch.inf)
    own = cosine.diagonal()
    return (logits.logsumexp(1) + logits.logsumexp(0) - 2 * own)[has].mean() / 2
