"""World points of one moment's keypoints."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera, Rig
from vergence.geometry.triangulation import triangulate

K = np.array([[1145.0, 0, 512.5], [0, 1143.2, 515.4], [0, 0, 1]])
LENS = np.array([-0.2, 0.1, 1e-3, -2e-3, 0.01])
TURNS = Rotation.from_euler("y", [[0], [70], [140]], degrees=True).as_matrix()
RIG = Rig(
    tuple(Camera(f"cam{i}", (1000, 1002), K, LENS, turn, np.array([0.0, 0, 4])) for i, turn in enumerate(TURNS)), "m"
)


def test_a_rig_triangulates_what_its_cameras_see_at_one_moment() -> None:
    """Lenses undone, a wrong view outvoted, one view alone is nothing; places in the rig's unit."""
    world = np.random.default_rng(0).normal(0, 0.5, (17, 3))
    seen = np.stack([np.c_[one.project(one.to_camera(world)), np.full(17, 0.9)] for one in RIG])
    points, error = triangulate(RIG, seen)
    np.testing.assert_allclose(points, world, atol=1e-6)
    assert error.max() < 1e-3
    seen[1, 3, :2] += 200  # wrong
    seen[1:, 4] = np.nan
    points, error = triangulate(RIG, seen)
    np.testing.assert_allclose(np.delete(points, 4, 0), np.delete(world, 4, 0), atol=1e-6)
    assert np.isnan(points[4]).all()
    assert np.isnan(error).tolist() == [joint == 4 for joint in range(17)]
    np.testing.assert_allclose(triangulate(RIG, seen[..., :2])[0][0], world[0], atol=1e-6)
    with pytest.raises(VergenceError, match="keypoints have shape"):
        triangulate(RIG, seen[:2])


def test_three_joints_without_a_confidence_are_not_taken_for_joints_with_one() -> None:
    world = np.random.default_rng(0).normal(0, 0.5, (3, 3))
    points, _ = triangulate(RIG, np.stack([one.project(one.to_camera(world)) for one in RIG]))
    np.testing.assert_allclose(points, world, atol=1e-6)
