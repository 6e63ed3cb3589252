"""2D keypoints from files: OpenPose folders, COCO-style JSON, and Vergence's own NPZ.

Every reader gives people per frame, as many as were seen, as arrays P J 3 (x, y, confidence); missing is NaN in all
three. Frames keep the numbers that their files carry, so that a frame whose file is lost leaves a gap instead of moving
the later ones.

Lists without names hold the joints of one of several layouts; `layouts` measures which. A person without any values is
nobody.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from msgspec import Struct

from vergence import plugins
from vergence.errors import VergenceError
from vergence.files import read_json, read_npz_as
from vergence.footage.formats.coco import (
    Numbers,
    image_numbers,
    image_size,
    label_confidence,
    people_rows,
    plain_id,
    read_coco_file,
    triples,
)
from vergence.footage.formats.names import counted_frames, name_numbers, natural_key, number_frames
from vergence.footage.keypoint_formats.confidences import on_one_scale, views_on_one_scale
from vergence.footage.layouts import MOST_PEOPLE, decide_layout, skeleton_of_names
from vergence.footage.readers import Reader, find_reader
from vergence.skeleton import Skeleton, get_skeleton, skeleton_from_names

FARTHEST_PX = 1e6  # no image reaches so far

People = Float[np.ndarray, "P J 3"]


@dataclass(frozen=True)
class Detections:
    """What one camera's keypoint file holds.

    Attributes:
        skeleton: the joints.
        people: frame number, as the files carry it, to the people seen in it.
        last_known: the highest frame number is known to be the last frame (OpenPose writes one file per frame, also for
            empty ones; a list of results does not).
        image_size: (width, height) the keypoints belong to, where the file says so.
        notes: decisions and corrections, as sentences.
        numbers: of each frame, where the files' numbers do not count frames (times, say) and `people` are in their order.
        from_zero: frames are the camera's own, counted from 0.
    """

    skeleton: Skeleton
    people: Mapping[int, People]
    last_known: bool = False
    image_size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    numbers: tuple[int, ...] | None = None
    from_zero: bool = False

    @property
    def by_number(self) -> dict[int, People]:
        """People by their files' own numbers, which may be times."""
        return dict(self.people) if self.numbers is None else dict(zip(self.numbers, self.people.values()))

    def frames(self, start: int, count: int) -> list[People]:
        """`count` frames from number `start`; frames nobody was seen in have P = 0."""
        nobody = np.empty((0, len(self.skeleton), 3))
        return [self.people.get(number, nobody) for number in range(start, start + count)]

    def in_order_of(self, skeleton: Skeleton) -> Detections:
        """The same with the joints in another's order, where they are the same joints."""
        if self.skeleton == skeleton or set(self.skeleton.joint_names) != set(skeleton.joint_names):
            return self
        order = [self.skeleton.index(joint) for joint in skeleton.joint_names]
        people = {number: found[:, order] for number, found in self.people.items()}
        return replace(self, skeleton=skeleton, people=people)


@dataclass(frozen=True)
class KeypointTable:
    """Keypoints of one person in all cameras.

    Attributes:
        keypoints: x, y in px, confidence 0 to 1; NaN where missing.
        skeleton: the joints.
        fps: frames per second, None where the file does not say.
        notes: corrections, as sentences.
    """

    keypoints: Float[np.ndarray, "T V J 3"]
    skeleton: Skeleton
    fps: float | None
    notes: tuple[str, ...] = ()


def read_keypoints(path: Path | str, skeleton: Skeleton | str | None = None, reader: str = "") -> Detections:
    """One camera's keypoints: an OpenPose folder, a COCO-style JSON file, or what a plug-in reads.

    Args:
        path: folder of `*.json`, or one file.
        skeleton: the joints, or the name of a known skeleton; measured or read from the file where not given.
        reader: the registered name of what reads it; found by the path where empty.

    Raises:
        VergenceError: missing, not readable, or a number of joints that is not the skeleton's.
    """
    path = Path(path)
    if isinstance(skeleton, str):
        skeleton = get_skeleton(skeleton)
    found = find_reader(plugins.keypoint_readers, path, reader)
    if found is None:
        table = find_reader(plugins.keypoint_readers, path, all_cameras=True)
        raise VergenceError(
            f"keypoints {path} are neither a folder of OpenPose JSON nor a JSON file",
            f"A {path.suffix} file of all cameras belongs under [capture], not under one camera." if table
            else f"There are readers {', '.join(plugins.keypoint_readers)}; a plug-in may add one.",
        )  # fmt: skip
    detections: Detections = found.read(path, skeleton)
    return detections


def read_keypoint_table(path: Path | str, reader: str = "") -> KeypointTable:
    """All cameras' keypoints of one person: Vergence's NPZ, or what a plug-in reads.

    Raises:
        VergenceError: missing or not readable.
    """
    found = find_reader(plugins.keypoint_readers, Path(path), reader, all_cameras=True) or NPZ
    table: KeypointTable = found.read(Path(path))
    return table


