"""A detector's mistakes in 2D, found by projections of the 3D that other views agree on."""

from __future__ import annotations

import numpy as np
import pytest

from vergence.batches.repair import _extent, _nearest, _sides, repair
from vergence.skeleton import COCO_17, H36M_17

T, V = 40, 3
NAN = np.nan
MIRROR = H36M_17.mirror


@pytest.fixture
def scene():
    """Projections of a body in three cameras over time, what a detector of 1 px noise saw of it, and camera and frame."""
    rng = np.random.default_rng(3)
    body = rng.uniform(-1, 1, (len(H36M_17), 2)) * [60, 150]
    path = np.linspace(0, 80, T)[:, None, None, None] * [1.0, 0.2]
    shown = (body + rng.normal(0, 4, (T, V, 1, 2)) + path + 200).reshape(T * V, -1, 2)
    seen = shown + rng.normal(0, 1, shown.shape)
    frame, camera = np.divmod(np.arange(T * V), V)
    return shown, seen, np.full(shown.shape[:2], 0.8), camera, frame


def test_sound_keypoints_stay_as_they_are(scene):
    shown, seen, trust, camera, frame = scene
    found = repair(seen, trust, shown, camera, frame, MIRROR)
    assert np.array_equal(found.keypoints, seen)
    assert np.array_equal(found.confidence, trust)
    assert found.counts == {}


@pytest.mark.parametrize("frames", [range(T), range(8, 21), [5]], ids=["whole", "stretch", "one"])
def test_exchanged_sides_are_put_right(scene, frames):
    shown, seen, trust, camera, frame = scene
    rows = (camera == 1) & np.isin(frame, list(frames))
    given, weight = seen.copy(), trust * np.linspace(0.5, 1, len(MIRROR))
    mixed = weight.copy()
    given[rows], mixed[rows] = seen[rows][:, list(MIRROR)], weight[rows][:, list(MIRROR)]
    found = repair(given, mixed, shown, camera, frame, MIRROR)
    assert np.array_equal(found.keypoints, seen)
    assert np.array_equal(found.confidence, weight)
    assert np.array_equal(found.exchanged, rows)
    assert not found.dropped.any()


def test_images_without_3d_follow_the_nearest_of_their_camera(scene):
    shown, seen, trust, camera, frame = scene
    rows, unknown = (camera == 2) & (frame >= 20), (camera == 2) & ((frame < 4) | (frame > 33))
    given = np.where(rows[:, None, None], seen[:, list(MIRROR)], seen)
    known = np.where(unknown[:, None, None], np.nan, shown)
    assert np.array_equal(repair(given, trust, known, camera, frame, MIRROR).keypoints, seen)


def test_legs_alone(scene):
    shown, seen, trust, camera, frame = scene
    legs = [i for i, name in enumerate(H36M_17.joint_names) if name.endswith(("hip", "knee", "ankle"))]
    given = seen.copy()
    given[:, legs] = np.where((camera == 0)[:, None, None], seen[:, [MIRROR[i] for i in legs]], seen[:, legs])
    found = repair(given, trust, shown, camera, frame, MIRROR)
    assert np.abs(found.keypoints - seen).max() < 12  # a pair whose joints lie side by side may stay
    assert (found.keypoints == seen).mean() > 0.98


def test_jumped_joints_are_dropped_and_missing_ones_stay_missing(scene):
    shown, seen, trust, camera, frame = scene
    given = seen.copy()
    given[7, 3] += 90
    given[9, 5] = np.nan
    found = repair(given, trust, shown, camera, frame, MIRROR)
    assert np.argwhere(found.dropped).tolist() == [[7, 3]]
    assert np.isnan(found.keypoints[7, 3]).all()
    assert found.confidence[7, 3] == 0
    assert np.isnan(found.keypoints[9, 5]).all()
    assert found.counts == {"joints dropped": 1}


def test_another_person_is_dropped_whole(scene):
    shown, seen, trust, camera, frame = scene
    given, known = seen.copy(), shown.copy()
    given[11] += [260, 10]
    known[11, 4] = np.nan  # also a joint that nothing can be said of
    found = repair(given, trust, known, camera, frame, MIRROR)
    assert found.stranger.tolist() == [i == 11 for i in range(len(seen))]
    assert np.isnan(found.keypoints[11]).all()
    assert np.array_equal(np.delete(found.keypoints, 11, 0), np.delete(seen, 11, 0))


