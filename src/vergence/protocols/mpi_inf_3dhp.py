"""MPI-INF-3DHP's official evaluation, without MATLAB: PCK at 150 mm and AUC over 14 joints, by scene and activity.

Poses are put together at the pelvis. A joint counts if it is *less* than the threshold away, so that an AUC from 0 to 150
mm cannot pass 30/31 = 96.77 %. Pelvis, spine and head are not scored. All valid frames are pooled: a scene is the
frame-weighted mean of its sequences. The official truth is `univ_annot3` (`read_mpi_inf_3dhp(..., universal=True)`);
papers that score on `annot3` say so, and it matters to nobody but large and small people. MPJPE is over all 17 joints.

Scale is not forgiven. Zhou 2017's scoring of poses learned elsewhere is in `zhou_2017`.
"""

from __future__ import annotations

from vergence.datasets.mpi_inf_3dhp import ACTIVITIES, SCENES
from vergence.protocols.base import Protocol
from vergence.protocols.figures import Figure
from vergence.skeleton import MPI_INF_17

SCORED = MPI_INF_17.joint_names[:14]
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
