"""Bodies: random proportions, joint angles within anatomical limits, and where the joints come to lie.

Why angles. A pose drawn as joint positions needs a test for everything a body cannot do; drawn as angles inside limits,
bones keep their length, elbows and knees bend one way only, and left and right are the same bone. Ball joints
(shoulders, hips) are a swing and a twist: the swing is a rotation vector without a component along the limb, so there
is no singular direction (raising the arm sideways or forward are straight lines in angle space), and a straight line
between two poses within limits stays within them.

Frames: x forward, y left, z up, in the body and, after the heading, in the world. At rest the body stands, arms down.
What it leaves out: limits do not depend on each other, save that a hanging arm cannot pass through the trunk; limbs may
graze each other in flight between two poses.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from vergence.geometry.camera import axis_angle_to_matrix
from vergence.skeleton import H36M_17

# Of bodies, poses and motion files; its comments say what each is.
TABLES: dict[str, Any] = tomllib.loads((files("vergence.world") / "tables.toml").read_text("utf-8"))
ANGLE_LIMITS_DEG: dict[str, tuple[float, float]] = {
    **TABLES["trunk_limits_deg"],
    **{f"{side}_{name}": limits for side in ("left", "right") for name, limits in TABLES["limb_limits_deg"].items()},
}
ANGLES = tuple(ANGLE_LIMITS_DEG)
COLUMN = {name: i for i, name in enumerate(ANGLES)}

HEIGHT_LIMITS_MM = (1450.0, 2000.0)
_SWING_LIMIT = math.radians(172)


@dataclass(frozen=True)
class Bodies:
    """N people.

    Attributes:
        height: mm, sole to crown.
        build: thickness of trunk and limbs against the average, about 0.8 to 1.3.
        bones: lengths, mm, by name (`thigh`, `upper_arm`, ...); left and right share them.
    """

    height: Float[ndarray, " N"]
    build: Float[ndarray, " N"]
    bones: dict[str, Float[ndarray, " N"]]

    def __len__(self) -> int:
        return len(self.height)

    def __getitem__(self, index: ndarray | slice) -> Bodies:
        return Bodies(self.height[index], self.build[index], {k: v[index] for k, v in self.bones.items()})


def draw_bodies(count: int, rng: np.random.Generator) -> Bodies:
    """Random people: 1.45 to 2 m tall, each bone's share of the height its own."""
    height = rng.normal(1700, 100, count).clip(*HEIGHT_LIMITS_MM)
    build = np.exp(rng.normal(0.0, 0.12, count)).clip(0.8, 1.3)
    bones = {}
    for name, (share, spread) in TABLES["shares"].items():
        bones[name] = height * share * (1 + spread * rng.normal(0, 1, count).clip(-2, 2))
    upright = sum(bones[k] for k in ("ankle", "shin", "thigh", "lumbar", "chest", "neck", "skull"))
    scale = height / np.asarray(upright)
    return Bodies(height, build, {name: value * scale for name, value in bones.items()})


def limits() -> tuple[Float[ndarray, " A"], Float[ndarray, " A"]]:
    """Least and most of every angle, radians, in the order of `ANGLES`."""
    table = np.radians(np.array(list(ANGLE_LIMITS_DEG.values()), dtype=np.float64))
    return table[:, 0], table[:, 1]


def clamp(angles: Float[ndarray, "N A"]) -> Float[ndarray, "N A"]:
    """Angles brought within the limits; an arm that hangs is kept outside the trunk."""
    out = np.clip(angles, *limits())
    for side in ("left", "right"):
        flexion, abduction = COLUMN[f"{side}_shoulder_flexion"], COLUMN[f"{side}_shoulder_abduction"]
        least = np.radians(9) - 0.5 * out[:, flexion].clip(0, np.radians(88))
        out[:, abduction] = np.maximum(out[:, abduction], least)
    return out


@dataclass(frozen=True)
class Posed:
    """Joints of N posed bodies and the directions that the joints do not tell.

    Attributes:
        joints: mm, Human3.6M's 17, z up.
        face: where the nose points, unit.
        feet: where the toes of the left and the right foot point, unit.
    """

    joints: Float[Tensor, "N 17 3"]
    face: Float[Tensor, "N 3"]
    feet: Float[Tensor, "N 2 3"]

    def __len__(self) -> int:
        return len(self.joints)

    def __getitem__(self, index: Tensor) -> Posed:
        return Posed(self.joints[index], self.face[index], self.feet[index])

    def moved(self, by: Float[Tensor, "N 3"]) -> Posed:
        return Posed(self.joints + by[:, None], self.face, self.feet)

    @staticmethod
    def cat(parts: Sequence[Posed]) -> Posed:
        return Posed(*(torch.cat([getattr(p, name) for p in parts]) for name in ("joints", "face", "feet")))


