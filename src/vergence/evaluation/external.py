"""External predictions: poses in a file, matched to a dataset's rows by key and moved into its crop cameras.

NPZ arrays, or the same names in JSON, with `samples` a list of mappings that hold a `pose` and its key:

    pose         N J 3; NaN (null) where a joint is not predicted; the root may lie anywhere
    joint_names  J
    unit         mm, m, or free (each pose at a scale of its own)
    keypoints    N J 2, instead of pose and unit: px of the full image, from 0, for protocols in 2D; score: N, how sure
    axes         camera (default): x right, y down, z forward of the full image's camera; or crop: of Vergence's crops
    sequence, view, frame   N integers each, the dataset's numbers; or
    image      N names, the image's path or its end, `video.mp4#17` for a frame of a video; or
    row          N integers; without any key, sample i is row i and N is the dataset's length

Others predict in the camera that took the image, our truth lies in the crop's camera, turned by as much as the person
stands off the axis: compared without that turn, good poses look wrong, and only P-MPJPE does not see it. What else breaks
figures silently is refused in words: metres read as millimetres, samples that are missing, joints that the file does not
have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from vergence import metrics
from vergence.batches.dataset import Dataset, Selected
from vergence.batches.pseudo_labels import match
from vergence.errors import VergenceError, refusing
from vergence.evaluation.measure import measure_keypoint_protocol
from vergence.evaluation.scores import score
from vergence.files import read_arrays, read_text, renamed
from vergence.protocols.base import Measured, Protocol, measure
from vergence.protocols.keypoints import KeypointProtocol
from vergence.skeleton import Skeleton, skeleton_from_names

UNITS = {"mm": 1.0, "m": 1000.0, "free": 1.0}
AXES = ("camera", "crop")
KEYS = ("sequence", "view", "frame")
SIZES = {"pose": 3, "keypoints": 2}
PLAUSIBLE_SIZE = 4.0  # a person is not that many times as large, or as small, as another
MOST_GROUPS = 60


@dataclass(frozen=True)
class Predicted:
    """What a file says.

    Attributes:
        pose: as in the file, in mm where `metric`.
        skeleton: its joints.
        metric: poses have a size.
        axes: `camera` or `crop`.
        keypoints: px of the full image.
        score: of each sample, for average precision.
        key: its arrays of `sequence`, `view` and `frame`, or `image`, or `row`; empty: in order.
    """

    pose: Float[ndarray, "N J 3"] | None
    skeleton: Skeleton
    metric: bool
    axes: str
    key: Mapping[str, ndarray]
    keypoints: Float[ndarray, "N J 2"] | None = None
    score: Float[ndarray, " N"] | None = None

    def __len__(self) -> int:
        return len(self.pose if self.pose is not None else self.keypoints if self.keypoints is not None else ())


def read_predictions(source: Path | str | Mapping[str, Any]) -> Predicted:
    """Predictions from a file, or from the same names in a mapping.

    Raises:
        VergenceError: missing, damaged, not of the form above.
    """
    path = Path("the predictions") if isinstance(source, Mapping) else Path(source)
    if isinstance(source, Mapping):
        found = dict(source)
    else:
        npz = path.suffix.lower() != ".json"
        found = read_arrays(path, (), "Give NPZ of plain arrays, or JSON.") if npz else _json(path)
    found = renamed(found, {"picture": "image"}, path)
    flat = "keypoints" in found and "pose" not in found
    for name in ("keypoints", "joint_names") if flat else ("pose", "joint_names", "unit"):
        if name not in found:
            raise VergenceError(
                f"{path} has no {name}",
                "It needs pose, joint_names and unit (in 2D keypoints and joint_names), and a key for each sample.",
            )
    skeleton = skeleton_from_names([str(name) for name in np.asarray(found["joint_names"]).ravel()])
    points = {n: _points(path, n, found[n], len(skeleton), size) for n, size in SIZES.items() if n in found}
    count = len(next(iter(points.values())))
    unit, axes = str(found.get("unit", "free")), str(found.get("axes", "camera"))
    if unit not in UNITS or axes not in AXES:
        raise VergenceError(f"{path}: unit is {unit!r}, axes is {axes!r}", "Units: mm, m, free. Axes: camera, crop.")
    key = {name: np.asarray(found[name]) for name in (*KEYS, "image", "row") if name in found}
    if any(name in key for name in KEYS) and not all(name in key for name in KEYS):
        raise VergenceError(f"{path} is keyed by {', '.join(key)}", f"Give all of {', '.join(KEYS)}.")
    score = np.asarray(found["score"], dtype=np.float64) if "score" in found else None
    for name, value in {**key, **points, **({} if score is None else {"score": score})}.items():
        whole = name not in KEYS + ("row",) or np.issubdtype(value.dtype, np.integer)
        if value.shape[:1] != (count,) or (name not in points and value.ndim != 1) or not whole:
            raise VergenceError(
                f"{path}: {name} has shape {value.shape}, {value.dtype}", "One for each pose; keys are integers."
            )
    pose = points["pose"] * UNITS[unit] if "pose" in points else None
    return Predicted(pose, skeleton, unit != "free", axes, key, points.get("keypoints"), score)


def _points(path: Path, name: str, value: Any, joints: int, size: int) -> ndarray:
    problem = f"the {name} of {path} are no N x J x {size} numbers"
    with refusing(problem, "Give null for no joint.", TypeError, ValueError):
        points = np.array(value, dtype=np.float64)
    if points.shape[1:] != (joints, size) or not len(points):
        raise VergenceError(
            f"{path}: {name} has shape {points.shape}, with {joints} joint names", f"Give N x J x {size}."
        )
    return points


def _json(path: Path) -> dict[str, Any]:
    text, remedy = read_text(path), "It needs unit, joint_names and `samples`, each with a pose and the same key."
    with refusing(f"{path} cannot be read as predictions", remedy):
        found = json.loads(text)
        samples = found.pop("samples")
        names = [name for name in (*SIZES, "score", *KEYS, "image", "picture", "row") if name in samples[0]]
        return found | {name: [_filled(sample[name], SIZES.get(name, 0)) for sample in samples] for name in names}


def _filled(value: Any, size: int) -> Any:
    """Null joints as null numbers, which are NaN in an array."""
    return [[None] * size if joint is None else joint for joint in value] if isinstance(value, list) else value


def on_rows(
    predicted: Predicted, dataset: Dataset, skeleton: Skeleton, needed: Sequence[str] = ()
) -> tuple[Float[Tensor, "N J 3"], Tensor]:
    """The predictions on a dataset's rows, in its crops' cameras; NaN where there is none, and which rows have one: of
    every joint whose truth is known, since a mean over the joints that somebody chose to predict is another figure.

    `needed` joints are those that are measured, by name; all, if none are named.

    Raises:
        VergenceError: 2D alone; joints that the file cannot give; crops of unknown turn; a key twice, or that fits
            several rows; nothing that fits.
    """
    if predicted.pose is None:
        raise VergenceError("the predictions are 2D keypoints alone", "Give poses, or --protocol: one in 2D.")
    rows, found = _rows(predicted, dataset, needed or skeleton.joint_names)
    pose = torch.from_numpy(predicted.skeleton.convert(predicted.pose, skeleton))[rows]
    measured = [i for name in needed or skeleton.joint_names for i in skeleton.sources(name)]
    found = found & ~(pose.isnan() & ~dataset.index.pose.isnan())[:, measured].flatten(1).any(1)
    pose[~found] = float("nan")
    if predicted.axes == "camera":
        if dataset.index.turn[found].isnan().any():
            raise VergenceError("the data does not say how its crops are turned", "Give poses with axes crop.")
        pose = pose @ dataset.index.turn.double().mT
    return pose, found


def keypoints_on_rows(
    predicted: Predicted, dataset: Dataset, skeleton: Skeleton, needed: Sequence[str]
) -> tuple[Float[Tensor, "N J 2"], Float[Tensor, " N"], Tensor]:
    """Keypoints, px of the full image, and scores on a dataset's rows; which rows have a sample.

    Raises:
        VergenceError: no 2D; joints that the file cannot give; a key twice, or that fits several rows; nothing that fits.
    """
    if predicted.keypoints is None:
        raise VergenceError("the predictions have no 2D keypoints", "Give `keypoints`, N J 2, px of the full image.")
    rows, found = _rows(predicted, dataset, needed)
    points = torch.from_numpy(predicted.skeleton.convert(predicted.keypoints, skeleton))[rows]
    points[~found] = float("nan")
    score = torch.ones(len(found)) if predicted.score is None else torch.from_numpy(predicted.score)[rows]
    return points, score, found


def _rows(predicted: Predicted, dataset: Dataset, needed: Sequence[str]) -> tuple[Tensor, Tensor]:
    """For each row of the dataset its sample, and whether it has one: some have; and all joints that are needed."""
    if lacking := [name for name in needed if not predicted.skeleton.sources(name)]:
        remedy = "Measure in a skeleton that they give, with --skeleton."
        raise VergenceError(f"the predictions have no {', '.join(lacking)}, which are measured", remedy)
    rows, found = _matched(predicted, dataset)
    if not found.any():
        raise VergenceError("no prediction belongs to any sample of the data", "Look at their keys, and at --data.")
    return rows, found


def _matched(predicted: Predicted, dataset: Dataset) -> tuple[Tensor, Tensor]:
    index, key = dataset.index, predicted.key
    n = len(index)
    if all(name in key for name in KEYS):
        wanted = torch.stack([getattr(index, name) for name in KEYS], 1)
        return match(wanted, torch.from_numpy(np.stack([key[name].astype(np.int64) for name in KEYS], 1)))
    if "image" in key:
        return _by_image(key["image"], dataset)
    if not key and len(predicted) != n:
        raise VergenceError(
            f"{len(predicted)} predictions without keys for {n} samples", "Give a key, or one for each sample."
        )
    number = torch.from_numpy(key["row"].astype(np.int64)) if key else torch.arange(n)
    return match(torch.arange(n)[:, None], number[:, None])


def _by_image(names: ndarray, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Samples by the end of their image's path."""
    records = getattr(dataset, "records", None)
    if records is None:
        raise VergenceError("this data does not say which images its samples come from", "Key by row.")
    places: dict[str, list[int]] = {}
    for row, image in enumerate(records.images):
        parts = (image.path.as_posix() + ("" if image.frame is None else f"#{image.frame}")).split("/")
        for i in range(len(parts)):
            places.setdefault("/".join(parts[i:]), []).append(row)
    rows, found = torch.zeros(len(dataset), dtype=torch.long), torch.zeros(len(dataset), dtype=torch.bool)
    for sample, name in enumerate(names.astype(str).tolist()):
        own = places.get(name.removeprefix("./"), [])
        if len(own) > 1 or (own and found[own[0]]):
            raise VergenceError(f"the image {name} is that of several samples", "Give more of its path, or row.")
        if own:
            rows[own[0]], found[own[0]] = sample, True
    return rows, found


