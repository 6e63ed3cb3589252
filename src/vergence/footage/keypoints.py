"""2D keypoints from files: OpenPose folders, COCO-style JSON, and Vergence's own NPZ.

Every reader gives people per frame, as many as were seen, as arrays P J 3 (x, y, confidence); missing is NaN in all
three. Frames keep the numbers that their files carry, so that a frame whose file is lost leaves a gap instead of moving
the later ones.

Lists without names hold the joints of one of several layouts; `layouts` measures which. A person without any values is
nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence import plugins
from vergence.errors import VergenceError
from vergence.files import read_arrays
from vergence.footage.images import natural_key
from vergence.footage.keypoint_formats.confidences import on_one_scale, views_on_one_scale
from vergence.footage.layouts import decide_layout, skeleton_of_names
from vergence.footage.readers import Reader, find_reader
from vergence.skeleton import Skeleton, get_skeleton, skeleton_from_names

HIDDEN_CONFIDENCE = 0.5  # of a COCO label with v = 1: the annotator guessed it
# Numbers of images that lie farther apart than this, on average, are identities and do not count frames.
SPARSE = 50

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
    """

    skeleton: Skeleton
    people: Mapping[int, People]
    last_known: bool = False
    image_size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

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


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VergenceError(f"there is no keypoint file {path}", "Check the path.") from None
    except (ValueError, OSError) as error:
        raise VergenceError(f"{path} is not readable JSON: {error}", "Write it again.") from error


def read_openpose(folder: Path | str, skeleton: Skeleton | None = None) -> Detections:
    """A folder with one OpenPose JSON file per frame; the last number in a file's name is its frame number.

    Raises:
        VergenceError: no folder, no files, two files of one frame, a broken file, or an undecided skeleton.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VergenceError(f"there is no keypoint folder {folder}", "Check the path.")
    files = sorted(folder.glob("*.json"), key=lambda p: natural_key(p.name))
    if not files:
        raise VergenceError(f"folder {folder} holds no keypoint files", "OpenPose writes one *.json per frame.")
    raw: dict[int, list[np.ndarray]] = {}
    for position, file in enumerate(files):
        number = frame_number(file.name, position)
        if number in raw:
            raise VergenceError(
                f"{folder} has two files of frame {number}, one is {file.name}", "Keep one camera's files per folder."
            )
        found = [_openpose_person(person, file) for person in _openpose_people(file)]
        raw[number] = [person for person in found if len(person)]
    scaled, told = on_one_scale(raw, folder.name)
    people = [person for frame in scaled.values() for person in frame]
    chosen, notes = _decide_skeleton(people, skeleton, folder)
    notes += told
    gaps = max(raw) - min(raw) + 1 - len(raw)
    if gaps:
        notes.append(f"{folder.name}: {gaps} frames between {min(raw)} and {max(raw)} have no file and count as empty")
    frames = {number: _stack(frame, chosen, notes, folder) for number, frame in scaled.items()}
    return Detections(chosen, frames, True, None, tuple(dict.fromkeys(notes)))


def _openpose_people(file: Path) -> list[Any]:
    data = _load_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("people"), list):
        raise VergenceError(f"{file} is not an OpenPose file: it has no list `people`", "Check the keypoints path.")
    return data["people"]


def _openpose_person(person: Any, file: Path) -> np.ndarray:
    """One person as J 3, straight from the file."""
    values = person.get("pose_keypoints_2d", person.get("pose_keypoints")) if isinstance(person, dict) else None
    if values is None:
        raise VergenceError(f"a person in {file} has no `pose_keypoints_2d`", "Run OpenPose with body keypoints.")
    return _triples(values, file)


def _triples(values: Any, file: Path) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise VergenceError(f"keypoints in {file} are not numbers", "Write the file again.") from None
    if array.size % 3:
        raise VergenceError(f"keypoints in {file} are {array.size} numbers, not triples of x, y, confidence")
    return array.reshape(-1, 3)


def frame_number(name: str, position: int) -> int:
    """The last number in a file's name (its extension, `_keypoints` and the like aside), else its position."""
    numbers = re.findall(r"\d+", Path(name).stem)
    return int(numbers[-1]) if numbers else position


