"""Motion: random people walking about and doing things, smoothly; and motion recorded elsewhere, from NPZ or BVH.

A random motion is a sum of moves. Trunk and legs, each arm, the heading and the place on the floor have moves of their
own, one after another, each a minimum-jerk step (Flash & Hogan 1985: 10 u^3 - 15 u^4 + 6 u^5) from one drawn pose to
the next; so angles never leave the span of poses that are all within limits, and velocity and acceleration are
continuous. Walking is a gait cycle, driven by the distance covered and blended in while the person travels. The lowest
part of the body rests on the floor at every time step. A motion is a function of time: any frame rate, any start, any
time offset between cameras.

What it leaves out: balance and contact. Feet may slide a little when a stance changes, and chairs are not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from vergence.errors import VergenceError
from vergence.world.body import ANGLES, COLUMN, Bodies, Posed, clamp, forward_kinematics, stand_on_ground
from vergence.world.figure import guess_feet, shoulder_forward
from vergence.world.poses import ARM_COLUMNS, STANCES, draw_arms, draw_headings, draw_stances, draw_trunk_and_legs

AREA_RADIUS_MM = 1100.0
# Recorded motion is put on the floor with its lowest joint this high.
FLOOR_TO_ANKLE_MM = 60.0
# Mean angular speeds of a move, rad/s; the peak of a minimum-jerk step is 1.875 times that.
_ARM_SPEED, _BODY_SPEED, _TURN_SPEED = 2.8, 1.4, 1.8
_STANDING = list(STANCES).index("standing")


@dataclass(frozen=True)
class Motion(Posed):
    """T frames of one person, a posed body each.

    Attributes:
        fps: frames a second.
    """

    fps: float


Recorded = Motion | ndarray | Tensor  # joints as `Motion` has them, in place of one


def as_motion(motion: Recorded, fps: float) -> Motion:
    """Joint positions as a motion; nose and toes are taken to follow chest and knees."""
    if isinstance(motion, Motion):
        return motion
    joints = torch.as_tensor(np.asarray(motion), dtype=torch.float64)
    if joints.ndim != 3 or joints.shape[1:] != (17, 3) or not bool(torch.isfinite(joints).all()):
        raise VergenceError(
            f"a motion of shape {tuple(joints.shape)}, finite: {bool(torch.isfinite(joints).all())}",
            "Give T x 17 x 3 finite joints in mm, Human3.6M's order, z up.",
        )
    return Motion(joints, shoulder_forward(joints), guess_feet(joints), fps)


@dataclass(frozen=True)
class _Track:
    """A vector that moves from value to value: `values[0] + sum of steps`, minimum-jerk between start and end."""

    values: Float[ndarray, "K D"]
    start: Float[ndarray, " M"]
    end: Float[ndarray, " M"]

    def __call__(self, time: Float[ndarray, " T"]) -> Float[ndarray, "T D"]:
        u = ((time[:, None] - self.start) / (self.end - self.start)).clip(0, 1)
        step = u**3 * (10 - 15 * u + 6 * u * u)
        return self.values[0] + step @ np.diff(self.values, axis=0)


@dataclass(frozen=True)
class Choreography:
    """One person's random motion, to be asked for any time steps."""

    body: _Track
    arms: tuple[_Track, _Track]
    heading: _Track
    place: _Track
    walking: _Track
    swinging: _Track
    amplitude: float
    step: float
    phase: float

    def angles(
        self, time: Float[ndarray, " T"]
    ) -> tuple[Float[ndarray, "T A"], Float[ndarray, " T"], Float[ndarray, "T 2"]]:
        """Joint angles (radians), heading (radians) and place (mm) at these times (s)."""
        angles = self.body(time)
        for columns, arm in zip(ARM_COLUMNS, self.arms):
            angles[:, columns] = arm(time)
        fine = np.linspace(time.min(), time.max() + 1e-6, 40 + 25 * math.ceil(float(np.ptp(time))))
        travelled = np.cumsum(np.linalg.norm(np.diff(self.place(fine), axis=0, prepend=self.place(fine[:1])), axis=1))
        before = self._distance_before(float(time.min()))
        phase = self.phase + np.pi * (before + np.interp(time, fine, travelled)) / self.step
        _add_gait(angles, phase, self.walking(time)[:, 0], self.swinging(time)[:, 0], self.amplitude)
        return clamp(angles), self.heading(time)[:, 0], self.place(time)

    def _distance_before(self, time: float) -> float:
        """Distance walked from second 0 to `time`: the gait's phase must not depend on where one starts to look."""
        fine = np.linspace(0, time, 2 + math.ceil(abs(time) * 50))
        length = float(np.linalg.norm(np.diff(self.place(fine), axis=0), axis=1).sum())
        return length if time >= 0 else -length


