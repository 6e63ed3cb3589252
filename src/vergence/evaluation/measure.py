"""A model under a published protocol: its poses brought to mm (or its 2D to px), its table, and the words belonging to it.

A network that learned without metric labels predicts up to scale, and protocols ask for millimetres. Where they come from
changes the figures by more than papers differ, so it is chosen by name and printed: the training people's mean size
(what is known before the image is seen), or, by the truth, each pose's own size or its root's distance. N-MPJPE and
P-MPJPE need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vergence import metrics
from vergence.batches.dataset import Dataset
from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.evaluation.scores import HEADING, in_camera_frame
from vergence.geometry.crops import full_pixels
from vergence.methods.base import Prediction, pose_descriptor
from vergence.metrics import retrieval
from vergence.protocols.base import Measured, Protocol, measure
from vergence.protocols.keypoints import KeypointProtocol, measure_keypoints
from vergence.recipes.sources import Scale
from vergence.skeleton import Skeleton, in_words

SCALES: dict[Scale, str] = {
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
    if protocol.retrieval:
        return measure_retrieval(protocol, prediction, dataset.index, skeleton)
    index = dataset.index
    unlearned = _unlearned(protocol, prediction, skeleton)
    missing = unlearned
    posed = replace(prediction, pose=in_camera_frame(prediction, index, skeleton))
    learned = ~prediction.pose.isnan().any(-1).all(0)
    if not posed.pose[:, learned].isfinite().all():  # no heading: a similarity needs none
        missing = missing | {f.name: "true heading unknown" for f in protocol.figures if f.alignment != "procrustes"}
        posed = replace(prediction)
    metric: Float[Tensor, "N J 3"] | None
    if protocol.fit is not None:
        metric, sized, true = posed.pose.double(), protocol.fit.words, protocol.fit.true_scale
    else:
        metric, sized, true = (
            in_millimetres(posed, index, skeleton, scale, bones_mm),
            SCALES[scale],
            scale != "training",
        )
    if metric is None:
        missing = missing | {f.name: f"no scale: {sized}" for f in protocol.figures if f.needs_scale}
    kept = tuple(f for f in protocol.figures if f.name not in missing)
    if not kept and unlearned:
        raise VergenceError(
            f"protocol {protocol.name} cannot be measured: {next(iter(unlearned.values()))}",
            "Train with labels that have them, or measure without --protocol.",
        )
    if not kept:
        raise VergenceError(
            f"protocol {protocol.name} needs poses in mm, and nothing gives their scale ({sized})",
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
    about: dict[str, Any] = {"scale": sized if metric is not None else "none", "left_out": missing}
    about |= {"bone_sum_mm": bones_mm} if sized == SCALES["training"] and metric is not None else {}
    about |= {"heading": HEADING} if prediction.frame == "canonical" else {}
    return found, {**about, "true_depth_or_scale_used": metric is not None and true}


def _unlearned(protocol: Protocol, prediction: Prediction, skeleton: Skeleton) -> dict[str, str]:
    """Figures that ask for joints which the model does not give, and why they are left out."""
    given = prediction.pose.isfinite().all(-1).any(0).tolist()
    absent = {name for name, known in zip(skeleton.joint_names, given) if not known}
    asked = {f.name: absent & set(f.joints or protocol.joints) for f in protocol.figures}
    return {
        name: f"training had no labels of {', '.join(map(in_words, sorted(joints)))}"
        for name, joints in asked.items()
        if joints
    }


def measure_without_truth(
    protocol: Protocol, prediction: Prediction, dataset: Dataset, skeleton: Skeleton
) -> tuple[Measured, dict[str, Any]]:
    """A table of what predictions alone tell, in pixels of the crops (`metrics.pixel_scale`).

    Raises:
        VergenceError: the model finds no joints, or poses that are not in the camera's frame.
    """
    if prediction.keypoints is None or prediction.frame != "camera":
        raise VergenceError(
            f"protocol {protocol.name} measures poses in pixels, and this model's are not tied to the image",
            "Use another protocol.",
        )
    scale = metrics.pixel_scale(prediction.pose.double(), prediction.keypoints, skeleton.limbs)
    pose = (prediction.pose.double() * scale[:, None, None]).numpy()
    found = measure(protocol, pose, dataset.index.pose.double().numpy(), getattr(dataset, "groups", {}), skeleton)
    about: dict[str, Any] = {"scale": "each pose at the size of its own 2D, px of the crop", "left_out": {}}
    return found, {**about, "true_depth_or_scale_used": False}


def measure_retrieval(
    protocol: Protocol, prediction: Prediction, index: Views, skeleton: Skeleton
) -> tuple[Measured, dict[str, Any]]:
    """A model's table under a protocol of retrieval: by its embedding, or where it has none by its predicted poses.

    The table `cameras` has the figures of each ordered pair; `descriptor` those of every way to rank, among them the best
    (`oracle`) and chance (`random`).

    Raises:
        VergenceError: no time step is seen by two cameras.
    """
    assert protocol.retrieval
    rows = ((~index.pose.isnan().any(-1)).sum(1) >= 3).nonzero()[:, 0]
    shown = index[rows]
    gallery = retrieval.Gallery(shown.time_step, shown.subject, shown.sequence, shown.view, shown.time, shown.pose)
    ks = sorted({figure.hits for figure in protocol.figures})
    ways = {"predicted_pose": pose_descriptor(prediction, skeleton)[rows]}
    if prediction.embedding is not None:
        ways = {"embedding": prediction.embedding[rows], **ways}
    found = {name: retrieval.measure(way, gallery, protocol.retrieval, ks) for name, way in ways.items()}
    found["oracle"] = retrieval.oracle(gallery, protocol.retrieval, ks)
    found["random"] = retrieval.random(gallery, protocol.retrieval, ks)

    def row(one: retrieval.Retrieval) -> dict[str, float]:
        of = {"detection": one.detection, "retrieved": one.mean_pa_mpjpe}
        return {figure.name: of[figure.measure][figure.hits] for figure in protocol.figures}

    main = next(iter(found))
    tables = {
        "cameras": {pair: {**row(one), "poses": float(one.queries)} for pair, one in found[main].by_pair.items()},
        "descriptor": {name: {**row(one), "poses": float(one.queries)} for name, one in found.items()},
    }
    about = {"scale": "none", "left_out": {}, "descriptor": main, "true_depth_or_scale_used": False}
    return Measured(protocol, row(found[main]), tables, len(rows)), about


def measure_keypoint_protocol(
    protocol: KeypointProtocol,
    keypoints: Float[Tensor, "N J 2"],
    confidence: Float[Tensor, " N"],
    dataset: Dataset,
    skeleton: Skeleton,
) -> tuple[Measured, dict[str, Any]]:
    """A 2D protocol's table of predicted keypoints, px of the full image, and the words that belong to it.

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


def protocol_words(found: Mapping[str, Any]) -> str:
    """How a named protocol's figures, as a results file has them, were measured."""
    protocol = found["protocol"]
    images = ", ".join(f"{key} {value}" for key, value in protocol["images"].items())
    left = "".join(f" {figure} left out: {why}." for figure, why in found["left_out"].items())
    columns = "; ".join(f"{figure}: {words}" for figure, words in protocol["figures"].items())
    return (
        f"{protocol['title']}. {protocol['dataset']}: {images}; {columns}. Root {protocol['root']}; average: "
        f"{protocol['average']}; truth: {protocol['truth']}; scale: {found['scale']}.{left}"
    )
