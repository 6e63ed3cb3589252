"""Keypoints of everybody in a video, written as one COCO-style JSON file beside it: resumable, and made once.

Frames are detected in batches; every batch is appended to a partial file, which the next call goes on from, so that a kill
loses one batch at most and the result is the same to the byte. The finished file names video and detector, and is taken
as it is when both are the same again.

A camera that was mounted on its side films people who lie, and detectors miss those: a few frames are looked at in all four
quarter turns, and the detector is shown the one in which people stand. Keypoints stay in the image as displayed.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vergence.errors import VergenceError
from vergence.files import atomic_path
from vergence.footage.detectors.base import CACHE, Detector, People
from vergence.footage.images import RGB, Video
from vergence.footage.video import open_video
from vergence.progress import Progress, silent
from vergence.skeleton import Skeleton

BATCH = 16
LOOKED_AT = 6  # frames, for the turn
TURNS = (0, 1, 3, 2)  # quarter turns counter-clockwise, the likeliest first
# A turn must make people stand this much better than none does.
BETTER = 1.5
# Bytes at each end of a video that identify it, beside its size.
SAMPLE = 1 << 20
UPRIGHT = (
    (("nose",), ("left_shoulder", "right_shoulder")),
    (("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")),
    (("left_hip", "right_hip"), ("left_ankle", "right_ankle")),
)


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
        progress: told of every frame.

    Raises:
        VergenceError: a video that cannot be read, or a file that cannot be written.
    """
    video, out = Path(video), Path(out)
    about = {"detector": detector.identity, "video": video.name, "content": content(video)}
    if (there := _finished(out, about)) is not None:
        return there
    with open_video(video) as frames:
        partial = out.with_name(f".{out.stem}.partial.jsonl")
        done, turn = _begun(partial, about)
        if turn is None:
            turn = upright_turn(frames, detector)
            with atomic_path(partial) as file:
                file.write_text(json.dumps({**about, "turn": turn}) + "\n")
        progress(video.name, done, len(frames))
        rest = iter(frames.frames(done))
        while batch := list(islice(rest, BATCH)):
            people = _detect([image for _, image in batch], detector, turn)
            _append(partial, [_plain(found) for found in people])
            done = batch[-1][0] + 1
            progress(video.name, done, len(frames))
        first = frames[0]
    return _finish(partial, out, {**about, "turn": turn}, detector.skeleton, (first.shape[1], first.shape[0]))


def cached_keypoints(video: Path, detector: Detector, *, progress: Progress = silent) -> Path:
    """The keypoint file of a video in the user's cache, made where the same detector has not seen the same content before."""
    name = hashlib.sha256(f"{detector.identity} {content(video)} {video.name}".encode()).hexdigest()[:24]
    return detect_video(video, CACHE / "keypoints" / f"{name}.json", detector, progress=progress).path


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


def upright_turn(frames: Video, detector: Detector) -> int:
    """Quarter turns counter-clockwise after which most people stand; 0 where none is clearly better."""
    rows = sorted({int(row) for row in np.linspace(0, len(frames) - 1, LOOKED_AT + 2)[1:-1]})
    images = [frames[row] for row in rows]
    standing = {}
    for turn in TURNS:
        people = detector([np.ascontiguousarray(np.rot90(image, turn)) for image in images])
        standing[turn] = sum(_standing(found, detector.skeleton) for found in people)
        if turn == 0 and standing[0] > 0.5 * len(images):
            return 0
    best = max(TURNS, key=lambda turn: standing[turn])
    return best if standing[best] > BETTER * max(standing[0], 0.1) else 0


def _standing(people: People, skeleton: Skeleton) -> float:
    """Uprightness of the largest person: a poster on the wall may show one who stands differently."""
    if not len(people):
        return 0.0
    sizes = np.nan_to_num(np.nanmax(people[..., :2], axis=1) - np.nanmin(people[..., :2], axis=1)).max(axis=-1)
    return uprightness(people[int(sizes.argmax())], skeleton)


