"""Random motion is smooth and of this world; recorded motion is read right."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.outputs.sequence import PoseSequence
from vergence.outputs.tables import write_npz
from vergence.skeleton import H36M_17
from vergence.world.body import draw_bodies, limits
from vergence.world.motion import AREA_RADIUS_MM, as_motion, draw_choreography, perform, sample_motion
from vergence.world.motion_files import read_bvh, read_motion

RNG = np.random.default_rng(1)
BODIES = draw_bodies(12, RNG)
DANCES = [draw_choreography(8.0, BODIES[i : i + 1], RNG) for i in range(12)]


def joints_at(times):
    return perform(DANCES, BODIES, np.broadcast_to(times, (12, len(times)))).joints.view(12, len(times), 17, 3)


def test_speeds_are_human_and_motion_is_continuous():
    speed = (joints_at(np.arange(0, 8, 0.02)).diff(dim=1).norm(dim=-1) / 0.02 / 1000).flatten()
    assert speed.max() < 10
    assert speed.quantile(0.99) < 5
    assert speed.mean() > 0.2
    start = joints_at(np.arange(2, 3, 0.001)).diff(dim=1).norm(dim=-1).max()
    assert start < 10  # mm in a millisecond: no jumps


def test_angles_stay_within_limits_and_people_within_the_area():
    for dance in DANCES:
        angles, _, place = dance.angles(np.arange(0, 8, 0.05))
        assert np.allclose(angles, np.clip(angles, *limits()), rtol=0, atol=1e-9)
        assert np.linalg.norm(place, axis=1).max() < AREA_RADIUS_MM + 1


def test_motion_is_a_function_of_time():
    """Asked for at other time steps, or one alone, it is the same motion: the gait's phase too."""
    whole, part = joints_at(np.arange(0, 8, 0.1)), joints_at(np.arange(3, 5, 0.1))
    assert (whole[:, 30:50] - part).abs().max() < 15
    assert (whole[:, 30:50] - part).abs().mean() < 1.5


def test_people_walk_and_turn():
    place = joints_at(np.arange(0, 8, 0.1))[:, :, 0, :2]
    travelled = place.diff(dim=1).norm(dim=-1).sum(1)
    assert (travelled > 1000).float().mean() >= 0.5


def test_recorded_motion_is_centred_and_interpolated():
    joints = torch.from_numpy(RNG.normal(0, 300, (11, 17, 3)))
    joints[:, :, 0] += torch.arange(11)[:, None] * 100 + 5000
    motion = as_motion(joints, fps=10)
    half = sample_motion(motion, np.array([0.0, 0.05, 0.1]))
    assert (half.joints[1] - (half.joints[0] + half.joints[2]) / 2).abs().max() < 1e-6
    assert abs(half.joints[:, 0, 0].mean()) < 400
    with pytest.raises(VergenceError, match="asked for"):
        sample_motion(motion, np.array([1.2]))
    with pytest.raises(VergenceError, match="17"):
        as_motion(np.zeros((3, 16, 3)), 30)


def test_guessed_nose_and_toes_follow_the_body():
    posed = perform(DANCES, BODIES, np.broadcast_to(np.arange(0, 8, 0.4), (12, 20)))
    guess = as_motion(posed.joints, 25)
    nose = (guess.face * posed.face).sum(-1)
    toes = (guess.feet * posed.feet).sum(-1)
    assert nose.median() > 0.85
    assert toes.median() > 0.85


BVH = """HIERARCHY
ROOT Hips
{
 OFFSET 0 0 0
 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
 JOINT LeftUpLeg
 { OFFSET 10 -2 0
   CHANNELS 3 Zrotation Xrotation Yrotation
   JOINT LeftLeg
   { OFFSET 0 -42 0
     CHANNELS 3 Zrotation Xrotation Yrotation
     JOINT LeftFoot
     { OFFSET 0 -41 0
       CHANNELS 3 Zrotation Xrotation Yrotation
       End Site
       { OFFSET 0 -5 12 } } } }
 JOINT RightUpLeg
 { OFFSET -10 -2 0
   CHANNELS 3 Zrotation Xrotation Yrotation
   JOINT RightLeg
   { OFFSET 0 -42 0
     CHANNELS 3 Zrotation Xrotation Yrotation
     JOINT RightFoot
     { OFFSET 0 -41 0
       CHANNELS 3 Zrotation Xrotation Yrotation
       End Site
       { OFFSET 0 -5 12 } } } }
 JOINT Spine
 { OFFSET 0 22 0
   CHANNELS 3 Zrotation Xrotation Yrotation
   JOINT Neck
   { OFFSET 0 26 0
     CHANNELS 3 Zrotation Xrotation Yrotation
     JOINT Head
     { OFFSET 0 10 2
       CHANNELS 3 Zrotation Xrotation Yrotation
       End Site
       { OFFSET 0 18 0 } } }
   JOINT LeftShoulder
   { OFFSET 3 24 0
     CHANNELS 3 Zrotation Xrotation Yrotation
     JOINT LeftArm
     { OFFSET 14 0 0
       CHANNELS 3 Zrotation Xrotation Yrotation
       JOINT LeftForeArm
       { OFFSET 28 0 0
         CHANNELS 3 Zrotation Xrotation Yrotation
         JOINT LeftHand
         { OFFSET 25 0 0
           CHANNELS 3 Zrotation Xrotation Yrotation
           End Site
           { OFFSET 8 0 0 } } } } }
   JOINT RightShoulder
   { OFFSET -3 24 0
     CHANNELS 3 Zrotation Xrotation Yrotation
     JOINT RightArm
     { OFFSET -14 0 0
       CHANNELS 3 Zrotation Xrotation Yrotation
       JOINT RightForeArm
       { OFFSET -28 0 0
         CHANNELS 3 Zrotation Xrotation Yrotation
         JOINT RightHand
         { OFFSET -25 0 0
           CHANNELS 3 Zrotation Xrotation Yrotation
           End Site
           { OFFSET -8 0 0 } } } } } }
}
MOTION
Frames: 3
Frame Time: 0.05
"""
CHANNELS = BVH.count("CHANNELS 3") * 3 + 6


