"""Human3.6M's images as they lie on people's disks: videos or folders of numbered images, found by one name of a sequence.

Names are made equal first (`TakingPhoto 1`, `Photo_1` and `Photo 1` are one sequence), so images of one preparation serve
the labels of another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import av
import numpy as np
from jaxtyping import Int
from numpy import ndarray
from PIL import Image

from vergence.datasets.records import ImageRef
from vergence.errors import VergenceError

ACTIONS = (
    "Directions Discussion Eating Greeting Phoning Photo Posing Purchases Sitting SittingDown Smoking Waiting WalkDog "
    "Walking WalkTogether"
).split()
_OTHER_NAMES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog", "WalkingTogether": "WalkTogether"}
NAMED_AT_MOST = 20  # of what was left out, in the report


@dataclass
class Left:
    """What was left out, by reason: how much, and the first names."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def out(self, reason: str, name: str, count: int = 1) -> None:
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count
            names = self.names.setdefault(reason, [])
            if len(names) < NAMED_AT_MOST and name not in names:
                names.append(name)


def canonical_stem(stem: str) -> str:
    """One name for a sequence, whatever the preparation: `TakingPhoto_1` is `Photo 1`."""
    action, _, number = re.sub(r"[_\s]+", " ", stem).strip().partition(" ")
    return " ".join(filter(None, [_OTHER_NAMES.get(action, action), number]))


def action_of(stem: str) -> str:
    """The action of a canonical stem: all before the first space, so Sitting is not SittingDown."""
    return stem.partition(" ")[0]


def sequence_number(subject: int, stem: str) -> int:
    """A number for a sequence that does not depend on what else was read."""
    number = stem.partition(" ")[2]
    return subject * 1000 + ACTIONS.index(action_of(stem)) * 10 + (int(number) if number else 0)


def is_sequence(stem: str) -> bool:
    """Whether a canonical stem names one of the 15 actions (`_ALL`, calibration videos and strangers do not)."""
    return bool(re.fullmatch(rf"({'|'.join(ACTIONS)})( \d)?", stem))


@dataclass(frozen=True)
class Footage:
    """The images of one clip: a video, or numbered images in a folder (from 1, as extracted).

    Attributes:
        path: the video or the folder.
        size: (width, height).
        count: frames of the video.
        numbered: file name by frame number, of a folder.
    """

    path: Path
    size: tuple[int, int]
    count: int = 0
    numbered: dict[int, str] = field(default_factory=dict)

    def has(self, frames: Int[ndarray, " F"]) -> ndarray:
        if self.numbered:
            return np.isin(frames, list(self.numbered))
        return frames < self.count

    def images(self, frames: Int[ndarray, " F"]) -> list[ImageRef]:
        if self.numbered:
            return [ImageRef(self.path / self.numbered[frame]) for frame in frames.tolist()]
        return [ImageRef(self.path, frame) for frame in frames.tolist()]


class Images:
    """Videos (`S1/Videos/Directions 1.54138969.mp4`) and folders of images (mmpose's `images/S1/S1_Directions_1.54138969`)
    under a root, found by subject, canonical stem and camera; videos first."""

    def __init__(self, root: Path, left: Left) -> None:
        self.root, self.left = root, left
        self._listed = cache(self._list)

    def _list(self, subject: int) -> dict[tuple[str, str], Path]:
        found = {}
        folders = [self.root / "images" / f"S{subject}", self.root / f"S{subject}" / "Videos"]
        for folder in folders:
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                name = path.stem if path.suffix.lower() == ".mp4" else path.name
                stem, _, camera = name.removeprefix(f"S{subject}_").rpartition(".")
                if is_sequence(canonical_stem(stem)):
                    found[canonical_stem(stem), camera] = path
        return found

    def any(self, subjects: Sequence[int]) -> bool:
        return any(self._listed(subject) for subject in subjects)

    def of(self, subject: int, stem: str, camera: str) -> Footage | None:
        """A clip's images; None, and counted, where there are none or they cannot be read."""
        path, name = self._listed(subject).get((stem, camera)), f"S{subject} {stem}.{camera}"
        if path is None:
            self.left.out("views_without_images", name)
            return None
        try:
            return _folder(path) if path.is_dir() else _video(path)
        except (VergenceError, OSError, SyntaxError, ValueError):
            self.left.out("views_with_unreadable_images", name)
            return None


def _video(path: Path) -> Footage:
    """A video's size and length from its header alone: hundreds are looked at."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if not stream.frames:
                raise VergenceError(f"{path} does not say how many frames it has", "Export it again.")
            return Footage(path, (stream.width, stream.height), stream.frames)
    except (av.FFmpegError, IndexError) as error:
        raise VergenceError(f"{path} cannot be opened as a video", "Download it again.") from error


def _folder(path: Path) -> Footage:
    numbered = {}
    with os.scandir(path) as entries:
        for entry in entries:
            if match := re.fullmatch(r".*_(\d+)\.(?:jpe?g|png)", entry.name, re.IGNORECASE):
                numbered[int(match[1]) - 1] = entry.name
    if not numbered:
        raise VergenceError(f"{path} holds no numbered images", "They end in _000001.jpg and so on.")
    with Image.open(path / numbered[min(numbered)]) as first:
        return Footage(path, first.size, numbered=numbered)
