"""The refinement unit (Kocabas, Karagoz, Akbas, CVPR 2019, section 3.3): a small network that corrects a method's 3D poses.

It sees no picture: a pose goes in, a better one comes out, learned from pairs of the method's prediction and the truth. So
**it needs 3D labels**, whatever the method before it did without, and every result says so (`protocol`).

The network: joints without the root, flat and z-scored, to `width` (1,024) by a linear layer with batch normalisation, leaky
ReLU and dropout; two residual blocks of two such layers; a first answer p1; p1 back to `width`, added to the features of
this stage and of the input; the same once more; the answer p2. Loss `mse(p1) + mse(p2)` on z-scored data.
Ours: both answers are *corrections* of the input, 0 at the start. The paper's form (`correct: false`) has to learn to
write down every pose first, which takes its 200 epochs of 300,000 poses; with the few thousand labels and steps here
it made poses worse (62 mm became 98).

Input. Where there are pictures, the method's own predictions of them. Where there are poses without pictures (or
pictures that are not to be read), the truth plus an error that was fitted to the method's residuals: an affine part
(what the method systematically does to a pose) and whole residuals drawn as they occurred, so that joints err
together and as wildly as they do. Scale: the closed form makes the reference bone 1 and so carries its error into every
length; input and target are brought to a mean limb length of 1 first, and the answer back to a reference bone of 1.

What breaks it: predictions of pictures that the method learned *with true 3D* are better than those of new ones, and
the unit then learns to correct too little; refine on people whose 3D the method did not see. Few labels: it learns the few
people's poses by heart (dropout, few steps). That shows as P-MPJPE falling on its own data and rising on the test's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vergence.errors import VergenceError
from vergence.geometry.alignment import ridge_regression
from vergence.geometry.lifting import bone_vector
from vergence.methods.base import Method, Prediction
from vergence.recipe import RefineStage
from vergence.skeleton import Skeleton
from vergence.views import Views

DECAY, DECAY_STEPS = 0.96, 100_000
CLIP = 1.0
LEAST_SPREAD = 1e-3  # of a coordinate, in mean limb lengths: one that never moves is not divided by
RIDGE = 1e-2  # of the affine error, per pair and unit variance
LEAST_PAIRS = 32


def comparable(pose: Float[Tensor, "N J 3"], skeleton: Skeleton) -> Float[Tensor, "N J 3"]:
    """Root-relative, mean limb length 1."""
    first, second = (list(side) for side in zip(*skeleton.limbs, strict=True))
    length = (pose[:, second] - pose[:, first]).norm(dim=-1).nanmean(1)
    rooted = pose - pose[:, list(skeleton.root)].mean(1, keepdim=True)
    return rooted / length.clamp(min=1e-9)[:, None, None]


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
        """Means and standard deviations of the z-scores."""
        for name, data in (("input", inputs), ("target", targets)):
            getattr(self, f"{name}_mean").copy_(data.mean(0))
            getattr(self, f"{name}_std").copy_(data.std(0).clamp(min=LEAST_SPREAD))

    def answer(self, inputs: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
        """p1 and p2, z-scored."""
        base = (inputs - self.target_mean) / self.target_std if self.correct else 0.0
        start = self.enter((inputs - self.input_mean) / self.input_std)
        first = self.stages[0](start)
        p1 = base + self.answers[0](first)
        second = self.stages[1](self.back(p1) + first + start)
        return p1, base + self.answers[1](second)

    def loss(self, inputs: Float[Tensor, "N D"], targets: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
        """Mean squared error of both answers, added."""
        goal = (targets - self.target_mean) / self.target_std
        p1, p2 = self.answer(inputs)
        return (p1 - goal).square().mean() + (p2 - goal).square().mean()

    def forward(self, pose: Float[Tensor, "N J 3"]) -> Float[Tensor, "N J 3"]:
        """Refined poses, root-relative, reference bone of length 1."""
        p2 = self.answer(self.flat(pose))[1] * self.target_std + self.target_mean
        out = pose.new_zeros(pose.shape)
        out[:, self.joints] = p2.view(len(pose), -1, 3)
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
        self.method, self.unit, self.made_with = method, unit, made_with
        self.mirrored = method.mirrored

    @property
    def protocol(self) -> dict[str, Any]:
        """What results must say: a refinement unit was trained with 3D labels."""
        return {"refinement_unit": {"uses_3d_labels": True, **self.made_with}}

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
        targets: truth.
        report: counts, plain values.
    """

    inputs: Float[Tensor, "N D"]
    targets: Float[Tensor, "N D"]
    report: dict[str, Any]


def make_pairs(
    unit: RefinementUnit,
    predicted: Float[Tensor, "M J 3"],
    truth: Float[Tensor, "M J 3"],
    without_pictures: Float[Tensor, "K J 3"],
    generator: torch.Generator,
) -> Pairs:
    """Pairs from predictions of pictures, and from poses without pictures by an error model fitted to the first.

    Poses with an unknown joint are left out. Raises `VergenceError` where fewer than 32 pairs with pictures remain.
    """
    inputs, targets, bare = unit.flat(predicted), unit.flat(truth), unit.flat(without_pictures)
    whole = inputs.isfinite().all(1) & targets.isfinite().all(1)
    inputs, targets, bare = inputs[whole], targets[whole], bare[bare.isfinite().all(1)]
    if len(inputs) < LEAST_PAIRS:
        raise VergenceError(
            f"{len(inputs)} pictures with a whole 3D label to refine on", f"Name sources with at least {LEAST_PAIRS}."
        )
    report: dict[str, Any] = {"pictures": len(inputs), "poses_without_pictures": len(bare)}
    if len(bare):
        drawn = ErrorModel.fit(inputs, targets).sample(bare, generator)
        inputs, targets = torch.cat([inputs, drawn]), torch.cat([targets, bare])
    return Pairs(inputs, targets, report)


def train_unit(unit: RefinementUnit, pairs: Pairs, stage: RefineStage, seed: int, device: str = "cpu") -> list[float]:
    """Trains in place, Adam as in the paper; returns the loss of each hundredth step. A function of the seed."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    unit.fit_scales(pairs.inputs, pairs.targets)
    unit.train().to(device)
    inputs, targets = pairs.inputs.to(device), pairs.targets.to(device)
    optimizer = torch.optim.Adam(unit.parameters(), lr=stage.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: DECAY ** (step / DECAY_STEPS))
    batch = min(stage.batch, len(inputs))
    order, curve = torch.empty(0, dtype=torch.long), []
    for step in range(stage.steps):
        if len(order) < batch:
            order = torch.randperm(len(inputs), generator=generator)
        rows, order = order[:batch].to(device), order[batch:]
        loss = unit.loss(inputs[rows], targets[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(unit.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            curve.append(float(loss.detach()))
    unit.eval().cpu()
    return curve


def describe(stage: RefineStage, report: dict[str, Any]) -> dict[str, Any]:
    """What `config.json` and the protocol keep of a refinement."""
    return {**asdict(stage), **report}