def score_poses(pose: Float[Tensor, "N J 3"], metric: bool, dataset: Dataset, skeleton: Skeleton) -> dict[str, Any]:
    """Figures of predictions on a dataset's rows, NaN where there is none; by group too, where the dataset has groups.

    Raises:
        VergenceError: no truth; poses of another size than people.
    """
    index = dataset.index
    known = index.has_pose & ~pose.isnan().flatten(1).all(1)
    if not known.any():
        raise VergenceError("no sample has both a prediction and a true 3D pose", "Give data with 3D.")
    p, t = pose[known].double(), index.pose[known].double()
    results: dict[str, Any] = {"model": score(p, t, skeleton).summary, "samples": int(known.sum())}
    each = {"n_mpjpe": metrics.n_mpjpe(p, t, skeleton.root), "p_mpjpe": metrics.p_mpjpe(p, t)}
    if metric:
        _check_size(p, t, skeleton)
        each |= {"mpjpe": metrics.mpjpe(p, t, skeleton.root), "pck": metrics.pck(p, t, skeleton.root)}
        each |= {"auc": metrics.auc(p, t, skeleton.root)}
        results["model"] |= {name: float(each[name].nanmean()) for name in ("mpjpe", "pck", "auc")}
    groups = getattr(dataset, "groups", {})
    for name, values in groups.items():
        own = np.asarray(values)[known.numpy()]
        present = np.unique(own)
        if len(present) <= MOST_GROUPS:
            results.setdefault("groups", {})[name] = {
                str(value): {key: float(x[torch.from_numpy(own == value)].nanmean()) for key, x in each.items()}
                for value in present
            }
    return results


