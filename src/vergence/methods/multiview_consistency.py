"""Weakly supervised multi-view 2.5D (Iqbal, Molchanov, Kautz, CVPR 2020): views of a time step check each other's 3D.

Section 3.1, model. An image gives 2.5D: joints in pixels, depths relative to the root in reference bones. The root's
depth follows in closed form (`geometry.lifting`), so that losses on 3D reach the 2.5D. Supervision: images with 2D labels,
and images of several cameras without any labels or extrinsics, in one batch.
Section 3.3, losses. `heatmap` where 2D is labelled (`coordinates` beside it is ours); `consistency` between all views of a
time step up to a rigid motion; `limbs`: lengths in reference bones; the additional regularisation is the heatmap loss on 2D
labels that the pre-trained network made once (a label stage that stores `keypoints`). `depth` where some 3D is labelled.

What breaks it, and how that shows. Consistency alone has a solution without residual that is no pose: the reference
bone turns to the optical axis, the root's depth goes to 0 and all limbs shrink, in all views alike; it is reached
within seconds. Limb lengths make it cost something, but the way out still leads past poses mirrored in depth
(Necker), which a free rotation cannot tell from the truth: the mirror image of every view is as consistent. `watch`
measures each of these and says which it is. Countermeasures, all ours (`settings.MultiView`): the 3D losses leave
the 2D alone until depth is sane (`shield`), the root's depth in training comes from 2D limb lengths (`root_depth:
limbs`), cameras' own rotations see a mirrored pose (`rotations: given`), and so does a knee, which bends one way (`bend`).
With `shield` the pixels are constants of the 3D losses; depth is read through the heatmap still, as in every method here.

Limbs are measured in reference bones of the same pose, as the closed form has it; ratios come from the recipe or from any
poses visible in a source (`limb_ratios`). Section numbers and the order of terms are the paper's, weights are not known.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import combinations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.alignment import align
from vergence.geometry.camera import normalise, rotate
from vergence.geometry.lifting import bone_vector, lift
from vergence.geometry.limbs import bone_lean, knee_bend, limb_ratios, parent_limbs, root_depth_from_limbs, sideless
from vergence.methods.base import Watch, relative_depth
from vergence.methods.losses import weighted_mean
from vergence.methods.supervised import Supervised
from vergence.networks.pose_network import Maps, PoseNetwork, best_window
from vergence.recipes.recipe import TrainStage
from vergence.recipes.settings import MultiView
from vergence.skeleton import Skeleton

MIN_JOINTS = 4  # joints that two views must share; three points fit each other too easily
ROUNDING = 0.01  # reference bones; nearer than this a distance is as smooth as its square

# Alarms. True poses of upright people under level cameras: tilt 0.2, root ratio 1, limb ratio 1, diversity 1, knees 0.002.
MOST_TILT = 0.7
LEAST_ROOT_RATIO = 0.4
LEAST_LIMB_RATIO, MOST_LIMB_RATIO = 0.6, 1.6
LEAST_DIVERSITY = 0.3
BENT_KNEE = 0.2  # sine of the bend; straighter knees say nothing about the sign of depth
MOST_WRONG_KNEES = 0.3
MOST_LEFT_OUT = 0.5
MIN_KNEES = 8
MIN_VIEWS = 4


@dataclass
class Poses:
    """3D of N images as the losses see it, in reference bones.

    Attributes:
        pose: camera frame, absolute; float64.
        weight: confidence of each joint's heatmap; 0 below the threshold, and throughout where the lens is unknown.
        usable: the root's depth can be trusted to compare this view with others.
    """

    pose: Float[Tensor, "N J 3"]
    weight: Float[Tensor, "N J"]
    usable: Bool[Tensor, " N"]

    def __getitem__(self, rows: Tensor) -> Poses:
        return Poses(self.pose[rows], self.weight[rows], self.usable[rows])


def pairs_of(views: Views) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
    """Rows of every two images of one time step; each pair once, since the aligned residual is the same both ways."""
    rows, mask = views.groups()
    pairs = list(combinations(range(rows.shape[1]), 2))
    if not pairs:
        nothing = rows.new_zeros(0)
        return nothing, nothing
    a, b = (torch.tensor(side, device=rows.device) for side in zip(*pairs, strict=True))
    both = mask[:, a] & mask[:, b]
    return rows[:, a][both], rows[:, b][both]


def consistency_loss(
    a: Poses, b: Poses, between: Float[Tensor, "P 3 3"] | None = None, absolute: bool = False
) -> Float[Tensor, ""]:
    """How far poses of the same time step differ after the best rigid motion, squared, in reference bones squared.

    `sum_j w_j |P_j^a - (R P_j^b + t)|^2 / sum_j w_j`, mean over pairs, with w_j the product of both confidences and
    (R, t) the weighted Kabsch motion without scale, held constant: it is optimal, so its derivative changes nothing.

    Args:
        a, b: pairs of poses; pairs with fewer than four joints in common, or with an unusable view, are left out.
        between: rotations from b's camera to a's, where they are known; NaN: free. A translation is always found.
        absolute: distances instead of their squares (rounded off below `ROUNDING`). A joint that one view sees in the
            wrong place, an elbow on the other side, then pulls as hard as any other and no harder. The motion is the
            same, so held constant it is no longer the best one.
    """
    weight = a.weight * b.weight
    weight = torch.where((weight > 0).sum(1, keepdim=True) >= MIN_JOINTS, weight, 0.0)
    counts = a.usable & b.usable & (weight.sum(1) > 0)
    if not counts.any():
        return a.pose.sum() * 0.0
    p, q, weight = a.pose[counts], b.pose[counts], weight[counts]
    rotation = align(q, p, weight, detach=True).rotation
    if between is not None:
        given = between[counts].to(rotation.dtype)
        rotation = torch.where(given.isnan(), rotation, given)
    share = (weight / weight.sum(1, keepdim=True))[..., None]
    p, q = p - (share * p).sum(1, keepdim=True), q - (share * q).sum(1, keepdim=True)
    residual = (p - rotate(q, rotation)).square().sum(-1)
    if absolute:
        residual = (residual + ROUNDING**2).sqrt() - ROUNDING
    return (share[..., 0] * residual).sum(1).mean()


def limb_loss(poses: Poses, limbs: list[tuple[int, int]], ratios: Float[Tensor, " E"]) -> Float[Tensor, ""]:
    """`(|P_i - P_j| - mu_ij)^2` in reference bones squared, mean over limbs weighted by their ends' confidences."""
    start, end = (list(side) for side in zip(*limbs, strict=True))
    length = (poses.pose[:, end] - poses.pose[:, start]).norm(dim=-1)
    return weighted_mean((length - ratios).square(), poses.weight[:, start] * poses.weight[:, end])