def uprightness(person: People, skeleton: Skeleton) -> float:
    """How far a person's head, shoulders, hips and ankles stand above each other: confidence times cosine, -1 to 1."""
    total, weight = 0.0, 0.0
    for above, below in UPRIGHT:
        if not skeleton.has(*above, *below):
            continue
        top, low = (person[[skeleton.index(name) for name in names]].mean(0) for names in (above, below))
        if np.isfinite(top).all() and np.isfinite(low).all():
            way = low[:2] - top[:2]
            sure = min(top[2], low[2])
            total += sure * sure * way[1] / max(float(np.hypot(*way)), 1e-9)
            weight += sure
    return total / weight if weight else 0.0


def turned_back(people: People, turn: int, size: tuple[int, int]) -> People:
    """Keypoints found in `np.rot90(image, turn)`, in the image itself, which has this (width, height)."""
    width, height = size
    x, y = people[..., 0].copy(), people[..., 1].copy()
    out = np.array(people)
    out[..., 0] = (x, width - 1 - y, width - 1 - x, y)[turn]
    out[..., 1] = (y, x, height - 1 - y, height - 1 - x)[turn]
    return out


def _detect(images: list[RGB], detector: Detector, turn: int) -> list[People]:
    shown = [np.ascontiguousarray(np.rot90(image, turn)) if turn else image for image in images]
    found = detector(shown)
    return [turned_back(p, turn, (i.shape[1], i.shape[0])) for p, i in zip(found, images, strict=True)]


def _plain(people: People) -> list[list[float]]:
    """Everybody's x, y, confidence in a row; 0, 0, 0 where a joint was not found, as COCO has it."""
    return [[round(float(v), 2 + (i % 3 == 2) * 2) for i, v in enumerate(np.nan_to_num(one).ravel())] for one in people]


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


def _begun(partial: Path, about: dict[str, Any]) -> tuple[int, int | None]:
    """Frames that a partial file of the same video and detector holds, and the turn; a line cut short is dropped."""
    try:
        lines = partial.read_bytes().split(b"\n")
        head = json.loads(lines[0])
        if any(head.get(key) != value for key, value in about.items()):
            return 0, None
        whole, done = [lines[0]], 0
        for line in lines[1:-1]:
            done += len(json.loads(line))
            whole.append(line)
        if len(lines[-1]):
            with atomic_path(partial) as cleaned:
                cleaned.write_bytes(b"\n".join(whole) + b"\n")
        return done, int(head["turn"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return 0, None


def _append(partial: Path, rows: list[Any]) -> None:
    try:
        with open(partial, "a") as file:
            file.write(json.dumps(rows) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise VergenceError(
            f"{partial} could not be written: {error.strerror}", "Free some space; the same command goes on from there."
        ) from error


def _finish(partial: Path, out: Path, info: dict[str, Any], skeleton: Skeleton, size: tuple[int, int]) -> Detected:
    """The COCO-style file of all frames; the partial one is removed."""
    lines = partial.read_text().splitlines()[1:]
    frames = [people for line in lines for people in json.loads(line)]
    stem = Path(info["video"]).stem
    images = [
        {"id": i, "file_name": f"{stem}_{i:06d}.jpg", "width": size[0], "height": size[1]} for i in range(len(frames))
    ]
    rows = [
        {"image_id": i, "category_id": 1, "keypoints": one, "score": round(float(np.mean(one[2::3])), 4)}
        for i, people in enumerate(frames)
        for one in people
    ]
    category = {"id": 1, "name": "person", "keypoints": list(skeleton.joint_names)}
    data = {"info": info, "images": images, "annotations": [{"id": i, **row} for i, row in enumerate(rows)]}
    with atomic_path(out) as file:
        file.write_text(json.dumps({**data, "categories": [category]}) + "\n")
    with suppress(OSError):
        partial.unlink()
    return Detected(out, len(frames), len({row["image_id"] for row in rows}), info["turn"], True)
