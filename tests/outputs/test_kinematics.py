"""The rest pose of animations, and turns found from positions made by turns that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from vergence.outputs import PoseSequence
from vergence.outputs.kinematics import Kinematics, _best_turn, _forward, _refine, _turns_between, fit_kinematics
from vergence.skeleton import BODY_25, H36M_17, MPI_INF_28

UP = np.array([0.0, 1.0, 0.0])

# A person who stands and faces +z, arms sideways: x to its left, y up, from the pelvis; cm.
STANDING = {
    "pelvis": (0, 0, 0), "hip": (12, -4, 0), "knee": (12, -46, 0), "ankle": (12, -88, 0), "foot": (12, -93, 12),
    "toe": (12, -95, 20), "big_toe": (11, -95, 18), "small_toe": (17, -95, 14), "heel": (12, -95, -5),
    "spine": (0, 10, 0), "spine2": (0, 15, 0), "spine3": (0, 20, 0), "spine4": (0, 35, 0), "thorax": (0, 50, 0),
    "neck": (0, 50, 0), "clavicle": (5, 48, 0), "shoulder": (18, 48, 0), "elbow": (46, 48, 0), "wrist": (71, 48, 0),
    "hand": (80, 48, 0), "head": (0, 65, 2), "neck_nose": (0, 65, 4), "nose": (0, 64, 11), "eye": (3, 68, 8),
    "ear": (7, 66, 0), "head_top": (0, 80, 4),
}  # fmt: skip


def standing(names: tuple[str, ...]) -> np.ndarray:
    side = {"left": 1, "right": -1}
    parts = [(side.get(name.partition("_")[0], 0), name.removeprefix("left_").removeprefix("right_")) for name in names]
    return np.array([STANDING[part] for _, part in parts], dtype=float) * [[s or 1, 1, 1] for s, _ in parts]


def sequence(names: tuple[str, ...], pose: np.ndarray) -> PoseSequence:
    return PoseSequence(10 * pose, names, 30.0, "mm", UP)


def rest_of(motion: Kinematics) -> np.ndarray:
    at = np.zeros_like(motion.offsets)
    for j, parent in enumerate(motion.parents):
        at[j] = motion.offsets[j] + (at[parent] if parent >= 0 else 0)
    return at


@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_28, BODY_25])
def test_the_rest_pose_is_a_person_who_stands_with_arms_sideways(skeleton) -> None:
    """Bone by bone within 4 degrees (the head: 8, ears: 15) of a drawn person, whatever pose was filmed, and of its lengths."""
    names = skeleton.joint_names
    truth = standing(names)
    turn = Rotation.from_euler("xyz", [0.4, 1.1, -0.3]).as_matrix()
    motion = fit_kinematics(sequence(names, np.stack([truth @ turn.T] * 3)))
    at = rest_of(motion)
    drawn = standing(motion.joint_names)
    for j, parent in enumerate(motion.parents[1:], 1):
        bone, wanted = at[j] - at[parent], 10 * (drawn[j] - drawn[parent])
        assert np.linalg.norm(bone) == pytest.approx(np.linalg.norm(wanted), rel=0.02), motion.joint_names[j]
        if np.linalg.norm(wanted) > 0:
            cosine = bone @ wanted / np.linalg.norm(bone) / np.linalg.norm(wanted)
            part = motion.joint_names[j].rpartition("_")[2]
            limit = {"ear": 15, "head": 8, "top": 8, "nose": 8}.get(part, 4)
            assert np.degrees(np.arccos(min(cosine, 1))) < limit, motion.joint_names[j]
    found = motion.positions()[0][[motion.joint_names.index(name) for name in names]]
    np.testing.assert_allclose(found, 10 * truth @ turn.T, atol=2)


def test_turns_of_every_joint_are_followed_and_frames_without_anybody_counted():
    """Forward kinematics by this test: each joint turns all that hangs on it about itself, by up to 80 degrees."""
    names = H36M_17.joint_names
    rng = np.random.default_rng(0)
    pose = np.stack([standing(names)] * 12)
    for j in (
        names.index(joint) for joint in ("pelvis", "left_hip", "left_knee", "right_hip", "left_shoulder", "neck_nose")
    ):
        below = [k for k in range(len(names)) if j in chain(k)]
        for t in range(12):
            turn = Rotation.from_rotvec(rng.normal(0, 0.4, 3)).as_matrix()
            pose[t, below] = (pose[t, below] - pose[t, j]) @ turn.T + pose[t, j]
    pose += rng.normal(0, 30, (12, 1, 3))
    truth = 10 * pose
    pose[5] = np.nan
    pose[7, names.index("left_wrist")] = np.nan
    motion = fit_kinematics(sequence(names, pose))
    found = motion.positions()[:, [motion.joint_names.index(name) for name in names]]
    seen = np.isfinite(pose)
    assert np.abs(found - truth)[seen].max() < 1
    assert motion.empty == 1
    assert np.isfinite(motion.positions()).all()


def chain(joint: int) -> list[int]:
    """The joints above one."""
    found = []
    while joint >= 0:
        joint = H36M_17.parents[joint]
        found.append(joint)
    return found


def test_two_bones_from_one_joint_keep_their_angle():
    """Of a foot whose heel stands out more than that of the rest pose."""
    names = (*H36M_17.joint_names, "left_heel", "left_big_toe", "right_heel", "right_big_toe")
    truth = standing(names)
    truth[[names.index("left_heel"), names.index("right_heel")]] += [0, 3, -6]
    motion = fit_kinematics(sequence(names, np.stack([truth] * 3)))
    assert sorted(motion.parents).count(motion.joint_names.index("left_ankle")) == 2
    found = motion.positions()[0][[motion.joint_names.index(name) for name in names]]
    np.testing.assert_allclose(found, 10 * truth, atol=2)


def test_turns_that_are_not_known_are_on_the_shortest_way_between_their_neighbours():
    """Of frames 0 to 6 the second and the sixth are known, 90 degrees apart: 22.5 degrees a frame; beyond them the nearest."""

    def about_z(*degrees: float) -> np.ndarray:
        return Rotation.from_euler("z", np.array(degrees)[:, None], degrees=True).as_matrix()

    turns, known = about_z(7.0, 10, 7, 7, 7, 100, 7), np.arange(7) % 4 == 1
    np.testing.assert_allclose(_turns_between(turns, known), about_z(10, 10, 32.5, 55, 77.5, 100, 100), atol=1e-12)
    np.testing.assert_allclose(_turns_between(turns, np.arange(7) == 1), about_z(*[10] * 7))
    np.testing.assert_array_equal(_turns_between(turns, np.zeros(7, bool)), turns)
    np.testing.assert_array_equal(_turns_between(turns, np.ones(7, bool)), turns)


def test_the_best_turn_of_several_bones_is_no_mirror_and_leaves_out_what_has_no_weight():
    rng = np.random.default_rng(0)
    rest, turn = rng.normal(size=(4, 3)), Rotation.random(5, rng=1).as_matrix()
    seen = np.einsum("tij,kj->tki", turn, rest)
    np.testing.assert_allclose(_best_turn(rest, seen), turn, atol=1e-12)
    seen[2, 3], weight = 99.0, np.ones((5, 4))
    weight[2, 3] = 0.0
    np.testing.assert_allclose(_best_turn(rest, seen, weight), turn, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(_best_turn(rest, seen * [-1, 1, 1])), 1)


def test_joints_of_a_chain_are_refined_together_to_the_least_squares():
    """A bone of 10 that ends in one of 5 and one of 3: points that do not fit are met as SciPy meets them."""
    parents, offsets = (-1, 0, 1, 2), np.array([[0.0, 0, 0], [10, 0, 0], [5, 0, 0], [3, 0, 0]])
    rng = np.random.default_rng(0)
    local, root = np.tile(np.eye(3), (2, 4, 1, 1)), np.zeros((2, 3))
    points = _forward(
        parents, offsets, Rotation.from_rotvec(rng.normal(0, 0.4, (8, 3))).as_matrix().reshape(2, 4, 3, 3), root
    )[0]
    points = points + rng.normal(0, 0.3, points.shape)
    points[1, 2] = np.nan
    found = _forward(parents, offsets, *_refine(parents, offsets, points, local, root))[0]
    for t in range(2):

        def left(x: np.ndarray, t: int = t) -> np.ndarray:
            turns = np.concatenate([Rotation.from_rotvec(x[3:].reshape(3, 3)).as_matrix(), np.eye(3)[None]])
            return np.nan_to_num(_forward(parents, offsets, turns[None], x[None, :3])[0][0] - points[t]).ravel()

        best = least_squares(left, np.zeros(12)).cost
        assert 0.5 * np.nansum((found[t] - points[t]) ** 2) == pytest.approx(best, rel=0.01)
