"""Following people through one camera's frames, by the distance of their joints.

From frame to frame the best one-to-one assignment is taken, within a gate in parts of the person's size, so that frame
rate and zoom do not matter. Three faults of detectors are mended on the way: one person found twice, one person cut in two,
and ghosts, which are somebody for a few frames and get only what people seen for longer leave. What breaks it: people who
cross right in front of each other may exchange their tracks; it shows as a support between views that is lower than that of
other recordings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

# Frame-to-frame gate: median joint movement in parts of the person's size, and what each lost frame adds.
GATE_SHARE = 0.35
GATE_PER_LOST_FRAME = 0.02
LOST_AFTER_SECONDS = 1.0
ESTABLISHED_SECONDS = 0.2  # who was seen for less may be a ghost
DUPLICATE_SHARE = 0.04  # two detections nearer than this are one person found twice
# A detector sometimes cuts a person in two: few joints in common, and each part where the person just was.
PART_OVERLAP = 0.25
PART_SHARE = 0.1
VELOCITY_SHARE = 0.25  # of the newest step, frame by frame
BLOCKED = 1e3  # cost of what lies beyond the gate
MOST_TRIED = 3  # people whose assignments are all tried
CHUNK_FRAMES = 2000  # measured at a time; bounds memory on long recordings

Track = Float[np.ndarray, "T J 3"]


def present(track: Track) -> Bool[np.ndarray, " T"]:
    """Frames in which anything is seen."""
    return np.isfinite(track[..., 2]).any(axis=-1)


@dataclass
class Last:
    """Where somebody was last seen.

    Attributes:
        when: the frame.
        person: the joints there.
        velocity: px a frame, over the last moments; None where nobody asked for it.
        column: its place among that frame's people; -1 where it was put together of two.
        frames: in which it was seen.
    """

    when: int
    person: Float[np.ndarray, "J 3"]
    velocity: Float[np.ndarray, " 2"] | None = None
    column: int = -1
    frames: int = 1

    def expected(self, now: int) -> Float[np.ndarray, "J 3"]:
        """Where the joints are if the person goes on as it did."""
        return self.person if self.velocity is None else self.person + np.append(self.velocity * (now - self.when), 0.0)

    def moved(self, now: int, person: Float[np.ndarray, "J 3"]) -> Float[np.ndarray, " 2"]:
        """The velocity with which it came to be seen there."""
        steps = person[:, :2] - self.person[:, :2]
        steps = steps[np.isfinite(steps).all(1)]
        way = np.median(steps, axis=0) if len(steps) else np.zeros(2)
        share = 1 - (1 - VELOCITY_SHARE) ** (now - self.when)
        velocity = np.zeros(2) if self.velocity is None else self.velocity
        return velocity + share * (way / (now - self.when) - velocity)


def follow_people(
    people: Iterable[Float[np.ndarray, "P J 3"]], fps: float, moving: bool = False
) -> Iterator[dict[int, Float[np.ndarray, "J 3"]]]:
    """Follows people through one camera's frames, as they come: a recording of any length takes the same memory.

    Args:
        people: per frame, x, y, confidence; NaN where missing.
        fps: frames per second; a person lost for over a second is a new track when seen again.
        moving: people are looked for where they would be if they went on as before, and not where they were: who is
            hidden by somebody passing the other way is then found on the other side.

    Yields:
        For every frame the people in it by their tracks' numbers, which count from 0 in the order of first sight.
    """
    return _follow(((_without_duplicates(found), None) for found in people), fps, moving)


def _follow(
    people: Iterable[tuple[Float[np.ndarray, "P J 3"], list[list[float]] | None]], fps: float, moving: bool
) -> Iterator[dict[int, Float[np.ndarray, "J 3"]]]:
    """The same of people without duplicates, and how far each is from each of the frame before, where that is known."""
    patience = max(1, round(LOST_AFTER_SECONDS * fps))
    last: dict[int, Last] = {}  # per track that is not lost
    tracks = 0
    for now, (found, steps) in enumerate(people):
        last = {track: seen for track, seen in last.items() if now - seen.when <= patience}
        taken = _assigned(last, found, now, steps, ESTABLISHED_SECONDS * fps)
        here = {track: found[column].copy() for column, track in taken.items()}
        columns = {track: column for column, track in taken.items()}
        for column, person in enumerate(found):
            if column in taken:
                continue
            whole = _part_of(person, found, taken, last)
            if whole >= 0:
                gaps = np.isnan(here[whole][:, 2])
                here[whole][gaps] = person[gaps]
                columns[whole] = -1
            else:
                here[tracks] = person
                last[tracks] = Last(now, person, column=column)
                tracks += 1
        for track, column in columns.items():
            velocity = last[track].moved(now, here[track]) if moving else None
            last[track] = Last(now, here[track], velocity, column, last[track].frames + 1)
        yield here


def _assigned(
    last: Mapping[int, Last],
    found: Float[np.ndarray, "P J 3"],
    now: int,
    steps: list[list[float]] | None,
    established: float,
) -> dict[int, int]:
    """By place in `found` the track that goes on there; those that were seen in `established` frames choose before the
    others. In lists: of a few numbers each array costs more than the sums."""
    if not last or not len(found):
        return {}
    alive, cost, blocked = list(last), [], []
    for seen in last.values():
        known = steps is not None and seen.when == now - 1 and seen.column >= 0
        own = steps[seen.column] if known and steps else _movement(seen.expected(now), found).tolist()
        near = own
        if seen.velocity is not None and seen.velocity.any():
            near = np.minimum(own, _movement(seen.person, found)).tolist()  # who has stopped
        gate = GATE_SHARE + GATE_PER_LOST_FRAME * (now - seen.when - 1)
        blocked.append([value > gate for value in near])
        cost.append([BLOCKED if far else value for far, value in zip(blocked[-1], own)])
    taken: dict[int, int] = {}
    old = [seen.frames >= established for seen in last.values()]
    for first in (True, False):
        rows = [r for r, long in enumerate(old) if long == first]
        columns = [c for c in range(len(found)) if c not in taken]
        if rows and columns:
            pairs = _best_pairs([[cost[r][c] for c in columns] for r in rows])
            chosen = [(rows[r], columns[c]) for r, c in pairs]
            taken.update({c: alive[r] for r, c in chosen if not blocked[r][c]})
    return taken


def _best_pairs(cost: list[list[float]]) -> Iterable[tuple[int, int]]:
    """The one-to-one assignment of least cost. Of few it is tried out: SciPy's loads longer than it takes to track a minute."""
    rows, columns = len(cost), len(cost[0])
    if max(rows, columns) > MOST_TRIED:
        from scipy.optimize import linear_sum_assignment

        return zip(*(index.tolist() for index in linear_sum_assignment(np.array(cost))))
    if rows > columns:
        return [(r, c) for c, r in _best_pairs([list(column) for column in zip(*cost)])]
    if columns == 1:
        return ((0, 0),)
    orders = itertools.permutations(range(columns), rows)
    return enumerate(min(orders, key=lambda order: sum(row[c] for row, c in zip(cost, order))))


