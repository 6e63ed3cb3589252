"""Skeletons of constant bones, BVH and C3D: what is written is read back as what was meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_scene import walking
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.outputs import PoseSequence
from vergence.outputs.bvh import write_bvh
from vergence.outputs.c3d import write_c3d
from vergence.outputs.kinematics import fit_kinematics
from vergence.outputs.world import y_up
from vergence.skeleton import COCO_17, H36M_17
from vergence.world.motion_files import read_bvh

Z_UP = np.array([0.0, 0.0, 1.0])


def walk(noise: float = 0.0, gaps: float = 0.0, unit: str = "mm", up: np.ndarray | None = Z_UP) -> PoseSequence:
    rng = np.random.default_rng(0)
    pose = walking(40)
    pose = pose + rng.normal(0, noise, pose.shape)
    pose[rng.random(pose.shape[:2]) < gaps] = np.nan
    return PoseSequence(pose, H36M_17.joint_names, 30.0, unit, up)


def placed(motion, names) -> np.ndarray:
    return motion.positions()[:, [motion.joint_names.index(name) for name in names]]


def test_constant_bones_follow_the_positions() -> None:
    """The walk's limbs are constant but for the trunk's small bends: within 2 mm in the median, rotations proper."""
    motion = fit_kinematics(walk())
    error = np.linalg.norm(placed(motion, H36M_17.joint_names) - walking(40), axis=-1)
    assert np.median(error) < 2
    assert error.max() < 15
    assert np.allclose(np.linalg.det(motion.rotation), 1, atol=1e-9)
    assert np.allclose(motion.rotation @ motion.rotation.transpose(0, 1, 3, 2), np.eye(3), atol=1e-9)


def test_noise_and_gaps_are_bridged() -> None:
    motion = fit_kinematics(walk(noise=10, gaps=0.1))
    error = np.linalg.norm(placed(motion, H36M_17.joint_names) - walking(40), axis=-1)
    assert np.isfinite(error).all()
    assert np.median(error) < 15


def test_a_skeleton_without_pelvis_gets_one() -> None:
    poses = walk()
    motion = fit_kinematics(PoseSequence(H36M_17.convert(poses.pose, COCO_17), COCO_17.joint_names, 30.0, "mm", Z_UP))
    assert motion.joint_names[:2] == ("pelvis", "thorax")
    assert [motion.joint_names[p] for p in motion.parents[1:3]] == ["pelvis", "pelvis"]


def test_nobody_is_refused() -> None:
    with pytest.raises(VergenceError, match="never seen together"):
        fit_kinematics(PoseSequence(np.full((5, 17, 3), np.nan), H36M_17.joint_names, 30.0))


def test_a_bvh_is_read_back_upright_and_not_mirrored(tmp_path: Path) -> None:
    """Read by forward kinematics written for other files: within 0.01 mm of the fit; y up, cm, not mirrored."""
    poses = walk(gaps=0.02)
    assert write_bvh(tmp_path / "a.bvh", poses) == ""
    bvh = read_bvh(tmp_path / "a.bvh")
    assert bvh.fps == pytest.approx(30, abs=1e-4)
    fitted = fit_kinematics(poses.placed(poses.in_world(), 0.1))
    joints = bvh.positions[:, [bvh.names.index(name) for name in fitted.joint_names]]
    assert np.abs(joints - fitted.positions()).max() < 1e-3
    height = joints[:, fitted.joint_names.index("head_top"), 1] - joints[:, fitted.joint_names.index("left_ankle"), 1]
    assert 130 < np.median(height) < 190
    turned = walking(40) @ y_up(Z_UP).T / 10
    assert np.median(np.linalg.norm(joints[:, 0] - turned[:, 0], axis=1)) < 1  # a mirror image would be elsewhere
    assert (tmp_path / "a.bvh").read_text().count("position") == 3


def test_what_a_bvh_assumes_is_said(tmp_path: Path) -> None:
    poses = walk(up=None, unit="reference_bone")
    poses.pose[3:5] = np.nan
    note = write_bvh(tmp_path / "a.bvh", poses)
    assert "assumed stature 1700 mm" in note
    assert "up unknown" in note
    assert "2 frames show nobody" in note


def camera_walk(roots: np.ndarray | None = None) -> tuple[PoseSequence, np.ndarray]:
    """A walk as a level camera 1.2 m above the floor predicts it, and where its joints are: mm, y up, floor at 0."""
    truth = walking(40) @ y_up(Z_UP).T
    pelvis = truth[:, H36M_17.index("pelvis")]
    camera = np.array([1.0, -1.0, -1.0])  # x right, y down, z forward
    root = (pelvis - [0.0, 1200.0, 5000.0]) * camera if roots is None else roots
    poses = PoseSequence(
        (truth - pelvis[:, None]) * camera, H36M_17.joint_names, 30.0, "mm", np.array([0.0, -1.0, 0.0]), root=root
    )
    return poses, truth


def test_a_predicted_person_walks_over_the_floor(tmp_path: Path) -> None:
    """The path is the root's, heights begin at the floor under the feet; the ankles' heights are the walk's own to 3 cm."""
    poses, truth = camera_walk()
    note = write_bvh(tmp_path / "a.bvh", poses)
    bvh = read_bvh(tmp_path / "a.bvh")
    joints = 10 * bvh.positions[:, [bvh.names.index(name) for name in H36M_17.joint_names]]
    error = np.linalg.norm((joints - joints[:1, :1]) - (truth - truth[:1, :1]), axis=-1)
    assert np.median(error) < 3
    assert np.abs(joints[..., 1] - truth[..., 1]).max() < 40
    assert "floor from the feet" in note
    assert "--smooth" in note
    assert "--smooth" not in write_bvh(tmp_path / "b.bvh", replace(poses, smoothing="a filter"))


