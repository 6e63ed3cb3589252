"""Whether a person in millimetres has a person's size and stands the right way up.

Nothing in a calibration says that its unit is wrong, nor that a board's squares were measured badly: residuals are those
of the right one. The person in it does. Statures of 1.0 to 2.3 m hold everybody who walks; what lies outside is off by a
factor that often names its cause (25.4: inches). Up is asked only of somebody who walks, because a person may well lie:
who stands keeps the trunk steady and moves across it.

What breaks it: keypoints of an animal (its limbs are no person's, so nothing is said without hips, knees and ankles), and
a unit that is wrong by less than a third, which no body can tell.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.geometry.body import joint_mean, stature
from vergence.skeleton import Skeleton

Array = np.ndarray

STATURE_MM = 1000.0, 2300.0
USUAL_MM = 1700.0
NAMED_WITHIN = 1.3  # of a factor that has a name
UNITS = {
    1000.0: "translations seem to be in metres",
    10.0: "translations seem to be in centimetres",
    25.4: "translations seem to be in inches",
    304.8: "translations seem to be in feet",
    100.0: "translations seem to be in decimetres",
    0.001: "translations seem to have been multiplied by 1,000 twice",
    2.0: "the calibration board seems to be twice as large as it was said to be",
    0.5: "the calibration board seems to be half as large as it was said to be",
}
STEADY_DEG = 20.0  # of the trunk, while a person walks
WALKED_MM = 1000.0
TILTED_DEG = 60.0


def _tall(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> float:
    """Stature in mm by the limbs; NaN where nothing can be told."""
    if not any(skeleton.has(f"{side}_hip", f"{side}_knee", f"{side}_ankle") for side in ("left", "right")):
        return float("nan")
    try:
        return float(stature(pose, skeleton))
    except VergenceError:
        return float("nan")


def size_doubt(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> str:
    """A sentence where the person of poses in mm has no person's size; empty where it has, or where nothing can be told."""
    tall, (least, most) = _tall(pose, skeleton), STATURE_MM
    if not tall > 0 or least <= tall <= most:
        return ""
    factor = USUAL_MM / tall
    name = min(UNITS, key=lambda f: abs(np.log(f / factor)))
    close = max(name / factor, factor / name) < NAMED_WITHIN
    cause = (
        UNITS[name]
        if close
        else "the unit of the translations, or the size of the calibration board's squares, is wrong"
    )
    return (
        f"The person would be {tall:,.0f} mm tall, limbs say (limits {least:,.0f} to {most:,.0f}): {cause}. Multiply the "
        f"translations by about {name if close else factor:.3g}, or set `unit`."
    )


def size_note(pose: Float[Array, "T J 3"], skeleton: Skeleton) -> str:
    """How tall the limbs say that the person of poses in mm is: what a unit or a board that is wrong by less than a third
    shows in; empty where nothing can be told."""
    tall, (least, most) = _tall(pose, skeleton), STATURE_MM
    words = f"by the given cameras the person is about {tall:,.0f} mm tall (from the limbs, to 7%): --height checks it"
    return words if least <= tall <= most else ""


def up_doubt(pose: Float[Array, "T J 3"], skeleton: Skeleton, up: Float[Array, " 3"] | None) -> str:
    """A sentence where somebody who walks stands far from the stated up; empty else."""
    if up is None:
        return ""
    low, high = (joint_mean(pose, ends) for ends in skeleton.reference_bone)
    trunk = high - low
    known = np.isfinite(trunk).all(1)
    if known.sum() < 2:
        return ""
    unit = trunk[known] / np.maximum(np.linalg.norm(trunk[known], axis=1, keepdims=True), 1e-12)
    axis = unit.mean(0) / max(float(np.linalg.norm(unit.mean(0))), 1e-12)
    swing = float(np.degrees(np.arccos(np.clip(np.median(unit @ axis), -1, 1))))
    across = low[known] - np.outer(low[known] @ axis, axis)
    walked = float(np.linalg.norm(np.percentile(across, 97.5, axis=0) - np.percentile(across, 2.5, axis=0)))
    lean = float(np.degrees(np.arccos(np.clip(axis @ up / np.linalg.norm(up), -1, 1))))
    if lean < TILTED_DEG or swing > STEADY_DEG or walked < WALKED_MM:
        return ""
    how = "upside down" if lean > 180 - TILTED_DEG else "lying"
    return (
        f"The person walks {how} (trunk {lean:.0f} degrees from the stated up): `up` of the capture is "
        f"{np.round(up, 2).tolist()}, the person's is about {np.round(axis, 2).tolist()}."
    )
