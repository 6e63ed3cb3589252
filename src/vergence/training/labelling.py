"""Pseudo-labels: the 2D of synchronised views, found by a frozen network or labelled, becomes the 3D of every image.

Joints of synchronised views -> the rig -> triangulated joints -> each camera's frame, one recording after the other; whatever
method the run trains afterwards learns from the same labels. Section 3.2 of EpipolarPose (Kocabas, Karagoz, Akbas, CVPR 2019),
with what is ours where the paper's way is known to fail: frames are pooled (16 joints of one frame leave rotations 11 to 78
degrees off, 100 pooled frames 0.1 to 0.9) and the rig is bundle-adjusted; `per_frame` is the paper's variant. Where a heatmap
has two peaks the views choose between them (`peaks`; 1 is the paper's way, the highest of each alone).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import data

from vergence.batches.dataset import Dataset, batches
from vergence.batches.pseudo_labels import PseudoLabels
from vergence.batches.repair import repair
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.body import reference_length
from vergence.geometry.camera import normalise, project
from vergence.geometry.crops import full_pixels
from vergence.methods.base import Method
from vergence.networks.pose_network import peaks
from vergence.recipes.recipe import LabelStage, Source
from vergence.reconstruction.peaks import choose_peaks
from vergence.reconstruction.quality import Report
from vergence.reconstruction.solve import Solution, reconstruct_keypoints
from vergence.skeleton import Skeleton


@torch.no_grad()
def find_keypoints(
    method: Method, dataset: Dataset, device: str, half: bool = False, size: int = 64, count: int = 1
) -> tuple[Float[Tensor, "N J M 2"], Float[Tensor, "N J M"]]:
    """A frozen network over a whole dataset: the M highest peaks of each joint's heatmap, highest first, in crop
    pixels, and the probability of each; NaN and 0 of joints that no label showed it.

    `half` computes in bf16: twice as fast where the processor has it, 0.02 px different.
    """
    frozen = method.quick(device, "bf16" if half else "fp32")
    found, trust = [], []
    for views in batches(dataset, size):
        heatmap = frozen.read(views.image.to(device), frozen.mirrored).log_heatmap
        pixels, probability = peaks(heatmap, views.image.shape[-1] / heatmap.shape[-1], count)
        found.append(pixels.cpu())
        trust.append(probability.cpu())
    pixels, probability = torch.cat(found), torch.cat(trust)
    if method.labelled is not None:
        unknown = ~method.labelled.taught(method.skeleton)[0]
        pixels[:, unknown], probability[:, unknown] = float("nan"), 0.0
    return pixels, probability


def make_pseudo_labels(
    dataset: Dataset,
    visible: Views,
    keypoints: Float[Tensor, "N J M 2"],
    confidence: Float[Tensor, "N J M"],
    settings: LabelStage,
    skeleton: Skeleton,
    seed: int = 0,
    own: Views | None = None,
) -> PseudoLabels:
    """3D labels for every image of a multi-view source, in its crop camera's frame.

    Args:
        dataset: the source; its index says which images belong to one time step.
        visible: what the recipe lets be used (extrinsics, where known).
        keypoints, confidence: joints of each image, crop pixels, predicted or labelled; of M peaks the likeliest first.
        settings: cameras known or not, frames pooled, `per_frame`.
        skeleton: the joints.
        seed: of the robust estimators.
        own: the images with 2D of a detector that is to be learned, which the 3D puts right (`batches.repair`); left out:
            `visible`, where the labels are made of its 2D.

    Raises:
        VergenceError: when no recording could be reconstructed; the sentence says why.
    """
    index = dataset.index
    own = visible if own is None and settings.keypoints == "labelled" else own
    pose = torch.full((len(index), len(skeleton), 3), float("nan"))
    weight = torch.zeros(len(index), len(skeleton))
    projected = torch.full((len(index), len(skeleton), 2), float("nan"))
    intrinsics = index.intrinsics.clone()
    rotation = torch.full((len(index), 3, 3), float("nan"))
    refusals: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    doubt = ""
    for chunk, made in _Recordings(visible, keypoints, confidence, settings, skeleton, seed).each():
        if isinstance(made, VergenceError):
            refusals[made.problem] += 1
            continue
        pose[chunk], weight[chunk], projected[chunk], intrinsics[chunk], rotation[chunk], judged = made
        verdicts[judged.verdict] += 1
        doubt = doubt or " ".join(judged.reasons)
    if not verdicts:
        reason = refusals.most_common(1)[0][0] if refusals else "the source has no images"
        raise VergenceError(f"no recording could be reconstructed: {reason}", "Look at the 2D first, then the rig.")
    key = torch.stack([index.sequence, index.view, index.frame], 1)
    seen: dict[str, Tensor] = {}
    put_right: dict[str, int] = {}
    if own is not None and not settings.per_frame:
        camera = torch.unique(key[:, :2], dim=0, return_inverse=True)[1]
        points, trust, shown = (x.double().numpy() for x in (own.keypoints, own.confidence, projected))
        fixed = repair(points, trust, shown, camera.numpy(), index.frame.numpy(), skeleton.mirror)
        seen = {"seen": torch.from_numpy(fixed.keypoints).float()}
        seen["seen_weight"] = torch.from_numpy(fixed.confidence).float()
        stranger = torch.from_numpy(fixed.stranger)
        pose[stranger], weight[stranger], projected[stranger] = float("nan"), 0.0, float("nan")
        put_right = fixed.counts
    labelled = ~pose.isnan().flatten(1).all(1)
    report: dict[str, Any] = {
        "recordings": sum(verdicts.values()) + sum(refusals.values()),
        "verdicts": dict(verdicts),
        "doubt": doubt,
        "refused": dict(refusals),
        "images": len(index),
        "images_labelled": int(labelled.sum()),
        "joints_labelled": float((~pose.isnan().any(-1)).float().mean()),
        "put_right": put_right,
    }
    return PseudoLabels(key, pose, weight, projected, intrinsics, report, rotation, **seen)


_Made = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Report]


class _Recordings(data.Dataset[_Made | VergenceError]):
    """Every recording, in runs of at most `settings.frames` time steps; an item is its labels, or why there are none.

    The geometry is small steps of NumPy and SciPy, which one process does on one core; the loader's workers use all.
    """

    def __init__(
        self,
        views: Views,
        keypoints: Tensor,
        confidence: Tensor,
        settings: LabelStage,
        skeleton: Skeleton,
        seed: int,
    ) -> None:
        self.views, self.keypoints, self.confidence = views, keypoints, confidence
        self.settings, self.skeleton, self.seed = settings, skeleton, seed
        self.chunks: list[Tensor] = []
        for sequence in torch.unique(views.sequence).tolist():
            rows = torch.nonzero(views.sequence == sequence)[:, 0]
            frames = torch.unique(views.frame[rows])
            runs = torch.tensor_split(frames, max(1, -(-len(frames) // settings.frames)))
            self.chunks += [rows[torch.isin(views.frame[rows], run)] for run in runs]

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> _Made | VergenceError:
        rows = self.chunks[number]
        try:
            return _label_recording(
                self.views[rows], self.keypoints[rows], self.confidence[rows], self.settings, self.skeleton, self.seed
            )
        except VergenceError as error:
            return error

    def each(self) -> Iterator[tuple[Tensor, _Made | VergenceError]]:
        workers = min(torch.get_num_threads(), len(self) // 8)
        loader = data.DataLoader(self, batch_size=None, num_workers=workers)
        yield from zip(self.chunks, loader, strict=True)


def _label_recording(
    views: Views, keypoints: Tensor, confidence: Tensor, settings: LabelStage, skeleton: Skeleton, seed: int
) -> _Made:
    frames, t = torch.unique(views.frame, return_inverse=True)
    cameras, v = torch.unique(views.view, return_inverse=True)
    known_lens = bool(views.intrinsics.isfinite().all())
    _check_full_cameras(views, known_lens)
    points = np.full((len(frames), len(cameras), *keypoints.shape[1:]), np.nan)
    trust = np.zeros(points.shape[:-1])
    points[t, v] = full_pixels(keypoints.flatten(1, 2), views.crop).unflatten(1, keypoints.shape[1:3]).numpy()
    trust[t, v] = confidence.numpy()
    first = [int(torch.nonzero(v == c)[0]) for c in range(len(cameras))]
    turn = views.turn.double()
    extrinsics: dict[str, Any] = {}
    if settings.cameras == "known":
        if not views.rotation.isfinite().all():
            raise VergenceError(
                "cameras: known was asked for, but the source's extrinsics are unknown or withheld",
                "Give R and t of every camera, or use cameras: unknown.",
            )
        back = turn.transpose(-1, -2)
        extrinsics = {
            "rotation": (back @ views.rotation.double())[first].numpy(),
            "translation": (back @ views.translation.double()[..., None])[first, :, 0].numpy(),
        }
    rig: dict[str, Any] = {
        "intrinsics": views.full_intrinsics[first].double().numpy() if known_lens else None,
        "image_size": views.size[first].numpy(),
        "skeleton": skeleton,
        "seed": seed,
    }
    choose = points.shape[3] > 1 and not settings.per_frame
    result = reconstruct_keypoints(
        points[..., 0, :],
        trust[..., 0],
        per_frame=settings.per_frame,
        hold_limbs=not choose,
        **rig,
        **extrinsics,
    )
    judged = result.report
    if choose:  # of the first result the rig and its noise alone are used, which limbs do not move
        rig |= {"intrinsics": result.intrinsics, "rotation": result.rotation, "translation": result.translation}
        agreed, likely = _agreed(points, trust, result)
        result = reconstruct_keypoints(agreed, likely, **rig)
    rotation, translation = torch.from_numpy(result.rotation)[v], torch.from_numpy(result.translation)[v]
    world = torch.from_numpy(result.pose)[t]
    camera = world @ rotation.transpose(-1, -2) + translation[:, None]
    pose = (camera @ turn.transpose(-1, -2)).float() / _bone_length(result.pose, skeleton)
    lens = views.intrinsics if known_lens else (views.crop.double() @ torch.from_numpy(result.intrinsics)[v]).float()
    weight = torch.from_numpy(result.weight)[t].float()
    return pose, weight.nan_to_num(0.0), project(pose, lens), lens, (turn @ rotation).float(), judged


def _check_full_cameras(views: Views, known_lens: bool) -> None:
    needed = [views.turn, views.size, *([views.full_intrinsics] if known_lens else [])]
    if not all(bool(value.isfinite().all()) for value in needed):
        raise VergenceError(
            "the images do not say which full images and cameras they were cropped from",
            "Prepare them again with `vergence data prepare`, or fill `turn`, `full_intrinsics` and `size` of their views.",
        )


def _agreed(points: np.ndarray, trust: np.ndarray, rig: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Of the M peaks of each joint in each image (`T V J M 2`, `T V J M`) the one that fits the other images."""
    frames, views, joints, count = trust.shape
    lens = torch.from_numpy(rig.intrinsics)
    rays = normalise(torch.from_numpy(points), lens[:, None])
    chosen = choose_peaks(
        rays.transpose(1, 2).reshape(-1, views, count, 2),
        torch.from_numpy(trust).transpose(1, 2).reshape(-1, views, count),
        torch.from_numpy(np.concatenate([rig.rotation, rig.translation[..., None]], -1)),
        (lens[:, 0, 0] + lens[:, 1, 1]) / 2,
        rig.report.noise_px,
    )
    at = chosen.reshape(frames, joints, views).transpose(1, 2).numpy()[..., None]
    return np.take_along_axis(points, at[..., None], 3)[..., 0, :], np.take_along_axis(trust, at, 3)[..., 0]


