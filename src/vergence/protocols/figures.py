"""A protocol's columns: one value per pose by a metric of `plugins.metrics`, and the words that say what it is.

A metric of yours is a function `(prediction, target, root, joints, figure) -> values` of poses `N J 3` in mm, the numbers of
the root's joints and of the joints that count, and the column that asks (for its `threshold`, ...); it gives one number per
pose, NaN where the truth does not say. The first line of its docstring is what tables say of it, its attribute `unit` the
unit (mm where it has none). It stands in every table whose protocol asks for it by name, and in no other:

    @plugins.metrics.register("head_height")
    def head_height(prediction, target, root, joints, figure):
        "difference in height of the head, mm"
        return abs(prediction - target)[:, joints, 1].mean(1)

    Figure("Head", "head_height", joints=("head",))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence import metrics, plugins
from vergence.metrics.position import AUC_THRESHOLDS_MM, PCK_THRESHOLD_MM, per_joint_error

ALIGNMENTS = {
    "root": "roots put together",
    "scale": "roots put together, least-squares scale per pose",
    "procrustes_scale": "roots put together, scale of the full Procrustes solution without its rotation",
    "procrustes": "similarity per pose, no reflection",
}
UNITS = {"pck": "%", "auc": "%", "detection": "%", "left_right_px": "px"}  # the others': mm


@dataclass(frozen=True)
class Figure:
    """One column of a table: one value per pose.

    Attributes:
        name: as printed.
        measure: a metric's name: `error` (mean distance, mm), `pck` or `auc` (percent); `left_right`, the difference of two
            limbs' lengths, mm, or `left_right_px`, which needs no truth; a registered one; of a protocol that retrieves,
            `detection` (percent) or `retrieved` (mm).
        alignment: `root`, `scale`, `procrustes_scale` or `procrustes` (`metrics.per_joint_error`).
        joints: names; empty: the protocol's. Of left and right four: the ends of the one limb, then those of the other.
        strict: a joint counts below the threshold only, not at it (`pck`, `auc`); an AUC then cannot reach 100.
        threshold: mm (`pck`).
        thresholds: mm (`auc`).
        hits: number of nearest images that count (`detection`, `retrieved`).
    """

    name: str
    measure: str = "error"
    alignment: Literal["root", "scale", "procrustes_scale", "procrustes"] = "root"
    joints: tuple[str, ...] = ()
    strict: bool = False
    threshold: float = PCK_THRESHOLD_MM
    thresholds: tuple[float, ...] = AUC_THRESHOLDS_MM
    hits: int = 1

    @property
    def unit(self) -> str:
        own = getattr(plugins.metrics[self.measure], "unit", "mm") if self.measure in plugins.metrics else "mm"
        return UNITS.get(self.measure, own)

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
        """The figure of every pose, NaN where the target knows none of the joints (or not the root).

        Raises:
            VergenceError: no metric has that name.
        """
        return np.asarray(plugins.metrics[self.measure](prediction, target, root, joints, self), dtype=np.float64)

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
        }.get(self.measure)
        if what is None:
            about = plugins.metrics[self.measure].__doc__ or self.measure
            return str(about.strip().splitlines()[0])
        if self.measure not in ("error", "pck", "auc"):
            return what
        return f"{what}; {ALIGNMENTS[self.alignment]}; {len(own)} joints"


def error(prediction: ndarray, target: ndarray, root: Sequence[int], joints: Sequence[int], figure: Figure) -> ndarray:
    """Mean distance of the known joints after the figure's alignment, mm."""
    distance = np.asarray(per_joint_error(prediction, target, root, figure.alignment, joints))
    known = np.isfinite(distance)
    return np.where(known, distance, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)


def within(prediction: ndarray, target: ndarray, root: Sequence[int], joints: Sequence[int], figure: Figure) -> ndarray:
    """Share of joints within the threshold (`pck`), or the mean over thresholds (`auc`), percent."""
    reach = [figure.threshold] if figure.measure == "pck" else list(figure.thresholds)
    reach = [float(np.nextafter(r, -math.inf)) for r in reach] if figure.strict else reach
    return np.asarray(metrics.auc(prediction, target, root, reach, figure.alignment, joints))


def left_right(
    prediction: ndarray, target: ndarray, root: Sequence[int], joints: Sequence[int], figure: Figure
) -> ndarray:
    """Difference in length of two limbs, in the predictions' unit; in px whether or not their truth is known."""
    known = np.isfinite(target[:, joints]).all((1, 2)) | (figure.measure == "left_right_px")
    ends = prediction[:, joints]
    one, other = (np.linalg.norm(ends[:, i + 1] - ends[:, i], axis=-1) for i in (0, 2))
    return np.where(known, np.abs(one - other), np.nan)
