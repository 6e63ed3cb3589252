"""What readers of datasets share: keypoints beyond the image's edge, people who cannot be cropped."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.formats.media import image_size
from vergence.datasets.make_records import make_records
from vergence.datasets.records import ROWS_AT_ONCE, Records, record_crops
from vergence.errors import VergenceError
from vergence.progress import followed, hearing
from vergence.skeleton import Skeleton

T = TypeVar("T")
SEEN_JOINTS = 4  # fewer in the image make no box


def chosen(text: str, sets: Mapping[str, Sequence[T]], known: Mapping[str, T], what: str, remedy: str) -> tuple[T, ...]:
    """One of the sets by its name, or some of what is known, joined by commas; in the order of what is known.

    Raises:
        VergenceError: a word that is none of these.
    """
    if text in sets:
        return tuple(sets[text])
    words = [word.strip().upper() for word in text.split(",")]
    if not all(word in known for word in words):
        raise VergenceError(f"{what} {text!r}", remedy)
    return tuple(one for word, one in known.items() if word in words)


def seen_within(keypoints: Float[ndarray, "N J 2"], size: Float[ndarray, "N 2"]) -> Float[ndarray, "N J 2"]:
    """Keypoints in px, NaN where they lie beyond the image's edge."""
    with np.errstate(invalid="ignore"):
        inside = ((keypoints >= -0.5) & (keypoints <= size[:, None] - 0.5)).all(-1, keepdims=True)
    return np.where(inside, keypoints, np.nan)


def with_crops(records: Records, counts: Counter[str]) -> Records:
    """The rows whose boxes can be cropped; the others are counted as `boxes that cannot be cropped`.

    Raises:
        VergenceError: no row is left.
    """
    starts = range(0, len(records), ROWS_AT_ONCE)
    good = np.concatenate([record_crops(records[i : i + ROWS_AT_ONCE], 64).good for i in starts] or [np.zeros(0, bool)])
    counts["boxes that cannot be cropped"] += int((~good).sum())
    if not good.any():
        told = ", ".join(f"{what}: {number}" for what, number in counts.items() if number)
        raise VergenceError(f"no image with a person is left ({told or 'nothing was there'})",
                            "Check that labels and images belong together and lie as docs/datasets.md says.")  # fmt: skip
    return records if good.all() else records[good]


@dataclass(frozen=True)
class Person:
    """One person in one image, with 2D labels alone.

    Attributes:
        path: the image.
        box: x y w h px.
        keypoints: px, NaN where unlabelled.
        confidence: 0 where unlabelled.
        number: of the person in the annotation file, from 0.
        size: (width, height), where the annotations say so.
        groups: names by group.
        measures: numbers by name (`Records.measures`).
    """

    path: Path
    box: Float[ndarray, " 4"]
    keypoints: Float[ndarray, "J 2"]
    confidence: Float[ndarray, " J"]
    number: int
    size: tuple[int, int] | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)


def flat_records(
    people: Sequence[Person], skeleton: Skeleton, counts: Counter[str], report: Mapping[str, Any]
) -> Records:
    """People with 2D labels as records: everybody a subject and a time step of their own, every image a sequence.

    `frame` is the person's number in the annotation file, by which other labels (head and segment sizes) are found. People
    whose image is missing or damaged are left out and counted.

    Raises:
        VergenceError: nobody is left.
    """
    listed: dict[Path, set[str]] = {}
    sizes: dict[Path, tuple[int, int] | None] = {}
    kept: list[Person] = []
    for person in followed(people, "people", len(people), hearing()):
        folder = person.path.parent
        if folder not in listed:
            listed[folder] = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        if person.path.name not in listed[folder]:
            counts["people whose image is missing"] += 1
            continue
        if person.path not in sizes:
            sizes[person.path] = person.size
            with suppress(VergenceError):
                sizes[person.path] = person.size or image_size(person.path)
        if sizes[person.path] is None:
            counts["people whose image is damaged"] += 1
            continue
        kept.append(person)
    n, joints = len(kept), len(skeleton)
    order = {path: i for i, path in enumerate(sizes)}
    number = np.array([person.number for person in kept], dtype=int)
    more: dict[str, Any] = {
        kind: {name: np.array([getattr(person, kind)[name] for person in kept]) for name in getattr(kept[0], kind)}
        for kind in ("groups", "measures")
        if kept
    }
    records = make_records(
        [person.path for person in kept],
        skeleton,
        size=np.array([sizes[person.path] for person in kept], dtype=float).reshape(n, 2),
        box=np.array([person.box for person in kept], dtype=float).reshape(n, 4),
        keypoints=np.array([person.keypoints for person in kept], dtype=float).reshape(n, joints, 2),
        confidence=np.array([person.confidence for person in kept], dtype=float).reshape(n, joints),
        subject=number,
        sequence=np.array([order[person.path] for person in kept], dtype=int),
        frame=number,
        **more,
    )
    records = with_crops(records, counts)
    return dataclasses.replace(records, report={**report, "left_out": {k: v for k, v in counts.items() if v}})
