"""Files in COCO's form: what they hold, which entries are people, and which frame an image is.

One declaration serves everybody who reads them (keypoints, boxes, the dataset). `categories` say which entries are people
where the file has them: a ball's box has no keypoints, a horse has seventeen. A list of results has none; there 1 is a
person (COCO's own numbers), or 0 where that occurs (numbers from 0), and one number alone is whatever was looked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from msgspec import Struct

from vergence.errors import VergenceError, refusing
from vergence.files import read_json
from vergence.footage.formats.names import name_numbers, natural_key

HIDDEN_CONFIDENCE = 0.5  # of a COCO label with v = 1: the annotator guessed it
PEOPLE = frozenset("person persons people human humans pedestrian pedestrians".split())

Id = int | float | str
Numbers = list[float | list[float | None] | None]


class Category(Struct):
    """What an entry can be of."""

    id: Id
    name: str = ""
    keypoints: list[str] | None = None


class ImageRow(Struct):
    """An image; sizes in px."""

    id: Id
    file_name: str | None = None
    width: float | None = None
    height: float | None = None


class Row(Struct):
    """An annotation or a result; px, as x, y, v (or confidence) and as x, y, width, height."""

    image_id: Id | None = None
    category_id: Id | None = None
    keypoints: Numbers | None = None
    bbox: list[float | None] | None = None
    score: float | None = None
    area: float | None = None
    iscrowd: bool | int | None = None


class CocoFile(Struct):
    """A file with images and annotations."""

    annotations: list[Row] | None = None
    images: list[ImageRow] | None = None
    categories: list[Category] | None = None


@dataclass(frozen=True)
class Coco:
    """A file as it was read.

    Attributes:
        path: of the file.
        rows: annotations or results.
        images: empty in a list of results.
        categories: empty where there are none.
        labelled: rows are annotations, whose v is 0, 1 or 2.
    """

    path: Path
    rows: list[Row]
    images: list[ImageRow]
    categories: list[Category]
    labelled: bool


def read_coco_file(path: Path, remedy: str = "Write it again.") -> Coco:
    """A list of results, or a file with `images`, `annotations` and perhaps `categories`.

    Raises:
        VergenceError: missing, damaged, neither form, or two images of one id.
    """
    data = read_json(path, list[Row] | CocoFile, remedy, "COCO-style file")
    if isinstance(data, list):
        return Coco(path, data, [], [], False)
    if data.annotations is None:
        raise VergenceError(
            f"{path} is no COCO-style file: neither a list of results nor `images` and `annotations`",
            "Frames of OpenPose belong in a folder, one file each.",
        )
    images = data.images or []
    twice = [image for image, count in Counter(plain_id(row.id) for row in images).items() if count > 1]
    if twice:
        raise VergenceError(f"{path} has two images with the id {twice[0]}", "Every image needs its own.")
    return Coco(path, data.annotations, images, data.categories or [], True)


def plain_id(value: Id | None) -> str:
    """An id that is the same whether it is written 7, 7.0 or "7"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def people_rows(coco: Coco, rows: Sequence[Row]) -> tuple[list[Row], Category | None]:
    """Those of `rows` that are people, crowds of them as well, and their category where the file has it.

    Raises:
        VergenceError: nothing says which of several categories is people.
    """
    rows = list(rows)
    used = {plain_id(row.category_id) for row in rows if row.category_id is not None}
    category = None
    if coco.categories:
        category = _category(coco, used)
        wanted = plain_id(category.id)
    elif len(used) > 1:
        wanted = next((known for known in ("0", "1") if known in used), "")
        if not wanted:
            raise VergenceError(
                f"{coco.path} has entries of categories {', '.join(sorted(used))}, and no `categories` that say what they are",
                "Give the file of people alone, or one with `categories`.",
            )
    if not used or (category is None and len(used) == 1):
        return rows, category
    return [row for row in rows if plain_id(row.category_id) == wanted], category


def _category(coco: Coco, used: set[str]) -> Category:
    """The category of people: by name, else the only one there is, or that has keypoints, or that is used."""
    named = [category for category in coco.categories if category.name.strip().lower() in PEOPLE]
    with_points = [category for category in coco.categories if category.keypoints]
    for choice in (
        [category for category in named if category.keypoints],
        named,
        coco.categories,
        with_points,
        [category for category in with_points if plain_id(category.id) in used],
        [category for category in coco.categories if plain_id(category.id) in used],
    ):
        if len(choice) == 1:
            return choice[0]
    if named:
        return named[0]
    names = ", ".join(category.name or plain_id(category.id) for category in coco.categories)
    raise VergenceError(f"none of the categories of {coco.path} is a person: {names}", "Call people's `person`.")