def _decide_skeleton(people: Sequence[np.ndarray], given: Skeleton | None, where: Path) -> tuple[Skeleton, list[str]]:
    """The skeleton of OpenPose-like lists, and how it was decided."""
    counts = sorted({len(person) for person in people})
    if len(counts) > 1:
        raise VergenceError(
            f"people in {where} have different numbers of joints: {counts}", "Use one model per camera."
        )
    if given is not None:
        if counts and counts[0] != len(given):
            raise VergenceError(
                f"people in {where} have {counts[0]} joints, skeleton {given.name} has {len(given)}",
                "Give the `skeleton` that the keypoints were made with.",
            )
        return given, []
    if not counts:
        raise VergenceError(f"nobody is in any frame of {where}", "Check the detector, or leave this camera out.")
    layout, note = decide_layout([clean(person) for person in people], where.name)
    return layout.skeleton, [note] if note else []


def _stack(people: Sequence[np.ndarray], skeleton: Skeleton, notes: list[str], where: Path) -> People:
    if not people:
        return np.empty((0, len(skeleton), 3))
    array = np.stack(people)[:, : len(skeleton)]
    if (array[..., 2] > 1).any():
        notes.append(f"{where.name}: confidences above 1 were taken as 1")
    array = clean(array)
    return array[np.isfinite(array[..., 2]).any(axis=1)]


def clean(keypoints: Float[np.ndarray, "... J 3"]) -> Float[np.ndarray, "... J 3"]:
    """Missing points as NaN in all three values; confidences above 1 become 1.

    Missing is: not finite, confidence 0 or less, or the (0, 0, 0) of files that have no other word for it.
    """
    out = np.array(keypoints, dtype=np.float64)
    missing = ~np.isfinite(out).all(axis=-1) | ~(out[..., 2] > 0)
    out[..., 2] = np.minimum(out[..., 2], 1.0)
    out[missing] = np.nan
    return out


def read_coco(path: Path | str, skeleton: Skeleton | None = None) -> Detections:
    """COCO-style JSON: a list of results, or a file with `images`, `annotations` and perhaps `categories`.

    The frame number is the last number in an image's file name (or in an `image_id` that is a name), else the image
    id, and where neither counts the frames, the position in natural order. In annotations v = 2 (seen) has confidence
    1, v = 1 (hidden) 0.5.

    Raises:
        VergenceError: not such a file, images unknown, or a number of joints that is not the skeleton's.
    """
    path = Path(path)
    data = _load_json(path)
    if isinstance(data, dict) and isinstance(data.get("annotations"), list):
        rows, labelled = data["annotations"], True
        images = data.get("images") or []
        skeleton = skeleton or _category_skeleton(data)
    elif isinstance(data, list):
        rows, images, labelled = data, [], False
    else:
        raise VergenceError(
            f"{path} is no COCO-style file: neither a list of results nor `images` and `annotations`",
            "Frames of OpenPose belong in a folder, one file each.",
        )
    rows = [row for row in rows if isinstance(row, dict) and row.get("keypoints") is not None]
    if not rows:
        raise VergenceError(f"{path} holds no keypoints", "Each entry needs `image_id` and `keypoints`.")
    numbers = _image_numbers(images, rows, path)
    raw: dict[int, list[np.ndarray]] = {number: [] for number in numbers.values()}
    for row in rows:
        if row.get("image_id") not in numbers:
            raise VergenceError(f"{path} has keypoints for image {row.get('image_id')!r}, which is not in `images`")
        person = _triples(row["keypoints"], path)
        if labelled and np.isin(person[:, 2], (0, 1, 2)).all():
            person[:, 2] = np.select([person[:, 2] == 2, person[:, 2] == 1], [1.0, HIDDEN_CONFIDENCE], 0.0)
        raw[numbers[row["image_id"]]].append(person)
    scaled, told = on_one_scale(raw, path.name)
    chosen, notes = _decide_skeleton([p for frame in scaled.values() for p in frame], skeleton, path)
    notes += told
    frames = {number: _stack(frame, chosen, notes, path) for number, frame in scaled.items()}
    return Detections(chosen, frames, bool(images), _coco_size(images, path), tuple(dict.fromkeys(notes)))


