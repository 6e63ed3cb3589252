"""What file names say: their order, which are somebody else's, and which frame each one is.

A name may carry several numbers (`000012_keypoints_2`, `frame_00012_1920x1080`). The one that counts is the one that
differs from file to file and keeps the names' order. Times (epoch milliseconds, `1305031102.175304`, `20210301_123045_033`)
are numbers as well, but they do not count frames: steps between them that are multiples of one step say which frame each
is, and where they are not, the order does. So no number of a file is ever the size of an array.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

# Numbers farther apart than this, on average, do not count frames.
SPARSE = 50
# Up to here they may all the same, where the first frame is known to be 0.
LEAST_COUNT = 5000
# Steps from here on may be times; shorter ones are frames of which some are lost.
LEAST_STEP_OF_TIMES = 8
# Distance of a step from a multiple of the median step that is jitter, in steps.
JITTER = 0.3
# Cameras whose first numbers differ by more than this share of their length (or two frames) count on their own.
LEAD_SHARE = 0.1

_DIGITS, _SUFFIX, _SLASH = re.compile(r"(\d+)"), re.compile(r"\.[A-Za-z]\w*$"), re.compile(r"[\\/]")
_EPOCH = re.compile(r"(?<!\d)(\d{9,11})[._](\d{1,9})(?!\d)")
_DATE = re.compile(r"(?<!\d)(\d{4})\D?(\d\d)\D?(\d\d)\D{1,3}(\d\d)\D?(\d\d)\D?(\d\d)(?:\D(\d{1,9}))?(?!\d)")


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key under which `img2` comes before `img10`."""
    parts = [part for part in _DIGITS.split(name) if part]
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts], name


def visible(paths: Iterable[Path]) -> list[Path]:
    """In natural order, without hidden files: macOS leaves a `._x` beside every `x` on foreign disks."""
    return sorted((p for p in paths if not p.name.startswith(".")), key=lambda p: natural_key(p.name))


def name_numbers(names: Sequence[str]) -> list[int] | None:
    """The number of each name that tells its frame, in nanoseconds where it is a date or an epoch with a fraction; None
    where not every name has one.
    """
    stems = [_SUFFIX.sub("", _SLASH.split(name)[-1]) for name in names]
    for times in (list(map(_epoch, stems)), list(map(_date, stems))):
        if None not in times and len({time // 10**9 for time in times if time is not None}) > 1:
            return [time for time in times if time is not None]
    rows = [[int(word) for word in _DIGITS.findall(stem)] for stem in stems]
    if not rows or not all(rows):
        return None
    if len({len(row) for row in rows}) > 1:
        return [row[-1] for row in rows]
    columns = [column for column in zip(*rows) if len(set(column)) > 1]
    order = sorted(range(len(rows)), key=lambda i: [column[i] for column in columns])
    distinct = [column for column in columns if len(set(column)) == len(column)]
    rising = [column for column in distinct if all(column[a] < column[b] for a, b in itertools.pairwise(order))]
    chosen = min(rising[::-1], key=max, default=(distinct or columns or list(zip(*rows)))[-1])
    return list(chosen)


def counted_frames(numbers: Sequence[int], from_zero: bool = False) -> tuple[dict[int, int], tuple[int, ...] | None]:
    """The frame of each number: itself, else its place, and then all numbers in order.

    Args:
        numbers: of one camera's files; no two are equal.
        from_zero: frames are counted from 0, whatever the first number is.
    """
    values = sorted(numbers)
    span = values[-1] - (0 if from_zero else values[0]) + 1
    if values[0] >= 0 and span <= max(SPARSE * len(values), LEAST_COUNT if from_zero else 0):
        return {value: value for value in values}, None
    return {value: place for place, value in enumerate(values)}, tuple(values)


def _epoch(stem: str) -> int | None:
    found = _EPOCH.search(stem)
    return int(found[1]) * 10**9 + int(found[2].ljust(9, "0")) if found else None


def _date(stem: str) -> int | None:
    found = _DATE.search(stem)
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 10**9 + int((found[7] or "0").ljust(9, "0"))


@dataclass(frozen=True)
class Numbering:
    """Which frame each number is.

    Attributes:
        first: the number of frame 0.
        step: from frame to frame; 0 where only the order is known.
        frames: of the numbers that there are.
    """

    first: int
    step: float
    frames: Mapping[int, int] = field(repr=False)

    @property
    def count(self) -> int:
        return max(self.frames.values()) + 1

    def frame(self, number: int) -> int | None:
        """Of any number, one whose file is lost as well; None where it is none of this counting."""
        if number in self.frames or not self.step:
            return self.frames.get(number)
        place = (number - self.first) / self.step
        return round(place) if place > -0.5 and abs(place - round(place)) < JITTER else None


def number_frames(numbers: Iterable[int]) -> Numbering:
    """How numbers count: consecutively, in equal steps, as times, or in their order alone."""
    values = sorted(set(numbers))
    steps = np.diff(np.array(values, dtype=object))  # of any size
    if not len(steps):
        return Numbering(values[0], 1.0, {values[0]: 0})
    middle, common = sorted(steps)[len(steps) // 2], int(np.gcd.reduce(steps))
    if middle < LEAST_STEP_OF_TIMES or middle == common:
        if (values[-1] - values[0]) // common < SPARSE * len(values):
            frames = {value: (value - values[0]) // common for value in values}
            return Numbering(values[0], common, frames)
    else:
        shares = [step / middle for step in steps]
        if max(abs(share - round(share)) for share in shares) < JITTER and min(shares) > 0.5:
            places = np.cumsum([0, *map(round, shares)]).tolist()
            if places[-1] < SPARSE * len(values):
                return Numbering(values[0], (values[-1] - values[0]) / places[-1], dict(zip(values, places)))
    return Numbering(values[0], 0.0, {value: place for place, value in enumerate(values)})


def counted_together(numberings: Sequence[Numbering]) -> list[Numbering]:
    """Several cameras' numbers on one count, where they begin near each other; else as they are."""
    steps = [numbering.step for numbering in numberings]
    if len(numberings) < 2 or not min(steps) or max(steps) > 1.1 * min(steps):
        return list(numberings)
    first = min(numbering.first for numbering in numberings)
    leads = [round((numbering.first - first) / numbering.step) for numbering in numberings]
    if max(leads) > max(2, LEAD_SHARE * max(numbering.count for numbering in numberings)):
        return list(numberings)
    return [
        replace(
            numbering,
            first=round(numbering.first - lead * numbering.step),
            frames={number: frame + lead for number, frame in numbering.frames.items()},
        )
        for numbering, lead in zip(numberings, leads)
    ]
