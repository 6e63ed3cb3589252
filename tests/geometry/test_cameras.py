"""One camera and one rig: what is known, what is not, and the same arrays either way."""

import math

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.geometry.camera import fisheye_lens
from vergence.geometry.cameras import Camera, Rig, rotation_angle

K = np.array([[1145.0, 0, 512.5], [0, 1143.2, 515.4], [0, 0, 1]])
LENS = np.array([-0.2, 0.1, 1e-3, -2e-3, 0.01])


def camera(i: int = 0, **changes: object) -> Camera:
    values = {
        "image_size": (1000 + i, 1002),
        "intrinsics": K + i * np.diag([1.0, 1.0, 0]),
        "distortion": LENS,
        "rotation": Rotation.random(rng=i).as_matrix(),
        "translation": np.array([100.0 * i, -50.0, 4000.0]),
    }
    return Camera(f"cam{i}", **(values | changes))  # type: ignore[arg-type]


def test_a_point_goes_to_the_camera_the_image_and_back() -> None:
    one = camera(1)
    points = np.random.default_rng(0).normal(0, 500, (3, 17, 3))
    there = one.to_camera(points)
    np.testing.assert_allclose(one.to_world(there), points, atol=1e-9)
    np.testing.assert_allclose(one.to_camera(one.centre), np.zeros(3), atol=1e-9)
    assert (there[..., 2] > 0).all()
    theirs, _ = cv2.projectPoints(
        points.reshape(-1, 3), cv2.Rodrigues(one.rotation)[0], one.translation, one.K, one.distortion
    )
    np.testing.assert_allclose(one.project(there).reshape(-1, 2), theirs[:, 0], atol=1e-7)
    assert np.isnan(one.project(np.array([0.0, 0.0, -1.0]))).all()  # a single point, behind the camera


def test_what_is_not_known_is_none_or_an_error_that_names_it() -> None:
    bare = Camera("north", None)
    assert not bare.has_extrinsics
    assert np.isnan(bare.centre).all()
    for key, word in (("K", "intrinsics"), ("R", "rotation"), ("t", "translation")):
        with pytest.raises(VergenceError, match=f"{word} of camera north is not known"):
            getattr(bare, key)
    loose = camera().without_extrinsics()
    assert loose.rotation is None
    assert loose.translation is None
    np.testing.assert_array_equal(loose.K, camera().K)


