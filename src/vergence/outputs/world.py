"""The world that files stand in: where up is, where the floor is and how long a millimetre is, each with its source.

Poses come in the frame of a rig, which has the first camera's axes and the person's trunk for a unit where nothing else
was known. Whoever opens a file wants a person who stands upright on a floor and is as tall as people are. What that
takes is decided here once, for every exporter and for the page, and every file says what was measured, what was
assumed and how far it may be off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.geometry.body import stature
from vergence.geometry.cameras import skew
from vergence.geometry.vertical import find_vertical
from vergence.skeleton import Skeleton

Array = np.ndarray

ASSUMED_STATURE_MM = 1700.0
PROPORTIONS_SIGMA = 0.04  # of people's limbs over their height, and of what detectors call a joint
STATURE_SIGMA = 0.06  # of grown people's height
HEIGHT_RANGE_M = (0.5, 2.5)
GIVEN, LEVEL_CAMERA = "given", "the first camera taken as level"
ASSUMED, HEIGHT = "assumed stature", "height given"


@dataclass(frozen=True)
class World:
    """How poses stand in the world.

    Attributes:
        up: unit vector against gravity, in the poses' frame.
        up_from: `given`, or what it was taken from.
        up_sigma_deg: standard deviation of its direction; 0 where given, NaN where nothing measured it.
        ground: height of the floor along `up` in the poses' unit; NaN where unknown, or where up is given (the origin is
            then the footage's own and is left alone).
        ground_sigma: its standard deviation.
        mm_per_unit: factor to millimetres.
        scale_from: `given`, `height given` or `assumed stature`.
        scale_sigma: standard deviation over the scale itself; 0 where given.
        stature_mm: the height that was given or assumed; NaN where neither was.
    """

    up: Float[Array, " 3"]
    up_from: str = GIVEN
    up_sigma_deg: float = 0.0
    ground: float = float("nan")
    ground_sigma: float = float("nan")
    mm_per_unit: float = 1.0
    scale_from: str = GIVEN
    scale_sigma: float = 0.0
    stature_mm: float = float("nan")

    @property
    def note(self) -> str:
        """What was assumed or measured, in words; empty where all was given."""
        notes = []
        if self.scale_from == ASSUMED:
            notes.append(f"scale unknown, assumed stature {self.stature_mm:.0f} mm (+/- {self.scale_sigma:.0%})")
        if self.scale_from == HEIGHT:
            notes.append(f"scale from a height of {self.stature_mm:.0f} mm (+/- {self.scale_sigma:.0%})")
        if self.up_from != GIVEN:
            known = np.isfinite(self.up_sigma_deg)
            source = self.up_from if self.up_from == LEVEL_CAMERA else f"taken from {self.up_from}"
            notes.append(f"up unknown, {source}" + (f" (+/- {self.up_sigma_deg:.0f} degrees)" if known else ""))
        if np.isfinite(self.ground):
            notes.append(f"floor from the feet (+/- {self.ground_sigma * self.mm_per_unit:.0f} mm)")
        return "; ".join(notes)

    def measured(self) -> World:
        """Of the same poses in millimetres, by the person's height."""
        factor = self.mm_per_unit
        return replace(
            self, mm_per_unit=1.0, ground=self.ground * factor, ground_sigma=self.ground_sigma * factor,
            scale_from=HEIGHT, scale_sigma=PROPORTIONS_SIGMA,
        )  # fmt: skip

    def place(self, points: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
        """Points in millimetres with y up and the floor, where one is known, at y = 0."""
        placed = np.asarray(points, dtype=np.float64) @ y_up(self.up).T
        if np.isfinite(self.ground):
            placed = placed - [0.0, self.ground, 0.0]
        return placed * self.mm_per_unit


def find_world(
    pose: Float[Array, "T J 3"],
    skeleton: Skeleton,
    unit: str,
    fps: float,
    *,
    up: Float[Array, " 3"] | None = None,
    rotation: Float[Array, "V 3 3"] | None = None,
    stature_mm: float = ASSUMED_STATURE_MM,
) -> World:
    """The world of poses, from what is known and else from the person and the cameras.

    Args:
        pose: in `unit`: `mm`, `m` or `reference_bone`.
        skeleton: of the joints.
        fps: frames per second.
        up: where it is known.
        rotation: of the cameras, poses' frame to camera's.
        stature_mm: the person's height; used where the unit is no length.

    Raises:
        VergenceError: the unit is no length, and neither a leg nor the trunk was ever seen.
    """
    scale: dict[str, Any] = {"mm_per_unit": {"mm": 1.0, "m": 1000.0}.get(unit)}
    if scale["mm_per_unit"] is None:
        factor = stature_mm / stature(np.asarray(pose, dtype=np.float64), skeleton)
        sigma = float(np.hypot(PROPORTIONS_SIGMA, STATURE_SIGMA))
        scale = {"mm_per_unit": factor, "scale_from": ASSUMED, "scale_sigma": sigma, "stature_mm": stature_mm}
    if up is not None:
        return World(np.asarray(up, dtype=np.float64) / np.linalg.norm(up), **scale)
    found = find_vertical(pose, skeleton, rotation, fps)
    source = " and ".join(found.sources) if len(found.sources) < 3 else ", ".join(found.sources)
    return World(found.up, source or LEVEL_CAMERA, found.sigma_deg, found.ground, found.ground_sigma, **scale)


def height_mm(height: float | None) -> float | None:
    """A person's height in millimetres from metres as users give it.

    Raises:
        VergenceError: no height of a person in metres.
    """
    if height is None:
        return None
    low, high = HEIGHT_RANGE_M
    if not isinstance(height, int | float):
        raise VergenceError(f"height is {height!r}", "Give a number, in metres, such as 1.78.")
    if not low <= height <= high:
        raise VergenceError(f"a height of {height:g}", f"It is the person's, in metres: {low} to {high}, such as 1.78.")
    return 1000.0 * height


def y_up(up: Float[Array, " 3"]) -> Float[Array, "3 3"]:
    """Rotation that brings `up` to +y.

    An axis goes to y by exchanging axes cyclically (z up: x' = y, y' = z, z' = x, as Pose2Sim does), -y as a level
    camera's frame is turned (x, -y, -z); any other direction by the shortest turn from the axis nearest to it.
    """
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    axis = int(np.argmax(np.abs(up)))
    nearest = np.eye(3)[axis] * np.sign(up[axis])
    cyclic = np.roll(np.eye(3), axis - 1, axis=1)
    if up[axis] < 0:
        cyclic = np.diag([1.0, -1.0, -1.0]) @ cyclic
    return cyclic @ shortest_turn(up, nearest)


def shortest_turn(a: Float[Array, "*N 3"], b: Float[Array, "*N 3"]) -> Float[Array, "*N 3 3"]:
    """The least rotations that bring directions a to b."""
    a, b = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12) for v in (a, b))
    across = skew(np.cross(a, b))
    return np.eye(3) + across + across @ across / np.maximum(1 + (a * b).sum(-1), 1e-9)[..., None, None]


def places_between(places: Float[Array, "T 3"], known: Array, times: Array) -> Float[Array, "T 3"]:
    """What is not known on the straight line between its neighbours in time; at an end the nearest."""
    return np.stack([np.interp(times, times[known], axis) for axis in places[known].T], 1) if known.any() else places
