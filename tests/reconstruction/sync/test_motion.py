"""Smoothed keypoints: what moves evenly stays, strays go, gaps remain."""

from __future__ import annotations

import numpy as np
import pytest

from vergence.reconstruction.sync.motion import between, near, smoothed, with_steady_sides, without_strays


def test_even_motion_is_kept_and_can_be_asked_between_frames() -> None:
    points = np.arange(40.0)[:, None, None] * np.array([[1.0, -0.5]])
    course = smoothed(points, 1.5)
    np.testing.assert_allclose(course[5:-5], points[5:-5], atol=1e-9)
    np.testing.assert_allclose(between(course, np.array([10.25]), np.array([0])), [[10.25, -5.125]], atol=1e-9)


def test_noise_is_alike_at_all_moments() -> None:
    course = smoothed(np.random.default_rng(0).normal(size=(4000, 1, 2)), 1.5)
    deviation = [between(course, np.arange(10, 3980) + s, 0 * np.arange(3970)).std() for s in (0.0, 0.5)]
    assert deviation[1] > 0.94 * deviation[0]


def test_a_gap_stays_one() -> None:
    points = np.zeros((40, 1, 2))
    points[15:25] = np.nan
    course = smoothed(points, 1.5)
    assert np.isnan(course[18:22]).all()
    assert np.isfinite(course[:12]).all()


def test_a_stray_is_left_out() -> None:
    points = np.random.default_rng(0).normal(0, 0.01, (40, 2, 2))
    points[20, 1] += 5
    kept = np.isfinite(without_strays(points)).all(-1)
    assert not kept[20, 1]
    assert kept.mean() > 0.9


def test_sides_are_those_of_most_frames() -> None:
    """Exchanged for a while, with joints of the middle and gaps; the same where exchanges are most of the time."""
    rng, mirror = np.random.default_rng(0), (0, 2, 1, 4, 3)
    course = np.cumsum(rng.normal(0, 0.004, (60, 5, 2)), axis=0) + [
        [[0, 0], [0.1, 0], [-0.1, 0], [0.1, 0.3], [-0.1, 0.3]]
    ]
    course[5:8, 1] = np.nan
    course[30, 3:] = np.nan
    seen = course.copy()
    seen[20:35] = course[20:35][:, mirror]
    np.testing.assert_array_equal(with_steady_sides(seen, mirror), course)
    np.testing.assert_array_equal(with_steady_sides(course, mirror), course)
    seen[:45] = course[:45][:, mirror]
    seen[45:] = course[45:]
    np.testing.assert_array_equal(with_steady_sides(seen, mirror), course[:, mirror])


def circle(frames: int, joints: int = 2) -> np.ndarray:
    """Round and round: a circle of 100 px, 160 frames a round, each joint a quarter behind the one before; to 3 px."""
    at = 2 * np.pi * (np.arange(frames)[:, None] / 160 - np.arange(joints) / 4)
    return 100 * np.stack([np.cos(at), np.sin(at)], -1) + np.random.default_rng(0).uniform(-3, 3, (frames, joints, 2))


@pytest.mark.parametrize("every", [1, 3])
def test_of_a_course_that_turns_only_the_jumps_are_left_out(every: int) -> None:
    """Each joint by itself, to either side, beside a gap too. Steps of a slow camera are compared with those of its own
    frames; of usual ones few are left out."""
    points = np.repeat(circle(240), every, axis=0)
    jumps = [(2 * every, 0), (37 * every, 1), (40 * every, 1), (230 * every, 0)]
    for i, (t, j) in enumerate(jumps):
        points[t : t + every, j, i % 2] += 300 * (-1) ** i
    points[36 * every, 1] = points[60 * every, 0] = np.nan
    left_out = np.isnan(without_strays(points, every)).any(-1)
    assert all(left_out[t : t + every, j].all() for t, j in jumps)
    assert left_out.mean() < 0.1
    assert np.isnan(without_strays(np.full((9, 2, 2), np.nan))).all()


def test_the_median_of_five_is_taken_of_each_coordinate() -> None:
    """A joint rests but for one frame that is 1 px off: then usual is nothing, and that frame is a stray."""
    points = np.zeros((11, 1, 2))
    points[5, 0, 1] = 1.0
    assert np.flatnonzero(np.isnan(without_strays(points)[:, 0, 0])).tolist() == [5]


def test_a_line_is_fitted_by_the_gaussians_weights() -> None:
    """Against least squares around one frame, with a gap; at the ends what is there."""
    rng = np.random.default_rng(2)
    points, tau = rng.normal(size=(30, 1, 2)), 2.0
    points[12] = np.nan
    course = smoothed(points, tau)
    for t in (0, 3, 14, 29):
        lags = np.array([lag for lag in range(-5, 6) if 0 <= t + lag < 30 and t + lag != 12])
        weight = np.sqrt(np.exp(-0.5 * (lags / tau) ** 2))
        line = np.linalg.lstsq(np.stack([weight, weight * lags], 1), weight[:, None] * points[t + lags, 0], rcond=None)[
            0
        ]
        np.testing.assert_allclose(course[t, 0], line[0], atol=1e-9)


def test_between_two_frames_is_on_their_line_and_outside_is_nothing() -> None:
    points = np.array([[[0.0, 10], [100, 0]], [[4, 20], [200, 8]], [[0, 40], [np.nan, 0]]])
    found = between(points, np.array([0.0, 0.25, 1.5, 2.0, 0.5, 1.25]), np.array([0, 0, 0, 0, 1, 1]))
    np.testing.assert_allclose(found, [[0, 10], [1, 12.5], [2, 30], [0, 40], [150, 4], [np.nan, 6]])
    assert np.isnan(between(points, np.array([-0.01, 2.01]), np.array([0, 0]))).all()


def test_joints_that_stay_near_each_other_are_one_part() -> None:
    """Two limbs of three joints that move apart, in two cameras of which one is ten times nearer; one joint is unseen."""
    time = np.arange(60.0)[:, None]
    limbs = [np.concatenate([np.cos(time / 9) * side, np.sin(time / 7)], 1) for side in (-3.0, 3.0)]
    body = np.stack([limbs[j % 2] + 0.2 * j for j in range(6)], 1)
    course = np.stack([body, 10 * body], 1)
    assert near(course, 2)[:2].tolist() in ([0, 1], [1, 0])
    np.testing.assert_array_equal(near(course, 2), np.tile(near(course, 2)[:2], 3))
    course[:, :, 5] = np.nan
    found = near(course, 3)
    assert (found[5] != found[:5]).all()
    assert found[0] == found[2] == found[4] != found[1] == found[3]
    assert len(set(near(course, 9))) == 6
    assert near(course[:, :, :1], 6).tolist() == [0]
