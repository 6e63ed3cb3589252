"""How well keypoints are found in images: PCKh (MPII) and OKS with its average precision (COCO).

* **PCKh**: the share of labelled joints within half a head of the truth. A head is 0.6 of the diagonal of its rectangle,
  which ignores how the body's size and the head's may differ; the pelvis and the thorax are left out of MPII's mean. Joints
  are counted, not poses averaged, so a person with few labels weighs little.
* **OKS**: one value a person, 1 where all joints are right, each joint's distance measured by the person's size (the root
  of the segmented area) and by how well annotators agree on that joint. Average precision over OKS thresholds also asks
  for the right score and for no false people; with one crop per true person that part is not tested, and the mean OKS says
  more.

A NaN prediction of a labelled joint is a miss; a NaN target is not labelled. What breaks both: a shift of the pixel
origin (MPII's files count from 1) costs little and looks like a slightly worse network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.errors import VergenceError

HEAD_SHARE = 0.6  # of the diagonal of MPII's head rectangle
PCKH_THRESHOLD = 0.5
COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
OKS_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
RECALLS = np.linspace(0, 1, 101)
MOST_DETECTIONS = 20  # of one image
AREAS = {"all": (0.0, 1e10), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class Pckh:
    """Percentages of joints found.

    Attributes:
        joints: J, percent; NaN for a joint that nobody has.
        counts: J, labelled joints.
        mean: percent of all labelled joints among those that count.
    """

    joints: Float[ndarray, " J"]
    counts: ndarray
    mean: float


def head_size(box: Float[ndarray, "N 4"]) -> Float[ndarray, " N"]:
    """MPII's head size in px, from head rectangles x1 y1 x2 y2."""
    box = np.asarray(box, dtype=np.float64)
    return HEAD_SHARE * np.linalg.norm(box[..., 2:] - box[..., :2], axis=-1)


def pckh(
    prediction: Float[ndarray, "N J 2"],
    target: Float[ndarray, "N J 2"],
    size: Float[ndarray, " N"],
    threshold: float = PCKH_THRESHOLD,
    joints: Sequence[int] | None = None,
) -> Pckh:
    """Share of labelled joints at most `threshold` head sizes away.

    Args:
        prediction: px; NaN is a miss.
        target: px; NaN where unlabelled.
        size: each person's head size, px (`head_size`); people without one are left out.
        threshold: in head sizes; 0.1 for Mean@0.1.
        joints: those that the mean counts; MPII leaves out 6 and 7, pelvis and thorax. Default all.

    Raises:
        VergenceError: shapes differ, or a head size is 0 or less.
    """
    p, t = _pair(prediction, target)
    heads = np.asarray(size, dtype=np.float64)
    if heads.shape != p.shape[:1] or (heads <= 0).any():
        raise VergenceError(
            f"head sizes of shape {heads.shape}, smallest {np.nanmin(heads, initial=np.inf):g}, for {len(p)} people",
            "Give one size above 0 for each, or NaN.",
        )
    known = np.isfinite(t).all(-1) & np.isfinite(heads)[:, None]
    with np.errstate(invalid="ignore"):
        hits = known & (np.linalg.norm(p - t, axis=-1) <= threshold * heads[:, None])
    counts, found = known.sum(0), hits.sum(0)
    chosen = list(range(p.shape[1])) if joints is None else list(joints)
    with np.errstate(invalid="ignore"):
        share = np.where(counts > 0, 100 * found / np.maximum(counts, 1), np.nan)
    total = counts[chosen].sum()
    return Pckh(share, counts, float(100 * found[chosen].sum() / total) if total else float("nan"))


def oks(
    prediction: Float[ndarray, "... J 2"],
    target: Float[ndarray, "... J 2"],
    area: Float[ndarray, ...],
    sigmas: Sequence[float] = COCO_SIGMAS,
) -> Float[ndarray, ...]:
    """Object keypoint similarity, 0 to 1: the mean over labelled joints of exp(-d^2 / (2 area (2 sigma)^2)).

    Args:
        prediction: px; NaN counts 0. Leading axes broadcast against the target's, so `p[:, None]` gives all pairs.
        target: px, NaN where unlabelled.
        area: of the person's segment, px^2 (COCO's `area`, not its box).
        sigmas: J, how far annotators scatter, in root areas.

    Returns:
        NaN where no joint is labelled.
    """
    p, t = np.asarray(prediction, dtype=np.float64), np.asarray(target, dtype=np.float64)
    spread = (2 * np.asarray(sigmas)) ** 2
    if p.shape[-2:] != (len(spread), 2) or t.shape[-2:] != (len(spread), 2):
        raise VergenceError(
            f"keypoints of shapes {p.shape} and {t.shape} with {len(spread)} sigmas", "Give one sigma for each joint."
        )
    known = np.isfinite(t).all(-1)
    distance = ((p - t) ** 2).sum(-1)
    each = np.exp(-distance / (2 * (np.asarray(area, dtype=np.float64)[..., None] + np.spacing(1)) * spread))
    each = np.where(known & np.isfinite(distance), each, 0.0)
    return each.sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)


@dataclass(frozen=True)
class TruePerson:
    """One annotation.

    Attributes:
        keypoints: px, NaN where unlabelled.
        area: px^2 of the segment.
        box: x y w h, px.
        crowd: several people in one annotation; nobody has to find it, and finding it costs nothing.
    """

    keypoints: Float[ndarray, "J 2"]
    area: float
    box: Float[ndarray, " 4"]
    crowd: bool = False

    @property
    def ignored(self) -> bool:
        return self.crowd or not np.isfinite(self.keypoints).all(-1).any()


