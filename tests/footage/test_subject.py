"""Choosing the person that all cameras agree on."""

from collections.abc import Callable

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage import subject
from vergence.footage.subject import _best_combination, _score, _shared, choose_subject
from vergence.footage.tracking import track_people
from vergence.geometry.cameras import Camera

Make = Callable[..., np.ndarray]
FPS = 25.0


def views(cameras: list[dict], extrinsics: bool = False) -> list[Camera]:
    poses = [(c["R"], c["t"]) if extrinsics else () for c in cameras]
    return [Camera(f"cam{i}", None, c["K"], np.zeros(5), *pose) for i, (c, pose) in enumerate(zip(cameras, poses))]


def shuffled(people: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Per frame, the people in an order that says nothing."""
    rng = np.random.default_rng(seed)
    return [np.stack([people[i][t] for i in rng.permutation(len(people))]) for t in range(len(people[0]))]


@pytest.mark.parametrize("extrinsics", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_subject_in_all_views_wins_over_bystander(
    person: Make, ring: Make, project: Make, seed: int, extrinsics: bool
) -> None:
    """The bystander is nearer and bigger in two of four views, and stands still, as in footage of a laboratory."""
    cameras = ring(4)
    subject, bystander = person(60, seed), person(60, seed + 50, 0.05, (1500, 1200))
    truth = np.stack([project(subject, c, 3.0, i + seed) for i, c in enumerate(cameras)], axis=1)
    tracks = []
    for i, camera in enumerate(cameras):
        people = [truth[:, i]] + ([project(bystander, camera, 3.0, 9 + i)] if i < 2 else [])
        tracks.append(track_people(shuffled(people, seed), FPS))
    keypoints, choice = choose_subject(tracks, views(cameras, extrinsics))
    np.testing.assert_array_equal(keypoints, truth)
    assert choice.verdict == "sure"
    assert choice.margin > 0.1
    assert choice.candidates == (2, 2, 1, 1)
    assert choice.seen == (1, 1, 1, 1)


def test_one_person_each_is_only(person: Make, ring: Make, project: Make) -> None:
    cameras = ring(3)
    tracks = [[project(person(10, 0), c)] for c in cameras]
    keypoints, choice = choose_subject(tracks, views(cameras))
    assert choice.verdict == "only"
    assert np.isnan(choice.margin)
    np.testing.assert_array_equal(keypoints[:, 2], tracks[2][0])


def test_one_camera_says_by_how_much_more_is_seen_of_whom_it_takes() -> None:
    """Of 40 frames of 10 joints: one all the time, another half as sure."""
    one = np.random.default_rng(0).uniform(100, 300, (40, 10, 3))
    one[..., 2] = 0.8
    other = one + [500, 0, -0.4]
    keypoints, choice = choose_subject([[one, other]], [Camera("a", None, np.diag([900.0, 900, 1]), np.zeros(5))])
    np.testing.assert_array_equal(keypoints[:, 0], one)
    assert choice.verdict == "sure"
    assert choice.support == pytest.approx(0.8)
    assert choice.margin == pytest.approx(0.4)


def test_two_equal_people_are_doubtful(person: Make, ring: Make, project: Make) -> None:
    """Both in every view all the time: either is consistent, and the report must not claim to know."""
    cameras = ring(3)
    people = [person(40, 0), person(40, 1, 1.0, (900, 600))]
    tracks = [track_people(shuffled([project(p, c, 2.0, i) for p in people], i), FPS) for i, c in enumerate(cameras)]
    keypoints, choice = choose_subject(tracks, views(cameras))
    assert choice.verdict == "doubtful"
    assert "check the subject" in choice.reason
    gaps = [
        np.nanmax(np.abs(keypoints[..., :2] - np.stack([project(p, c) for c in cameras], 1)[..., :2])) for p in people
    ]
    assert min(gaps) < 20  # one person, the same in all views
    assert max(gaps) > 100


def test_a_stranger_in_one_view_is_left_out(person: Make, ring: Make, project: Make) -> None:
    """The fourth camera never sees the subject, only somebody else."""
    cameras = ring(4)
    subject, other = person(80, 3), person(80, 60, 0.6, (900, -700))
    tracks = [[project(subject if i < 3 else other, c, 2.0, i)] for i, c in enumerate(cameras)]
    tracks[0].append(project(other, cameras[0], 2.0, 7))
    keypoints, choice = choose_subject(tracks, views(cameras))
    assert choice.tracks == (0, 0, 0, -1)
    assert "cam3 is somebody else" in choice.reason
    assert np.isnan(keypoints[:, 3]).all()


def test_lost_and_found_again_is_filled(person: Make, ring: Make, project: Make) -> None:
    cameras = ring(3)
    seen = [project(person(90, 5), c, 1.0, i) for i, c in enumerate(cameras)]
    other = project(person(90, 6, 0.1, (800, -900)), cameras[0], 1.0, 5)
    first, second = seen[0].copy(), seen[0].copy()
    first[50:], second[:55] = np.nan, np.nan
    keypoints, choice = choose_subject([[first, second, other], [seen[1]], [seen[2]]], views(cameras))
    expected = seen[0].copy()
    expected[50:55] = np.nan
    np.testing.assert_array_equal(keypoints[:, 0], expected)
    assert "35 lost frames" in choice.reason


def away(points: np.ndarray, *gaps: tuple[int, int]) -> np.ndarray:
    out = points.copy()
    for start, stop in gaps:
        out[start:stop] = np.nan
    return out


def tracked(points: np.ndarray) -> list[np.ndarray]:
    """What a detector of one person gives, followed."""
    return track_people([p[None] if np.isfinite(p).any() else p[None][:0] for p in points], FPS)


@pytest.mark.parametrize("cameras", [1, 2, 4])
@pytest.mark.parametrize("gaps", [[(60, 100)], [(30, 60), (90, 120)]])
def test_who_leaves_every_view_and_returns_is_one_person(
    person: Make, ring: Make, project: Make, cameras: int, gaps: list[tuple[int, int]]
) -> None:
    world = person(150, 5)
    seen = [away(project(world, c, 1.0, i), *gaps) for i, c in enumerate(ring(cameras))]
    tracks = [tracked(points) for points in seen]
    assert len(tracks[0]) == len(gaps) + 1
    keypoints, choice = choose_subject(tracks, views(ring(cameras)))
    np.testing.assert_array_equal(keypoints, np.stack(seen, 1))
    assert choice.verdict == "only"
    assert "lost frames were filled" in choice.reason


def test_who_comes_after_the_subject_left_must_have_its_size(person: Make, ring: Make, project: Make) -> None:
    first, other = person(150, 5), 0.8 * person(150, 6)
    pairs = [(project(first, c, 1.0, i), project(other, c, 1.0, i)) for i, c in enumerate(ring(3))]
    tracks = [[away(a, (60, 150)), away(b, (0, 100))] for a, b in pairs]
    keypoints, choice = choose_subject(tracks, views(ring(3)))
    assert np.isnan(keypoints[60:]).all()
    assert "of another size" in choice.reason


def test_two_who_come_after_the_subject_left_make_it_doubtful(person: Make, ring: Make, project: Make) -> None:
    people = [person(150, 5), person(150, 5, 1.0, (900, 600)), person(150, 5, 1.0, (-900, -700))]
    tracks = []
    for i, camera in enumerate(ring(3)):
        seen = [project(p, camera, 1.0, i) for p in people]
        tracks.append([away(seen[0], (80, 150)), away(seen[1], (0, 115)), away(seen[2], (0, 115))])
    assert choose_subject(tracks, views(ring(3)))[1].verdict == "doubtful"


@pytest.mark.parametrize("cameras", [2, 4])
def test_one_person_each_who_is_not_the_same(person: Make, ring: Make, project: Make, cameras: int) -> None:
    """A detector of one person took somebody else in the last camera."""
    world, other = person(120, 3), person(120, 61, 1.0, (900, -700))
    seen = [project(world, c, 2.0, i) for i, c in enumerate(ring(cameras))]
    assert choose_subject([[s] for s in seen], views(ring(cameras)))[1].verdict == "only"
    seen[-1] = project(other, ring(cameras)[-1], 2.0, 9)
    choice = choose_subject([[s] for s in seen], views(ring(cameras)))[1]
    assert choice.verdict == "doubtful"
    assert (
        f"cam{cameras - 1} does not move as the others' does: somebody else, another time, or left and right"
        in choice.reason
    )


def test_a_stretch_of_somebody_else_in_one_camera_is_dropped(person: Make, ring: Make, project: Make) -> None:
    world, other = person(150, 3), person(150, 60, 0.6, (1500, -1200))
    seen = [project(world, c, 1.0, i) for i, c in enumerate(ring(3))]
    seen[2][60:90] = project(other, ring(3)[2], 1.0, 9)[60:90]
    tracks = [tracked(s) for s in seen]
    assert len(tracks[2]) > 1
    keypoints, _ = choose_subject(tracks, views(ring(3)))
    assert np.isnan(keypoints[60:90, 2]).all()
    assert np.isfinite(keypoints[90:, 2]).all()
    assert np.isfinite(keypoints[:, :2]).all()


def test_single_camera_takes_who_is_seen_most(person: Make, ring: Make, project: Make) -> None:
    camera = ring(1)
    main, brief = project(person(30, 0), camera[0]), project(person(30, 1, 1, (900, 900)), camera[0])
    brief[10:] = np.nan
    keypoints, choice = choose_subject([[main, brief]], views(camera))
    np.testing.assert_array_equal(keypoints[:, 0], main)
    assert choice.verdict == "sure"
    share = [track[..., 2][np.isfinite(track[..., 2])].sum() / (30 * 17) for track in (main, brief)]
    assert (choice.support, choice.margin) == pytest.approx((share[0], share[0] - share[1]))


def test_nobody_is_an_error(ring: Make) -> None:
    with pytest.raises(VergenceError, match="nobody is seen"):
        choose_subject([[], []], views(ring(2)))


def test_same_input_same_choice(person: Make, ring: Make, project: Make) -> None:
    cameras = ring(3)
    people = [person(30, 0), person(30, 1, 0.5, (700, 600))]
    tracks = [[project(p, c, 2.0, i) for p in people] for i, c in enumerate(cameras)]
    first, second = (choose_subject(tracks, views(cameras)) for _ in range(2))
    assert first[1] == second[1]
    np.testing.assert_array_equal(first[0], second[0])


def test_the_best_other_choice_is_of_tracks_that_are_there() -> None:
    """By hand, two cameras with two tracks each: who else is best, and what is left where tracks are not there."""
    support = {(0, 1): np.array([[0.9, 0.2], [0.1, 0.6]])}
    everybody = [[True, True], [True, True]]
    assert subject._runner_up(support, (2, 2), (0, 0), everybody) == ((1, 1), 0.6)
    assert subject._runner_up(support, (2, 2), (0, 0), [[True, True], [True, False]]) == ((1, 0), 0.1)
    assert subject._runner_up(support, (2, 2), (0, 0), [[False, True], [True, True]]) == ((1, 1), 0.6)
    assert subject._runner_up(support, (2, 2), (0, 0), [[True, False], [True, False]]) == ((), 0.0)


def test_a_stranger_agrees_with_nobody_by_much_less_than_the_others_do() -> None:
    """By hand: the last camera's mean with the others is 0.5 of theirs, then 0.75 (the limit is 0.7)."""
    for value, found in ((0.4, [2]), (0.6, [])):
        table = {(0, 1): np.array([[0.8]]), (0, 2): np.array([[value]]), (1, 2): np.array([[value]])}
        assert subject._strangers(table, (0, 0, 0)) == found
    assert subject._strangers({(0, 1): np.array([[0.8]])}, (0, 0)) == []
    table = {(0, 1): np.array([[0.8]]), (0, 2): np.array([[0.0]]), (1, 2): np.array([[0.0]])}
    assert subject._strangers(table, (0, 0, 0)) == []  # too little in common to tell


def test_a_combination_is_worth_what_its_tracks_support_of_each_other() -> None:
    """Three cameras with two tracks each; every pair of cameras counts once, a camera without a track adds nothing."""
    support = {(0, 1): np.array([[0.9, 0.1], [0.2, 0.6]]), (0, 2): np.array([[0.3, 0.5], [0.7, 0.0]]),
               (1, 2): np.array([[0.4, 0.8], [0.05, 0.15]])}  # fmt: skip
    assert _score(support, (0, 0, 1)) == pytest.approx((0.9 + 0.5 + 0.8) / 3)
    assert _score(support, (1, 0, 0)) == pytest.approx((0.2 + 0.7 + 0.4) / 3)
    assert _score(support, (1, -1, 0)) == pytest.approx(0.7 / 3)
    assert _shared(support, (0, 0, 1), 1, 0) == pytest.approx(0.9 + 0.8)
    assert _shared(support, (0, 0, 1), 1, 1) == pytest.approx(0.1 + 0.15)
    assert _shared(support, (0, 0, 1), 2, 0) == pytest.approx(0.3 + 0.4)
    assert _shared(support, (0, 0, 1), 2, -1) == 0.0
    best = {(a, b, c): _score(support, (a, b, c)) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    assert _best_combination(support, (2, 2, 2)) == (
        max(best, key=lambda c: best[c]),
        pytest.approx(max(best.values())),
    )
