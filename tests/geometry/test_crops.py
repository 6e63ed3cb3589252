"""The crop's camera against its definition, one crop against many at once, and what crops say of their full images."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vergence.errors import VergenceError
from vergence.geometry.camera import fisheye_lens
from vergence.geometry.cameras import Camera
from vergence.geometry.crops import (
    _fisheye_limit,
    _overlaps,
    box_from_keypoints,
    check_box,
    crop_camera,
    crop_cameras,
    full_cameras,
    full_pixels,
    keypoints_from_crop,
    keypoints_to_crop,
    person_boxes,
    pose_from_crop,
    pose_to_crop,
)

K = np.array([[600.0, 0, 310], [0, 620, 250], [0, 0, 1]])
LENS = np.array([-0.28, 0.11, 0.0012, -0.0009, -0.02])


def project(points, intrinsics=K, lens=LENS):
    """OpenCV's own projection, the reference for ours."""
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), intrinsics, lens)[0][:, 0]


def person(seed, joints=12, x=900.0, y=-300.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, [250, 400, 250], (joints, 3)) + [x, y, 3500]


def test_the_whole_box_is_shown_and_fills_the_crop():
    camera = crop_camera(K, None, [400, 50, 200, 300], (128, 96))
    corners = keypoints_to_crop([[400, 200], [600, 200], [500, 50], [500, 350]], camera)
    assert (corners > -0.5 - 1e-9).all()
    assert (corners < [95.5 + 1e-9, 127.5 + 1e-9]).all()
    edges = np.abs(corners - [47.5, 63.5]) / [48, 64]
    assert edges.max() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(keypoints_to_crop([[500, 200]], camera), [[47.5, 63.5]], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["virtual", "rectangular"]))
def test_there_and_back(seed, mode):
    rng = np.random.default_rng(seed)
    box = [*rng.uniform([-50, -50], [500, 350]), *rng.uniform(20, 300, 2)]
    camera = crop_camera(K, LENS, box, (64, 48), mode)
    points = np.array(box[:2]) + rng.uniform(0, 1, (7, 2)) * box[2:]
    np.testing.assert_allclose(keypoints_from_crop(keypoints_to_crop(points, camera), camera), points, atol=1e-6)
    pose = person(seed)
    np.testing.assert_allclose(pose_from_crop(pose @ camera.rotation.T, camera), pose, atol=1e-9)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) > 0


def test_the_homography_is_the_way_of_undistorted_pixels():
    camera = crop_camera(K, LENS, [350, 60, 220, 300], 128)
    rays = np.array([[0.2, -0.1, 1], [0.3, 0.2, 1], [0.1, 0.0, 1]])
    ideal = project(rays, lens=np.zeros(5))
    moved = np.c_[ideal, np.ones(3)] @ camera.homography.T
    np.testing.assert_allclose(moved[:, :2] / moved[:, 2:], keypoints_to_crop(project(rays), camera), atol=1e-6)


def test_box_from_keypoints():
    points = np.array([[10.0, 20], [30, 60], [np.nan, 5]])
    np.testing.assert_allclose(box_from_keypoints(points, margin=0.25), [0, 10, 40, 60])


def many(seed, n=60):
    """Cameras and boxes; some unknown, some of which no crop can be cut."""
    rng = np.random.default_rng(seed)
    k = np.tile(K, (n, 1, 1)) * np.array([[1, 1, 1], [1, 1, 1], [0, 0, 1]]) * 1.0
    k[:, [0, 1], [0, 1]] = rng.uniform(400, 900, (n, 2))
    k[::7] = np.nan
    lens = LENS * rng.uniform(0, 1, (n, 1))
    lens[::5] = np.nan
    box = np.concatenate([rng.uniform([-10, -10], [500, 350], (n, 2)), rng.uniform(20, 300, (n, 2))], 1)
    box[3], box[4], box[8] = [np.nan, 1, 2, 3], [5, 5, 0, 9], [-9000, -9000, 20000, 20000]
    return k, lens, box


