"""Given cameras against the footage's own: right ones pass, each mistake is seen and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.reconstruction.bundle import Bundle
from vergence.reconstruction.checks import second_opinion as module
from vergence.reconstruction.checks.second_opinion import Opinion, second_opinion
from vergence.reconstruction.inputs import check_joints, known_cameras
from vergence.reconstruction.points import linear_points
from vergence.reconstruction.rig import refine_rig, residual_sigma
from vergence.skeleton import H36M_17

NAMES = ("a", "b", "c", "d")


def turned(rotation: np.ndarray, translation: np.ndarray, camera: int, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    turn = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    at = (np.arange(len(rotation)) == camera)[:, None]
    return (
        np.where(at[..., None], turn @ rotation, rotation),
        np.where(at, translation @ turn.T, translation),
    )


def asked(scene, rotation=None, translation=None, intrinsics=None, keypoints=None) -> Opinion:
    k = scene.intrinsics if intrinsics is None else intrinsics
    points = scene.keypoints if keypoints is None else keypoints
    given = check_joints(points, None, k, scene.distortion, scene.image_size, H36M_17, None, False, "shared", 0.05)
    r = scene.rotation if rotation is None else rotation
    known = known_cameras(r, scene.translation if translation is None else translation, given)
    at = linear_points(known, given.observed, given.flat_weight)
    sigma = residual_sigma(replace(known, points=at), given.observed, given.flat_weight)
    opinion = second_opinion(known, given, sigma, NAMES[: len(r)])
    assert opinion is not None
    return opinion


@pytest.mark.parametrize("noise", [1.0, 6.0])
@pytest.mark.parametrize("views", [2, 4])
def test_right_cameras_pass(make_scene: Callable, views: int, noise: float) -> None:
    scene = make_scene(views=views, noise=noise, missing=0.1, outliers=0.03)
    assert asked(scene).doubts() == ()


@pytest.mark.parametrize(
    ("order", "words"),
    [([1, 0, 2, 3], "A and b seem exchanged"), ([1, 2, 3, 0], "another order"), ([3, 2, 1, 0], "another order")],
)
def test_exchanged_cameras_are_named(make_scene: Callable, order: list[int], words: str) -> None:
    scene = make_scene(noise=3.0)
    doubts = asked(scene, keypoints=scene.keypoints[:, order]).doubts()
    assert len(doubts) == 1
    assert words in doubts[0]


@pytest.mark.parametrize("degrees", [5.0, 20.0])
def test_the_camera_that_moved_is_named(make_scene: Callable, degrees: float) -> None:
    scene = make_scene(noise=3.0)
    doubts = asked(scene, *turned(scene.rotation, scene.translation, 2, degrees)).doubts()
    assert "C seems to have moved" in doubts[0]


def test_y_upwards_is_named(make_scene: Callable) -> None:
    scene = make_scene(noise=3.0, distortion=(0.0, 0.0, 0.0, 0.0, 0.0))
    flipped = scene.keypoints * [1, -1] + [0, 999]
    assert "y seems to count upwards" in asked(scene, keypoints=flipped).doubts()[0]


def test_transposed_rotations_are_named(make_scene: Callable) -> None:
    scene = make_scene(noise=3.0)
    assert "transposed" in asked(scene, rotation=scene.rotation.transpose(0, 2, 1)).doubts()[0]


def test_wrong_places_are_seen_though_rotations_fit(make_scene: Callable) -> None:
    scene = make_scene(noise=3.0)
    centres = -(scene.rotation.transpose(0, 2, 1) @ scene.translation[..., None])[..., 0]
    assert "do not fit this footage" in asked(scene, translation=centres).doubts()[0]


def test_a_camera_that_moved_and_hardly_turned_is_named(make_scene: Callable) -> None:
    """Its residuals stay below what would speak for itself; the directions between cameras tell."""
    scene = make_scene(noise=10.0)
    off = np.zeros((4, 3))
    off[2] = [0.0, 0.0, 0.055 * np.linalg.norm(scene.translation[2])]
    off[2, 0] = off[2, 2]
    opinion = asked(scene, translation=scene.translation + off)
    assert opinion.ratio < module.FAR_TOO_MUCH
    assert opinion.far > 1
    assert "C seems to have moved" in opinion.doubts()[0]


@pytest.mark.parametrize("factor", [0.8, 1.2, 1.5])
def test_wrong_focal_lengths_are_named_with_their_factors(make_scene: Callable, factor: float) -> None:
    scene = make_scene(noise=2.0, frames=90)
    other = scene.intrinsics * np.array([[factor, 1, 1], [1, factor, 1], [1, 1, 1]])
    opinion = asked(scene, intrinsics=other)
    assert "ther focal lengths" in opinion.doubts()[0]
    assert opinion.wish is not None
    assert np.abs(opinion.wish.value * factor - 1).max() < 0.08


def test_what_footage_can_tell_less_of_is_held_against_given_cameras_less(make_scene: Callable) -> None:
    """Two cameras and coarse keypoints: the free rig is off, and says so."""
    scene = make_scene(views=2, noise=8.0, frames=40, missing=0.1)
    opinion = asked(scene, *turned(scene.rotation, scene.translation, 1, 0.5))
    sharp = asked(make_scene(views=4, noise=1.0, frames=40))
    assert opinion.doubts() == ()
    assert opinion.far < opinion.gap_deg / 2.5 + 1e-9
    assert sharp.far == pytest.approx(sharp.gap_deg / 2.5)


@pytest.mark.parametrize(
    ("far", "ratio", "stale"),
    [
        (0.93, 1.97, True),
        (1.01, 1.21, True),
        (0.85, 1.24, False),
        (0.65, 1.92, False),
        (9.0, 1.1, False),
        (0.1, 2.6, True),
        (0.9, 1.5, True),
        (0.9, 1.45, False),
        (1.2, 1.19, False),
    ],
)
def test_more_noise_makes_up_for_a_smaller_gap(far: float, ratio: float, stale: bool) -> None:
    """On real footage the first is a camera turned by 3.1 degrees, the third and fourth are right cameras."""
    nothing = Bundle(np.eye(3)[None], np.zeros((1, 3)), np.ones((1, 2)), np.zeros((0, 3)))
    opinion = Opinion(2.8, far, ratio * 5e-3, 5e-3, None, "", nothing, ("a",))
    assert bool(opinion.doubts()) is stale


def test_one_descent_where_given_cameras_lie_in_the_basin_that_is_found(
    make_scene: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    descents: list[int] = []
    monkeypatch.setattr(module, "refine_rig", lambda *a, **k: (descents.append(1), refine_rig(*a, **k))[1])
    scene = make_scene(views=3, frames=40, noise=2.0)
    assert asked(scene).doubts() == ()
    assert len(descents) == 1
    descents.clear()
    rotation, translation = turned(scene.rotation, scene.translation, 1, 40.0)
    assert asked(scene, rotation, translation).doubts()


def test_orders_of_many_cameras_are_exchanges_of_two_all_moved_on_and_all_reversed() -> None:
    assert module._exchanges(4) == [
        (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2),
        (1, 0, 2, 3), (2, 1, 0, 3), (3, 1, 2, 0), (0, 2, 1, 3), (0, 3, 2, 1), (0, 1, 3, 2),
        (3, 2, 1, 0),
    ]  # fmt: skip


def test_gaps_of_rotations_and_directions_by_hand() -> None:
    """Camera 1 is turned by 3 degrees about y; the way from it to camera 0, along x and 2 long, is then turned by as much."""
    turn = Rotation.from_euler("y", 3, degrees=True).as_matrix()
    shift = np.array([[0.0, 0, 0], [-2, 0, 0]])
    known = Bundle(np.stack([np.eye(3)] * 2), shift, np.ones((2, 2)), np.zeros((0, 3)))
    rotated = replace(known, rotation=np.stack([np.eye(3), turn]))
    rotation, direction = module._gaps(known, rotated)
    np.testing.assert_allclose(np.degrees(rotation), [[0, 3], [0, 0]], atol=1e-9)
    np.testing.assert_allclose(np.degrees(direction), [[0, 3], [0, 0]], atol=1e-9)
    moved = replace(known, translation=np.array([[0.0, 0, 0], [-2, 2 * np.tan(np.radians(7)), 0]]))
    rotation, direction = module._gaps(known, moved)
    np.testing.assert_allclose(np.degrees(direction - rotation), [[0, 7], [0, 0]], atol=1e-9)
    assert np.degrees(module._gap(known, moved)) == pytest.approx(7)
    sure = np.zeros((2, 2)), np.zeros((2, 2))
    assert module._far(known, moved, sure) == pytest.approx(7 / module.MOST_GAP_DEG)
    loose = np.zeros((2, 2)), np.full((2, 2), np.radians(4))
    assert module._far(known, moved, loose) == pytest.approx(7 / (4 * module.MOST_GAP_SIGMA))
