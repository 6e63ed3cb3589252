"""Views: the one batch type. N images, flat, of which some show the same person at the same moment.

Supervision is what is not NaN, so every method and any mixture of sources reads the same batches, and one forward pass
serves single images and rigs of 2 or 8 cameras together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vergence.errors import VergenceError


@dataclass
class Views:
    """A batch of N crops of people. All tensors share the first dimension; what is unknown is NaN.

    A crop is a camera: `intrinsics`, `keypoints`, `pose`, `rotation`, `translation` and `up` all belong to the crop's
    virtual camera (x right, y down, z forward; the centre of the top-left pixel is (0, 0)).

    Attributes:
        image: uint8 until it reaches the device.
        intrinsics: of the crop.
        keypoints: crop pixels.
        confidence: of the keypoints, 0 to 1.
        pose: the crop camera's frame; mm where `metric`, else reference-bone units. Absolute where depth is known.
        pose_weight: 0 where a label is not to be trusted.
        metric: pose is in mm.
        pseudo: the pose is a pseudo-label, made by us; it never counts as truth.
        rotation: `x_crop = rotation x_rig + translation`.
        translation: mm, or the rig's own unit.
        up: gravity's opposite, a unit vector in the camera frame.
        crop: full image pixels (lens distortion removed) to crop pixels, homogeneous.
        turn: the full image's camera frame to the crop camera's, `x_crop = turn x_camera`.
        full_intrinsics: of the full image. `crop` is `intrinsics turn full_intrinsics^-1` before any augmentation.
        size: width and height of the full image, px.
        time_step: equal numbers mean the same person at the same moment.
        subject, sequence, view, frame: who, which recording, which camera, which frame of it; integers.
        time: seconds from the recording's start.
        source: which of the recipe's sources.
    """

    image: Tensor  # N 3 H W
    intrinsics: Float[Tensor, "N 3 3"]
    keypoints: Float[Tensor, "N J 2"]
    confidence: Float[Tensor, "N J"]
    pose: Float[Tensor, "N J 3"]
    pose_weight: Float[Tensor, "N J"]
    metric: Bool[Tensor, " N"]
    pseudo: Bool[Tensor, " N"]
    rotation: Float[Tensor, "N 3 3"]
    translation: Float[Tensor, "N 3"]
    up: Float[Tensor, "N 3"]
    crop: Float[Tensor, "N 3 3"]
    turn: Float[Tensor, "N 3 3"]
    full_intrinsics: Float[Tensor, "N 3 3"]
    size: Float[Tensor, "N 2"]
    time_step: Int[Tensor, " N"]
    subject: Int[Tensor, " N"]
    sequence: Int[Tensor, " N"]
    view: Int[Tensor, " N"]
    frame: Int[Tensor, " N"]
    time: Float[Tensor, " N"]
    source: Int[Tensor, " N"]

    def __post_init__(self) -> None:
        sizes = {name: len(value) for name, value in self.items()}
        if len(set(sizes.values())) > 1:
            raise VergenceError(f"a batch of views has fields of different lengths: {sizes}")

    def __len__(self) -> int:
        return len(self.image)

    @property
    def joints(self) -> int:
        return self.keypoints.shape[1]

    @property
    def has_pose(self) -> Bool[Tensor, " N"]:
        """Rows of whose pose something is known."""
        return ~self.pose.isnan().flatten(1).all(1)

    def items(self) -> list[tuple[str, Tensor]]:
        return [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]

    def replace(self, **changes: Tensor) -> Views:
        return dataclasses.replace(self, **changes)

    def __getitem__(self, index: Tensor | slice | Sequence[int]) -> Views:
        """Rows by a slice, an index tensor or a mask; never a single int, which would drop the batch dimension."""
        if isinstance(index, Sequence):
            index = torch.as_tensor(index, dtype=torch.long)
        return Views(**{name: value[index] for name, value in self.items()})

    def to(self, device: torch.device | str) -> Views:
        return Views(**{name: value.to(device, non_blocking=True) for name, value in self.items()})

    @staticmethod
    def cat(parts: Sequence[Views]) -> Views:
        """Joins batches. `time_step` numbers must already be distinct between parts that are not one recording."""
        if not parts:
            raise VergenceError("no views to join", "Give at least one batch.")
        return Views(**{name: torch.cat([getattr(p, name) for p in parts]) for name, _ in parts[0].items()})

    @staticmethod
    def collected(parts: Iterable[Views], count: int) -> Views:
        """Joins parts of `count` rows together as they come, in the memory of the result. A field that is one number
        throughout (no pose is known, say) takes one number's, so fields of the result must not be written to in place."""
        fields: dict[str, Tensor] = {}
        single: dict[str, Tensor] = {}  # the number, of fields that have had no other so far
        start = 0
        for part in parts:
            for name, value in part.items():
                number = single.get(name) if start else value.reshape(-1)[:1].clone()
                if number is not None and len(number) and _all_are(value, number):
                    single[name] = number
                    continue
                if name not in fields:
                    fields[name] = value.new_empty(count, *value.shape[1:])
                    if single.pop(name, None) is not None and number is not None:
                        fields[name][:start] = number
                fields[name][start : start + len(value)] = value
            start += len(part)
            shapes = {name: value.shape[1:] for name, value in part.items()}
        one = {name: number.reshape([1] * (1 + len(shapes[name]))) for name, number in single.items()}
        return Views(**fields, **{name: number.expand(count, *shapes[name]) for name, number in one.items()})

    @staticmethod
    def empty(n: int, joints: int, height: int, width: int) -> Views:
        """N views of which nothing is known: black images, NaN supervision, every view a time step of its own."""
        unknown = {"keypoints": (joints, 2), "pose": (joints, 3), "translation": (3,), "up": (3,), "size": (2,)}
        unknown |= dict.fromkeys(("intrinsics", "rotation", "turn", "full_intrinsics"), (3, 3))
        return Views(
            image=torch.zeros(n, 3, height, width, dtype=torch.uint8),
            confidence=torch.zeros(n, joints),
            pose_weight=torch.ones(n, joints),
            crop=torch.eye(3).repeat(n, 1, 1),
            time_step=torch.arange(n),
            time=torch.zeros(n),
            **{name: torch.full((n, *shape), math.nan) for name, shape in unknown.items()},
            **{name: torch.zeros(n, dtype=torch.bool) for name in ("metric", "pseudo")},
            **{name: torch.zeros(n, dtype=torch.long) for name in ("subject", "sequence", "view", "frame", "source")},
        )

    def groups(self) -> tuple[Int[Tensor, "G V"], Bool[Tensor, "G V"]]:
        """Rows that show the same time step, padded: indices (padding repeats the group's first row) and a mask."""
        _, inverse, counts = torch.unique(self.time_step, return_inverse=True, return_counts=True)
        order = torch.argsort(inverse, stable=True)
        start = torch.cumsum(counts, 0) - counts
        slot = torch.arange(int(counts.max()) if len(counts) else 0, device=order.device)
        mask = slot[None] < counts[:, None]
        return order[start[:, None] + slot[None] * mask], mask


def _all_are(value: Tensor, number: Tensor) -> bool:
    """Whether a tensor holds this one number alone; NaN is NaN."""
    return bool(((value == number) | ((value != value) & (number != number))).all())
