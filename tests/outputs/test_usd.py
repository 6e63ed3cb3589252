"""The parts of a USD file that stand still: rest pose, bind pose, extent, and turns that go the short way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from fixtures_scene import walking
from scipy.spatial.transform import Rotation

from vergence.outputs import PoseSequence
from vergence.outputs.kinematics import fit_kinematics
from vergence.outputs.usd import write_usd
from vergence.skeleton import H36M_17

Z_UP = np.array([0.0, 0.0, 1.0])


def numbers(text: str, name: str) -> np.ndarray:
    value = re.search(rf"{name} = (\[.*\])", text)[1]
    return np.array(json.loads(value.replace("(", "[").replace(")", "]")))


def samples(text: str, name: str) -> np.ndarray:
    block = text.split(f"{name}.timeSamples = {{")[1].split("}")[0]
    rows = [line.split(": ", 1)[1].rstrip(",") for line in block.splitlines() if ": " in line]
    return np.array([json.loads(row.replace("(", "[").replace(")", "]")) for row in rows])


def test_rest_and_bind_pose_are_the_skeletons_own(tmp_path: Path) -> None:
    """Rest: each joint from its parent, the root where it begins; bind: the same added up along the parents; metres."""
    poses = PoseSequence(walking(20), H36M_17.joint_names, 30.0, "mm", Z_UP)
    write_usd(tmp_path / "a.usd", poses)
    text = (tmp_path / "a.usd").read_text()
    motion = fit_kinematics(poses.placed(poses.in_world(), 0.001))
    rest, bind = numbers(text, "restTransforms"), numbers(text, "bindTransforms")
    assert rest.shape == bind.shape == (17, 4, 4)
    for matrices in (rest, bind):
        np.testing.assert_array_equal(matrices[:, :3, :3], np.tile(np.eye(3), (17, 1, 1)))
        np.testing.assert_array_equal(matrices[:, :, 3], np.tile([0, 0, 0, 1], (17, 1)))
    np.testing.assert_allclose(rest[0, 3, :3], motion.root[0], atol=1e-6)
    np.testing.assert_allclose(rest[1:, 3, :3], motion.offsets[1:], atol=1e-6)
    for j, parent in enumerate(motion.parents):
        expected = rest[j, 3, :3] + (bind[parent, 3, :3] if parent >= 0 else 0)
        np.testing.assert_allclose(bind[j, 3, :3], expected, atol=1e-6)
    np.testing.assert_allclose(
        numbers(text, "extent"), [f(motion.positions(), (0, 1)) for f in (np.min, np.max)], atol=1e-6
    )


def test_frames_keep_their_numbers_and_turns_go_the_short_way(tmp_path: Path) -> None:
    """A person who turns once about the vertical: a quaternion passes through both of its signs."""
    spin = Rotation.from_rotvec(np.linspace(0, 2 * np.pi, 25)[:, None] * Z_UP).as_matrix()
    pose = np.einsum("tij,tkj->tki", spin, np.repeat(walking(1), 25, axis=0))
    frames = np.arange(5, 30)
    write_usd(tmp_path / "a.usd", PoseSequence(pose, H36M_17.joint_names, 25.0, "mm", Z_UP, frame=frames))
    text = (tmp_path / "a.usd").read_text()
    assert "startTimeCode = 5\n" in text
    assert "endTimeCode = 29\n" in text
    turns, places = samples(text, "rotations"), samples(text, "translations")
    assert turns.shape == (25, 17, 4)
    assert ((turns[1:] * turns[:-1]).sum(-1) > 0.9).all()
    assert (turns[0, 0] * turns[-1, 0]).sum() < -0.99
    np.testing.assert_allclose(places[:, 1:], np.repeat(places[:1, 1:], 25, axis=0))
    assert places.shape == (25, 17, 3)
