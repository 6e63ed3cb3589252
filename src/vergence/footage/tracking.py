"""Following people through one camera's frames, by the distance of their joints.

From frame to frame the best one-to-one assignment is taken, within a gate in parts of the person's size, so that frame
rate and zoom do not matter. Two faults of detectors are mended on the way: one person found twice, and one person cut in
two. What breaks it: people who cross right in front of each other may exchange their tracks; it shows as a support
between views that is lower than that of other recordings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

# Frame-to-frame gate: median joint movement in parts of the person's size, and what each lost frame adds.
GATE_SHARE = 0.35
GATE_PER_LOST_FRAME = 0.02
LOST_AFTER_SECONDS = 1.0
DUPLICATE_SHARE = 0.04  # two detections nearer than this are one person found twice
# A detector sometimes cuts a person in two: few joints in common, and each part where the person just was.
PART_OVERLAP = 0.25
PART_SHARE = 0.1
VELOCITY_SHARE = 0.25  # of the newest step, frame by frame

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
        velocity: px a frame, over the last moments; 0 where nobody asked for it.
    """

    when: int
    person: Float[np.ndarray, "J 3"]
    velocity: Float[np.ndarray, " 2"] = field(default_factory=lambda: np.zeros(2))

    def expected(self, now: int) -> Float[np.ndarray, "J 3"]:
        """Where the joints are if the person goes on as it did."""
        return self.person + np.append(self.velocity * (now - self.when), 0.0)

    def seen(self, now: int, person: Float[np.ndarray, "J 3"], moving: bool) -> Last:
        steps = person[:, :2] - self.person[:, :2]
        steps = steps[np.isfinite(steps).all(1)]
        way = np.median(steps, axis=0) if len(steps) else np.zeros(2)
        share = 1 - (1 - VELOCITY_SHARE) ** (now - self.when)
        velocity = self.velocity + share * (way / (now - self.when) - self.velocity) if moving else self.velocity
        return Last(now, person, velocity)


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
    patience = max(1, round(LOST_AFTER_SECONDS * fps))
    last: dict[int, Last] = {}  # per track that is not lost
    tracks = 0
    for now, found in enumerate(people):
        found = _without_duplicates(found)
        last = {track: seen for track, seen in last.items() if now - seen.when <= patience}
        taken = _assigned(last, found, now)
        here = {track: found[column].copy() for column, track in taken.items()}
        for column, person in enumerate(found):
            if column in taken:
                continue
            whole = _part_of(person, found, taken, last)
            if whole >= 0:
                gaps = np.isnan(here[whole][:, 2])
                here[whole][gaps] = person[gaps]
            else:
                here[tracks] = person
                last[tracks] = Last(now, person)
                tracks += 1
        for track in taken.values():
            last[track] = last[track].seen(now, here[track], moving)
        yield here


def _assigned(last: Mapping[int, Last], found: Float[np.ndarray, "P J 3"], now: int) -> dict[int, int]:
    """By place in `found` the track that goes on there."""
    if not last or not len(found):
        return {}
    alive = list(last)
    cost = np.stack([_movement(last[track].expected(now), found) for track in alive])
    near = cost
    if any(last[track].velocity.any() for track in alive):  # who has stopped is still where it was
        near = np.minimum(cost, np.stack([_movement(last[track].person, found) for track in alive]))
    gate = np.array([GATE_SHARE + GATE_PER_LOST_FRAME * (now - last[track].when - 1) for track in alive])
    blocked = near > gate[:, None]
    rows, columns = linear_sum_assignment(np.where(blocked, 1e3, cost))
    return {int(c): alive[r] for r, c in zip(rows, columns) if not blocked[r, c]}


def track_people(people: Sequence[Float[np.ndarray, "P J 3"]], fps: float) -> list[Track]:
    """What `follow_people` finds, as one array for each track.

    Returns:
        Tracks T J 3, NaN where the person is not seen, the one most is seen of first.
    """
    tracks: dict[int, Track] = {}
    for now, here in enumerate(follow_people(people, fps)):
        for track, person in here.items():
            whole = tracks.setdefault(track, np.full((len(people), *person.shape), np.nan))
            whole[now] = person
    return sorted(tracks.values(), key=lambda track: -float(np.nansum(track[..., 2])))


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
    low = np.nanmin(person[..., :2], axis=-2, initial=np.inf)
    high = np.nanmax(person[..., :2], axis=-2, initial=-np.inf)
    return np.maximum(np.nan_to_num(np.linalg.norm(high - low, axis=-1), posinf=1.0), 1.0)


def _movement(person: Float[np.ndarray, "J 3"], others: Float[np.ndarray, "P J 3"]) -> Float[np.ndarray, " P"]:
    """Median joint distance in parts of the larger one's size; of the boxes' middles where no joint is common."""
    distance = np.sort(np.linalg.norm(others[..., :2] - person[:, :2], axis=-1), axis=-1)  # unknown ones come last
    count = np.isfinite(distance).sum(axis=-1)
    row, last = np.arange(len(others)), np.maximum(count - 1, 0)
    median = (distance[row, last // 2] + distance[row, (last + 1) // 2]) / 2
    if not count.all():
        middle = np.linalg.norm(np.nanmean(others[..., :2], axis=1) - np.nanmean(person[:, :2], axis=0), axis=-1)
        median = np.where(count > 0, median, middle)
    return median / np.maximum(person_size(person), person_size(others))


def _without_duplicates(people: Float[np.ndarray, "P J 3"]) -> Float[np.ndarray, "Q J 3"]:
    if len(people) < 2:
        return people
    order = np.argsort(-np.nansum(people[..., 2], axis=1), kind="stable")
    kept: list[int] = []
    for i in order:
        if not kept or _movement(people[i], people[kept]).min() > DUPLICATE_SHARE:
            kept.append(int(i))
    return people[sorted(kept)]