def _category_skeleton(data: Mapping[str, Any]) -> Skeleton | None:
    for category in data.get("categories") or []:
        if isinstance(category, dict) and category.get("keypoints"):
            return skeleton_of_names(category["keypoints"])
    return None


def _image_numbers(images: Sequence[Any], rows: Sequence[Mapping[str, Any]], path: Path) -> dict[Any, int]:
    """Image id to frame number."""
    names = {image["id"]: str(image.get("file_name", image["id"])) for image in images} or {
        row.get("image_id"): str(row.get("image_id")) for row in rows
    }
    if None in names:
        raise VergenceError(f"{path} has keypoints without `image_id`", "Every entry needs one.")
    numbers = {key: frame_number(name, -1) for key, name in names.items()}
    span = max(numbers.values()) - min(numbers.values()) + 1
    if min(numbers.values()) >= 0 and len(set(numbers.values())) == len(numbers) and span <= SPARSE * len(numbers):
        return numbers
    order = sorted(names, key=lambda key: natural_key(names[key]))
    return {key: position for position, key in enumerate(order)}


def _coco_size(images: Sequence[Any], path: Path) -> tuple[int, int] | None:
    sizes = {(int(i["width"]), int(i["height"])) for i in images if i.get("width") and i.get("height")}
    if len(sizes) > 1:
        raise VergenceError(f"images in {path} have different sizes: {sorted(sizes)}", "Keep one camera per file.")
    return sizes.pop() if sizes else None


def read_keypoint_npz(path: Path | str) -> KeypointTable:
    """Our own file: `keypoints` T V J 3 (x, y, confidence; NaN = missing), `joint_names`, `fps`.

    Without `joint_names` the joints are measured, as those of bare lists are.

    Raises:
        VergenceError: missing, not an NPZ, a key missing, or shapes that do not fit.
    """
    path = Path(path)
    data = read_arrays(path, ("keypoints",), "See the capture format.")
    points = np.asarray(data["keypoints"], dtype=np.float64)
    names = [str(name) for name in np.atleast_1d(data["joint_names"])] if "joint_names" in data else []
    if points.ndim != 4 or points.shape[-1] != 3:
        raise VergenceError(
            f"`keypoints` of {path} have shape {points.shape}", "The shape is T V J 3: x, y, confidence."
        )
    points, told = views_on_one_scale(points, path.name)
    if not names:
        skeleton, note = _decide_skeleton(list(clean(points).reshape(-1, *points.shape[2:])), None, path)
        points, told = points[:, :, : len(skeleton)], told + note
    elif points.shape[2] == len(names):
        skeleton = skeleton_from_names(names)
    else:
        raise VergenceError(f"{path} has {points.shape[2]} joints and {len(names)} joint_names", "They must agree.")
    if (points[..., 2] > 1).any():
        told.append(f"{path.name}: confidences above 1 were taken as 1")
    fps = float(data["fps"]) if "fps" in data and np.ndim(data["fps"]) == 0 else None
    return KeypointTable(clean(points), skeleton, fps, tuple(told))


OPENPOSE = Reader(Path.is_dir, read_openpose)
COCO = Reader(lambda path: path.suffix.lower() == ".json" and not path.is_dir(), read_coco)
NPZ = Reader(lambda path: path.suffix.lower() == ".npz", read_keypoint_npz, all_cameras=True)