def bend_weight(weight: Float[Tensor, "N J"], skeleton: Skeleton) -> Float[Tensor, "N 2"]:
    """Confidence of each knee's bend: the product of its leg's joints and both hips."""
    hips = weight[:, skeleton.index("right_hip")] * weight[:, skeleton.index("left_hip")]
    legs = [weight[:, skeleton.index(f"{s}_knee")] * weight[:, skeleton.index(f"{s}_ankle")] for s in ("right", "left")]
    return hips[:, None] * torch.stack(legs, 1)


def bend_loss(poses: Poses, skeleton: Skeleton) -> Float[Tensor, ""]:
    """A hinge on knees that bend forwards, mean over knees: a prior that the paper does not have."""
    bend = knee_bend(poses.pose, skeleton).clamp(min=0)
    return weighted_mean(bend, bend_weight(poses.weight, skeleton))


class MultiViewConsistency(Supervised):
    """The paper's training: 2D-labelled images and unlabelled views in one batch.

    Attributes:
        settings: of the stage.
        ratios: mu, the limbs' lengths in reference bones, in the order of `limbs`; None until a stage gives them.
    """

    whole_time_steps = True

    def __init__(self, network: PoseNetwork, skeleton: Skeleton) -> None:
        super().__init__(network, skeleton)
        self.settings = MultiView()
        self.limbs = parent_limbs(skeleton)
        self.ratios: Tensor | None = None
        self._seen: tuple[Views, Maps] | None = None

    def prepare(self, stage: TrainStage, visible: dict[str, Views]) -> None:
        """Takes a stage's settings, and limb ratios from its numbers or from a source's visible poses."""
        self.settings, self._seen = stage.multiview, None
        ratios = dict(self.settings.limb_ratios)
        if self.settings.limbs_from:
            ratios = self._ratios_of(visible) | ratios
        needs = [name for name in ("consistency", "limbs", "bend") if stage.losses.get(name)]
        wanted = [sideless(self.skeleton.joint_names[child]) for _, child in self.limbs]
        if needs or ratios:
            self._check(ratios, wanted, needs)
        self.ratios = torch.tensor([ratios[name] for name in wanted], dtype=torch.double) if ratios else None

    def _ratios_of(self, visible: dict[str, Views]) -> dict[str, float]:
        name = self.settings.limbs_from
        if name not in visible:
            raise VergenceError(f"multiview.limbs_from names {name!r}", f"The batch has {', '.join(visible)}.")
        posed = visible[name][visible[name].has_pose]
        if not len(posed):
            remedy = "Set pose: on it, let a label stage make some, or write multiview.limb_ratios."
            raise VergenceError(f"source {name!r} has no visible 3D to take limb ratios from", remedy)
        return limb_ratios(posed.pose, self.skeleton, in_bones=~posed.metric)

    def _check(self, ratios: dict[str, float], wanted: list[str], needs: list[str]) -> None:
        missing, unknown = sorted(set(wanted) - set(ratios)), sorted(set(ratios) - set(wanted))
        if missing:
            raise VergenceError(
                f"limb ratios are needed for {', '.join(needs) or 'this stage'}, and there is none for {', '.join(missing)}",
                "Set multiview.limb_ratios (one for each joint with a parent) or multiview.limbs_from.",
            )
        if unknown:
            raise VergenceError(f"no limb ends in {', '.join(unknown)}", f"Known: {', '.join(sorted(set(wanted)))}.")

    def terms(self, views: Views, maps: Maps) -> dict[str, Tensor]:
        """`heatmap`, `coordinates` and `depth` where labelled; `consistency`, `limbs` and `bend` on views of one time step."""
        terms = super().terms(views, maps)
        a, b = pairs_of(views)
        held = {field.name: getattr(maps, field.name).detach() for field in fields(maps)}
        self._seen = (views.replace(image=views.image[:, :, :0, :0]), Maps(**held))
        if not len(a) or self.ratios is None:
            nothing = maps.keypoints.sum() * 0.0
            return {**terms, "consistency": nothing, "limbs": nothing, "bend": nothing}
        poses = self.lifted(views, maps)
        several = poses[torch.unique(torch.cat([a, b]))]
        given = self.settings.rotations == "given"
        between = views.rotation[a].double() @ views.rotation[b].double().mT if given else None
        apart = consistency_loss(poses[a], poses[b], between, self.settings.residual == "absolute")
        return {
            **terms,
            "consistency": self.growth() * apart,
            "limbs": limb_loss(several, self.limbs, self._ratios(maps)),
            "bend": bend_loss(several, self.skeleton),
        }

    def growth(self) -> float:
        """Share of the consistency term's weight that it has by now."""
        return min(1.0, self.progress / self.settings.ramp) if self.settings.ramp else 1.0

    def _ratios(self, maps: Maps) -> Tensor:
        assert self.ratios is not None
        return self.ratios.to(maps.depth.device)

    def lifted(self, views: Views, maps: Maps, root_depth: str = "") -> Poses:
        """Section 3.1.1: the 3D of every image, by the stage's settings (or another `root_depth`)."""
        trust = best_window(maps.log_heatmap.detach().exp()).double()
        known = views.intrinsics.isfinite().flatten(1).all(1)
        lens = torch.where(known[:, None, None], views.intrinsics, torch.eye(3, device=known.device)).double()
        trust = torch.where((trust >= self.settings.confidence) & known[:, None], trust, 0.0)
        points = maps.keypoints.detach() if self.settings.shield else maps.keypoints
        rays, depth = normalise(points.double(), lens), relative_depth(maps.depth, self.skeleton).double()
        root = root_depth_from_limbs(rays.detach(), trust, self.skeleton, self._ratios(maps))
        found = root.isfinite()
        if (root_depth or self.settings.root_depth) == "closed_form":
            lifted = lift(rays, depth, self.skeleton.reference_bone)
            lean = bone_lean(rays.detach(), root, self.skeleton)
            return Poses(lifted.pose, trust, known & found & (lean <= self.settings.tilt))
        z = torch.where(found, root, 1.0)[:, None] + depth
        pose = z[..., None] * torch.cat([rays, torch.ones_like(rays[..., :1])], -1)
        return Poses(pose, torch.where(found[:, None], trust, 0.0), found & (z > 0).all(1))

    @torch.no_grad()
    def watch(self) -> Watch:
        """Whether the last batch's unlabelled views are becoming people, and the name of what they become instead."""
        if self._seen is None or self.ratios is None:
            return Watch()
        views, maps = self._seen
        a, b = pairs_of(views)
        several = torch.unique(torch.cat([a, b]))
        if len(several) < MIN_VIEWS:
            return Watch()
        poses = self.lifted(views, maps, "closed_form")
        figures = self._collapse(poses[several], views[several], maps, several)
        figures |= self._diversity(views, maps, several)
        figures |= self._mirrored(poses[several], views[several])
        figures["views_left_out"] = float((~poses.usable[several]).double().mean())
        if self.settings.rotations == "given":
            figures["rotations_given"] = float(views.rotation[several].isfinite().flatten(1).all(1).double().mean())
        return Watch(figures, alarms(figures))

    def _collapse(self, poses: Poses, views: Views, maps: Maps, rows: Tensor) -> dict[str, float]:
        """Tilt of the reference bone, root depth against that of the 2D limbs, and limb lengths against their ratios."""
        start, end = (list(side) for side in zip(*self.limbs, strict=True))
        ratios = self._ratios(maps)
        depth = relative_depth(maps.depth[rows], self.skeleton)
        tilt = bone_vector(depth[..., None], self.skeleton.reference_bone).abs()
        rays = normalise(maps.keypoints[rows].double(), views.intrinsics.double())
        expected = root_depth_from_limbs(rays, torch.ones_like(poses.weight), self.skeleton, ratios)
        root = poses.pose[:, list(self.skeleton.root), 2].mean(1)
        length = (poses.pose[:, end] - poses.pose[:, start]).norm(dim=-1)
        return {
            "reference_bone_tilt": float(tilt.median()),
            "root_depth_ratio": float((root / expected).nanmedian()),
            "limb_ratio": float((length / ratios).nanmedian()),
        }

    def _diversity(self, views: Views, maps: Maps, rows: Tensor) -> dict[str, float]:
        """Spread of depth, and of x, over poses, against the spread of x of labelled images (of the same views' x
        where none are labelled). People face all ways, so the two spreads of true poses are alike."""
        ratios, spread = self._ratios(maps), {}
        whole = ~views.keypoints.isnan().flatten(1).any(1) & views.intrinsics.isfinite().flatten(1).all(1)
        labelled = whole.nonzero()[:, 0]
        labelled = labelled[~torch.isin(labelled, rows)]
        enough = len(labelled) >= MIN_VIEWS
        sets = (("found", maps.keypoints, rows), ("labelled", views.keypoints, labelled))
        for name, points, which in sets[: 1 + enough]:
            rays = normalise(points[which].double(), views.intrinsics[which].double())
            root = root_depth_from_limbs(rays, torch.ones_like(rays[..., 0]), self.skeleton, ratios)
            x = (rays[..., 0] - rays[:, list(self.skeleton.root), 0].mean(1, keepdim=True)) * root[:, None]
            spread[name] = _spread(x)
        truth = spread["labelled" if enough else "found"]
        depth = _spread(relative_depth(maps.depth[rows], self.skeleton).double())
        return {"diversity": depth / max(truth, 1e-9), "diversity_2d": spread["found"] / max(truth, 1e-9)}

    def _mirrored(self, poses: Poses, views: Views) -> dict[str, float]:
        """Bent knees that bend forwards; and where some true 3D is visible, the correlation of depths with it."""
        figures: dict[str, float] = {}
        if self.skeleton.has("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"):
            bend = knee_bend(poses.pose, self.skeleton)
            bent = bend[(bend.abs() > BENT_KNEE) & (bend_weight(poses.weight, self.skeleton) > 0)]
            if len(bent) >= MIN_KNEES:
                figures["knees_forward"] = float((bent > 0).double().mean())
        z, truth = (relative_depth(p[..., 2].double(), self.skeleton) for p in (poses.pose, views.pose))
        known = truth.isfinite() & ~views.pseudo[:, None] & z.isfinite()
        if known.flatten().sum() >= MIN_VIEWS * len(self.skeleton):
            both = torch.stack([z[known], truth[known]])
            figures["depth_correlation"] = float(torch.corrcoef(both)[0, 1].nan_to_num(0))
        return figures


