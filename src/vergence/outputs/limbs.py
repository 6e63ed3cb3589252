"""Limb lengths out of poses, in the poses' unit and in millimetres, with what the millimetres are from."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vergence.files import atomic_path
from vergence.geometry.body import limb_lengths
from vergence.outputs.sequence import PoseSequence

COLUMNS = ("limb", "frames", "median", "mean", "std", "unit", "median_mm", "mm_from", "mm_sigma")


def limbs_of(poses: PoseSequence) -> dict[str, Float[np.ndarray, " T"]]:
    """By name (`left_hip-left_knee`), the length of each limb that a body keeps in every frame, in the poses' unit; NaN where
    an end is unknown."""
    limbs, names = poses.skeleton.rigid_limbs, poses.joint_names
    parts = [limb_lengths(part.pose, limbs) for part in poses.parts()]
    lengths = np.concatenate(parts) if parts else np.zeros((0, len(limbs)))
    return {f"{names[a]}-{names[b]}": column for (a, b), column in zip(limbs, lengths.T)}


def write_limbs(path: Path | str, poses: PoseSequence) -> None:
    """The table, atomically, a row for each limb: how many `frames` show it, `median`, `mean` and standard deviation over
    time (`std`) of its length in `unit` (`mm`, `m` or `reference_bone`), its median in millimetres, where these are from
    (`given`, `height given`, `assumed stature`) and their standard deviation as a share (`mm_sigma`). Missing fields are empty.

    Raises:
        VergenceError: the file cannot be written.
    """
    world = poses.known_world
    per_mm, source, sigma = (1.0, "", "") if world is None else (world.mm_per_unit, world.scale_from, world.scale_sigma)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS)
        for name, length in limbs_of(poses).items():
            known = length[np.isfinite(length)]
            if not len(known):
                rows.writerow([name, 0, "", "", "", poses.unit, "", "", ""])
                continue
            middle = float(np.median(known))
            values = [f"{value:.6g}" for value in (middle, known.mean(), known.std())]
            mm = ["", "", ""] if world is None else [f"{middle * per_mm:.1f}", source, f"{sigma:g}"]
            rows.writerow([name, len(known), *values, poses.unit, *mm])
