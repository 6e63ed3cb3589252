"""Figures of single cameras: which way up people are, and by how much joints tremble."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vergence.reconstruction.inspection.measure import (
    _lens,
    _most,
    cameras_of,
    joints_of,
    pairs_of,
    trembling,
    turn_of,
)
from vergence.skeleton import COCO_17, H36M_17

SIZE = (400, 600)


def seen(lean: float, turn: int = 0) -> tuple[np.ndarray, Any, Any]:
    """Somebody in the middle of 20 images who leans from the vertical by so many degrees, in images turned by quarters."""
    height = {"nose": 150, "shoulder": 110, "elbow": 80, "wrist": 60, "hip": 0, "knee": -60, "ankle": -120}
    up = np.array([next((h for part, h in height.items() if part in name), 150) for name in COCO_17.joint_names])
    angle = np.radians(lean - 90 * turn)
    points = np.stack([200 + up * np.sin(angle), 300 - up * np.cos(angle), np.ones(17)], -1)
    return np.tile(points, (20, 1, 1)), SimpleNamespace(skeleton=COCO_17), SimpleNamespace(image_size=SIZE)


@pytest.mark.parametrize(
    ("lean", "turn", "found"), [(0, 0, 0), (48, 0, 0), (-50, 0, 0), (0, 1, 3), (0, 3, 1), (5, 2, 2), (90, 0, 1)]
)
def test_who_leans_is_not_taken_for_a_turned_camera(lean, turn, found):
    assert turn_of(*seen(lean, turn)) == found


def test_of_nobody_no_way_is_known():
    points, *rest = seen(0)
    assert turn_of(np.full_like(points, np.nan), *rest) is None


def test_trembling_is_the_noise_of_a_coordinate_whatever_the_motion():
    rng, t = np.random.default_rng(0), np.arange(600) / 50
    way = np.stack([300 * t, 200 * np.sin(2 * np.pi * t)], -1)[:, None] + np.zeros((1, 17, 2))
    points = way + rng.normal(0, 2.5, way.shape) * np.linspace(0, 1, 17)[:, None]
    points[:, 3] = np.nan
    found = trembling(points, H36M_17.joint_names)
    names = list(H36M_17.joint_names)
    assert names[3] not in found
    assert found[names[16]] == pytest.approx(2.5, rel=0.1)
    assert found[names[8]] == pytest.approx(1.25, rel=0.1)
    assert found[names[0]] < 0.2


def sees(*confidence: list[float]) -> Any:
    """Observations of one joint set in which a row is a time step and a number a camera; 0 = not seen."""
    sure = np.array(confidence, dtype=float)
    table = np.tile(np.where(sure > 0, sure, np.nan)[..., None, None], (1, 1, 17, 3))
    return SimpleNamespace(keypoints=table, skeleton=H36M_17, people=[[] for _ in confidence[0]])


def camera(**changes: Any) -> Any:
    usual = {"name": "a", "image_size": SIZE, "frame_count": None, "frame_steps": 1.0, "stamps": None, "offset": 0.0,
             "intrinsics": None}  # fmt: skip
    return SimpleNamespace(**usual | changes)


def test_cameras_begin_after_the_first_one_and_films_last_by_their_own_rate() -> None:
    """Of 50 steps a second: one begins 10 steps before the others' time 0, one 25 after it, at half the rate."""
    stamps = np.array([0.0, 2, 4, 10, 12, 14])
    own = [camera(name="a", offset=10.0, frame_count=100), camera(name="b"),
           camera(name="c", offset=-25.0, frame_count=30, frame_steps=2.0, stamps=stamps)]  # fmt: skip
    look: Any = SimpleNamespace(source=SimpleNamespace(cameras=own, fps=50.0), turn=(), scenes=())
    at: Any = SimpleNamespace(cameras=[SimpleNamespace(frame_count=0)] * 3)
    seen = sees(*[[1, 1, 1]] * 3, [1, 0, 0])
    seen.keypoints[..., 0, :2] = 100.0
    seen.keypoints[..., 1, :2] = 130.0, 500.0
    found = cameras_of(look, at, seen, None, (1.5, 2.5, 3.5))
    assert [one.begins for one in found] == [0.0, 0.2, 0.7]
    assert [one.rate for one in found] == [50.0, 50.0, 25.0]
    assert [one.frames for one in found] == [100, 4, 30]
    assert [one.seconds for one in found] == [2.0, 0.08, 1.2]
    assert [one.holes for one in found] == [0, 0, 1]
    assert [one.stamped for one in found] == [False, False, True]
    assert [one.error_px for one in found] == [1.5, 2.5, 3.5]
    assert [one.seen for one in found] == [1.0, 0.75, 0.75]
    assert [one.height_px for one in found] == [499.0] * 3  # from y 1 of the others, their confidence, to 500
    assert all(one.lens == "unknown" and one.view_deg != one.view_deg and not one.filmed for one in found)
    nobody = cameras_of(look, at, None, None, ())
    assert [(one.frames, one.seen, one.people) for one in nobody] == [(100, 0.0, 0), (0, 0.0, 0), (30, 0.0, 0)]
    assert all(one.error_px != one.error_px and one.height_px != one.height_px for one in nobody)


