"""What a prediction is given, made one: images in time, the camera that took them, where the person is, and its crops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vergence.batches.crops import crop_image
from vergence.errors import VergenceError
from vergence.footage.boxes import follow, read_boxes
from vergence.footage.capture import Capture, load_capture
from vergence.footage.capture_camera import CaptureCamera
from vergence.footage.images import IMAGE_SUFFIXES, ImageFolder, read_image
from vergence.footage.keypoints import read_keypoints
from vergence.footage.observations import observe
from vergence.footage.people.returning import alone_again
from vergence.footage.resize import ImageFit, fit_sizes
from vergence.footage.tracking import track_people
from vergence.footage.video import open_video, wanted_frames
from vergence.geometry.camera import intrinsics_from_fov
from vergence.geometry.crops import CropCamera, box_from_keypoints, whole_image_box
from vergence.progress import Progress, followed, silent

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
        name: of the file or folder; `images` where arrays were given.
        count: number of images; None where only the end will tell.
        fps: frames per second.
        images: from a sorted list of frame numbers (None: all), the images that can be read, with their numbers.
        path: what was given; None where arrays were.
        single: it is one image.
        note: what was assumed.
    """

    name: str
    count: int | None
    fps: float
    images: Callable[[Sequence[int] | None], Iterator[tuple[int, RGB]]]
    path: Path | None = None
    single: bool = False
    note: str = ""

    def rows(self, frames: str) -> list[int] | None:
        """The frame numbers that words such as `0-34,65-99` name, all where empty; None where their number is unknown."""
        if self.count is not None:
            return wanted_frames(frames, self.count)
        if frames:
            raise VergenceError(f"frames {frames} of images without a length", "Give a list, or leave frames out.")
        return None


def open_footage(source: Path | str | Iterable[RGB], fps: float | None) -> Footage:
    """An image, a folder of images (of any sizes, in natural order), a video, or RGB arrays.

    Raises:
        VergenceError: nothing there, nothing that can be read, or a frame rate of 0 or less.
    """
    if fps is not None and not 0 < fps < 1e5:
        raise VergenceError(f"{fps} frames per second", "Give --fps above 0.")
    if not isinstance(source, str | Path):
        return _open_arrays(source, fps)
    path = Path(source)
    single = path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
    if single or path.is_dir():
        files = [path] if single else ImageFolder(path).files
        note = "" if single or fps else f"a folder of images has no frame rate: taken as {ASSUMED_FPS:g} per second"

        def read(rows: Sequence[int] | None) -> Iterator[tuple[int, RGB]]:
            return ((row, read_image(files[row])) for row in (range(len(files)) if rows is None else rows))

        read_image(files[0])
        return Footage(path.name, len(files), fps or ASSUMED_FPS, read, path, single, note)
    video = open_video(path)

    def decode(rows: Sequence[int] | None) -> Iterator[tuple[int, RGB]]:
        wanted = range(len(video)) if rows is None else set(rows)
        return ((i, image) for i, image in video.frames(min(wanted), max(wanted) + 1) if i in wanted)

    note = "" if video.fps or fps else f"{path.name} states no frame rate: taken as {ASSUMED_FPS:g} per second"
    return Footage(path.name, len(video), fps or video.fps or ASSUMED_FPS, decode, path, False, note)


def _open_arrays(images: Iterable[RGB], fps: float | None) -> Footage:
    """RGB arrays, `H W 3` of uint8, one after the other; of an iterator they are taken as they come, once."""
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
    note = "" if fps or count == 1 else f"arrays have no frame rate: taken as {ASSUMED_FPS:g} per second"
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


@dataclass(frozen=True)
class Person:
    """Where the person is: `at(frame, (width, height))` is a box, or None where nobody was seen."""

    at: Callable[[int, tuple[int, int]], Box | None]
    notes: tuple[str, ...] = ()


def find_person(
    footage: Footage,
    lens: Lens,
    box: str | Sequence[float] | None,
    boxes: Path | str | Mapping[int, Sequence[float]] | None,
    keypoints: Path | str | None,
) -> Person:
    """Boxes from what was given; from the capture where the input is its own video; else the whole image.

    Args:
        footage, lens: of the images.
        box: x, y, width, height, px, of every frame.
        boxes: file of boxes per frame, or a box for each frame number.
        keypoints: file or folder of keypoints, around which the boxes are.

    Raises:
        VergenceError: more than one of them, or one that does not fit the images.
    """
    given = {"--box": box is not None and len(box), "--boxes": boxes is not None, "--keypoints": keypoints is not None}
    if sum(map(bool, given.values())) > 1:
        names = " and ".join(name for name, is_given in given.items() if is_given)
        raise VergenceError(f"the person is given twice: {names}", "Give one of them.")
    if box is not None and len(box):
        one = grown(np.array(parse_box(box)))
        return Person(lambda frame, size: one)
    if isinstance(boxes, Mapping):
        each = {frame: grown(np.array(parse_box(values))) for frame, values in boxes.items()}
        return Person(lambda frame, size: each.get(frame))
    if boxes is not None:
        tracked, notes = _from_zero(follow(read_boxes(boxes)), footage.count, Path(boxes).name)
        return Person(lambda frame, size: grown(tracked[frame]) if frame in tracked else None, notes)
    if keypoints is not None:
        return _person_of_keypoints(footage, Path(keypoints))
    if lens.capture is not None and lens.capture.has_keypoints and _is_video_of(footage, lens):
        camera = lens.capture.cameras[lens.index]
        seen = observe(lens.capture).keypoints[:, lens.index]
        own = camera.own_frames(np.arange(len(seen)))
        found = {round(frame): _box_around(points) for frame, points in zip(own, seen) if np.isfinite(frame)}
        note = f"the person: the subject of {lens.capture.folder.name}, by its keypoints"
        return Person(lambda frame, size: found.get(frame), (note,))
    note = "no person box: the whole image is taken as one; --box, --boxes or --keypoints say better"
    return Person(lambda frame, size: whole_image_box(size[1], size[0]), (note,))


