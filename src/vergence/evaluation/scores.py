"""Protocols: what is measured on which images, beside the baselines that make a figure readable.

A figure without its protocol is not printed: every result carries alignment, root, joints, images and the version of
what it was measured on. Two baselines stand beside each model. `mean_pose` is one pose for everybody; `zero_depth` is the
model's own 2D with no depth at all, the honest one, since good 2D alone already scores well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vergence import metrics
from vergence.batches.dataset import Dataset, batches
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.evaluation.expected import uncertainty_figures
from vergence.geometry.alignment import ridge_regression
from vergence.geometry.camera import normalise, rotate
from vergence.geometry.canonical import canonical_rotation
from vergence.methods.base import Method, Prediction, pose_descriptor
from vergence.metrics import retrieval
from vergence.skeleton import Skeleton

RETRIEVAL_TIME_STEPS = 50  # of each subject: what the figures here are for
RETRIEVAL_WINDOW = 0.5  # seconds
RIDGE_STRENGTH = 1e-4  # on unit embeddings, whose variance along an axis is about a hundredth
HEADING = (
    "canonical poses: P-MPJPE needs no heading; N-MPJPE and the figures beside it after the *true* heading rotation, from "
    "the true pose's hip line and the true vertical"
)
RETRIEVAL = (
    "queries and database are images of two different cameras; mean over ordered pairs of cameras. Detection: the "
    "synchronised time step is among the K nearest, or (within) one of the same recording at most "
    f"{RETRIEVAL_WINDOW:g} s away. PA-MPJPE: mean over the K nearest, between true poses. At most {RETRIEVAL_TIME_STEPS} "
    "time steps of a subject, evenly spread. Database: the same held-out subject, or all of them. predicted_pose: nearest "
    "pose predicted by the same network, Euclidean, reference bone 1"
)


@dataclass(frozen=True)
class Scores:
    """Errors of N poses against truth.

    Attributes:
        n_mpjpe, p_mpjpe: mm (or the truth's unit), one per pose.
        per_joint: N-MPJPE by joint name.
        summary: means, PCK and AUC after scale alignment, and what tells collapse, flip and noise apart.
    """

    n_mpjpe: np.ndarray
    p_mpjpe: np.ndarray
    per_joint: dict[str, float]
    summary: dict[str, float]


def score(
    prediction: Tensor,
    target: Tensor,
    skeleton: Skeleton,
    clusters: Sequence[metrics.Clusters] = (),
    bones_mm: float | None = None,
) -> Scores:
    """All figures of predictions `N J 3` against truth `N J 3`; scale-free, so PCK and AUC are those after scale alignment.

    With `clusters` also PSS (`pss_50`, its spread over clusterings `pss_50_std`); with `bones_mm` also the MPJPE of poses
    brought to that sum of limb lengths.
    """
    p, t = prediction.double().numpy(), target.double().numpy()
    root = skeleton.root
    n, pa = metrics.n_mpjpe(p, t, root), metrics.p_mpjpe(p, t)
    joints = metrics.per_joint_error(p, t, root, "scale")
    flipped = metrics.n_mpjpe(metrics.flip_depth(p, root), t, root)
    scaled = p * _scale(p, t, root)
    summary = {
        "n_mpjpe": float(np.nanmean(n)),
        "p_mpjpe": float(np.nanmean(pa)),
        "n_pck": float(np.nanmean(metrics.pck(p, t, root, alignment="scale"))),
        "n_auc": float(np.nanmean(metrics.auc(p, t, root, alignment="scale"))),
        "depth_correlation": metrics.depth_correlation(scaled, t, root),
        "diversity": metrics.pose_diversity(scaled, t, root),
        "n_mpjpe_depth_negated": float(np.nanmean(flipped)),
    }
    for one in clusters:  # mean over the clusterings, and standard deviation over them
        found = metrics.pose_structure_score(p, t, one)
        summary |= {f"pss_{one.k}": float(found.mean()), f"pss_{one.k}_std": float(found.std())}
    if skeleton.limb_groups:
        sized = p * metrics.bone_sum_scale(p, t, skeleton.limbs)[:, None, None]
        sized = np.where(np.isnan(t), np.nan, sized)  # the prediction of a joint without truth may stand for none
        summary["left_right_mm"] = float(np.nanmean(metrics.symmetry_error(sized, skeleton)))
    if bones_mm is not None:
        summary["bone_sum_mpjpe"] = float(np.nanmean(metrics.bone_sum_mpjpe(p, t, skeleton.limbs, bones_mm, root)))
    per_joint = {
        name: float(v) for name, v in zip(skeleton.joint_names, torch.from_numpy(joints).nanmean(0), strict=True)
    }
    return Scores(n, pa, per_joint, summary)


def structure_clusters(
    training: Sequence[Views], test: Views, skeleton: Skeleton, sizes: Sequence[int] = (50, 100)
) -> list[metrics.Clusters]:
    """Clusters for PSS: of the training recordings' true poses, as in the paper, else of the test's reference.

    A size for which there are not four poses a cluster is left out. Which poses they are of stands in their provenance.
    """
    poses = [index.pose[~index.pseudo] for index in training]
    of, pose = "training", torch.cat(poses) if poses else test.pose[:0]
    if not len(pose) or pose.isnan().flatten(1).any(1).all():
        of, pose = "test reference", test.pose
    whole = int((~pose.isnan().flatten(1).any(1)).sum())
    found = []
    for k in sizes:
        if whole >= metrics.LEAST_POSES_PER_CLUSTER * k:
            found.append(metrics.fit_clusters(pose, k, skeleton.root, of=of, skeleton=skeleton.name))
    return found


def mean_bone_sum(training: Sequence[Views], skeleton: Skeleton) -> float | None:
    """Mean sum of all limb lengths of the training recordings' true poses, mm; None where none is whole and metric."""
    poses = [index.pose[index.metric & ~index.pseudo] for index in training]
    sums = [metrics.limb_lengths(pose, skeleton.limbs).sum(1) for pose in poses]
    mean = torch.cat(sums).nanmean() if sums else torch.tensor(float("nan"))
    return float(mean) if mean.isfinite() else None


def left_right(prediction: Prediction, target: Tensor, skeleton: Skeleton) -> dict[str, dict[str, float]]:
    """Zhou 2017's geometric validity: mean left/right difference of each limb group, in mm (each pose at the truth's sum
    of limb lengths) and in crop pixels (each pose at its own 2D's)."""
    assert prediction.keypoints is not None
    scales = {
        "mm": metrics.bone_sum_scale(prediction.pose, target, skeleton.limbs),
        "px": metrics.pixel_scale(prediction.pose, prediction.keypoints, skeleton.limbs),
    }
    found = {}
    for unit, scale in scales.items():
        gaps = metrics.limb_differences(prediction.pose * scale[:, None, None], skeleton).nanmean(0)
        found[unit] = dict(zip(skeleton.limb_groups, gaps.tolist(), strict=True))
    return found


def _scale(p: np.ndarray, t: np.ndarray, root: tuple[int, ...]) -> np.ndarray:
    """One scale for all poses, so that spread can be compared in the truth's unit."""
    p0, t0 = (x - x[:, list(root)].mean(1, keepdims=True) for x in (p, t))
    known = np.isfinite(p0) & np.isfinite(t0)
    return np.sqrt((t0[known] ** 2).sum() / max((p0[known] ** 2).sum(), 1e-12))


def predict_all(
    method: Method, dataset: Dataset, device: str = "cpu", flip: bool | None = None, size: int = 64
) -> Prediction:
    """The model's predictions for every image of a dataset, in order."""
    method = method.eval().to(device)
    parts = [method.predict(v.image.to(device), v.intrinsics.to(device), flip) for v in batches(dataset, size)]
    if not parts:
        raise VergenceError("the test set has no images", "Look at its frames and count.")
    return method.learned(Prediction.cat(parts))


def zero_depth(keypoints: Tensor, intrinsics: Tensor) -> Tensor:
    """2D joints on a plane parallel to the image: `N J 3` in units of that plane's distance."""
    rays = normalise(keypoints.double(), intrinsics.double())
    return torch.cat([rays, torch.zeros_like(rays[..., :1])], -1).float()


def mean_pose(index: Views, skeleton: Skeleton) -> Tensor:
    """The mean root-relative pose `J 3` of labelled views, each in its own camera's frame."""
    pose = index.pose - index.pose[:, list(skeleton.root)].mean(1, keepdim=True)
    return pose.nanmean(0)


def camera_mean_poses(training: Views, test: Views, skeleton: Skeleton) -> Tensor:
    """For each test image the mean training pose of its own camera, `N J 3`: what a fixed camera alone tells."""
    overall = mean_pose(training, skeleton)
    out = overall.expand(len(test), -1, -1).clone()
    for camera in torch.unique(test.view).tolist():
        own = training.view == camera
        if own.any():
            out[test.view == camera] = mean_pose(training[own], skeleton)
    return out


def nearest_poses(training: Tensor, test: Tensor, skeleton: Skeleton) -> Tensor:
    """For each test pose `N J 3` the training pose `M J 3` nearest to it (oracle: it uses ground truth)."""
    root = list(skeleton.root)
    a, b = ((x - x[:, root].mean(1, keepdim=True)).nan_to_num(0.0) for x in (training, test))
    return a[torch.cdist(b.flatten(1), a.flatten(1)).argmin(1)]


def evaluate(
    method: Method,
    dataset: Dataset,
    skeleton: Skeleton,
    baselines: Mapping[str, Tensor] | None = None,
    device: str = "cpu",
    clusters: Sequence[metrics.Clusters] = (),
    bones_mm: float | None = None,
    refit: Ridge | None = None,
) -> tuple[dict[str, Any], Prediction, Scores]:
    """A model on a test set, beside its baselines.

    Args:
        method: the model.
        dataset: images with true poses.
        skeleton: the joints.
        baselines: constant poses `J 3` or one pose per image `N J 3` to score beside it, by name (`mean_pose`, ...).
        device: where the network runs.
        clusters: for PSS (`structure_clusters`).
        bones_mm: the average person's sum of limb lengths (`mean_bone_sum`), for Zhou 2017's scale.
        refit: poses from embeddings, scored beside the model as `ridge`.

    Returns:
        Results by name (`model`, `zero_depth` where the model finds joints, `true_2d_zero_depth` where 2D is known, each
        baseline; `per_joint`; `left_right`, of poses in the camera's frame; `pixel_error`: median distance of the 2D in crop
        pixels; `parameters`; `retrieval` where a time step has two views), the predictions, and the model's scores.
    """
    index = dataset.index.replace(pose=method.learnable(dataset.index.pose))
    if index.pose.isnan().all():
        raise VergenceError("the test set has no 3D poses to compare with", "Give one that has, or a reconstruction.")
    if index.intrinsics.isnan().any():
        raise VergenceError(
            "the test set's intrinsics are unknown, and 3D from one image needs them",
            "Give them in capture.toml; `vergence reconstruct` writes what it found to rig.toml.",
        )
    prediction = predict_all(method, dataset, device)
    score_ = partial(score, skeleton=skeleton, clusters=clusters, bones_mm=bones_mm)
    scores = score_prediction(prediction, index, skeleton, clusters, bones_mm)
    results: dict[str, Any] = {"model": scores.summary, "per_joint": scores.per_joint}
    results["parameters"] = parameter_counts(method)
    if skeleton.limb_groups and prediction.frame == "camera":
        results["left_right"] = left_right(prediction, index.pose, skeleton)
        scores.summary["left_right_px"] = float(np.nanmean(list(results["left_right"]["px"].values())))
    if refit is not None and prediction.embedding is not None:
        again = method.learned(Prediction(refit(prediction.embedding), "canonical"))
        results["ridge"] = score_prediction(again, index, skeleton, clusters, bones_mm).summary
    if prediction.keypoints is not None:
        flat = zero_depth(prediction.keypoints, index.intrinsics)
        results["zero_depth"] = score_(flat, torch.where(flat.isnan(), float("nan"), index.pose)).summary
    if not index.keypoints.isnan().all():
        if prediction.keypoints is not None:
            distance = (prediction.keypoints - index.keypoints).norm(dim=-1)
            results["pixel_error"] = float(distance.nanmedian())
        results["true_2d_zero_depth"] = score_(projected_truth(index), index.pose).summary
    for name, pose in (baselines or {}).items():
        results[name] = score_(pose.expand_as(index.pose), index.pose).summary
    if found := retrieval_figures(prediction, index, skeleton):
        results["retrieval"] = found
    if told := uncertainty_figures(prediction, index, skeleton):
        results["uncertainty"] = told
    return results, prediction, scores


def parameter_counts(method: Method) -> dict[str, int]:
    """Numbers of parameters: `all`, and of each part that has some of its own."""
    shared = {id(p) for p in method.network.parameters()}
    counts = {f"network.{n}": sum(p.numel() for p in part.parameters()) for n, part in method.network.named_children()}
    for name, part in method.named_children():
        own = sum(p.numel() for p in part.parameters() if id(p) not in shared)
        counts |= {name: own} if own else {}
    return {"all": sum(p.numel() for p in method.parameters()), **counts}


def in_camera_frame(prediction: Prediction, index: Views, skeleton: Skeleton) -> Float[Tensor, "N J 3"]:
    """Predicted poses in their camera's frame: canonical ones turned by the *true* heading (`HEADING`), NaN without one."""
    if prediction.frame == "camera":
        return prediction.pose
    return rotate(prediction.pose, canonical_rotation(index.pose, index.up, skeleton).mT)


def score_prediction(
    prediction: Prediction,
    index: Views,
    skeleton: Skeleton,
    clusters: Sequence[metrics.Clusters] = (),
    bones_mm: float | None = None,
) -> Scores:
    """`score` of poses in either frame. Of canonical ones P-MPJPE counts all, and the other figures those images whose
    true heading is known; where it is known of none they are NaN."""
    score_ = partial(score, skeleton=skeleton, clusters=clusters, bones_mm=bones_mm)
    if prediction.frame == "camera":
        return score_(prediction.pose, index.pose)
    pose = in_camera_frame(prediction, index, skeleton)
    has = pose.isfinite().flatten(1).all(1)
    whole = metrics.p_mpjpe(prediction.pose.double().numpy(), index.pose.double().numpy())
    n = np.full(len(has), np.nan)
    summary = {"p_mpjpe": float(np.nanmean(whole)), "heading_known": float(has.float().mean())}
    if not has.any():
        nothing = score_(index.pose[:1], index.pose[:1])
        unknown = {name: float("nan") for name in nothing.summary}
        return Scores(n, whole, {name: float("nan") for name in nothing.per_joint}, {**unknown, **summary})
    found = score_(pose[has], index.pose[has])
    n[has.numpy()] = found.n_mpjpe
    return Scores(n, whole, found.per_joint, {**found.summary, **summary})


def retrieval_figures(prediction: Prediction, index: Views, skeleton: Skeleton) -> dict[str, Any]:
    """Cross-view retrieval by what the model says, beside the oracle and chance; empty where no time step has two views.

    At most `RETRIEVAL_TIME_STEPS` time steps of each subject are used, evenly spread: {descriptor: {"same", "all": figures}}.
    """
    groups, mask = index.groups()
    enough = mask.sum(1) >= 2
    known = (~index.pose.isnan().any(-1)).sum(1) >= 3
    rows = _spread_time_steps(index, groups[enough], mask[enough], known)
    if len(rows) == 0:
        return {}
    shown = index[rows]
    gallery = retrieval.Gallery(shown.time_step, shown.subject, shown.sequence, shown.view, shown.time, shown.pose)
    descriptors = {"predicted_pose": pose_descriptor(prediction, skeleton)[rows]}
    if prediction.embedding is not None:
        descriptors["embedding"] = prediction.embedding[rows]
    found: dict[str, Any] = {name: {} for name in (*descriptors, "oracle", "random")}
    for database in ("same", "all"):
        for name, descriptor in descriptors.items():
            found[name][database] = retrieval.measure(descriptor, gallery, database, window=RETRIEVAL_WINDOW)
        found["oracle"][database] = retrieval.oracle(gallery, database, window=RETRIEVAL_WINDOW)
        found["random"][database] = retrieval.random(gallery, database, window=RETRIEVAL_WINDOW)
    return found


def _spread_time_steps(index: Views, groups: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """Rows of time steps with a known pose, at most `RETRIEVAL_TIME_STEPS` of each subject, in order."""
    rows: list[Tensor] = []
    subject = index.subject[groups[:, 0]] if len(groups) else groups.new_zeros(0)
    for who in torch.unique(subject).tolist():
        own = (subject == who).nonzero()[:, 0]
        if len(own) > RETRIEVAL_TIME_STEPS:
            own = own[torch.linspace(0, len(own) - 1, RETRIEVAL_TIME_STEPS).round().long()]
        rows.append(groups[own][mask[own]])
    chosen = torch.cat(rows) if rows else groups.new_zeros(0)
    return chosen[known[chosen]].sort().values


@dataclass(frozen=True)
class Ridge:
    """Poses as an affine function of embeddings, fitted with a penalty on its size."""

    weight: Float[Tensor, "E D"]
    offset: Float[Tensor, " D"]

    def __call__(self, embedding: Float[Tensor, "N E"]) -> Float[Tensor, "N J 3"]:
        pose = embedding.double() @ self.weight + self.offset
        return pose.view(len(embedding), -1, 3).float()


def fit_ridge(embedding: Float[Tensor, "N E"], pose: Float[Tensor, "N J 3"], strength: float = RIDGE_STRENGTH) -> Ridge:
    """Poses without NaN by `ridge_regression` on embeddings."""
    return Ridge(*ridge_regression(embedding.double(), pose.double().flatten(1), strength))


def projected_truth(index: Views) -> Tensor:
    """True 2D with no depth: the truth seen by the crop camera, on a plane; 0 where the truth is unknown."""
    flat = (index.pose[..., :2] / index.pose[..., 2:]).nan_to_num(0.0)
    return torch.cat([flat, torch.zeros_like(flat[..., :1])], -1)


def label_scores(pose: Tensor, truth: Views, skeleton: Skeleton) -> dict[str, float]:
    """Errors of pseudo-labels against the truth they never saw: joints that were labelled, and the share that was."""
    known = ~pose.isnan().any(-1)
    useful = known.sum(1) >= len(skeleton) // 2
    useful &= known[:, list(skeleton.root)].all(1)
    target = torch.where(known[..., None], truth.pose, float("nan"))[useful]
    found = score(pose[useful].nan_to_num(0.0), target, skeleton).summary
    return {**found, "joints_labelled": float(known.float().mean())}


def protocol(index: Views, skeleton: Skeleton, flip_averaging: bool, **more: Any) -> dict[str, Any]:
    """How a figure was measured, for the results file."""
    return {
        "alignment": "N: root-aligned, least-squares scale per pose (kept >= 0); P: similarity per pose, no reflection",
        "root": [skeleton.joint_names[i] for i in skeleton.root],
        "joints": list(skeleton.joint_names),
        "skeleton": skeleton.name,
        "images": len(index),
        "subjects": len(torch.unique(index.subject)),
        "true_depth_or_scale_used": False,
        "average": "over images",
        "flip_averaging": flip_averaging,
        **more,
    }
