"""Focal lengths that two cameras were given: believed where limbs bear them out, named or doubted where they do not."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.reconstruction.bundle import Bundle, project_points
from vergence.reconstruction.checks.limb_lens import MOST_TURN_DEG, _add_limbs, _adjusted, _Film, _Normal, focal_doubt
from vergence.reconstruction.inputs import check_joints
from vergence.reconstruction.solve import reconstruct_keypoints
from vergence.skeleton import H36M_17


def asked(scene, factor: tuple[float, float], keypoints: np.ndarray | None = None) -> tuple[str, float]:
    """What is said under focal lengths given so many times too long, and by how many degrees the rotation is off."""
    intrinsics = scene.intrinsics * np.array([[[f, f, 1], [f, f, 1], [1, 1, 1]] for f in factor])
    points = scene.keypoints if keypoints is None else keypoints
    lens = {"intrinsics": intrinsics, "distortion": scene.distortion, "image_size": scene.image_size}
    found = reconstruct_keypoints(points, None, skeleton=H36M_17, **lens)
    given = check_joints(points, None, *lens.values(), H36M_17, None, False, "shared", 0.05)
    cameras = Bundle(found.rotation, found.translation, given.focal, np.zeros((1, 3)))
    off = found.rotation[1] @ found.rotation[0].T @ (scene.rotation[1] @ scene.rotation[0].T).T
    turned = float(np.degrees(np.arccos(np.clip((np.trace(off) - 1) / 2, -1, 1))))
    return focal_doubt(given, cameras, found.pose, found.report.noise_px, H36M_17, ("left", "right")), turned


@pytest.fixture
def walk(make_scene: Callable):
    return make_scene(views=2, span=3.0, frames=80, noise=2.0, missing=0.1, outliers=0.03, distortion=(0.0,) * 5)


def test_right_ones_are_believed(walk) -> None:
    told, off = asked(walk, (1.0, 1.0))
    assert told == ""
    assert off < 1


@pytest.mark.parametrize("factor", [(0.8, 0.8), (1.2, 1.2)])
def test_wrong_ones_that_turn_the_cameras_are_named(walk, factor: tuple[float, float]) -> None:
    told, off = asked(walk, factor)
    assert off > MOST_TURN_DEG
    assert "other focal lengths than given" in told
    named = [float(told.split(f"{name} ")[1][:4]) for name in ("left", "right")]
    np.testing.assert_allclose(named, 1 / np.array(factor), rtol=0.15)


def test_one_wrong_one_is_noticed(walk) -> None:
    told, off = asked(walk, (0.8, 1.0))
    assert off > MOST_TURN_DEG
    assert "other focal lengths than given" in told


def test_arms_of_somebody_who_hardly_moves_them_confirm_nothing(make_scene: Callable) -> None:
    scene = make_scene(views=2, span=3.0, frames=20, noise=3.0, distortion=(0.0,) * 5)
    points = scene.keypoints.copy()
    points[:, :, [i for i, n in enumerate(H36M_17.joint_names) if "hip" not in n and "knee" not in n]] = np.nan
    assert "cannot confirm" in asked(scene, (1.0, 1.0), points)[0]


def test_slopes_of_the_limbs_are_those_of_their_cost() -> None:
    """By differences, of two limbs of one length and one of another; one joint is not seen in the second frame."""
    rng = np.random.default_rng(0)
    points, length = rng.normal(size=(2, 4, 3)), np.array([0.7, 1.4])
    weight = np.ones((2, 8))
    weight[1, 7] = 0
    ends, group, spread = np.array([[0, 1], [1, 2], [2, 3]]), np.array([0, 0, 1]), np.array([0.2, 0.3, 0.5])
    film = _Film(np.zeros((2, 2, 8)), weight, 1.0, 4, ends, group, spread)

    def asked(points: np.ndarray, length: np.ndarray) -> tuple[float, _Normal]:
        scene = Bundle(np.eye(3)[None], np.zeros((1, 3)), np.ones((1, 2)), points.reshape(-1, 3))
        shapes = ((2, 12, 12), (2, 12), (2, 2, 12), (2, 2), 2)
        normal = _Normal(0.0, *(np.zeros(shape) for shape in shapes))
        return _add_limbs(film, scene, length, 0, normal), normal

    def slopes(values: np.ndarray, cost: Callable[[np.ndarray], float]) -> np.ndarray:
        steps = 1e-6 * np.eye(values.size).reshape(-1, *values.shape)
        return np.array([(cost(values + step) - cost(values - step)) / 2e-6 for step in steps])

    normal = asked(points, length)[1]
    by_points = slopes(points, lambda moved: asked(moved, length)[0])
    np.testing.assert_allclose(normal.own_slope.ravel(), by_points, atol=1e-6)
    np.testing.assert_allclose(normal.slope, slopes(length, lambda moved: asked(points, moved)[0]), atol=1e-6)


@pytest.mark.skipif("VERGENCE_DATA" not in os.environ, reason="VERGENCE_DATA is not set")
@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_noise_does_not_pass_for_longer_lenses_where_cameras_face_each_other(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip of which limbs alone say that right focal lengths were 10 % short, and ones 20 % too long 10 % long."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    faults = importlib.import_module("faults")
    row = faults.Row("", faults.longer(factor), "intrinsics", 2)
    found = faults.run(Path(os.environ["VERGENCE_DATA"]), row, "cmu", 14)
    assert (found["verdict"] == "good") == (factor == 1.0), found["reasons"]
    assert (found["deg"] > MOST_TURN_DEG) == (factor != 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_focal_lengths_of_an_exact_film_are_found_from_afar(seed: int) -> None:
    """Two cameras see a chain of limbs without noise; the first steps may lead uphill."""
    rng, frames = np.random.default_rng(seed), 12
    points = np.cumsum(rng.normal(0, 0.3, (frames, 1, 3)), 0).repeat(4, 1)
    for joint, length in enumerate((0.7, 0.7, 1.0), 1):
        way = rng.normal(size=(frames, 3))
        points[:, joint:] += (length * way / np.linalg.norm(way, axis=1, keepdims=True))[:, None]
    turn = Rotation.from_euler("y", [[0], [60]], degrees=True).as_matrix()
    truth = Bundle(turn, np.array([[0, 0, 8.0]] * 2), np.full((2, 2), 1000.0), points.reshape(-1, 3))
    observed, spread = project_points(truth)[0], np.full(3, 0.05)
    film = _Film(
        observed, np.ones((2, 4 * frames)), 1.0, 4, np.array([[0, 1], [1, 2], [2, 3]]), np.array([0, 0, 1]), spread
    )
    shaken = truth.points + rng.normal(0, 0.1, truth.points.shape)
    found, normal = _adjusted(film, replace(truth, focal=1.3 * truth.focal, points=shaken))
    assert normal.cost < 1e-6
    np.testing.assert_allclose(found.focal, 1000, rtol=1e-4)
