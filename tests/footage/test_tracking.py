"""Following people through one camera's frames."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from vergence.footage import tracking
from vergence.footage.tracking import (
    GATE_PER_LOST_FRAME,
    GATE_SHARE,
    PART_SHARE,
    Last,
    _assigned,
    _best_pairs,
    _between,
    _movement,
    _part_of,
    _without_duplicates,
    follow_people,
    person_size,
    track_people,
)

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


def test_who_was_found_in_two_parts_is_not_taken_for_who_was_found_between_them(
    person: Make, ring: Make, project: Make
) -> None:
    near, far = (project(person(20, seed, 1.0, place), ring(1)[0]) for seed, place in ((0, (0, 0)), (1, (0, 1500))))
    upper, lower = near[12].copy(), near[12].copy()
    upper[11:], lower[:11] = np.nan, np.nan
    frames = [np.stack(both) for both in zip(near, far)]
    frames[12] = np.stack([upper, far[12], lower])
    tracks = track_people(frames, FPS)
    assert len(tracks) == 2
    for track, seen in zip(tracks if np.array_equal(tracks[0], near, equal_nan=True) else tracks[::-1], (near, far)):
        np.testing.assert_array_equal(track, seen)


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


def box(left: float, top: float, width: float, height: float, sure: float = 1.0) -> np.ndarray:
    """Four joints in the corners."""
    corners = [[left, top], [left + width, top], [left, top + height], [left + width, top + height]]
    return np.concatenate([np.array(corners, dtype=float), np.full((4, 1), sure)], 1)


def test_a_person_is_as_large_as_the_diagonal_of_its_joints() -> None:
    three = box(10, 20, 30, 40)
    three[3] = np.nan
    assert person_size(box(10, 20, 30, 40)) == 50
    assert person_size(three) == 50
    assert person_size(np.stack([box(0, 0, 5, 12), np.full((4, 3), np.nan), box(3, 3, 0.1, 0.1)])).tolist() == [
        13,
        1,
        1,
    ]


def test_where_somebody_is_expected_is_where_the_last_steps_lead() -> None:
    """A quarter of the newest step counts a frame: after one frame of 8 px it is 2 px, after another of 8 it is 3.5."""
    last = Last(10, box(0, 0, 30, 40))
    assert last.expected(14)[0].tolist() == [0, 0, 1]
    velocity = last.moved(11, box(8, 0, 30, 40))
    assert velocity.tolist() == [2, 0]
    last = Last(11, box(8, 0, 30, 40), velocity)
    assert last.expected(14)[0].tolist() == [14, 0, 1]
    assert last.moved(12, box(16, 0, 30, 40)).tolist() == [3.5, 0]
    # Two frames later by 16 px: 8 a frame, of which 1 - 0.75^2 count.
    assert last.moved(13, box(24, 0, 30, 40)).tolist() == pytest.approx([2 + (1 - 0.75**2) * 6, 0])
    assert last.moved(12, np.full((4, 3), np.nan)).tolist() == [1.5, 0]


def test_who_goes_on_is_within_the_gate_which_widens_while_somebody_is_lost() -> None:
    """Sizes of 50 px: the gate in parts of that, and two hundredths a lost frame."""
    last = {7: Last(10, box(0, 0, 30, 40))}
    for now, wider in ((11, 0.0), (14, 3 * GATE_PER_LOST_FRAME)):
        reach = 50 * (GATE_SHARE + wider)
        for beyond, found in ((0.99, {0: 7}), (1.01, {})):
            assert _assigned(last, box(beyond * reach, 0, 30, 40)[None], now, None, 1) == found
    assert _assigned({}, box(0, 0, 30, 40)[None], 11, None, 1) == {}
    assert _assigned(last, np.zeros((0, 4, 3)), 11, None, 1) == {}
    given = {7: Last(10, box(0, 0, 30, 40), column=1)}
    assert _assigned(given, np.stack([box(0, 0, 30, 40)] * 2), 11, [[9.0, 9.0], [9.0, 0.0]], 1) == {1: 7}
    assert _assigned(given, np.stack([box(0, 0, 30, 40)] * 2), 12, [[9.0, 9.0], [9.0, 0.0]], 1) == {
        0: 7
    }  # of another frame


def test_who_was_seen_for_long_chooses_before_who_came_lately() -> None:
    """Sizes of 50 px, people at 4 and -10 px. The one who was at 10 reaches the first alone, so pairs for both would send the
    one who was at 0 to the second."""
    found = np.stack([box(4, 0, 30, 40), box(-10, 0, 30, 40)])
    at_0, at_10 = Last(10, box(0, 0, 30, 40), frames=20), Last(10, box(10, 0, 30, 40), frames=4)
    assert _assigned({0: at_0, 1: at_10}, found, 11, None, 5) == {0: 0}
    for established in (4, 21):
        assert _assigned({0: at_0, 1: at_10}, found, 11, None, established) == {0: 1, 1: 0}


@pytest.mark.parametrize("moving", [False, True])
def test_ghosts_that_jump_about_a_person_do_not_take_its_track(moving: bool) -> None:
    people = [box(float(t), 0, 30, 40)[None] for t in range(60)]
    for t, ghosts in ((30, (8, 20)), (31, (-7,)), (32, (12, -10)), (33, (-12, -16)), (35, (11, -11))):
        people[t] = np.concatenate([people[t], *(box(t + x, abs(x), 30, 40)[None] for x in ghosts)])[::-1]
    followed = list(follow_people(people, FPS, moving))
    assert [here[0][0, :2].tolist() for here in followed] == [[float(t), 0] for t in range(60)]


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (2, 3), (3, 2), (3, 3), (5, 4)])
def test_pairs_of_least_cost_are_scipys(shape: tuple[int, int]) -> None:
    for seed in range(5):
        cost = np.random.default_rng(seed).uniform(0, 1, shape)
        rows, columns = linear_sum_assignment(cost)
        assert sorted(_best_pairs(cost.tolist())) == sorted(zip(rows.tolist(), columns.tolist()))


def test_movements_between_many_frames_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "CHUNK_FRAMES", 3)
    rng = np.random.default_rng(0)
    frames = [rng.uniform(0, 100, (n, 6, 3)) for n in (2, 0, 1, 3, 2, 2, 1, 0)]
    for pair, found in zip(itertools.pairwise(frames), _between(frames[:-1], frames[1:])):
        assert len(found) == len(pair[0])
        for person, row in zip(pair[0], found):
            np.testing.assert_allclose(row, _movement(person, pair[1]) if len(pair[1]) else [])


def test_a_part_of_somebody_has_few_joints_in_common_and_is_where_that_person_was() -> None:
    """Of four joints of the part one may be in common; a tenth of the size is how far it may be off."""
    whole = np.concatenate([box(0, 0, 30, 40), box(5, 10, 20, 20)])
    found, part = whole.copy(), whole.copy()
    found[4:], part[:3] = np.nan, np.nan  # in common: joint 3, of five
    last = {2: Last(4, whole)}
    assert _part_of(part, found[None], {0: 2}, last) == 2
    more = found.copy()
    more[4] = whole[4]  # in common: two of five
    assert _part_of(part, more[None], {0: 2}, last) == -1
    four = part.copy()
    four[7] = np.nan  # one of four
    assert _part_of(four, found[None], {0: 2}, last) == 2
    for beyond, track in ((0.99, 2), (1.01, -1)):
        moved = part + [beyond * PART_SHARE * 50, 0, 0]
        assert _part_of(moved, found[None], {0: 2}, last) == track


def test_of_one_person_found_twice_the_surer_one_stays() -> None:
    """Nearer than 4 % of the size, 2 px of 50; order is kept."""
    near, sure = box(1.9, 0, 30, 40, 0.8), box(0, 0, 30, 40, 0.9)
    other = box(2.1, 0, 30, 40, 0.7)
    assert _without_duplicates(np.stack([near, sure]))[:, 0, 2].tolist() == [0.9]
    assert _without_duplicates(np.stack([other, sure]))[:, 0, 2].tolist() == [0.7, 0.9]
    assert len(_without_duplicates(near[None])) == 1


@pytest.mark.parametrize(("frames", "tracks"), [(26, 1), (27, 2)])
def test_somebody_is_lost_after_a_second(frames: int, tracks: int) -> None:
    """Seen again 25 frames after, and one later."""
    people = [box(0, 0, 30, 40)[None] if t in (0, frames - 1) else np.zeros((0, 4, 3)) for t in range(frames)]
    assert len(track_people(people, FPS)) == tracks


TWINS = [1, 0, 3, 2, 4]  # of `sided`


def sided(x: float) -> np.ndarray:
    """Shoulders, hips and a head of somebody 50 px tall."""
    return np.array([[x, 10, 0.9], [x + 30, 10, 0.9], [x, 40, 0.9], [x + 30, 45, 0.9], [x + 15, 0, 0.9]])


def test_who_is_taken_from_behind_for_a_while_is_the_same_person_where_twins_are_given() -> None:
    """Shoulders go 30 px of 50, beyond the gate; with their twins none."""
    people = [sided(float(t))[TWINS if 10 <= t < 15 else slice(None)][None] for t in range(25)]
    assert [sorted(here) for here in follow_people(people, FPS, moving=True)] == [[0]] * 10 + [[1]] * 5 + [[0]] * 10
    followed = list(follow_people(people, FPS, moving=True, mirror=TWINS))
    assert [list(here) for here in followed] == [[0]] * 25
    np.testing.assert_array_equal([here[0] for here in followed], [found[0] for found in people])  # as they were seen


def test_who_is_found_with_both_namings_is_one_person_where_twins_are_given() -> None:
    both = np.stack([sided(0.0), sided(0.5)[TWINS]])
    both[0, :, 2] = 0.8
    assert len(_without_duplicates(both)) == 2
    np.testing.assert_array_equal(_without_duplicates(both, mirror=TWINS), both[1:])


def test_between_two_who_are_as_near_the_naming_that_somebody_had_decides() -> None:
    """Another person, as far to the left with the other naming as the first is to the right."""
    start = [sided(0.0)[None]] * 3
    here = list(follow_people([*start, np.stack([sided(-5.0)[TWINS], sided(5.0)])], FPS, mirror=TWINS))[-1]
    np.testing.assert_array_equal(here[0], sided(5.0))


def test_a_mistake_of_the_detector_takes_no_place_of_somebody_known() -> None:
    """Whoever is at 23 px for one frame would go on at 11, nearer than 5, and leave 5 to who was at 10."""
    known = [box(float(t + 1), 0, 30, 40)[None] for t in range(10)]
    begun = np.stack([box(10.0, 0, 30, 40), box(23.0, 0, 30, 40)])
    after = np.stack([box(5.0, 0, 30, 40), box(11.0, 0, 30, 40)])
    here = list(follow_people([*known, begun, after], FPS))[-1]
    assert {track: person[0, 0] for track, person in here.items()} == {0: 11.0, 2: 5.0}


def test_a_ghost_that_is_seen_for_less_than_established_does_not_take_the_person() -> None:
    """At 50 frames a second 10 after the first establish. A ghost that was there for less is nearer to where the one who is
    found next stands, and yet the person's track goes on there; one that was there for as long takes it."""
    for ghosts, kept in ((10, True), (11, False)):
        person, ghost = box(0, 0, 30, 40), box(22, 0, 30, 40)
        frames = [[person]] * 30 + [[person, ghost]] * ghosts + [[box(12, 0, 30, 40)]]
        last = list(follow_people((np.stack(one) for one in frames), 50.0, moving=False))[-1]
        assert list(last) == [0 if kept else 1]
