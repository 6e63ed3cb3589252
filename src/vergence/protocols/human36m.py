"""Protocols on Human3.6M.

**Protocol 1 and Protocol 2 mean different things** to different authors: alignments to some, training subjects and frame
steps to others. `PROTOCOLS` has both readings under names of ours; each result states subjects, step, joints, alignment
and average.
"""

from __future__ import annotations

from typing import Any

from vergence.datasets.human36m_layouts import ACTIONS
from vergence.protocols.base import Protocol
from vergence.protocols.figures import Figure
from vergence.skeleton import H36M_17

_ALL = H36M_17.joint_names
_16 = tuple(name for name in _ALL if name != "neck_nose")
_14 = tuple(name for name in _ALL if name not in ("pelvis", "spine", "neck_nose"))
_MPII = tuple(name for name in _ALL if name != "spine")
MPJPE = Figure("MPJPE")
P_MPJPE = Figure("P-MPJPE", alignment="procrustes")
N_MPJPE = Figure("N-MPJPE", alignment="scale")
PCK, AUC = Figure("PCK@150", "pck"), Figure("AUC", "auc")
N_PCK = Figure("N-PCK@150", "pck", alignment="scale")


def _protocol(
    name: str, title: str, figures: tuple[Figure, ...] = (MPJPE, P_MPJPE, N_MPJPE), joints: tuple[str, ...] = _ALL,
    average: str = "samples", **source: Any,
) -> Protocol:  # fmt: skip
    settings = {"split": "test", "step": 1, "cameras": "all", "faulty": "keep"} | source
    return Protocol(
        name, title, "human36m", settings, figures, joints, tables=("action", "subject"), average=average,
        order=tuple(ACTIONS), truth="motion capture, mm, each actor's own size",
    )  # fmt: skip


PROTOCOLS = (
    _protocol("h36m", "Martinez, VideoPose3D, MotionBERT: P1 is MPJPE, P2 is P-MPJPE, P3 is N-MPJPE; mean over actions",
              average="action"),
    _protocol("h36m-16", "the same on 16 joints, without neck/nose (hourglass order; Zhou)", joints=_16, average="action"),
    _protocol("h36m-14", "the same on 14 joints, without pelvis, spine and neck/nose", joints=_14, average="action"),
    _protocol("h36m-sound", "the same without S9's three shifted sequences (multi-view papers, MotionBERT)", average="action",
              faulty="drop"),
    _protocol("h36m-64", "every 64th frame, mean over samples: 'Protocol 2' of integral regression and 3DMPPE; Rhodin, "
              "CanonPose, MCSS", (MPJPE, P_MPJPE, N_MPJPE, N_PCK, PCK, AUC), step=64),
    _protocol("h36m-64-epipolar", "EpipolarPose: the same, its N-MPJPE with the scale of the full Procrustes solution",
              (MPJPE, P_MPJPE, Figure("N-MPJPE", alignment="procrustes_scale")), step=64),
    _protocol("h36m-64-epipolar-16", "EpipolarPose, its self-supervised rows: the same on MPII's 16 joints, without the spine",
              (MPJPE, P_MPJPE, Figure("N-MPJPE", alignment="procrustes_scale")), _MPII, step=64),
    _protocol("h36m-s11", "every 64th frame of S11, 17 joints: 'Protocol 1' of integral regression and 3DMPPE", (P_MPJPE,),
              split="S11", step=64),
    _protocol("h36m-s11-14", "the same on 14 joints, as first published", (P_MPJPE,), _14, split="S11", step=64),
    _protocol("h36m-hmr", "HMR, SPIN: P1, every 5th frame of all cameras, 14 joints", (MPJPE, P_MPJPE), _14, step=5),
    _protocol("h36m-hmr-frontal", "HMR, SPIN: P2, every 5th frame of the frontal camera, 14 joints", (MPJPE, P_MPJPE), _14,
              step=5, cameras="frontal"),
)  # fmt: skip
