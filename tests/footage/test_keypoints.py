"""Keypoint files: OpenPose, COCO, NPZ."""

import json
from pathlib import Path

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.formats.coco import HIDDEN_CONFIDENCE
from vergence.footage.formats.names import name_numbers
from vergence.footage.keypoints import clean, read_keypoint_npz, read_keypoints
from vergence.skeleton import BODY_25, BODY_25B, COCO_17, H36M_17, Skeleton

PLACES = {
    "nose": (0, -80), "eye": (4, -84), "ear": (8, -82), "neck": (0, -60), "upper_neck": (0, -60), "head_top": (0, -95),
    "shoulder": (20, -58), "elbow": (35, -30), "wrist": (45, -5), "pelvis": (0, 0), "hip": (12, 0), "knee": (14, 45),
    "ankle": (15, 90), "big_toe": (20, 97), "small_toe": (24, 96), "heel": (13, 96),
}  # fmt: skip


def person(skeleton: Skeleton, x: float = 200, y: float = 200) -> np.ndarray:
    """A standing figure, seen from the front: its right is on the left."""
    rows = []
    for name in skeleton.joint_names:
        side, _, part = name.partition("_")
        sign = {"left": 1, "right": -1}.get(side, 0)
        dx, dy = PLACES[part if sign else name]
        rows.append((x + (sign or 1) * dx, y + dy, 0.9))
    return np.array(rows, dtype=float)


def openpose(folder: Path, frames: dict[int, list[np.ndarray]], pattern: str = "cam_{:012d}_keypoints.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, people in frames.items():
        rows = [{"pose_keypoints_2d": p.ravel().tolist()} for p in people]
        (folder / pattern.format(number)).write_text(json.dumps({"version": 1.3, "people": rows}))
    return folder


@pytest.mark.parametrize("skeleton", [BODY_25, BODY_25B])
def test_body_25_or_25b_is_measured_and_said(tmp_path: Path, skeleton: Skeleton) -> None:
    found = read_keypoints(openpose(tmp_path / "json", {0: [person(skeleton)], 1: []}))
    assert found.skeleton == skeleton
    assert any(f"read as {skeleton.name.upper()};" in note for note in found.notes)
    np.testing.assert_allclose(found.people[0][0], person(skeleton))
    assert found.people[1].shape == (0, 25, 3)
    assert found.last_known


def test_undecidable_skeleton_asks(tmp_path: Path) -> None:
    points = person(BODY_25)
    points[:, :2] = 100.0  # all on one spot
    folder = openpose(tmp_path / "json", {0: [points]})
    with pytest.raises(VergenceError, match=r"may be BODY_25 or BODY_25B.*skeleton = "):
        read_keypoints(folder)
    assert read_keypoints(folder, "body_25b").skeleton == BODY_25B


def test_coco_18_and_17(tmp_path: Path) -> None:
    seventeen = read_keypoints(openpose(tmp_path / "a", {0: [person(COCO_17)]}))
    assert seventeen.skeleton == COCO_17
    points = np.zeros((18, 3)) + [5, 6, 0.5]
    assert read_keypoints(openpose(tmp_path / "b", {0: [points]})).skeleton.joint_names[1] == "neck"
    with pytest.raises(VergenceError, match="21 joints"):
        read_keypoints(openpose(tmp_path / "c", {0: [points[:1].repeat(21, 0)]}))
    with pytest.raises(VergenceError, match=r"17 joints, skeleton body_25 has 25"):
        read_keypoints(tmp_path / "a", "body_25")


def test_zeros_are_missing_and_empty_people_nobody(tmp_path: Path) -> None:
    points = person(COCO_17)
    points[3] = 0
    points[4, 2] = 1.3
    found = read_keypoints(openpose(tmp_path / "a", {0: [points, np.zeros((17, 3))]}))
    assert found.people[0].shape == (1, 17, 3)
    assert np.isnan(found.people[0][0, 3]).all()
    assert found.people[0][0, 4, 2] == 1
    assert any("above 1" in note for note in found.notes)


@pytest.mark.parametrize("nobody", [{}, {"person_id": [-1]}, {"pose_keypoints_2d": []}])
def test_a_person_without_values_is_nobody(tmp_path: Path, nobody: dict) -> None:
    """As Pose2Sim writes whom a camera does not see."""
    folder = openpose(tmp_path / "a", {0: [person(COCO_17)], 1: [person(COCO_17)]}, "x_{:04d}.json")
    (folder / "x_0001.json").write_text(json.dumps({"people": [nobody]}))
    found = read_keypoints(folder)
    assert [len(found.people[number]) for number in (0, 1)] == [1, 0]


def test_frame_numbers_come_from_names(tmp_path: Path) -> None:
    frames = {number: [person(COCO_17, 100 + number)] for number in (0, 1, 3, 10)}
    found = read_keypoints(openpose(tmp_path / "a", frames, "take2.{:04d}.json"))
    assert sorted(found.people) == [0, 1, 3, 10]
    assert any("7 frames between 0 and 10" in note for note in found.notes)
    rows = found.frames(0, 5)
    assert [len(r) for r in rows] == [1, 1, 0, 1, 0]
    assert rows[3][0, 0, 0] == 103
    assert name_numbers(["video_000000000012_keypoints.json"]) == [12]
    assert name_numbers(["name.json"]) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not readable JSON"), ("[]", "it is a list, where a table"), ('{"people": [{}]}', "no `pose_keypoints_2d`"),
     ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', "not triples"),
     ('{"people": [{"pose_keypoints_2d": ["a"]}]}', r"people\[0\].pose_keypoints_2d\[0\] is text"),
     ('{"people": []}', "nobody is in any frame")],
)  # fmt: skip
def test_broken_openpose_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(VergenceError, match=message):
        read_keypoints(tmp_path)


