"""MannequinChallenge: people who stand still while one camera walks by; each person is one time step seen from many places.

Nothing in the dataset says where people are. A detector's 2D is followed through the clip's frames (`footage.tracking`),
and each person's track is tested against the clip's own cameras, which are known up to scale: joints of somebody who
stands still meet in points. Tracks that meet in the same points are one person, lost on the way. Who moved, or was mixed
up with a neighbour in every second frame, is dropped; single frames that disagree are left out.

Which frames are kept is a matter of parallax: the angle at which two places see the same joint. With R known it is the
angle between two rays in the world, the median over joints, and needs no triangulation. Neighbouring frames of a video
show the same image twice, so the frames kept of a person are chosen farthest first, until no other is `parallax`
degrees from all of them. A person with no two such frames is dropped, and so is a clip with no such person; the report
counts both.

The unit of the cameras is the clip's own. It is brought to millimetres as if its people were 1.7 m tall (their median),
so that translations have a usual size; they are not measured. The 3D that tells this is not kept: it is no truth.

In numbers: the clip is the sequence, its lines are the views, and `frame` counts its people, so that whatever pools a
recording's cameras pools them over the people who stand in front of them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from vergence.datasets import mannequin_clips as clips
from vergence.datasets.make_records import make_records
from vergence.datasets.mannequin_clips import SPLITS, ClipCameras, ClipFrames
from vergence.datasets.records import Records
from vergence.errors import VergenceError
from vergence.footage.tracking import person_size, track_people
from vergence.geometry.body import stature
from vergence.geometry.crops import person_boxes
from vergence.geometry.triangulation import reprojection_error, triangulate_robust
from vergence.outputs.world import ASSUMED_STATURE_MM
from vergence.progress import followed, hearing
from vergence.skeleton import Skeleton

PARALLAX_DEG = 5.0
SEEN_JOINTS = 6  # fewer known joints are no view of a person
COMMON_JOINTS = 4  # fewer joints seen from both places give no parallax
STILL_SHARE = 0.05  # of the person's size in the image: a joint farther from where the other views have it has moved
STILL_VIEWS = 0.5  # of the views must agree on somebody who stands still
TRIANGULATED_VIEWS = 12  # spread over the track; all views are then held against the result
CAN_DO = 1000  # people in a clip; keeps the numbers of clips apart


@dataclass(frozen=True)
class Person:
    """One person of a clip in the views that were kept.

    Attributes:
        lines: of the text file.
        keypoints: x, y, confidence in those images.
        stature: height in the clip's unit; NaN where it cannot be told.
        parallax: widest angle between two of the views, degrees.
    """

    lines: Int[ndarray, " V"]
    keypoints: Float[ndarray, "V J 3"]
    stature: float
    parallax: float


def read_mannequin_challenge(path: Path | str, parallax: float = PARALLAX_DEG) -> Records:
    """All clips of a folder that have images and 2D, as views of people who stand still.

    Args:
        path: `MannequinChallenge`, or one of its splits.
        parallax: least angle in degrees between any two views kept of a person.

    Returns:
        Records without 3D, ordered by clip, person and line. `report` counts clips and people that were dropped, and why.

    Raises:
        VergenceError: no clips there, or none that can be used; the reasons are counted.
    """
    if not 0 < parallax < 90:
        raise VergenceError(f"parallax is {parallax:g} degrees", "Give more than 0 and less than 90.")
    files = find_clips(Path(path))
    dropped: Counter[str] = Counter()
    people: Counter[str] = Counter()
    reasons: list[str] = []
    parts: list[Records] = []
    for number, file in enumerate(followed(files, "clips", len(files), hearing())):
        try:
            part = _clip(file, number, parallax, people)
        except VergenceError as error:
            dropped["unusable files"] += 1
            reasons.append(error.problem)
            continue
        if isinstance(part, str):
            dropped[part] += 1
        else:
            parts.append(part.convert(parts[0].skeleton) if parts else part)
    if not parts:
        counted = ", ".join(f"{reason}: {count}" for reason, count in dropped.items())
        raise VergenceError(
            f"none of the {len(files)} clips in {path} can be used ({counted})"
            + (f"; {reasons[0]}" if reasons else ""),
            "Put each clip's frames (or video) and keypoints beside its text file, under the clip's name.",
        )
    report: dict[str, Any] = {
        "clips": len(files),
        "clips used": len(parts),
        "clips dropped": dict(dropped),
        "people": int(sum(len(np.unique(part.subject)) for part in parts)),
        "people dropped": dict(people),
        "least parallax, degrees": parallax,
        "assumed": f"people of {ASSUMED_STATURE_MM:.0f} mm give each clip's scale; they are not measured",
        **({"unusable": reasons[:5]} if reasons else {}),
    }
    return dataclasses.replace(Records.cat(parts), report=report)


def find_clips(path: Path) -> list[Path]:
    """The clips' text files, of all splits or of one, in order.

    Raises:
        VergenceError: none there.
    """
    folders = [path / split for split in SPLITS if (path / split).is_dir()] or [path]
    files = [file for folder in folders for file in sorted(folder.glob("*.txt")) if looks_like_clip(file)]
    if not files:
        raise VergenceError(f"{path} holds no clips of MannequinChallenge",
                            "Give the folder with train, validation and test, or one of them.")  # fmt: skip
    return files


def looks_like_clip(file: Path) -> bool:
    """A URL in the first line and 19 words in the next that is not blank."""
    try:
        with open(file, encoding="utf-8") as text:
            lines = [line for line in (text.readline() for _ in range(4)) if line.strip()]
    except (OSError, UnicodeDecodeError):
        return False
    return len(lines) > 1 and "://" in lines[0] and len(lines[1].split()) == clips.COLUMNS


def _clip(file: Path, number: int, parallax: float, dropped: Counter[str]) -> Records | str:
    """A clip's records, or in a word why there are none; people who are dropped are counted."""
    cameras = clips.read_cameras(file)
    pixels, detections = clips.find_frames(file, cameras), clips.find_keypoints(file, cameras)
    if pixels is None:
        return "no frames"
    if detections is None:
        return "no keypoints"
    frames = clips.match_frames(pixels, cameras)
    found, people = clips.people_of(detections, frames)
    kept: list[Person] = []
    why: Counter[str] = Counter()
    tracks = joined_tracks(track_people(people, cameras.fps), cameras, frames.size)
    for track in tracks[:CAN_DO]:
        person = still_person(track, cameras, frames.size, found.skeleton, parallax)
        if isinstance(person, str):
            why[person] += 1
        else:
            kept.append(person)
    dropped.update(why)
    if not kept:
        return why.most_common(1)[0][0] if why else "nobody seen"
    return _records(file, number, cameras, frames, kept, found.skeleton)


