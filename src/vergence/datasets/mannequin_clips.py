"""The files of one MannequinChallenge clip: cameras in a text file, the user's own frames, a detector's 2D.

The dataset is text alone. Line 1 is the video's URL; each further line is a frame: its time in integer microseconds, fx fy
cx cy in parts of the image's width and height (the image's outer corners are (0, 0) and (1, 1)), two radial coefficients
that are always 0, and the 3 x 4 matrix [R | t], world to camera, row by row. The unit of t is the clip's own.

Images and keypoints have no fixed place, so they are looked for where people put them (`PLACES`), under the clip's
name or the video's id. What ties them to the text is time. A folder of images fits by the microseconds in its names,
or, where there are exactly as many images as lines, in order. A video fits in order likewise (the clip cut out), else
by time from its start (the whole download). Anything else is refused: an offset of a few frames cannot be seen later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vergence.datasets.records import ImageRef
from vergence.errors import VergenceError, refusing
from vergence.footage.formats.names import name_numbers
from vergence.footage.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, ImageFolder
from vergence.footage.keypoints import Detections, read_keypoints
from vergence.footage.video import open_video

COLUMNS = 19
ROTATION_TOLERANCE = 1e-3
PLACES = (
    "",
    "frames",
    "images",
    "videos",
    "keypoints",
    "openpose",
)  # beside the text file or beside its split's folder
ASPECT_TOLERANCE = 0.03  # pixels are square: fx W and fy H agree, unless the image was padded or stretched
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ClipCameras:
    """What a clip's text file says.

    Attributes:
        name: the file's stem.
        url: the video's.
        time_us: microseconds from the video's start.
        lens: fx fy cx cy in parts of the image.
        rotation, translation: `x_camera = rotation x_world + translation`, in the clip's own unit.
    """

    name: str
    url: str
    time_us: Int[ndarray, " F"]
    lens: Float[ndarray, "F 4"]
    rotation: Float[ndarray, "F 3 3"]
    translation: Float[ndarray, "F 3"]

    def __len__(self) -> int:
        return len(self.time_us)

    @property
    def fps(self) -> float:
        """Lines a second."""
        span = float(self.time_us[-1] - self.time_us[0]) / 1e6
        return (len(self) - 1) / span if span > 0 else 25.0

    @property
    def video_id(self) -> str:
        """The part of the URL that names the video; empty where there is none."""
        found = re.search(r"(?:[?&]v=|youtu\.be/|/embed/|/v/)([\w-]{6,})", self.url)
        return found[1] if found else ""

    def intrinsics(self, size: tuple[int, int]) -> Float[ndarray, "F 3 3"]:
        """K in px for images of (width, height); the centre of the first pixel is (0, 0)."""
        width, height = size
        k = np.zeros((len(self), 3, 3))
        k[:, 0, 0], k[:, 1, 1], k[:, 2, 2] = self.lens[:, 0] * width, self.lens[:, 1] * height, 1
        k[:, 0, 2], k[:, 1, 2] = self.lens[:, 2] * width - 0.5, self.lens[:, 3] * height - 0.5
        return k


def read_cameras(path: Path | str) -> ClipCameras:
    """A clip's text file.

    Raises:
        VergenceError: not such a file; the line is named.
    """
    path = Path(path)
    with refusing(
        f"{path} cannot be read as text", "Unpack MannequinChallenge.tar again.", OSError, UnicodeDecodeError
    ):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line]
    if len(rows) < 2 or len(rows[0][1]) >= COLUMNS:
        raise VergenceError(f"{path} is no clip: it has {max(len(rows) - 1, 0)} frames after a line with the video's URL",
                            f"Line 1 is the URL, each further line {COLUMNS} numbers.")  # fmt: skip
    values = np.empty((len(rows) - 1, COLUMNS))
    for i, (number, words) in enumerate(rows[1:]):
        problem, form = f"{path}, line {number}, has {len(words)} words", f"A frame's line is {COLUMNS} numbers."
        with refusing(problem, form, ValueError):
            values[i] = [float(word) for word in words]
    _check_numbers(path, values, [number for number, _ in rows[1:]])
    matrix = values[:, 7:].reshape(-1, 3, 4)
    return ClipCameras(path.stem, rows[0][1][0], values[:, 0].astype(np.int64), values[:, 1:5], matrix[..., :3],
                       matrix[..., 3])  # fmt: skip


def _check_numbers(path: Path, values: ndarray, lines: Sequence[int]) -> None:
    turn = values[:, 7:].reshape(-1, 3, 4)[..., :3]
    off = np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    off = np.where(np.linalg.det(turn) > 0, off, np.inf)
    late = np.append(np.inf, np.diff(values[:, 0]))
    for bad, words, remedy in (
        (~np.isfinite(values).all(1), "has a number that is not finite", ""),
        (
            ~(values[:, 1:3] > 0).all(1),
            "has a focal length of 0 or less",
            "Columns 2 and 3 are fx and fy, above 0.",
        ),
        (
            (values[:, 5:7] != 0).any(1),
            "has a lens distortion",
            "Columns 6 and 7 are 0 in this dataset.",
        ),
        (
            ~(off < ROTATION_TOLERANCE),
            "has a matrix that is no rotation",
            "Columns 8 to 19 are [R | t], row by row.",
        ),
        (~(late > 0), "is not later than the line before", "Times are microseconds and rise."),
    ):
        if bad.any():
            raise VergenceError(
                f"{path}, line {lines[int(np.flatnonzero(bad)[0])]}, {words}", f"Unpack it again. {remedy}".strip()
            )


@dataclass(frozen=True)
class ClipFrames:
    """The images of a clip's lines.

    Attributes:
        images: one for each line; None where there is no image.
        size: (width, height).
        numbers: of each line, its number in a detector's files: of the image's file name, or of the video's frame.
        position: of each line, the place of its image in natural order.
        count: images that the folder or video has in all.
    """

    images: tuple[ImageRef | None, ...]
    size: tuple[int, int]
    numbers: Int[ndarray, " F"]
    position: Int[ndarray, " F"]
    count: int


def candidates(text: Path, cameras: ClipCameras) -> Iterator[Path]:
    """Where a clip's images or keypoints may lie, without suffix: `frames/<clip>`, `../frames/<split>/<clip>`, ..."""
    for name in filter(None, (cameras.name, cameras.video_id)):
        for place in PLACES:
            yield text.parent / place / name
        for place in PLACES[1:]:
            yield text.parent.parent / place / text.parent.name / name
            yield text.parent.parent / place / name


