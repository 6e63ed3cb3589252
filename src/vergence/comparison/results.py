"""What was measured of each method: kept in a folder as soon as it is there, and told over seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vergence.files import atomic_path, write_json

# What is told of each method, in the order of the table: the figure's heading there.
FIGURES = {
    "n_mpjpe": "N-MPJPE mm",
    "p_mpjpe": "P-MPJPE mm",
    "pck": "N-PCK %",
    "pss50": "PSS@50 %",
    "pss100": "PSS@100 %",
    "left_right_mm": "L/R mm",
    "detection_1": "Det@1 %",
    "retrieved_pa_mpjpe_1": "hit's PA mm",
    "keypoints_2d": "2D px",
    "auc": "N-AUC %",
    "left_right_px": "L/R px",
    "depth_correlation": "depth correlation",
}
MORE = ("auc", "left_right_px", "depth_correlation")  # told in a table of their own
_SCORES = {
    "n_mpjpe": "n_mpjpe", "p_mpjpe": "p_mpjpe", "n_pck": "pck", "n_auc": "auc", "pss_50": "pss50", "pss_100": "pss100",
    "left_right_mm": "left_right_mm", "left_right_px": "left_right_px", "depth_correlation": "depth_correlation",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Measured:
    """One entry on one seed's tests.

    Attributes:
        name, seed: of what.
        about: plain values: `results` of the evaluation, `labels_3d`, `people_3d`, `seconds`, `made_by`.
        images: per test set and image, by `TEST.n_mpjpe`, `TEST.p_mpjpe`, `TEST.subject`, `TEST.pose`, `TEST.keypoints`.
    """

    name: str
    seed: int
    about: dict[str, Any]
    images: dict[str, np.ndarray]

    def save(self, folder: Path) -> None:
        """Two files; the JSON, whose presence says that it is whole, comes last."""
        with atomic_path(folder / f"{self.name}-{self.seed}.npz") as partial:
            np.savez_compressed(partial, **self.images)  # type: ignore[arg-type]
        write_json(folder / f"{self.name}-{self.seed}.json", self.about)

    @staticmethod
    def load(folder: Path, name: str, seed: int, made_by: str) -> Measured | None:
        """What was kept, where the same made it; else None."""
        path = folder / f"{name}-{seed}.json"
        try:
            about = json.loads(path.read_text())
            if about["made_by"] != made_by:
                return None
            with np.load(path.with_suffix(".npz")) as file:
                return Measured(name, seed, about, {key: file[key] for key in file.files})
        except (OSError, ValueError, KeyError):
            return None

    @property
    def tests(self) -> dict[str, Any]:
        return dict(self.about["results"]["tests"])


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """The table's figures of one test set's plain results; those that a method has."""
    out = {ours: found["model"][theirs] for theirs, ours in _SCORES.items() if found["model"].get(theirs) is not None}
    if found.get("pixel_error") is not None:
        out["keypoints_2d"] = found["pixel_error"]
    if ranked := found.get("retrieval", {}).get("embedding"):
        out["detection_1"] = ranked["same"]["detection"]["1"]
        out["retrieved_pa_mpjpe_1"] = ranked["same"]["mean_pa_mpjpe"]["1"]
    return {key: out[key] for key in FIGURES if key in out}


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Mean and standard deviation over seeds (n - 1 below); no deviation of one."""
    known = np.array([v for v in values if v is not None and np.isfinite(v)], dtype=float)
    return {
        "mean": float(known.mean()) if len(known) else None,
        "std": float(known.std(ddof=1)) if len(known) > 1 else None,
    }


def summary(measured: Sequence[Measured]) -> dict[str, Any]:
    """What is told of one method: the figures of its first test set, those of all in `by_look`, over seeds."""
    looks = list(measured[0].tests)
    each = {m.seed: {look: figures(m.tests[look]) for look in looks} for m in measured}
    by_look = {
        look: {
            k: spread(o[look].get(k) for o in each.values())
            for k in FIGURES
            if any(k in o[look] for o in each.values())
        }
        for look in looks
    }
    clocks = ("seconds", "cpu_seconds")
    totals = [{clock: total_seconds(m.about[clock]) for clock in clocks} for m in measured]
    stages = [name for name in measured[0].about["seconds"] if name != "data"]
    first = measured[0].tests[looks[0]]
    return {
        **by_look[looks[0]],
        **{clock: spread(total[clock] for total in totals) for clock in clocks},
        "stages": {
            n: {clock: spread(m.about[clock].get(n) for m in measured)["mean"] for clock in clocks} for n in stages
        },
        "labels_3d": measured[0].about["labels_3d"],
        "people_3d": measured[0].about["people_3d"],
        "parameters": first["parameters"]["all"],
        "by_look": by_look,
        "per_joint": {
            look: {j: spread(m.tests[look]["per_joint"][j] for m in measured)["mean"] for j in first["per_joint"]}
            for look in looks
        },
        "seeds": {
            str(m.seed): {**each[m.seed][looks[0]], "by_look": each[m.seed], **total}
            for m, total in zip(measured, totals, strict=True)
        },
    }


def total_seconds(seconds: Mapping[str, float]) -> float:
    """Of all stages, those made by another run included; without opening images, which all share."""
    return float(sum(value for name, value in seconds.items() if name != "data"))
