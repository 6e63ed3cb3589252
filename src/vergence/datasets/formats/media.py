"""What can be learned of images and videos without decoding them: sizes and numbers of frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray
from PIL import Image

from vergence.datasets.records import ImageRef
from vergence.errors import VergenceError, refusing
from vergence.footage.video import VideoFile

_EXIF_ORIENTATION, _LYING = 274, (5, 6, 7, 8)


@dataclass(frozen=True)
class Footage:
    """The images of one clip: a video, or numbered images in a folder.

    Attributes:
        path: the video or the folder.
        size: (width, height).
        count: frames of the video.
        numbered: file name by frame number, of a folder.
    """

    path: Path
    size: tuple[int, int]
    count: int = 0
    numbered: Mapping[int, str] = field(default_factory=dict)

    def has(self, frames: Int[ndarray, " F"]) -> Bool[ndarray, " F"]:
        return np.isin(frames, list(self.numbered)) if self.numbered else frames < self.count

    def images(self, frames: Int[ndarray, " F"]) -> list[ImageRef]:
        if self.numbered:
            return [ImageRef(self.path / self.numbered[frame]) for frame in frames.tolist()]
        return [ImageRef(self.path, frame) for frame in frames.tolist()]


def numbered_images(folder: Path, pattern: str, first: int | None = None) -> Footage:
    """The images of a folder whose names fit the pattern; its group is the number.

    Args:
        first: number of the first frame; None: 0 where a file has that, else 1.

    Raises:
        VergenceError: no file fits, or the first one is no image.
    """
    found = {int(m[1]): p.name for p in folder.iterdir() if (m := re.fullmatch(pattern, p.name, re.IGNORECASE))}
    if not found:
        raise VergenceError(
            f"{folder} holds no numbered images", "Name them so that they end in _000001.jpg and so on."
        )
    start = first if first is not None else 0 if 0 in found else 1
    numbered = {number - start: name for number, name in found.items()}
    return Footage(folder, image_size(folder / found[min(found)]), numbered=numbered)


def video_header(path: Path) -> Footage:
    """A video's size and length from its header alone, where hundreds are looked at.

    Raises:
        VergenceError: it cannot be opened, or does not say its length.
    """
    problem = f"{path} cannot be opened as a video"
    with refusing(problem, "Download it again.", av.FFmpegError, IndexError), av.open(str(path)) as container:
        stream = container.streams.video[0]
        if not stream.frames:
            raise VergenceError(f"{path} does not say how many frames it has", "Export it again.")
        return Footage(path, (stream.width, stream.height), stream.frames)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image as displayed, from its header.

    Raises:
        VergenceError: missing or not an image.
    """
    with refusing(f"{path} cannot be read as an image", "Export it again or take it out."), Image.open(path) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(_EXIF_ORIENTATION) in _LYING else (width, height)


def frame_count(path: Path) -> tuple[int, tuple[int, int]]:
    """Frames of a video that can really be read, and its (width, height) as displayed.

    The number that the header declares is believed if the last packet bears it out. A file that was cut off has another last
    packet, or no index to find it by: then all packets are counted.

    Raises:
        VergenceError: missing, not a video, or nothing in it can be decoded.
    """
    video = VideoFile(path) if path.exists() else None
    if video is None:
        raise VergenceError(f"there is no video {path}", "Check the path.")
    with video:
        declared = _declared(path)
        return declared or len(video), video.size


def _declared(path: Path) -> int:
    """The header's number of frames where the last packet's time agrees, else 0."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate, base, declared = stream.average_rate, stream.time_base, stream.frames
        if not declared or not rate or not base:
            return 0
        last = None
        try:
            container.seek(round((declared - 1) / rate / base) + (stream.start_time or 0), stream=stream, backward=True)
            for packet in container.demux(stream):
                stamp = packet.pts if packet.pts is not None else packet.dts
                if packet.size and stamp is not None:
                    last = stamp if last is None else max(last, stamp)
        except av.FFmpegError:
            return 0
        if last is None:
            return 0
        return declared if round((last - (stream.start_time or 0)) * base * rate) + 1 == declared else 0
