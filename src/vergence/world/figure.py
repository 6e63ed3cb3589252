"""The drawn body: joint positions to tapered capsules, and what colour they have.

Everything hangs on the 17 joints (and, where known, on where nose and toes point), so that motion captured elsewhere
drives the same body. Left and right share every colour and every size, as on people: only the order of front and back
tells them apart. Front and back differ by face, hair, nose, feet and what is worn in front (placket or open jacket).
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vergence.skeleton import H36M_17

J = {name: i for i, name in enumerate(H36M_17.joint_names)}

# What a capsule is made of; two of them are looked at closer when shading.
PLAIN, TORSO, HEAD = 0, 1, 2
# Palette rows of an outfit.
SKIN, HAIR, SHIRT, SLEEVE, FOREARM, TROUSERS, SHIN, SHOE, FRONT, EYE = range(10)

# (name, palette row, material), in drawing order; `_ends` makes their ends in the same order.
PARTS: tuple[tuple[str, int, int], ...] = (
    ("hips", TROUSERS, PLAIN), ("belly_left", SHIRT, TORSO), ("belly_right", SHIRT, TORSO), ("chest", SHIRT, TORSO),
    ("shoulders", SHIRT, TORSO), ("neck", SKIN, PLAIN), ("head", SKIN, HEAD), ("nose", SKIN, PLAIN),
    ("hair", HAIR, HEAD), ("long_hair", HAIR, PLAIN),
    ("left_upper_arm", SLEEVE, PLAIN), ("right_upper_arm", SLEEVE, PLAIN),
    ("left_forearm", FOREARM, PLAIN), ("right_forearm", FOREARM, PLAIN),
    ("left_hand", SKIN, PLAIN), ("right_hand", SKIN, PLAIN),
    ("left_thigh", TROUSERS, PLAIN), ("right_thigh", TROUSERS, PLAIN), ("left_shin", SHIN, PLAIN),
    ("right_shin", SHIN, PLAIN), ("left_foot", SHOE, PLAIN), ("right_foot", SHOE, PLAIN),
)  # fmt: skip


@dataclass(frozen=True)
class Outfits:
    """Looks of N people.

    Attributes:
        palette: colours 0 to 255 by the rows above.
        front: half width of the strip worn in front, as a share of height.
        hair: 1 where there is any, 0 for the bald.
        long_hair: 1 where it falls on the neck.
    """

    palette: Float[Tensor, "N 10 3"]
    front: Float[Tensor, " N"]
    hair: Float[Tensor, " N"]
    long_hair: Float[Tensor, " N"]

    def __getitem__(self, index: Tensor) -> Outfits:
        return Outfits(self.palette[index], self.front[index], self.hair[index], self.long_hair[index])


def draw_outfits(count: int, rng: np.random.Generator) -> Outfits:
    """Random skin, hair and clothes."""
    skin = _mix(rng, [[236, 200, 175], [205, 155, 120], [150, 100, 70], [90, 60, 45]], count)
    hair = _mix(rng, [[30, 25, 22], [75, 50, 30], [150, 110, 60], [170, 165, 160]], count)
    close = np.abs(skin.mean(1) - hair.mean(1)) < 60  # a head has a front: hair stands out from the face
    hair[close] += np.where(skin[close].mean(1, keepdims=True) > 110, -75, 85)
    hair = hair.clip(12, 235)
    shirt, trousers, shoe = (_cloth(rng, count, *v) for v in ((0.15, 0.6), (0.16, 0.8), (0.08, 0.9)))
    front = np.clip(shirt + rng.uniform(90, 160, (count, 1)), 8, 247)  # lighter than the shirt: an open jacket
    long_sleeve, bare_arm = rng.random((count, 1)) < 0.5, rng.random((count, 1)) < 0.08
    shorts = rng.random((count, 1)) < 0.3
    palette = np.zeros((count, 10, 3), dtype=np.float32)
    palette[:, SKIN], palette[:, HAIR], palette[:, SHIRT], palette[:, TROUSERS] = skin, hair, shirt, trousers
    palette[:, SLEEVE] = np.where(bare_arm & ~long_sleeve, skin, shirt)
    palette[:, FOREARM] = np.where(long_sleeve, shirt, skin)
    palette[:, SHIN] = np.where(shorts, skin, trousers)
    palette[:, SHOE], palette[:, FRONT], palette[:, EYE] = shoe, front, 25
    strip = rng.uniform(0.045, 0.07, count)
    bald = rng.random(count) < 0.04
    long_hair = (rng.random(count) < 0.35) & ~bald
    tensors = [torch.from_numpy(np.asarray(v, dtype=np.float32)) for v in (palette, strip, ~bald, long_hair)]
    return Outfits(*tensors)


def _mix(rng: np.random.Generator, colours: list[list[int]], count: int) -> np.ndarray:
    weights = rng.dirichlet(np.full(len(colours), 0.35), count)
    return weights @ np.array(colours, dtype=np.float64) + rng.normal(0, 5, (count, 3))


def _cloth(rng: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
    hues, saturation = rng.random(count), rng.random(count) ** 1.5 * 0.9
    value = rng.uniform(low, high, count)
    rgb = [colorsys.hsv_to_rgb(h, s, v) for h, s, v in zip(hues, saturation, value)]
    return np.array(rgb).reshape(count, 3) * 255


unit = partial(F.normalize, dim=-1, eps=1e-6)


@dataclass(frozen=True)
class Figures:
    """N drawn bodies in any frame: tapered capsules, and the frames that torso and head are patterned in.

    Attributes:
        a, b: ends, mm.
        radius: at a and at b, mm; a capsule of radius 0 is not drawn.
        torso, head: rows are forward, left, up.
        head_centre: mm.
        height: mm, sole to crown, as estimated from the legs.
    """

    a: Float[Tensor, "N C 3"]
    b: Float[Tensor, "N C 3"]
    radius: Float[Tensor, "N C 2"]
    torso: Float[Tensor, "N 3 3"]
    head: Float[Tensor, "N 3 3"]
    head_centre: Float[Tensor, "N 3"]
    height: Float[Tensor, " N"]


def leg_height(joints: Float[Tensor, "N 17 3"]) -> Float[Tensor, " N"]:
    """Stature (mm) that goes with the legs: the built-in bodies' mean ratio."""
    legs = [(a, b) for s in ("left", "right") for a, b in ((f"{s}_hip", f"{s}_knee"), (f"{s}_knee", f"{s}_ankle"))]
    return torch.stack([(joints[:, J[a]] - joints[:, J[b]]).norm(dim=-1) for a, b in legs]).sum(0) / 2 / 0.489