def triples(values: Numbers, path: Path | str) -> Float[np.ndarray, "J 3"]:
    """x, y, confidence of each joint, from one list or one of triples; null is NaN.

    Raises:
        VergenceError: no triples.
    """
    problem = f"keypoints in {path} are not numbers, or not as many each"
    with refusing(problem, "Write the file again.", TypeError, ValueError):
        array = np.asarray(values, dtype=np.float64).ravel()
    if array.size % 3:
        raise VergenceError(f"keypoints in {path} are {array.size} numbers, not triples of x, y, confidence")
    return array.reshape(-1, 3)


def label_confidence(people: Sequence[Float[np.ndarray, "J 3"]]) -> list[Float[np.ndarray, "J 3"]]:
    """Labels' v as confidence: 2 (seen) is 1, 1 (hidden) is 0.5, 0 is 0; scores, which are not whole, stay."""
    values = np.concatenate([np.nan_to_num(person[:, 2]) for person in people]) if people else np.empty(0)
    if not np.isin(values, (0, 1, 2)).all():
        return list(people)
    table = np.array([0.0, HIDDEN_CONFIDENCE, 1.0])
    return [np.column_stack([p[:, :2], table[np.nan_to_num(p[:, 2]).astype(int)]]) for p in people]


def image_numbers(coco: Coco, rows: Sequence[Row]) -> tuple[dict[str, int], bool]:
    """Each image's number (see `names.name_numbers`), and whether these are numbers of the file's own; else the images'
    places in natural order.

    Raises:
        VergenceError: an entry without an image, of an image that the file does not have, or images of several folders.
    """
    names = {plain_id(image.id): image.file_name or plain_id(image.id) for image in coco.images}
    if any(row.image_id is None for row in rows):
        raise VergenceError(f"{coco.path} has entries without `image_id`", "Every entry needs one.")
    asked = {plain_id(row.image_id): row.image_id for row in rows}
    if names:
        for key, value in asked.items():
            if key not in names:
                raise VergenceError(f"{coco.path} has an entry for image {value!r}, which is not in `images`")
    else:
        names = {key: key for key in asked}
    numbers = _plain_numbers(names) or name_numbers(list(names.values()))
    if numbers is not None and len(set(numbers)) < len(numbers):
        folders = {name.replace("\\", "/").rpartition("/")[0] for name in names.values()}
        if len(folders) > 1:
            raise VergenceError(
                f"{coco.path} has images of one number in {len(folders)} folders: {', '.join(sorted(folders)[:4])}",
                "Keep one camera per file.",
            )
    if numbers is not None and len(set(numbers)) == len(numbers) and min(numbers) >= 0:
        return dict(zip(names, numbers)), True
    order = sorted(names, key=lambda key: natural_key(names[key]))
    return {key: place for place, key in enumerate(order)}, False


def _plain_numbers(names: Mapping[str, str]) -> list[int] | None:
    """The names as whole numbers, where they are nothing else."""
    if all(re.fullmatch(r"-?\d{1,400}", name) for name in names.values()):
        return [int(name) for name in names.values()]
    return None


def size_of(image: ImageRow, path: Path) -> tuple[int, int] | None:
    """(width, height) of an image, where the file says it.

    Raises:
        VergenceError: no whole number of pixels.
    """
    if not image.width or not image.height:
        return None
    if not (1 <= image.width < 1e6 and 1 <= image.height < 1e6):
        raise VergenceError(
            f"image {image.id} of {path} is {image.width:g} x {image.height:g}", "Sizes are whole pixels."
        )
    return round(image.width), round(image.height)


def image_size(coco: Coco) -> tuple[int, int] | None:
    """(width, height) of all images, where the file says it.

    Raises:
        VergenceError: images of different sizes, or no sizes at all.
    """
    sizes = {size_of(image, coco.path) for image in coco.images} - {None}
    if len(sizes) > 1:
        raise VergenceError(f"images in {coco.path} have different sizes: {sorted(filter(None, sizes))}",
                            "Keep one camera per file.")  # fmt: skip
    return sizes.pop() if sizes else None
