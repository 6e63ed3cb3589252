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
_LIMB_SHARES = (
    ("upper arm", "shoulder", "elbow", 0.186),
    ("forearm", "elbow", "wrist", 0.146),
    ("thigh", "hip", "knee", 0.245),
    ("shank", "knee", "ankle", 0.246),
)
SUBSTITUTE_ERROR = 0.1  # of a trunk that is told by limbs; one deviation, over the people of CMU's motion capture


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
    """Median length of the reference bone, told by arms and legs where it is never seen; NaN where these are not either."""
    seen = _seen_reference(pose, skeleton)
    return seen if np.isfinite(seen) else _substitute(pose, skeleton)[0]


def reference_note(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> str:
    """What the reference length was told by, where the bone itself is never seen; else empty."""
    limbs = "" if np.isfinite(_seen_reference(pose, skeleton)) else " and ".join(_substitute(pose, skeleton)[1])
    return limbs and (
        f"the trunk was never seen whole: its length, the unit of sizes, is told by {limbs} and a person's usual "
        f"proportions, to about {SUBSTITUTE_ERROR:.0%}"
    )


def _seen_reference(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> float:
    start, end = skeleton.reference_bone
    return _median_length(joint_mean(pose, start) - joint_mean(pose, end))


def _substitute(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> tuple[float, list[str]]:
    """The trunk by usual proportions from the limbs that are seen, and these; NaN where none is."""
    lengths, shares = 0.0, 0.0
    names: list[str] = []
    for name, start, end, share in _LIMB_SHARES:
        for side in ("right", "left"):
            if skeleton.has(f"{side}_{start}", f"{side}_{end}"):
                ends = (pose[:, skeleton.index(f"{side}_{joint}")] for joint in (start, end))
                length = _median_length(next(ends) - next(ends))
                if np.isfinite(length):
                    lengths, shares, names = lengths + length, shares + share, [*names, name]
    return (lengths / shares * _TRUNK_SHARE if shares else float("nan")), list(dict.fromkeys(names))


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
