"""Images in time, whatever holds them, and the simplest that does: a folder of images.

A `Video` is what cameras are read by: image i is the same moment whenever it is asked for. Image files are shown as
their EXIF note says, because keypoints and intrinsics belong to the image as displayed.
"""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from vergence.errors import VergenceError
from vergence.footage.formats.names import Numbering, name_numbers, natural_key, number_frames, visible

__all__ = ["IMAGE_SUFFIXES", "RGB", "ImageFolder", "Video", "natural_key", "read_image"]

VIDEO_SUFFIXES = frozenset(".mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .mts .m2ts .ts .wmv .flv .3gp .ogv".split())
OVERLAY = "overlay.mp4"  # what `predict` draws, beside its results.json: no camera's video
IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp .tif .tiff .webp".split())

T = TypeVar("T")

# Of a folder for each image in it: beyond, its numbers give the order alone.
MOST_FRAMES = 1.5

RGB = UInt8[np.ndarray, "H W 3"]


def read_image(path: Path | str) -> RGB:
    """One image as RGB of 8 bits, as a viewer shows it: turned as its EXIF note says, see-through parts white, grey of
    10, 12 or 16 bits brought to 8 (the depth is the least of these that holds the brightest pixel).

    Raises:
        VergenceError: missing, cut off, or not an image.
    """
    try:
        with Image.open(path) as image:
            deep = image.mode == "RGB" and any(";16" in str(tile[3]) for tile in image.tile)
            found = _by_opencv(Path(path)) if deep else None  # Pillow keeps the high byte of such colours
            return _as_rgb(ImageOps.exif_transpose(image)) if found is None else found
    except FileNotFoundError:
        raise VergenceError(f"there is no image {path}", "Check the path.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        found = _by_opencv(Path(path)) if isinstance(error, UnidentifiedImageError) else None
        if found is not None:
            return found
        remedy = "Name the images in it." if Path(path).is_dir() else "Export it again or take it out."
        raise VergenceError(f"{path} cannot be read as an image: {error}", remedy) from error


def _as_rgb(image: Image.Image) -> RGB:
    if image.mode.startswith("I") or image.mode == "F":
        grey = _eight_bits(np.asarray(image))
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _eight_bits(values: np.ndarray) -> UInt8[np.ndarray, ...]:
    """Brightness of more than 8 bits, or of 0 to 1."""
    values = np.nan_to_num(values.astype(np.float64))
    most = max(float(values.max()), 0.0)
    floating = most <= 1 and not (values == np.round(values)).all()
    full = 1.0 if floating else next((2.0**bits - 1 for bits in (8, 10, 12, 16) if most < 2**bits), most)
    return np.asarray(np.clip(values * (255 / full), 0, 255).round(), dtype=np.uint8)


def _by_opencv(path: Path) -> RGB | None:
    """What Pillow does not know, or not whole: colours of 16 bits."""
    found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if found is None:
        return None
    return np.ascontiguousarray((found if found.dtype == np.uint8 else _eight_bits(found))[..., ::-1])


def turned_image(image: RGB, quarters: int) -> RGB:
    """The image turned counter-clockwise by quarter turns: `np.rot90`, whose copy takes four times as long."""
    ways = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
    way = ways[quarters % 4]
    return image if way is None else np.asarray(cv2.rotate(image, way))


def spans(text: str, what: str = "--frames") -> list[tuple[int, int]]:
    """First and last frame of each part of `0-34,65-99`; none where empty.

    Raises:
        VergenceError: not such a text.
    """
    found = []
    for part in text.split(",") if text.strip() else ():
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()):
            raise VergenceError(f"{what} {text}", "Give numbers and ranges, as in 0-34,65-99.")
        if high and int(high) < int(low):
            raise VergenceError(
                f"{what} {text}: {part.strip()} runs backwards", "Give the first frame first, as in 0-34."
            )
        found.append((int(low), int(high or low)))
    return found