@pytest.mark.parametrize("mode", ["virtual", "rectangular"])
@pytest.mark.parametrize("size", [64, (64, 48)])
def test_one_crop_is_a_row_of_many(mode, size):
    k, lens, box = many(0)
    cameras = crop_cameras(k, lens, box, size, mode)
    points = np.random.default_rng(1).uniform(0, 1, (len(box), 6, 2)) * box[:, None, 2:] + box[:, None, :2]
    with np.errstate(invalid="ignore"):
        moved, poses = keypoints_to_crop(points, cameras), pose_to_crop(np.ones((len(box), 5, 3)), cameras)
    for i, good in enumerate(cameras.good):
        if not good:
            with pytest.raises(VergenceError, match=r"no area|wider than a pinhole"):
                crop_camera(k[i], np.nan_to_num(lens[i]), box[i], size, mode)
            continue
        one = crop_camera(k[i], np.nan_to_num(lens[i]), box[i], size, mode)
        for name in ("intrinsics", "rotation", "homography", "full_intrinsics", "distortion", "rectangular"):
            np.testing.assert_allclose(getattr(one, name), getattr(cameras[i], name), rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(keypoints_to_crop(points[i], one), moved[i], atol=1e-9)
        np.testing.assert_allclose(pose_from_crop(poses[i], one), np.ones((5, 3)), atol=1e-12)
    assert (~cameras.good).sum() == (2 if mode == "rectangular" else 3)


def test_boxes_outside_their_images_are_bad_where_the_sizes_are_known():
    k, lens, box = many(0)
    size = np.tile([640, 480], (len(box), 1))
    outside = crop_cameras(k, lens, box + [700, 0, 0, 0], 64, image_size=size).good
    for i in np.flatnonzero(np.isfinite(box).all(1) & (box[:, 2:] > 0).all(1)):
        if i != 8 and box[i, 0] + 700 > 640:
            assert not outside[i]
            with pytest.raises(VergenceError, match="outside the 640x480 image"):
                check_box(box[i] + [700, 0, 0, 0], 480, 640)


def test_person_boxes_are_those_of_each_person():
    points = np.random.default_rng(0).uniform(0, 500, (20, 9, 2))
    points[np.random.default_rng(1).random((20, 9)) < 0.4] = np.nan
    points[0, 1:], points[1] = np.nan, np.nan
    boxes = person_boxes(points)
    assert np.isnan(boxes[:2]).all()
    assert np.array_equal(boxes[2:], [box_from_keypoints(p) for p in points[2:]])
    known = np.isfinite(points).all(-1).sum(1)
    assert np.array_equal(np.isnan(person_boxes(points, 6)).any(1), known < 6)
    with pytest.raises(VergenceError, match="0 known keypoints"):
        box_from_keypoints(np.zeros((0, 2)))
    with pytest.raises(VergenceError, match="3 known keypoints, or all in one place"):
        box_from_keypoints(np.ones((3, 2)))


@pytest.mark.parametrize("mode", ["virtual", "rectangular"])
def test_a_crop_alone_tells_its_full_camera(mode):
    k, _, box = many(2)
    rows = np.flatnonzero(np.isfinite(k).all((1, 2)) & np.isfinite(box).all(1) & (box[:, 2:] > 0).all(1))
    rows = rows[rows != 8]
    cameras = crop_cameras(k[rows], np.zeros((len(rows), 5)), box[rows], 96, mode)
    full, turn = full_cameras(torch.from_numpy(cameras.homography), torch.from_numpy(cameras.intrinsics))
    np.testing.assert_allclose(full, k[rows], atol=1e-6)
    np.testing.assert_allclose(turn, cameras.rotation, atol=1e-9)


def test_full_pixels_undo_the_crop_of_an_image_without_a_lens():
    k, _, box = many(3)
    rows = np.setdiff1d(np.arange(len(k)), [3, 4, 8])
    cameras = crop_cameras(k[rows], np.zeros((len(rows), 5)), box[rows], 96)
    points = np.random.default_rng(1).uniform(0, 96, (len(rows), 6, 2))
    there = full_pixels(torch.from_numpy(points), torch.from_numpy(cameras.homography)).numpy()
    for i in range(len(rows)):
        np.testing.assert_allclose(there[i], keypoints_from_crop(points[i], cameras[i]), atol=1e-7)


def test_a_crop_of_a_fisheye_image_has_no_lens() -> None:
    """Pixels of the crop are a pinhole's, also 50 degrees off the axis, and come back to the image's."""
    k = np.array([[300.0, 0, 400], [0, 300, 400], [0, 0, 1]])
    lens = np.array(fisheye_lens([0.05, -0.01, 0.0, 0.0]))
    rays = np.array([[1.1, 0.2, 1.0], [1.2, 0.1, 1.0], [1.0, 0.3, 1.0]])
    pixels = Camera("a", (800, 800), k, lens).project(rays)
    low, high = pixels.min(0) - 20, pixels.max(0) + 20
    crop = crop_camera(k, lens, [*low, *(high - low)], 64)
    seen = keypoints_to_crop(pixels, crop)
    turned = rays @ crop.rotation.T
    np.testing.assert_allclose(seen, (turned[:, :2] / turned[:, 2:]) @ crop.intrinsics[:2, :2].T + crop.intrinsics[:2, 2],
                               atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(keypoints_from_crop(seen, crop), pixels, atol=1e-6)


def test_a_box_is_on_an_image_whose_pixels_it_reaches():
    """Pixels are squares about their centres: an image of 100 px goes from -0.5 to 99.5."""
    boxes = np.array([[x, 10.0, 5, 5] for x in (99.4, 99.6, -5.4, -5.6)])
    assert _overlaps(boxes, np.full((4, 2), 100.0)).tolist() == [True, False, True, False]


@pytest.mark.parametrize("k", [(-0.2, 0, 0, 0), (0.1, -0.2, 0, 0), (0.1, 0.1, -0.2, 0), (0.1, 0.1, 0.1, -0.3)])
def test_a_fisheye_lens_folds_where_its_angle_stops_growing(k):
    """The derivative of theta (1 + k1 theta^2 + ... + k4 theta^8), by differences."""
    angle = np.arctan(_fisheye_limit(np.array(k, dtype=float)))
    bent = np.polynomial.Polynomial([0, 1, 0, k[0], 0, k[1], 0, k[2], 0, k[3]])
    step = 1e-5
    assert abs(bent(angle + step) - bent(angle - step)) / (2 * step) < 1e-6
    assert (np.diff(bent(np.linspace(0, angle, 500))) > 0).all()