@dataclass(frozen=True)
class _Seen:
    """The lines in which a track is seen well enough: rays, cameras, and the person's size in px."""

    lines: Int[ndarray, " V"]
    points: Float[ndarray, "V J 2"]
    camera: Float[ndarray, "V 3 4"]
    focal: Float[ndarray, " V"]
    size: Float[ndarray, " V"]


def _seen(track: Float[ndarray, "F J 3"], cameras: ClipCameras, size: tuple[int, int]) -> _Seen:
    lines = np.flatnonzero(np.isfinite(track[..., :2]).all(-1).sum(1) >= SEEN_JOINTS)
    k = cameras.intrinsics(size)[lines]
    points = (track[lines, :, :2] - k[:, None, :2, 2]) / k[:, None, [0, 1], [0, 1]]
    camera = np.concatenate([cameras.rotation[lines], cameras.translation[lines, :, None]], -1)
    return _Seen(lines, points, camera, k[:, 0, 0], person_size(track[lines]))


def joined_tracks(
    tracks: Sequence[Float[ndarray, "F J 3"]], cameras: ClipCameras, size: tuple[int, int]
) -> list[Float[ndarray, "F J 3"]]:
    """Tracks of one person who was lost on the way, as one: what stands where another track's joints stand is the same.

    Args:
        tracks: x, y, confidence by line; the longest first.
        cameras: of each line.
        size: (width, height) of the images.
    """
    whole: list[tuple[ndarray, Float[ndarray, "J 3"]]] = []
    for track in tracks:
        seen = _seen(track, cameras, size)
        for i, (other, world) in enumerate(whole):
            free = np.isnan(other[seen.lines]).all((1, 2)).mean() > 0.5
            if len(seen.lines) and free and _agreeing(world, seen).mean() >= STILL_VIEWS:
                merged = np.where(np.isnan(other), track, other)
                whole[i] = merged, _world(_seen(merged, cameras, size))
                break
        else:
            world = _world(seen)
            agrees = _agreeing(world, seen)
            if len(agrees) and agrees.mean() >= STILL_VIEWS:  # the rest are somebody else's frames
                track = track.copy()
                track[seen.lines[~agrees]] = np.nan
            whole.append((track, world))
    return [track for track, _ in whole]


def still_person(
    track: Float[ndarray, "F J 3"],
    cameras: ClipCameras,
    size: tuple[int, int],
    skeleton: Skeleton,
    parallax: float = PARALLAX_DEG,
) -> Person | str:
    """One track as views of somebody who stands still, or in a word why it is not.

    Args:
        track: x, y, confidence by line; NaN where not seen.
        cameras: of each line.
        size: (width, height) of the images.
        skeleton: of the track.
        parallax: degrees, see `read_mannequin_challenge`.
    """
    seen = _seen(track, cameras, size)
    if len(seen.lines) < 2:
        return "seen in fewer than two frames"
    angle = parallax_angles(seen.points, cameras.rotation[seen.lines])
    if not np.nanmax(angle) >= parallax:
        return "too little parallax"
    world = _world(seen)
    agrees = _agreeing(world, seen)
    if agrees.sum() < max(2, STILL_VIEWS * len(seen.lines)):
        return "moved or mixed up"
    inner = np.flatnonzero(agrees)
    chosen = inner[farthest_first(angle[np.ix_(inner, inner)], parallax)]
    if len(chosen) < 2:
        return "too little parallax"
    try:
        tall = stature(world[None], skeleton)
    except VergenceError:
        tall = np.nan
    lines = seen.lines[chosen]
    return Person(lines, track[lines], tall, float(np.nanmax(angle[np.ix_(chosen, chosen)])))


