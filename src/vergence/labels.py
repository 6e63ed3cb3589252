"""Made labels: 3D poses that came from several views, kept in a file named by what made them.

Rows are keyed by sequence, view and frame, so that a label finds its picture in whatever order pictures are read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vergence.errors import VergenceError
from vergence.files import atomic_path
from vergence.views import Views


@dataclass(frozen=True)
class Labels:
    """3D labels of N pictures, in each crop camera's frame and reference bones.

    Attributes:
        key: sequence, view, frame; `N 3`.
        pose: `N J 3`; NaN where no two views agreed.
        weight: trust in each joint, 0 to 1; `N J`.
        keypoints: the pose projected into the crop, pixels; `N J 2`.
        intrinsics: of the crop, as known or as estimated; `N 3 3`.
        report: what was counted while making them; plain values.
    """

    key: Tensor
    pose: Tensor
    weight: Tensor
    keypoints: Tensor
    intrinsics: Tensor
    report: dict[str, Any]

    def save(self, path: Path) -> None:
        arrays = {n: getattr(self, n).numpy() for n in ("key", "pose", "weight", "keypoints", "intrinsics")}
        with atomic_path(path) as partial:
            np.savez_compressed(partial, report=json.dumps(self.report), unit="reference bones", **arrays)

    @staticmethod
    def load(path: Path) -> Labels:
        with np.load(path) as file:
            arrays = {n: torch.from_numpy(file[n]) for n in ("key", "pose", "weight", "keypoints", "intrinsics")}
            return Labels(**arrays, report=json.loads(str(file["report"])))

    def apply(self, index: Views) -> Views:
        """Puts the labels where `index` has no pose of its own; true labels stay. Rows without a label are unchanged."""
        rows, found = match(torch.stack([index.sequence, index.view, index.frame], 1), self.key)
        take = found & index.pose.isnan().flatten(1).all(1)
        rows = rows[take]
        pose, weight, made = index.pose.clone(), index.pose_weight.clone(), index.made.clone()
        keypoints, confidence = index.keypoints.clone(), index.confidence.clone()
        intrinsics, metric = index.intrinsics.clone(), index.metric.clone()
        pose[take], weight[take], made[take], metric[take] = self.pose[rows], self.weight[rows], True, False
        intrinsics[take] = self.intrinsics[rows]
        unlabelled = keypoints[take].isnan().any(-1)
        keypoints[take] = torch.where(unlabelled[..., None], self.keypoints[rows], keypoints[take])
        confidence[take] = torch.where(unlabelled, self.weight[rows], confidence[take])
        return index.replace(
            pose=pose,
            pose_weight=weight,
            made=made,
            metric=metric,
            keypoints=keypoints,
            confidence=confidence,
            intrinsics=intrinsics,
        )


def match(wanted: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of `wanted` (N, K) its position in `keys` (M, K), and whether it has one. Keys must be unique."""
    _, code = torch.unique(torch.cat([wanted, keys]), dim=0, return_inverse=True)
    ours, theirs = code[: len(wanted)], code[len(wanted) :]
    if len(torch.unique(theirs)) < len(theirs):
        raise VergenceError("a label file has two labels for one picture", "Delete it; the next run makes it again.")
    table = torch.full((int(code.max()) + 1 if len(code) else 0,), -1)
    table[theirs] = torch.arange(len(theirs))
    rows = table[ours]
    return rows.clamp(min=0), rows >= 0


def fingerprint(*parts: Any) -> str:
    """Twelve hex digits of what made something: settings (dataclasses, plain values) and tensors."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, dict) and any(isinstance(v, Tensor) for v in part.values()):
            for name in sorted(part):
                digest.update(name.encode() + part[name].detach().cpu().contiguous().numpy().tobytes())
        else:
            plain = asdict(part) if hasattr(part, "__dataclass_fields__") else part
            digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:12]
