import dataclasses
import itertools
import math

import cv2
import numpy as np
import pytest
import torch
from fixtures_crops import crop_view

from vergence.batches import crops
from vergence.batches.crops import _shrink, warp
from vergence.errors import VergenceError
from vergence.geometry.camera import fisheye_lens
from vergence.geometry.crops import box_from_keypoints, crop_camera, keypoints_from_crop, whole_image_box

HEIGHT, WIDTH = 480, 640
K = np.array([[600.0, 0, 310], [0, 620, 250], [0, 0, 1]])
LENS = np.array([-0.28, 0.11, 0.0012, -0.0009, -0.02])
TWELVE = np.array([-0.2, 0.1, 0.0012, -0.0009, -0.02, 0.08, 0.02, 0.01, 0.004, -0.002, -0.006, 0.003])


def project(points, intrinsics=K, lens=LENS):
    """OpenCV's own projection, the reference for ours."""
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), intrinsics, lens)[0][:, 0]


def image_of(points, radius=4):
    """Gaussian blobs at px `P 2` on black: where keypoints really are."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    light = sum(np.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2) / (2 * radius**2)) for p in points)
    return np.repeat(np.round(255 * np.clip(light, 0, 1))[..., None], 3, 2).astype(np.uint8)


def brightest(image, near, reach):
    """Centroid of the light within `reach` px of a point."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    light = image * ((x - near[0]) ** 2 + (y - near[1]) ** 2 < reach**2)
    return np.array([(light * x).sum(), (light * y).sum()]) / light.sum()


def person(seed, joints=12, x=900.0, y=-300.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, [250, 400, 250], (joints, 3)) + [x, y, 3500]


@pytest.mark.parametrize(("mode", "lens"), [("virtual", LENS), ("virtual", TWELVE), ("rectangular", np.zeros(5))])
def test_the_crops_camera_sees_the_pose_where_the_keypoints_are(mode, lens):
    pose = person(0)
    keypoints = project(pose, lens=lens)
    view = crop_view(
        np.zeros((HEIGHT, WIDTH, 3), np.uint8), K, lens, box_from_keypoints(keypoints), 128,
        keypoints=keypoints, pose=pose, mode=mode,
    )  # fmt: skip
    seen = project(view.pose[0].numpy().astype(float), view.intrinsics[0].numpy().astype(float), np.zeros(5))
    np.testing.assert_allclose(seen, view.keypoints[0].numpy(), atol=1e-3)
    assert ((seen > -0.5) & (seen < 127.5)).all()


@pytest.mark.parametrize("mode", ["virtual", "rectangular"])
@pytest.mark.parametrize("size", [160, (200, 120), 48])
@pytest.mark.parametrize("lens", [LENS, TWELVE])
def test_the_pixels_are_where_the_keypoints_say(mode, size, lens):
    keypoints = np.array([[420.3, 120.7], [520.2, 300.4], [450.9, 390.1]])
    image = image_of(keypoints)
    view = crop_view(image, K, lens, [390, 90, 160, 330], size, keypoints=keypoints, mode=mode)
    scale = view.image.shape[2] / 330
    for point in view.keypoints[0].numpy():
        np.testing.assert_allclose(
            brightest(view.image[0, 0].numpy().astype(float), point, 16 * scale), point, atol=0.15
        )


def test_a_crop_of_the_whole_image_at_its_own_size_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    view = crop_view(image, None, None, whole_image_box(40, 60), (40, 60), joints=3)
    assert torch.equal(view.image[0].permute(1, 2, 0), torch.from_numpy(image))
    torch.testing.assert_close(view.crop[0], torch.eye(3))


def test_shrinking_does_not_alias():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    small = warp(stripes, crop_camera(None, None, whole_image_box(256, 256), 40))
    assert np.abs(small[2:-2, 2:-2].astype(float) - 127.5).max() < 12


