"""Videos as sequences of RGB images the way a player shows them, and a writer of them.

Why so careful: several cameras are read side by side, so image i of one must stay image i whatever happens. A
frame is therefore found by its time stamp in an index, made without decoding where the container can be believed; a
frame that cannot be decoded leaves a gap that is counted, and never moves the later ones up. Phones store upright images
lying down with a note how to turn them; the note (display matrix, or the older `rotate` tag) is obeyed, mirrored ones
included, because keypoints and intrinsics belong to the image as displayed. Pixels that are not square are left alone
(`pixel_aspect` says so): intrinsics with fx != fy describe them, and keypoint detectors leave them alone as well.

What breaks it: a file without an index (a recording that was cut off) cannot be opened, and says so; streams without
usable time stamps (AVI with B-frames) are counted by decoding them once, and reached by decoding from the start.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from jaxtyping import Float

import vergence
from vergence.errors import VergenceError, refusing
from vergence.files import atomic_path
from vergence.footage.formats.display import as_displayed, display_turn
from vergence.footage.formats.names import Numbering
from vergence.footage.images import IMAGE_SUFFIXES, RGB, ImageFolder, SingleImage, Video, spans

# Decoding on is cheaper than seeking back to a key frame up to about this many frames ahead.
DECODE_AHEAD_FRAMES = 48
# Containers whose packets are stamped as their frames are shown, and whose index leads to key frames.
RELIABLE = {"mov", "mp4", "matroska", "webm"}
FITTED_FRAMES = 64  # of any other container: looked at before its packets' stamps are believed
# Seconds before the wanted frame to which is sought, in turn: transport streams land behind the key frame asked for.
SEEK_BACK_S = (0, 1, 4, 16)
MOST_INDEXED = 64  # videos whose time stamps are remembered, 8 bytes a frame
# By a file's path, size and time: time stamps, key frames, number of frames, notes.
_INDEXED: dict[tuple[str, int, int], tuple[array[int], array[int], int, list[str]]] = {}
REORDERED = 2  # frames by which x264 decodes ahead of what it shows


def wanted_frames(text: str, count: int, what: str = "--frames") -> list[int]:
    """Frame numbers from `0-34,65-99`; all where empty.

    Args:
        text: numbers and ranges, both ends included.
        count: how many frames there are.
        what: the option's name, for the error.

    Raises:
        VergenceError: not such a text, or none of these frames exists.
    """
    if not text.strip():
        return list(range(count))
    found = sorted({frame for low, high in spans(text, what) for frame in range(low, min(high, count - 1) + 1)})
    if not found:
        raise VergenceError(f"{what} {text}: the input has frames 0 to {count - 1}", "Ask for frames that it has.")
    return found


def open_video(path: Path | str, numbering: Numbering | None = None) -> Video:
    """A video file, an image, or a folder of images, whose names count as `numbering` says, or as is found.

    Raises:
        VergenceError: no such path, not a video, or a folder without images.
    """
    path = Path(path)
    if path.is_dir():
        return ImageFolder(path, numbering=numbering)
    if not path.exists():
        raise VergenceError(f"there is no video {path}", "Check the path.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return SingleImage(path)
    return VideoFile(path)


class VideoFile(Video):
    """A video file read by PyAV."""

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.path = Path(path)
        self._container, self._stream = _open_stream(self.path)
        self._untouched = True
        self._decoder: Iterator[tuple[int, av.VideoFrame]] | None = None
        self._next = 0
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else None
        ratio = self._stream.sample_aspect_ratio
        self.pixel_aspect = float(ratio) if ratio else 1.0
        self._damaged: set[int] = set()
        self._keys = array("q")
        self._count = 0
        first = self._first_frame()
        self._turn = display_turn(first, self._stream.metadata)
        self.size = (first.height, first.width) if self._turn[0] % 2 else (first.width, first.height)

    def _first_frame(self) -> av.VideoFrame:
        for _, frame in self._decode_from(0):
            return frame
        raise VergenceError(f"no frame of {self.path} can be decoded", "Export the video again.")

    @cached_property
    def _stamps(self) -> Sequence[int]:
        """Time stamps of all frames in order of display; none where they cannot be had. Once for a file that stays as it is:
        looking at the packets of hours takes seconds."""
        file = self.path.stat()
        key = str(self.path.resolve()), file.st_size, file.st_mtime_ns
        if key not in _INDEXED:
            noted = len(self.notes)
            stamps, keys = self._looked_up()
            if len(_INDEXED) == MOST_INDEXED:
                del _INDEXED[next(iter(_INDEXED))]
            _INDEXED[key] = array("q", stamps), keys, self._count, self.notes[noted:]
            del self.notes[noted:]
        stamps, self._keys, self._count, notes = _INDEXED[key]
        self.notes += notes
        return stamps

    def _looked_up(self) -> tuple[Sequence[int], array[int]]:
        """Time stamps by looking at all packets, and the key frames among them."""
        container, stream = _open_stream(self.path)
        stamps: list[int] = []
        keys: list[int] = []
        count, discarded, unstamped = 0, 0, 0
        with container:
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets)
                except (StopIteration, av.FFmpegError):
                    break
                if not packet.size or getattr(packet, "is_discard", False):
                    discarded += bool(packet.size)
                    continue
                count += 1
                if packet.pts is None:
                    unstamped += 1
                else:
                    stamps.append(packet.pts)
                    keys += [packet.pts] if packet.is_keyframe else []
            declared, reliable = stream.frames, bool(RELIABLE & set(container.format.name.split(",")))
        self._count = count
        if declared > count + discarded:
            self.notes.append(f"{self.path.name} is cut off: {count} of {declared} frames can be read")
        stamps = [] if unstamped or len(set(stamps)) < len(stamps) else sorted(stamps)
        told = array("q", np.searchsorted(stamps, sorted(keys)).tolist())
        return (stamps if reliable or self._fit(stamps) else self._counted()), told

    @property
    def times(self) -> Float[np.ndarray, " N"] | None:
        return np.array(self._stamps) * float(self._stream.time_base) if self._stamps else None

    def _fit(self, stamps: list[int]) -> bool:
        """Whether the first decoded frames carry these stamps in this order: in AVI packets are stamped as they are
        decoded, not as they are shown; a camcorder's fields are two packets of one frame."""
        first = [frame.pts for frame in islice(self._decoded_anew(), FITTED_FRAMES)]
        return bool(stamps) and first == sorted(set(stamps).intersection(first))

    def _counted(self) -> list[int]:
        """Counts the frames by decoding all of them; their own stamps where these tell them apart."""
        found = [frame.pts for frame in self._decoded_anew()]
        stamps = [stamp for stamp in found if stamp is not None]
        packets, self._count = self._count, len(found)
        if self._count < packets < 2 * self._count - 1:  # twice as many are the two fields of each frame
            self.notes.append(
                f"{self.path.name}: {packets} packets hold {self._count} frames; if some are damaged, later ones moved up"
            )
        return stamps if len(stamps) == len(found) and stamps == sorted(set(stamps)) else []

    def _decoded_anew(self) -> Iterator[av.VideoFrame]:
        container, stream = _open_stream(self.path)
        with container:
            yield from self._packets_decoded(container, stream)

    def __len__(self) -> int:
        return len(self._stamps) or self._count

    def _decode_from(self, index: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decoded frames with their indices, from a key frame at or before `index`, or from the file's start."""
        if index and self._stamps:
            self._untouched = False
            for seconds in SEEK_BACK_S:
                frames = self._from_key(self._stamps[index] - round(seconds / self._stream.time_base))
                first = next(frames, None)
                if first is not None and first[0] <= index:
                    yield first
                    yield from frames
                    return
        if not self._untouched:
            self._container.close()
            self._container, self._stream = _open_stream(self.path)
        self._untouched = False
        yield from self._numbered(self._packets_decoded(self._container, self._stream))

    def _from_key(self, stamp: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """From the first key frame that decoding meets after seeking; frames shown before it lack what they build on."""
        try:
            self._container.seek(stamp, stream=self._stream, backward=True)
        except av.FFmpegError:
            return
        key: int | None = None
        for found, frame in self._numbered(self._packets_decoded(self._container, self._stream)):
            if key is None and frame.key_frame:
                key = found
            if key is not None and found >= key:
                yield found, frame

    def _numbered(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        stamps = self._stamps
        for position, frame in enumerate(frames):
            found = bisect.bisect_left(stamps, frame.pts) if stamps and frame.pts is not None else position
            if stamps and (found == len(stamps) or stamps[found] != frame.pts):
                continue
            if not frame.is_corrupt:
                yield found, frame

    def _packets_decoded(self, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                return
            try:
                yield from packet.decode()
            except av.FFmpegError:
                if not packet.size:
                    return  # the decoder has nothing left to flush

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, RGB]]:
        stop = len(self) if stop is None else min(stop, len(self))
        if start >= stop:
            return
        self._check(start)
        expected = start
        self._decoder, self._next = None, 0
        for index, frame in self._decode_from(start):
            if index >= stop:
                break
            if index >= expected:
                self._damaged.update(range(expected, index))
                expected = index + 1
                yield index, self._image(frame)
        self._damaged.update(range(expected, stop))
        if self._damaged:
            note = f"{self.path.name}: {len(self._damaged)} of {len(self)} frames cannot be decoded and were left out"
            self.notes = [n for n in self.notes if "cannot be decoded" not in n] + [note]

    def __getitem__(self, index: int) -> RGB:
        self._check(index)
        on = self._next + (DECODE_AHEAD_FRAMES if self._stamps else len(self))
        on = max(on, index) if self.key_before(index) < self._next else on  # seeking would lead back
        if self._decoder is None or not self._next <= index <= on:
            self._decoder = self._decode_from(index)
        for found, frame in self._decoder:
            self._next = found + 1
            if found == index:
                return self._image(frame)
            if found > index:
                break
        self._decoder, self._next = None, 0
        raise VergenceError(
            f"frame {index} of {self.path} cannot be decoded", "Leave it out, or export the video again."
        )

    def key_before(self, index: int) -> int:
        """The last frame up to this one from which decoding can begin; 0 where that is not known."""
        place = bisect.bisect_right(self._keys, index) if self._stamps else 0
        return int(self._keys[place - 1]) if place else 0

    def _image(self, frame: av.VideoFrame) -> RGB:
        return as_displayed(frame.to_ndarray(format="rgb24"), self._turn)

    def close(self) -> None:
        self._decoder = None
        self._container.close()


def _open_stream(path: Path) -> tuple[Any, Any]:
    if path.is_file() and not path.stat().st_size:
        raise VergenceError(f"{path} is empty", "Copy or export it again.")
    remedy = "It may be cut off or not a video; export it again."
    with refusing(f"{path} cannot be opened as a video", remedy, av.FFmpegError, OSError):
        container = av.open(str(path))
    if not container.streams.video:
        container.close()
        raise VergenceError(f"{path} holds no video", "Give a video file or a folder of images.")
    stream: Any = container.streams.best("video") or container.streams.video[0]  # a cover picture may come first
    stream.thread_type = "AUTO"
    return container, stream


class VideoWriter:
    """Writes an H.264 video (MPEG-4 part 2 where the build of FFmpeg has no x264); nothing is left of a failed one.

        with VideoWriter("out.mp4", fps=30.0) as video:
            video.write(image)

    Images of odd width or height lose their last column or row, which the pixel format cannot hold.
    """

    def __init__(self, path: Path | str, fps: float) -> None:
        if not np.isfinite(fps) or fps <= 0:
            raise VergenceError(f"a video cannot have {fps} frames per second", "Give a frame rate above 0.")
        self.path = Path(path)
        self._fps = fps
        self._container: Any = None
        self._stream: Any = None
        self.count = 0

    def __enter__(self) -> VideoWriter:
        self._atomic = atomic_path(self.path)
        self._temporary = self._atomic.__enter__()
        return self

    def write(self, image: RGB) -> None:
        """Appends one RGB image (uint8); all have the size of the first."""
        height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        if self._container is None:
            self._start(width, height)
        if (self._stream.width, self._stream.height) != (width, height):
            raise VergenceError(f"an image of {width} x {height} cannot join {self.path}", "Keep one size per video.")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
        frame.pts = self.count
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        self.count += 1

    def _start(self, width: int, height: int) -> None:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        rate = Fraction(self._fps).limit_denominator(1001)
        self._container = av.open(str(self._temporary), "w")
        self._stream = self._container.add_stream(codec, rate=rate)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = 1 / rate
        self._stream.codec_context.thread_count = 1  # with several, x264 does not always give the same bytes
        self._stream.options = {"crf": "20", "preset": "veryfast"} if codec == "libx264" else {"qscale": "4"}

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._container is not None:
                if kind is None:
                    for packet in self._stream.encode():
                        self._container.mux(packet)
                self._container.close()
            if kind is None and not self.count:
                raise VergenceError(f"no image was given for {self.path}", "A video needs at least one.")
        except BaseException as error:
            self._atomic.__exit__(type(error), error, error.__traceback__)
            raise
        self._atomic.__exit__(kind, value, trace)


def join_videos(parts: Sequence[Path], path: Path | str) -> None:
    """Pieces that one `VideoWriter` each has written of one size and rate, one behind the other in one file, not coded again.

    Raises:
        VergenceError: the file cannot be written.
    """
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as out:
        stream: Any = None
        frames = 0
        for part in parts:
            container, source = _open_stream(part)
            with container:
                stream = stream or out.add_stream_from_template(source)
                step, first = round(1 / source.average_rate / source.time_base), frames  # ticks of a frame
                for packet in container.demux(source):
                    if packet.size and packet.pts is not None:
                        packet.pts += first * step
                        # A piece of a frame or two is not reordered, so its own stamps may come behind the next one's.
                        packet.dts = (frames - REORDERED) * step
                        packet.stream = stream
                        out.mux(packet)
                        frames += 1


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return vergence.moved_name("footage.video", name)
