"""Which joints the labels of a training show: what a model may speak of.

A skeleton's joint that no source labels (COCO has no head top) has an output all the same, which nothing ever taught: it
lies somewhere near the pelvis, in files, tables and pictures, as sure as the others. So a run records what its labels
show, and predictions are NaN elsewhere. A depth is taught by 3D and by 2D together, or, where no 3D is shown at all, by
what a method makes of 2D in several views.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from vergence.batches.views import Views
from vergence.skeleton import Skeleton


@dataclass(frozen=True)
class Labelled:
    """Joints by name that labels show somewhere.

    Attributes:
        keypoints: in 2D.
        pose: in 3D, pseudo-labels included.
    """

    keypoints: frozenset[str] = frozenset()
    pose: frozenset[str] = frozenset()

    @staticmethod
    def of(visible: Iterable[Views], skeleton: Skeleton) -> Labelled:
        """What a stage's sources show."""
        flat = deep = torch.zeros(len(skeleton), dtype=torch.bool)
        for views in visible:
            flat = flat | (views.keypoints.isfinite().all(-1) & (views.confidence > 0)).any(0)
            deep = deep | (views.pose.isfinite().all(-1) & (views.pose_weight > 0)).any(0)
        names = [
            frozenset(n for n, known in zip(skeleton.joint_names, mask.tolist()) if known) for mask in (flat, deep)
        ]
        return Labelled(*names)

    def __or__(self, other: Labelled) -> Labelled:
        return Labelled(self.keypoints | other.keypoints, self.pose | other.pose)

    def plain(self, skeleton: Skeleton) -> dict[str, list[str]]:
        """For a JSON file, in the skeleton's order."""
        parts = {"keypoints": self.keypoints, "pose": self.pose}
        return {what: [name for name in skeleton.joint_names if name in names] for what, names in parts.items()}

    @staticmethod
    def read(made: Mapping[str, Any] | None) -> Labelled | None:
        """What `plain` wrote; None of runs that did not record it."""
        return None if made is None else Labelled(frozenset(made["keypoints"]), frozenset(made["pose"]))

    def taught(self, skeleton: Skeleton, frame: str = "camera") -> tuple[Bool[Tensor, " J"], Bool[Tensor, " J"]]:
        """Joints whose 2D, and whose pose in that frame, a network can have learned."""
        flat = self.keypoints or self.pose or frozenset(skeleton.joint_names)
        deep = self.pose or flat
        if frame == "camera" and self.keypoints:  # lifted from its own 2D
            deep = deep & flat
        return tuple(torch.tensor([name in names for name in skeleton.joint_names]) for names in (flat, deep))  # type: ignore[return-value]
