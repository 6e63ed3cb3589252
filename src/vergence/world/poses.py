"""Poses people take: tables of joint-angle ranges, drawn from at random.

A pose is a stance (trunk and legs) and what each arm does, drawn separately, so that everything combines. Uniform draws
inside ranges per activity, rather than one Gaussian around standing: from any facing direction the mean pose then says
little (it scores above 250 mm), and depth has to be seen, not remembered. A share of poses is drawn from the whole of
the limits, so that nothing a body can do is unheard of.

How too little of it shows: the mean pose's error falls below 250 mm, or flat depth's below 160 mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vergence.world.body import ANGLES, COLUMN, clamp

Range = tuple[float, float]


@dataclass(frozen=True)
class Stance:
    """Ranges in degrees of trunk and legs; `other` is the second leg where it does something else.

    `leg` and `other` are hip flexion, abduction, twist, knee.
    """

    share: float
    pitch: Range
    lumbar: Range
    chest: Range
    leg: tuple[Range, Range, Range, Range]
    other: tuple[Range, Range, Range, Range] | None = None
    roll: Range = (-5, 5)


_UPRIGHT = ((-8, 14), (0, 14), (-12, 12), (0, 16))
_ANYTHING = ((-25, 122), (-18, 55), (-35, 45), (0, 145))
STANCES: dict[str, Stance] = {
    "standing": Stance(0.31, (-4, 8), (-8, 10), (-6, 10), _UPRIGHT),
    "striding": Stance(0.2, (-2, 12), (-5, 12), (-6, 12), ((8, 55), (-2, 10), (-8, 8), (3, 60)),
                       ((-24, 5), (-2, 8), (-8, 8), (3, 70))),
    "wide": Stance(0.07, (-4, 20), (-8, 20), (-8, 15), ((-5, 45), (18, 50), (-15, 15), (0, 60))),
    "sitting": Stance(0.15, (-18, 18), (-8, 30), (-5, 22), ((68, 105), (-4, 28), (-15, 15), (50, 115))),
    "legs_out": Stance(0.02, (-25, 10), (-5, 35), (-5, 25), ((60, 105), (-4, 40), (-15, 15), (0, 60))),
    "squatting": Stance(0.06, (0, 32), (0, 32), (-5, 22), ((65, 120), (2, 38), (-12, 12), (75, 142))),
    "bending": Stance(0.07, (18, 58), (8, 48), (0, 30), ((-5, 35), (-2, 20), (-12, 12), (0, 38))),
    "lunging": Stance(0.07, (-5, 30), (-5, 25), (-5, 20), ((45, 115), (-4, 22), (-12, 12), (35, 115)),
                      ((-25, 12), (-4, 20), (-12, 12), (5, 115))),
    "one_leg": Stance(0.03, (-12, 22), (-10, 25), (-8, 18), ((30, 120), (-8, 50), (-25, 30), (0, 140)), _UPRIGHT),
    "lying": Stance(0.005, (-95, -75), (-8, 20), (-6, 15), ((-5, 70), (-2, 30), (-15, 15), (0, 100)), roll=(-12, 12)),
    "free": Stance(0.015, (-20, 45), (-20, 48), (-15, 32), _ANYTHING, _ANYTHING, roll=(-15, 15)),
}  # fmt: skip
# Share of the poses drawn that lie between two others.
_BETWEEN = 0.35
_SYMMETRIC = {
    "sitting": 0.55,
    "legs_out": 0.5,
    "squatting": 0.7,
    "bending": 0.7,
    "standing": 0.4,
    "wide": 0.7,
    "lying": 0.4,
}

# Shoulder flexion, abduction, twist, elbow, in degrees.
ARMS: dict[str, tuple[float, tuple[Range, Range, Range, Range]]] = {
    "hanging": (0.21, ((-22, 22), (8, 26), (-15, 35), (3, 40))),
    "carrying": (0.15, ((-12, 42), (8, 32), (-5, 70), (55, 120))),
    "reaching": (0.22, ((45, 115), (-20, 40), (-25, 45), (0, 55))),
    "raised": (0.09, ((95, 170), (-10, 50), (-40, 40), (0, 70))),
    "sideways": (0.08, ((-25, 35), (55, 115), (-60, 60), (0, 75))),
    "overhead": (0.04, ((-10, 60), (105, 160), (-50, 40), (0, 110))),
    "to_face": (0.1, ((25, 90), (-5, 45), (0, 70), (95, 148))),
    "on_hip": (0.05, ((-40, -5), (25, 55), (40, 85), (65, 115))),
    "free": (0.05, ((-50, 170), (-30, 160), (-60, 85), (0, 148))),
}


def _uniform(rng: np.random.Generator, ranges: Float[ndarray, "... 2"]) -> Float[ndarray, ...]:
    return ranges[..., 0] + (ranges[..., 1] - ranges[..., 0]) * rng.random(ranges.shape[:-1])


def draw_stances(count: int, rng: np.random.Generator) -> Int[ndarray, " N"]:
    """Which stance each of N poses takes, as an index into `STANCES`."""
    share = np.array([s.share for s in STANCES.values()])
    return rng.choice(len(share), count, p=share / share.sum())


def draw_trunk_and_legs(stance: Int[ndarray, " N"], rng: np.random.Generator) -> Float[ndarray, "N A"]:
    """Angles (radians) with the stance's trunk and legs; arms at rest."""
    n, table = len(stance), list(STANCES.values())
    angles = np.zeros((n, len(ANGLES)))

    def put(name: str, degrees: ndarray) -> None:
        angles[:, COLUMN[name]] = np.radians(degrees)

    trunk = np.array([[s.pitch, s.roll, s.lumbar, s.chest] for s in table])[stance]
    for i, name in enumerate(("pelvis_pitch", "pelvis_roll", "lumbar_flexion", "chest_flexion")):
        put(name, _uniform(rng, trunk[:, i]))
    for name, spread in (("lumbar_side", 7), ("lumbar_twist", 7), ("chest_side", 7), ("chest_twist", 13),
                         ("neck_side", 6), ("neck_twist", 16), ("head_side", 5), ("head_twist", 12),
                         ("neck_flexion", 12), ("head_flexion", 10)):  # fmt: skip
        put(name, rng.normal(0, spread, n))
    first = np.array([s.leg for s in table])[stance]
    second = np.array([s.other or s.leg for s in table])[stance]
    swap = rng.random(n) < 0.5
    one, two = _uniform(rng, first), _uniform(rng, second)
    like = np.array([_SYMMETRIC.get(name, 0.0) for name in STANCES])[stance]
    same = rng.random(n) < like
    two = np.where(same[:, None], one + rng.normal(0, 5, one.shape), two)
    left, right = np.where(swap[:, None], two, one), np.where(swap[:, None], one, two)
    for side, leg in (("left", left), ("right", right)):
        for i, part in enumerate(("hip_flexion", "hip_abduction", "hip_twist", "knee")):
            put(f"{side}_{part}", leg[:, i])
        put(f"{side}_ankle", rng.normal(0, 8, n))
    return angles


