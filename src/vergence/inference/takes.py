"""What one camera filmed, and of whom: images, lens and person together, and the crops that an estimator sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vergence.batches.crops import crop_image
from vergence.errors import VergenceError
from vergence.footage.capture import Capture
from vergence.footage.detectors.base import open_detector
from vergence.footage.detectors.detect import cached_people
from vergence.footage.resize import ImageFit
from vergence.geometry.cameras import Camera
from vergence.geometry.crops import CropCamera
from vergence.inference.inputs import RGB, Footage, Lens, find_lens, open_footage
from vergence.inference.people import Box
from vergence.inference.person import Person, find_people
from vergence.progress import Progress, followed, silent
from vergence.skeleton import Skeleton

PEOPLE = ("one", "all")


@dataclass(frozen=True, eq=False)
class PersonCrop:
    """A person in one frame.

    Attributes:
        frame: its number.
        number: the person's.
        image: the full image, in the pixels of the camera's intrinsics.
        box: of the person, px of `image`; None where nobody was seen.
        pixels, camera: of the crop; None where there is no box, or nothing of the image in it.
        error: why a box has no crop.
    """

    frame: int
    number: int
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
        people: where the people are; one person where nobody asked for everybody.
        rows: the frame numbers that are looked at; None for all of images without a length.
        offset: the frame at which the recording's time begins.
        everybody: all people were asked for.
    """

    name: str
    footage: Footage
    lens: Lens
    people: tuple[Person, ...]
    rows: Sequence[int] | None
    offset: float = 0.0
    everybody: bool = False

    @property
    def person(self) -> Person:
        """The one who is most in view."""
        return self.people[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, as sentences."""
        folder = () if self.footage.folder is None else self.footage.folder.notes
        return tuple(note for note in (self.footage.note, *folder, *self.lens.notes, *self.person.notes) if note)

    def time(self, frame: int) -> float:
        """Seconds."""
        return float(self.footage.at(np.array([frame]))[0]) - self.offset / self.footage.fps

    def fitted(self, image: RGB) -> RGB:
        """An image of the footage in the pixels of the camera's intrinsics."""
        fit = self.lens.fit((image.shape[1], image.shape[0]))
        return image if fit is None else fit.apply(image)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) of the first image that can be read, in the pixels of the camera's intrinsics."""
        image = self.fitted(_first_image(self.footage, self.rows))
        return image.shape[1], image.shape[0]

    def camera(self, size: tuple[int, int]) -> Camera:
        """The camera of images of this (width, height)."""
        intrinsics, distortion = self.lens.intrinsics(size)
        return Camera(self.name, size, intrinsics, np.zeros(5) if distortion is None else distortion)

    def check_person(self, full: tuple[int, int], size: int) -> None:
        """A `VergenceError` where nothing says where the person is, and images of (width, height) are no crops of `size`."""
        if self.person.whole is None and full != (size, size):
            raise VergenceError(
                f"nothing says where the person is in {self.name} ({full[0]}x{full[1]}, crops of this run {size}x{size})",
                "Give --box, --boxes or --keypoints, or --capture and --camera of the video; --detector to look for "
                "the person; --whole-image where every image is a crop of one person.",
            )

    def crops(self, size: int, rows: Sequence[int] | None = None, progress: Progress = silent) -> Iterator[PersonCrop]:
        """Every person in every image, cropped to a square of `size` px; a box beside its image loses one frame.

        Raises:
            VergenceError: nothing says where the person is, and the images are not crops of that size.
        """
        rows = self.rows if rows is None else rows
        count = self.footage.count if rows is None else len(rows)
        for frame, image in followed(self.footage.images(rows), self.name, count, progress):
            image = self.fitted(image)
            self.check_person((image.shape[1], image.shape[0]), size)
            yield from (self._crop(frame, image, person, size) for person in self.people)

    def _crop(self, frame: int, image: RGB, person: Person, size: int) -> PersonCrop:
        full = (image.shape[1], image.shape[0])
        box = person.at(frame, full)
        if box is None:
            return PersonCrop(frame, person.number, image, None)
        try:
            pixels, camera = crop_image(image, *self.lens.intrinsics(full), box, size)
            return PersonCrop(frame, person.number, image, box, pixels, camera)
        except VergenceError as error:
            return PersonCrop(frame, person.number, image, box, error=VergenceError(error.problem, error.remedy))


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
    whole_image: bool = False,
    detector: str | None = None,
    detector_model: str = "",
    device: str = "auto",
    people: str = "one",
    progress: Progress = silent,
) -> Take:
    """What `predict` is given, opened; arguments and errors as there."""
    if people not in PEOPLE:
        raise VergenceError(f"--people {people}", f"It is {' or '.join(PEOPLE)}.")
    footage, lens = open_footage(source, fps), find_lens(capture, camera, fov)
    rows = footage.rows(frames)

    lying = list[str]()

    def detect(images: Path) -> tuple[Skeleton, Iterator[np.ndarray], str]:
        found = open_detector(detector or "", detector_model, device)
        kept = cached_people(images, found, progress=progress)
        if kept.turn:
            lying.append(
                f"people stand when the images of {images.name} are turned by {kept.turn * 90} degrees counter-clockwise; turn "
                "them first: a camera is taken as level, and poses of people who lie in the image are worse"
            )
        shape = _first_image(footage, rows).shape
        fit, everybody = lens.fit((shape[1], shape[0])), kept.people(len(found.skeleton))
        return found.skeleton, everybody if fit is None else (_moved(one, fit) for one in everybody), images.name

    detecting = detect if detector is not None or detector_model else None
    persons = find_people(footage, lens, box, boxes, keypoints, whole_image, detecting, people == "all")
    footage = replace(footage, note="; ".join(filter(None, (footage.note, *footage.beyond(frames), *lying))))
    return Take(footage.name, footage, lens, persons, rows, everybody=people == "all")


def _first_image(footage: Footage, rows: Sequence[int] | None) -> RGB:
    """The first that can be read."""
    for first in (rows or [0])[:1], rows:
        for _, image in footage.images(first):
            return image
    raise VergenceError(f"no image of {footage.name} can be read", "Export it again.")


def _moved(people: np.ndarray, fit: ImageFit) -> np.ndarray:
    """Keypoints of images as they are, in the pixels of the camera's intrinsics."""
    scale, shift = np.diag(fit.matrix)[:2], fit.matrix[:2, 2]
    return np.concatenate([people[..., :2] * scale + shift, people[..., 2:]], -1)