def parallax_angles(points: Float[ndarray, "V J 2"], rotation: Float[ndarray, "V 3 3"]) -> Float[ndarray, "V V"]:
    """Degrees between the rays of two places to the same joint, median over joints; NaN where too few are common.

    Args:
        points: normalised coordinates; NaN where not seen.
        rotation: world to camera.
    """
    rays = np.concatenate([points, np.ones_like(points[..., :1])], -1) @ rotation
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    out = np.full((len(rays), len(rays)), np.nan)
    for v in range(len(rays)):
        # 2 asin(|a - b| / 2): exact for small angles, where acos is not
        angle = 2 * np.arcsin(np.clip(np.linalg.norm(rays - rays[v], axis=-1) / 2, 0, 1))
        enough = np.isfinite(angle).sum(1) >= COMMON_JOINTS
        out[v, enough] = np.degrees(np.nanmedian(angle[enough], axis=1))
    return out


def _world(seen: _Seen) -> Float[ndarray, "J 3"]:
    """Where a still person's joints are, from some of the views; NaN where no two agree."""
    if len(seen.lines) < 2:
        return np.full((seen.points.shape[1], 3), np.nan)
    some = np.linspace(0, len(seen.lines) - 1, min(len(seen.lines), TRIANGULATED_VIEWS)).astype(int)
    points, camera = torch.from_numpy(seen.points[some]).transpose(0, 1), torch.from_numpy(seen.camera[some])
    threshold = float(np.median(STILL_SHARE * seen.size[some]))
    return triangulate_robust(points, camera, threshold, torch.from_numpy(seen.focal[some])).points.numpy()


def _agreeing(world: Float[ndarray, "J 3"], seen: _Seen) -> Bool[ndarray, " V"]:
    """Views whose median joint lies within `STILL_SHARE` of where these world joints are projected."""
    points, camera = torch.from_numpy(seen.points).transpose(0, 1), torch.from_numpy(seen.camera)
    error = reprojection_error(torch.from_numpy(world), points, camera).numpy().T * (seen.focal / seen.size)[:, None]
    known = ~np.isnan(error)
    middle = [np.median(e[k]) if k.sum() >= COMMON_JOINTS else np.inf for e, k in zip(error, known)]
    return np.array(middle, dtype=float) <= STILL_SHARE


def farthest_first(angle: Float[ndarray, "V V"], least: float) -> Int[ndarray, " K"]:
    """Views of which any two are at least `least` apart: the widest pair, then always the one farthest from all kept.

    Returns:
        In order of the views; fewer than two where no two are so far apart. Unknown angles count as 0.
    """
    apart = np.nan_to_num(angle)
    if not apart.size or apart.max() < least:
        return np.arange(min(len(apart), 1))
    kept = [int(view) for view in np.unravel_index(int(apart.argmax()), apart.shape)]
    while True:
        nearest = apart[:, kept].min(1)
        if nearest.max() < least:
            return np.sort(np.array(kept, dtype=int))
        kept.append(int(nearest.argmax()))


def _records(
    file: Path, number: int, cameras: ClipCameras, frames: ClipFrames, people: Sequence[Person], skeleton: Skeleton
) -> Records:
    lines = np.concatenate([person.lines for person in people])
    points = np.concatenate([person.keypoints for person in people])
    who = np.repeat(np.arange(len(people)), [len(person.lines) for person in people])
    tall = [person.stature for person in people if np.isfinite(person.stature)]
    mm = ASSUMED_STATURE_MM / float(np.median(tall)) if tall else np.nan
    return make_records(
        [image for line in lines if (image := frames.images[line]) is not None], skeleton, size=frames.size,
        box=person_boxes(points[..., :2].astype(np.float64)), keypoints=points[..., :2],
        confidence=np.nan_to_num(points[..., 2]), intrinsics=cameras.intrinsics(frames.size)[lines], distortion=np.zeros(5),
        rotation=cameras.rotation[lines], translation=cameras.translation[lines] * mm, subject=number * CAN_DO + who,
        sequence=number, view=lines, frame=who, time_step=number * CAN_DO + who,
        groups={"clip": cameras.name, "split": file.parent.name},
    )  # fmt: skip
