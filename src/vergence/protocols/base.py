"""Named protocols: which images, which joints, after which alignment, averaged how. One table for each, and its words.

The same network scores 20 mm apart under two readings of "Protocol 2", so a protocol here is a value with a name, and
whatever prints a figure prints the protocol with it. Nothing here knows any of them: the built-in ones are listed in
`vergence.plugins`, and one of yours is registered and then found by its name (`vergence evaluate --protocol mine`):

    figures = (Figure("P-MPJPE", alignment="procrustes"),)
    plugins.protocols.register("mine")(Protocol("mine", "My frames", "shards", {}, figures, H36M_17.joint_names))

What a protocol fixes:

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
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence import plugins
from vergence.errors import VergenceError
from vergence.footage.formats.names import natural_key
from vergence.protocols.figures import Figure
from vergence.skeleton import Skeleton

SAMPLES = "samples"


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


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        VergenceError: there is none; names what is near.
    """
    found: Protocol = plugins.protocols[name]
    return found


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
            remedy = f"This data tells {', '.join(groups) or 'nothing of the kind'}."
            raise VergenceError(f"protocol {protocol.name} needs the {group} of every image", remedy)
    rows = np.ones(len(target), dtype=bool)
    for group, wanted in protocol.keep.items():
        rows &= np.isin(np.asarray(groups[group]).astype(str), wanted)
    p, t = prediction[rows], target[rows]
    if protocol.fit is not None:
        p = protocol.fit.apply(p, t, skeleton)
    own = {group: np.asarray(values)[rows] for group, values in groups.items()}
    root = list(skeleton.sources(protocol.root)) or [skeleton.index(protocol.root)]
    values = {}
    for figure in protocol.figures:
        joints = [_joint(skeleton, name) for name in figure.joints or protocol.joints]
        values[figure.name] = figure.values(p, t, root, joints)
    known = ~np.isnan(np.stack(list(values.values()))).all(0)
    if not known.any():
        remedy = "Look at the split, the step and the cameras of its data."
        raise VergenceError(f"protocol {protocol.name} finds no pose to measure among {len(target)} images", remedy)
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


def _table(
    values: Mapping[str, ndarray], group: ndarray, known: ndarray, order: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The mean of each figure over each of the group's values, in the papers' order."""
    places = {name: place for place, name in enumerate(order)}
    names = sorted(
        {str(name) for name in group[known]}, key=lambda name: (places.get(name, len(order)), natural_key(name))
    )
    table = {}
    for name in names:
        mine = known & (group.astype(str) == name)
        table[name] = {figure: _mean(v[mine]) for figure, v in values.items()} | {"poses": float(mine.sum())}
    return table


def _mean(values: ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
