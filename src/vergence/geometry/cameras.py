"""One camera and one rig of cameras: what every reader, solver and writer of this package means by them.

Why one noun: a calibration file, a capture, a dataset, the built-in world and a report all speak of K, a lens, R and t,
and each that keeps them in its own order or under its own unit is a place where one is exchanged for the other. Here
they are numpy arrays with OpenCV's conventions (`geometry.camera`): pixel (0, 0) is the centre of the top-left pixel,
`x_camera = rotation x_world + translation`. What is not known is None, not a guess; `K`, `R` and `t` are the same arrays
for whoever cannot go on without them, and say so in one error where there is none. A rig stacks its cameras' arrays, NaN
where a camera's are not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float

from vergence.errors import VergenceError
from vergence.geometry.arrays import normalise, project
from vergence.geometry.lens import FISHEYE_SIZE

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera.

    Attributes:
        name: unique in its rig.
        image_size: (width, height) in px of the images that the intrinsics belong to; None where not known.
        intrinsics: K in px; None where not known.
        distortion: OpenCV's k1 k2 p1 p2 k3, its twelve coefficients, or a fisheye lens' (`geometry.camera`: five, twelve or
            seventeen numbers); zeros: no lens to undo.
        rotation, translation: `x_camera = rotation x_world + translation`, in the rig's unit; None where not known.
    """

    name: str
    image_size: tuple[int, int] | None
    intrinsics: Float[Array, "3 3"] | None = None
    distortion: Float[Array, " D"] = field(default_factory=lambda: np.zeros(5))
    rotation: Float[Array, "3 3"] | None = None
    translation: Float[Array, " 3"] | None = None

    def __post_init__(self) -> None:
        shapes = {"intrinsics": (3, 3), "rotation": (3, 3), "translation": (3,)}
        for key, shape in shapes.items():
            value = getattr(self, key)
            if value is not None and np.shape(value) != shape:
                raise VergenceError(
                    f"{key} of camera {self.name} has shape {np.shape(value)}", f"Its shape is {shape}."
                )
        if np.shape(self.distortion) not in ((5,), (12,), (FISHEYE_SIZE,)):
            raise VergenceError(
                f"distortion of camera {self.name} has shape {np.shape(self.distortion)}",
                "It is k1 k2 p1 p2 k3, OpenCV's twelve coefficients, or a fisheye lens (`fisheye_lens`).",
            )

    def _known(self, key: str) -> Array:
        value = getattr(self, key)
        if value is None:
            raise VergenceError(f"{key} of camera {self.name} is not known", "Calibrate the camera first.")
        return np.asarray(value)

    @property
    def K(self) -> Float[Array, "3 3"]:
        """The intrinsics; a `VergenceError` where they are not known. So are `R` and `t`."""
        return self._known("intrinsics")

    @property
    def R(self) -> Float[Array, "3 3"]:
        return self._known("rotation")

    @property
    def t(self) -> Float[Array, " 3"]:
        return self._known("translation")

    @property
    def has_extrinsics(self) -> bool:
        return self.rotation is not None and self.translation is not None

    @property
    def centre(self) -> Float[Array, " 3"]:
        """Where the camera stands in the world; NaN where that is not known."""
        return -self.R.T @ self.t if self.has_extrinsics else np.full(3, np.nan)

    @property
    def fisheye(self) -> bool:
        """Whether the lens is OpenCV's fisheye model."""
        return len(self.distortion) == FISHEYE_SIZE and bool(self.distortion[-1] > 0)

    @property
    def coefficients(self) -> Float[Array, " D"]:
        """The lens as files write it: four numbers of a fisheye lens, else OpenCV's five or twelve."""
        if self.fisheye:
            return self.distortion[12:16]
        return self.distortion[:5] if not self.distortion[5:].any() else self.distortion[:12]

    @property
    def field_of_view(self) -> tuple[float, float]:
        """Angles (radians) that the image spans at its middle, along x and y, the lens included; NaN where not known."""
        if self.intrinsics is None or self.image_size is None:
            return float("nan"), float("nan")
        (width, height), (cx, cy) = self.image_size, self.K[:2, 2]
        ends = self.normalise(np.array([[-0.5, cy], [width - 0.5, cy], [cx, -0.5], [cx, height - 0.5]]))
        left, right, top, bottom = np.arctan(np.linalg.norm(ends, axis=1))
        return float(left + right), float(top + bottom)

    def to_camera(self, points: Float[Array, "*N 3"]) -> Float[Array, "*N 3"]:
        """World points in the camera's frame."""
        return points @ self.R.T + self.t

    def to_world(self, points: Float[Array, "*N 3"]) -> Float[Array, "*N 3"]:
        """Points of the camera's frame in the world."""
        return (points - self.t) @ self.R

    def project(self, points: Float[Array, "*N 3"]) -> Float[Array, "*N 2"]:
        """Pixels of points in the camera's frame, the lens included; NaN at or behind the camera. In float64."""
        return project(np.atleast_2d(points), self.K, self.distortion).reshape(*np.shape(points)[:-1], 2)

    def normalise(self, pixels: Float[Array, "*N 2"]) -> Float[Array, "*N 2"]:
        """(x/z, y/z) of pixels, the lens undone; NaN where its model has no inverse. In float64."""
        return normalise(np.atleast_2d(pixels), self.K, self.distortion).reshape(np.shape(pixels))

    def beyond(self, pixels: Float[Array, "*N 2"]) -> Bool[Array, "*N"]:
        """Whether known pixels have no ray: they lie beyond the fold of the lens' model, as with a wrong distortion."""
        if not self.distortion.any():
            return np.zeros(np.shape(pixels)[:-1], dtype=bool)
        return np.isfinite(pixels).all(-1) & ~np.isfinite(self.normalise(pixels)).all(-1)

    def without_extrinsics(self) -> Self:
        """The same camera, with nothing known of where it stands."""
        return replace(self, rotation=None, translation=None)

    def scaled(self, factor: float) -> Self:
        """The same camera in a world whose lengths are times `factor`; images are the same."""
        return self if self.translation is None else replace(self, translation=self.translation * factor)


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras in one world, in order.

    Attributes:
        cameras: in order, at least one.
        unit: of the translations: `mm`, `reference_bone` (a rig found without a length), or what a file calls it; None
            where nothing is known of it.
        up: gravity's opposite in the world, of length 1; None where not known.
        notes: decisions when the rig was read, as sentences.
        aliases: other names of its cameras in the file, one for each; empty where there are none.
        doubtful: a reconstruction found it, and called its result doubtful.
    """

    cameras: tuple[Camera, ...]
    unit: str | None = "mm"
    up: Float[Array, " 3"] | None = None
    notes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    doubtful: bool = False

    def __post_init__(self) -> None:
        if not self.cameras:
            raise VergenceError("a rig without cameras", "Give at least one.")

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        image_size: Sequence[tuple[int, int]] | Float[Array, "V 2"],
        intrinsics: Float[Array, "V 3 3"],
        rotation: Float[Array, "V 3 3"],
        translation: Float[Array, "V 3"],
        distortion: Float[Array, "V D"] | None = None,
        unit: str | None = "mm",
        up: Float[Array, " 3"] | None = None,
    ) -> Rig:
        """A rig from stacked arrays, all known; `Rig.intrinsics` and so on give them back.

        Raises:
            VergenceError: arrays of different lengths or shapes.
        """
        lens = np.zeros((len(names), 5)) if distortion is None else distortion
        counts = [len(x) for x in (names, image_size, intrinsics, lens, rotation, translation)]
        if not names or len(set(counts)) != 1:
            raise VergenceError(f"a rig of {counts} names, sizes, intrinsics, lenses, rotations and translations",
                                "Give one of each for every camera.")  # fmt: skip
        rows = zip(names, image_size, intrinsics, lens, rotation, translation)
        cameras = [Camera(name, (int(size[0]), int(size[1])), *arrays) for name, size, *arrays in rows]
        return cls(tuple(cameras), unit, up)

    def __len__(self) -> int:
        return len(self.cameras)

    def __iter__(self) -> Iterator[Camera]:
        return iter(self.cameras)

    def __getitem__(self, which: int | str) -> Camera:
        """A camera by its place or its name; a `VergenceError` for a name that there is none of."""
        if isinstance(which, int):
            return self.cameras[which]
        if which not in self.names:
            raise VergenceError(f"the rig has no camera {which}", f"It has {', '.join(self.names)}.")
        return self.cameras[self.names.index(which)]

    @property
    def names(self) -> list[str]:
        return [camera.name for camera in self.cameras]

    @property
    def has_intrinsics(self) -> bool:
        """Whether every camera's are known."""
        return all(camera.intrinsics is not None for camera in self.cameras)

    @property
    def has_extrinsics(self) -> bool:
        """Whether every camera's are known."""
        return all(camera.has_extrinsics for camera in self.cameras)

    def _stacked(self, key: str, shape: tuple[int, ...]) -> Array:
        values: list[Any] = [getattr(camera, key) for camera in self.cameras]
        return np.stack([np.full(shape, np.nan) if value is None else np.asarray(value) for value in values])

    @property
    def image_size(self) -> Float[Array, "V 2"]:
        """Width and height; NaN where not known, as in all that follow."""
        return self._stacked("image_size", (2,))

    @property
    def intrinsics(self) -> Float[Array, "V 3 3"]:
        return self._stacked("intrinsics", (3, 3))

    @property
    def distortion(self) -> Float[Array, "V D"]:
        """As many coefficients as the camera with most of them has."""
        size = max(len(camera.distortion) for camera in self.cameras)
        return np.stack([np.pad(camera.distortion, (0, size - len(camera.distortion))) for camera in self.cameras])

    @property
    def rotation(self) -> Float[Array, "V 3 3"]:
        return self._stacked("rotation", (3, 3))

    @property
    def translation(self) -> Float[Array, "V 3"]:
        return self._stacked("translation", (3,))

    def without_extrinsics(self) -> Rig:
        """The same cameras, with nothing known of where they stand or what is up."""
        return replace(self, cameras=tuple(camera.without_extrinsics() for camera in self.cameras), up=None)

    def scaled(self, factor: float, unit: str | None) -> Rig:
        """All lengths times `factor`, which makes them `unit`."""
        return replace(self, cameras=tuple(camera.scaled(factor) for camera in self.cameras), unit=unit)


def rotation_angle(a: Float[Array, "*N 3 3"], b: Float[Array, "*N 3 3"]) -> Float[Array, "*N"]:
    """Angle between two rotations, radians in [0, pi].

    From sine and cosine together: the usual arc cosine of the trace loses half the digits near 0 and pi.
    """
    turn = a @ np.swapaxes(b, -1, -2)
    axis = np.stack([turn[..., i, j] - turn[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], axis=-1)
    return np.arctan2(np.linalg.norm(axis, axis=-1), np.trace(turn, axis1=-2, axis2=-1) - 1)


def skew(v: Float[Array, "*N 3"]) -> Float[Array, "*N 3 3"]:
    """`skew(v) @ x = v x x`."""
    x, y, z = np.moveaxis(v, -1, 0)
    o = np.zeros_like(x)
    return np.stack([np.stack([o, -z, y], -1), np.stack([z, o, -x], -1), np.stack([-y, x, o], -1)], -2)