def _spread(values: Float[Tensor, "N J"]) -> float:
    """Root mean square distance from the mean over images."""
    values = values[values.isfinite().all(1)]
    return float((values - values.mean(0)).square().mean().sqrt()) if len(values) > 1 else 0.0


def alarms(figures: dict[str, float]) -> dict[str, str]:
    """Names and sentences of what a batch's figures show to be wrong; empty where nothing is."""
    tilt, root, limb = (figures[name] for name in ("reference_bone_tilt", "root_depth_ratio", "limb_ratio"))
    deep, flat, left_out = (figures[name] for name in ("diversity", "diversity_2d", "views_left_out"))
    knees, correlation = figures.get("knees_forward", 0.0), figures.get("depth_correlation", 1.0)
    said = {
        "reference_bone": (not tilt <= MOST_TILT,
                           f"the reference bone is turned to the optical axis (sine {tilt:.2f}): a collapse"),
        "root_depth": (not root >= LEAST_ROOT_RATIO, f"root depth has gone to {root:.0%} of what the 2D limbs say: a collapse"),
        "limb_ratios": (not LEAST_LIMB_RATIO <= limb <= MOST_LIMB_RATIO,
                        f"limbs have {limb:.0%} of their length in the closed form's 3D"),
        "constant_depth": (deep < LEAST_DIVERSITY,
                           f"depth hardly changes from pose to pose ({deep:.0%} of what is usual)"),
        "constant_pose": (flat < LEAST_DIVERSITY, f"the 2D hardly changes from pose to pose ({flat:.0%} of what is usual)"),
        "views_left_out": (left_out > MOST_LEFT_OUT, f"{left_out:.0%} of the views are compared with no other"),
        "mirrored_knees": (knees > MOST_WRONG_KNEES, f"{knees:.0%} of the bent knees bend forwards: depth is mirrored there"),
        "mirrored_depth": (correlation < 0,
                           f"depth is mirrored: its correlation with the true one is {correlation:.2f}"),
    }  # fmt: skip
    return {name: sentence for name, (wrong, sentence) in said.items() if wrong}
