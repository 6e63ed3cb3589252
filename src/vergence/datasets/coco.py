"""COCO person keypoints: 2D labels of people in single images, and of any other file in the same form.

    ROOT/annotations/person_keypoints_train2017.json    ROOT/train2017/000000000785.jpg
    ANY.json with images, annotations and categories     images by `file_name`, beside it

The category of people names the joints, so files of other skeletons (such as those that `vergence synth` writes) are read
alike; entries of other categories (balls, horses) are left out, as are crowds and people without a labelled joint, and all
are counted. A label with v = 1 is hidden: its confidence is 0.5. A person without a box gets one around the labels. The
segment's area, by which OKS measures, is the measure `area_px`. Average precision over whole images needs what is not a
crop: `read_coco_truth` gives everybody, crowds included, by image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.datasets.people import Person, flat_records
from vergence.datasets.records import Records
from vergence.errors import VergenceError
from vergence.files import inside
from vergence.footage.formats.coco import (
    Coco,
    ImageRow,
    Row,
    label_confidence,
    people_rows,
    plain_id,
    read_coco_file,
    size_of,
    triples,
)
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
    coco, rows, skeleton = _people(file)
    images = {plain_id(image.id): image for image in coco.images}
    counts = Counter({"entries of other categories": len(coco.rows) - len(rows)})
    labels = [_labels(file, row, number, skeleton) for number, row in rows]
    people = []
    for (number, row), own in zip(rows, label_confidence(labels)):
        if row.iscrowd:
            counts["crowds"] += 1
        elif not (own[:, 2] > 0).any():
            counts["people without labels"] += 1
        else:
            people.append(_person(file, folder, images, row, number, own))
    return flat_records(people, skeleton, +counts, {"annotations": file.name, "split": split})


def read_coco_truth(path: Path | str, split: str = "val") -> dict[int, list[TruePerson]]:
    """Everybody by image number, for `metrics.keypoint_precision`; images without people are there as well.

    Raises:
        VergenceError: as `read_coco`.
    """
    file, _ = _files(Path(path), split)
    coco, rows, skeleton = _people(file)
    truth: dict[Any, list[TruePerson]] = {image.id: [] for image in coco.images}
    names = {plain_id(image): image for image in truth}
    for number, row in rows:
        labels = _labels(file, row, number, skeleton)
        points = np.where(labels[:, 2:] > 0, labels[:, :2], np.nan)
        if plain_id(row.image_id) not in names or row.area is None or len(row.bbox or ()) != 4:
            raise _broken(file, number, "its image, area or bbox is missing")
        person = TruePerson(points, row.area, np.array(row.bbox, float), bool(row.iscrowd))
        truth[names[plain_id(row.image_id)]].append(person)
    return truth


def _files(path: Path, split: str) -> tuple[Path, Path]:
    """The annotations, and the folder of their images."""
    if path.suffix == ".json":
        return path, path.parent
    if split not in ("train", "val"):
        raise VergenceError(f"COCO has no split {split!r} here", "Use train or val; its test labels are not public.")
    for year in ("2017", "2014"):
        file = path / "annotations" / f"person_keypoints_{split}{year}.json"
        if file.exists():
            inner = path / "images" / f"{split}{year}"
            return file, inner if inner.is_dir() else path / f"{split}{year}"
    raise VergenceError(
        f"{path} has no annotations/person_keypoints_{split}2017.json",
        "Give COCO's folder, with annotations and images unpacked in it, or a JSON file.",
    )


def _people(file: Path) -> tuple[Coco, list[tuple[int, Row]], Skeleton]:
    """The file, its entries of people with their places in it, and their joints."""
    coco = read_coco_file(file, "Download it again.")
    if not (coco.images and coco.labelled):
        raise VergenceError(
            f"{file} is not in COCO's form", "Give a JSON with the lists images, annotations and categories."
        )
    rows, category = people_rows(coco, coco.rows)
    if category is None or not category.keypoints:
        raise VergenceError(f"{file} has no category `person` with keypoints", "Take the person_keypoints file.")
    kept = {id(row) for row in rows}
    places = [(number, row) for number, row in enumerate(coco.rows) if id(row) in kept]
    return coco, places, skeleton_from_names(category.keypoints)


def _labels(file: Path, row: Row, number: int, skeleton: Skeleton) -> Float[np.ndarray, "J 3"]:
    """x, y, v; v is 0 where x or y is missing, or nothing is labelled."""
    if not row.keypoints:
        return np.zeros((len(skeleton), 3))
    labels = triples(row.keypoints, file)
    if len(labels) != len(skeleton):
        raise _broken(file, number, f"it has {len(labels)} joints, its category {len(skeleton)}")
    return np.where(np.isfinite(labels).all(1, keepdims=True), labels, 0.0)


def _person(
    file: Path, folder: Path, images: Mapping[str, ImageRow], row: Row, number: int, labels: Float[np.ndarray, "J 3"]
) -> Person:
    image = images.get(plain_id(row.image_id))
    known = labels[:, 2] > 0
    box = row.bbox
    if not box:
        low, high = labels[known, :2].min(0), labels[known, :2].max(0)
        box = [*low, *(high - low)]
    if image is None:
        raise VergenceError(
            f"{file}: annotation {number} is of image {row.image_id!r}, which is not in `images`",
            "List the image there, or remove the annotation.",
        )
    if image.file_name is None or len(box) != 4 or None in box:
        raise _broken(file, number, "its image has no file_name, or its bbox is not four numbers")
    x, y, w, h = np.array(box, dtype=float)
    return Person(
        path=_image_path(folder, image.file_name),
        box=np.array([x - (WIDER - 1) / 2 * w, y - (WIDER - 1) / 2 * h, WIDER * w, WIDER * h]),
        keypoints=np.where(known[:, None], labels[:, :2], np.nan),
        confidence=np.where(known, labels[:, 2], 0.0),
        number=number,
        size=size_of(image, file),
        measures={"area_px": float("nan") if row.area is None else row.area},
    )


def _image_path(folder: Path, name: str) -> Path:
    """The image of a name that may have been written on another machine: the longest end of it that is there.

    Raises:
        VergenceError: it leads out of the folder.
    """
    parts = name.replace("\\", "/").split("/")
    if ".." not in parts and len(parts) > 1 and ("\\" in name or parts[0].endswith(":") or not parts[0]):
        for start in range(len(parts)):
            if parts[start] and (folder / "/".join(parts[start:])).exists():
                return folder / "/".join(parts[start:])
        if not Path("/".join(parts)).exists():
            return folder / parts[-1]  # on no machine that is here: one that is missing
    return inside(folder, "/".join(parts))


def _broken(file: Path, number: int, problem: str) -> VergenceError:
    return VergenceError(
        f"{file}: annotation {number} cannot be read: {problem}",
        "Mend or leave it out: each has image_id, bbox, area and three numbers for each joint of its category.",
    )
