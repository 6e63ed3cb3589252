"""The refinement unit (Kocabas, Karagoz, Akbas, CVPR 2019, section 3.3): a small network that corrects a method's 3D poses.

It sees no image: a pose goes in, a better one comes out, learned from pairs of the method's prediction and the truth. So
**it needs 3D labels**, whatever the method before it did without, and every result says so (`protocol`).

The network: joints without the root, flat and z-scored, to `width` (1,024) by a linear layer with batch normalisation, leaky
ReLU and dropout; two residual blocks of two such layers; a first answer p1; p1 back to `width`, added to the features of
this stage and of the input; the same once more; the answer p2. Loss `mse(p1) + mse(p2)` on z-scored data.
Ours: both answers are *corrections* of the input, 0 at the start. The paper's form (`correct: false`) has to learn to
write down every pose first, which takes its 200 epochs of 300,000 poses; with the few thousand labels and steps here
it made poses worse (62 mm became 98). Pairs are mirrored, which doubles them (`mirror`), and Adam's rate falls to 0 along a
cosine (published: times 0.96 every 100,000 steps).

Input. Where there are images, the method's own predictions of them. Where there are poses without images (or
images that are not to be read), the truth plus an error that was fitted to the method's residuals: an affine part
(what the method systematically does to a pose) and whole residuals drawn as they occurred, so that joints err
together and as wildly as they do. Scale: the closed form makes the reference bone 1 and so carries its error into every
length; input and target are brought to a mean limb length of 1 first, and the answer back to a reference bone of 1.

What breaks it: predictions of images that the method learned *with true 3D* are better than those of new ones, and
the unit then learns to correct too little; refine on people whose 3D the method did not see. Few labels: it learns the few
people's poses by heart (dropout, few steps). That shows as P-MPJPE falling on its own data and rising on the test's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.files import renamed
from vergence.geometry.alignment import ridge_regression
from vergence.geometry.lifting import bone_vector
from vergence.methods.base import Method, Prediction
from vergence.methods.losses import weighted_mean
from vergence.methods.uncertainty import Uncertainty
from vergence.recipes.recipe import RefineStage
from vergence.skeleton import Skeleton

CLIP = 1.0
LEAST_SPREAD = 1e-3  # of a coordinate, in mean limb lengths: one that never moves is not divided by
RIDGE = 1e-2  # of the affine error, per pair and unit variance
LEAST_PAIRS = 32
RENAMED = {"pictures": "images", "poses_without_pictures": "poses_without_images"}  # of what it was made with


def comparable(
    pose: Float[Tensor, "N J 3"], skeleton: Skeleton, usual: Float[Tensor, " L"] | None = None
) -> Float[Tensor, "N J 3"]:
    """Root-relative, mean limb length 1; of poses with unknown joints, what it would be if the limbs that are known have
    the share in it that they have in the `usual` lengths."""
    length = limb_lengths(pose, skeleton)
    usual = torch.ones_like(length[:1]) if usual is None else usual
    share = torch.where(length.isfinite(), usual / usual.mean(), 0.0).sum(1)
    rooted = pose - pose[:, list(skeleton.root)].mean(1, keepdim=True)
    return rooted / (length.nansum(1) / share).clamp(min=1e-9)[:, None, None]


def limb_lengths(pose: Float[Tensor, "N J 3"], skeleton: Skeleton) -> Float[Tensor, "N L"]:
    first, second = (list(side) for side in zip(*skeleton.limbs, strict=True))
    return (pose[:, second] - pose[:, first]).norm(dim=-1)


class _Block(nn.Module):
    """Two layers of (linear, batch normalisation, leaky ReLU, dropout) beside an identity."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(width, width, dropout), *_layer(width, width, dropout))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _layer(inside: int, outside: int, dropout: float) -> list[nn.Module]:
    linear = nn.Linear(inside, outside)
    nn.init.kaiming_normal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return [linear, nn.BatchNorm1d(outside), nn.LeakyReLU(), nn.Dropout(dropout)]


