"""Which joints a bare list of keypoints holds: files of detectors give numbers without names.

Several layouts share a count of joints (17 are COCO's, Human3.6M's or MPI-INF-3DHP's, or an animal's; 25 are BODY_25 or
BODY_25B), and a wrong guess looks like a detector that is bad at everything, or like a good reconstruction with every
joint misnamed. So every candidate is measured on the people themselves: joined by a layout's limbs, the right names give
a body whose left and right sides are alike, whose shanks are about as long as its thighs, and whose middle joints lie
between their pairs. The best must be better than the next by a margin, else the file has to be named. An animal's 17 points
(AP-10K's order, which detectors of animals write) are a candidate like the others, and refused where they fit best: seen
from some sides a small quadruped makes a passable person.

Layouts with faces and hands (133, 136 values) are read for their body alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.skeleton import (
    BODY_25,
    BODY_25B,
    COCO_17,
    H36M_17,
    HALPE_26,
    MEDIAPIPE_33,
    MPI_INF_17,
    MPI_INF_28,
    MPII_16,
    OPENPOSE_18,
    WHOLEBODY_23,
    Skeleton,
    canonical_name,
    skeleton_from_names,
)

Array = np.ndarray

HEAD = (("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"),
        ("neck_nose", "head_top"), ("upper_neck", "head_top"))  # fmt: skip  # pairs of joints near each other
NUMBERED = re.compile(r"\D*\d+|\w")  # names that say nothing
MARGIN = 0.75  # misfit of the best over the next best's
MOST_MISFIT = 0.45  # of any layout that is believed; people have 0.05 to 0.2, misnamed joints 0.4 to 1.1
ANIMAL = 0.95  # misfit as a person over that as an animal: people reach 0.86, quadrupeds begin at 1.04
LEAST_SEEN = 0.25  # of a back's two ends; without them a quadruped's legs are a person's
MOST_PEOPLE = 400  # looked at


@dataclass(frozen=True)
class Layout:
    """A count of joints and what they are: the first `len(skeleton)` of `count` values."""

    count: int
    skeleton: Skeleton

    @property
    def note(self) -> str:
        rest = self.count - len(self.skeleton)
        return (
            f"of {self.count} joints the {len(self.skeleton)} of the body are read, not the face's and hands'"
            if rest
            else ""
        )


_BODIES = (MPII_16, COCO_17, H36M_17, MPI_INF_17, OPENPOSE_18, BODY_25, BODY_25B, HALPE_26, MPI_INF_28, MEDIAPIPE_33)
LAYOUTS = (*(Layout(len(body), body) for body in _BODIES), Layout(133, WHOLEBODY_23), Layout(136, HALPE_26))
# Paws are called wrists and ankles, so that what is measured of people's limbs is measured of animals'.
AP_10K = Layout(
    17,
    Skeleton(
        "ap_10k",
        (*"left_eye right_eye nose withers tail_base left_shoulder left_elbow left_wrist".split(),
         *"right_shoulder right_elbow right_wrist left_hip left_knee left_ankle right_hip right_knee right_ankle".split()),
    ),
)  # fmt: skip


def skeleton_of_names(names: Sequence[str]) -> Skeleton | None:
    """The joints that a file's own names say, known or not; None where they say nothing (`kp_3`, `bodypart1`) or name a face
    and hands as well, so that the people are to be measured. MMPose calls HALPE_26's top of the head `head`.
    """
    if not names or all(NUMBERED.fullmatch(name.strip()) for name in names):
        return None
    found = [canonical_name(name) for name in names]
    for layout in LAYOUTS:
        wanted = layout.skeleton.joint_names
        if layout.count == len(found) and all(a == b or (a, b) == ("head", "head_top") for a, b in zip(found, wanted)):
            return layout.skeleton if layout.count == len(wanted) else None
    return skeleton_from_names(names)


def misnamed(people: Float[Array, "N J 3"], skeleton: Skeleton) -> str:
    """A sentence where the points make a much better person under another layout of as many joints; else empty."""
    if not len(people):
        return ""
    points = people[:: max(len(people) // MOST_PEOPLE, 1), :, :2]
    given = misfit(points, skeleton)
    known = [layout.skeleton for layout in LAYOUTS if layout.count == len(layout.skeleton) == len(skeleton)]
    others = {misfit(points, other): other.name for other in known if other != skeleton and skeleton in known}
    best = min(others, default=np.inf)
    if best < MARGIN * given:
        return f"the joints are called {skeleton.name} (misfit {given:.2f}), but look like {others[best]} ({best:.2f})"
    if given > MOST_MISFIT:
        return f"the joints, as they are named, make no person's body (misfit {given:.2f}, limit {MOST_MISFIT})"
    return ""


def decide_layout(people: Sequence[Float[Array, "J 3"]], where: str) -> tuple[Layout, str]:
    """The layout of people with as many joints each, and a sentence on how it was decided ("" where there is one only).

    Args:
        people: x, y, confidence of each joint, missing as NaN.
        where: what the joints come from, for errors.

    Raises:
        VergenceError: no layout has that count, or the points do not tell which it is.
    """
    count = len(people[0])
    known = [layout for layout in LAYOUTS if layout.count == count]
    if not known:
        counts = ", ".join(str(c) for c in sorted({layout.count for layout in LAYOUTS}))
        raise VergenceError(
            f"keypoints with {count} joints in {where} are of no known skeleton",
            f'Known are {counts} joints; name others with `skeleton = "..."`.',
        )
    every = max(len(people) // MOST_PEOPLE, 1)
    points = np.stack(people[::every])[..., :2]
    misfits = [misfit(points[:, : len(layout.skeleton)], layout.skeleton) for layout in known]
    order = sorted(range(len(known)), key=lambda i: misfits[i] if np.isfinite(misfits[i]) else np.inf)
    best = order[0]
    names = ", ".join(f"{layout.skeleton.name} {value:.2f}" for layout, value in zip(known, misfits))
    name_it = "Name them: skeleton = " + " or ".join(f'"{layout.skeleton.name}"' for layout in known) + "."
    if np.isfinite(misfits[best]) and misfits[best] > MOST_MISFIT:
        raise VergenceError(
            f"{count} joints in {where} make no person's body under any known layout (misfit {names})",
            "Are they an animal's, or another skeleton's? " + name_it,
        )
    animal = _animal(points)
    if ANIMAL * animal < misfits[best]:
        raise VergenceError(
            f"{count} joints in {where} are an animal's in AP-10K's order rather than a person's (misfit {animal:.2f}, as a "
            f"person {misfits[best]:.2f})",
            "Give keypoints of people, or name the skeleton if they are.",
        )
    if len(known) == 1:
        return known[0], known[0].note
    if not np.isfinite(misfits[best]) or misfits[best] > MARGIN * misfits[order[1]]:
        may_be = " or ".join(layout.skeleton.name.upper() for layout in known)
        raise VergenceError(
            f"{count} joints in {where} may be {may_be}, and the points do not tell which (misfit {names})", name_it
        )
    return known[best], f"{where}: {count} joints read as {known[best].skeleton.name.upper()}; misfit {names}"


def _animal(points: Float[Array, "N J 2"]) -> float:
    """Misfit as an animal; NaN where that cannot be told."""
    skeleton = AP_10K.skeleton
    if points.shape[1] != AP_10K.count:
        return float("nan")
    back = points[:, [skeleton.index("withers"), skeleton.index("tail_base")]]
    return misfit(points, skeleton) if np.isfinite(back).all(2).mean(0).min() > LEAST_SEEN else float("nan")


@np.errstate(divide="ignore", invalid="ignore")
def misfit(points: Float[Array, "N J 2"], skeleton: Skeleton) -> float:
    """How unlike a person's the named joints are: the mean over what can be measured of the median over people; NaN where
    nothing can.

    Terms: |log| of left over right limb, of shank over thigh, of forearm over upper arm; distance of a middle joint from
    the middle of its pair, and of the head's joints from each other, in sizes of the person.
    """
    size = np.nanmax(points, axis=1, initial=-np.inf) - np.nanmin(points, axis=1, initial=np.inf)
    size = np.linalg.norm(np.where(np.isfinite(size), size, np.nan), axis=1)

    def at(joint: str) -> Array:
        return points[:, skeleton.index(joint)]

    def length(a: str, b: str) -> Array:
        return np.linalg.norm(at(a) - at(b), axis=1) / size + 0.02

    terms: list[Array] = []
    limbs = {}
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")):
        if skeleton.has(f"left_{a}", f"left_{b}", f"right_{a}", f"right_{b}"):
            left, right = (length(f"{side}_{a}", f"{side}_{b}") for side in ("left", "right"))
            limbs[b] = left, right
            terms.append(np.abs(np.log(left / right)))
    for upper, lower in (("knee", "ankle"), ("elbow", "wrist")):
        if upper in limbs and lower in limbs:
            terms += [np.abs(np.log(u / v)) for u, v in zip(limbs[upper], limbs[lower])]
    for middle, pair in (("pelvis", "hip"), ("neck", "shoulder"), ("thorax", "shoulder"), ("upper_neck", "shoulder")):
        if skeleton.has(middle, f"left_{pair}", f"right_{pair}"):
            centre = (at(f"left_{pair}") + at(f"right_{pair}")) / 2
            terms.append(5 * np.linalg.norm(at(middle) - centre, axis=1) / size)
    for middle, pair in (("tail_base", "hip"), ("withers", "shoulder")):
        if skeleton.has(middle):
            centre = (at(f"left_{pair}") + at(f"right_{pair}")) / 2
            terms.append(2 * np.linalg.norm(at(middle) - centre, axis=1) / size)
    for a, b in HEAD:
        if skeleton.has(a, b):
            terms.append(2 * np.linalg.norm(at(a) - at(b), axis=1) / size)
    medians = [float(np.nanmedian(term)) for term in terms if np.isfinite(term).any()]
    return float(np.mean(medians)) if medians else float("nan")