@dataclass(frozen=True, eq=False)
class PersonCrop:
    """The person in one frame.

    Attributes:
        frame: its number.
        image: the full image, in the pixels of the camera's intrinsics.
        box: of the person, px of `image`; None where nobody was seen.
        pixels, camera: of the crop; None where there is no box, or nothing of the image in it.
        error: why a box has no crop.
    """

    frame: int
    image: RGB
    box: Box | None
    pixels: RGB | None = None
    camera: CropCamera | None = None
    error: VergenceError | None = None


@dataclass(frozen=True)
class Take:
    """What one camera filmed, and of whom.

    Attributes:
        name: the file's, or the camera's.
        footage: the images.
        lens: of the camera.
        person: where the person is.
        rows: the frame numbers that are looked at; None for all of images without a length.
        offset: the frame at which the recording's time begins.
    """

    name: str
    footage: Footage
    lens: Lens
    person: Person
    rows: Sequence[int] | None
    offset: float = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, as sentences."""
        return tuple(note for note in (self.footage.note, *self.lens.notes, *self.person.notes) if note)

    def time(self, frame: int) -> float:
        """Seconds."""
        return (frame - self.offset) / self.footage.fps

    def crops(self, size: int, rows: Sequence[int] | None = None, progress: Progress = silent) -> Iterator[PersonCrop]:
        """The person in every image, cropped to a square of `size` px; a box beside its image loses one frame."""
        rows = self.rows if rows is None else rows
        count = self.footage.count if rows is None else len(rows)
        for frame, image in followed(self.footage.images(rows), self.name, count, progress):
            fit = self.lens.fit((image.shape[1], image.shape[0]))
            image = image if fit is None else fit.apply(image)
            full = (image.shape[1], image.shape[0])
            box = self.person.at(frame, full)
            if box is None:
                yield PersonCrop(frame, image, None)
                continue
            try:
                pixels, camera = crop_image(image, *self.lens.intrinsics(full), box, size)
                yield PersonCrop(frame, image, box, pixels, camera)
            except VergenceError as error:
                yield PersonCrop(frame, image, box, error=VergenceError(error.problem, error.remedy))


def open_take(
    source: Path | str | Iterable[RGB],
    *,
    box: str | Sequence[float] | None = None,
    boxes: Path | str | Mapping[int, Sequence[float]] | None = None,
    keypoints: Path | str | None = None,
    capture: Path | str | Capture | None = None,
    camera: str = "",
    fov: float | None = None,
    frames: str = "",
    fps: float | None = None,
) -> Take:
    """What `predict` is given, opened; arguments and errors as there."""
    footage, lens = open_footage(source, fps), find_lens(capture, camera, fov)
    return Take(footage.name, footage, lens, find_person(footage, lens, box, boxes, keypoints), footage.rows(frames))


def _is_video_of(footage: Footage, lens: Lens) -> bool:
    video = lens.camera.video if lens.camera is not None else None
    return video is not None and footage.path is not None and video.resolve() == footage.path.resolve()


def _person_of_keypoints(footage: Footage, path: Path) -> Person:
    """The person who is longest, largest and most surely in view."""
    found = read_keypoints(path)
    numbers = [number for number, people in found.people.items() if len(people)]
    first = min(found.people) if found.last_known else int(bool(numbers) and max(numbers) == footage.count)
    count = max(found.people) + 1 - first if footage.count is None else footage.count
    tracks = track_people(found.frames(first, count), footage.fps)
    if not tracks:
        raise VergenceError(f"nobody is in any frame of {path}", "Check the detector, or give --box.")

    track, taken = alone_again(sorted(tracks, key=_presence, reverse=True))
    notes = [f"the person: of {len(tracks)} tracks in {path.name}, who is longest, largest and most surely in view"]
    if taken.frames:
        notes.append(f"lost for over a second and taken up again, alone in view, for {taken.frames} frames")
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


def _from_zero(boxes: dict[int, Box], count: int | None, name: str) -> tuple[dict[int, Box], tuple[str, ...]]:
    """Boxes by frames counted from 0; a file whose last frame is `count` counts from 1."""
    if max(boxes) == count and min(boxes) > 0:
        return {frame - 1: box for frame, box in boxes.items()}, (f"{name} counts frames from 1: that is frame 0 here",)
    if count is not None and max(boxes) >= count:
        raise VergenceError(
            f"{name} has a box for frame {max(boxes)}, the input has frames 0 to {count - 1}",
            "Make the boxes from this very input.",
        )
    return boxes, ()


def parse_box(box: str | Sequence[float]) -> list[float]:
    """`x,y,width,height`, or these four, as numbers."""
    text = box if isinstance(box, str) else ",".join(map(str, box))
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