def ahead(items: Iterable[T], most: int = 4) -> Iterator[T]:
    """The items, worked out up to `most` ahead in a thread of their own; an error comes where its item would have come.

    Reading, looking and drawing are done by code that lets other threads work, so that a chain of these takes as long as its
    slowest part. The thread ends with the items, or when nobody takes them any more.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(max(1, most))
    left = threading.Event()

    def give(*what: Any) -> bool:
        while not left.is_set():
            with suppress(queue.Full):
                ready.put(what, timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not give(item, None, False):
                    return
            give(None, None, True)
        except BaseException as error:
            give(None, error, True)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]
    finally:
        left.set()
        thread.join()  # before whoever called closes what is read


class Behind(Generic[T]):
    """The opposite of `ahead`: what is given is used in a thread of its own, up to `most` behind whoever gives it.

        with Behind(write) as writing:
            writing.give(image)

    An error of `use` comes at the next `give`, or at the end of the block, which waits until all is used. Where the block ends
    with an error, `use` gets one as well, so that it can clear away.

    Args:
        use: takes the items from an iterator.
        most: items that wait.
    """

    def __init__(self, use: Callable[[Iterator[T]], object], most: int = 4) -> None:
        self._given: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(most)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=(use,), daemon=True)
        self._thread.start()

    def _work(self, use: Callable[[Iterator[T]], object]) -> None:
        try:
            use(self._items())
        except BaseException as error:
            self._error = error

    def _items(self) -> Iterator[T]:
        while True:
            item, error = self._given.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    def give(self, item: T) -> None:
        self._put(item, None)

    def _put(self, item: T | None, error: BaseException | None) -> None:
        while self._thread.is_alive():
            with suppress(queue.Full):
                return self._given.put((item, error), timeout=0.1)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._put(None, value or StopIteration())
            self._thread.join()
        except BaseException:
            if kind is None:
                raise
        if kind is None and self._error is not None:
            raise self._error


class Video(ABC):
    """Images in time. `video[i]`, `len(video)`, and iteration over `(index, image)`.

    Attributes:
        path: the file or folder.
        size: (width, height) as displayed.
        fps: frames per second, None where nothing says so (a folder of images).
        pixel_aspect: width of a pixel over its height; images are not stretched by it.
        notes: sentences on what was found wrong and what was done about it.
    """

    path: Path
    size: tuple[int, int]
    fps: float | None
    pixel_aspect: float = 1.0

    def __init__(self) -> None:
        self.notes: list[str] = []

    @property
    def times(self) -> Float[np.ndarray, " N"] | None:
        """Seconds at which the images are shown, where the container says so."""
        return None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, RGB]]:
        """Lazily, the images from `start` up to `stop` with their indices; damaged ones are left out and noted."""

    @abstractmethod
    def __getitem__(self, index: int) -> RGB:
        """One image. A `VergenceError` if there is no such frame or it is damaged."""

    def key_before(self, index: int) -> int:
        """A frame at or before this one that is read at once."""
        return index

    def __iter__(self) -> Iterator[tuple[int, RGB]]:
        return self.frames()

    @abstractmethod
    def close(self) -> None:
        """Lets go of the file."""

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise VergenceError(f"{self.path} has no frame {index}", f"It has frames 0 to {len(self) - 1}.")
        return index


class SingleImage(Video):
    """One image as a video of one frame."""

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.path, self.fps = Path(path), None
        self._image = read_image(path)
        self.size = (self._image.shape[1], self._image.shape[0])

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> RGB:
        self._check(index)
        return self._image

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, RGB]]:
        yield from [(0, self._image)][start:stop]

    def close(self) -> None:
        """The file is closed already."""


class ImageFolder(Video):
    """A folder of images as a video: EXIF orientation obeyed, frames as the file names count them.

    A number that is not there is a frame without an image, as a damaged one is in a video, so that what belongs to frame
    7 by its name stays there. Names that do not count frames (most numbers would be missing) give their order alone.

    Args:
        path: the folder.
        fps: frames per second.
        numbering: how the names' numbers count; found where not given.
        one_size: images of another size than the first are refused.
    """

    def __init__(
        self,
        path: Path | str,
        fps: float | None = None,
        numbering: Numbering | None = None,
        one_size: bool = True,
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self.fps = fps
        self.one_size = one_size
        self._damaged: dict[int, str] = {}
        self.files = visible(p for p in self.path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not self.files:
            some = sorted(p for p in self.path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
            named = f"It holds videos: name one of them, as {some[0]}. " if some else ""
            raise VergenceError(
                f"folder {self.path} holds no images", f"{named}Images end in {', '.join(sorted(IMAGE_SUFFIXES))}."
            )
        self.numbering, self.places = self._places(numbering)
        self._count = max(self.places) + 1
        height, width = self._first().shape[:2]
        self.size = (width, height)

    def _places(self, numbering: Numbering | None) -> tuple[Numbering | None, dict[int, Path]]:
        numbers = name_numbers([p.name for p in self.files])
        if numbers is not None and len(set(numbers)) == len(numbers):
            own = numbering or number_frames(numbers)
            if own.count > MOST_FRAMES * len(numbers):
                own = Numbering(own.first, 0.0, {n: place for place, n in enumerate(sorted(numbers))})
            frames = [own.frame(number) for number in numbers]
            if None not in frames and len(set(frames)) == len(frames):
                return own, {frame: file for frame, file in zip(frames, self.files) if frame is not None}
        return None, dict(enumerate(self.files))

    def _first(self) -> RGB:
        """The first image that can be read."""
        for place, file in enumerate(self.files):
            try:
                return read_image(file)
            except VergenceError:
                if place + 1 == len(self.files):
                    raise
        raise AssertionError("a folder without images")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> RGB:
        file = self.places.get(self._check(index))
        if file is None:
            raise VergenceError(f"{self.path} has no image of frame {index}", "The files' names leave it out.")
        image = read_image(file)
        if self.one_size and image.shape[1::-1] != self.size:
            raise VergenceError(
                f"{file} is {image.shape[1]} x {image.shape[0]} but the folder's first image is "
                f"{self.size[0]} x {self.size[1]}",
                "All images of one camera have one size.",
            )
        return image

    def close(self) -> None:
        """Nothing is held open between images."""

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, RGB]]:
        return self.pick(range(start, len(self) if stop is None else min(stop, len(self))))

    def pick(self, indices: Iterable[int]) -> Iterator[tuple[int, RGB]]:
        """These images as far as they can be read; what is damaged is left out and noted."""
        for index in indices:
            if index not in self.places:
                continue
            try:
                image = self[index]
            except VergenceError as error:
                self._damaged[index] = error.problem
                more = f" and {len(self._damaged) - 1} more" if len(self._damaged) > 1 else ""
                self.notes = [f"left out: {next(iter(self._damaged.values()))}{more}"]
                continue
            yield index, image