def test_two_crops_of_a_rig_are_a_rig():
    """The extrinsics of two cropped cameras take rig points to where each crop sees them; gravity turns too."""
    rng = np.random.default_rng(3)
    points = rng.normal(0, 300, (9, 3))
    for angle in (0.2, -0.9):
        rotation = cv2.Rodrigues(np.array([0.1, angle, 0.05]))[0]
        translation = np.array([400.0, -200, 3800])
        pose = points @ rotation.T + translation
        keypoints = project(pose)
        view = crop_view(
            np.zeros((HEIGHT, WIDTH, 3), np.uint8), K, LENS, box_from_keypoints(keypoints), 96, keypoints=keypoints,
            rotation=rotation, translation=translation, up=rotation @ [0, -1.0, 0],
        )  # fmt: skip
        turned = points @ view.rotation[0].numpy().T.astype(float) + view.translation[0].numpy()
        seen = project(turned, view.intrinsics[0].numpy().astype(float), np.zeros(5))
        np.testing.assert_allclose(seen, view.keypoints[0].numpy(), atol=1e-3)
        np.testing.assert_allclose(view.up[0], view.rotation[0] @ torch.tensor([0, -1.0, 0]), atol=1e-6)


def test_an_unknown_camera_gives_a_rectangle_of_unknown_intrinsics():
    keypoints = np.array([[100.0, 100], [200, 300], [np.nan, np.nan]])
    pose = person(1, 3)
    for unknown in (None, np.full((3, 3), np.nan)):
        view = crop_view(
            np.zeros((HEIGHT, WIDTH, 3), np.uint8),
            unknown,
            None,
            [90, 90, 120, 220],
            110,
            keypoints=keypoints,
            pose=pose,
        )
        assert view.intrinsics.isnan().all()
        assert view.full_intrinsics.isnan().all()
        assert torch.equal(view.turn[0], torch.eye(3))
        np.testing.assert_allclose(view.pose[0], pose, rtol=1e-6)
        np.testing.assert_allclose(view.keypoints[0, 0], [54.5 - 25, 54.5 - 50], atol=1e-4)
        assert view.keypoints[0, 2].isnan().all()
        assert view.confidence[0].tolist() == [1, 1, 0]


def test_what_is_not_given_is_not_known():
    view = crop_view(np.zeros((HEIGHT, WIDTH, 3), np.uint8), K, None, [90, 90, 120, 220], 64, joints=5)
    for name in ("keypoints", "pose", "rotation", "translation", "up"):
        assert getattr(view, name).isnan().all()
    assert not view.confidence.any()


FOLD = 1 / 1.5  # r^2 at which all of these lenses turn back
FOLD_ANGLE = math.atan(math.sqrt(FOLD)) ** 2  # and the squared angle, of fisheye lenses


def folding(kind: str, power: int) -> list[float]:
    """One coefficient c of r (1 + c r^2p), r / (1 + c r^2p) or theta (1 + c theta^2p), by hand: its derivative is 0 at FOLD."""
    if kind == "fisheye":
        return fisheye_lens([-1 / ((2 * power + 1) * FOLD_ANGLE**power) * (i == power) for i in range(1, 5)])
    lens = [0.0] * (5 if kind == "radial" else 12)
    place = {("radial", 1): 0, ("radial", 2): 1, ("radial", 3): 4}.get((kind, power), 4 + power)
    lens[place] = -1 / ((2 * power + 1) * FOLD**power) if kind == "radial" else 1 / ((2 * power - 1) * FOLD**power)
    return lens


@pytest.mark.parametrize(
    ("kind", "power"),
    [*itertools.product(["radial", "rational", "fisheye"], [1, 2, 3]), ("fisheye", 4)],
)
def test_a_lens_that_folds_shows_nothing_twice(kind, power):
    """Far outside the image r (1 - r^2 / 2) comes back in, and so does r / (1 + 1.5 r^2): the crop must be black there."""
    lens = np.array(folding(kind, power))
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    wide = np.array([[200.0, 0, 320], [0, 200, 240], [0, 0, 1]])
    camera = crop_camera(wide, lens, [300, 220, 40, 40], 64)
    far = crop_camera(wide * [[0.1], [0.1], [1]], np.zeros(5), [20, 15, 24, 18], 64)
    assert warp(white, camera).min() == 255
    radius = np.sqrt(FOLD)
    image = warp(white, dataclasses.replace(camera, intrinsics=far.intrinsics, rotation=np.eye(3)))
    y, x = np.mgrid[:64, :64]
    rays = np.stack([x, y], -1) - far.intrinsics[:2, 2]
    outside = np.hypot(*(rays / far.intrinsics[[0, 1], [0, 1]]).transpose(2, 0, 1)) > radius
    assert outside.any()
    assert image[outside].max() == 0


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([10, 10, 0, 50], "10 10 0 50"),
        ([10, 10, 20, -5], "no area"),
        ([np.nan, 10, 20, 20], "nan"),
        ([700, 10, 50, 50], "outside the 640x480 image"),
        ([10, -80, 50, 60], "outside"),
        ([1, 2, 3], "no area"),
    ],
)
@pytest.mark.parametrize("intrinsics", [K, None])
def test_a_degenerate_box_is_one_error(box, words, intrinsics):
    with pytest.raises(VergenceError, match=words):
        crop_view(np.zeros((HEIGHT, WIDTH, 3), np.uint8), intrinsics, None, box, 64, joints=2)


