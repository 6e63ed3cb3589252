"""A model under a published protocol: its poses brought to mm (or its 2D to px), its table, and the words belonging to it.

A network that learned without metric labels predicts up to scale, and protocols ask for millimetres. Where they come from
changes the figures by more than papers differ, so it is chosen by name and printed: the training people's mean size
(what is known before the picture is seen), or, by the truth, each pose's own size or its root's distance. N-MPJPE and
P-MPJPE need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vergence import metrics
from vergence.data.keypoint_protocols import KeypointProtocol, measure_keypoints
from vergence.data.protocols import Measured, Protocol, measure
from vergence.dataset import Dataset
from vergence.errors import VergenceError
from vergence.evaluation import HEADING, in_camera_frame
from vergence.methods.base import Prediction
from vergence.skeleton import Skeleton
from vergence.views import Views

Scale = Literal["training", "true", "depth"]
SCALES = {
    "training": "each pose at the training people's mean sum of limb lengths",
    "true": "each pose at its own TRUE sum of limb lengths",
    "depth": "each pose at the TRUE distance of its root (EpipolarPose)",
}


def in_millimetres(
    prediction: Prediction, index: Views, skeleton: Skeleton, scale: Scale, bones_mm: float | None
) -> Float[Tensor, "N J 3"] | None:
    """Predictions in a camera's frame, free of scale, in mm by one of `SCALES`; None where nothing gives that scale."""
    pose = prediction.pose.double()
    if scale == "depth":
        if prediction.root_depth is None:
            return None
        factor = index.pose[:, list(skeleton.root), 2].double().mean(1) / prediction.root_depth.double()
    elif scale == "training" and bones_mm is None:
        return None
    else:
        factor = metrics.bone_sum_scale(pose, index.pose, skeleton.limbs, None if scale == "true" else bones_mm)
    return pose * factor[:, None, None]


def measure_protocol(
    protocol: Protocol,
    prediction: Prediction,
    dataset: Dataset,
    skeleton: Skeleton,
    scale: Scale = "training",
    bones_mm: float | None = None,
) -> tuple[Measured, dict[str, Any]]:
    """A model's table under a named protocol, and how its poses, which are free of scale, got their millimetres.

    Figures that need a scale, or a heading, which this model does not have are left out, and said to be.

    Raises:
        VergenceError: a test set without the groups that the protocol averages over; no figure is left.
    """
    groups = getattr(dataset, "groups", None)
    if groups is None:
        raise VergenceError(
            f"protocol {protocol.name} needs the groups of a dataset's rows", f"Give {protocol.dataset} data."
        )
    index = dataset.index
    missing: dict[str, str] = {}
    posed = replace(prediction, pose=in_camera_frame(prediction, index, skeleton))
    if not posed.pose.isfinite().all():  # no heading: a similarity needs none
        missing |= {f.name: "true heading unknown" for f in protocol.figures if f.alignment != "procrustes"}
        posed = replace(prediction)
    metric = in_millimetres(posed, index, skeleton, scale, bones_mm)
    if metric is None:
        missing |= {f.name: f"no scale: {SCALES[scale]}" for f in protocol.figures if f.alignment == "root"}
    kept = tuple(f for f in protocol.figures if f.name not in missing)
    if not kept:
        raise VergenceError(
            f"protocol {protocol.name} needs poses in mm, and nothing gives their scale ({SCALES[scale]})",
            "Give --scale true, which uses the truth, or training data with 3D.",
        )
    pose = posed.pose if metric is None else metric
    found = measure(
        replace(protocol, figures=kept),
        pose.double().numpy(),
        index.pose.double().numpy(),
        groups,
        skeleton,
    )
    about: dict[str, Any] = {"scale": SCALES[scale] if metric is not None else "none", "left_out": missing}
    about |= {"bone_sum_mm": bones_mm} if scale == "training" and metric is not None else {}
    about |= {"heading": HEADING} if prediction.frame == "canonical" else {}
    return found, {**about, "true_depth_or_scale_used": metric is not None and scale != "training"}


def measure_keypoint_protocol(
    protocol: KeypointProtocol,
    keypoints: Float[Tensor, "N J 2"],
    confidence: Float[Tensor, " N"],
    dataset: Dataset,
    skeleton: Skeleton,
) -> tuple[Measured, dict[str, Any]]:
    """A 2D protocol's table of predicted keypoints, px of the full picture, and the words that belong to it.

    Raises:
        VergenceError: a dataset without the people's sizes; see `measure_keypoints`.
    """
    sizes = getattr(dataset, "measures", {}).get(protocol.measure)
    if sizes is None:
        raise VergenceError(
            f"protocol {protocol.name} needs the {protocol.measure} of every person, which this data does not tell",
            f"Give {protocol.dataset} data; shards of an older version want to be prepared again.",
        )
    index = dataset.index
    found = measure_keypoints(
        protocol,
        keypoints.double().numpy(),
        full_pixels(index.keypoints, index.crop).numpy(),
        sizes,
        confidence.double().numpy(),
        index.sequence.numpy(),
        skeleton,
    )
    unknown = int((~np.isfinite(sizes)).sum())
    left = {f"{unknown} people": f"no {protocol.measure} is known"} if unknown else {}
    about: dict[str, Any] = {"scale": f"distances by each person's {protocol.measure}", "left_out": left}
    return found, {**about, "true_depth_or_scale_used": False}


def full_pixels(points: Float[Tensor, "N J 2"], crop: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N J 2"]:
    """Crop pixels as those of the full picture, up to its lens distortion (which is not put back)."""
    ones = torch.ones_like(points[..., :1])
    there = torch.cat([points, ones], -1).double() @ torch.linalg.inv(crop.double()).mT
    return there[..., :2] / there[..., 2:]


def protocol_words(found: Mapping[str, Any]) -> str:
    """How a named protocol's figures, as a results file has them, were measured."""
    protocol = found["protocol"]
    pictures = ", ".join(f"{key} {value}" for key, value in protocol["pictures"].items())
    left = "".join(f" {figure} left out: {why}." for figure, why in found["left_out"].items())
    columns = "; ".join(f"{figure}: {words}" for figure, words in protocol["figures"].items())
    return (
        f"{protocol['title']}. {protocol['dataset']}: {pictures}; {columns}. Root {protocol['root']}; average: "
        f"{protocol['average']}; truth: {protocol['truth']}; scale: {found['scale']}.{left}"
    )