@pytest.mark.parametrize(
    "wrong", [{"intrinsics": np.eye(4)}, {"translation": np.zeros((3, 1))}, {"distortion": np.zeros(4)}]
)
def test_shapes_are_held(wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(VergenceError, match=f"{next(iter(wrong))} of camera cam0 has shape"):
        camera(**wrong)


def test_a_rig_stacks_its_cameras_and_is_made_from_stacks() -> None:
    rig = Rig(tuple(camera(i) for i in range(3)), up=np.array([0, 0, 1.0]))
    arrays = rig.intrinsics, rig.rotation, rig.translation, rig.distortion
    assert [array.shape for array in arrays] == [(3, 3, 3), (3, 3, 3), (3, 3), (3, 5)]
    again = Rig.of(rig.names, rig.image_size, *arrays, up=rig.up)
    for key in ("image_size", "intrinsics", "rotation", "translation", "distortion", "names", "unit"):
        np.testing.assert_array_equal(getattr(again, key), getattr(rig, key))
    assert rig[1] is rig["cam1"] is list(rig)[1]
    assert len(rig) == 3
    with pytest.raises(VergenceError, match="no camera cam7"):
        rig["cam7"]
    with pytest.raises(VergenceError, match=r"a rig of \[2, 3"):
        Rig.of(rig.names[:2], rig.image_size, *arrays)
    with pytest.raises(VergenceError, match="without cameras"):
        Rig(())


def test_a_rig_that_is_known_in_part() -> None:
    rig = Rig((camera(0), camera(1, intrinsics=None, distortion=np.zeros(12)), camera(2).without_extrinsics()))
    assert not rig.has_intrinsics
    assert not rig.has_extrinsics
    assert np.isnan(rig.intrinsics).all((1, 2)).tolist() == [False, True, False]
    assert np.isnan(rig.translation).all(1).tolist() == [False, False, True]
    np.testing.assert_array_equal(rig.distortion[0], [*LENS, *np.zeros(7)])


def test_lengths_are_scaled_and_places_forgotten() -> None:
    rig = Rig((camera(0), camera(1)), "mm", up=np.array([0, 0, 1.0]))
    metres = rig.scaled(0.001, "m")
    assert metres.unit == "m"
    np.testing.assert_allclose(metres[1].centre * 1000, rig[1].centre)
    np.testing.assert_array_equal(metres.rotation, rig.rotation)
    np.testing.assert_allclose(
        metres[0].project(metres[0].to_camera(np.zeros((1, 3)))), rig[0].project(rig[0].to_camera(np.zeros((1, 3))))
    )
    lost = rig.without_extrinsics()
    assert lost.up is None
    assert lost.has_intrinsics
    assert not lost.has_extrinsics


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-4, 1.0, math.pi / 2, math.pi - 1e-4, math.pi - 1e-8, math.pi])
def test_rotation_angle_keeps_its_digits_at_both_ends(angle: float) -> None:
    base = Rotation.from_rotvec([0.4, 1.0, -0.3]).as_matrix()
    turned = base @ Rotation.from_rotvec(np.array([0.6, 0.0, 0.8]) * angle).as_matrix()
    found = rotation_angle(np.stack([turned, base]), base)
    assert abs(found[0] - angle) < 4e-16 * (1 + angle / 1e-3) + 1e-15
    assert found[1] < 1e-15


def test_strong_lenses_are_undone_to_rounding() -> None:
    """OpenCV's default stops after five steps, which leaves 200 px at this image's border."""
    k = np.array([[500.0, 0, 500], [0, 500, 500], [0, 0, 1]])
    for lens in ([0.3, 0.1, 0, 0, 0], [-0.28, 0.07, 0.001, 0, 0], fisheye_lens([0.05, 0.01, 0, 0])):
        camera = Camera("a", (1000, 1000), k, np.array(lens))
        points = np.array([[1.1, 0.0, 1.0], [0.3, -0.8, 1.0], [0.0, 0.0, 1.0]])
        np.testing.assert_allclose(camera.normalise(camera.project(points)), points[:, :2], atol=1e-9)


def test_field_of_view_counts_the_lens() -> None:
    k = np.array([[500.0, 0, 499.5], [0, 500, 499.5], [0, 0, 1]])
    assert np.degrees(Camera("a", (1000, 1000), k).field_of_view) == pytest.approx([90, 90])
    wide = Camera("a", (1000, 1000), k, np.array(fisheye_lens([0, 0, 0, 0])))
    assert np.degrees(wide.field_of_view) == pytest.approx([np.degrees(2), np.degrees(2)])
    assert wide.fisheye
    assert wide.coefficients.tolist() == [0, 0, 0, 0]
    assert np.isnan(Camera("a", None, k).field_of_view).all()


def test_pixels_beyond_the_fold_of_a_lens_are_told_from_unknown_ones() -> None:
    """A barrel r (1 - r^2 / 3): it turns at r = 1, where the image has 2 / 3."""
    one = camera(distortion=np.array([-1 / 3, 0.0, 0.0, 0.0, 0.0]), intrinsics=np.diag([300.0, 300.0, 1.0]))
    pixels = np.array([[0.0, 0.0], [199.0, 0.0], [201.0, 0.0], [0.0, -201.0], [np.nan, 300.0]])
    assert one.beyond(pixels).tolist() == [False, False, True, True, False]
    assert one.beyond(pixels[2]).tolist() is True
    assert not camera(distortion=np.zeros(5)).beyond(pixels).any()
