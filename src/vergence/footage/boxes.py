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
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.keypoints import frame_number

COCO_PERSON = 1
COLUMNS = ("frame", "x", "y", "w", "h")

Boxes = Float[np.ndarray, "P 5"]


def read_boxes(path: Path | str) -> dict[int, Boxes]:
    """Frame number to the boxes seen in it: x, y, width, height, score (1 where there is none).

    Raises:
        VergenceError: missing, neither form, or values that are no boxes.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise VergenceError(f"there is no boxes file {path}", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise VergenceError(f"{path} cannot be read as text: {error}", "Give COCO-style JSON or CSV.") from error
    rows = _json_rows(text, path) if path.suffix.lower() == ".json" else _csv_rows(text, path)
    if not rows:
        raise VergenceError(f"{path} holds no boxes", f"CSV wants the columns {', '.join(COLUMNS)}; JSON wants `bbox`.")
    found: dict[int, list[list[float]]] = {}
    for frame, values in rows:
        if not np.isfinite(values).all() or min(values[2:4]) <= 0:
            raise VergenceError(
                f"{path}: the box of frame {frame} is {values[:4]}", "Give x y width height, width and height above 0."
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
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            frame, *values = (float(line[i]) for i in order)
            rows.append((int(frame), [*values, 1.0][:5]))
            if len(values) < 4:
                raise ValueError(f"{len(values)} numbers after the frame")
        except (ValueError, IndexError) as error:
            raise VergenceError(
                f"{path}, row {number}: {error}", f"The columns are {', '.join(COLUMNS)} and perhaps score."
            ) from error
    return rows


def _json_rows(text: str, path: Path) -> list[tuple[int, list[float]]]:
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        raise VergenceError(f"{path} is not readable JSON: {error}", "Write it again.") from error
    images = data.get("images", []) if isinstance(data, dict) else []
    rows = data.get("annotations") if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise VergenceError(
            f"{path} is no COCO-style file: neither a list of results nor `images` and `annotations`",
            "Each entry needs `image_id` and `bbox`.",
        )
    rows = [row for row in rows if isinstance(row, dict) and row.get("bbox") is not None]
    people = [row for row in rows if row.get("category_id") == COCO_PERSON]
    names = {image.get("id"): str(image.get("file_name", image.get("id"))) for image in images}
    found = []
    for row in people or rows:
        key = row.get("image_id")
        try:
            values = [float(value) for value in row["bbox"]]
            score = float(row.get("score", 1.0))
        except (TypeError, ValueError):
            values, score = [], 1.0
        if len(values) != 4 or key is None:
            raise VergenceError(f"{path} has an entry {row}", "Each needs `image_id` and `bbox` of four numbers.")
        number = key if isinstance(key, int) and key not in names else frame_number(names.get(key, str(key)), -1)
        if number < 0:
            raise VergenceError(f"{path}: image {names.get(key, key)!r} has no number", "Number the frames.")
        found.append((number, [*values, score]))
    return found


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
