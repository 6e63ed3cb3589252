"""Times adjusted with cameras: what smoothing does to somebody who comes nearer, and what points take of the residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fixtures_scene import Scene

from vergence.reconstruction.sync.find import SURE_Z, _excluded
from vergence.reconstruction.sync.motion import smoothed
from vergence.reconstruction.sync.together import (
    LEAST_SIGNAL,
    Timing,
    _left_out,
    _reduced,
    _signal,
    _wider,
    adjust_time,
)

NOISE_PX, FOCAL, TAU = 2.0, 1100.0, 1.5


def course_of(scene: Scene, tau: float) -> np.ndarray:
    """Normalised points T V J 2, smoothed."""
    image = (scene.keypoints - 499.5) / FOCAL
    return np.stack([smoothed(image[:, v], tau) for v in range(image.shape[1])], axis=1)


def adjusted(course: np.ndarray, tau: float = TAU) -> Timing:
    none = np.zeros(course.shape[1])
    return adjust_time(course, none, none, tau=tau, focal_known=True, drifts=False)


@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize("backwards", [False, True])
def test_who_nears_one_camera_and_leaves_another_does_not_set_them_apart_in_time(
    make_scene: Callable[..., Scene], views: int, backwards: bool
) -> None:
    """The offsets that smoothing over four steps makes would be half a step, and a whole one where the sign is wrong."""
    scene = make_scene(views=views, frames=90, noise=0.0, distortion=(0.0,) * 5)
    keypoints = scene.keypoints[::-1] if backwards else scene.keypoints
    found = adjusted(course_of(replace(scene, keypoints=keypoints), 4.0), 4.0)
    np.testing.assert_allclose(found.offset, 0, atol=0.05)


@pytest.mark.parametrize("views", [2, 3, 4])
def test_noise_is_the_keypoints_own_however_many_cameras_share_a_point(
    make_scene: Callable[..., Scene], views: int
) -> None:
    """Two cameras leave a quarter of it in their residuals, four of them five eighths."""
    scene = make_scene(views=views, frames=90, noise=NOISE_PX, distortion=(0.0,) * 5)
    found = adjusted(course_of(scene, TAU))
    left = NOISE_PX / FOCAL / np.sqrt(2 * np.sqrt(np.pi) * TAU)  # of a Gaussian's mean
    np.testing.assert_allclose(found.noise.mean(), left, rtol=0.08)
    np.testing.assert_allclose(found.freedom.sum(0)[np.isfinite(found.freedom).all(0)], 2 * views - 3, atol=1e-3)


def test_offsets_that_leave_a_camera_alone_do_not_fit_better_for_it(make_scene: Callable[..., Scene]) -> None:
    """Fewer cameras to a point leave smaller residuals, whatever the times are."""
    course = course_of(make_scene(views=3, frames=90, noise=NOISE_PX, distortion=(0.0,) * 5), TAU)
    together = adjusted(course)
    course[:, 2] = np.where(np.arange(90)[:, None, None] < 20, course[:, 2], np.nan)
    apart = adjusted(course)
    apart = replace(apart, offset=together.offset + [0, 0, 30])
    z, _ = _excluded(together, apart, TAU)
    assert abs(z) < SURE_Z
    assert np.nanmean(apart.square[:2]) < 0.8 * np.nanmean(together.square[:2])


def test_deviations_are_what_errors_are_where_little_moves(make_scene: Callable[..., Scene]) -> None:
    """Noise is then taken for motion by a third, and deviations that do not allow for it are too small."""
    faults = {"views": 2, "frames": 90, "step_mm": 2.0, "swing": 0.15, "noise": NOISE_PX, "distortion": (0.0,) * 5}
    found = [adjusted(course_of(make_scene(**faults, seed=seed), TAU)) for seed in range(6)]
    ratio = [one.offset[1] / np.sqrt(one.spread[1, 1]) for one in found]
    assert 0.6 < np.sqrt(np.mean(np.square(ratio))) < 1.5


def test_more_joints_of_one_limb_make_nothing_surer(make_scene: Callable[..., Scene]) -> None:
    """Every joint four times over, with its error: deviations stay, where errors of their own would halve them."""
    ratio = []
    for seed in range(4):
        course = course_of(make_scene(views=3, frames=60, noise=NOISE_PX, distortion=(0.0,) * 5, seed=seed), TAU)
        once, often = (np.diag(adjusted(part).spread)[1:3] for part in (course, np.tile(course, (1, 1, 4, 1))))
        ratio += list(often / once)
    assert 0.7 < np.sqrt(np.mean(ratio)) < 1.3


def test_errors_that_last_widen_the_deviations_to_what_errors_are(make_scene: Callable[..., Scene]) -> None:
    """A detector that puts a limb ahead of or behind its place, by the camera, for as long as the film lasts."""
    found = []
    for seed in range(8):
        scene = make_scene(views=3, frames=70, noise=NOISE_PX, distortion=(0.0,) * 5, seed=seed)
        late, points = np.random.default_rng(seed).normal(0, 0.8, (3, 6)), scene.keypoints.copy()
        limb = np.array([0, 1, 1, 1, 2, 2, 2, 0, 0, 3, 3, 4, 4, 4, 5, 5, 5])
        when = np.arange(70.0)
        for v, joint in np.ndindex(3, 17):
            for axis in range(2):
                own = points[:, v, joint, axis]
                points[:, v, joint, axis] = np.interp(when + late[v, limb[joint]], when, own)
        found.append(adjusted(course_of(replace(scene, keypoints=points[3:-3]), TAU)))
    ratio = [one.offset[v] / np.sqrt(one.spread[v, v]) for one in found for v in (1, 2)]
    assert 0.5 < np.sqrt(np.mean(np.square(ratio))) < 1.5


def test_what_is_left_out_moves_offsets_by_a_jackknife() -> None:
    """By hand, of three groups: differences of 0.1, -0.1 and 0 have a variance of 2/3 of 0.02 by the jackknife; between
    the cameras that move together it is 0."""
    spread = np.diag([0.0, 0.01, 0.01])
    moved = np.array([[0, 0.1, 0.1], [0, -0.1, -0.1], [0, 0, 0]])
    assert _wider(spread, moved) == pytest.approx(np.mean([2 / 3 * 0.02 / 0.01, 2 / 3 * 0.02 / 0.01, 0]))
    assert _wider(spread, moved[:1]) == 0
    spread[1, 2] = spread[2, 1] = 0.005  # then they are known to 0.01 from one another, not to 0.02
    moved[:, 2] = 0
    assert _wider(spread, moved) == pytest.approx(np.mean([2 / 3 * 0.02 / 0.01, 0, 2 / 3 * 0.02 / 0.01]))


def test_a_group_left_out_moves_offsets_from_one_newton_step_to_the_other() -> None:
    """Away from the minimum, so that both steps count; a group without weight moves nothing."""
    rng, groups = np.random.default_rng(0), np.repeat([0, 1, 2], 20)
    scene = rng.normal(size=(3, 60, 2)), rng.normal(size=(3, 60, 2, 3)), rng.normal(size=(3, 60, 2, 9))
    base = np.where(groups == 1, 0.0, rng.uniform(0.5, 1.5, (3, 60)))
    ease, prior, free = np.ones_like(base), np.eye(27), np.arange(27)

    def newton(weight: np.ndarray) -> np.ndarray:
        system, gradient = _reduced(*scene, weight)
        return -np.linalg.solve(system + prior, gradient).reshape(3, 9)[:, 7]

    moved = _left_out(scene, base, ease, prior, free, groups)
    assert moved[1] == pytest.approx(0, abs=1e-9)
    for group in (0, 2):
        expected = newton(np.where(groups == group, 0.0, base)) - newton(base)
        assert moved[group] == pytest.approx(expected, rel=1e-6)
        assert np.abs(expected).max() > 1e-3


def test_all_of_the_information_is_motion_where_no_noise_is_taken_for_it() -> None:
    spread, weight = np.eye(18) * 0.01, np.ones((2, 40))
    assert _signal(spread, weight, 2.0, 1.0, 0.0) == 1.0
    half = 2 * (1 - np.exp(-1.0)) / 4.0**2 * 40 / 2 / 100  # half the noise of 40 points over what is known: 1 / 0.01
    assert _signal(spread, weight, 2.0, 1.0, 1.0) == pytest.approx(1 - half)
    assert _signal(spread, weight, 2.0, 1.0, 1e6) == LEAST_SIGNAL