class RefinementUnit(nn.Module):
    """Poses to better poses.

    Args:
        skeleton: the joints; a root that is one joint takes no part.
        width: of the hidden layers, 1024 in the paper.
        dropout: 0.5 in the paper.
        correct: answers are added to the input; False is the paper's form.
    """

    input_mean: Tensor
    input_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, skeleton: Skeleton, width: int = 1024, dropout: float = 0.5, correct: bool = True) -> None:
        super().__init__()
        self.skeleton, self.correct = skeleton, correct
        self.joints = [j for j in range(len(skeleton)) if (j,) != skeleton.root]
        size = 3 * len(self.joints)
        self.enter = nn.Sequential(*_layer(size, width, dropout))
        self.stages = nn.ModuleList(
            nn.Sequential(_Block(width, dropout), _Block(width, dropout)) for _ in range(2)
        )  # fmt: skip
        self.answers = nn.ModuleList(nn.Linear(width, size) for _ in range(2))
        self.back = nn.Linear(size, width)
        for layer in (*self.answers, self.back):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
            if correct and layer is not self.back:
                nn.init.zeros_(layer.weight)
        for name, value in (("mean", torch.zeros(size)), ("std", torch.ones(size))):
            self.register_buffer(f"input_{name}", value)
            self.register_buffer(f"target_{name}", value.clone())

    def flat(self, pose: Float[Tensor, "N J 3"]) -> Float[Tensor, "N D"]:
        """The joints that take part, at a mean limb length of 1."""
        return comparable(pose, self.skeleton)[:, self.joints].flatten(1)

    def fit_scales(self, inputs: Float[Tensor, "N D"], targets: Float[Tensor, "N D"]) -> None:
        """Means and standard deviations of the z-scores, of what is known."""
        for name, data in (("input", inputs), ("target", targets)):
            mean = data.nanmean(0)
            std = ((data - mean).square().nansum(0) / (data.isfinite().sum(0) - 1).clamp(min=1)).sqrt()
            getattr(self, f"{name}_mean").copy_(mean.nan_to_num(0.0))
            getattr(self, f"{name}_std").copy_(std.clamp(min=LEAST_SPREAD))

    def answer(self, inputs: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
        """p1 and p2, z-scored."""
        base = (inputs - self.target_mean) / self.target_std if self.correct else 0.0
        start = self.enter((inputs - self.input_mean) / self.input_std)
        first = self.stages[0](start)
        p1 = base + self.answers[0](first)
        second = self.stages[1](self.back(p1) + first + start)
        return p1, base + self.answers[1](second)

    def loss(
        self, inputs: Float[Tensor, "N D"], targets: Float[Tensor, "N D"], weight: Float[Tensor, "N D"]
    ) -> Float[Tensor, ""]:
        """Weighted mean squared errors of both answers, added; a target that is unknown (NaN) has no part in them."""
        goal = (targets - self.target_mean) / self.target_std
        weight = torch.where(goal.isnan(), 0.0, weight)
        p1, p2 = ((p - goal.nan_to_num(0.0)).square() for p in self.answer(inputs))
        return weighted_mean(p1, weight) + weighted_mean(p2, weight)

    def forward(self, pose: Float[Tensor, "N J 3"]) -> Float[Tensor, "N J 3"]:
        """Refined poses, root-relative, reference bone of length 1."""
        p2 = self.answer(self.flat(pose))[1] * self.target_std + self.target_mean
        out = pose.new_zeros(pose.shape)
        out[:, self.joints] = p2.unflatten(1, (-1, 3))
        out = out - out[:, list(self.skeleton.root)].mean(1, keepdim=True)
        bone = bone_vector(out, self.skeleton.reference_bone).norm(dim=-1)
        return out / bone.clamp(min=1e-6)[:, None, None]


@dataclass(frozen=True)
class ErrorModel:
    """How a method errs: `prediction = truth @ weight + bias + one of the residuals`, all flat and comparable.

    Attributes:
        weight, bias: the affine part, by ridge regression towards no error.
        residuals: what it left, one row for each pair.
    """

    weight: Float[Tensor, "D D"]
    bias: Float[Tensor, " D"]
    residuals: Float[Tensor, "M D"]

    @staticmethod
    def fit(predicted: Float[Tensor, "M D"], truth: Float[Tensor, "M D"]) -> ErrorModel:
        x, error = truth.double(), (predicted - truth).double()
        weight, bias = ridge_regression(x, error, RIDGE)
        residuals = error - x @ weight - bias
        identity = torch.eye(x.shape[1], dtype=x.dtype)
        return ErrorModel((identity + weight).to(truth), bias.to(truth), residuals.to(truth))

    def sample(self, truth: Float[Tensor, "N D"], generator: torch.Generator) -> Float[Tensor, "N D"]:
        """Predictions as the method might have made them."""
        rows = torch.randint(len(self.residuals), (len(truth),), generator=generator)
        return truth @ self.weight + self.bias + self.residuals[rows]


class Refined(Method):
    """A method with a refinement unit behind it; 2D, confidence and root depth stay the method's.

    Args:
        method: predicts poses in the camera's frame.
        unit: corrects them.
        made_with: which 3D labels it learned from; printed with every result.
    """

    def __init__(self, method: Method, unit: RefinementUnit, made_with: dict[str, Any]) -> None:
        super().__init__(method.network, method.skeleton)
        self.method, self.unit, self.made_with = method, unit, renamed(made_with, RENAMED, "config.json")
        self.mirrored, self.labelled = method.mirrored, method.labelled

    @property
    def uncertainty(self) -> Uncertainty | None:
        """The method's, fitted to the errors of refined poses."""
        return self.method.uncertainty

    @uncertainty.setter
    def uncertainty(self, known: Uncertainty | None) -> None:
        self.method.uncertainty = known

    @property
    def protocol(self) -> dict[str, Any]:
        """What results must say: a refinement unit was trained, and whether with 3D labels."""
        made, poses = self.made_with["labels_made"], self.made_with["poses_without_images"]
        labelled = self.made_with["images"] + poses > made
        return {"refinement_unit": {"uses_3d_labels": labelled, **self.made_with}}

    def losses(self, views: Views) -> dict[str, Tensor]:
        raise VergenceError("a refined method is finished", "Train the method, then refine it.")

    @torch.no_grad()
    def predict(self, image: Tensor, intrinsics: Float[Tensor, "N 3 3"], flip: bool | None = None) -> Prediction:
        """The method's prediction with a better pose. Refined poses and keypoints no longer agree to the pixel."""
        found = self.method.predict(image, intrinsics, flip)
        found.pose = self.unit(found.pose)
        return found


@dataclass(frozen=True)
class Pairs:
    """What a unit learns from, flat and comparable.

    Attributes:
        inputs: predicted, or truth with a drawn error.
        targets: true 3D or pseudo-labels; NaN where a joint is unknown.
        weight: confidence of each coordinate of a target.
        report: counts, plain values.
    """

    inputs: Float[Tensor, "N D"]
    targets: Float[Tensor, "N D"]
    weight: Float[Tensor, "N D"]
    report: dict[str, Any]


def make_pairs(
    unit: RefinementUnit,
    predicted: Float[Tensor, "M J 3"],
    goals: Views,
    without_images: Float[Tensor, "K J 3"],
    generator: torch.Generator,
    mirror: bool = False,
) -> Pairs:
    """Pairs from predictions of images, and from poses without images by an error model fitted to the first.

    Goals are an index without images: `pose` (true or pseudo-labels, in any unit), `pose_weight` and `pseudo`. Of each the
    joints that are known count; an error model is fitted to whole ones, and poses without images must be whole. With `mirror`
    every pair stands there mirrored as well. Raises `VergenceError` where fewer than 32 pairs with images remain.
    """
    inputs = unit.flat(predicted)
    sound = inputs.isfinite().all(1) & goals.has_pose
    if sound.sum() < LEAST_PAIRS:
        raise VergenceError(
            f"{int(sound.sum())} images with a 3D label to refine on", f"Name sources with at least {LEAST_PAIRS}."
        )
    inputs, goals = inputs[sound], goals[sound]
    usual = limb_lengths(goals.pose, unit.skeleton).nanmedian(0).values
    targets = comparable(goals.pose, unit.skeleton, usual)[:, unit.joints].flatten(1)
    weight = goals.pose_weight[:, unit.joints].repeat_interleave(3, 1)
    bare = unit.flat(without_images)
    bare = bare[bare.isfinite().all(1)]
    report: dict[str, Any] = {"images": len(inputs), "labels_made": int(goals.pseudo.sum())}
    report["poses_without_images"] = len(bare)
    if len(bare):
        whole = targets.isfinite().all(1)
        drawn = ErrorModel.fit(inputs[whole], targets[whole]).sample(bare, generator)
        inputs, targets = torch.cat([inputs, drawn]), torch.cat([targets, bare])
        weight = torch.cat([weight, torch.ones_like(bare)])
    pairs = Pairs(inputs, targets, weight, report)
    return mirrored(pairs, unit) if mirror else pairs


def mirrored(pairs: Pairs, unit: RefinementUnit) -> Pairs:
    """The pairs, and behind them the same of people mirrored left to right."""
    place = {joint: i for i, joint in enumerate(unit.joints)}
    other = torch.tensor([place[unit.skeleton.mirror[joint]] for joint in unit.joints])
    across = torch.tensor([-1.0, 1.0, 1.0])

    def both(flat: Tensor, sign: Tensor) -> Tensor:
        joints = flat.view(len(flat), -1, 3)
        return torch.cat([flat, (joints[:, other] * sign).flatten(1)])

    inputs, targets = both(pairs.inputs, across), both(pairs.targets, across)
    return Pairs(inputs, targets, both(pairs.weight, across.abs()), pairs.report)


def train_unit(unit: RefinementUnit, pairs: Pairs, stage: RefineStage, seed: int, device: str = "cpu") -> list[float]:
    """Trains in place, Adam with a cosine to 0; returns the loss of each hundredth step. A function of the seed."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    unit.fit_scales(pairs.inputs, pairs.targets)
    unit.train().to(device)
    inputs, targets, weight = (part.to(device) for part in (pairs.inputs, pairs.targets, pairs.weight))
    optimizer = torch.optim.Adam(unit.parameters(), lr=stage.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, stage.steps)
    batch = min(stage.batch, len(inputs))
    order, curve = torch.empty(0, dtype=torch.long), []
    for step in range(stage.steps):
        if len(order) < batch:
            order = torch.randperm(len(inputs), generator=generator)
        rows, order = order[:batch].to(device), order[batch:]
        loss = unit.loss(inputs[rows], targets[rows], weight[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(unit.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            curve.append(float(loss.detach()))
    unit.eval().cpu()
    return curve
