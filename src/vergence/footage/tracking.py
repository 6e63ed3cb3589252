"""Following people through one camera's frames, by the distance of their joints.

From frame to frame the best one-to-one assignment is taken, within a gate in parts of the person's size, so that frame
rate and zoom do not matter. Two faults of detectors are mended on the way: one person found twice, and one person cut in
two. What breaks it: people who cross right in front of each other may exchange their tracks; it shows as a support
between views that is lower than that of other recordings.
"""

from __future__ import annotations

from collections.abc import Sequence

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

Track = Float[np.ndarray, "T J 3"]


def present(track: Track) -> Bool[np.ndarray, " T"]:
    """Frames in which anything is seen."""
    return np.isfinite(track[..., 2]).any(axis=-1)


def track_people(people: Sequence[Float[np.ndarray, "P J 3"]], fps: float) -> list[Track]:
    """Follows people through one camera's frames.

    Args:
        people: per frame, x, y, confidence; NaN where missing.
        fps: frames per second; a person lost for over a second is a new track when seen again.

    Returns:
        Tracks T J 3, NaN where the person is not seen, the one most is seen of first.
    """
    if not people:
        return []
    joints = people[0].shape[1]
    patience = max(1, round(LOST_AFTER_SECONDS * fps))
    tracks: list[Track] = []
    last: list[tuple[int, np.ndarray]] = []  # per track: when and how last seen
    for now, found in enumerate(people):
        found = _without_duplicates(found)
        alive = [i for i, (when, _) in enumerate(last) if now - when <= patience]
        taken: dict[int, int] = {}
        if alive and len(found):
            cost = np.stack([_movement(last[i][1], found) for i in alive])
            gate = np.array([GATE_SHARE + GATE_PER_LOST_FRAME * (now - last[i][0] - 1) for i in alive])
            blocked = cost > gate[:, None]
            rows, columns = linear_sum_assignment(np.where(blocked, 1e3, cost))
            taken = {int(c): alive[r] for r, c in zip(rows, columns) if not blocked[r, c]}
        for column, track in taken.items():
            tracks[track][now] = found[column]
        for column, person in enumerate(found):
            if column in taken:
                continue
            whole = _part_of(person, found, taken, last)
            if whole >= 0:
                gaps = np.isnan(tracks[whole][now, :, 2])
                tracks[whole][now][gaps] = person[gaps]
            else:
                tracks.append(np.full((len(people), joints, 3), np.nan))
                tracks[-1][now] = person
                last.append((now, person))
        for track in taken.values():
            last[track] = (now, tracks[track][now])
    return sorted(tracks, key=lambda track: -float(np.nansum(track[..., 2])))


def _part_of(
    person: Float[np.ndarray, "J 3"],
    found: Float[np.ndarray, "P J 3"],
    taken: dict[int, int],
    last: list[tuple[int, np.ndarray]],
) -> int:
    """The track whose person the detector cut in two, `person` being the other part; -1 for a person of its own."""
    for column, track in taken.items():
        common = np.isfinite(person[:, 2]) & np.isfinite(found[column][:, 2])
        few = common.sum() <= PART_OVERLAP * np.isfinite(person[:, 2]).sum()
        if few and _movement(last[track][1], person[None])[0] < PART_SHARE:
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
