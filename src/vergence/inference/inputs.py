"""What `vergence predict` is given, made one: images in time, the camera that took them, and where the person is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vergence.batches.crops import box_from_keypoints, whole_image_box
from vergence.errors import VergenceError
from vergence.footage.boxes import follow, read_boxes
from vergence.footage.capture import Capture, load_capture
from vergence.footage.capture_camera import CaptureCamera
from vergence.footage.images import IMAGE_SUFFIXES, ImageFolder, read_image
from vergence.footage.keypoints import read_keypoints
from vergence.footage.observations import observe
from vergence.footage.resize import ImageFit, fit_sizes
from vergence.footage.tracking import track_people
from vergence.footage.video import open_video
from vergence.geometry.camera import intrinsics_from_fov

# Of an image without intrinsics: between a phone's wide camera (70) and a person filmed from afar (30).
ASSUMED_FOV_DEG = 55.0
ASSUMED_FPS = 30.0
# Added around a given box, as a share of its larger side: a detector's box ends at the skin.
BOX_MARGIN = 0.1

RGB = UInt8[np.ndarray, "H W 3"]
Box = Float[np.ndarray, " 4"]


@dataclass(frozen=True)
class Footage:
    """Images in time.

    Attributes:
        path: what was given.
        count: number of images.
        fps: frames per second.
        images: from a sorted list of frame numbers, the images that can be read, with their numbers.
        single: it is one image.
        note: what was assumed.
    """

    path: Path
    count: int
    fps: float
    images: Callable[[Sequence[int]], Iterator[tuple[int, RGB]]]
    single: bool = False
    note: str = ""

    def __len__(self) -> int:
        return self.count


def open_footage(path: Path, fps: float | None) -> Footage:
    """An image, a folder of images (of any sizes, in natural order) or a video."""
    if fps is not None and not 0 < fps < 1e5:
        raise VergenceError(f"{fps} frames per second", "Give --fps above 0.")
    single = path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
    if single or path.is_dir():
        files = [path] if single else ImageFolder(path).files
        note = "" if single or fps else f"a folder of images has no frame rate: taken as {ASSUMED_FPS:g} per second"

        def read(rows: Sequence[int]) -> Iterator[tuple[int, RGB]]:
            return ((row, read_image(files[row])) for row in rows)

        read_image(files[0])
        return Footage(path, len(files), fps or ASSUMED_FPS, read, single, note)
    video = open_video(path)

    def decode(rows: Sequence[int]) -> Iterator[tuple[int, RGB]]:
        wanted = set(rows)
        return ((i, image) for i, image in video.frames(min(rows), max(rows) + 1) if i in wanted)

    note = "" if video.fps or fps else f"{path.name} states no frame rate: taken as {ASSUMED_FPS:g} per second"
    return Footage(path, len(video), fps or video.fps or ASSUMED_FPS, decode, False, note)


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


def find_lens(capture: Path | None, camera: str, fov: float | None) -> Lens:
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
    found = load_capture(capture)
    if not camera and len(found.cameras) > 1:
        raise VergenceError(f"{capture} has several cameras", f"Give --camera: {', '.join(found.names)}.")
    if camera and camera not in found.names:
        raise VergenceError(f"{capture} has no camera {camera!r}", f"It has {', '.join(found.names)}.")
    index = found.names.index(camera) if camera else 0
    known = found.cameras[index].intrinsics is not None
    if known and fov is not None:
        raise VergenceError(f"--fov {fov:g}, but {capture} has intrinsics", "Leave --fov out.")
    return Lens(angle, found, index, () if known else assumed)


@dataclass(frozen=True)
class Person:
    """Where the person is: `at(frame, (width, height))` is a box, or None where nobody was seen."""

    at: Callable[[int, tuple[int, int]], Box | None]
    notes: tuple[str, ...] = ()


def find_person(footage: Footage, lens: Lens, box: str, boxes: Path | None, keypoints: Path | None) -> Person:
    """Boxes from what was given; from the capture where the input is its own video; else the whole image."""
    if box:
        one = grown(np.array(parse_box(box)))
        return Person(lambda frame, size: one)
    if boxes is not None:
        tracked, notes = _from_zero(follow(read_boxes(boxes)), len(footage), boxes.name)
        return Person(lambda frame, size: grown(tracked[frame]) if frame in tracked else None, notes)
    if keypoints is not None:
        return _person_of_keypoints(footage, keypoints)
    if lens.capture is not None and lens.capture.has_keypoints and _is_video_of(footage, lens):
        camera = lens.capture.cameras[lens.index]
        found = {i: _box_around(points) for i, points in enumerate(observe(lens.capture).keypoints[:, lens.index])}
        note = f"the person: the subject of {lens.capture.folder.name}, by its keypoints"
        return Person(lambda frame, size: found.get(round(frame - camera.offset)), (note,))
    note = "no person box: the whole image is taken as one; --box, --boxes or --keypoints say better"
    return Person(lambda frame, size: whole_image_box(size[1], size[0]), (note,))


def _is_video_of(footage: Footage, lens: Lens) -> bool:
    video = lens.camera.video if lens.camera is not None else None
    return video is not None and video.resolve() == footage.path.resolve()


def _person_of_keypoints(footage: Footage, path: Path) -> Person:
    """The person who is longest, largest and most surely in view."""
    found = read_keypoints(path)
    numbers = [number for number, people in found.people.items() if len(people)]
    first = min(found.people) if found.last_known else int(bool(numbers) and max(numbers) == len(footage))
    tracks = track_people(found.frames(first, len(footage)), footage.fps)
    if not tracks:
        raise VergenceError(f"nobody is in any frame of {path}", "Check the detector, or give --box.")

    track = max(tracks, key=_presence)
    notes = [f"the person: of {len(tracks)} in {path.name}, who is longest, largest and most surely in view"]
    if first:
        notes.append(f"{path.name} counts frames from {first}: that is frame 0 here")
    boxes = [_box_around(points) for points in track]
    return Person(lambda frame, size: boxes[frame] if frame < len(boxes) else None, (*notes, *found.notes))


def _presence(track: Float[np.ndarray, "T J 3"]) -> float:
    """Size of the person times confidence of the joints, summed over frames."""
    boxes, weight = [_box_around(points) for points in track], np.nan_to_num(track[..., 2]).mean(1)
    return float(sum(w * box[2:].max() for w, box in zip(weight, boxes) if box is not None))


def _box_around(points: Float[np.ndarray, "J D"]) -> Box | None:
    """The box of a person's keypoints; None where fewer than two are known."""
    try:
        return box_from_keypoints(points[:, :2])
    except VergenceError:
        return None