def find_frames(text: Path, cameras: ClipCameras) -> Path | None:
    """The clip's folder of images or its video."""
    for path in candidates(text, cameras):
        if path.is_dir() and any(p.suffix.lower() in IMAGE_SUFFIXES for p in path.iterdir()):
            return path
        for suffix in sorted(VIDEO_SUFFIXES):
            if (file := path.with_name(path.name + suffix)).is_file():
                return file
    return None


def find_keypoints(text: Path, cameras: ClipCameras) -> Path | None:
    """The clip's OpenPose folder or COCO-style JSON."""
    for path in candidates(text, cameras):
        if (file := path.with_name(path.name + ".json")).is_file():
            return file
        for folder in (path.with_name(path.name + "_json"), path):
            if folder.is_dir() and any(folder.glob("*.json")):
                return folder
    return None


def match_frames(source: Path, cameras: ClipCameras) -> ClipFrames:
    """Each line's image (see the module's text).

    Raises:
        VergenceError: nothing ties images and lines together, a damaged video, or images of another aspect ratio.
    """
    frames = _of_folder(source, cameras) if source.is_dir() else _of_video(source, cameras)
    k = cameras.intrinsics(frames.size)
    ratio = float(np.median(k[:, 0, 0] / k[:, 1, 1]))
    if abs(ratio - 1) > ASPECT_TOLERANCE:
        raise VergenceError(
            f"{source} is {frames.size[0]}x{frames.size[1]}, which makes fx {ratio:.2f} times fy (limit "
            f"{1 - ASPECT_TOLERANCE:g} to {1 + ASPECT_TOLERANCE:g})",
            "Use images of the video's own aspect ratio, without bars or stretching.",
        )
    return frames


def _of_folder(source: Path, cameras: ClipCameras) -> ClipFrames:
    folder = ImageFolder(source)
    found = name_numbers([file.name for file in folder.files])
    numbers = np.array(found or [-1] * len(folder.files))
    place = {int(number): i for i, number in enumerate(numbers)}
    timed = np.array([place.get(int(time), -1) for time in cameras.time_us])
    if (timed >= 0).sum() * 2 > len(cameras):
        position = timed
    elif len(folder.files) == len(cameras):
        position = np.arange(len(cameras))
    else:
        raise VergenceError(
            f"{source} has {len(folder.files)} images, the clip {len(cameras)} frames, and their names are not its times",
            "Name images by their microseconds, or keep exactly one for each line of the text file.",
        )
    images = tuple(ImageRef(folder.files[i]) if i >= 0 else None for i in position)
    return ClipFrames(images, folder.size, np.where(position >= 0, numbers[position], -1), position, len(folder.files))


def _of_video(source: Path, cameras: ClipCameras) -> ClipFrames:
    with open_video(source) as video:
        count, fps, size = len(video), video.fps, video.size
    if count == len(cameras):
        position = np.arange(count)
    elif fps is None:
        raise VergenceError(f"{source} does not state its frame rate", "Export the video again.")
    else:
        position = np.round(cameras.time_us * 1e-6 * fps).astype(int)
        position = np.where(position < count, position, -1)
    if not (position >= 0).any():
        raise VergenceError(
            f"{source} ends after {count} frames, before the clip begins at {cameras.time_us[0] / 1e6:.1f} s",
            "Download the whole video, or cut out exactly the clip's frames.",
        )
    images = tuple(ImageRef(source, int(i)) if i >= 0 else None for i in position)
    return ClipFrames(images, size, position, position, count)


def people_of(source: Path, frames: ClipFrames) -> tuple[Detections, list[Float[ndarray, "P J 3"]]]:
    """A detector's people in the image of each line; none where it saw nobody.

    Frame numbers in the files are those of the video's frames, or of the images' names; a file that counts all images
    from 0, or from 1, is read in order.

    Raises:
        VergenceError: a broken file, or numbers that are neither.
    """
    found = read_keypoints(source)
    if found.image_size not in (None, frames.size):
        raise VergenceError(f"{source} is for images of {found.image_size} px, the clip's are {frames.size}",
                            "Detect people in these very images.")  # fmt: skip
    people = found.by_number
    seen = frames.position >= 0
    known, ours, count = set(people), set(frames.numbers[seen].tolist()), frames.count
    first, last = min(known), max(known)
    whole = first == 1 and last == count and found.last_known
    of_video = any(image is not None and image.frame is not None for image in frames.images)
    if of_video and known & ours:
        numbers = frames.numbers + whole
    elif known <= ours or known >= ours:
        numbers = frames.numbers
    elif last < count:
        numbers = frames.position
    elif first >= 1 and last == count:
        numbers = frames.position + 1
    else:
        raise VergenceError(
            f"{source} numbers its frames {first} to {last}; the clip has {count} images",
            "Give keypoints by the images' names, or by their order.",
        )
    nobody = np.empty((0, len(found.skeleton), 3))
    return found, [people.get(int(n), nobody) if there else nobody for n, there in zip(numbers, seen)]
