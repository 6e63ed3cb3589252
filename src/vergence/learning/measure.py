"""A lifting model measured where nobody knows the truth: against the reconstruction by all cameras, in held-out time.

Every camera's own 2D keypoints are lifted and compared with what all cameras together say, seen from that camera. The figures
stand beside those of simple answers to the same images, so that a lab without motion capture can tell a better model from
a worse one: the keypoints with zero depth, the mean pose and the nearest pose of the training time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from vergence import metrics
from vergence.evaluation.scores import nearest_poses
from vergence.footage.observations import Observations
from vergence.lifting.model import LiftingModel
from vergence.reconstruction.result import Reconstruction

Array = np.ndarray
WAYS = ("model", "without the footage", "zero depth", "mean pose", "nearest training pose")
PROTOCOL = (
    "mm at the reconstruction's scale (assumed or given height), root-relative; N: each pose scaled to fit, P: also rotated; "
    "held-out time, every camera's own 2D keypoints against the reconstruction by all cameras; joints both have"
)


@dataclass(frozen=True)
class Held:
    """Figures of one recording's held-out time.

    Attributes:
        cameras: names.
        n_mpjpe, p_mpjpe: mm, by way (`WAYS`) and camera; NaN where there was nothing to measure.
        frames: held out and measured, by camera.
    """

    cameras: tuple[str, ...]
    n_mpjpe: dict[str, tuple[float, ...]]
    p_mpjpe: dict[str, tuple[float, ...]]
    frames: tuple[int, ...]

    def mean(self, way: str) -> tuple[float, float]:
        """N and P over the cameras."""
        return float(np.nanmean(self.n_mpjpe[way])), float(np.nanmean(self.p_mpjpe[way]))


def measure_held_out(
    model: LiftingModel,
    before: LiftingModel,
    found: Reconstruction,
    seen: Observations,
    held: Bool[Array, " T"],
) -> Held:
    """Figures of a model and its baselines in the frames held out.

    Args:
        model: to be measured.
        before: what it was trained from.
        found: the reconstruction of all frames.
        seen: what it was made of.
        held: rows that the training did not see.
    """
    skeleton = model.skeleton
    world = found.poses.known_world
    scale = 1.0 if world is None else world.mm_per_unit
    truth = found.skeleton.convert(np.asarray(found.poses.pose, dtype=np.float64), skeleton) * scale
    figures: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    counts = []
    for view, camera in enumerate(found.rig.cameras):
        there = truth @ np.asarray(camera.R).T
        there = there - there[:, list(skeleton.root)].mean(1, keepdims=True)
        keypoints = seen.keypoints[:, view]
        lifted = {
            "model": model(keypoints, seen.skeleton, camera, found.poses.fps),
            "without the footage": before(keypoints, seen.skeleton, camera, found.poses.fps),
            "zero depth": _flat(
                camera.normalise(seen.skeleton.convert(keypoints[..., :2].astype(np.float64), skeleton))
            ),
        }
        usable = np.isfinite(there).all((1, 2)) & np.isfinite(lifted["model"]).all((1, 2))
        rows, taught = np.flatnonzero(usable & held), there[np.isfinite(there).all((1, 2)) & ~held]
        counts.append(len(rows))
        if len(rows) and len(taught):
            lifted["mean pose"] = np.broadcast_to(taught.mean(0), there.shape)
            near = nearest_poses(torch.from_numpy(taught), torch.from_numpy(there[rows]), skeleton)
            lifted["nearest training pose"] = np.full(there.shape, np.nan)
            lifted["nearest training pose"][rows] = near.numpy()
        for way in WAYS:
            figures[way].append(_errors(lifted.get(way), there, rows, skeleton.root))
    return Held(
        tuple(camera.name for camera in found.rig.cameras),
        {way: tuple(n for n, _ in values) for way, values in figures.items()},
        {way: tuple(p for _, p in values) for way, values in figures.items()},
        tuple(counts),
    )


def _flat(points: Float[Array, "T K 2"]) -> Float[Array, "T K 3"]:
    return np.concatenate([points, np.zeros_like(points[..., :1])], -1)


def _errors(poses: Array | None, truth: Array, rows: Array, root: tuple[int, ...]) -> tuple[float, float]:
    if poses is None:
        return float("nan"), float("nan")
    whole = rows[np.isfinite(poses[rows]).all((1, 2))]
    if not len(whole):
        return float("nan"), float("nan")
    a, b = (torch.from_numpy(np.ascontiguousarray(values[whole])) for values in (poses, truth))
    return float(metrics.n_mpjpe(a, b, root).mean()), float(metrics.p_mpjpe(a, b, root).mean())