def test_a_root_between_two_that_are_known_is_between_them() -> None:
    poses, _ = camera_walk()
    poses.root[5:10] = np.nan
    poses.root[-1] = np.nan
    pelvis = poses.travelling().pose[:, H36M_17.index("pelvis")]
    np.testing.assert_allclose(pelvis[5:10], np.linspace(pelvis[4], pelvis[10], 7)[1:-1], atol=1e-9)
    np.testing.assert_allclose(pelvis[-1], pelvis[-2], atol=1e-9)


def test_without_a_root_nobody_walks() -> None:
    poses, _ = camera_walk(np.full((40, 3), np.nan))
    assert poses.travelling() is poses
    no_feet, _ = camera_walk()
    no_feet.pose[:, [H36M_17.index(f"{side}_ankle") for side in ("left", "right")]] = np.nan
    assert np.isnan(no_feet.travelling().in_world().ground)


def test_one_image_stands_on_the_floor() -> None:
    poses, truth = camera_walk()
    one = replace(poses, pose=poses.pose[:1], root=poses.root[:1]).travelling()
    assert one.in_world().place(one.pose)[0, :, 1].min() == pytest.approx(truth[0, :, 1].min(), abs=40)


def test_what_is_not_seen_lies_between_its_neighbours(tmp_path: Path) -> None:
    """An arm that turns evenly, hidden for ten frames, and four frames with nobody: no jump, and the first frames stand."""
    poses = walk()
    still = np.repeat(poses.pose[:1], 40, axis=0)
    shoulder, elbow, wrist = (H36M_17.index(f"left_{joint}") for joint in ("shoulder", "elbow", "wrist"))
    angle = np.linspace(0, 1.2, 40)
    across = np.array([1.0, 0.0, 0.0])
    turn = Rotation.from_rotvec(angle[:, None] * across).as_matrix()
    for joint in (elbow, wrist):
        still[:, joint] = still[:, shoulder] + np.einsum("tij,j->ti", turn, still[0, joint] - still[0, shoulder])
    hidden = still.copy()
    hidden[10:20, [elbow, wrist]] = np.nan
    hidden[30:34] = np.nan
    hidden[:2] = np.nan
    motion = fit_kinematics(replace(poses, pose=hidden))
    error = np.linalg.norm(placed(motion, H36M_17.joint_names) - still, axis=-1)
    assert error[2:].max() < 12
    np.testing.assert_allclose(motion.positions()[0], motion.positions()[2], atol=6)
    assert motion.empty == 6
    assert "6 frames show nobody and lead" in write_bvh(tmp_path / "a.bvh", replace(poses, pose=hidden))


def test_a_c3d_is_read_back(tmp_path: Path) -> None:
    ezc3d = pytest.importorskip("ezc3d")
    poses = walk(gaps=0.1)
    assert write_c3d(tmp_path / "a.c3d", poses) == ""
    file = ezc3d.c3d(str(tmp_path / "a.c3d"))
    points = file["data"]["points"][:3].transpose(2, 1, 0)
    assert np.array_equal(np.isnan(points), np.isnan(poses.pose))
    assert np.nanmax(np.abs(points - poses.pose)) < 0.01
    assert file["parameters"]["POINT"]["UNITS"]["value"] == ["mm"]
    assert file["parameters"]["POINT"]["LABELS"]["value"] == list(H36M_17.joint_names)
    assert file["parameters"]["POINT"]["RATE"]["value"][0] == 30
    residual = file["data"]["meta_points"]["residuals"][0].T
    np.testing.assert_array_equal(residual, np.where(np.isnan(poses.pose[..., 0]), -1, 0))


def test_more_frames_than_a_c3d_counts_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("ezc3d")
    many = PoseSequence(np.zeros((65536, 17, 3)), H36M_17.joint_names, 30.0)
    with pytest.raises(VergenceError, match="65535"):
        write_c3d(tmp_path / "a.c3d", many)


def test_an_uneven_rate_keeps_the_motions_speed(tmp_path: Path) -> None:
    """40 frames, 50 a second, of which 6 were lost after the tenth: 46 in the file, the lost ones between their neighbours."""
    poses = walk()
    times = np.concatenate([np.arange(10), np.arange(16, 46)]) / 50
    uneven = replace(poses, fps=39 / times[-1], time=times)
    write_bvh(tmp_path / "a.bvh", uneven)
    text = (tmp_path / "a.bvh").read_text()
    assert "Frames: 46\nFrame Time: 0.02000000" in text
    found, steady = uneven.even(), replace(poses, fps=50.0, time=np.arange(40) / 50 + 3)
    assert found.fps == pytest.approx(50)
    assert found.frames.tolist() == [*range(10), *range(16, 46)]
    np.testing.assert_allclose(found.times, times)
    assert steady.even() is steady
    faster = np.concatenate([np.arange(30) * 4, 116 + np.arange(1, 11)]) / 100  # the last ten at four times the rate
    quick = replace(poses, fps=39 / faster[-1], time=faster).even()
    assert quick.fps == pytest.approx(100)
    assert quick.frames.tolist() == [*range(0, 120, 4), *range(117, 127)]