@dataclass(frozen=True)
class FoundPerson:
    """One detection: keypoints in px, and how sure."""

    keypoints: Float[ndarray, "J 2"]
    score: float

    @property
    def area(self) -> float:
        """Of the box around the keypoints, px^2; what its size class is told by."""
        return float(np.prod(np.nanmax(self.keypoints, 0) - np.nanmin(self.keypoints, 0)))


def keypoint_precision(
    truth: Mapping[int, Sequence[TruePerson]],
    found: Mapping[int, Sequence[FoundPerson]],
    sigmas: Sequence[float] = COCO_SIGMAS,
) -> dict[str, float]:
    """COCO's keypoint figures: AP, AP50, AP75, AP_medium, AP_large and the same of AR (average recall), 0 to 1.

    Args:
        truth: people by image; an image without people belongs here as well, so that what is found there counts as false.
        found: detections by image; the best 20 of each count.
        sigmas: see `oks`.

    Returns:
        NaN for a size class that no person belongs to.
    """
    images = sorted(truth)
    best = {i: sorted(found.get(i, ()), key=lambda person: -person.score)[:MOST_DETECTIONS] for i in images}
    pairs = {image: _similarities(truth[image], best[image], sigmas) for image in images}
    out: dict[str, float] = {}
    for name, limits in AREAS.items():
        results = [_match(truth[i], best[i], pairs[i], limits) for i in images]
        precision, recall = _accumulate(results)
        suffix = "" if name == "all" else f"_{name}"
        out[f"AP{suffix}"], out[f"AR{suffix}"] = float(precision.mean()), float(recall.mean())
        if name == "all":
            for label, k in (("50", 0), ("75", 5)):
                out[f"AP{label}"], out[f"AR{label}"] = float(precision[k].mean()), float(recall[k])
    return out


def _similarities(
    truth: Sequence[TruePerson], found: Sequence[FoundPerson], sigmas: Sequence[float]
) -> Float[ndarray, "D G"]:
    """OKS of every pair; with somebody who has no labelled joint, by how far joints lie outside the box grown threefold."""
    if not truth or not found:
        return np.zeros((len(found), len(truth)))
    points = np.stack([person.keypoints for person in found])
    labels = np.stack([person.keypoints for person in truth])
    area, box = np.array([person.area for person in truth]), np.array([person.box for person in truth])
    values = oks(points[:, None], labels[None], area, sigmas)
    low, high = box[:, :2] - box[:, 2:], box[:, :2] + 2 * box[:, 2:]
    inside = np.clip(points[:, None], low[:, None], high[:, None])
    outside = oks(points[:, None], inside, area, sigmas)
    return np.where(np.isnan(values), outside, values)


def _match(
    truth: Sequence[TruePerson],
    found: Sequence[FoundPerson],
    values: Float[ndarray, "D G"],
    limits: tuple[float, float],
) -> tuple[ndarray, ndarray, ndarray, int]:
    """One image, one size class: scores D, hits T D, detections that do not count T D, and people who do.

    Detections choose in the order of their scores, each the nearest person still free above the threshold; those who do not
    count are chosen only where nobody else is.
    """
    low, high = limits
    ignored = np.array([p.ignored or not low <= p.area <= high for p in truth], dtype=bool)
    order = np.argsort(ignored, kind="stable")
    hits = np.zeros((len(OKS_THRESHOLDS), len(found)), dtype=bool)
    idle = np.zeros_like(hits)
    for t, threshold in enumerate(OKS_THRESHOLDS):
        taken = np.zeros(len(truth), dtype=bool)
        for d in range(len(found)):
            best, chosen = min(threshold, 1 - 1e-10), -1
            for g in order:
                if taken[g] and not truth[g].crowd:
                    continue
                if chosen >= 0 and not ignored[chosen] and ignored[g]:
                    break
                if values[d, g] >= best:
                    best, chosen = values[d, g], int(g)
            if chosen >= 0:
                taken[chosen] = True
                hits[t, d], idle[t, d] = True, ignored[chosen]
            else:
                idle[t, d] = not low <= found[d].area <= high
    return np.array([person.score for person in found]), hits, idle, int((~ignored).sum())


def _accumulate(results: Sequence[tuple[ndarray, ndarray, ndarray, int]]) -> tuple[ndarray, ndarray]:
    """Precision T R at the recalls, never rising with recall, and the recall T that is reached."""
    people = sum(result[3] for result in results)
    shape = (len(OKS_THRESHOLDS), len(RECALLS))
    if not people:
        return np.full(shape, np.nan), np.full(shape[0], np.nan)
    order = np.argsort(-np.concatenate([result[0] for result in results]), kind="stable")
    hits = np.concatenate([result[1] for result in results], 1)[:, order]
    counted = ~np.concatenate([result[2] for result in results], 1)[:, order]
    right, wrong = (hits & counted).cumsum(1), (~hits & counted).cumsum(1)
    precision, reached = np.zeros(shape), np.zeros(shape[0])
    for t in range(shape[0]):
        if not right.shape[1]:
            continue
        recall = right[t] / people
        share = right[t] / np.maximum(right[t] + wrong[t], np.spacing(1))
        share = np.maximum.accumulate(share[::-1])[::-1]
        place = np.searchsorted(recall, RECALLS, side="left")
        precision[t] = np.where(place < len(share), share[np.minimum(place, len(share) - 1)], 0.0)
        reached[t] = recall[-1]
    return precision, reached


def _pair(prediction: ndarray, target: ndarray) -> tuple[ndarray, ndarray]:
    p, t = np.asarray(prediction, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if p.shape != t.shape or p.ndim != 3 or p.shape[-1] != 2:
        raise VergenceError(f"prediction has shape {p.shape}, target {t.shape}", "Give (N, J, 2) px for both.")
    return p, t
