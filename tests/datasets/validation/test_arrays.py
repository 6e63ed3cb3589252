"""Limits of the checks of arrays, each from both sides, on rows made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vergence.datasets.make_records import make_records
from vergence.datasets.people import seen_within
from vergence.datasets.records import Records
from vergence.datasets.validation import arrays, geometry, reprojection
from vergence.datasets.validation.finding import Finding, percent
from vergence.skeleton import H36M_17, Skeleton

NAN = np.nan
NAMES = H36M_17.joint_names


def rows(count: int = 1, skeleton: Skeleton = H36M_17, **known: Any) -> Records:
    """People in images of 640 x 480, of which nothing else is known."""
    usual = {"size": np.tile([640.0, 480.0], (count, 1)), "box": np.tile([100.0, 100, 200, 200], (count, 1))}
    return make_records([Path(f"{i}.png") for i in range(count)], skeleton, **usual | known)


def body(count: int = 1, scale: float = 1.0) -> np.ndarray:
    """Somebody who stands 3 m away and looks at the camera, mm: limbs of a usual adult, knees slightly bent forward."""
    place = {"pelvis": (0, 0, 0), "right_hip": (-115, 0, 0), "right_knee": (-115, 430, -93), "right_ankle": (-115, 860, -93),
             "spine": (0, -240, 0), "thorax": (0, -480, 0), "neck_nose": (0, -560, -60), "head_top": (0, -680, 0),
             "right_shoulder": (-160, -480, 0), "right_elbow": (-160, -195, 0), "right_wrist": (-160, 55, 0)}  # fmt: skip
    place |= {name.replace("right", "left"): (-x, y, z) for name, (x, y, z) in place.items() if "right" in name}
    pose = scale * (np.array([place[name] for name in NAMES], dtype=float) + [0, 0, 3000])
    return np.tile(pose, (count, 1, 1))


def box_finding(points: np.ndarray, box: list[float]) -> Finding:
    """Of one row in an image of 640 x 480."""
    one = rows(keypoints=np.full((1, 17, 2), NAN), box=np.array([box]), size=np.array([[640.0, 480.0]]))
    one.keypoints[0, : len(points)] = points
    return arrays.check_boxes(one)[0]


def test_keypoints_count_as_outside_beyond_the_grown_box():
    """A box of 40 x 80 px at (100, 200) grows by 20 px: from 80 to 160 and from 180 to 300, its edges included."""
    edges = np.array([[80.0, 180], [160, 300], [80, 300], [160, 180]])
    assert "; 0 % of the keypoints outside" in box_finding(edges, [100, 200, 40, 80]).found
    for off in ([-0.5, 0], [0, -0.5], [0.5, 0], [0, 0.5]):
        point = np.where(np.array(off) < 0, [80, 180], [160, 300]) + off
        fifth = box_finding(np.concatenate([edges, [point]]), [100, 200, 40, 80])
        assert fifth.state == "good"  # the limit
        assert "20 % of the keypoints outside" in fifth.found
        quarter = box_finding(np.concatenate([edges[:3], [point]]), [100, 200, 40, 80])
        assert quarter.state == "wrong"
        assert "25 % of the keypoints lie outside" in quarter.found


def test_boxes_are_in_their_image_by_half_a_pixel():
    """Pixels reach from -0.5 to 639.5 and 479.5."""
    for box, inside in (
        ([639.4, 100, 40, 80], True), ([639.5, 100, 40, 80], False), ([100, 479.4, 40, 80], True),
        ([100, 479.5, 40, 80], False), ([-40.4, 100, 40, 80], True), ([-40.5, 100, 40, 80], False),
        ([100, -80.4, 40, 80], True), ([100, -80.5, 40, 80], False),
    ):  # fmt: skip
        found = box_finding(np.zeros((0, 2)), box)
        assert (found.state == "good") == inside, box
        assert inside or "1 of 1 lie outside their image" in found.found
    for box in ([100, 100, 0, 80], [100, 100, 40, 0], [100, NAN, 40, 80]):
        assert "1 of 1 have no area" in box_finding(np.zeros((0, 2)), box).found


@pytest.mark.parametrize(("point", "outside"), [
    ((-32.0, 200), False), ((-32.1, 200), True), ((672.0, 200), False), ((672.1, 200), True), ((200.0, -24), False),
    ((200, -24.1), True), ((200.0, 504), False), ((200, 504.1), True),
])  # fmt: skip
def test_keypoints_may_lie_a_twentieth_of_the_image_beside_it(point: tuple[float, float], outside: bool) -> None:
    """One of twenty is the limit; one of ten is too many."""
    for known, state in ((20, "good"), (10, "wrong" if outside else "good")):
        keypoints = np.full((4, 17, 2), NAN)
        keypoints.reshape(-1, 2)[np.arange(known) * 3] = [200.0, 100.0]
        keypoints.reshape(-1, 2)[0] = point
        found = arrays.check_keypoints(rows(4, keypoints=keypoints))[0]
        assert found.state == state
        assert found.found.startswith(f"{percent(outside / known)} ")


def test_keypoints_that_reach_two_pixels_only_are_shares_of_a_large_image() -> None:
    keypoints = np.full((1, 17, 2), NAN)
    keypoints[0, :2] = [[0.5, -2.0], [1.0, 0.1]]
    assert "they reach only 2 in" in arrays.check_keypoints(rows(keypoints=keypoints))[0].found
    small = rows(keypoints=keypoints, size=np.array([[8.0, 9.0]]))
    assert "reach only" not in arrays.check_keypoints(small)[0].found
    keypoints[0, 1] = 2.1, 0.1
    assert "reach only" not in arrays.check_keypoints(rows(keypoints=keypoints))[0].found
    assert arrays.check_keypoints(rows())[0].state == "note"


def test_a_limbs_share_of_its_persons_size_by_hand() -> None:
    """Three joints of a skeleton in a row, 3 and 1 px apart, in a box of 4 by 3 px through a fourth, which joins the first at
    3 px: the mean of 3, 1 and 3 over the diagonal of 5."""
    skeleton = Skeleton("abcd", ("pelvis", "spine", "thorax", "head"))
    pairs = sorted(tuple(sorted(pair)) for pair in skeleton.limbs)
    points = np.array([[[0.0, 0], [3, 0], [4, 0], [0, 3]]])
    lengths = [np.linalg.norm(points[0, a] - points[0, b]) for a, b in pairs]
    assert arrays.limb_share_2d(points, skeleton) == pytest.approx(np.mean(lengths) / 5)
    wide = np.concatenate([points, 2 * points + 7, np.full_like(points, NAN)])
    assert arrays.limb_share_2d(wide, skeleton) == pytest.approx(np.mean(lengths) / 5)  # whatever the size and place
    assert np.isnan(arrays.limb_share_2d(wide[2:], skeleton))


K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""), ({(0, 0): 0.0}, "focal length of 0"), ({(1, 1): -500.0}, "focal length of 0"),
        ({(0, 2): -0.1}, "principal point"),
        ({(0, 2): 0.0}, ""), ({(1, 2): 480.0}, ""), ({(1, 2): 480.1}, "principal point"), ({(0, 2): 640.1}, "principal point"),
        ({(1, 1): 549.0}, ""), ({(1, 1): 551.0}, "differ by more than 10 %"), ({(1, 1): 454.0}, "differ by more than 10 %"),
        ({(1, 1): 455.0}, ""), ({(0, 0): 128.0, (1, 1): 128.0}, ""), ({(0, 0): 127.0, (1, 1): 127.0}, "under 0.2"),
        ({(2, 2): NAN}, "NaN in part"),
    ],
)  # fmt: skip
def test_a_lens_is_one_of_its_image(changes: dict[tuple[int, int], float], words: str) -> None:
    k = np.stack([K, K, np.full((3, 3), NAN)])
    for place, value in changes.items():
        k[(1, *place)] = value
    (found,) = arrays.check_cameras(rows(3, intrinsics=k))
    if not words:
        assert (found.state, found.found) == ("good", "intrinsics in 67 % of the rows, rotations in 0 %")
    else:
        assert found.state == "wrong"
        assert words in found.found
        assert found.found.startswith("1")


def test_rotations_turn_and_do_not_mirror() -> None:
    turn, still = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.eye(3)
    for other, words in ((turn, ""), (np.diag([1.0, 1, -1]), "1 mirror"), (1.0004 * still, ""),
                         (1.0006 * still, "not orthonormal"),
                         (np.diag([1.0, 0, 1]), "not orthonormal")):  # fmt: skip
        (found,) = arrays.check_cameras(rows(2, rotation=np.stack([still, other])))
        assert (found.state == "good") == (not words)
        assert words in found.found


def test_views_and_people_of_time_steps_are_counted() -> None:
    steps, views = np.array([5, 5, 5, 9, 9]), np.array([0, 1, 2, 0, 1])
    same = {"time_step": steps, "view": views, "subject": np.zeros(5, int), "sequence": np.zeros(5, int)}
    assert arrays.check_time_steps(rows(5, **same))[0].found == "2, each seen by 2 to 3 views"
    assert arrays.check_time_steps(rows(2, **{k: v[:1].repeat(2) for k, v in same.items()} | {"view": [0, 1]}))[0].found == (
        "1, each seen by 2 views"
    )  # fmt: skip
    single = rows(
        2, time_step=np.array([1, 2]), view=np.zeros(2, int), subject=np.zeros(2, int), sequence=np.zeros(2, int)
    )
    assert arrays.check_time_steps(single)[0].found == "2, each seen by 1 view"
    twice = arrays.check_time_steps(rows(5, **same | {"view": np.array([0, 0, 0, 0, 1])}))
    assert [one.found.split(" (")[0] for one in twice] == ["2 rows repeat a view of a time step"]
    mixed = arrays.check_time_steps(rows(5, **same | {"subject": np.array([1, 2, 3, 4, 4])}))
    assert [one.found.split(" (")[0] for one in mixed] == ["2 time steps have several subjects"]


@pytest.mark.parametrize(
    ("scale", "state", "unit"),
    [(1.0, "good", ""), (0.61, "good", ""), (0.59, "wrong", ""), (1.39, "good", ""), (1.41, "wrong", ""),
     (1e-3, "wrong", "metres"),
     (0.1, "wrong", "centimetres"), (1 / 25.4, "wrong", "inches"), (1 / 304.8, "wrong", "feet"), (30.0, "wrong", "")],
)  # fmt: skip
def test_bodies_are_of_a_human_size_in_millimetres(scale: float, state: str, unit: str) -> None:
    (found,) = arrays.check_units(rows(2, pose=body(2, scale)))
    assert found.state == state
    ratio, told = arrays.unit_of(rows(2, pose=body(2, scale)))
    assert ratio == pytest.approx(scale, rel=0.03)
    assert (unit in told) if unit else (f"the poses are in {told}" not in found.found or told == "")
    assert arrays.check_units(rows())[0].state == "note"


def test_limbs_vary_little_within_a_person_and_are_alike_on_both_sides() -> None:
    """Spread: 1.4826 times the median of the distances from the median, over it. Two people of other sizes are no spread."""
    people = np.concatenate([body(6), body(6, 1.2)])
    who = np.repeat([1, 2], 6)
    assert arrays.check_limbs(rows(12, pose=people, subject=who))[0].state == "good"
    lengths = np.array([[100.0, 50], [110, 50], [90, 50], [100, 50], [120, NAN]])
    spread = arrays._spread(lengths, np.zeros(5, int))
    assert spread == pytest.approx(1.4826 * 10 / 100)  # of the left one four are known: too few
    assert np.isnan(arrays._spread(lengths[:4], np.zeros(4, int)))
    assert arrays._unevenness(lengths) == pytest.approx(np.median([50 / 75, 60 / 80, 40 / 70, 50 / 75]))
    assert np.isnan(arrays._unevenness(lengths[4:]))
    long = body(6)
    long[:, [NAMES.index("right_wrist"), NAMES.index("left_wrist")], 1] += 200  # lower arms of 450 mm
    found = arrays.check_limbs(rows(6, pose=long, subject=np.zeros(6, int)))
    assert [one.found for one in found] == ["not a human's: lower arm 450 mm (limits 130 to 380)"]
    uneven = body(6)
    uneven[:, NAMES.index("right_wrist"), 1] -= 40  # 210 of 250 mm: 17 %
    found = arrays.check_limbs(rows(6, pose=uneven, subject=np.zeros(6, int)))
    assert [one.found for one in found] == ["left and right differ by lower arm 17 % (limit 15 %)"]
    uneven[:, NAMES.index("right_wrist"), 1] += 10  # 13 %
    assert arrays.check_limbs(rows(6, pose=uneven, subject=np.zeros(6, int)))[0].state == "good"


def test_marks_of_missing_joints_are_more_than_a_thousandth() -> None:
    keypoints = np.tile(np.linspace(50, 400, 17)[:, None], (100, 1, 2))
    for mark in ((0.0, 0.0), (-1.0, -1.0)):
        for count, wrong in ((1, False), (2, True)):
            marked = keypoints.copy()
            marked[:count, 3] = mark
            found = arrays.check_values(rows(100, keypoints=marked))
            assert any(one.what == "zeros in keypoints" for one in found) == wrong
    half = keypoints.copy()
    half[5, 3, 0] = NAN
    assert any(
        "1 joints have some coordinates NaN" in one.found for one in arrays.check_values(rows(100, keypoints=half))
    )
    endless = keypoints.copy()
    endless[5, 3] = np.inf
    assert any("2 in keypoints" in one.found for one in arrays.check_values(rows(100, keypoints=endless)))
    pose = body(100)
    pose[:2, 4] = 0.0
    assert any(one.what == "zeros in pose" for one in arrays.check_values(rows(100, pose=pose)))
    relative = body(100) - body(1)[:, :1]
    assert not any(one.what == "zeros in pose" for one in arrays.check_values(rows(100, pose=relative)))


def test_what_is_covered_is_said_in_shares() -> None:
    """Of four rows two have 2D, of half and all of the joints, one has 3D of all but one."""
    keypoints, pose = np.full((4, 17, 2), NAN), np.full((4, 17, 3), NAN)
    keypoints[0], keypoints[1, :8], pose[2, :16] = 100.0, 100.0, body()[0, :16]
    found = arrays.check_values(rows(4, keypoints=keypoints, pose=pose))
    assert found[0].found == (
        f"4 rows; 2D in 50 % of them, 3D in 25 %; of the 2D joints there {percent(25 / 34)} are known, of the 3D joints 94 %"
    )
    assert found[1].found == f"never labelled: {NAMES[16]} (3D)"


def test_keypoints_within_an_image_are_kept_with_its_edge() -> None:
    points = np.array([[[-0.5, 10], [-0.6, 10], [639.5, 479.5], [639.6, 10], [10, 479.6], [10, -0.6], [NAN, 10]]])
    kept = np.isfinite(seen_within(points, np.array([[640.0, 480.0]]))).all(-1)
    assert kept.tolist() == [[True, False, True, False, False, False, False]]


def test_shares_in_percent() -> None:
    shares = {
        0.0: "0 %",
        0.0005: "under 0.1 %",
        0.001: "0.1 %",
        0.0456: "4.6 %",
        0.1: "10 %",
        0.555: "56 %",
        1.0: "100 %",
    }
    assert {share: percent(share) for share in shares} == shares


def test_knees_bend_forward_by_their_share_of_the_leg() -> None:
    """Its distance from the line from hip to ankle over thigh and shank; below 0 in a mirrored body."""
    bends = geometry.knee_bends(body(), H36M_17)
    hip, knee, ankle = (body()[0, NAMES.index(f"right_{part}")] for part in ("hip", "knee", "ankle"))
    line = (ankle - hip) / np.linalg.norm(ankle - hip)
    off = np.linalg.norm((knee - hip) - ((knee - hip) @ line) * line)
    leg = np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee)
    np.testing.assert_allclose(bends, off / leg)
    np.testing.assert_allclose(geometry.knee_bends(body() * [-1, 1, 1], H36M_17), -off / leg)


@pytest.mark.parametrize(("forward", "state"), [(70, "good"), (69, "wrong"), (49, "wrong")])
def test_seven_of_ten_bent_knees_bend_forward(forward: int, state: str) -> None:
    pose = body(100)
    for joint in ("right_knee", "left_knee"):
        pose[:, NAMES.index(joint), 2] -= 60
    pose[forward:, :, 0] *= -1
    (found,) = geometry.check_knees(rows(100, pose=pose, sequence=np.arange(100)))
    assert found.state == state
    assert found.found.startswith(f"{forward} % of 200 bent knees bend forward")
    assert ("mirrored" in found.found) == (forward < 50)
    assert geometry.check_knees(rows(9, pose=pose[:9])) == []
    assert len(geometry.check_knees(rows(10, pose=pose[:10]))) == 1


def test_errors_of_projection_are_infinite_behind_the_camera_and_unknown_without_a_lens() -> None:
    """A focal length of 500 px, 1 m away: 10 mm are 5 px."""
    pose = np.full((3, 17, 3), NAN)
    pose[0, 0], pose[0, 1], pose[1, 0], pose[2, 0] = [10.0, 0, 1000], [0, 0, -1000], [0, 0, 1000], [0, 0, 1000]
    keypoints = np.full((3, 17, 2), NAN)
    keypoints[0, :2], keypoints[1, 0] = [320, 240], [323, 244]
    k = np.stack([K, K, np.full((3, 3), NAN)])
    records = rows(3, pose=pose, keypoints=keypoints, intrinsics=k, distortion=np.zeros((3, 5)))
    error = reprojection.reprojection_errors(records)
    assert error[0, 0] == pytest.approx(5.0)
    assert np.isinf(error[0, 1])
    assert error[1, 0] == pytest.approx(5.0)
    assert np.isnan(error[2]).all()
    assert np.isnan(error[0, 2:]).all()
    middle = reprojection.row_median(np.array([[1.0, 9, 4, NAN], [NAN] * 4, [5, 1, 7, 3], [np.inf, np.inf, 2, NAN]]))
    np.testing.assert_array_equal(middle, [4, NAN, 3, np.inf])


def test_a_body_mirrored_about_its_root_keeps_height_depth_and_root() -> None:
    """Twice is nothing; the person's left goes where the right was, about the hips and not about the image's middle."""
    records = rows(2, pose=body(2) + [500.0, -40, 0])
    mirrored = reprojection._about_root(records)
    np.testing.assert_allclose(mirrored[..., 1:], records.pose[..., 1:])
    np.testing.assert_allclose(mirrored[..., 0] + records.pose[..., 0], 2 * 500.0)
    np.testing.assert_allclose(reprojection._about_root(rows(2, pose=mirrored)), records.pose)
