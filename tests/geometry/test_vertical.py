"""Up and the floor from a person and cameras: what each tells, and what happens where they disagree or say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_scene import ring, walking
from scipy.spatial.transform import Rotation

from vergence.geometry.vertical import BODY_SIGMA, ROLL_SIGMA, _body_axis, find_vertical, floor_below, level_up
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


def test_two_level_cameras_hold_against_a_third_on_its_side_and_a_person_who_bends() -> None:
    pose = walking(40, step_mm=0.0)
    pose[..., 0] += np.tan(np.radians(40)) * pose[..., 2]
    cameras = ring(3)[0].copy()
    cameras[0] = Rotation.from_euler("z", 90, degrees=True).as_matrix() @ cameras[0]
    assert degrees(find_vertical(pose, H36M_17, cameras).up, UP) < 4


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


def stander(frames: int = 4, lean: float = 0.0) -> np.ndarray:
    """Somebody 1.7 m tall who stands on the floor z = 0, leaning towards +x; ankle joints are where a foot has them."""
    height = {"ankle": 0.039 * 1.7, "knee": 0.5, "hip": 0.9, "shoulder": 1.4, "elbow": 1.1, "wrist": 0.85}
    height |= {"pelvis": 0.9, "spine": 1.15, "thorax": 1.4, "neck_nose": 1.55, "head_top": 1.7}
    pose = np.zeros((frames, 17, 3))
    for j, name in enumerate(H36M_17.joint_names):
        part = name.removeprefix("left_").removeprefix("right_")
        pose[:, j] = [
            height[part] * np.tan(np.radians(lean)),
            0.1 * ((name[:4] == "left") - (name[:5] == "right")),
            height[part],
        ]
    return pose


def test_the_floor_lies_below_the_ankles_by_a_feet_share_of_the_height() -> None:
    """The 30th percentile over frames, whose spread counts beside 1.5 % of the height."""
    pose = stander(11)
    pose[..., 2] += np.linspace(0, 0.1, 11)[:, None]
    ground, sigma = floor_below(pose, H36M_17, UP, 1.7)
    assert ground == pytest.approx(0.03)
    assert sigma == pytest.approx(np.hypot(0.015 * 1.7, np.median(np.abs(np.linspace(-0.03, 0.07, 11)))))
    one = pose.copy()
    one[:, H36M_17.index("left_ankle"), 2] += 0.5  # a lifted foot
    assert floor_below(one, H36M_17, UP, 1.7)[0] == pytest.approx(0.03)
    assert floor_below(-pose, H36M_17, -UP, 1.7)[0] == pytest.approx(0.03)
    one[:, [H36M_17.index("left_ankle"), H36M_17.index("right_ankle")]] = np.nan
    assert np.isnan(floor_below(one, H36M_17, UP, 1.7)).all()


def test_the_axis_of_the_body_is_from_feet_to_head() -> None:
    """A lean of 10 degrees is its own; its length is that of the legs and the trunk."""
    axis, sigma, length = _body_axis(stander(6, 10.0), H36M_17)
    assert degrees(axis, UP) == pytest.approx(10, abs=0.1)
    assert length == pytest.approx((1.7 - 0.039 * 1.7) / np.cos(np.radians(10)), rel=0.01)
    assert sigma == pytest.approx(BODY_SIGMA)
    both = np.concatenate([stander(6, 10.0), stander(6, -10.0)])
    axis, sigma, _ = _body_axis(both, H36M_17)
    assert degrees(axis, UP) < 0.1
    assert sigma == pytest.approx(np.hypot(BODY_SIGMA, np.radians(10) / np.sqrt(2)), rel=0.01)
    assert _body_axis(np.concatenate([stander(6, 40.0), stander(6, -40.0)]), H36M_17) is None
    crouching = stander(6)
    crouching[..., 2] *= 0.3
    assert _body_axis(np.concatenate([stander(5, 5.0), crouching]), H36M_17)[0] == pytest.approx(
        _body_axis(stander(5, 5.0), H36M_17)[0]
    )  # who does not stand has no say


@pytest.mark.parametrize("pitch", [-30.0, 0.0, 20.0])
def test_cameras_that_are_not_rolled_hold_up_whatever_they_look_at(pitch: float) -> None:
    """Two that look in different directions, both down or up; one alone is taken as level."""

    def camera(yaw: float) -> np.ndarray:
        a, b = np.radians(yaw), np.radians(pitch)
        forward = np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)])
        right = np.array([np.sin(a), -np.cos(a), 0])
        return np.stack([right, np.cross(forward, right), forward])

    assert degrees(level_up(np.stack([camera(0.0), camera(80.0)])), UP) < 2
    assert degrees(level_up(camera(30.0)[None]), -camera(30.0)[1]) < 1e-5


def test_where_all_agree_the_vertical_is_known_as_well_as_their_information_says() -> None:
    pose = np.repeat(walking(1), 40, axis=0)  # who stands still: nothing of the floor
    axis, sigma, _ = _body_axis(pose, H36M_17)
    flat = np.linalg.svd(axis[None])[2][1:]
    turns = []
    for angle in (0.3, 1.4):
        right = np.array([np.cos(angle), np.sin(angle)]) @ flat
        turns.append(np.stack([right, -axis, np.cross(right, -axis)]))
    found = find_vertical(pose, H36M_17, np.array(turns))
    information = np.eye(2) / sigma**2 + sum(np.outer(*[flat @ turn[0]] * 2) for turn in turns) / ROLL_SIGMA**2
    assert degrees(found.up, axis) < 1e-4
    assert found.sigma_deg == pytest.approx(np.degrees(np.linalg.eigvalsh(information)[0] ** -0.5), rel=1e-3)