def bvh_file(folder: Path, values: np.ndarray) -> Path:
    path = folder / "clip.bvh"
    path.write_text(BVH + "\n".join(" ".join(f"{x:.6f}" for x in row) for row in values) + "\n")
    return path


def test_bvh_against_scipy_by_recursion(tmp_path):
    values = np.random.default_rng(0).uniform(-60, 60, (3, CHANNELS))
    bvh = read_bvh(bvh_file(tmp_path, values))
    assert bvh.fps == pytest.approx(20)
    inner = [i for i, name in enumerate(bvh.names) if not name.endswith("_end")]
    first = {j: (0 if n == 0 else 6 + 3 * (n - 1)) for n, j in enumerate(inner)}
    offsets = read_bvh(bvh_file(tmp_path, np.zeros((3, CHANNELS)))).positions[0]
    offsets = offsets - np.where(np.array(bvh.parents)[:, None] >= 0, offsets[np.array(bvh.parents)], 0)

    def turn(joint, t):
        c = first[joint] + (3 if joint == 0 else 0)
        own = Rotation.from_euler("ZXY", values[t, c : c + 3], degrees=True)
        return own if joint == 0 else turn(bvh.parents[joint], t) * own

    def place(joint, t):
        if joint == 0:
            return values[t, :3]
        parent = bvh.parents[joint]
        return place(parent, t) + turn(parent, t).apply(offsets[joint])

    for t in range(3):
        for joint in range(len(bvh.names)):
            assert np.abs(place(joint, t) - bvh.positions[t, joint]).max() < 1e-4


def test_bvh_becomes_upright_human_joints_in_mm(tmp_path):
    values = np.zeros((3, CHANNELS))
    values[:, 1] = 90
    motion = read_motion(bvh_file(tmp_path, values))
    joint = {name: motion.joints[0, i].numpy() for i, name in enumerate(H36M_17.joint_names)}
    assert motion.fps == pytest.approx(20)
    assert joint["head_top"][2] - joint["left_ankle"][2] == pytest.approx(1610, abs=1)
    assert joint["left_shoulder"][0] > joint["right_shoulder"][0]
    # Facing +z in the file is facing -y with z up; the body's left stays its left.
    assert motion.face[0, 1] < -0.9
    assert np.linalg.norm(joint["left_wrist"] - joint["left_elbow"]) == pytest.approx(250, abs=0.1)
    assert read_motion(bvh_file(tmp_path, values), unit=9.0).joints[0, 10, 2] == pytest.approx(
        0.9 * joint["head_top"][2], rel=1e-4
    )
    with pytest.raises(VergenceError, match="unit"):
        read_motion(bvh_file(tmp_path, values), unit="m")


def test_broken_motion_files_are_refused_in_words(tmp_path):
    path = tmp_path / "broken.bvh"
    three = re.escape(f"3 numbers, 3 frames of {CHANNELS} channels have {3 * CHANNELS}. Export it again.")
    for text, said in (
        ("", "it has no MOTION"),
        ("HIERARCHY\nROOT Hips\n{\n", "it has no MOTION"),
        (BVH + "1 2 3\n", three),
        ("HIERARCHY\nROOT Hips\n{\nOFFSET 0 0", "it has no MOTION"),
        ("HIERARCHY\nROOT\nMOTION\nFrames: 3", "it ends too soon"),
    ):
        path.write_text(text)
        with pytest.raises(VergenceError, match=rf"broken\.bvh is not a valid BVH file: {said}"):
            read_motion(path)
    path.write_text(BVH.replace("LeftLeg", "Thing") + ("0 " * CHANNELS + "\n") * 3)
    with pytest.raises(VergenceError, match="left_knee"):
        read_motion(path)
    with pytest.raises(VergenceError, match="neither"):
        read_motion(tmp_path / "clip.c3d")


def test_npz_of_vergence_is_read(tmp_path):
    joints = perform(DANCES[:1], BODIES[:1], np.arange(0, 1, 0.04)[None]).joints.numpy()
    poses = PoseSequence(joints / 1000, H36M_17.joint_names, 25.0, "m", np.array([0.0, 0, 1]))
    write_npz(tmp_path / "poses.npz", poses)
    motion = read_motion(tmp_path / "poses.npz")
    assert (motion.joints - torch.from_numpy(joints)).abs().max() < 1e-3
    write_npz(tmp_path / "poses.npz", PoseSequence(joints, H36M_17.joint_names, 25.0, "mm", np.array([0.0, 1, 0])))
    with pytest.raises(VergenceError, match="up"):
        read_motion(tmp_path / "poses.npz")


@pytest.mark.skipif("VERGENCE_DATA" not in os.environ, reason="VERGENCE_DATA is not set")
def test_real_clips_are_read():
    clips = sorted((Path(os.environ["VERGENCE_DATA"]) / "cmu").glob("*.npz"))
    assert clips
    for clip in clips[::10]:
        motion = read_motion(clip)
        stature = float((motion.joints[:, 10, 2] - motion.joints[:, [3, 6], 2].amin(1)).quantile(0.9))
        assert 1200 < stature < 1800
        forward = (motion.face[:, None] * motion.feet).sum(-1).mean()
        assert forward > 0.3