def test_other_bad_input_is_one_error():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(VergenceError, match="wider than a pinhole"):
        crop_view(image, [[5.0, 0, 320], [0, 5, 240], [0, 0, 1]], None, [0, 0, 640, 480], 64, joints=2)
    with pytest.raises(VergenceError, match="lens distortion"):
        crop_view(image, K, [0.1, 0.2], [0, 0, 64, 48], 64, joints=2)
    with pytest.raises(VergenceError, match="give no box"):
        box_from_keypoints([[1, 2], [np.nan, 3]])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_crop_beside_the_image_is_black_then_refused_and_what_overlaps_is_moved(axis):
    image = np.random.default_rng(0).integers(1, 256, (12, 12, 3), dtype=np.uint8)
    whole = crop_camera(None, None, whole_image_box(12, 12), (12, 12))
    for shift in [*range(-20, -7), *range(8, 21)]:
        moved = np.eye(3)
        moved[axis, 2] = -shift
        expected = np.zeros_like(image)
        kept = np.moveaxis(expected, 1 - axis, 0)
        old = np.moveaxis(image, 1 - axis, 0)
        if 0 < shift < 12:
            kept[: 12 - shift] = old[shift:]
        elif -12 < shift < 0:
            kept[-shift:] = old[:shift]
        camera = dataclasses.replace(whole, homography=moved @ whole.homography)
        if abs(shift) > 14:  # past the border that is read around a crop
            with pytest.raises(VergenceError, match="shows nothing of the 12x12 image"):
                warp(image, camera)
        else:
            np.testing.assert_array_equal(warp(image, camera), expected)


@pytest.mark.parametrize("shape", [(6, 256), (256, 6), (6, 6), (1, 256)])
def test_what_is_thinner_than_a_pixel_of_the_crop_is_still_shown(shape):
    """Reduced sixteenfold, six white rows are three eighths of a row: they are shown where the middle of row 8 looks."""
    side = [
        0.5 * n - 8.5 * 16 if n < 256 else 0 for n in shape
    ]  # to the left and above, so that row 8 shows the middle
    box = np.array([side[1] - 0.5, side[0] - 0.5, 256, 256])
    lit = warp(np.full((*shape, 3), 255, np.uint8), crop_camera(None, None, box, 16))[..., 0] > 0
    assert np.flatnonzero(lit.any(1)).tolist() == ([8] if shape[0] < 256 else list(range(16)))
    assert np.flatnonzero(lit.any(0)).tolist() == ([8] if shape[1] < 256 else list(range(16)))


@pytest.mark.parametrize("size", [64, (48, 96)])
def test_how_much_a_crop_shrinks_is_measured_in_its_middle(size, monkeypatch):
    """Far off the axis of a lens that bends, the scale changes across a crop: image px per crop px, the way of more."""
    camera = crop_camera(K, LENS, np.array([420.0, 40, 200, 400]), size)
    height, width = camera.size
    x, y = (width - 1) / 2, (height - 1) / 2
    beside = np.array([[x - 0.5, y], [x + 0.5, y], [x, y - 0.5], [x, y + 0.5]])
    left, right, above, below = keypoints_from_crop(beside, camera)
    expected = np.linalg.svd(np.stack([right - left, below - above], 1))[1][0]
    assert _shrink(camera) == pytest.approx(expected, rel=1e-3)
    looked = []
    monkeypatch.setattr(crops, "keypoints_from_crop", lambda at, one: looked.append(at) or keypoints_from_crop(at, one))
    _shrink(camera)
    np.testing.assert_array_equal(looked[0][0], [x, y])
    corner = keypoints_from_crop(np.array([[0.0, 0], [1, 0]]), camera)
    assert abs(np.linalg.norm(corner[1] - corner[0]) / expected - 1) > 0.01
