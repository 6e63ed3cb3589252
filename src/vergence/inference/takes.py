"""What one camera filmed, and of whom: images, lens and person together, and the crops that an estimator sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vergence.batches.crops import crop_image
from vergence.errors import VergenceError
from vergence.footage.capture import Capture
from vergence.geometry.crops import CropCamera
from vergence.inference.inputs import RGB, Footage, Lens, find_lens, open_footage
from vergence.inference.person import Box, Person, find_person
from vergence.progress import Progress, followed, silent


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
        folder = () if self.footage.folder is None else self.footage.folder.notes
        return tuple(note for note in (self.footage.note, *folder, *self.lens.notes, *self.person.notes) if note)

    def time(self, frame: int) -> float:
        """Seconds."""
        return (frame - self.offset) / self.footage.fps

    def check_person(self, full: tuple[int, int], size: int) -> None:
        """A `VergenceError` where nothing says where the person is, and images of (width, height) are no crops of `size`."""
        if self.person.whole is None and full != (size, size):
            raise VergenceError(
                f"nothing says where the person is in {self.name} ({full[0]}x{full[1]}, crops of this run {size}x{size})",
                "Give --box, --boxes or --keypoints, or --capture and --camera of the video; --whole_image where every image "
                "is a crop of one person.",
            )

    def crops(self, size: int, rows: Sequence[int] | None = None, progress: Progress = silent) -> Iterator[PersonCrop]:
        """The person in every image, cropped to a square of `size` px; a box beside its image loses one frame.

        Raises:
            VergenceError: nothing says where the person is, and the images are not crops of that size.
        """
        rows = self.rows if rows is None else rows
        count = self.footage.count if rows is None else len(rows)
        for frame, image in followed(self.footage.images(rows), self.name, count, progress):
            fit = self.lens.fit((image.shape[1], image.shape[0]))
            image = image if fit is None else fit.apply(image)
            full = (image.shape[1], image.shape[0])
            self.check_person(full, size)
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
    whole_image: bool = False,
) -> Take:
    """What `predict` is given, opened; arguments and errors as there."""
    footage, lens = open_footage(source, fps), find_lens(capture, camera, fov)
    person = find_person(footage, lens, box, boxes, keypoints, whole_image)
    return Take(footage.name, footage, lens, person, footage.rows(frames))
