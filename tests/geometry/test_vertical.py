"""Up and the floor from a person and cameras: what each tells, and what happens where they disagree or say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_scene import ring, walking
from scipy.spatial.transform import Rotation

from vergence.geometry.vertical import find_vertical
from vergence.skeleton import COCO_17, H36M_17

UP = np.array([0.0, 0.0, 1.0])
TURN = Rotation.from_euler("xyz", [40, -25, 70], degrees=True).as_matrix()


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def test_a_walk_tells_the_vertical_by_its_floor() -> None:
    """The figure leans by 10 degrees; the floor under its feet says better, in any frame, unit and skeleton."""
    pose = walking(90)
    for scale, skeleton in ((1.0, H36M_17), (0.002, COCO_17)):
        found = find_vertical(H36M_17.convert(pose, skeleton) @ TURN.T * scale, skeleton)
        assert degrees(found.up, TURN @ UP) < 4
        assert degrees(found.up, TURN @ UP) < 2 * found.sigma_deg
        assert found.sources == ("the standing person", "the floor under the feet")
        feet = np.percentile(np.minimum(pose[:, 3, 2], pose[:, 6, 2]), 10) * scale
        assert abs(found.ground - feet + 65 * scale) < 60 * scale
        assert found.ground_sigma < 80 * scale


def test_level_cameras_hold_up_a_person_who_leans() -> None:
    """A person who stays and leans by 18 degrees, cameras of which one is rolled by 25: as real footage had it."""
    pose = walking(60, step_mm=0.0)
    pose[..., 0] += np.tan(np.radians(18)) * pose[..., 2]
    cameras = ring(4)[0].copy()
    cameras[3] = Rotation.from_euler("z", 25, degrees=True).as_matrix() @ cameras[3]
    alone, together = find_vertical(pose, H36M_17), find_vertical(pose, H36M_17, cameras)
    assert degrees(together.up, UP) < 4 < degrees(alone.up, UP)
    assert together.sigma_deg < alone.sigma_deg
    assert "level cameras" in together.sources


def test_poses_relative_to_their_root_have_no_floor() -> None:
    pose = walking(60)
    found = find_vertical(pose - pose[:, :1], H36M_17)
    assert np.isnan(found.ground)
    assert found.sources == ("the standing person",)


@pytest.mark.parametrize("rotation", [None, np.eye(3)[None]])
def test_nobody_standing_leaves_a_level_camera(rotation: np.ndarray | None) -> None:
    """Sitting, lying, noise and nothing at all: -y is up, and nobody claims to know how well."""
    sitting = walking(30)
    sitting[:, [2, 3, 5, 6]] = sitting[:, [1, 1, 4, 4]] + [430, 0, 0]
    noise = np.random.default_rng(0).normal(size=(30, 17, 3))
    for pose in (sitting, noise, np.full((30, 17, 3), np.nan)):
        found = find_vertical(pose, H36M_17, rotation)
        np.testing.assert_allclose(found.up, [0, -1, 0], atol=1e-12)
        assert np.isnan(found.sigma_deg)
        assert found.sources == ()


def test_cameras_alone_are_asked_where_nobody_stands() -> None:
    found = find_vertical(np.full((5, 17, 3), np.nan), H36M_17, ring(3)[0])
    assert degrees(found.up, UP) < 0.3
    assert found.sources == ("level cameras",)


def test_missing_joints_do_not_matter() -> None:
    pose = walking(90)
    pose[np.random.default_rng(0).random(pose.shape[:2]) < 0.2] = np.nan
    assert degrees(find_vertical(pose, H36M_17).up, UP) < 4