def test_poses_that_are_not_of_these_images_judge_nothing(scene):
    shown, seen, trust, camera, frame = scene
    given = seen[:, list(MIRROR)]
    wrong = np.random.default_rng(1).permuted(shown, axis=0)
    assert np.array_equal(repair(given, trust, wrong, camera, frame, MIRROR).keypoints, given)
    nothing = np.full_like(shown, np.nan)
    assert np.array_equal(repair(given, trust, nothing, camera, frame, MIRROR).keypoints, given)


def test_joints_without_a_mirror_image_are_not_moved():
    points = np.random.default_rng(0).uniform(0, 300, (6, 17, 2))
    swapped = points[:, list(COCO_17.mirror)]
    found = repair(swapped, np.ones((6, 17)), points, np.zeros(6), np.arange(6), COCO_17.mirror)
    assert np.array_equal(found.keypoints[:, COCO_17.index("nose")], points[:, COCO_17.index("nose")])
    assert np.array_equal(found.keypoints, points)


def test_the_nearest_frame_may_be_the_first_or_the_last():
    numbers, wanted = np.array([30, 10, 20]), np.array([-5, 10, 14, 15, 16, 29, 30, 99])
    assert _nearest(numbers, wanted).tolist() == [1, 1, 1, 1, 2, 0, 0, 0]
    assert _nearest(np.array([4]), np.array([0, 4, 9])).tolist() == [0, 0, 0]


def test_a_bodys_size_is_the_larger_side_of_its_box():
    points = np.array([[[0.0, 5], [30, 25], [NAN, 90]], [[1, 2], [1, 42], [4, 7]], [[3, 3], [NAN, NAN], [NAN, NAN]]])
    np.testing.assert_array_equal(_extent(points), [85.0, 40, NAN])  # what is known of a point counts


def test_sides_are_decided_by_the_image_and_else_by_each_pair():
    """Joints 0 and 1 are mirror images, 2 and 3 too, 4 is of the middle. Noise 0.01, limit 0.06: a joint costs 36 at most.

    In image 0 both pairs say exchanged; in 1 one pair says so and the other not; in 2 neither says anything, and its frame is
    nearer to 0's; 3 is the same, nearer to 1's; 4 is another camera's, of which nothing is known.
    """
    other = np.array([1, 0, 3, 2, 4])
    near, far, nothing = 0.01, 0.09, 0.0
    keep = np.array([[far] * 4 + [near], [far, far, near, near, near], *[[nothing] * 5] * 3])
    swap = np.array([[near] * 4 + [near], [near, near, far, far, near], *[[nothing] * 5] * 3])
    camera, frame = np.array([0, 0, 0, 0, 1]), np.array([10, 20, 14, 16, 14])
    turned = _sides(keep, swap, 0.01, 0.06, camera, frame, other)
    assert turned.astype(int).tolist() == [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0] * 5]
    keep[1, 2:4], swap[1, 2:4] = [0.05, 0.05], [0.02, 0.02]  # 2 x (25 - 4) for it: exchanged as well
    assert _sides(keep, swap, 0.01, 0.06, camera, frame, other)[1].astype(int).tolist() == [1, 1, 1, 1, 0]


def test_a_joint_is_dropped_beyond_six_deviations_and_an_image_where_half_of_them_are():
    """Everybody of 100 px, a joint off by 1 px: six of that are 6 %. Ten joints without mirror images."""
    shown = np.tile(np.linspace(0, 100, 10)[:, None], (20, 1, 2))
    seen, trust = shown + [1.0, 0.0], np.ones((20, 10))
    seen[0, :2, 0] = shown[0, :2, 0] + [5.9, 6.1]
    seen[1, :5] += 50.0
    seen[2, :6] += 50.0
    found = repair(seen, trust, shown, np.zeros(20, int), np.arange(20), tuple(range(10)))
    assert np.flatnonzero(found.dropped[0]).tolist() == [1]
    assert found.stranger.tolist() == [False, False, True] + [False] * 17
    assert found.dropped[1].sum() == 5
    assert found.dropped[2].all()
    assert np.isnan(found.keypoints[0, 1]).all()
    assert (found.confidence[0, 1], found.confidence[0, 0]) == (0.0, 1.0)
    assert found.counts == {"joints dropped": 16, "images of another person": 1}
