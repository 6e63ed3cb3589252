"""Lengths of a body in any unit: its reference bone, by which reconstructions are measured, and how tall it stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.skeleton import Skeleton

Array = np.ndarray

# Lengths over stature, Drillis and Contini's body segments (Winter, "Biomechanics and Motor Control of Human Movement",
# fig. 4.1).
_LEG_SHARE = 0.245 + 0.246  # thigh and shank
_TRUNK_SHARE = 0.818 - 0.530  # hips to shoulders


def percentile(values: Array, q: float) -> float:
    values = values[np.isfinite(values)]
    return float(np.percentile(values, q)) if values.size else float("nan")


def joint_mean(pose: Float[Array, "T J 3"], joints: tuple[int, ...]) -> Float[Array, "T 3"]:
    return pose[:, list(joints)].mean(1)


def limb_lengths(pose: Float[Array, "T J 3"], limbs: Sequence[tuple[int, int]] | Array) -> Float[Array, "T E"]:
    """Length of each limb, a pair of joints, in every frame; NaN where an end is unknown."""
    ends = np.asarray(limbs, dtype=int).reshape(-1, 2)
    return np.linalg.norm(pose[:, ends[:, 0]] - pose[:, ends[:, 1]], axis=2)


def reference_length(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> float:
    """Median length of the reference bone; NaN where it is never seen."""
    start, end = skeleton.reference_bone
    length = np.linalg.norm(joint_mean(pose, start) - joint_mean(pose, end), axis=-1)
    return float(np.median(length[np.isfinite(length)])) if np.isfinite(length).any() else float("nan")


def stature(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> float:
    """Standing height of the person in the pose's unit, from the median lengths of thighs, shanks and trunk.

    Raises:
        VergenceError: neither a leg nor the trunk was ever seen.
    """
    spans = []
    for side in ("right", "left"):
        names = [f"{side}_{part}" for part in ("hip", "knee", "ankle")]
        if skeleton.has(*names):
            hip, knee, ankle = (pose[:, skeleton.index(n)] for n in names)
            spans.append((_median_length(hip - knee) + _median_length(knee - ankle), _LEG_SHARE))
    spans.append((reference_length(pose, skeleton), _TRUNK_SHARE))
    known = [(length, share) for length, share in spans if np.isfinite(length) and length > 0]
    if not known:
        raise VergenceError("the height cannot be told: no leg and no trunk is visible", "Scale by another length.")
    return sum(length for length, _ in known) / sum(share for _, share in known)


def _median_length(vectors: Float[Array, "T 3"]) -> float:
    return percentile(np.linalg.norm(vectors, axis=-1), 50)
