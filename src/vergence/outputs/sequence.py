"""What every pose file is written from: one person's 3D joints over time, with everything a reader needs to use them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vergence.errors import VergenceError
from vergence.geometry.body import stature
from vergence.skeleton import Skeleton, skeleton_from_names

UNITS = ("mm", "m", "reference_bone")
ASSUMED_STATURE_MM = 1700.0


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

    def __post_init__(self) -> None:
        shape = np.shape(self.pose)
        if len(shape) != 3 or shape[1:] != (len(self.joint_names), 3):
            raise VergenceError(f"poses have shape {shape}, with {len(self.joint_names)} joint names", "It is T J 3.")
        if self.unit not in UNITS:
            raise VergenceError(f"the unit of poses is {self.unit!r}", f"It is one of {', '.join(UNITS)}.")
        if not np.isfinite(self.fps) or self.fps <= 0:
            raise VergenceError(f"poses have {self.fps} frames per second", "Give a frame rate above 0.")
        for name in ("keypoints", "confidence", "frame", "time"):
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

    def mm_per_unit(self, stature_mm: float = ASSUMED_STATURE_MM) -> tuple[float, str]:
        """Factor to millimetres and, where the scale is not known and the person taken to be so tall, a note that says so.

        Raises:
            VergenceError: scale-free, and neither a leg nor the trunk was ever seen.
        """
        if self.unit in ("mm", "m"):
            return (1.0 if self.unit == "mm" else 1000.0), ""
        factor = stature_mm / stature(np.asarray(self.pose, dtype=np.float64), self.skeleton)
        return factor, f"scale unknown, assumed stature {stature_mm:.0f} mm"
