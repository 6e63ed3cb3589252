"""MPI-INF-3DHP's official evaluation, without MATLAB: PCK at 150 mm and AUC over 14 joints, by scene, activity and joint.

Poses are put together at the pelvis. A joint counts if it is *less* than the threshold away, so that an AUC from 0 to 150
mm cannot pass 30/31 = 96.77 %. Pelvis, spine and head are not scored. All valid frames are pooled: a scene is the
frame-weighted mean of its sequences. The official truth is `univ_annot3` (`read_mpi_inf_3dhp(..., universal=True)`);
papers that score on `annot3` say so, and it matters to nobody but large and small people. MPJPE is over all 17 joints.

Scale is not forgiven. Zhou 2017's scoring of poses learned elsewhere is in `zhou_2017`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.mpi_inf_3dhp import ACTIVITIES, SCENES
from vergence.errors import VergenceError
from vergence.protocols.base import Protocol
from vergence.protocols.figures import Figure
from vergence.skeleton import MPI_INF_17, Skeleton

THRESHOLD_MM = 150.0
AUC_THRESHOLDS_MM = tuple(5.0 * i for i in range(31))
SCORED = MPI_INF_17.joint_names[:14]
JOINT_GROUPS: dict[str, tuple[int, ...]] = {
    "head": (0,),
    "neck": (1,),
    "shoulder": (2, 5),
    "elbow": (3, 6),
    "wrist": (4, 7),
    "hip": (8, 11),
    "knee": (9, 12),
    "ankle": (10, 13),
}
PELVIS = MPI_INF_17.index("pelvis")


@dataclass(frozen=True)
class Scores:
    """Of some frames together.

    Attributes:
        pck: percent of the scored joints less than 150 mm off.
        auc: percent, the mean PCK over 0, 5 ... 150 mm; 96.77 at most.
        mpjpe: mm over all 17 joints; NaN where a joint was not predicted.
        joints: PCK by `JOINT_GROUPS`.
        frames: how many.
    """

    pck: float
    auc: float
    mpjpe: float
    joints: Mapping[str, float]
    frames: int


def joint_errors(
    prediction: Float[ndarray, "N J 3"], target: Float[ndarray, "N J 3"], skeleton: Skeleton = MPI_INF_17
) -> Float[ndarray, "N 17"]:
    """Distances in mm with the pelvises put together, in the order of `mpi_inf_17`.

    Args:
        prediction: mm. A joint that is NaN, or that `skeleton` cannot give, is infinitely far.
        target: mm, of the same skeleton.

    Raises:
        VergenceError: shapes differ, or a scored joint of the target or its pelvis is unknown.
    """
    prediction, target = np.asarray(prediction, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if prediction.shape != target.shape or target.shape[1:] != (len(skeleton), 3):
        raise VergenceError(
            f"prediction has shape {prediction.shape}, target {target.shape}", f"Give N x {len(skeleton)} x 3 for both."
        )
    p, t = (skeleton.convert(pose, MPI_INF_17) for pose in (prediction, target))
    t = t - t[:, PELVIS : PELVIS + 1]
    if np.isnan(t[:, :14]).any():
        raise VergenceError(
            f"{int(np.isnan(t[:, :14]).any((1, 2)).sum())} true poses lack a scored joint or the pelvis",
            f"The evaluation needs {', '.join(SCORED)} and the pelvis.",
        )
    error = np.linalg.norm(p - p[:, PELVIS : PELVIS + 1] - t, axis=-1)
    return np.where(np.isnan(error) & ~np.isnan(t).any(-1), np.inf, error)


def scores(errors: Float[ndarray, "N 17"]) -> Scores:
    """The figures of all these frames pooled."""
    if not len(errors):
        raise VergenceError("no frame to score", "Look at the sequences and the valid frames.")
    scored = errors[:, :14]
    by_joint = {name: 100 * float((scored[:, list(j)] < THRESHOLD_MM).mean()) for name, j in JOINT_GROUPS.items()}
    auc = 100 * float(np.mean([(scored < threshold).mean() for threshold in AUC_THRESHOLDS_MM]))
    mean = float(np.nanmean(errors)) if np.isfinite(errors[~np.isnan(errors)]).all() else float("nan")
    return Scores(100 * float((scored < THRESHOLD_MM).mean()), auc, mean, by_joint, len(errors))


def scores_by(errors: Float[ndarray, "N 17"], group: Sequence[str] | ndarray) -> dict[str, Scores]:
    """Scores of each value of a group (`scene`, `activity`, `sequence`), in the order of their first frames."""
    names = np.asarray(group)
    if names.shape != (len(errors),):
        raise VergenceError(f"a group of shape {names.shape} for {len(errors)} frames", "Give one name for each frame.")
    return {str(name): scores(errors[names == name]) for name in dict.fromkeys(names.tolist())}


_PCK = Figure("PCK", "pck", strict=True)
_AUC = Figure("AUC", "auc", strict=True)
_MPJPE = Figure("MPJPE", joints=MPI_INF_17.joint_names)
_ORDER = (*dict.fromkeys(SCENES.values()), *ACTIVITIES)
_SIZE = "mm, {}; hips and pelvis as this dataset has them"


def _protocol(name: str, title: str, universal: bool, *figures: Figure) -> Protocol:
    truth = _SIZE.format("univ_annot3, everybody at one body size" if universal else "annot3, each person's own size")
    return Protocol(
        name, title, "mpi_inf_3dhp", {"split": "test", "universal": universal}, figures, SCORED,
        tables=("scene", "activity", "sequence"), order=_ORDER, truth=truth,
    )  # fmt: skip


PROTOCOLS = (
    _protocol("3dhp", "the official evaluation: valid frames, 14 joints, below 150 mm", True, _PCK, _AUC, _MPJPE),
    _protocol("3dhp-true-size", "the same against each person's own size", False, _PCK, _AUC, _MPJPE),
    _protocol(
        "3dhp-scaled",
        "the same with each pose at its least-squares scale: N-MPJPE, NPCK (Kocabas, Iqbal, CanonPose)",
        False,
        Figure("N-MPJPE", alignment="scale", joints=MPI_INF_17.joint_names),
        Figure("NPCK", "pck", "scale", strict=True),
        Figure("P-MPJPE", alignment="procrustes", joints=MPI_INF_17.joint_names),
    ),
)