def _add_gait(angles: ndarray, phase: ndarray, walking: ndarray, swinging: ndarray, amplitude: float) -> None:
    """Blends a gait cycle in, in place: hips and knees by `walking`, arms against the legs by `swinging` (0 to 1)."""
    for side, shift in (("left", 0.0), ("right", math.pi)):
        swing = np.sin(phase + shift)
        hip = math.radians(6) + amplitude * swing
        knee = math.radians(8) + 1.05 * np.cos(phase + shift + 0.25).clip(0) ** 2
        for name, value, weight in (
            ("hip_flexion", hip, walking),
            ("knee", knee, walking),
            ("shoulder_flexion", -0.85 * amplitude * swing, swinging),
            ("shoulder_abduction", np.full_like(swing, math.radians(10)), swinging),
            ("shoulder_twist", np.full_like(swing, math.radians(10)), swinging),
            ("elbow", math.radians(25) - 0.35 * swing, swinging),
        ):
            column = COLUMN[f"{side}_{name}"]
            angles[:, column] += weight * (value - angles[:, column])
    twist = -0.12 * np.sin(phase)
    angles[:, COLUMN["chest_twist"]] += walking * twist


def draw_choreography(duration: float, bodies: Bodies, rng: np.random.Generator) -> Choreography:
    """A random motion of one person (`bodies` of length 1) for `duration` seconds from second 0."""
    amplitude = rng.uniform(0.34, 0.50)
    step = 2 * float(bodies.bones["thigh"][0] + bodies.bones["shin"][0]) * math.sin(amplitude)
    plan = _plan(duration, rng)
    walking, swinging = _weights(plan, rng)
    return Choreography(
        body=_body_track(plan, rng),
        arms=(_arm_track(duration, rng), _arm_track(duration, rng)),
        heading=_heading_track(plan, rng),
        place=_Track(
            np.array([plan[0].place] + [s.place for s in plan if s.walks]),
            np.array([s.start for s in plan if s.walks]),
            np.array([s.end for s in plan if s.walks]),
        ),
        walking=walking,
        swinging=swinging,
        amplitude=amplitude,
        step=step,
        phase=rng.uniform(0, 2 * math.pi),
    )


@dataclass(frozen=True)
class _Section:
    """A stretch of a motion: walking to `place`, or doing something there."""

    start: float
    end: float
    walks: bool
    place: tuple[float, float]
    direction: float


def _plan(duration: float, rng: np.random.Generator) -> list[_Section]:
    """Acting and walking in turn; begins and ends outside the time asked for, so that any moment can be the first."""

    def spot() -> tuple[float, float]:
        radius, angle = AREA_RADIUS_MM * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
        return radius * math.cos(angle), radius * math.sin(angle)

    time, place, direction = -rng.uniform(0.5, 4.0), spot(), float(draw_headings(1, rng)[0])
    sections = [_Section(time - 1, time, False, place, direction)]
    while time < duration + 1:
        target = spot()
        distance = math.dist(place, target)
        if rng.random() < 0.32 and distance > 700:
            length = distance / rng.uniform(550, 1000)
            direction = math.atan2(target[1] - place[1], target[0] - place[0])
            place = target
            sections.append(_Section(time, time + length, True, place, direction))
        else:
            length = rng.uniform(1.0, 3.0)
            direction += rng.normal(0, 1.0)
            sections.append(_Section(time, time + length, False, place, direction))
        time += length
    return sections


def _body_track(plan: Sequence[_Section], rng: np.random.Generator) -> _Track:
    """Trunk and legs: a standing pose while walking, one or more stances while acting."""
    starts, times, values = [], [], []
    for section in plan:
        clock = section.start
        while clock < section.end - 0.3 or clock == section.start:
            stance = np.array([_STANDING]) if section.walks else draw_stances(1, rng)
            values.append(clamp(draw_trunk_and_legs(stance, rng))[0])
            starts.append(clock)
            times.append(section.end if section.walks else clock + rng.uniform(0.9, 2.2))
            clock = times[-1]
    return _moves(np.array(values), np.array(starts), _BODY_SPEED, 0.5)


