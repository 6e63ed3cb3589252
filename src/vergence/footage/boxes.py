"""Person boxes from a detector's files, and one person followed through them.

Two forms are read: COCO-style JSON (`bbox` = x y width height; a list of results, or `images` and `annotations`), and
CSV with the columns frame, x, y, w, h and perhaps score. A box is in px of the image as displayed; frames are counted
from 0, or carry the numbers of the images' file names.

Which person: the one that is largest and surest where somebody is first seen, then whoever overlaps most with where
that person last was. It needs neither colours nor a motion model, and fails where two people cross: the boxes then
change hands, which shows as a jump in the overlay. Give one person's boxes, or keypoints, where that happens.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError, refusing
from vergence.files import read_text
from vergence.footage.formats.coco import image_numbers, people_rows, plain_id, read_coco_file
from vergence.footage.keypoints import FARTHEST_PX

COLUMNS = ("frame", "x", "y", "w", "h")

Boxes = Float[np.ndarray, "P 5"]


def read_boxes(path: Path | str) -> dict[int, Boxes]:
    """Frame number to the boxes seen in it: x, y, width, height, score (1 where there is none).

    Raises:
        VergenceError: missing, neither form, or values that are no boxes.
    """
    path = Path(path)
    if not path.is_file():
        raise VergenceError(f"there is no boxes file {path}", "Check the path.")
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(read_text(path), path)
    if not rows:
        raise VergenceError(f"{path} holds no boxes", f"CSV wants the columns {', '.join(COLUMNS)}; JSON wants `bbox`.")
    found: dict[int, list[list[float]]] = {}
    for frame, values in rows:
        if not (np.abs(values) < FARTHEST_PX).all() or min(values[2:4]) <= 0 or frame < 0:
            raise VergenceError(
                f"{path}: the box of frame {frame} is {values[:4]}",
                "Give frames from 0, and x y width height in px, width and height above 0.",
            )
        found.setdefault(frame, []).append(values)
    return {frame: np.array(boxes) for frame, boxes in sorted(found.items())}


def _csv_rows(text: str, path: Path) -> list[tuple[int, list[float]]]:
    lines = [line for line in csv.reader(text.splitlines()) if line and any(word.strip() for word in line)]
    names = [word.strip().lower() for word in lines[0]] if lines else []
    if set(COLUMNS) <= set(names):
        order = [names.index(name) for name in COLUMNS] + ([names.index("score")] if "score" in names else [])
        lines = lines[1:]
    else:
        order = list(range(min(len(names), 6)))
    wanted, remedy = max([*order, len(COLUMNS) - 1]) + 1, f"The columns are {', '.join(COLUMNS)} and perhaps score."
    rows = []
    for number, line in enumerate(lines, start=1):
        if len(line) < wanted:
            raise VergenceError(f"{path}, row {number}, has {len(line)} of {wanted} values", remedy)
        with refusing(f"{path}, row {number}", remedy, ValueError, OverflowError):
            frame, *values = (float(line[i]) for i in order)
            rows.append((int(frame), [*values, 1.0][:5]))
    return rows


def _json_rows(path: Path) -> list[tuple[int, list[float]]]:
    coco = read_coco_file(path)
    rows, _ = people_rows(coco, [row for row in coco.rows if row.bbox and not row.iscrowd])
    for row in rows:
        if row.image_id is None or len(row.bbox or ()) != 4 or None in (row.bbox or ()):
            raise VergenceError(
                f"{path} has the box {row.bbox} of image {row.image_id}", "Each needs `image_id` and four numbers."
            )
    if not rows:
        return []
    numbers, own = image_numbers(coco, rows)
    if not own:
        raise VergenceError(f"{path}: image {next(iter(numbers))!r} has no number, or others have the same",
                            "Number the frames.")  # fmt: skip
    return [
        (numbers[plain_id(row.image_id)], [*map(float, row.bbox or ()), 1.0 if row.score is None else row.score])  # type: ignore[arg-type]
        for row in rows
    ]


def follow(boxes: Mapping[int, Boxes]) -> dict[int, Float[np.ndarray, " 4"]]:
    """One person's box for every frame in which somebody was seen (see the module's text)."""
    chosen: dict[int, np.ndarray] = {}
    last: np.ndarray | None = None
    for frame in sorted(boxes):
        here = boxes[frame]
        if not len(here):
            continue
        rank = here[:, 2] * here[:, 3] * here[:, 4] if last is None else _nearness(here, last)
        last = here[int(np.argmax(rank)), :4]
        chosen[frame] = last
    return chosen


def _nearness(boxes: Boxes, last: Float[np.ndarray, " 4"]) -> Float[np.ndarray, " P"]:
    """Intersection over union; below 0, and the less the farther away, where boxes do not touch."""
    low = np.maximum(boxes[:, :2], last[:2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:4], last[:2] + last[2:])
    common = np.clip(high - low, 0, None).prod(1)
    union = boxes[:, 2:4].prod(1) + last[2:].prod() - common
    apart = np.linalg.norm(boxes[:, :2] + boxes[:, 2:4] / 2 - last[:2] - last[2:] / 2, axis=1)
    return np.where(common > 0, common / union, -apart)