def _across(v: Tensor, axis: Tensor) -> Tensor:
    """Unit vector of what in v is perpendicular to a unit axis."""
    return unit(v - (v * axis).sum(-1, keepdim=True) * axis)


def torso_frame(joints: Float[Tensor, "N 17 3"]) -> Float[Tensor, "N 3 3"]:
    """Rows forward, left, up of the trunk, from hips, shoulders and thorax."""
    up = unit(joints[:, J["thorax"]] - joints[:, J["pelvis"]])
    across = joints[:, J["left_shoulder"]] - joints[:, J["right_shoulder"]]
    across = across + joints[:, J["left_hip"]] - joints[:, J["right_hip"]]
    left = _across(across, up)
    return torch.stack([torch.linalg.cross(left, up), left, up], 1)


def shoulder_forward(joints: Float[Tensor, "N 17 3"]) -> Float[Tensor, "N 3"]:
    """Where the chest faces: what the nose is taken to follow where nobody said."""
    up = unit(joints[:, J["thorax"]] - joints[:, J["spine"]])
    left = _across(joints[:, J["left_shoulder"]] - joints[:, J["right_shoulder"]], up)
    return torch.linalg.cross(left, up)


def guess_feet(joints: Float[Tensor, "N 17 3"]) -> Float[Tensor, "N 2 3"]:
    """Where toes point: as the knee does (as the trunk where the leg is straight), at a right angle to the shin."""
    forward = torso_frame(joints)[:, 0]
    feet = []
    for side in ("left", "right"):
        hip, knee, ankle = (joints[:, J[f"{side}_{part}"]] for part in ("hip", "knee", "ankle"))
        shin, thigh = unit(ankle - knee), unit(knee - hip)
        bend = thigh - (thigh * shin).sum(-1, keepdim=True) * shin
        feet.append(_across(bend + 0.25 * _across(forward + 0.1 * thigh, shin), shin))
    return torch.stack(feet, 1)


