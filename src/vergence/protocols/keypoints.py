"""Named protocols in 2D: PCKh on MPII, OKS and its average precision on COCO, of one crop for each labelled person.

They are protocols like the others (`vergence.protocols.base`): images, joints, figures, average, words. What differs is
that distances are px of the full image, measured by the size of the person: half a head, or the root of the segmented
area. That size is a measure of the records (`Records.measures`), and travels into prepared shards with them.

* **`mpii-pckh`** pools joints, as MPII's evaluation does: somebody with few labels weighs little.
* **`coco-oks`** crops everybody by the true box. Its AP is what papers call "with ground-truth boxes": nobody is overlooked
  and nobody invented, so it lies above the AP of a detector's boxes. Crowds and people without labels are in no
  crop, and therefore in neither truth nor detections; a wrong pose that happens to lie on a crowd counts as wrong.
* **`coco-oks-body`** is the same over the 12 joints from shoulders to ankles, for skeletons without eyes and ears. It is ours:
  no paper's figure is comparable, the face's joints being the easiest to find and the strictest to score.

What breaks a comparison and shows nowhere: joints of one name lie differently in two datasets (a hip of Human3.6M is not a
hip of COCO), so a run trained on the one is some px off on the other for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vergence import metrics
from vergence.errors import VergenceError
from vergence.metrics.keypoints import COCO_SIGMAS, PCKH_THRESHOLD, FoundPerson, TruePerson
from vergence.protocols.base import Measured, Protocol
from vergence.skeleton import COCO_17, MPII_16, Skeleton

STRICT_THRESHOLD = 0.1  # of a head: Mean@0.1
HEAD, AREA = "head_px", "area_px"


@dataclass(frozen=True)
class KeypointProtocol(Protocol):
    """A protocol whose figures compare pixels.

    Attributes:
        measure: of the records, by which distances count: `head_px` makes it PCKh, `area_px` OKS.
        columns: what each figure is, in words.
    """

    measure: str = HEAD
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def without_3d(self) -> bool:
        return True

    def describe(self) -> dict[str, Any]:
        """As of any protocol, with this one's columns."""
        average = "over all labelled joints together" if self.measure == HEAD else "over people"
        units = dict.fromkeys(self.columns, "%")
        return {**super().describe(), "figures": dict(self.columns), "units": units, "average": average}


def measure_keypoints(
    protocol: KeypointProtocol,
    prediction: Float[ndarray, "N J 2"],
    target: Float[ndarray, "N J 2"],
    sizes: Float[ndarray, " N"],
    confidence: Float[ndarray, " N"],
    image: Int[ndarray, " N"],
    skeleton: Skeleton,
) -> Measured:
    """The table of a 2D protocol.

    Args:
        protocol: what to measure.
        prediction: px of the full image; NaN is a miss.
        target: px, NaN where unlabelled.
        sizes: the people's `protocol.measure`; who has none is not measured.
        confidence: of each person, for average precision.
        image: a number of the image that each person is in.
        skeleton: the joints of both.

    Raises:
        VergenceError: a joint that this skeleton does not have; nobody to measure.
    """
    lacking = [name for name in protocol.joints if len(skeleton.sources(name)) != 1]
    if lacking:
        body = " Measure by coco-oks-body, or" if protocol.name == "coco-oks" else ""
        raise VergenceError(
            f"protocol {protocol.name} needs {', '.join(lacking)}, which skeleton {skeleton.name} does not have",
            f"{body} use a run of another skeleton.".strip().capitalize(),
        )
    joints = [skeleton.sources(name)[0] for name in protocol.joints]
    rows = np.isfinite(sizes) & (sizes > 0) & np.isfinite(target[:, joints]).all(-1).any(1)
    if not rows.any():
        remedy = f"It needs people with 2D labels and a known {protocol.measure} (`docs/datasets.md`)."
        raise VergenceError(f"protocol {protocol.name} finds nobody to measure among {len(target)} people", remedy)
    p, t = prediction[rows][:, joints], target[rows][:, joints]
    if protocol.measure == HEAD:
        return _pckh(protocol, p, t, sizes[rows])
    return _oks(protocol, p, t, sizes[rows], confidence[rows], image[rows])


def _pckh(protocol: KeypointProtocol, p: ndarray, t: ndarray, heads: ndarray) -> Measured:
    found = {
        name: metrics.pckh(p, t, heads, threshold)
        for name, threshold in zip(protocol.columns, (PCKH_THRESHOLD, STRICT_THRESHOLD), strict=True)
    }
    counts = next(iter(found.values())).counts
    table = {
        joint: {**{name: float(f.joints[i]) for name, f in found.items()}, "poses": float(counts[i])}
        for i, joint in enumerate(protocol.joints)
        if counts[i]
    }
    return Measured(protocol, {name: f.mean for name, f in found.items()}, {"joint": table}, len(p))


def _oks(
    protocol: KeypointProtocol, p: ndarray, t: ndarray, areas: ndarray, confidence: ndarray, image: ndarray
) -> Measured:
    sigmas = [COCO_SIGMAS[COCO_17.index(name)] for name in protocol.joints]
    truth: dict[int, list[TruePerson]] = {}
    found: dict[int, list[FoundPerson]] = {}
    for i, number in enumerate(image.tolist()):
        truth.setdefault(number, []).append(TruePerson(t[i], float(areas[i]), np.zeros(4)))
        if np.isfinite(p[i]).all(-1).any():
            found.setdefault(number, []).append(FoundPerson(p[i], float(confidence[i])))
    figures = {"OKS": float(metrics.oks(p, t, areas, sigmas).mean())} | metrics.keypoint_precision(truth, found, sigmas)
    return Measured(protocol, {name: 100 * figures[name] for name in protocol.columns}, {}, len(p))


_PCKH = {
    "PCKh@0.5": "share of labelled joints within 0.5 of a head (0.6 of the head rectangle's diagonal)",
    "PCKh@0.1": "the same within 0.1 of a head",
}
_OKS = {
    "OKS": "mean object keypoint similarity",
    "AP": "average precision, mean over OKS 0.50 to 0.95, true boxes",
    "AP50": "the same at OKS 0.50",
    "AP75": "the same at OKS 0.75",
    "AP_medium": "the same of people of 32^2 to 96^2 px",
    "AP_large": "the same of larger people",
    "AR": "average recall over the same OKS",
}
_COCO = "annotators' 2D, px of the full image; one crop for each person by the true box; without crowds"
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")

PROTOCOLS = (
    KeypointProtocol(
        "mpii-pckh", "PCKh on MPII's validation people, 14 joints, without pelvis and thorax", "mpii", {"split": "valid"}, (),
        tuple(name for name in MPII_16.joint_names if name not in ("pelvis", "thorax")), tables=("joint",), columns=_PCKH,
        truth="annotators' 2D, px of the full image", measure=HEAD,
    ),
    KeypointProtocol(
        "coco-oks", "OKS and AP on COCO's validation people, with true boxes", "coco", {"split": "val"}, (),
        COCO_17.joint_names, columns=_OKS, truth=_COCO, measure=AREA,
    ),
    KeypointProtocol(
        "coco-oks-body", "ours: the same over the 12 joints of the body alone, comparable with no paper's", "coco",
        {"split": "val"}, (), tuple(name for name in COCO_17.joint_names if name not in _FACE), columns=_OKS, truth=_COCO,
        measure=AREA,
    ),
)  # fmt: skip
