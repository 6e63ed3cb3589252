"""Images in time, whatever holds them, and the simplest that does: a folder of images.

A `Video` is what cameras are read by: image i is the same moment whenever it is asked for. Image files are shown as
their EXIF note says, because keypoints and intrinsics belong to the image as displayed.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from vergence.errors import VergenceError

IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp .tif .tiff .webp".split())

RGB = UInt8[np.ndarray, "H W 3"]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which `img2` comes before `img10`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part]


def read_image(path: Path | str) -> RGB:
    """One image as RGB, turned as its EXIF note says.

    Raises:
        VergenceError: missing, cut off, or not an image.
    """
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise VergenceError(f"there is no image {path}", "Check the path.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VergenceError(f"{path} cannot be read as an image: {error}", "Export it again or take it out.") from error


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


class ImageFolder(Video):
    """A folder of images as a video: natural order of file names, EXIF orientation obeyed."""

    def __init__(self, path: Path | str, fps: float | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self.fps = fps
        names = [p for p in self.path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        self.files = sorted(names, key=lambda p: natural_key(p.name))
        if not self.files:
            raise VergenceError(
                f"folder {self.path} holds no images", f"Images end in {', '.join(sorted(IMAGE_SUFFIXES))}."
            )
        height, width = read_image(self.files[0]).shape[:2]
        self.size = (width, height)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> RGB:
        file = self.files[self._check(index)]
        image = read_image(file)
        if image.shape[1::-1] != self.size:
            raise VergenceError(
                f"{file} is {image.shape[1]} x {image.shape[0]} but the folder's first image is "
                f"{self.size[0]} x {self.size[1]}",
                "All images of one camera have one size.",
            )
        return image

    def close(self) -> None:
        """Nothing is held open between images."""

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, RGB]]:
        for index in range(start, len(self) if stop is None else min(stop, len(self))):
            yield index, self[index]
