"""Expected errors beside true ones: do they rank them, and do the intervals hold.

Errors are root-relative distances after each true pose was divided by its own reference bone, as predictions are in
reference bones; a joint that is the root has none. Two ranks are told apart, since that joints differ (a wrist from a hip)
is easy to know: over all joints of all images, and over images of each joint alone.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from vergence.batches.views import Views
from vergence.geometry.lifting import bone_vector
from vergence.methods.base import Prediction
from vergence.skeleton import Skeleton
from vergence.training.calibrating import errors_of


def true_errors(prediction: Prediction, index: Views, skeleton: Skeleton) -> Float[Tensor, "N J"]:
    """Distances from the truth, in reference bones; NaN where it is not known."""
    bone = bone_vector(index.pose, skeleton.reference_bone).norm(dim=-1)
    return errors_of(prediction, index.pose, bone, skeleton)


def uncertainty_figures(prediction: Prediction, index: Views, skeleton: Skeleton) -> dict[str, float]:
    """Of predictions that carry expected errors, else empty: `spearman` over all joints, `spearman_within_joints`,
    `spearman_of_images` (means over the body), `coverage_90`, the share of errors within their radius, means of expected and
    true errors in reference bones, and `unlike`, the share of images that are called unlike the training's."""
    if prediction.error is None or prediction.error_90 is None:
        return {}
    told, true, radius = (
        x.double().numpy() for x in (prediction.error, true_errors(prediction, index, skeleton), prediction.error_90)
    )
    known = np.isfinite(told) & np.isfinite(true) & (told > 0)
    within = [_rank(told[own, j], true[own, j]) for j, own in enumerate(known.T) if own.sum() > 2]
    of_images = [np.where(known, x, 0).sum(1) / np.maximum(known.sum(1), 1) for x in (told, true)]
    figures = {
        "spearman": _rank(told[known], true[known]),
        "spearman_within_joints": float(np.nanmean(within)) if within else float("nan"),
        "spearman_of_images": _rank(*of_images),
        "coverage_90": float((true[known] <= radius[known]).mean()),
        "expected": float(told[known].mean()),
        "true": float(true[known].mean()),
    }
    return figures if prediction.unlike is None else {**figures, "unlike": float(prediction.unlike.double().mean())}


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b)[0]) if len(a) > 2 else float("nan")


def auroc(usual: Float[Tensor, " N"], strange: Float[Tensor, " M"]) -> float:
    """How often one of the strange images is stranger than one of the usual ones."""
    above = (strange[:, None] > usual).double() + (strange[:, None] == usual).double() / 2
    return float(torch.mean(above))
