"""Parts of the search for late cameras, by hand: which frames are beside which, what a frame costs, and where to begin."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from vergence.geometry.cameras import skew
from vergence.geometry.two_view import INLIER_SIGMA
from vergence.reconstruction.checks import timing
from vergence.reconstruction.sync import pairs

SIDE_BY_SIDE = skew(np.array([1.0, 0.0, 0.0]))  # a point leaves its line by the difference of heights over sqrt(2)


def test_frames_are_taken_at_shifts_and_missing_beyond_the_ends() -> None:
    points = np.arange(5.0)[:, None, None] + np.zeros((5, 1, 2))
    assert np.nan_to_num(timing._at(points, np.array([-1, 0, 3, 4, 5]))[:, 0, 0], nan=-9).tolist() == [-9, 0, 3, 4, -9]


def test_points_beside_each_other_are_those_that_both_see_at_a_shift() -> None:
    a = np.arange(6.0)[:, None, None] + np.zeros((6, 2, 2))
    b = a + 100
    b[3, 1] = np.nan
    for shift in (0, 2, -1):
        first, second = timing._beside(a, b, shift, 0)
        assert (second - first == 100 + shift).all()
        assert len(first) == 2 * (6 - abs(shift)) - 1
        assert sorted(first[:, 0]) == sorted(
            t for t in range(6) for j in range(2) if 0 <= t + shift < 6 and (t + shift, j) != (3, 1)
        )
    assert len(timing._beside(np.zeros((400, 2, 2)), np.zeros((400, 2, 2)), 0, 0)[0]) == timing.POINTS


def test_a_frame_costs_the_mean_of_its_joints_truncated_squares() -> None:
    """Residuals in limits: 0, a half, one and three of them; then frames of one joint, of none, and without a matrix."""
    sigma = 0.01
    a = np.random.default_rng(0).uniform(-0.3, 0.3, (3, 4, 2))
    b = a + [0.2, 0.0]
    b[0, :, 1] += np.sqrt(2) * INLIER_SIGMA * sigma * np.array([0, 0.5, -1, 3])
    b[1, 1:] = np.nan
    a[2] = np.nan
    costs = timing._frame_costs(SIDE_BY_SIDE, a, b, sigma)
    np.testing.assert_allclose(costs, [(0 + 0.25 + 1 + 1) / 4, 0, np.nan], atol=1e-9)
    assert np.isnan(timing._frame_costs(None, a, b, sigma)).all()


def test_matrices_of_pairs_are_found_by_shift_and_turned_for_the_other_order() -> None:
    """Five shifts from -2 to 2 of cameras 0 and 3."""
    matrices = [np.full((3, 3), float(s)) + np.arange(9.0).reshape(3, 3) / 10 for s in range(-2, 3)]
    fits = {(0, 3): (np.zeros(5), matrices)}
    for shift in range(-2, 3):
        np.testing.assert_array_equal(timing._matrix(fits, 0, 3, shift), matrices[shift + 2])
        np.testing.assert_array_equal(timing._matrix(fits, 3, 0, shift), matrices[2 - shift].T)
    assert timing._matrix(fits, 0, 3, 3) is None
    assert timing._matrix(fits, 0, 3, -3) is None
    assert timing._matrix({(0, 3): (np.zeros(5), [None] * 5)}, 3, 0, 0) is None
    best = np.array([0, 9, 9, 1])
    assert [timing._place(best, 3, 0, x, 2) for x in (-2, -1, 0, 1, 2)] == [4, 4, 3, 2, 1]
    assert [timing._place(best, 0, 3, x, 2) for x in (-2, -1, 0, 1, 2)] == [1, 2, 3, 4, 4]


def test_the_search_begins_with_what_each_camera_says_and_ends_where_the_total_is_least() -> None:
    """Camera 1 is 2 steps later than 0, camera 2 3 earlier; every pair's cost is the distance from that."""
    true, shifts = np.array([0, 2, -3]), np.arange(-6, 7)
    costs = {(a, b): np.abs(shifts - (true[b] - true[a])) / 12 for a, b in ((0, 1), (0, 2), (1, 2))}
    found = [start.tolist() for start in timing.starts(costs, 3, 6)]
    assert found == [[0, 0, 0], [0, 2, -3], [-2, 0, -5], [3, 5, 0]]

    def total(offset: np.ndarray) -> float:
        return timing._total(costs, offset)

    end = timing.settled(total, np.array([0, 0, 0]), 6)
    assert (end - end[0]).tolist() == true.tolist()
    assert total(end) == 0
    flat = timing.settled(lambda offset: 1.0, np.array([4, -2, 1]), 6)
    assert flat.tolist() == [0, 0, 0]  # of equal costs the nearest