def draw_arms(count: int, rng: np.random.Generator) -> Float[ndarray, "N 2 4"]:
    """Shoulder flexion, abduction, twist and elbow (radians) of both arms; in a third of the poses they do the same."""
    share = np.array([s for s, _ in ARMS.values()])
    ranges = np.array([r for _, r in ARMS.values()])
    kind = rng.choice(len(share), (count, 2), p=share / share.sum())
    arms = _uniform(rng, ranges[kind])
    same = rng.random(count) < 0.33
    arms[same, 1] = arms[same, 0] + rng.normal(0, 8, (int(same.sum()), 4))
    return np.radians(arms)


ARM_COLUMNS = np.array(
    [[COLUMN[f"{side}_{part}"] for part in ("shoulder_flexion", "shoulder_abduction", "shoulder_twist", "elbow")]
     for side in ("left", "right")]
)  # fmt: skip


def draw_poses(count: int, rng: np.random.Generator) -> Float[ndarray, "N A"]:
    """Random poses, radians, within the limits; a third of them on the way from one to another, as in a motion."""

    def draw() -> ndarray:
        angles = draw_trunk_and_legs(draw_stances(count, rng), rng)
        angles[:, ARM_COLUMNS] = draw_arms(count, rng)
        return clamp(angles)

    angles, other = draw(), draw()
    share = np.where(rng.random(count) < _BETWEEN, rng.random(count), 0.0)[:, None]
    return clamp(angles + share * (other - angles))


def draw_headings(count: int, rng: np.random.Generator) -> Float[ndarray, " N"]:
    """Any direction, radians."""
    return rng.uniform(-math.pi, math.pi, count)