def _from_zero(boxes: dict[int, Box], count: int, name: str) -> tuple[dict[int, Box], tuple[str, ...]]:
    """Boxes by frames counted from 0; a file whose last frame is `count` counts from 1."""
    if max(boxes) == count and min(boxes) > 0:
        return {frame - 1: box for frame, box in boxes.items()}, (f"{name} counts frames from 1: that is frame 0 here",)
    if max(boxes) >= count:
        raise VergenceError(
            f"{name} has a box for frame {max(boxes)}, the input has frames 0 to {count - 1}",
            "Make the boxes from this very input.",
        )
    return boxes, ()


def parse_box(text: str) -> list[float]:
    """`x,y,width,height` as numbers."""
    try:
        values = [float(word) for word in text.strip("[]() ").replace(",", " ").split()]
    except ValueError:
        values = []
    if len(values) != 4 or not all(abs(value) < 1e7 for value in values) or min(values[2:]) <= 0:
        raise VergenceError(f"--box {text}", "Give four numbers, x,y,width,height in px, as in 100,50,200,400.")
    return values


def grown(box: Box) -> Box:
    """A box with `BOX_MARGIN` of its larger side added all around."""
    border = BOX_MARGIN * box[2:].max()
    return np.concatenate([box[:2] - border, box[2:] + 2 * border])
