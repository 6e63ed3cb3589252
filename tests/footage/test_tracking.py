"""Following people through one camera's frames."""

from collections.abc import Callable

import numpy as np

from vergence.footage.tracking import _movement, follow_people, person_size, track_people

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


def test_tracks_are_numbered_from_0_in_the_order_of_first_sight(person: Make, ring: Make, project: Make) -> None:
    near, far = (project(person(20, seed, 1.0, place), ring(1)[0]) for seed, place in ((0, (0, 0)), (1, (0, 1500))))
    frames = [np.stack([far[t], near[t]]) if t >= 5 else near[t][None] for t in range(20)]
    followed = list(follow_people(frames, FPS))
    assert [list(here) for here in followed[:5]] == [[0]] * 5
    assert {tuple(sorted(here)) for here in followed[5:]} == {(0, 1)}
    np.testing.assert_array_equal(followed[-1][0], near[-1])


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


def test_movement_is_the_median_of_the_joints_that_both_have() -> None:
    rng = np.random.default_rng(0)
    person, others = rng.normal(scale=100, size=(17, 3)), rng.normal(scale=100, size=(40, 17, 3))
    person[rng.random(17) < 0.3] = np.nan
    others[rng.random((40, 17)) < 0.4] = np.nan
    others[0] = np.where(np.isnan(person), 7.0, np.nan)  # no joint in common: the middles of the two
    distance = np.linalg.norm(others[..., :2] - person[:, :2], axis=-1)
    expected = np.nanmedian(distance[1:], axis=1) / np.maximum(person_size(person), person_size(others[1:]))
    found = _movement(person, others)
    np.testing.assert_array_equal(found[1:], expected)
    middle = np.linalg.norm(np.nanmean(others[0, :, :2], axis=0) - np.nanmean(person[:, :2], axis=0))
    assert found[0] == middle / max(person_size(person), person_size(others[0]))
