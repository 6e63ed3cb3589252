"""Named protocols: which images, which joints, after which alignment, averaged how. One table for each, and its words.

The same network scores 20 mm apart under two readings of "Protocol 2", so a protocol here is a value with a name, and
whatever prints a figure prints the protocol with it. A dataset's module lists its own in `PROTOCOLS`; nothing here knows
any of them. What a protocol fixes:

* **rows**: settings of the source (split, frame step, cameras) and groups that are kept;
* **joints**: by name, so that the skeleton of the run need not be the dataset's;
* **figures**: an error or a share within reach, after one alignment, each with joints of its own where the paper says so;
* **average**: over poses, or the mean of the means of a group ("mean over actions"). The two differ by millimetres, since
  long actions are easy ones.

What breaks a comparison and no protocol can mend: another body size as truth, another definition of a joint, scale taken
from the truth. The first two belong to the dataset's words (`truth`), the third is told by whoever made the poses
metric, beside the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from vergence import metrics
from vergence.errors import VergenceError
from vergence.metrics.position import AUC_THRESHOLDS_MM, PCK_THRESHOLD_MM, per_joint_error
from vergence.skeleton import Skeleton

MODULES = (  # each lists its own PROTOCOLS
    "vergence.datasets.human36m",
    "vergence.protocols.mpi_inf_3dhp",
    "vergence.protocols.zhou_2017",
    "vergence.protocols.mcss_2020",
    "vergence.protocols.keypoints",
)
SAMPLES = "samples"
ALIGNMENTS = {
    "root": "roots put together",
    "scale": "roots put together, least-squares scale per pose",
    "procrustes_scale": "roots put together, scale of the full Procrustes solution without its rotation",
    "procrustes": "similarity per pose, no reflection",
}


@dataclass(frozen=True)
class Figure:
    """One column of a table: one value per pose.

    Attributes:
        name: as printed.
        measure: `error` (mean distance, mm), `pck` or `auc` (percent); `left_right`, the difference of two limbs' lengths,
            mm, or `left_right_px`, which needs no truth; of a protocol that retrieves, `detection` (percent) or `retrieved`
            (mm).
        alignment: `root`, `scale`, `procrustes_scale` or `procrustes` (`metrics.per_joint_error`).
        joints: names; empty: the protocol's. Of left and right four: the ends of the one limb, then those of the other.
        strict: a joint counts below the threshold only, not at it (`pck`, `auc`); an AUC then cannot reach 100.
        threshold: mm (`pck`).
        thresholds: mm (`auc`).
        hits: number of nearest images that count (`detection`, `retrieved`).
    """

    name: str
    measure: Literal["error", "pck", "auc", "left_right", "left_right_px", "detection", "retrieved"] = "error"
    alignment: Literal["root", "scale", "procrustes_scale", "procrustes"] = "root"
    joints: tuple[str, ...] = ()
    strict: bool = False
    threshold: float = PCK_THRESHOLD_MM
    thresholds: tuple[float, ...] = AUC_THRESHOLDS_MM
    hits: int = 1

    @property
    def unit(self) -> str:
        units = {"error": "mm", "left_right": "mm", "retrieved": "mm", "left_right_px": "px"}
        return units.get(self.measure, "%")

    @property
    def needs_scale(self) -> bool:
        """Whether poses free of scale must be brought to mm first."""
        return self.measure == "left_right" or (self.measure != "detection" and self.alignment == "root")

    def values(
        self,
        prediction: Float[ndarray, "N J 3"],
        target: Float[ndarray, "N J 3"],
        root: Sequence[int],
        joints: Sequence[int],
    ) -> Float[ndarray, " N"]:
        """The figure of every pose, NaN where the target knows none of the joints (or not the root)."""
        if self.measure.startswith("left_right"):
            known = np.isfinite(target[:, joints]).all((1, 2)) | (self.measure == "left_right_px")
            ends = prediction[:, joints]
            one, other = (np.linalg.norm(ends[:, i + 1] - ends[:, i], axis=-1) for i in (0, 2))
            return np.where(known, np.abs(one - other), np.nan)
        if self.measure == "error":
            error = np.asarray(per_joint_error(prediction, target, root, self.alignment, joints))
            known = np.isfinite(error)
            return np.where(known, error, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
        reach = [self.threshold] if self.measure == "pck" else list(self.thresholds)
        reach = [float(np.nextafter(r, -math.inf)) for r in reach] if self.strict else reach
        return np.asarray(metrics.auc(prediction, target, root, reach, self.alignment, joints))

    def words(self, joints: Sequence[str]) -> str:
        """What the column is, in one line."""
        own = self.joints or tuple(joints)
        sign = "<" if self.strict else "<="
        what = {
            "error": "mean distance, mm",
            "pck": f"share of joints {sign} {self.threshold:g} mm",
            "auc": f"mean share of joints {sign} {len(self.thresholds)} thresholds from {self.thresholds[0]:g} to "
            f"{self.thresholds[-1]:g} mm",
            "left_right": f"mean difference in length of {'-'.join(own[:2])} and {'-'.join(own[2:])}, mm",
            "left_right_px": f"mean difference in length of {'-'.join(own[:2])} and {'-'.join(own[2:])}, px of the crop",
            "detection": f"share of queries with their own time step among the {self.hits} nearest",
            "retrieved": f"mean distance, mm, between the true poses of query and its {self.hits} nearest, after a similarity",
        }[self.measure]
        if self.measure not in ("error", "pck", "auc"):
            return what
        return f"{what}; {ALIGNMENTS[self.alignment]}; {len(own)} joints"


@dataclass(frozen=True)
class Fit:
    """What a protocol does to predictions of any scale before it compares them.

    Attributes:
        words: what that is, for the results.
        apply: predictions, true poses and their skeleton to predictions in mm.
        true_scale: it takes a size from the true poses.
    """

    words: str
    apply: Callable[[Float[ndarray, "N J 3"], Float[ndarray, "N J 3"], Skeleton], Float[ndarray, "N J 3"]]
    true_scale: bool


@dataclass(frozen=True)
class Protocol:
    """What is measured on which images, and how it is averaged.

    Attributes:
        name: as given on the command line.
        title: what papers call it.
        dataset: the kind of source it is measured on.
        source: that source's settings: split, frame step, cameras.
        figures: the columns.
        joints: names of the joints that count.
        root: where poses are put together; a joint's name.
        keep: by group, which of its values are measured; all others are left out.
        tables: groups whose values are rows of a table: `action`, `subject`, `scene`.
        average: `samples`, or a group: the mean of that group's means.
        order: values in the order of the papers' tables; others follow.
        truth: what the poses are measured against.
        fit: how predictions get their size, where the protocol says so itself.
        retrieval: images of another camera that are searched, of the `same` person or of `all`; then the figures are of
            retrieval.
    """

    name: str
    title: str
    dataset: str
    source: Mapping[str, Any]
    figures: tuple[Figure, ...]
    joints: tuple[str, ...]
    root: str = "pelvis"
    keep: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    average: str = SAMPLES
    order: tuple[str, ...] = ()
    truth: str = "motion capture, mm"
    fit: Fit | None = None
    retrieval: Literal["", "same", "all"] = ""

    @property
    def without_truth(self) -> bool:
        """Measured on images alone: no figure needs a true pose."""
        return {figure.measure for figure in self.figures} == {"left_right_px"}

    @property
    def without_3d(self) -> bool:
        """Its figures are of pixels, and it is measured on data without any 3D."""
        return self.without_truth

    @property
    def needs(self) -> tuple[str, ...]:
        """Joints that a prediction must have."""
        own = (joint for figure in self.figures for joint in figure.joints or self.joints)
        return tuple(dict.fromkeys((self.root, *own) if self.figures else self.joints))

    def describe(self) -> dict[str, Any]:
        """The protocol in plain values, for the results file."""
        return {
            "name": self.name,
            "title": self.title,
            "dataset": self.dataset,
            "images": dict(self.source) | {f"only_{group}": list(values) for group, values in self.keep.items()},
            "figures": {figure.name: figure.words(self.joints) for figure in self.figures},
            "units": {figure.name: figure.unit for figure in self.figures},
            "joints": list(self.joints),
            "root": self.root,
            "average": "over poses" if self.average == SAMPLES else f"mean of the means of each {self.average}",
            "truth": self.truth,
        }


@dataclass(frozen=True)
class Measured:
    """A protocol's table.

    Attributes:
        protocol: what was measured.
        average: by figure, as the protocol averages.
        tables: by group and value, the mean of each figure over its poses, and `poses`, their number.
        poses: all of them.
    """

    protocol: Protocol
    average: dict[str, float]
    tables: dict[str, dict[str, dict[str, float]]]
    poses: int

    def plain(self) -> dict[str, Any]:
        """For the results file: the figures, and the protocol that they were measured by."""
        return {
            "average": self.average,
            "tables": self.tables,
            "poses": self.poses,
            "protocol": self.protocol.describe(),
        }


def protocols() -> dict[str, Protocol]:
    """All protocols by name."""
    found: dict[str, Protocol] = {}
    for module in MODULES:
        for protocol in import_module(module).PROTOCOLS:
            assert protocol.name not in found, protocol.name
            found[protocol.name] = protocol
    return found


def get_protocol(name: str) -> Protocol:
    """The protocol of that name."""
    known = protocols()
    if name not in known:
        raise VergenceError(f"no protocol is called {name!r}", f"There are {', '.join(known)}.")
    return known[name]


def measure(
    protocol: Protocol,
    prediction: Float[ndarray, "N J 3"],
    target: Float[ndarray, "N J 3"],
    groups: Mapping[str, ndarray],
    skeleton: Skeleton,
) -> Measured:
    """The table of a protocol.

    Args:
        protocol: what to measure.
        prediction: poses in the target's frame and unit; of any scale where the protocol has a `fit`.
        target: true poses, mm, NaN where unknown.
        groups: of every row, as a dataset's records have them.
        skeleton: the joints of both.

    Raises:
        VergenceError: a joint or a group that the protocol needs is not there; no pose is left; a known joint is predicted
            as NaN.
    """
    for group in {*protocol.keep, *protocol.tables, protocol.average} - {SAMPLES}:
        if group not in groups:
            raise VergenceError(
                f"protocol {protocol.name} needs the {group} of every image",
                f"This data tells {', '.join(groups) or 'nothing of the kind'}.",
            )
    rows = _kept(protocol, groups, len(target))
    p, t = prediction[rows], target[rows]
    if protocol.fit is not None:
        p = protocol.fit.apply(p, t, skeleton)
    own = {group: np.asarray(values)[rows] for group, values in groups.items()}
    root = list(skeleton.sources(protocol.root)) or [skeleton.index(protocol.root)]
    values = {
        f.name: f.values(p, t, root, [_joint(skeleton, j) for j in f.joints or protocol.joints])
        for f in protocol.figures
    }
    known = ~np.isnan(np.stack(list(values.values()))).all(0)
    if not known.any():
        raise VergenceError(
            f"protocol {protocol.name} finds no pose to measure among {len(target)} images",
            "Look at the split, the step and the cameras of its data.",
        )
    tables = {group: _table(values, own[group], known, protocol.order) for group in protocol.tables}
    if protocol.average == SAMPLES:
        average = {name: _mean(v) for name, v in values.items()}
    else:
        means = _table(values, own[protocol.average], known, protocol.order).values()
        average = {name: _mean(np.array([row[name] for row in means])) for name in values}
    return Measured(protocol, average, tables, int(known.sum()))


def _joint(skeleton: Skeleton, name: str) -> int:
    """The joint of that name, or the one that stands for it here: the thorax of one dataset is the neck of another."""
    found = skeleton.sources(name)
    return found[0] if len(found) == 1 else skeleton.index(name)


def _kept(protocol: Protocol, groups: Mapping[str, ndarray], n: int) -> Bool[ndarray, " N"]:
    rows = np.ones(n, dtype=bool)
    for group, values in protocol.keep.items():
        rows &= np.isin(np.asarray(groups[group]).astype(str), values)
    return rows


def _table(
    values: Mapping[str, ndarray], group: ndarray, known: ndarray, order: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The mean of each figure over each of the group's values, in the papers' order."""
    names = sorted({str(name) for name in group[known]}, key=lambda name: (_place(name, order), _natural(name)))
    table = {}
    for name in names:
        mine = known & (group.astype(str) == name)
        table[name] = {figure: _mean(v[mine]) for figure, v in values.items()} | {"poses": float(mine.sum())}
    return table


def _place(name: str, order: Sequence[str]) -> int:
    return list(order).index(name) if name in order else len(order)


def _natural(name: str) -> tuple[str, int, str]:
    """S9 before S11."""
    word = name.rstrip("0123456789")
    return word, int(name[len(word) :] or 0), name


def _mean(values: ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