def test_a_geometry_is_found_for_most_points_and_strays_stand_out() -> None:
    """A camera a metre to the side, turned by 20 degrees; a tenth of the points is wrong by 0.1."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 3], [1, 1, 5], (300, 3))
    turn = np.array([[np.cos(0.35), 0, -np.sin(0.35)], [0, 1, 0], [np.sin(0.35), 0, np.cos(0.35)]])
    other = points @ turn.T + [-1, 0.2, 0.3]
    a, b = points[:, :2] / points[:, 2:], other[:, :2] / other[:, 2:]
    b[:30] += rng.choice([-0.1, 0.1], (30, 2))
    left = np.abs(pairs.epipolar_residual(a, b))
    assert np.median(left[30:]) < 1e-6
    assert left[30:].max() < 1e-3
    assert np.median(left[:30]) > 0.02
    homogeneous, matrix = pairs._normalised(a)
    np.testing.assert_allclose(homogeneous[:, :2].mean(0), 0, atol=1e-12)
    assert homogeneous[:, :2].std(0).mean() == pytest.approx(1)
    np.testing.assert_allclose(np.concatenate([a, np.ones((300, 1))], 1) @ matrix.T, homogeneous)


def test_a_shift_is_told_by_sixty_points_of_two_dozen_frames_within_reach() -> None:
    """Three joints in 30 frames; fewer frames in common, frames or points are not asked."""
    rng = np.random.default_rng(0)
    a = rng.uniform(-0.3, 0.3, (30, 3, 2))
    b = a + [0.2, 0.0]

    def asked(first: np.ndarray, second: np.ndarray, shift: int = 0, least: int = 1) -> bool:
        return pairs._residual(first, second, shift, least, 0) is not None

    assert asked(a, b)
    assert asked(a, b, 6)  # 24 frames
    assert not asked(a, b, 7)
    assert asked(a, b, -6)
    assert not asked(a, b, -7)
    assert asked(a, b, 0, 30)
    assert not asked(a, b, 0, 31)
    few = b.copy()
    few[20:] = np.nan
    assert not asked(np.tile(a, (1, 2, 1)), np.tile(few, (1, 2, 1)))  # 120 points, of 20 frames
    thin = b.copy()
    thin[:, 2] = np.nan
    assert asked(a, thin)  # 60 points
    thin[0, 0] = np.nan
    assert not asked(a, thin)
    found = pairs.scan(a, b, np.array([-8, 0, 3]), 1)
    assert np.isnan(found[0])
    assert found[1] < 0.01 < 0.3 < found[2]


@pytest.mark.parametrize("ahead", [0.0, 0.11, 0.13, -0.3])
def test_the_quick_look_suspects_who_runs_ahead_by_more_than_an_eighth_of_a_frame(monkeypatch, ahead: float) -> None:
    """Against the median of the others."""
    late = np.array([0.02, 0.02 + ahead, 0.02, 0.0])
    monkeypatch.setattr(timing, "lag", lambda observed, projected: late)
    view, found = timing._suspect(np.zeros((30, 4, 1, 2)), np.zeros((30, 4, 1, 2)))
    if np.abs(late).max() < timing.LAG_FRAMES:
        assert (view, found) == (-1, 0.0)
    else:
        assert (view, found) == (1, pytest.approx(ahead))


def test_the_quick_look_also_suspects_who_is_late_in_a_part(monkeypatch) -> None:
    """150 frames are two parts; lateness of a part counts from 0.6 frames on, on either side."""
    for part, suspected in ((0.59, -1), (-0.61, 2)):
        calls = iter([np.zeros(3), np.array([0.0, 0.3, 0.0]), np.array([0.0, 0.0, part])])
        monkeypatch.setattr(timing, "lag", lambda observed, projected, calls=calls: next(calls))
        shape = SimpleNamespace(shape=(150, 3, 1, 2))
        assert timing._suspect(np.zeros(shape.shape), np.zeros(shape.shape))[0] == suspected
