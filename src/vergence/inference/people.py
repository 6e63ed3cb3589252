"""Who is who over time: people's 2D keypoints, frame by frame as a detector or a file has them, to persons with numbers.

What is seen goes into a file without a name as it comes; in memory stay a few numbers for each sighting, so that an hour
takes little more than a minute. Tracks (`footage.tracking`) end where somebody is lost for over a second. For one person,
the one who is longest, largest and most surely in view, whoever comes alone while it is away is that person again
(`footage.people.returning`). With everybody asked for, tracks are joined where one begins near the place where another
ended, within a few seconds and of one size: all at once, by the assignment of the least cost. Persons are numbered from 1,
the one who is longest, largest and most surely in view first.

What breaks it: people who turn round while they hide each other may exchange their numbers, and who is away for longer than
`REMEMBERED_S` comes back as somebody else. There is no look at faces or clothes.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from vergence.errors import VergenceError
from vergence.footage.people.returning import NEARER, continued
from vergence.footage.people.sides import exchanged_frames
from vergence.footage.tracking import follow_people, person_size
from vergence.geometry.crops import box_from_keypoints
from vergence.skeleton import Skeleton

REMEMBERED_S = 5.0  # since a person was last seen
# Of the way between where one track ended and another begins, in sizes of the person: at once, and for each second.
NEAR, NEAR_PER_SECOND = 0.5, 1.0
# Who is seen for less is taken for a mistake of the detector, unless there is nobody else.
LEAST_S = 0.5
READ = 1024  # frames at once

Box = Float[np.ndarray, " 4"]


@dataclass(frozen=True, eq=False)
class Track:
    """One person's 2D keypoints over the frames of a recording.

    Attributes:
        skeleton: of the keypoints.
        window: from two frame numbers, the frames from the first up to the second: T J 3, x, y in px of the camera's own
            images, confidence; NaN where missing, and before and behind the recording.
        frames: of the recording.
    """

    skeleton: Skeleton
    window: Callable[[int, int], Float[np.ndarray, "T J 3"]]
    frames: int

    @staticmethod
    def of(keypoints: Float[np.ndarray, "T J 3"], skeleton: Skeleton) -> Track:
        """Of an array, whose rows are the frames from 0 on."""

        def window(start: int, stop: int) -> Float[np.ndarray, "T J 3"]:
            out = np.full((stop - start, *keypoints.shape[1:]), np.nan)
            low, high = max(start, 0), min(stop, len(keypoints))
            if low < high:
                out[low - start : high - start] = keypoints[low:high]
            return out

        return Track(skeleton, window, len(keypoints))

    def steady(self, fps: float) -> tuple[Track, int]:
        """The track with its sides exchanged back (`footage.people.sides`), and in how many frames they were."""
        blocks = (self.window(start, min(start + READ, self.frames)) for start in range(0, self.frames, READ))
        wrong = exchanged_frames(blocks, self.skeleton, fps)
        mirror = list(self.skeleton.mirror)

        def window(start: int, stop: int) -> Float[np.ndarray, "T J 3"]:
            out = self.window(start, stop)
            rows = [frame - start for frame in range(max(start, 0), min(stop, len(wrong))) if wrong[frame]]
            out[rows] = out[rows][:, mirror]
            return out

        return (Track(self.skeleton, window, self.frames) if wrong.any() else self), int(wrong.sum())


@dataclass
class Trail:
    """What is remembered of a track.

    Attributes:
        frames, sizes: of every sighting; px.
        presence: size of the person times confidence of the joints, summed over the sightings.
        sure: confidences, summed.
        places: middle of the joints where it was first and last seen, px.
    """

    frames: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[float] = field(default_factory=lambda: array("d"))
    presence: float = 0.0
    sure: float = 0.0
    places: list[np.ndarray] = field(default_factory=list)

    def add(self, frame: int, person: Float[np.ndarray, "J 3"]) -> None:
        self.frames.append(frame)
        self.sizes.append(float(person_size(person)))
        box = box_around(person)
        self.presence += 0.0 if box is None else float(np.nan_to_num(person[:, 2]).mean() * box[2:].max())
        self.sure += float(np.nansum(person[:, 2]))
        self.places[1:] = [np.nanmean(person[:, :2], axis=0)]

    @property
    def size(self) -> float:
        return float(np.median(self.sizes))


class Sightings:
    """Everybody in a recording, by frame and track, in a file without a name.

    Args:
        people: everybody in every frame, from frame 0 on.
        skeleton: of their joints.
        fps: frames per second.
    """

    def __init__(self, people: Iterable[Float[np.ndarray, "P J 3"]], skeleton: Skeleton, fps: float) -> None:
        self.skeleton, self.fps = skeleton, fps
        self.trails: dict[int, Trail] = {}
        self._kind = np.dtype([("track", "<i8"), ("points", "<f8", (len(skeleton), 3))])
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object
        self._starts = array("q", [0])
        for frame, here in enumerate(follow_people(people, fps, moving=True, mirror=skeleton.mirror)):
            rows = np.zeros(len(here), self._kind)
            for row, (track, person) in zip(rows, here.items()):
                row["track"], row["points"] = track, person
                self.trails.setdefault(track, Trail()).add(frame, person)
            self._file.write(rows.tobytes())
            self._starts.append(self._starts[-1] + len(rows))

    def window(self, tracks: Collection[int], start: int, stop: int) -> Float[np.ndarray, "T J 3"]:
        """The keypoints of the person of these tracks, in the frames from `start` up to `stop`."""
        out = np.full((stop - start, len(self.skeleton), 3), np.nan)
        low, high = (min(max(frame, 0), len(self._starts) - 1) for frame in (start, stop))
        first, last = self._starts[low], self._starts[high]
        self._file.seek(first * self._kind.itemsize)
        rows = np.frombuffer(self._file.read((last - first) * self._kind.itemsize), self._kind)
        counts = np.diff(np.asarray(self._starts[low : high + 1]))
        frames = np.repeat(np.arange(low, high), counts)
        own = np.isin(rows["track"], list(tracks))
        out[frames[own] - start] = rows["points"][own]
        return out

    def track(self, tracks: Collection[int]) -> Track:
        own = frozenset(tracks)
        return Track(self.skeleton, lambda start, stop: self.window(own, start, stop), len(self._starts) - 1)

    def ranked(self) -> list[int]:
        """Tracks, the one that is longest, largest and most surely in view first."""
        return sorted(sorted(self.trails, key=lambda n: -self.trails[n].sure), key=lambda n: -self.trails[n].presence)

    def one(self) -> tuple[list[int], int]:
        """The tracks of the person who is most in view, and in how many frames it was taken up again."""
        order = self.ranked()
        trails = [self.trails[n] for n in order]
        same = continued([trail.frames for trail in trails], [trail.size for trail in trails])
        return [order[n] for n in same], sum(len(trails[n].frames) for n in same[1:])

    def everybody(self) -> tuple[list[list[int]], int]:
        """The tracks of every person, and how many more are left out, who were seen too briefly."""
        joined = joined_trails(self.trails, self.fps)
        frames = {n: sum(len(self.trails[track].frames) for track in own) for n, own in enumerate(joined)}
        least = min(LEAST_S * self.fps, max(frames.values(), default=0))
        kept = [own for n, own in enumerate(joined) if frames[n] >= least]
        kept.sort(key=lambda own: -sum(self.trails[track].presence for track in own))
        return kept, len(joined) - len(kept)


def joined_trails(trails: Mapping[int, Trail], fps: float) -> list[list[int]]:
    """Tracks by person: each is joined to the one that it continues, all by the assignment of the least cost."""
    numbers = sorted(trails, key=lambda n: trails[n].frames[0])
    before = _continued_from(numbers, trails, fps)
    people: list[list[int]] = []
    place: dict[int, int] = {}
    for n in numbers:
        place[n] = place[before[n]] if n in before else len(people)
        if place[n] == len(people):
            people.append([])
        people[place[n]].append(n)
    return people


def _continued_from(numbers: Sequence[int], trails: Mapping[int, Trail], fps: float) -> dict[int, int]:
    """By track the one that it continues."""
    if not numbers:
        return {}
    first = np.array([trails[n].frames[0] for n in numbers])
    last = np.array([trails[n].frames[-1] for n in numbers])
    size = np.array([trails[n].size for n in numbers])
    start, end = (np.stack([trails[n].places[which] for n in numbers]) for which in (0, -1))
    gap = (first[None] - last[:, None]) / fps
    way = np.linalg.norm(start[None] - end[:, None], axis=-1) / np.maximum(size[:, None], size[None])
    gate = NEAR + NEAR_PER_SECOND * gap
    larger = np.maximum(size[:, None] / size[None], size[None] / size[:, None])
    possible = (gap > 0) & (gap <= REMEMBERED_S) & (way < gate) & (larger < NEARER)
    rows, columns = linear_sum_assignment(np.where(possible, way / np.maximum(gate, 1e-9) - 2, 0.0))
    return {numbers[b]: numbers[a] for a, b in zip(rows.tolist(), columns.tolist()) if possible[a, b]}


def box_around(points: Float[np.ndarray, "J D"]) -> Box | None:
    """The box of a person's keypoints; None where fewer than two are known."""
    try:
        return box_from_keypoints(points[:, :2])
    except VergenceError:
        return None