def test_the_angle_of_view_is_that_of_the_longer_side() -> None:
    """400 x 600 px: along the height, here at a focal length of 300 px; of a wide image along its width, at 200."""
    K = np.array([[200.0, 0, 200], [0, 300, 300], [0, 0, 1]])
    assert _lens(camera(intrinsics=K), None, 0) == ("given", pytest.approx(90.0), 0.0)
    assert _lens(camera(intrinsics=K, image_size=(400, 300)), None, 0)[1] == pytest.approx(90.0)
    solution: Any = SimpleNamespace(intrinsics=[K, 2 * K], report=SimpleNamespace(focal_deviation=(0.1, 0.2)))
    half = 2 * np.degrees(np.arctan(0.5))
    assert _lens(camera(), solution, 1) == ("estimated", pytest.approx(half), 0.2)
    solution.report.focal_deviation = ()
    name, view, deviation = _lens(camera(), solution, 0)
    assert (name, view, deviation != deviation) == ("estimated", pytest.approx(90.0), True)


def test_most_people_are_those_of_one_moment() -> None:
    """Two tracks that follow each other are one person at once; a scene with more counts."""
    first, second = np.full((2, 4, 17, 3), np.nan)
    first[:2], second[2:] = 1.0, 1.0
    seen, look = sees([1.0]), SimpleNamespace(scenes=())
    seen.people = [[first, second]]
    assert _most(look, seen, 0) == 1
    second[1] = 1.0
    assert _most(look, seen, 0) == 2
    look.scenes = [[SimpleNamespace(boxes=np.zeros((count, 4))) for count in (1, 3, 0)]]
    assert _most(look, seen, 0) == 3
    assert _most(look, None, 0) == 3


def rig(*centres: list[float], inlier: np.ndarray) -> Any:
    """Cameras that do not turn at these places, and a person whose root is at the origin (and once far off)."""
    pose = np.zeros((len(inlier), 17, 3))
    pose[0] = 1e4
    return SimpleNamespace(
        rotation=np.tile(np.eye(3), (len(centres), 1, 1)), translation=-np.array(centres), pose=pose, skeleton=H36M_17,
        inlier=inlier,
    )  # fmt: skip


def test_pairs_are_told_by_the_time_and_the_angle_that_they_share() -> None:
    """Three cameras around the person: 90 and 45 degrees apart. Of joints that both see and that have 3D, half agree."""
    inlier = np.ones((4, 3, 17), bool)
    inlier[1, 1] = False
    solution = rig([2.0, 0, 0], [0, 0, -3.0], [1.0, 0, -1.0], inlier=inlier)
    seen = sees([1, 1, 0], [1, 1, 1], [1, 0, 1], [0, 0, 1])
    capture: Any = SimpleNamespace(cameras=[0, 1, 2], names=["a", "b", "c"], fps=10.0)
    sync = {
        "state": "found",
        "pairs": [{"cameras": ["b", "a"], "deviation": 0.25}],
        "cameras": {name: {"offset": offset} for name, offset in zip("abc", (0.5, 2.0, -1.0))},
    }
    ab, ac, bc = pairs_of(capture, seen, solution, sync)
    assert [pair.cameras for pair in (ab, ac, bc)] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.seconds for pair in (ab, ac, bc)] == [0.2, 0.2, 0.1]
    assert [pair.overlap for pair in (ab, ac, bc)] == [0.5, 0.5, 0.25]
    assert [pair.angle_deg for pair in (ab, ac, bc)] == pytest.approx([90, 45, 45])
    assert [pair.offset for pair in (ab, ac, bc)] == [1.5, -1.5, -3.0]
    assert (ab.deviation, ac.deviation != ac.deviation) == (0.25, True)
    assert [pair.inliers for pair in (ab, ac, bc)] == [0.5, 1.0, 0.0]
    solution.pose[:] = np.nan
    solution.pose[:, 5] = 0.0  # no root: the middle of what is known
    assert pairs_of(capture, seen, solution, sync)[0].angle_deg == pytest.approx(90)
    for unknown in ({}, {**sync, "state": "unknown"}):
        pair = pairs_of(capture, seen, solution, unknown)[0]
        assert pair.offset != pair.offset
        assert pair.deviation != pair.deviation


def test_joints_are_seen_where_the_subject_is_and_together_by_two() -> None:
    """Three time steps, two cameras; the wrist has 0.9, 0.05 or nothing of a confidence, all other joints 0.9."""
    seen, wrist = sees([0.9, 0.9], [0.9, 0.9], [0.9, 0.0]), H36M_17.index("left_wrist")
    seen.keypoints[..., 1] = np.where(np.isfinite(seen.keypoints[..., 1]), 0.0, np.nan)
    seen.keypoints[:, :, 0, 1] += 50.0  # a person of 50 px
    seen.keypoints[1, 1, wrist, 2] = 0.05
    seen.keypoints[2, 0, wrist] = np.nan
    names = list(H36M_17.joint_names)
    found = joints_of(seen, {names[wrist]: 2.0})
    assert [one.name for one in found] == names
    own, other = found[wrist], found[0]
    assert (own.seen, own.together, own.noise_px, own.noise) == (3 / 5, 1 / 2, 2.0, 0.04)
    assert (other.seen, other.together, other.noise_px == other.noise_px) == (1.0, 1.0, False)
    nobody = joints_of(sees([0, 0]), {})[0]
    assert (nobody.seen, nobody.together) == (0.0, 0.0)


def test_a_few_frames_tell_no_trembling() -> None:
    """Eight third differences, of eleven frames."""
    points = np.random.default_rng(0).normal(0, 1, (11, 17, 2))
    assert len(trembling(points, H36M_17.joint_names)) == 17
    assert trembling(points[1:], H36M_17.joint_names) == {}