def test_missing_places(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="no keypoint files"):
        read_keypoints(tmp_path)
    with pytest.raises(VergenceError, match="there is no file"):
        read_keypoints(tmp_path / "x.json")
    with pytest.raises(VergenceError, match=r"belongs under \[capture\]"):
        read_keypoints(tmp_path / "x.npz")
    openpose(tmp_path / "a", {1: [person(COCO_17)]}, "x{}.json")
    openpose(tmp_path / "a", {1: [person(COCO_17)]}, "y{}.json")
    with pytest.raises(VergenceError, match="two files of frame 1"):
        read_keypoints(tmp_path / "a")


def test_coco_results(tmp_path: Path) -> None:
    rows = [{"image_id": i, "keypoints": person(COCO_17, 100 + i).ravel().tolist(), "score": 1} for i in (4, 2, 2)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = read_keypoints(tmp_path / "a.json")
    assert {k: len(v) for k, v in found.people.items()} == {4: 1, 2: 2}
    assert found.people[4][0, 0, 0] == 104
    assert not found.last_known


def test_coco_annotations(tmp_path: Path) -> None:
    """Names order the frames, `categories` names the joints, v is not a score."""
    points = person(H36M_LIKE)
    points[:, 2] = 2
    points[0, 2] = 1
    points[1] = 0
    data = {
        "images": [{"id": 900, "file_name": "f_2.png", "width": 640, "height": 480}, {"id": 7, "file_name": "f_1.png"}],
        "annotations": [{"image_id": 900, "keypoints": points.ravel().tolist()}],
        "categories": [{"id": 1, "keypoints": list(H36M_LIKE.joint_names)}],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    found = read_keypoints(tmp_path / "a.json")
    assert found.skeleton.joint_names == H36M_LIKE.joint_names
    assert {k: len(v) for k, v in found.people.items()} == {1: 0, 2: 1}
    assert found.image_size == (640, 480)
    assert found.people[2][0, 0, 2] == HIDDEN_CONFIDENCE
    assert np.isnan(found.people[2][0, 1]).all()
    assert (found.people[2][0, 2:, 2] == 1).all()
    data["annotations"][0]["image_id"] = 5
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(VergenceError, match="image 5"):
        read_keypoints(tmp_path / "a.json")


H36M_LIKE = Skeleton("custom", ("pelvis", "right_hip", "left_hip", "right_knee", "left_knee"))


def test_names_that_are_identities_do_not_count_frames(tmp_path: Path) -> None:
    rows = [{"image_id": i, "keypoints": person(COCO_17).ravel().tolist()} for i in (581929, 785, 40083)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert sorted(read_keypoints(tmp_path / "a.json").people) == [0, 1, 2]


@pytest.mark.parametrize("data", [{"a": 1}, [], [{"image_id": 1}], 3])
def test_not_coco(tmp_path: Path, data: object) -> None:
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(VergenceError, match=r"no COCO-style file|holds no keypoints"):
        read_keypoints(tmp_path / "a.json")


def test_npz(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(10, 90, (4, 2, 17, 3))
    points[..., 2] /= 100
    points[1, 0, 2] = 0
    points[2, 1, 3, 0] = np.nan
    np.savez(tmp_path / "a.npz", keypoints=points, joint_names=H36M_17.joint_names, fps=50.0)
    table = read_keypoint_npz(tmp_path / "a.npz")
    assert table.skeleton == H36M_17
    assert table.fps == 50
    assert np.isnan(table.keypoints[1, 0, 2]).all()
    assert np.isnan(table.keypoints[2, 1, 3]).all()
    assert np.isfinite(table.keypoints).sum() == points.size - 6


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"pose": np.zeros(3)}, "has no `keypoints`; it has pose"),
        ({"keypoints": np.zeros((4, 17, 3)), "joint_names": H36M_17.joint_names}, "T V J 3"),
        ({"keypoints": np.zeros((4, 2, 5, 3)), "joint_names": H36M_17.joint_names}, "5 joints and 17 joint_names"),
        ({"keypoints": np.zeros((4, 2, 17, 3)), "joint_names": H36M_17.joint_names, "fps": 0.0}, "fps of .* is 0"),
        (
            {"keypoints": np.zeros((4, 2, 17, 3)), "joint_names": H36M_17.joint_names, "fps": 1e6},
            r"fps of .* is 1e\+06",
        ),
    ],
)
def test_broken_npz(tmp_path: Path, data: dict, message: str) -> None:
    np.savez(tmp_path / "a.npz", **data)
    with pytest.raises(VergenceError, match=message):
        read_keypoint_npz(tmp_path / "a.npz")


def test_npz_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("text")
    with pytest.raises(VergenceError, match="not a readable NPZ"):
        read_keypoint_npz(tmp_path / "a.npz")
    with pytest.raises(VergenceError, match=r"there is no file .*b\.npz"):
        read_keypoint_npz(tmp_path / "b.npz")


def test_clean_leaves_the_input_alone() -> None:
    points = np.array([[1.0, 2, 0.5], [1, np.inf, 0.5], [0, 0, 0.4], [3, 4, -1]])
    out = clean(points)
    assert np.isfinite(points[3]).all()
    assert np.isnan(out[[1, 3]]).all()
    np.testing.assert_array_equal(out[[0, 2]], points[[0, 2]])


@pytest.mark.parametrize("fps", [0.001, 0.5, 1.0, 999_999.0])
def test_an_npz_has_any_rate_above_0_and_below_a_million(tmp_path: Path, fps: float) -> None:
    points = np.random.default_rng(0).uniform(0.2, 0.9, (4, 2, 17, 3))
    np.savez(tmp_path / "a.npz", keypoints=points, joint_names=H36M_17.joint_names, fps=fps)
    table = read_keypoint_npz(tmp_path / "a.npz")
    assert (table.fps, table.notes) == (fps, ())
