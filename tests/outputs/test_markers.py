"""Names of markers, in the words of the programs that look for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.outputs import PoseSequence, read_trc, write_trc
from vergence.outputs.markers import named_markers
from vergence.skeleton import BODY_25, BODY_25B, COCO_17, H36M_17, HALPE_26, Skeleton

# The markers of Pose2Sim 0.10's models of each detector's joints.
FEET = "LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
BODY = "LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee RKnee LAnkle RAnkle"
MODELS = {
    HALPE_26: f"Nose Head Neck Hip {BODY} {FEET}",
    BODY_25B: f"Nose Head Neck {BODY} {FEET}",
    BODY_25: f"Nose Neck CHip {BODY} {FEET}",
    COCO_17: f"Nose Neck {BODY}",
    H36M_17: f"Head Neck Hip {BODY}",
}


def poses(skeleton: Skeleton = H36M_17) -> PoseSequence:
    pose = np.random.default_rng(0).normal(size=(4, len(skeleton), 3))
    return PoseSequence(pose, skeleton.joint_names, 30.0, "mm", np.array([0.0, 1, 0]))


@pytest.mark.parametrize("skeleton", MODELS, ids=lambda skeleton: skeleton.name)
def test_pose2sims_models_find_all_their_markers(skeleton: Skeleton) -> None:
    names, points = named_markers(poses(skeleton), "pose2sim")
    assert set(MODELS[skeleton].split()) <= set(names)
    assert points.shape == (4, len(names), 3)
    both = points[:, [names.index("LHip"), names.index("RHip")]]
    np.testing.assert_array_equal(
        both, poses(skeleton).pose[:, [skeleton.index(f"{s}_hip") for s in ("left", "right")]]
    )


def test_a_neck_that_nobody_labelled_is_between_the_shoulders() -> None:
    names, points = named_markers(poses(COCO_17), "pose2sim")
    shoulders = [names.index("LShoulder"), names.index("RShoulder")]
    np.testing.assert_allclose(points[:, names.index("Neck")], points[:, shoulders].mean(1))


def test_opensims_joint_centres_and_own_names(tmp_path: Path) -> None:
    names, _ = named_markers(poses(), "opensim")
    assert {"RHJC", "LKJC", "RAJC", "LSJC", "REJC", "LWJC"} <= set(names)
    table = tmp_path / "names.toml"
    table.write_text('RHip = "RASI"\nleft_hip = "LASI"\nspine = ""\n', encoding="utf-8-sig")
    write_trc(tmp_path / "a.trc", poses(), markers=str(table))
    found = read_trc(tmp_path / "a.trc").marker_names
    assert {"RASI", "LASI", "left_knee"} <= set(found)
    assert not {"spine", "right_hip"} & set(found)


def test_joints_that_no_frame_shows_are_absent(tmp_path: Path) -> None:
    ours = poses()
    ours.pose[:, 10] = np.nan
    ours.pose[0, 3] = np.nan
    write_trc(tmp_path / "a.trc", ours)
    names = read_trc(tmp_path / "a.trc").marker_names
    assert "head_top" not in names
    assert "right_ankle" in names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there are no markers"),
        ("right_hip = [", "not readable TOML"),
        ('tail = "T"', "joints that are not there: tail"),
        ('right_hip = "A"\nleft_hip = "A"', "two joints are the marker A"),
        ('right_hip = "pelvis"', "two joints are the marker pelvis"),
        ("right_hip = 3", "no marker's name"),
        ('right_hip = "A\\tB"', "no marker's name"),
    ],
)
def test_names_that_cannot_be_used(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "names.toml").write_text(text)
    with pytest.raises(VergenceError, match=said):
        write_trc(tmp_path / "a.trc", poses(), markers=tmp_path / "names.toml")
    assert not (tmp_path / "a.trc").exists()