def track_people(people: Sequence[Float[np.ndarray, "P J 3"]], fps: float) -> list[Track]:
    """What `follow_people` finds, as one array for each track; with all frames at hand, all distances at once.

    Returns:
        Tracks T J 3, NaN where the person is not seen, the one most is seen of first.
    """
    several = {t: found for t, found in enumerate(people) if len(found) > 1}
    near = dict(zip(several, _between(list(several.values()), list(several.values()))))
    alone = [_without_duplicates(p, np.array(near[t])) if t in near else p for t, p in enumerate(people)]
    steps = [None, *_between(alone[:-1], alone[1:])]
    tracks: dict[int, Track] = {}
    for now, here in enumerate(_follow(zip(alone, steps), fps, moving=False)):
        for track, person in here.items():
            whole = tracks.get(track)
            if whole is None:
                whole = tracks[track] = np.full((len(people), *person.shape), np.nan)
            whole[now] = person
    return sorted(tracks.values(), key=lambda track: -float(np.nansum(track[..., 2])))


def _between(
    before: Sequence[Float[np.ndarray, "Q J 3"]], after: Sequence[Float[np.ndarray, "P J 3"]]
) -> list[list[list[float]]]:
    """Movement from each person of a frame to each of another, Q P, for many pairs of frames."""
    rows, columns = (np.array([len(p) for p in frames], dtype=int) for frames in (before, after))
    ends = np.cumsum(rows * columns)
    found = np.empty(int(ends[-1]) if len(ends) else 0)
    for start in range(0, len(rows), CHUNK_FRAMES):
        part = slice(start, start + CHUNK_FRAMES)
        sizes = (rows * columns)[part]
        if not sizes.any():
            continue
        frame = np.repeat(np.arange(len(sizes)), sizes)
        within = np.arange(len(frame)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        row, column = np.divmod(within, columns[part][frame])
        first = np.concatenate(before[part])[(np.cumsum(rows[part]) - rows[part])[frame] + row]
        second = np.concatenate(after[part])[(np.cumsum(columns[part]) - columns[part])[frame] + column]
        found[ends[part][-1] - len(frame) : ends[part][-1]] = _movement(first, second)
    values, widths = iter(found.tolist()), columns.tolist()
    return [[list(itertools.islice(values, q)) for _ in range(p)] for p, q in zip(rows.tolist(), widths)]


def _part_of(
    person: Float[np.ndarray, "J 3"],
    found: Float[np.ndarray, "P J 3"],
    taken: dict[int, int],
    last: Mapping[int, Last],
) -> int:
    """The track whose person the detector cut in two, `person` being the other part; -1 for a person of its own."""
    for column, track in taken.items():
        common = np.isfinite(person[:, 2]) & np.isfinite(found[column][:, 2])
        few = common.sum() <= PART_OVERLAP * np.isfinite(person[:, 2]).sum()
        if few and _movement(last[track].person, person[None])[0] < PART_SHARE:
            return track
    return -1


def person_size(person: Float[np.ndarray, "... J 3"]) -> Float[np.ndarray, ...]:
    """Diagonal of the box around the joints, at least 1 px."""
    points = np.ascontiguousarray(np.moveaxis(person[..., :2], -2, 0))  # joints first: four times as fast
    high, low = np.fmax.reduce(points, initial=-np.inf), np.fmin.reduce(points, initial=np.inf)
    wide, tall = high[..., 0] - low[..., 0], high[..., 1] - low[..., 1]
    return np.maximum(np.nan_to_num(np.sqrt(wide**2 + tall**2), posinf=1.0), 1.0)


def _movement(person: Float[np.ndarray, "*P J 3"], others: Float[np.ndarray, "P J 3"]) -> Float[np.ndarray, " P"]:
    """Median joint distance in parts of the larger one's size; of the boxes' middles where no joint is common."""
    apart = others[..., :2] - person[..., :2]
    distance = np.sort(np.sqrt(apart[..., 0] ** 2 + apart[..., 1] ** 2), axis=-1)  # unknown ones come last
    count = np.isfinite(distance).sum(axis=-1)
    row, last = np.arange(len(others)), np.maximum(count - 1, 0)
    median = (distance[row, last // 2] + distance[row, (last + 1) // 2]) / 2
    if not count.all():
        none = count == 0
        ends = [np.nanmean(p[..., :2], axis=-2) for p in (np.broadcast_to(person, others.shape)[none], others[none])]
        median[none] = np.linalg.norm(ends[1] - ends[0], axis=-1)
    return median / np.maximum(person_size(person), person_size(others))


def _without_duplicates(
    people: Float[np.ndarray, "P J 3"], apart: Float[np.ndarray, "P P"] | None = None
) -> Float[np.ndarray, "Q J 3"]:
    """One of each two that are one person found twice; `apart`: how far they are from each other, where that is known."""
    if len(people) < 2:
        return people
    if apart is None:
        apart = np.stack([_movement(person, people) for person in people])
    if (apart > DUPLICATE_SHARE).sum() == apart.size - len(people):
        return people
    order = np.argsort(-np.nansum(people[..., 2], axis=1), kind="stable")
    kept: list[int] = []
    for i in order:
        if not kept or apart[i, kept].min() > DUPLICATE_SHARE:
            kept.append(int(i))
    return people[sorted(kept)]
