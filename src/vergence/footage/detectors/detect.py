"""Keypoints of everybody in a video, written as one COCO-style JSON file beside it: resumable, and made once.

Frames are detected in batches and kept line by line (`lines`), so that a kill loses one batch at most and the result is
the same to the byte. The finished file names video and detector, and is taken as it is when both are the same again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vergence.files import atomic_path
from vergence.folders import held
from vergence.footage.detectors.base import CACHE, Detector
from vergence.footage.detectors.lines import Kept, detect_lines
from vergence.footage.images import ImageFolder
from vergence.footage.video import open_video
from vergence.progress import Progress, silent
from vergence.skeleton import Skeleton

# Bytes at each end of a video that identify it, beside its size.
SAMPLE = 1 << 20
WAIT = "Wait for it, then call again."


@dataclass(frozen=True)
class Detected:
    """One video's keypoint file.

    Attributes:
        path: the file.
        frames: of the video.
        seen: frames with somebody in them.
        turn: quarter turns counter-clockwise by which the detector was shown the images.
        made: it was made now, and not found.
    """

    path: Path
    frames: int
    seen: int
    turn: int
    made: bool


def detect_video(
    video: Path | str,
    out: Path | str,
    detector: Detector,
    *,
    progress: Progress = silent,
) -> Detected:
    """Everybody's keypoints in a video or a folder of images.

    Args:
        video: file, or folder of images.
        out: the JSON file to write.
        detector: as `open_detector` gives it.
        progress: reports every frame.

    Raises:
        VergenceError: a video that cannot be read, or a file that cannot be written.
    """
    video, out = Path(video), Path(out)
    about = {"detector": detector.identity, "video": video.name, "content": content(video)}
    if (there := _finished(out, about)) is not None:
        return there
    with held(out.parent, f".{out.stem}.lock", WAIT), open_video(video) as frames:
        kept = detect_lines(frames, video.name, out.with_name(f".{out.stem}.partial.jsonl"), about, detector, progress)
        first = frames[0]
        return _finish(kept, out, {**about, "turn": kept.turn}, detector.skeleton, (first.shape[1], first.shape[0]))


def cached_people(video: Path, detector: Detector, *, progress: Progress = silent) -> Kept:
    """Everybody in a video, a folder of images (of any sizes) or an image, in the user's cache: found once by each detector."""
    about = {"detector": detector.identity, "video": video.name, "content": content(video)}
    name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]
    path = CACHE / "keypoints" / f"{name}.jsonl"
    images = ImageFolder(video, one_size=False) if video.is_dir() else open_video(video)
    with images as frames, held(path.parent, f".{name}.lock", WAIT):
        return detect_lines(frames, video.name, path, about, detector, progress)


def content(video: Path) -> str:
    """A digest of what a video holds: of its size and both its ends, or of the names and sizes of a folder's images."""
    digest = hashlib.sha256()
    if video.is_dir():
        for file in sorted(video.iterdir()):
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        return digest.hexdigest()[:24]
    size = video.stat().st_size
    digest.update(str(size).encode())
    with open(video, "rb") as data:
        digest.update(data.read(SAMPLE))
        data.seek(max(0, size - SAMPLE))
        digest.update(data.read(SAMPLE))
    return digest.hexdigest()[:24]


def _finished(out: Path, about: dict[str, Any]) -> Detected | None:
    try:
        data = json.loads(out.read_text())
        info = data["info"]
        if any(info.get(key) != value for key, value in about.items()):
            return None
        seen = len({row["image_id"] for row in data["annotations"]})
        return Detected(out, len(data["images"]), seen, info["turn"], False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _finish(kept: Kept, out: Path, info: dict[str, Any], skeleton: Skeleton, size: tuple[int, int]) -> Detected:
    """The COCO-style file of all frames; the lines are removed."""
    seen = write_people(out, kept.lines(), kept.frames, info, skeleton, size)
    with suppress(OSError):
        kept.path.unlink()
    return Detected(out, kept.frames, seen, kept.turn, True)


def write_people(
    out: Path,
    lines: Iterable[list[list[float]]],
    frames: int,
    info: dict[str, Any],
    skeleton: Skeleton,
    size: tuple[int, int],
) -> int:
    """Writes a COCO-style file of everybody in each frame (`plain_people`), frame by frame; returns in how many somebody is."""
    stem, seen = Path(info["video"]).stem, 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal seen
        for frame, people in enumerate(lines):
            seen += bool(people)
            for one in people:
                score = round(float(np.mean(one[2::3])), 4)
                yield {"image_id": frame, "category_id": 1, "keypoints": one, "score": score}

    width, height = size
    images = ({"id": i, "file_name": f"{stem}_{i:06d}.jpg", "width": width, "height": height} for i in range(frames))
    category = {"id": 1, "name": "person", "keypoints": list(skeleton.joint_names)}
    with atomic_path(out) as file, open(file, "w") as text:
        text.write(f'{{"info": {json.dumps(info)}, "images": [')
        text.writelines(_listed(images))
        text.write('], "annotations": [')
        # From 1: pycocotools never counts the annotation of id 0 as found.
        text.writelines(_listed({"id": i, **row} for i, row in enumerate(rows(), start=1)))
        text.write(f'], "categories": {json.dumps([category])}}}\n')
    return seen


def _listed(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"{', ' if number else ''}{json.dumps(row)}"
