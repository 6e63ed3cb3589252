"""The retrieval benchmarks of MCSS (Mitra 2020): is a pose found again from another camera, on either dataset?

Queries are images of one camera, the database those of another one; figures are means over ordered pairs of cameras
(`vergence.metrics.retrieval`). Detection@K: the synchronised time step is among the K nearest. Mean-PA-MPJPE@K: P-MPJPE
between the true poses of the query and the K nearest, which forgives a hit that shows the same pose at another time.

The paper's definitions and tables are not in the sources that we could read, so all of this is our reading of its names:
which frames, that the database holds all test people (`-same`: the query's own person only, who cannot be found by
clothes), and on MPI-INF-3DHP the people: its test set has one camera a sequence, so S7 and S8 are held out of training.
"""

from __future__ import annotations

from typing import Any, Literal

from vergence.protocols.base import Protocol
from vergence.protocols.figures import Figure

HITS = (1, 5, 10)
HELD_OUT = "S7,S8"  # of MPI-INF-3DHP's training people
FIGURES = (
    *(Figure(f"Detection@{k}", "detection", hits=k) for k in HITS),
    *(Figure(f"Mean-PA-MPJPE@{k}", "retrieved", "procrustes", hits=k) for k in HITS),
)


def _protocol(name: str, dataset: str, who: str, database: Literal["same", "all"], **source: Any) -> Protocol:
    title = f"MCSS: cross-view retrieval on {who}, database: another camera's images of "
    title += "all of them" if database == "all" else "the query's own person"
    return Protocol(
        name, title, dataset, source, FIGURES, (), tables=("cameras", "descriptor"), average="pair of cameras",
        truth="motion capture, mm", retrieval=database,
    )  # fmt: skip


_H36M: dict[str, Any] = {"split": "test", "step": 64, "cameras": "all", "faulty": "keep"}
_3DHP: dict[str, Any] = {"split": HELD_OUT, "step": 50, "cameras": "chest"}

PROTOCOLS = (
    _protocol("h36m-retrieval", "human36m", "S9 and S11, every 64th frame", "all", **_H36M),
    _protocol("h36m-retrieval-same", "human36m", "S9 and S11, every 64th frame", "same", **_H36M),
    _protocol("3dhp-retrieval", "mpi_inf_3dhp", "S7 and S8, every 50th frame, five cameras", "all", **_3DHP),
    _protocol("3dhp-retrieval-same", "mpi_inf_3dhp", "S7 and S8, every 50th frame, five cameras", "same", **_3DHP),
)
