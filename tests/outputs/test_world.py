"""The world that files stand in, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures_scene import ring, walking

from vergence.errors import VergenceError
from vergence.files import plain
from vergence.geometry.body import stature
from vergence.geometry.vertical import Vertical
from vergence.outputs import PoseSequence, height_mm, read_npz, world, write_npz
from vergence.outputs.world import y_up
from vergence.skeleton import H36M_17

NAMES = H36M_17.joint_names


def free() -> PoseSequence:
    """In the first camera's frame, a unit of 480 mm."""
    rotation, translation = ring(3)
    cameras = rotation @ rotation[0].T
    return PoseSequence((walking(60) @ rotation[0].T + translation[0]) / 480, NAMES, 30.0, "reference_bone").seen_by(
        cameras
    )


def test_what_is_given_is_left_alone() -> None:
    poses = PoseSequence(walking(30), NAMES, 30.0, "mm", np.array([0.0, 0, 2.0]))
    world = poses.in_world()
    assert world.note == ""
    assert (world.up_sigma_deg, world.scale_sigma, world.mm_per_unit) == (0, 0, 1)
    np.testing.assert_allclose(world.place(poses.pose), walking(30)[..., [1, 2, 0]])
    assert replace(poses, unit="m").in_world().mm_per_unit == 1000


def test_a_height_gives_millimetres_and_the_same_place() -> None:
    poses = free()
    tall = poses.scaled(1780.0)
    assert tall.unit == "mm"
    assert stature(tall.pose, H36M_17) == pytest.approx(1780)
    np.testing.assert_allclose(tall.in_world().place(tall.pose), poses.in_world(1780.0).place(poses.pose), atol=1e-6)
    assert "scale from a height of 1780 mm (+/- 4%)" in tall.in_world().note
    assert "scale unknown, assumed stature 1700 mm (+/- 7%)" in poses.in_world().note
    assert tall.scaled(1500.0) is tall


@pytest.mark.parametrize("height", [178, 0.0, -1.7, float("nan")])
def test_a_height_is_in_metres(height: float) -> None:
    with pytest.raises(VergenceError, match="a height of"):
        height_mm(height)
    assert height_mm(1.78) == 1780


def test_the_world_is_kept_with_the_poses(tmp_path) -> None:
    poses = free()
    write_npz(tmp_path / "a.npz", poses)
    assert plain(read_npz(tmp_path / "a.npz").world) == plain(poses.world)
    assert "level cameras" in poses.world.up_from
    np.savez(tmp_path / "b.npz", pose=poses.pose, joint_names=NAMES, fps=30.0, unit="mm", placed="{")
    with pytest.raises(VergenceError, match=r"`placed` of .* cannot be read"):
        read_npz(tmp_path / "b.npz")


def test_rows_become_frames_with_gaps() -> None:
    poses = PoseSequence(walking(3), NAMES, 30.0, "mm", np.array([0, 0, 1.0]), frame=np.array([4, 5, 8]))
    placed = poses.placed(poses.in_world())
    assert placed.frames.tolist() == [4, 5, 6, 7, 8]
    assert np.isnan(placed.pose[2:4]).all()
    assert np.isfinite(placed.pose[[0, 1, 4]]).all()
    with pytest.raises(VergenceError, match="do not grow"):
        replace(poses, frame=np.array([4, 4, 8])).placed(poses.in_world())


def test_nobody_at_all_has_no_frames() -> None:
    poses = PoseSequence(np.empty((0, 17, 3)), NAMES, 30.0, "mm", np.array([0, 0, 1.0]))
    assert poses.placed(poses.in_world()).pose.shape == (0, 17, 3)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_up_near_an_axis_goes_to_y_as_the_axis_does(axis: int, sign: int) -> None:
    up = np.full(3, 0.1)
    up[axis] = sign
    turn, straight = y_up(up), y_up(sign * np.eye(3)[axis])
    np.testing.assert_allclose(turn @ up / np.linalg.norm(up), [0, 1, 0], atol=1e-12)
    assert np.degrees(np.arccos((np.trace(turn @ straight.T) - 1) / 2)) < 10


@pytest.mark.parametrize(
    ("sources", "words"),
    [((), "the first camera taken as level"), (("a",), "a"), (("a", "b"), "a and b"), (("a", "b", "c"), "a, b, c")],
)
def test_what_told_the_vertical_is_listed(
    sources: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Vertical(np.array([0.0, -1, 0]), 1.0, sources)
    monkeypatch.setattr(world, "find_vertical", lambda *_: found)
    assert world.find_world(free().pose, H36M_17, "mm", 30.0).up_from == words
