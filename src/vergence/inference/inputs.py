"""What a prediction is given: images in time, and the camera that took them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from vergence.errors import VergenceError
from vergence.footage.capture import Capture, load_capture
from vergence.footage.capture_camera import STRAY_FRAMES, CaptureCamera, stray_frames
from vergence.footage.formats.names import Numbering
from vergence.footage.images import IMAGE_SUFFIXES, ImageFolder, read_image, spans
from vergence.footage.resize import ImageFit, fit_sizes
from vergence.footage.video import open_video, wanted_frames
from vergence.geometry.camera import intrinsics_from_fov

# Of an image without intrinsics: between a phone's wide camera (70) and a person filmed from afar (30).
ASSUMED_FOV_DEG = 55.0
ASSUMED_FPS = 30.0
ASSUMED = f"taken as {ASSUMED_FPS:g} per second; give fps if not"

RGB = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Footage:
    """Images in time.

    Attributes:
        name: of the file or folder; `images` where arrays were given.
        count: number of images; None where only the end will tell.
        fps: frames per second.
        images: from a sorted list of frame numbers (None: all), the images that can be read, with their numbers.
        path: what was given; None where arrays were.
        single: it is one image.
        note: what was assumed.
        folder: that the images lie in, whose names count them.
        times: when the images were taken, seconds after the first; None where that is frame / fps.
    """

    name: str
    count: int | None
    fps: float
    images: Callable[[Sequence[int] | None], Iterator[tuple[int, RGB]]]
    path: Path | None = None
    single: bool = False
    note: str = ""
    folder: ImageFolder | None = None
    times: Float[np.ndarray, " N"] | None = None

    def at(self, frames: Float[np.ndarray, " T"] | Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Seconds of frames."""
        return frames / self.fps if self.times is None else np.interp(frames, np.arange(len(self.times)), self.times)

    @property
    def numbering(self) -> Numbering | None:
        return None if self.folder is None else self.folder.numbering

    def beyond(self, frames: str) -> tuple[str, ...]:
        """A note where `frames` names some that are not there."""
        last = max((high for _, high in spans(frames)), default=0)
        if self.count is None or self.folder is not None or last < self.count:
            return ()
        return (f"--frames {frames}: {self.name} has frames 0 to {self.count - 1}",)

    def rows(self, frames: str) -> list[int] | None:
        """The frame numbers that words such as `0-34,65-99` name, all where empty; None where their number is unknown."""
        if self.folder is not None and not frames:
            return sorted(self.folder.places)
        if self.count is not None:
            return wanted_frames(frames, self.count)
        if frames:
            raise VergenceError(f"frames {frames} of images without a length", "Give a list, or leave frames out.")
        return None


def open_footage(source: Path | str | Iterable[RGB], fps: float | None) -> Footage:
    """An image, a folder of images (of any sizes, as their names count them), a video, or RGB arrays.

    Raises:
        VergenceError: nothing there, nothing that can be read, or a frame rate of 0 or less.
    """
    if fps is not None and not 0 < fps < 1e5:
        raise VergenceError(f"{fps} frames per second", "Give --fps above 0.")
    if not isinstance(source, str | Path):
        return _open_arrays(source, fps)
    path = Path(source)
    if path.is_dir():
        folder = ImageFolder(path, one_size=False)
        note = "" if fps else f"a folder of images has no frame rate: {ASSUMED}"
        pick = lambda rows: folder.frames() if rows is None else folder.pick(rows)
        return Footage(path.name, len(folder), fps or ASSUMED_FPS, pick, path, False, note, folder)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        image = read_image(path)
        return Footage(path.name, 1, fps or ASSUMED_FPS, lambda rows: iter([(0, image)]), path, True)
    video = open_video(path)

    def decode(rows: Sequence[int] | None) -> Iterator[tuple[int, RGB]]:
        wanted = range(len(video)) if rows is None else set(rows)
        return ((i, image) for i, image in video.frames(min(wanted), max(wanted) + 1) if i in wanted)

    note = "" if video.fps or fps else f"{path.name} states no frame rate: {ASSUMED}"
    rate = fps or video.fps or ASSUMED_FPS
    times = None if fps else _uneven(video.times, rate)
    if times is not None:
        note = (
            f"{path.name} has no even frame rate: times are its time stamps, up to {stray_frames(times, rate) / rate:.2f} s "
            "from an even rate; TRC, C3D, BVH and USD keep the motion's speed and bridge or leave open what is missing"
        )
    return Footage(path.name, len(video), rate, decode, path, False, note, times=times)


