"""How sure two cameras can be that they show one person."""

from collections.abc import Callable

import numpy as np
import pytest

from vergence.footage.people.agreement import (
    CHANCE_AGREEMENT,
    SIGMA_SHARE,
    agreement_of,
    all_pairs,
    common_points,
    noise_of,
    rays_of,
)
from vergence.footage.tracking import person_size
from vergence.geometry.cameras import Camera


@pytest.mark.parametrize("noise", [0.0, 3.0, 20.0])
def test_the_noise_of_a_joint_is_what_trembles_beside_a_share_of_the_person(noise: float) -> None:
    """A person who glides evenly, in a camera of 500 px by 2000 px of focal length, so 1000 px in the mean."""
    rng = np.random.default_rng(0)
    track = np.tile(np.c_[rng.uniform(0, 300, (17, 2)), np.ones(17)], (400, 1, 1))
    track[..., 0] += 2.0 * np.arange(400)[:, None]
    size = float(np.median(person_size(track)))
    track[..., :2] += rng.normal(0, noise, (400, 17, 2))
    view = Camera("a", None, np.array([[500.0, 0, 0], [0, 2000.0, 0], [0, 0, 1]]), np.zeros(5))
    assert noise_of(track, view) * 1000 == pytest.approx(np.hypot(SIGMA_SHARE * size, noise), rel=0.1)


@pytest.mark.parametrize("frames", [1200, 2400, 20000])
def test_points_are_of_all_joints_and_times_where_a_stride_would_fall_in_with_the_joints(frames: int) -> None:
    seen = np.zeros((frames, 25, 2))
    frame, joint = common_points(seen, seen).T
    assert len(frame) == 600
    assert len(set(zip(frame, joint))) == 600
    assert np.bincount(joint, minlength=25).min() > 12
    assert np.bincount(frame % 100 // 10, minlength=10).min() > 40  # of a film that repeats every 100 frames
    assert np.bincount(frame * 10 // frames).tolist() == [60] * 10


def test_support_is_agreement_beyond_chance_in_the_share_of_frames_that_both_see(
    person: Callable, ring: Callable, project: Callable
) -> None:
    cameras = ring(2)
    tracks = [[project(person(60, 0), camera)] for camera in cameras]
    tracks[1][0][45:] = np.nan
    pairs = all_pairs(tracks, [Camera("a", None, camera["K"], np.zeros(5)) for camera in cameras])
    (agreement,), (support,) = pairs.agreement[0, 1][0], pairs.support[0, 1][0]
    assert agreement > 0.9
    assert support == pytest.approx((agreement - CHANCE_AGREEMENT) / (1 - CHANCE_AGREEMENT) * 45 / 60)


def test_agreement_falls_with_the_square_of_the_distance_to_nothing_at_three_deviations() -> None:
    """Two cameras side by side: a point leaves its line by the difference of heights over the root of two (Sampson's).

    The deviation is 0.01, of given cameras 2.5 times that.
    """
    lens, still = np.diag([1000.0, 1000, 1]), np.array([-1.0, 0, 0])
    free = [Camera(name, None, lens, np.zeros(5)) for name in "ab"]
    given = [
        Camera("a", None, lens, np.zeros(5), np.eye(3), np.zeros(3)),
        Camera("b", None, lens, np.zeros(5), np.eye(3), still),
    ]
    matrix = np.array([[0.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    first = np.random.default_rng(0).uniform(-0.3, 0.3, (4, 17, 2))
    other = first + [0.1, 0.0]
    off = np.sqrt(2) * 0.01 * np.array([0.0, 1.5, -3.0, 9.0])  # by frame: 0, half of the limit, the limit, beyond
    other[..., 1] += off[:, None]
    track = np.ones((4, 17, 3))
    found = agreement_of(matrix, track, track, first, other, *free, 0.01)
    assert found == pytest.approx((1 + 0.75 + 0 + 0) / 4)
    wider = 1 - (0 + (1.5 / 7.5) ** 2 + (3 / 7.5) ** 2 + 1) / 4
    assert agreement_of(matrix, track, track, first, other, *given, 0.01) == pytest.approx(wider)
    assert agreement_of(matrix, track, track, np.full_like(first, np.nan), other, *free, 0.01) == 0.0


def test_rays_are_those_of_the_joints_that_are_seen() -> None:
    view = Camera("a", None, np.array([[500.0, 0, 320], [0, 400.0, 240], [0, 0, 1]]), np.zeros(5))
    track = np.full((2, 17, 3), np.nan)
    track[1, 3] = 820.0, 40.0, 0.5
    rays = rays_of(track, view)
    assert rays[1, 3].tolist() == pytest.approx([1.0, -0.5])
    assert np.isfinite(rays).sum() == 2
