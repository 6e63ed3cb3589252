"""Joint angles: of poses whose angles are known, with deviations against random draws."""

import csv

import numpy as np
import pytest

from vergence.geometry.cameras import skew
from vergence.outputs.angles import angles_of, joint_angles, write_angles
from vergence.outputs.sequence import PoseSequence
from vergence.skeleton import BODY_25

NAMES = BODY_25.joint_names
SIDES = {"right": -1.0, "left": 1.0}  # the body faces x, its left is y, z is up
JOINTS = {
    "hip": [0, 100, 900], "knee": [0, 100, 500], "ankle": [0, 100, 100], "big_toe": [200, 100, 100],
    "shoulder": [0, 180, 1400], "elbow": [0, 180, 1100], "wrist": [0, 180, 850],
}  # fmt: skip


def standing(**moved):
    """One frame, upright; `left_knee=[x, y, z]` puts a joint elsewhere."""
    pose = np.full((1, len(NAMES), 3), np.nan)
    for side, sign in SIDES.items():
        for joint, at in JOINTS.items():
            pose[0, NAMES.index(f"{side}_{joint}")] = np.array(at, dtype=float) * [1, sign, 1]
    for joint, at in moved.items():
        pose[0, NAMES.index(joint)] = at
    return pose


def told(pose, turn):
    return {name: angle[0] for name, (angle, _) in joint_angles(pose @ turn.T, BODY_25, turn @ [0, 0, 1]).items()}


def turned():
    vector = np.array([0.3, -1.1, 0.7])
    angle = np.linalg.norm(vector)
    axis = skew(vector / angle)
    return np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) * axis @ axis


@pytest.mark.parametrize("turn", [np.eye(3), turned()])
def test_who_stands_straight_has_no_angle(turn):
    found = told(standing(), turn)
    assert len(found) == 11
    np.testing.assert_allclose(list(found.values()), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "angle", "moved"),
    [
        ("left_knee", 90, {"left_ankle": [-400, 100, 500]}),
        ("left_hip", 90, {"left_knee": [400, 100, 900]}),
        ("left_hip", -45, {"left_knee": [-300, 100, 600]}),
        ("right_hip", 90, {"right_knee": [400, -100, 900]}),
        ("right_ankle", 45, {"right_big_toe": [200, -100, 300]}),
        ("right_ankle", -45, {"right_big_toe": [200, -100, -100]}),
        ("left_shoulder", 90, {"left_elbow": [0, 480, 1400]}),
        ("right_shoulder", 180, {"right_elbow": [0, -180, 1700]}),
        ("right_elbow", 90, {"right_wrist": [250, -180, 1100]}),
        ("trunk", 45, {"left_shoulder": [500, 180, 1400], "right_shoulder": [500, -180, 1400]}),
    ],
)
def test_a_joint_that_is_bent_has_its_angle_and_sign(name, angle, moved):
    assert told(standing(**moved), turned())[name] == pytest.approx(angle, abs=1e-5)


def test_a_joint_that_is_missing_leaves_its_angles_out_alone():
    found = told(standing(left_ankle=np.nan), np.eye(3))
    assert {name for name, angle in found.items() if np.isnan(angle)} == {"left_knee", "left_ankle"}
    assert "trunk" not in joint_angles(standing(), BODY_25)


@pytest.mark.parametrize("name", ["left_knee", "left_hip", "right_shoulder", "right_elbow"])
def test_deviations_are_those_of_random_draws(name):
    bent = {"left_ankle": [-300, 100, 250], "right_elbow": [100, -380, 1250], "left_knee": [200, 100, 550]}
    generator, deviation = np.random.default_rng(0), np.linspace(4, 12, len(NAMES))
    pose = standing(**bent)
    noisy = pose + generator.normal(0, 1, (4000, len(NAMES), 3)) * deviation[:, None]
    drawn = joint_angles(noisy, BODY_25)[name][0].std()
    stated = joint_angles(pose, BODY_25, deviation=deviation[None])[name][1][0]
    assert stated == pytest.approx(drawn, rel=0.06)


def test_a_straight_knee_is_not_without_noise():
    spread = joint_angles(standing(), BODY_25, deviation=np.full((1, len(NAMES)), 10.0))["left_knee"][1]
    assert 1 < spread[0] < 10


def test_the_file_says_what_it_holds(tmp_path):
    pose = np.concatenate([standing(left_ankle=[-400, 100, 500]), standing(left_ankle=np.nan)])
    poses = PoseSequence(pose, NAMES, 50.0, up=np.array([0, 0, 1.0]), frame=np.array([7, 9]))
    write_angles(tmp_path / "angles.csv", poses, np.full(pose.shape[:2], 5.0))
    first, second = csv.DictReader((tmp_path / "angles.csv").read_text().splitlines())
    assert (first["frame"], first["time"], first["left_knee"]) == ("7", "0.140000", "90.00")
    assert float(first["left_knee_sigma"]) > 0.5
    assert second["left_knee"] == second["left_knee_sigma"] == ""
    assert (first["unit"], first["fps"], first["up"], first["up_from"]) == ("deg", "50", "0 0 1", "given")
    write_angles(tmp_path / "unknown.csv", poses)
    assert next(csv.DictReader((tmp_path / "unknown.csv").read_text().splitlines()))["left_knee_sigma"] == ""


def test_expected_errors_of_a_prediction_are_carried_to_its_angles():
    """A mean distance d of errors that go all ways alike is a deviation of sqrt(pi / 8) d in each coordinate (Maxwell)."""
    distance = np.linalg.norm(np.random.default_rng(0).normal(0, 8.0, (100_000, 3)), axis=-1).mean()
    pose = standing(left_ankle=[-400, 100, 500])
    poses = PoseSequence(pose, NAMES, 50.0, error=np.full(pose.shape[:2], distance))
    found, wanted = (
        angles_of(poses)["left_knee"][1],
        joint_angles(pose, BODY_25, deviation=np.full(pose.shape[:2], 8.0))["left_knee"][1],
    )
    np.testing.assert_allclose(found, wanted, rtol=0.01)
    given = angles_of(poses, deviation=np.full(pose.shape[:2], 4.0))["left_knee"][1]
    assert (given < found).all()


def test_a_long_sequence_is_read_in_pieces_and_gives_the_same():
    pose = np.random.default_rng(5).normal(0, 300, (9000, len(NAMES), 3))
    poses, up = PoseSequence(pose, NAMES, 50.0), np.array([0.0, 0, 1])
    whole, pieces = (
        joint_angles(pose, BODY_25, up, np.abs(pose[..., 0]) / 50),
        angles_of(poses, up, np.abs(pose[..., 0]) / 50),
    )
    assert list(pieces) == list(whole)
    for name, (angle, sigma) in whole.items():
        np.testing.assert_array_equal(pieces[name][0], angle)
        np.testing.assert_array_equal(pieces[name][1], sigma)