def _moves(values: ndarray, wanted: ndarray, speed: float, least: float) -> _Track:
    """Moves that begin when wanted, or when the one before has ended, and take as long as the speed allows."""
    start, end, free = [], [], -math.inf
    for i, change in enumerate(np.abs(np.diff(values, axis=0)).max(1)):
        begin = max(float(wanted[i + 1]) - 0.25, free)
        free = begin + max(least, float(change) / speed)
        start.append(begin)
        end.append(free)
    return _Track(values, np.array(start), np.array(end))


def _arm_track(duration: float, rng: np.random.Generator) -> _Track:
    wanted = [-3.0]
    while wanted[-1] < duration + 1:
        wanted.append(wanted[-1] + rng.uniform(0.4, 1.8))
    poses = np.zeros((len(wanted), len(ANGLES)))
    poses[:, ARM_COLUMNS[0]] = draw_arms(len(wanted), rng)[:, 0]
    return _moves(clamp(poses)[:, ARM_COLUMNS[0]], np.array(wanted), _ARM_SPEED, 0.35)


def _heading_track(plan: Sequence[_Section], rng: np.random.Generator) -> _Track:
    """Turns by the shorter way; while walking the body faces where it goes, mostly."""
    headings = [plan[0].direction]
    for section in plan[1:]:
        turn = section.direction + (rng.normal(0, 0.15) if section.walks else 0.0) - headings[-1]
        headings.append(headings[-1] + (turn + math.pi) % (2 * math.pi) - math.pi)
    return _moves(np.array(headings)[:, None], np.array([s.start for s in plan]), _TURN_SPEED, 0.5)


def _weights(plan: Sequence[_Section], rng: np.random.Generator) -> tuple[_Track, _Track]:
    """How much of the gait shows: 1 while walking; and whether the arms swing with it."""
    walks = [s for s in plan if s.walks]
    start = np.array([t for s in walks for t in (s.start, s.end - 0.4)])
    up = np.array([v for _ in walks for v in (1.0, 0.0)])
    swings = np.repeat(rng.random(len(walks)) < 0.5, 2)
    values = np.concatenate([[0.0], up])[:, None]
    return _Track(values, start, start + 0.4), _Track(np.concatenate([[0.0], up * swings])[:, None], start, start + 0.4)


def perform(choreographies: Sequence[Choreography], bodies: Bodies, times: Float[ndarray, "S T"]) -> Posed:
    """Joints (mm, standing on the floor) of S people at T times each, as one batch of S * T."""
    asked = [c.angles(t) for c, t in zip(choreographies, times)]
    angles, heading, place = (np.concatenate([a[i] for a in asked]) for i in range(3))
    each = bodies[np.repeat(np.arange(len(bodies)), times.shape[1])]
    posed = stand_on_ground(forward_kinematics(each, angles, heading), each)
    shift = torch.from_numpy(np.concatenate([place, np.zeros((len(place), 1))], 1))
    return posed.moved(shift)


def sample_motion(motion: Motion, times: Float[ndarray, " T"]) -> Posed:
    """A motion at any times within it, linear between its frames; the middle time step is centred on the origin."""
    at = torch.from_numpy(times * motion.fps)
    if float(at.max()) > len(motion) - 1 + 1e-6:
        raise VergenceError(
            f"a motion of {len(motion)} frames at {motion.fps:g} fps is asked for {float(times.max()):.2f} s",
            "Ask for fewer frames or a smaller frame_step.",
        )
    low = at.floor().long().clamp(0, len(motion) - 1)
    high = (low + 1).clamp(max=len(motion) - 1)
    share = (at - low).clamp(0, 1)

    def between(x: Tensor) -> Tensor:
        weight = share.view(-1, *[1] * (x.ndim - 1))
        return x[low].double() * (1 - weight) + x[high].double() * weight

    joints = between(motion.joints)
    middle = (joints[:, 0].amin(0) + joints[:, 0].amax(0)) / 2
    middle[2] = motion.joints[..., 2].double().amin() - FLOOR_TO_ANKLE_MM
    joints = joints - middle
    return Posed(joints, *(F.normalize(between(x), dim=-1, eps=1e-9) for x in (motion.face, motion.feet)))
