"""What a detector found, kept line by line while it works: one line for each batch of images.

A line is appended and brought to the disk before the next batch is looked at, so that a kill loses one batch at most, and
an hour of video takes as much memory as a second. A line that was cut short is dropped. Frames that cannot be decoded
have their place in a line, with nobody in it. The first line says which video, which detector and how the images were turned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vergence.errors import VergenceError, refusing
from vergence.files import atomic_path
from vergence.footage.detectors.base import Detector, People
from vergence.footage.detectors.turns import people_in, upright_turn
from vergence.footage.images import RGB, Video, ahead
from vergence.footage.keypoints import clean
from vergence.progress import Progress

BATCH, BATCH_PX = 16, 1 << 25  # images, and their pixels: while one batch is looked at, the next two are read

Line = list[list[list[float]]]  # of a batch: by frame, by person, x, y and confidence of all joints in a row
_LINE = msgspec.json.Decoder(Line)


@dataclass(frozen=True)
class Kept:
    """Everybody in a video, in a file of lines.

    Attributes:
        path: the file.
        frames: how many it holds.
        turn: quarter turns counter-clockwise by which the detector was shown the images.
    """

    path: Path
    frames: int
    turn: int

    def lines(self) -> Iterator[list[list[float]]]:
        """By frame everybody's x, y, confidence in a row; 0, 0, 0 where a joint was not found."""
        with open(self.path, "rb") as file:
            next(file)
            for line in file:
                yield from _LINE.decode(line)

    def people(self, joints: int) -> Iterator[People]:
        """By frame everybody in it; NaN where a joint was not found."""
        nobody = np.empty((0, joints, 3))
        for found in self.lines():
            people = clean(np.array(found).reshape(-1, joints, 3)) if found else nobody
            yield people[np.isfinite(people[..., 2]).any(axis=1)]


def detect_lines(
    frames: Video, name: str, path: Path, about: dict[str, Any], detector: Detector, progress: Progress
) -> Kept:
    """Detects all frames of a video; goes on where a file of the same `about` ends.

    Raises:
        VergenceError: the file cannot be written, or another call is writing it.
    """
    done, turn, size = _begun(path, about)
    if turn is None:
        turn = upright_turn(frames, detector)
        with atomic_path(path) as file:
            file.write_text(json.dumps({**about, "turn": turn}) + "\n")
        size = path.stat().st_size
    progress(name, done, len(frames))
    width, height = frames.size
    for batch in ahead(_batches(frames.frames(done), max(1, min(BATCH, BATCH_PX // (width * height)))), 1):
        people = people_in([image for _, image in batch], detector, turn)
        rows: Line = []
        for (frame, _), found in zip(batch, people):
            rows += [[]] * (frame - done - len(rows)) + [plain_people(found)]
        size = _append(path, rows, size)
        done += len(rows)
        progress(name, done, len(frames))
    if done < len(frames):
        _append(path, [[]] * (len(frames) - done), size)
        progress(name, len(frames), len(frames))
    return Kept(path, len(frames), turn)


def _batches(images: Iterator[tuple[int, RGB]], size: int) -> Iterator[list[tuple[int, RGB]]]:
    while batch := list(islice(images, size)):
        yield batch


def plain_people(people: People) -> list[list[float]]:
    """Everybody's x, y, confidence in a row; 0, 0, 0 where a joint was not found, as COCO has it."""
    return [[round(float(v), 2 + (i % 3 == 2) * 2) for i, v in enumerate(np.nan_to_num(one).ravel())] for one in people]


def _begun(path: Path, about: dict[str, Any]) -> tuple[int, int | None, int]:
    """Frames that a file of the same video and detector holds, the turn, and its bytes; a line cut short is dropped."""
    try:
        with open(path, "rb") as file:
            first = next(file)
            head, done, size = json.loads(first), 0, len(first)
            if any(head.get(key) != value for key, value in about.items()):
                return 0, None, 0
            for line in file:
                try:
                    if not line.endswith(b"\n"):
                        break
                    done += len(_LINE.decode(line))
                except msgspec.DecodeError:
                    break
                size += len(line)
        os.truncate(path, size)
        return done, int(head["turn"]), size
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return 0, None, 0


def _append(path: Path, rows: Line, size: int) -> int:
    """The file's bytes with one line more."""
    remedy = "Free some space; the same command continues from there."
    with refusing(f"{path} could not be written", remedy, OSError), open(path, "ab") as file:
        if file.tell() != size:
            raise VergenceError(f"{path} is being written by another call", "Wait for it, then call again.")
        file.write(json.dumps(rows).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        return file.tell()
