"""The same person again, after nobody was seen for a while: tracks that continue the subject's.

A track ends where its person is lost for over a second. What comes later in one camera is the subject's if it fits what
the other cameras see of the subject then. Where no camera sees the subject, two cameras' later tracks are taken together:
they must obey the matrix that the two had before, and who they show must be of the subject's size, by the limbs that kept
their length. One camera alone knows neither: there, whoever is alone in view again is the same person.

What breaks it: somebody of the same size who comes when the subject has left, alone. If two people come, the choice is
called doubtful.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from vergence.footage.people.agreement import (
    Gauge,
    Pairs,
    agreement_of,
    common_points,
    gauge_of,
    later_fit,
    noise_of,
    rays_of,
)
from vergence.footage.tracking import Track, person_size, present
from vergence.geometry.cameras import Camera
from vergence.geometry.two_view import MIN_POINTS

# Agreement, over the subject's own, from which a track is taken to be the subject's.
SAME_SHARE = 0.7
SUBJECT = -1  # the subject's own, among the numbers of a camera's tracks
NEARER = 2.0  # how much larger or smaller a person may be when seen again by the only camera
SIZE_SHARE = 0.08  # the subject's limbs measure within this; people of one sex differ by 5 % (one deviation)


@dataclass
class Taken:
    """What was added to the subject's tracks.

    Attributes:
        frames: that were filled, over all cameras.
        rivals: other tracks would have fitted some of them as well.
        other_size: people who were left because of their size.
        left: tracks that are somebody else's.
    """

    frames: int = 0
    rivals: bool = False
    other_size: int = 0
    left: list[tuple[int, int]] = field(default_factory=list)

    def words(self) -> str:
        text = f"; {self.frames} lost frames were filled from other tracks" if self.frames else ""
        if self.other_size:
            text += "; who was seen while the subject was not is of another size, and was left out"
        return text


def follow_on(
    tracks: Sequence[Sequence[Track]],
    usable: Sequence[Sequence[Track]],
    best: tuple[int, ...],
    pairs: Pairs,
    views: Sequence[Camera],
) -> tuple[list[list[Track]], Taken]:
    """The candidates with the subject's tracks made whole; tracks that went into them are empty.

    Args:
        tracks: all tracks of each camera.
        usable: the candidates among them, of each camera.
        best: the chosen candidate of each camera, -1 for none.
        pairs: what the candidates were chosen by.
        views: the cameras.
    """
    subject = {v: usable[v][i].copy() for v, i in enumerate(best) if i >= 0}
    rest = {
        (v, n): track
        for v, own in enumerate(tracks)
        for n, track in enumerate(own)
        if v in subject and track is not usable[v][best[v]] and not (present(track) & present(subject[v])).any()
    }
    taken = Taken()

    @cache
    def gauges() -> dict[tuple[int, int], Gauge]:  # measured only where two tracks are to be compared with it
        return _gauges({v: usable[v][i] for v, i in enumerate(best) if i >= 0}, best, pairs, views)

    known: dict[tuple[int, int], tuple[np.ndarray, float]] = {}
    while added := _beside(subject, rest, best, pairs, views, known) or _together(subject, rest, gauges, views, taken):
        for v, n in added:
            known.pop((v, SUBJECT), None)
            track = rest.pop((v, n))
            here = present(track)
            subject[v][here] = track[here]
            taken.frames += int(here.sum())
        rest = {(v, n): t for (v, n), t in rest.items() if not (present(t) & present(subject[v])).any()}
    used = [t for v in subject for t in tracks[v] if _inside(t, subject[v])]
    whole = [
        [
            subject[v] if v in subject and i == best[v] else np.full_like(t, np.nan) if any(t is u for u in used) else t
            for i, t in enumerate(own)
        ]
        for v, own in enumerate(usable)
    ]
    taken.left = [(v, n) for v, own in enumerate(tracks) for n, t in enumerate(own) if not any(t is u for u in used)]
    return whole, taken


def _inside(track: Track, whole: Track) -> bool:
    here = present(track)
    return bool(np.array_equal(track[here], whole[here], equal_nan=True))


def _gauges(
    subject: dict[int, Track], best: tuple[int, ...], pairs: Pairs, views: Sequence[Camera]
) -> dict[tuple[int, int], Gauge]:
    found = {}
    for i, j in itertools.combinations(sorted(subject), 2):
        matrix = pairs.matrix.get((i, j, best[i], best[j]))
        gauge = None if matrix is None else gauge_of(matrix, subject[i], subject[j], views[i], views[j])
        if gauge is not None:
            found[i, j] = gauge
    return found


def _beside(
    subject: dict[int, Track],
    rest: dict[tuple[int, int], Track],
    best: tuple[int, ...],
    pairs: Pairs,
    views: Sequence[Camera],
    known: dict[tuple[int, int], tuple[np.ndarray, float]],
) -> list[tuple[int, int]]:
    """A camera's track that fits what others see of the subject at the same time; [] where there is none.

    Args:
        known: rays and noise of tracks, by camera and number, as they are needed; `SUBJECT` is the subject's.
    """

    def measured(v: int, n: int, track: Track) -> tuple[np.ndarray, float]:
        if (v, n) not in known:
            known[v, n] = rays_of(track, views[v]), noise_of(track, views[v])
        return known[v, n]

    for (v, n), track in rest.items():
        shares = []
        for w, other in subject.items():
            i, j = min(v, w), max(v, w)
            matrix = pairs.matrix.get((i, j, best[i], best[j])) if v != w else None
            if matrix is None or not (present(track) & present(other)).any():
                continue
            both = (v, track, *measured(v, n, track)), (w, other, *measured(w, SUBJECT, other))
            (_, first, rays_a, noise_a), (_, second, rays_b, noise_b) = both if v < w else both[::-1]
            if len(common_points(rays_a, rays_b)) >= MIN_POINTS:
                sigma = (noise_a + noise_b) / 2
                agreed = agreement_of(matrix, first, second, rays_a, rays_b, views[i], views[j], sigma)
                shares.append(agreed / max(pairs.agreement[i, j][best[i], best[j]], 1e-9))
        if shares and np.median(shares) > SAME_SHARE:
            return [(v, n)]
    return []


def _together(
    subject: dict[int, Track],
    rest: dict[tuple[int, int], Track],
    gauges: Callable[[], dict[tuple[int, int], Gauge]],
    views: Sequence[Camera],
    taken: Taken,
) -> list[tuple[int, int]]:
    """Two cameras' tracks that fit each other while no camera sees the subject; [] where there are none."""
    seen = np.any([present(track) for track in subject.values()], axis=0)
    alone = {key: track for key, track in rest.items() if not (present(track) & seen).any()}
    fits = []
    for (v, a), (w, b) in itertools.combinations(sorted(alone), 2):
        if v == w or (v, w) not in gauges():
            continue
        share, size = later_fit(gauges()[v, w], alone[v, a], alone[w, b], views[v], views[w])
        if share <= SAME_SHARE:
            continue
        if abs(size - 1) > SIZE_SHARE:
            taken.other_size += 1
            continue
        both = int((present(alone[v, a]) & present(alone[w, b])).sum())
        fits.append((share * both, [(v, a), (w, b)]))
    if not fits:
        return []
    _, found = max(fits, key=lambda fit: fit[0])
    when = np.any([present(alone[key]) for key in found], axis=0)
    for _, other in fits:
        different = [key for key in other if key not in found and any(key[0] == v for v, _ in found)]
        taken.rivals |= any((present(alone[key]) & when).any() for key in different)
    return found


def alone_again(own: Sequence[Track]) -> tuple[Track, Taken]:
    """One camera's first track with those that come while it is not seen; of several at one time, the one most is seen of."""
    whole, taken = own[0].copy(), Taken()
    frames = [np.flatnonzero(present(track)).tolist() for track in own]
    same = continued(frames, [_size(track) for track in own])
    for n, track in enumerate(own[1:], 1):
        if n in same:
            whole[frames[n]] = track[frames[n]]
            taken.frames += len(frames[n])
            continue
        taken.left.append((0, n))
        taken.rivals |= set(frames[0]).isdisjoint(frames[n])
    return whole, taken


def continued(frames: Sequence[Sequence[int]], sizes: Sequence[float]) -> list[int]:
    """Which of one camera's tracks are the first one's person: those that come while it is not seen, of about its size.

    Args:
        frames: of each track, the one most is seen of first.
        sizes: of each track's person, px.
    """
    there, same = set(frames[0]), [0]
    for n in range(1, len(frames)):
        if there.isdisjoint(frames[n]) and 1 / NEARER < sizes[n] / sizes[0] < NEARER:
            there.update(frames[n])
            same.append(n)
    return same


def _size(track: Track) -> float:
    return float(np.median(person_size(track[present(track)])))