def make_figures(
    joints: Float[Tensor, "N 17 3"],
    face: Float[Tensor, "N 3"],
    feet: Float[Tensor, "N 2 3"],
    build: Float[Tensor, " N"],
    outfits: Outfits,
    height: Float[Tensor, " N"] | None = None,
) -> Figures:
    """Capsules around the joints, in the joints' frame."""
    height = leg_height(joints) if height is None else height
    h, thick = height[:, None], (height * build)[:, None]
    torso = torso_frame(joints)
    left, up = torso[:, 1], torso[:, 2]
    at = {name: joints[:, i] for name, i in J.items()}
    crown_axis = unit(at["head_top"] - 0.5 * (at["thorax"] + at["neck_nose"]))
    nose = _across(face, crown_axis)
    head = torch.stack([nose, torch.linalg.cross(crown_axis, nose), crown_axis], 1)
    skull = at["head_top"] - 0.054 * h * crown_axis
    hair, long_hair = outfits.hair[:, None] * h, outfits.long_hair[:, None] * h
    pelvis, thorax = at["pelvis"], at["thorax"]
    # The rib cage hangs between the shoulder joints, wherever a skeleton has them against its thorax.
    ribs = [at[f"{s}_shoulder"] - sign * 0.052 * h * left - 0.075 * h * up for s, sign in (("left", 1), ("right", -1))]
    tip = skull + 0.050 * h * nose - 0.024 * h * crown_axis
    brow, nape = skull - 0.010 * h * nose + 0.006 * h * crown_axis, skull - 0.016 * h * nose - 0.02 * h * crown_axis
    behind, fall = skull - 0.022 * h * nose, skull - 0.034 * h * nose - 0.10 * h * crown_axis
    ends = [
        (pelvis - 0.048 * h * left, pelvis + 0.048 * h * left, 0.052 * thick, 0.052 * thick),
        (pelvis + 0.03 * h * left + 0.035 * h * up, ribs[0], 0.052 * thick, 0.056 * thick),
        (pelvis + -1 * 0.03 * h * left + 0.035 * h * up, ribs[1], 0.052 * thick, 0.056 * thick),
        (ribs[0] + 0.02 * h * up, ribs[1] + 0.02 * h * up, 0.053 * thick, 0.053 * thick),
        (at["right_shoulder"], at["left_shoulder"], 0.032 * thick, 0.032 * thick),
        (thorax, skull - 0.03 * h * crown_axis, 0.030 * h, 0.028 * h),
        (skull, skull - 0.042 * h * crown_axis + 0.010 * h * nose, 0.052 * h, 0.040 * h),
        (tip, tip + 0.008 * h * (nose - crown_axis), 0.009 * h, 0.012 * h),
        (brow, nape, 0.052 * hair, 0.045 * hair),
        (behind, fall, 0.044 * long_hair, 0.030 * long_hair),
    ]
    limbs = []
    for i, side in enumerate(("left", "right")):
        parts = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        shoulder, elbow, wrist, hip, knee, ankle = (at[f"{side}_{part}"] for part in parts)
        along, toes = unit(wrist - elbow), feet[:, i]
        down = _across(ankle - knee, unit(toes))
        heel, toe = ankle - 0.018 * h * toes + 0.014 * h * down, ankle + 0.095 * h * toes + 0.022 * h * down
        limbs.append(
            [
                (shoulder, elbow, 0.033 * thick, 0.026 * thick),
                (elbow, wrist, 0.0255 * thick, 0.018 * h),
                (wrist + 0.015 * h * along, wrist + 0.065 * h * along, 0.020 * h, 0.018 * h),
                (hip, knee, 0.051 * thick, 0.034 * thick),
                (knee, ankle, 0.0335 * thick, 0.023 * h),
                (heel, toe, 0.026 * h, 0.019 * h),
            ]
        )
    ends += [capsule for pair in zip(*limbs) for capsule in pair]
    a, b = torch.stack([e[0] for e in ends], 1), torch.stack([e[1] for e in ends], 1)
    radius = torch.stack([torch.cat([e[2], e[3]], 1) for e in ends], 1)
    return Figures(a, b, radius, torso, head, skull, height)
