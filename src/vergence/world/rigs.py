"""Cameras: rigs around a capture area, and cameras in the wild. The world's z axis points up and lengths are mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vergence.errors import VergenceError
from vergence.geometry.camera import axis_angle_to_matrix, look_at
from vergence.world.faults import resolved


@dataclass(frozen=True)
class Rig:
    """V full-image cameras without lens distortion.

    Attributes:
        intrinsics: px.
        rotation: `x_camera = rotation x_world + translation`.
        translation: mm.
        size: (height, width) px.
    """

    intrinsics: Float[Tensor, "V 3 3"]
    rotation: Float[Tensor, "V 3 3"]
    translation: Float[Tensor, "V 3"]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        shapes = [tuple(self.intrinsics.shape), tuple(self.rotation.shape), tuple(self.translation.shape)]
        if not len(self.intrinsics) or shapes != [(len(self.intrinsics), *s) for s in ((3, 3), (3, 3), (3,))]:
            raise VergenceError(
                f"a rig of shapes {shapes}", "Give V x 3 x 3 intrinsics and rotations and V x 3 translations."
            )

    def __len__(self) -> int:
        return len(self.intrinsics)


def studio_rig(views: int, rng: np.random.Generator) -> Rig:
    """Cameras 4 to 5.5 m around the capture area's centre, 1 to 2.3 m high, evenly spread but not exactly."""
    spread = 2 * math.pi / max(views, 2)
    azimuth = rng.uniform(0, 2 * math.pi) + np.arange(views) * spread + rng.uniform(-0.3, 0.3, views) * min(spread, 1.2)
    return studio_cameras(azimuth, rng)


def studio_cameras(azimuth: np.ndarray, rng: np.random.Generator) -> Rig:
    """A studio's cameras that stand in these directions (radians) from its centre."""
    n = len(azimuth)
    distance, height = rng.uniform(4200, 5500, n), rng.uniform(1000, 2300, n)
    eye = np.stack([distance * np.cos(azimuth), distance * np.sin(azimuth), height], 1)
    target = np.stack([*rng.normal(0, 120, (2, n)), rng.uniform(800, 1000, n)], 1)
    return make_rig(eye, target, rng.normal(1145, 30, n), (1000, 1000), rng.normal(0, math.radians(1.0), n))


def wild_cameras(count: int, rng: np.random.Generator) -> Rig:
    """Cameras on random sides of the origin, 2.6 to 8 m away, from knee height to well above the head; any lens."""
    azimuth = rng.uniform(0, 2 * math.pi, count)
    elevation = np.radians(np.where(rng.random(count) < 0.85, rng.normal(6, 8, count), rng.uniform(10, 45, count)))
    distance = np.exp(rng.uniform(math.log(2600), math.log(8000), count))
    eye = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], 1)
    eye = eye * distance[:, None] + [0, 0, 950]
    eye[:, 2] = eye[:, 2].clip(150)
    fov = np.radians(rng.uniform(40, 75, count))
    focal = 500 / np.tan(fov / 2)
    side = rng.normal(0, 0.25, (count, 3)) * distance[:, None] * np.tan(fov / 2)[:, None]
    target = side * [1, 1, 0.5] + [0, 0, 900]
    return make_rig(eye, target, focal, (1000, 1000), rng.normal(0, math.radians(4.0), count))


def walk(positions: int, rng: np.random.Generator) -> Rig:
    """One hand-held camera's places while it walks part of the way around the origin: 50 to 140 degrees, 2.6 to 5.5 m away."""
    along = np.linspace(0, 1, positions)
    turn = rng.choice([-1, 1]) * np.radians(rng.uniform(50, 140))
    azimuth = rng.uniform(0, 2 * math.pi) + turn * along + rng.normal(0, 0.02, positions)
    near, far = np.sort(rng.uniform(2600, 5500, 2))
    distance = near + (far - near) * (0.5 + 0.5 * np.sin(rng.uniform(0, 2 * math.pi) + 3 * along))
    height = rng.uniform(1100, 1800) + 120 * np.sin(rng.uniform(0, 2 * math.pi) + 4 * along)
    eye = np.stack([distance * np.cos(azimuth), distance * np.sin(azimuth), height], 1)
    target = np.concatenate([rng.normal(0, 150, (positions, 2)), rng.normal(900, 100, (positions, 1))], 1)
    focal = 500 / math.tan(math.radians(rng.uniform(45, 70)) / 2)
    return make_rig(eye, target, np.full(positions, focal), (1000, 1000), rng.normal(0, math.radians(3.0), positions))


def make_rig(
    eye: np.ndarray, target: np.ndarray, focal: np.ndarray, size: tuple[int, int], roll: np.ndarray | float = 0.0
) -> Rig:
    """A rig from where cameras stand and look (mm, V 3), focal lengths (px), image size and roll (radians)."""
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    position = torch.as_tensor(np.asarray(eye, dtype=np.float64))
    rotation, translation = look_at(position, torch.as_tensor(np.asarray(target, dtype=np.float64)), up)
    lean = torch.zeros(len(rotation), 3, dtype=torch.float64)
    lean[:, 2] = torch.as_tensor(roll, dtype=torch.float64)
    turn = axis_angle_to_matrix(lean)
    intrinsics = torch.zeros(len(rotation), 3, 3, dtype=torch.float64)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = torch.as_tensor(focal, dtype=torch.float64)
    intrinsics[:, 0, 2], intrinsics[:, 1, 2], intrinsics[:, 2, 2] = (size[1] - 1) / 2, (size[0] - 1) / 2, 1
    return Rig(intrinsics, turn @ rotation, (turn @ translation[..., None])[..., 0], size)


def draw_rigs(count: int, views: int, *, look: str = "studio", seed: int) -> list[Rig]:
    """The rigs that `recordings(..., seed=seed)` uses where none are given: one for each recording.

    Args:
        count: rigs.
        views: cameras of each, 2 or more for any 3D; 1 is allowed.
        look: `studio` or `wild`.
        seed: other seeds give other cameras.
    """
    if count < 1 or views < 1:
        raise VergenceError(f"{count} rigs of {views} views", "Both must be at least 1.")
    resolved(look, None)
    draw = {"studio": studio_rig, "wild": wild_cameras}[look]
    return [draw(views, np.random.default_rng([seed, 11, i])) for i in range(count)]


def stack_rigs(rigs: Sequence[Rig]) -> tuple[Tensor, Tensor, Tensor]:
    """Intrinsics (S V 3 3), rotations (S V 3 3) and translations (S V 3) of rigs with equally many cameras, float64."""
    if len({len(rig) for rig in rigs}) != 1:
        raise VergenceError(
            f"rigs with {sorted({len(rig) for rig in rigs})} cameras", "Give every rig the same number."
        )
    k, r, t = (
        torch.stack([getattr(rig, name).double() for rig in rigs]) for name in ("intrinsics", "rotation", "translation")
    )
    return k, r, t
