"""What can be learned of images and videos without decoding them: sizes and numbers of frames."""

from __future__ import annotations

from pathlib import Path

import av
from PIL import Image

from vergence.errors import VergenceError
from vergence.footage.video import VideoFile

_EXIF_ORIENTATION, _LYING = 274, (5, 6, 7, 8)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image as displayed, from its header.

    Raises:
        VergenceError: missing or not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (height, width) if image.getexif().get(_EXIF_ORIENTATION) in _LYING else (width, height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VergenceError(f"{path} cannot be read as an image: {error}", "Export it again or take it out.") from error


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
