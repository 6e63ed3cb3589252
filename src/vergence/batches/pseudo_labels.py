"""Pseudo-labels: poses that came from several views, or the 2D of a network, kept in a file named by what made them.

Rows are keyed by sequence, view and frame, so that a label finds its image in whatever order images are read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.files import atomic_path

ARRAYS = ("key", "pose", "weight", "keypoints", "intrinsics", "rotation", "seen", "seen_weight")


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labels of N images, in each crop camera's frame and reference bones.

    Attributes:
        key: sequence, view, frame; `N 3`.
        pose: `N J 3`; NaN where no two views agreed, or where only 2D is kept.
        weight: confidence of each joint, 0 to 1; `N J`.
        keypoints: the pose projected into the crop, or what the network found, pixels; `N J 2`.
        intrinsics: of the crop, as known or as estimated; `N 3 3`.
        report: what was counted while making them; plain values.
        rotation: of the crop's camera in the rig as it was found, NaN where it was not; `N 3 3`. None: nothing was found
            about cameras.
        seen: the 2D that the pose was made of, put right by it (`batches.repair`), crop pixels, NaN where it was dropped;
            `N J 2`. It takes the place of the images' own. None: these stay.
        seen_weight: confidence of `seen`; `N J`.
    """

    key: Tensor
    pose: Tensor
    weight: Tensor
    keypoints: Tensor
    intrinsics: Tensor
    report: dict[str, Any]
    rotation: Tensor | None = None
    seen: Tensor | None = None
    seen_weight: Tensor | None = None

    def save(self, path: Path) -> None:
        arrays = {n: getattr(self, n).numpy() for n in ARRAYS if getattr(self, n) is not None}
        with atomic_path(path) as partial:
            np.savez_compressed(partial, report=json.dumps(self.report), unit="reference bones", **arrays)

    @staticmethod
    def load(path: Path) -> PseudoLabels:
        with np.load(path) as file:
            arrays = {n: torch.from_numpy(file[n]) for n in ARRAYS if n in file}
            return PseudoLabels(**arrays, report=json.loads(str(file["report"])))

    def cameras_only(self) -> PseudoLabels:
        """The cameras' rotations and lenses, and the repaired 2D, without the poses."""
        pose, keypoints = (torch.full_like(x, float("nan")) for x in (self.pose, self.keypoints))
        return replace(self, pose=pose, keypoints=keypoints, weight=torch.zeros_like(self.weight))

    def apply(self, index: Views) -> Views:
        """Puts the pseudo-labels where `index` has none of its own; true labels stay, but for 2D that was put right (`seen`).
        Rows without a label are unchanged."""
        rows, found = match(torch.stack([index.sequence, index.view, index.frame], 1), self.key)
        nothing = self.pose[rows].isnan().flatten(1).all(1)
        take = found & (~index.has_pose | nothing)
        posed = take & ~nothing
        names = ("pose", "pose_weight", "pseudo", "metric", "keypoints", "confidence", "intrinsics", "rotation")
        new = {name: getattr(index, name).clone() for name in names}
        new["pose"][posed], new["pose_weight"][posed] = self.pose[rows[posed]], self.weight[rows[posed]]
        new["pseudo"][posed], new["metric"][posed] = True, False
        new["intrinsics"][take] = self.intrinsics[rows[take]]
        if self.seen is not None and self.seen_weight is not None:
            new["keypoints"][found], new["confidence"][found] = self.seen[rows[found]], self.seen_weight[rows[found]]
        unlabelled = new["keypoints"].isnan().any(-1) & take[:, None]
        new["keypoints"] = torch.where(unlabelled[..., None], self.keypoints[rows], new["keypoints"])
        new["confidence"] = torch.where(unlabelled, self.weight[rows], new["confidence"])
        if self.rotation is not None:
            free = new["rotation"].isnan() & take[:, None, None]
            new["rotation"] = torch.where(free, self.rotation[rows], new["rotation"])
        return index.replace(**new)


def keypoint_labels(index: Views, keypoints: Tensor, confidence: Tensor, least: float) -> PseudoLabels:
    """2D that a network found (crop pixels, `N J 2`, and its confidence, `N J`) as pseudo-labels, without those found with less
    than `least`."""
    kept = confidence >= least
    return PseudoLabels(
        key=torch.stack([index.sequence, index.view, index.frame], 1),
        pose=torch.full((*keypoints.shape[:2], 3), float("nan")),
        weight=torch.where(kept, confidence, 0.0),
        keypoints=torch.where(kept[..., None], keypoints, float("nan")),
        intrinsics=index.intrinsics.clone(),
        report={"images": len(index), "joints_labelled": float(kept.float().mean())},
    )


def match(wanted: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of `wanted` (N, K) its position in `keys` (M, K), and whether it has one. Keys must be unique."""
    _, code = torch.unique(torch.cat([wanted, keys]), dim=0, return_inverse=True)
    ours, theirs = code[: len(wanted)], code[len(wanted) :]
    if len(torch.unique(theirs)) < len(theirs):
        raise VergenceError("a file has two labels for one image", "Delete it; the next run makes it again.")
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
