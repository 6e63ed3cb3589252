"""Poses people take: ranges of joint angles (`tables.toml`), drawn from at random.

A pose is a stance (trunk and legs) and what each arm does, drawn separately, so that everything combines. Uniform draws
inside ranges per activity, rather than one Gaussian around standing: from any facing direction the mean pose then says
little (it scores above 250 mm), and depth has to be seen, not remembered. A share of poses is drawn from the whole of
the limits, so that nothing a body can do is unheard of.

How too little of it shows: the mean pose's error falls below 250 mm, or flat depth's below 160 mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vergence.world.body import ANGLES, COLUMN, TABLES, clamp

Range = tuple[float, float]
Ranges = tuple[Range, Range, Range, Range]


@dataclass(frozen=True)
class Stance:
    """Ranges in degrees of trunk and legs; `other` is the second leg where it does something else.

    `leg` and `other` are hip flexion, abduction, twist, knee; `symmetric` is the share in which both legs do the same.
    """

    share: float
    pitch: Range
    lumbar: Range
    chest: Range
    leg: Ranges
    other: Ranges | None = None
    roll: Range = (-5, 5)
    symmetric: float = 0.0


STANCES = msgspec.convert(TABLES["stances"], dict[str, Stance])
# Share of the poses, and shoulder flexion, abduction, twist, elbow, in degrees.
ARMS = msgspec.convert(TABLES["arms"], dict[str, tuple[float, Ranges]])
# Share of the poses drawn that lie between two others.
_BETWEEN = 0.35


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
    like = np.array([s.symmetric for s in table])[stance]
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