def _uneven(times: Float[np.ndarray, " N"] | None, rate: float) -> Float[np.ndarray, " N"] | None:
    """Time stamps after the first, seconds, where they say more than frame numbers."""
    there = times is not None and len(times) > 2 and stray_frames(times, rate) >= STRAY_FRAMES
    return times - times[0] if there and times is not None else None


def _open_arrays(images: Iterable[RGB], fps: float | None) -> Footage:
    """RGB arrays, `H W 3` of uint8, one after the other; of an iterator they are taken as they come, once."""
    if not isinstance(images, Iterable):
        raise VergenceError(f"the source {images!r}", "Give a path, or RGB arrays: a list or an iterator of them.")
    if isinstance(images, np.ndarray) and images.ndim == 3:
        images = images[None]
    count = len(images) if isinstance(images, Sized) else None

    def take(rows: Sequence[int] | None) -> Iterator[tuple[int, RGB]]:
        wanted = None if rows is None else set(rows)
        for i, image in enumerate(images):
            if wanted is not None and i not in wanted:
                continue
            array = np.asarray(image)
            if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
                raise VergenceError(f"image {i} of shape {array.shape}, {array.dtype}", "Give H W 3 of uint8, RGB.")
            yield i, array

    if count == 0:
        raise VergenceError("there are no images", "Give one at least.")
    note = "" if fps or count == 1 else f"arrays have no frame rate: {ASSUMED}"
    return Footage("images", count, fps or ASSUMED_FPS, take, None, count == 1, note)


@dataclass(frozen=True)
class Lens:
    """The camera that took the images.

    Attributes:
        fov: radians along the longer side, where the intrinsics are not known.
        capture: that knows the camera; None where only the field of view is known.
        index: the camera's place in the capture.
        notes: what was assumed.
    """

    fov: float
    capture: Capture | None = None
    index: int = 0
    notes: tuple[str, ...] = ()

    @property
    def camera(self) -> CaptureCamera | None:
        return None if self.capture is None else self.capture.cameras[self.index]

    @property
    def up(self) -> Float[np.ndarray, " 3"] | None:
        """Gravity's opposite in the camera's frame; None where unknown."""
        if self.capture is None or self.capture.up is None:
            return None
        rotation = self.capture.cameras[self.index].rotation
        return None if rotation is None else rotation @ self.capture.up

    def fit(self, size: tuple[int, int]) -> ImageFit | None:
        """How an image of this (width, height) comes to the size that the camera's intrinsics belong to."""
        return None if self.camera is None else fit_sizes(size, self.camera.image_size, "the input")

    def intrinsics(self, size: tuple[int, int]) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 5"] | None]:
        """K and distortion of images of this (width, height), after `fit`."""
        if self.camera is not None and self.camera.intrinsics is not None:
            return self.camera.intrinsics, self.camera.distortion
        return intrinsics_from_fov(self.fov, *size).numpy(), None


def find_lens(capture: Path | str | Capture | None, camera: str, fov: float | None) -> Lens:
    """The camera from a capture, else from a field of view in degrees, else assumed, and said so."""
    angle = math.radians(ASSUMED_FOV_DEG if fov is None else fov)
    if not 0 < angle < math.pi:
        raise VergenceError(f"a field of view of {fov:g} degrees", "Give --fov between 0 and 180.")
    words = f"no intrinsics: a field of view of {ASSUMED_FOV_DEG:g} degrees is assumed; --fov or --capture says better"
    assumed = () if fov is not None else (words,)
    if capture is None:
        if camera:
            raise VergenceError(f"--camera {camera} without a capture", "Give --capture too.")
        return Lens(angle, notes=assumed)
    found, capture = (capture, capture.folder) if isinstance(capture, Capture) else (load_capture(capture), capture)
    if not camera and len(found.cameras) > 1:
        raise VergenceError(f"{capture} has several cameras", f"Give --camera: {', '.join(found.names)}.")
    if camera and camera not in found.names:
        raise VergenceError(f"{capture} has no camera {camera!r}", f"It has {', '.join(found.names)}.")
    index = found.names.index(camera) if camera else 0
    known = found.cameras[index].intrinsics is not None
    if known and fov is not None:
        raise VergenceError(f"--fov {fov:g}, but {capture} has intrinsics", "Leave --fov out.")
    return Lens(angle, found, index, () if known else assumed)