def forward_kinematics(bodies: Bodies, angles: Float[ndarray, "N A"], heading: Float[ndarray, " N"]) -> Posed:
    """Joints from angles: pelvis at the origin, world z up, `heading` about z from the world's x axis (radians)."""
    a = torch.from_numpy(np.ascontiguousarray(angles, dtype=np.float64))
    bone = {name: torch.from_numpy(np.asarray(v, dtype=np.float64))[:, None] for name, v in bodies.bones.items()}
    joints = torch.zeros(len(a), 17, 3, dtype=torch.float64)
    turn = torch.from_numpy(np.asarray(heading, dtype=np.float64))
    pelvis = _about(2, turn) @ _about(1, _angle(a, "pelvis_pitch")) @ _about(0, _angle(a, "pelvis_roll"))
    lumbar = pelvis @ _trunk(a, "lumbar")
    chest = lumbar @ _trunk(a, "chest")
    neck = chest @ _trunk(a, "neck")
    head = neck @ _trunk(a, "head")

    def put(joint: str, parent: str, frame: Tensor, direction: list[float], length: str) -> None:
        offset = (frame @ torch.tensor(direction, dtype=torch.float64)) * bone[length]
        joints[:, H36M_17.index(joint)] = joints[:, H36M_17.index(parent)] + offset / math.sqrt(
            sum(x * x for x in direction)
        )

    put("spine", "pelvis", lumbar, [0, 0, 1], "lumbar")
    put("thorax", "spine", chest, [0, 0, 1], "chest")
    put("neck_nose", "thorax", neck, [0.42, 0, 0.907], "neck")
    put("head_top", "neck_nose", head, [-0.2, 0, 0.98], "skull")
    feet = []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        abduction, flexion = (_angle(a, f"{side}_shoulder_{way}").clamp(min=0) for way in ("abduction", "flexion"))
        shrug = chest @ _about(0, sign * (0.22 * (abduction + flexion - 0.6).clamp(min=0) - 0.08))
        put(f"{side}_shoulder", "thorax", shrug, [0, sign, 0], "shoulder")
        upper = chest @ _ball(a, f"{side}_shoulder", sign)
        put(f"{side}_elbow", f"{side}_shoulder", upper, [0, 0, -1], "upper_arm")
        forearm = upper @ _about(1, -_angle(a, f"{side}_elbow"))
        put(f"{side}_wrist", f"{side}_elbow", forearm, [0, 0, -1], "forearm")
        put(f"{side}_hip", "pelvis", pelvis, [0, sign, 0], "hip")
        thigh = pelvis @ _ball(a, f"{side}_hip", sign)
        put(f"{side}_knee", f"{side}_hip", thigh, [0, 0, -1], "thigh")
        shin = thigh @ _about(1, _angle(a, f"{side}_knee"))
        put(f"{side}_ankle", f"{side}_knee", shin, [0, 0, -1], "shin")
        outward = _about(2, torch.full_like(turn, sign * 0.12))
        feet.append((shin @ outward @ _about(1, -_angle(a, f"{side}_ankle")))[:, :, 0])
    return Posed(joints, head[:, :, 0], torch.stack(feet, 1))


def stand_on_ground(posed: Posed, bodies: Bodies) -> Posed:
    """The same poses with the lowest part of each body on z = 0: soles, knees, seat, hands, back or head."""
    height = torch.from_numpy(bodies.height)
    sole = torch.from_numpy(bodies.bones["ankle"])
    ends = [H36M_17.index("left_ankle"), H36M_17.index("right_ankle")]
    toes = posed.joints[:, ends, 2] + 0.075 * height[:, None] * posed.feet[:, :, 2]
    thickness = torch.full((17,), 0.025, dtype=torch.float64)
    thickness[[0, 7, 8]] = 0.065
    thickness[[H36M_17.index("head_top")]] = 0.0
    lowest = posed.joints[:, :, 2] - thickness * height[:, None]
    ankles = posed.joints[:, [3, 6], 2] - sole[:, None]
    floor = torch.cat([lowest[:, [0, 2, 5, 7, 8, 10, 13, 16]], ankles, toes - 0.5 * sole[:, None]], 1).amin(1)
    return posed.moved(torch.stack([torch.zeros_like(floor), torch.zeros_like(floor), -floor], -1))


def _angle(angles: Tensor, name: str) -> Tensor:
    return angles[:, COLUMN[name]]


def _about(axis: int, angle: Tensor) -> Float[Tensor, "N 3 3"]:
    """Rotation about x, y or z (0, 1, 2)."""
    vector = torch.zeros(*angle.shape, 3, dtype=angle.dtype)
    vector[..., axis] = angle
    return axis_angle_to_matrix(vector)


def _trunk(angles: Tensor, part: str) -> Float[Tensor, "N 3 3"]:
    flexion, side, twist = (_angle(angles, f"{part}_{kind}") for kind in ("flexion", "side", "twist"))
    return axis_angle_to_matrix(torch.stack([side, flexion, torch.zeros_like(side)], -1)) @ _about(2, twist)


def _ball(angles: Tensor, part: str, sign: float) -> Float[Tensor, "N 3 3"]:
    """Swing of a limb that points down at rest, after its twist about its own axis."""
    flexion, abduction, twist = (_angle(angles, f"{part}_{kind}") for kind in ("flexion", "abduction", "twist"))
    swing = torch.stack([sign * abduction, -flexion, torch.zeros_like(flexion)], -1)
    swing = swing * (_SWING_LIMIT / swing.norm(dim=-1, keepdim=True).clamp(min=_SWING_LIMIT))
    return axis_angle_to_matrix(swing) @ _about(2, -sign * twist)