class OpenPosePerson(Struct):
    """A person as x, y, confidence of each joint, under its name of today or of old."""

    pose_keypoints_2d: Numbers | None = None
    pose_keypoints: Numbers | None = None


class OpenPoseFrame(Struct):
    """A file of OpenPose."""

    people: list[OpenPosePerson] | None = None


def read_openpose(folder: Path | str, skeleton: Skeleton | None = None) -> Detections:
    """A folder with one OpenPose JSON file per frame, whose number is in its name (`formats.names`).

    Raises:
        VergenceError: no folder, no files, two files of one frame, a broken file, or an undecided skeleton.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VergenceError(f"there is no keypoint folder {folder}", "Check the path.")
    names = [name for name in os.listdir(folder) if name.lower().endswith(".json") and not name.startswith(".")]
    if not names:
        raise VergenceError(f"folder {folder} holds no keypoint files", "OpenPose writes one *.json per frame.")
    names.sort(key=natural_key)
    files = [f"{folder}{os.sep}{name}" for name in names]  # a Path for each takes as long as reading it
    numbers = name_numbers(names) or list(range(len(files)))
    for first, second in itertools.pairwise(sorted(range(len(files)), key=numbers.__getitem__)):
        if numbers[first] == numbers[second]:
            raise VergenceError(
                f"{folder} has two files of frame {numbers[first]}, {names[first]} and {names[second]}",
                "Keep one camera's files per folder.",
            )
    counted, own = counted_frames(numbers)
    read = {counted[number]: _openpose_people(file) for number, file in zip(numbers, files)}
    raw = {number: [person for person in found if len(person)] for number, found in read.items()}
    if any(read.values()) and not any(raw.values()):
        number = next(number for number, found in read.items() if found)
        file = next(file for own, file in zip(numbers, files) if counted[own] == number)
        raise VergenceError(f"a person in {file} has no `pose_keypoints_2d`", "Run OpenPose with body keypoints.")
    scaled, told = on_one_scale(raw, folder.name)
    people = [person for frame in scaled.values() for person in frame]
    chosen, notes = decide_skeleton(people, skeleton, folder)
    notes += told
    gaps = max(raw) - min(raw) + 1 - len(raw)
    if gaps and number_frames(numbers).step == 1:
        notes.append(f"{folder.name}: {gaps} frames between {min(raw)} and {max(raw)} have no file and count as empty")
    frames = _cleaned(scaled, chosen, notes, folder)
    return Detections(chosen, frames, True, None, tuple(dict.fromkeys(notes)), own)


def _openpose_people(file: str) -> list[np.ndarray]:
    """People as J 3, straight from the file; of J = 0 where they have no values."""
    data = read_json(file, OpenPoseFrame, "Check the keypoints path.", "OpenPose file")
    if data.people is None:
        raise VergenceError(f"{file} is not an OpenPose file: it has no list `people`", "Check the keypoints path.")
    found = []
    for person in data.people:
        values = person.pose_keypoints if person.pose_keypoints_2d is None else person.pose_keypoints_2d
        found.append(triples(values or [], file))
    return found


def decide_skeleton(
    people: Sequence[np.ndarray], given: Skeleton | None, where: Path, names: Sequence[str] = ()
) -> tuple[Skeleton, list[str]]:
    """Which joints people's points are: by the user's word, by their names, or by measuring; and how it was decided."""
    counts = sorted({len(person) for person in people})
    if len(counts) > 1:
        raise VergenceError(
            f"people in {where} have different numbers of joints: {counts}", "Use one model per camera."
        )
    if given is not None:
        if counts and counts[0] != len(given):
            raise VergenceError(
                f"people in {where} have {counts[0]} joints, skeleton {given.name} has {len(given)}",
                "Give the `skeleton` that the keypoints were made with"
                + (", or leave it out: the file names its joints." if names else "."),
            )
        return given, []
    if (named := skeleton_of_names(names)) is not None:
        return named, []
    if not counts:
        raise VergenceError(f"nobody is in any frame of {where}", "Check the detector, or leave this camera out.")
    some = np.stack(people[:: max(len(people) // MOST_PEOPLE, 1)])
    layout, note = decide_layout(list(clean(some)), where.name)
    return layout.skeleton, [note] if note else []


def _cleaned(
    frames: Mapping[int, Sequence[np.ndarray]], skeleton: Skeleton, notes: list[str], where: Path
) -> dict[int, People]:
    """The body's joints of all people, clean, and without those of whom nothing is left."""
    counts = [len(people) for people in frames.values()]
    every = [person for people in frames.values() for person in people]
    array = np.stack(every)[:, : len(skeleton)] if every else np.empty((0, len(skeleton), 3))
    if (array[..., 2] > 1).any():
        notes.append(f"{where.name}: confidences above 1 were taken as 1")
    if (np.abs(array[..., :2]) > FARTHEST_PX).any():
        notes.append(f"{where.name}: points beyond {FARTHEST_PX:g} px count as missing")
    array = clean(array)
    there = np.isfinite(array[..., 2]).any(axis=1)
    ends = np.concatenate([[0], np.cumsum(there)])[np.cumsum(counts)]
    return dict(zip(frames, np.split(array[there], ends[:-1])))