def _bone_length(pose: np.ndarray, skeleton: Skeleton) -> float:
    """Median length of the reference bone over a recording; 1 where the reconstruction is free of scale already."""
    length = reference_length(pose, skeleton)
    if not length > 0:
        raise VergenceError("the reference bone was never seen by two cameras", "Its joints are needed for the scale.")
    return length


def labelled_from(source: Source, stage: LabelStage) -> Source:
    """A source as a label stage sees it: none of its 3D, and its 2D only where that is what makes the labels."""
    return replace(source, pose="none", keypoints=source.keypoints and stage.keypoints == "labelled")


def label_words(report: Mapping[str, Any]) -> str:
    """What a label stage made, in a line."""
    if "recordings" not in report:
        return f"2D of {report['joints_labelled']:.0%} of the joints kept"
    many = sum(report["verdicts"].values()) > 1
    verdicts = ", ".join(f"{count} {word}" for word, count in report["verdicts"].items())
    words = [f"{report['images_labelled']} of {report['images']} images labelled"]
    words += [f"{verdicts} recording{'s' * many}"]
    if put_right := ", ".join(f"{count} {what}" for what, count in report["put_right"].items()):
        words += [f"put right: {put_right}"]
    refused = sum(report["refused"].values())
    return "; ".join([*words, *([f"{refused} refused"] if refused else [])])
