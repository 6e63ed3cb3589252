"""COCO person keypoints: 2D labels of people in single images, and of any other file in the same form.

    ROOT/annotations/person_keypoints_train2017.json    ROOT/train2017/000000000785.jpg
    ANY.json with images, annotations and categories     images by `file_name`, beside it

The category `person` names the joints, so files of other skeletons (such as those that `vergence synth` writes) are read
alike. A label with v = 1 is hidden: its confidence is 0.5. Crowds and people without a labelled joint are left out and
counted. The segment's area, by which OKS measures, is the measure `area_px`. Average precision over whole images
needs what is not a crop: `read_coco_truth` gives everybody, crowds included, by image.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vergence.datasets.people import Person, flat_records
from vergence.datasets.records import Records
from vergence.errors import VergenceError
from vergence.footage.keypoints import HIDDEN_CONFIDENCE
from vergence.metrics.keypoints import TruePerson
from vergence.skeleton import Skeleton, skeleton_from_names

WIDER = 1.25  # the box around a person's, about its centre


def read_coco(path: Path | str, split: str = "train") -> Records:
    """People with 2D labels; the skeleton is the file's (`coco_17`). `frame` counts the file's annotations from 0.

    Args:
        path: COCO's folder, or a JSON file in its form.
        split: `train` or `val` of COCO's folder (of 2017, else 2014); a JSON file has none.

    Raises:
        VergenceError: no such file, a damaged one, joints that do not fit their category, or no image of anybody.
    """
    file, folder = _files(Path(path), split)
    content = _load(file)
    skeleton = _skeleton(file, content)
    images = {row["id"]: row for row in content["images"]}
    counts: Counter[str] = Counter()
    people = []
    for number, row in enumerate(content["annotations"]):
        labels = _labels(file, row, number, skeleton)
        if row.get("iscrowd"):
            counts["crowds"] += 1
        elif not (labels[:, 2] > 0).any():
            counts["people without labels"] += 1
        else:
            people.append(_person(file, folder, images, row, number, labels))
    return flat_records(people, skeleton, counts, {"annotations": file.name, "split": split})


def read_coco_truth(path: Path | str, split: str = "val") -> dict[int, list[TruePerson]]:
    """Everybody by image number, for `metrics.keypoint_precision`; images without people are there as well.

    Raises:
        VergenceError: as `read_coco`.
    """
    file, _ = _files(Path(path), split)
    content = _load(file)
    skeleton = _skeleton(file, content)
    truth: dict[int, list[TruePerson]] = {row["id"]: [] for row in content["images"]}
    for number, row in enumerate(content["annotations"]):
        labels = _labels(file, row, number, skeleton)
        points = np.where(labels[:, 2:] > 0, labels[:, :2], np.nan)
        try:
            person = TruePerson(points, float(row["area"]), np.array(row["bbox"], float), bool(row.get("iscrowd")))
            truth[row["image_id"]].append(person)
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(file, number, error) from None
    return truth


def _files(path: Path, split: str) -> tuple[Path, Path]:
    """The annotations, and the folder of their images."""
    if path.suffix == ".json":
        return path, path.parent
    if split not in ("train", "val"):
        raise VergenceError(f"split {split!r} of COCO", "Use train or val; its test labels are not public.")
    for year in ("2017", "2014"):
        file = path / "annotations" / f"person_keypoints_{split}{year}.json"
        if file.exists():
            inner = path / "images" / f"{split}{year}"
            return file, inner if inner.is_dir() else path / f"{split}{year}"
    raise VergenceError(
        f"{path} has no annotations/person_keypoints_{split}2017.json",
        "Give COCO's folder, with annotations and images unpacked in it, or a JSON file.",
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VergenceError(f"{file} is not readable JSON: {error}", "Download it again.") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in parts):
        raise VergenceError(f"{file} is not in COCO's form", "It needs the lists images, annotations and categories.")
    if not all("id" in row for row in content["images"]):
        raise VergenceError(f"{file} has an image without an id", "Download it again.")
    return content


def _skeleton(file: Path, content: Mapping[str, Any]) -> Skeleton:
    named = [row["keypoints"] for row in content["categories"] if row.get("name") == "person" and row.get("keypoints")]
    if not named:
        raise VergenceError(f"{file} has no category `person` with keypoints", "Take the person_keypoints file.")
    return skeleton_from_names(named[0])


def _labels(file: Path, row: Mapping[str, Any], number: int, skeleton: Skeleton) -> np.ndarray:
    """`J 3`: x, y, v."""
    try:
        return np.array(row["keypoints"], dtype=float).reshape(len(skeleton), 3)
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(file, number, error) from None


def _person(
    file: Path,
    folder: Path,
    images: Mapping[int, Mapping[str, Any]],
    row: Mapping[str, Any],
    number: int,
    labels: np.ndarray,
) -> Person:
    try:
        image = images[row["image_id"]]
        x, y, w, h = np.array(row["bbox"], dtype=float)
        name, size = str(image["file_name"]), (int(image["width"]), int(image["height"]))
        area = float(row.get("area", np.nan))
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(file, number, error) from None
    known = labels[:, 2] > 0
    return Person(
        path=folder / name,
        box=np.array([x - (WIDER - 1) / 2 * w, y - (WIDER - 1) / 2 * h, WIDER * w, WIDER * h]),
        keypoints=np.where(known[:, None], labels[:, :2], np.nan),
        confidence=np.where(known, np.where(labels[:, 2] == 1, HIDDEN_CONFIDENCE, 1.0), 0.0),
        number=number,
        size=size,
        measures={"area_px": area},
    )


def _broken(file: Path, number: int, error: Exception) -> VergenceError:
    return VergenceError(
        f"{file}: annotation {number} cannot be read ({type(error).__name__}: {error})",
        "Each has image_id, bbox, area and three numbers for each joint of its category.",
    )
