"""What every pose file is written from: one person's 3D joints over time, with everything a reader needs to use them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from vergence.errors import VergenceError
from vergence.geometry.body import stature
from vergence.geometry.vertical import floor_below
from vergence.outputs.world import ASSUMED, ASSUMED_STATURE_MM, World, find_world, places_between
from vergence.skeleton import Skeleton, skeleton_from_names

UNITS = ("mm", "m", "reference_bone")
UNSURE = ("error", "error_90", "strangeness")
STEADY_FRAMES = 0.5  # between the frames' times that are most early and most late, of an even rate
MOST_FASTER = 10  # than its usual rate a part of a recording is taken for
PER_ROW = ("pose", "keypoints", "confidence", "frame", "time", "reliable", "root", "root_sigma", *UNSURE)


@dataclass(frozen=True)
class PoseSequence:
    """Poses of one person; missing is NaN.

    Attributes:
        pose: joints, in `unit`.
        joint_names: of the J joints.
        fps: frames per second.
        unit: `mm`, `m`, or `reference_bone` (pelvis to thorax is 1: the scale is not known).
        up: unit vector against gravity in the frame of `pose`; None where unknown (a camera's frame).
        keypoints: where the joints were seen, px; T J 2, or T V J 2 of several cameras.
        confidence: of each joint, 0 to 1.
        frame: number of each row in its footage; counted from 0 where not given.
        time: seconds; frame / fps where not given.
        reliable: False where the depths of a row had to be guessed (`methods.base.Prediction`); None where unknown.
        root: where the root is in the camera's frame, in `unit`; NaN where unknown.
        root_sigma: its standard deviation.
        error: expected distance of each joint from where it truly is, root-relative, in `unit`; NaN where unknown.
        error_90: the distance that nine of ten joints stay within.
        strangeness: of each row's image: above 1 it is unlike those that the model learned its poses from.
        person: the number of the person, where people were told apart.
        smoothing: how the poses were smoothed, in words; empty where they were not.
        model: training data of the model that predicted them, in words; empty where there is none or it is unknown.
        world: place of the poses in the world (`in_world`); None: estimated from the poses when it is needed.
    """

    pose: Float[np.ndarray, "T J 3"]
    joint_names: tuple[str, ...]
    fps: float
    unit: str = "mm"
    up: Float[np.ndarray, " 3"] | None = None
    keypoints: Float[np.ndarray, "T *V J 2"] | None = None
    confidence: Float[np.ndarray, "T J"] | None = None
    frame: Int[np.ndarray, " T"] | None = None
    time: Float[np.ndarray, " T"] | None = None
    reliable: Bool[np.ndarray, " T"] | None = None
    root: Float[np.ndarray, "T 3"] | None = None
    root_sigma: Float[np.ndarray, "T 3"] | None = None
    error: Float[np.ndarray, "T J"] | None = None
    error_90: Float[np.ndarray, "T J"] | None = None
    strangeness: Float[np.ndarray, " T"] | None = None
    person: int | None = None
    smoothing: str = ""
    model: str = ""
    world: World | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.pose)
        if len(shape) != 3 or shape[1:] != (len(self.joint_names), 3):
            raise VergenceError(f"poses have shape {shape}, with {len(self.joint_names)} joint names", "It is T J 3.")
        if self.unit not in UNITS:
            raise VergenceError(f"the unit of poses is {self.unit!r}", f"It is one of {', '.join(UNITS)}.")
        if not np.isfinite(self.fps) or self.fps <= 0:
            raise VergenceError(f"poses have {self.fps} frames per second", "Give a frame rate above 0.")
        for name in PER_ROW:
            value = getattr(self, name)
            if value is not None and len(value) != shape[0]:
                raise VergenceError(f"{name} has {len(value)} rows, the poses have {shape[0]}")
        if self.up is not None and (np.shape(self.up) != (3,) or not np.linalg.norm(self.up) > 0):
            raise VergenceError(f"up is {self.up}", "It is a direction, such as [0, 0, 1], or None.")

    @property
    def skeleton(self) -> Skeleton:
        return skeleton_from_names(self.joint_names)

    @property
    def frames(self) -> Int[np.ndarray, " T"]:
        return np.arange(len(self.pose)) if self.frame is None else np.asarray(self.frame)

    @property
    def times(self) -> Float[np.ndarray, " T"]:
        return self.frames / self.fps if self.time is None else np.asarray(self.time)

    def even(self) -> PoseSequence:
        """The same for a file of one frame rate: where times are not frame / fps, the rows' numbers are those of the nearest
        moments at the usual rate, so that motion keeps its speed and lost frames are gaps."""
        if self.time is None or len(self.time) < 3:
            return self
        times = np.asarray(self.time, dtype=np.float64)
        if np.ptp(times * self.fps - self.frames) <= STEADY_FRAMES:
            return self
        steps = np.diff(times) / np.diff(self.frames)
        usual = float(np.median(steps))
        rate = 1 / usual
        if (np.diff(np.round((times - times[0]) * rate)) < 1).any():  # a part of the recording is faster
            rate = 1 / max(float(steps.min()), usual / MOST_FASTER)
        numbers = np.round((times - times[0]) * rate).astype(int) - np.arange(len(times))
        numbers = np.maximum.accumulate(numbers) + np.arange(len(times))
        return replace(self, frame=numbers, time=numbers / rate, fps=rate)

    def in_world(self, stature_mm: float = ASSUMED_STATURE_MM) -> World:
        """Where up, the floor and a millimetre are for these poses.

        Args:
            stature_mm: the person's height, used only where the scale is not known.

        Raises:
            VergenceError: scale-free, and neither a leg nor the trunk was ever seen.
        """
        world = self.world or find_world(
            self.pose, self.skeleton, self.unit, self.fps, up=self.up, stature_mm=stature_mm
        )
        if world.scale_from != ASSUMED or world.stature_mm == stature_mm:
            return world
        return replace(world, mm_per_unit=world.mm_per_unit * stature_mm / world.stature_mm, stature_mm=stature_mm)

    @property
    def about(self) -> str:
        """Who this is and what was done to the poses, in words; empty where nobody says."""
        who = "" if self.person is None else f"person {self.person}"
        return "; ".join(filter(None, (who, self.smoothing and f"smoothed by {self.smoothing}")))

    def told(self, note: str, taught: bool = True) -> str:
        """`about`, what the model was taught by, and a file's note of what was assumed or measured."""
        return "; ".join(filter(None, (self.about, self.model if taught else "", note)))

    def parts(self, rows: int = 4096) -> Iterator[PoseSequence]:
        """The same in pieces of so many rows, for whoever writes more than memory should hold."""
        names = [name for name in PER_ROW if getattr(self, name) is not None]
        for start in range(0, len(self.pose), rows):
            own: dict[str, Any] = {name: np.asarray(getattr(self, name)[start : start + rows]) for name in names}
            own |= {"frame": self.frames[start : start + rows], "time": self.times[start : start + rows]}
            yield replace(self, **own)

    @property
    def known_world(self) -> World | None:
        """`in_world`, or None where the poses show too little of a body to scale it."""
        try:
            return self.in_world()
        except VergenceError:
            return None

    def seen_by(self, rotation: Float[np.ndarray, "V 3 3"]) -> PoseSequence:
        """With a `world` for which these cameras are asked too (poses' frame to camera's); none without a body."""
        try:
            world = find_world(self.pose, self.skeleton, self.unit, self.fps, up=self.up, rotation=rotation)
        except VergenceError:
            return self
        return replace(self, world=world)

    def scaled(self, height: float) -> PoseSequence:
        """The poses in millimetres, by the person's height in mm; unchanged where they have a unit of length.

        Raises:
            VergenceError: neither a leg nor the trunk was ever seen.
        """
        if self.unit != "reference_bone":
            return self
        world = self.in_world(height)
        factor = world.mm_per_unit
        lengths = {name: getattr(self, name) for name in ("pose", "root", "root_sigma", "error", "error_90")}
        larger: dict[str, Any] = {
            n: np.asarray(v, dtype=np.float64) * factor for n, v in lengths.items() if v is not None
        }
        return replace(self, **larger, unit="mm", world=world.measured())

    def travelling(self, stature_mm: float = ASSUMED_STATURE_MM) -> PoseSequence:
        """The poses where the person is in the camera's frame, over the floor below the feet; unchanged without a `root`.

        Frames whose root is unknown have it between those of their neighbours.

        Raises:
            VergenceError: scale-free, and neither a leg nor the trunk was ever seen.
        """
        known = np.zeros(len(self.pose), dtype=bool) if self.root is None else np.isfinite(self.root).all(1)
        if self.root is None or not known.any():
            return self
        root, world = places_between(np.asarray(self.root), known, self.frames), self.in_world(stature_mm)
        pose = np.asarray(self.pose, dtype=np.float64) + root[:, None]
        ground, sigma = floor_below(pose, self.skeleton, world.up, stature(pose, self.skeleton))
        world = replace(world, ground=ground, ground_sigma=sigma)
        return replace(self, pose=pose, root=None, root_sigma=None, world=world)

    def placed(self, world: World, scale: float = 1.0) -> PoseSequence:
        """The poses as `world` places them (mm times `scale`, y up), a row for every frame from the first to the last."""
        first, frames = (int(self.frames[0]) if len(self.pose) else 0), self.frames
        rows = frames - first
        if len(rows) and (np.diff(rows) < 1).any():
            raise VergenceError(
                "frame numbers do not grow from row to row", "Sort the rows, and leave double ones out."
            )
        pose = np.full((int(rows[-1]) + 1 if len(rows) else 0, *self.pose.shape[1:]), np.nan)
        pose[rows] = world.place(self.pose) * scale
        return PoseSequence(
            pose, self.joint_names, self.fps, "mm", np.array([0.0, 1.0, 0.0]), frame=first + np.arange(len(pose))
        )
