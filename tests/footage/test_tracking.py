"""Following people through one camera's frames."""

from collections.abc import Callable

import numpy as np

from vergence.footage.tracking import track_people

Make = Callable[..., np.ndarray]
FPS = 25.0


def shuffled(people: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Per frame, the people in an order that says nothing."""
    rng = np.random.default_rng(seed)
    return [np.stack([people[i][t] for i in rng.permutation(len(people))]) for t in range(len(people[0]))]


def test_two_people_are_followed(person: Make, ring: Make, project: Make) -> None:
    camera = ring(1)[0]
    near = project(person(60, 0), camera)
    far = project(person(60, 1, 0.3, (0, 1500)), camera)
    far[20:28] = np.nan  # out of sight for a moment
    near[5, 3] = np.nan
    frames = [p[np.isfinite(p[..., 2]).any(1)] for p in shuffled([near, far], 0)]
    tracks = track_people(frames, FPS)
    assert len(tracks) == 2
    np.testing.assert_array_equal(tracks[0], near)
    np.testing.assert_array_equal(tracks[1], far)


def test_a_long_absence_starts_a_new_track(person: Make, ring: Make, project: Make) -> None:
    seen = project(person(100, 0), ring(1)[0])
    seen[30:70] = np.nan
    tracks = track_people([p[None] if np.isfinite(p).any() else p[None][:0] for p in seen], FPS)
    assert sorted(int(np.isfinite(t[:, 0, 0]).sum()) for t in tracks) == [30, 30]


def test_duplicates_and_halves_are_one_person(person: Make, ring: Make, project: Make) -> None:
    seen = project(person(20, 0), ring(1)[0])
    frames = [p[None] for p in seen]
    frames[7] = np.stack([seen[7], seen[7] + [1.5, -1, -0.2]])
    upper, lower = seen[12].copy(), seen[12].copy()
    upper[11:], lower[:11] = np.nan, np.nan
    frames[12] = np.stack([upper, lower])
    tracks = track_people(frames, FPS)
    assert len(tracks) == 1
    np.testing.assert_array_equal(tracks[0], seen)