def _check_size(p: Tensor, t: Tensor, skeleton: Skeleton) -> None:
    lengths = [metrics.limb_lengths(x, skeleton.limbs) for x in (p, t)]
    both = lengths[0].isfinite() & lengths[1].isfinite()
    sizes = [float(x.masked_fill(~both, 0).sum(1)[both.any(1)].median()) for x in lengths]
    ratio = sizes[0] / sizes[1]
    if not 1 / PLAUSIBLE_SIZE < ratio < PLAUSIBLE_SIZE:
        raise VergenceError(
            f"the predicted people's limbs are {ratio:.3g} times as long as the true ones",
            "State the unit that the poses are in: mm, m, or free.",
        )


def score_protocol(
    protocol: Protocol, predicted: Predicted, dataset: Dataset, skeleton: Skeleton
) -> tuple[Measured, dict[str, Any], int]:
    """Predictions under a named protocol: its table, the words that belong to it, and how many samples have none.

    Poses count at their own scale; of `free` ones figures that need a scale are left out, and said to be.

    Raises:
        VergenceError: see `on_rows` and `protocols.measure`; poses of another size than people; no figure is left.
    """
    if isinstance(protocol, KeypointProtocol):
        points, score, found = keypoints_on_rows(predicted, dataset, skeleton, protocol.needs)
        missing = int((~found).sum())
        there = Selected(dataset, found.nonzero()[:, 0])
        return *measure_keypoint_protocol(protocol, points[found], score[found], there, skeleton), missing
    if protocol.retrieval or protocol.without_truth:
        raise VergenceError(
            f"protocol {protocol.name} measures what a model makes of images, not poses from a file",
            "Give a run, or another protocol.",
        )
    pose, found = on_rows(predicted, dataset, skeleton, protocol.needs)
    index = dataset.index
    known = index.has_pose & found
    if predicted.metric and known.any():
        _check_size(pose[known].double(), index.pose[known].double(), skeleton)
    sized = predicted.metric or protocol.fit is not None
    left = {} if sized else {f.name: "no scale: each pose has its own" for f in protocol.figures if f.needs_scale}
    kept = tuple(f for f in protocol.figures if f.name not in left)
    if not kept:
        raise VergenceError(f"protocol {protocol.name} needs poses in mm, and the unit is free", "Give mm or m.")
    target = torch.where(found[:, None, None], index.pose, float("nan")).double().numpy()
    groups = getattr(dataset, "groups", {})
    table = measure(replace(protocol, figures=kept), pose.double().numpy(), target, groups, skeleton)
    scale = protocol.fit.words if protocol.fit else "the file's own" if predicted.metric else "none"
    true = protocol.fit is not None and protocol.fit.true_scale
    about = {"scale": scale, "left_out": left, "true_depth_or_scale_used": true}
    return table, about, int((~found & index.has_pose).sum())