def clean(keypoints: Float[np.ndarray, "... J 3"]) -> Float[np.ndarray, "... J 3"]:
    """Missing points as NaN in all three values; confidences above 1 become 1.

    Missing is: not finite, beyond any image, confidence 0 or less, or the (0, 0, 0) of files that have no other word for
    it.
    """
    out = np.array(keypoints, dtype=np.float64)
    missing = ~np.isfinite(out).all(axis=-1) | ~(out[..., 2] > 0) | (np.abs(out[..., :2]) > FARTHEST_PX).any(axis=-1)
    out[..., 2] = np.minimum(out[..., 2], 1.0)
    out[missing] = np.nan
    return out


def read_coco(path: Path | str, skeleton: Skeleton | None = None) -> Detections:
    """COCO-style JSON: a list of results, or a file with `images`, `annotations` and perhaps `categories`.

    The frame number is that in an image's file name (or in an `image_id` that is a name), else the image id, and where
    neither counts the frames, the position in order. In annotations v = 2 (seen) has confidence 1, v = 1 (hidden) 0.5.
    `categories` say which entries are people (`formats.coco`).

    Raises:
        VergenceError: not such a file, images unknown, or a number of joints that is not the skeleton's.
    """
    path = Path(path)
    coco = read_coco_file(path)
    rows, category = people_rows(coco, [row for row in coco.rows if row.keypoints and not row.iscrowd])
    nobody = coco.images and not coco.rows and category is not None and category.keypoints  # looked for, and not seen
    if not rows and not nobody:
        raise VergenceError(f"{path} holds no keypoints of people", "Each entry needs `image_id` and `keypoints`.")
    if skeleton is None and category is not None and category.keypoints:
        skeleton = skeleton_of_names(category.keypoints)
    numbers, own = image_numbers(coco, rows)
    counted, kept = counted_frames(list(numbers.values()), from_zero=True)
    raw: dict[int, list[np.ndarray]] = {counted[number]: [] for number in sorted(numbers.values())}
    people = [triples(row.keypoints or [], path) for row in rows]
    for row, person in zip(rows, label_confidence(people) if coco.labelled else people):
        raw[counted[numbers[plain_id(row.image_id)]]].append(person)
    scaled, told = on_one_scale(raw, path.name)
    chosen, notes = decide_skeleton([p for frame in scaled.values() for p in frame], skeleton, path)
    frames = _cleaned(scaled, chosen, notes, path)
    notes = list(dict.fromkeys([*notes, *told]))
    return Detections(chosen, frames, bool(coco.images), image_size(coco), tuple(notes), kept if own else None)


@dataclass(frozen=True)
class KeypointFile:
    """What a `keypoints.npz` holds."""

    keypoints: Float[np.ndarray, "T V J 3"]
    joint_names: tuple[str, ...] = ()
    fps: float | None = None


def read_keypoint_npz(path: Path | str) -> KeypointTable:
    """Our own file: `keypoints` T V J 3 (x, y, confidence; NaN = missing), `joint_names`, `fps`.

    Without `joint_names` the joints are measured, as those of bare lists are.

    Raises:
        VergenceError: missing, not an NPZ, a key missing, or shapes that do not fit.
    """
    path = Path(path)
    data = read_npz_as(path, KeypointFile, "The shape is T V J 3: x, y, confidence; see the capture format.")
    names = data.joint_names
    points, told = views_on_one_scale(data.keypoints, path.name)
    if not names:
        skeleton, note = decide_skeleton(list(clean(points).reshape(-1, *points.shape[2:])), None, path)
        points, told = points[:, :, : len(skeleton)], told + note
    elif points.shape[2] == len(names):
        skeleton = skeleton_from_names(names)
    else:
        raise VergenceError(f"{path} has {points.shape[2]} joints and {len(names)} joint_names", "They must agree.")
    if data.fps is not None and not 0 < data.fps < 1e6:
        raise VergenceError(f"fps of {path} is {data.fps:g}", "Give frames per second, or leave it out.")
    if (points[..., 2] > 1).any():
        told.append(f"{path.name}: confidences above 1 were taken as 1")
    return KeypointTable(clean(points), skeleton, data.fps, tuple(told))


OPENPOSE = Reader(Path.is_dir, read_openpose)
COCO = Reader(lambda path: path.suffix.lower() == ".json" and not path.is_dir(), read_coco)
NPZ = Reader(lambda path: path.suffix.lower() == ".npz", read_keypoint_npz, all_cameras=True)
