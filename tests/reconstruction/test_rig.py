from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.geometry.camera import normalise
from vergence.reconstruction import rig as rigs
from vergence.reconstruction.bundle import Bundle, project_points
from vergence.reconstruction.rig import (
    check_connected,
    descend,
    estimate_rig,
    in_first_camera,
    mirrored,
    refine_rig,
    repetition,
    residual_sigma,
    rotation_gap,
    spread_points,
)


def flat(scene) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Observed V 2 N, weight V N, focal V 2, frame N of a scene."""
    k, d = (torch.from_numpy(x) for x in (scene.intrinsics, scene.distortion))
    image = normalise(torch.from_numpy(scene.keypoints), k, d).numpy()
    focal = np.stack([scene.intrinsics[:, 0, 0], scene.intrinsics[:, 1, 1]], 1)
    observed = np.ascontiguousarray((image * focal[:, None]).transpose(1, 3, 0, 2)).reshape(len(focal), 2, -1)
    frame = np.repeat(np.arange(len(image)), image.shape[2])
    return observed, np.isfinite(observed).all(1).astype(float), focal, frame


def truth(scene) -> Bundle:
    return Bundle(scene.rotation, scene.translation, flat(scene)[2], scene.pose.reshape(-1, 3))


@pytest.mark.parametrize("views", [2, 3, 4, 8])
def test_rigs_of_two_to_eight_cameras_are_found(make_scene, views: int) -> None:
    scene = make_scene(views=views, frames=50, missing=0.1, outliers=0.03, span=3.0 if views == 2 else 2 * np.pi)
    observed, weight, focal, frame = flat(scene)
    rig = estimate_rig(observed, weight, focal, frame)
    final, sigma = refine_rig(rig.bundle, observed, weight, rig.sigma)
    assert np.degrees(rotation_gap(final, truth(scene))) < 1.2
    assert sigma == pytest.approx(2.0, rel=0.15)
    assert rig.gap > 1.5


def test_every_seed_ends_in_the_right_basin(make_scene) -> None:
    scene = make_scene(frames=30, noise=4.0, missing=0.2, outliers=0.05)
    for seed in range(4):
        rig = estimate_rig(*flat(scene), seed=seed)
        assert np.degrees(rotation_gap(rig.bundle, truth(scene))) < 4


def test_a_shared_focal_length_is_found(make_scene) -> None:
    scene = make_scene(frames=60, noise=1.0, distortion=(0, 0, 0, 0, 0))
    observed, weight, focal, frame = flat(scene)
    rig = estimate_rig(observed, weight, focal * 1.25, frame, focal_mode="shared")
    final, _ = refine_rig(rig.bundle, observed, weight, rig.sigma, focal_mode="shared")
    np.testing.assert_allclose(final.focal, focal, rtol=0.03)
    assert np.degrees(rotation_gap(final, truth(scene))) < 1


def test_the_mirror_projects_alike_through_long_lenses_only(make_scene) -> None:
    near = truth(make_scene(frames=20))
    far = truth(make_scene(frames=20, radius=450000.0, focal=110000.0))
    moved = []
    for bundle in (near, far):
        flipped = mirrored(bundle)
        np.testing.assert_allclose(np.linalg.det(flipped.rotation), 1, atol=1e-9)
        np.testing.assert_allclose(flipped.rotation[0], bundle.rotation[0], atol=1e-9)
        assert np.degrees(rotation_gap(bundle, flipped)) > 30
        moved.append(np.abs(project_points(flipped)[0] - project_points(bundle)[0]).max())
    assert moved[1] < 5 < 50 < moved[0]


def test_in_first_camera_changes_no_image(make_scene) -> None:
    bundle = truth(make_scene(frames=5))
    moved = in_first_camera(bundle)
    np.testing.assert_allclose(moved.rotation[0], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(moved.translation[0], 0, atol=1e-9)
    np.testing.assert_allclose(project_points(moved)[0], project_points(bundle)[0], atol=1e-6)


def test_descend_mends_a_rig_that_is_ten_degrees_off(make_scene, monkeypatch) -> None:
    """The loss is first as wide as the residuals are; where these are of the noise's size, there is one adjustment."""
    scales: list[float] = []
    real = rigs.adjust

    def adjust(*args, **how):
        scales.append(how["scale"])
        return real(*args, **how)

    monkeypatch.setattr(rigs, "adjust", adjust)
    scene = make_scene(frames=25, noise=2.0)
    observed, weight, _, _ = flat(scene)
    good = truth(scene)
    turn = Rotation.from_rotvec(np.radians([[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])).as_matrix()
    start = replace(good, rotation=turn @ good.rotation)
    assert np.degrees(rotation_gap(start, good)) > 9
    assert np.degrees(rotation_gap(descend(start, observed, weight, 2.0), good)) < 2
    wide, last = scales
    assert wide > 1.5 * last
    descend(good, observed, weight, 2.0)
    assert scales[2:] == [last]


def test_residual_sigma_is_the_noise_whatever_the_views(make_scene) -> None:
    for views in (2, 3, 4):
        scene = make_scene(views=views, frames=60, noise=3.0, missing=0.1, outliers=0.05, span=2.5)
        observed, weight, _, _ = flat(scene)
        fitted = descend(truth(scene), observed, weight, 3.0)
        assert residual_sigma(fitted, observed, weight) == pytest.approx(3.0, rel=0.1)


def test_repeated_errors_are_noticed(make_scene) -> None:
    scene = make_scene(frames=40, noise=0.0)
    observed, weight, _, _ = flat(scene)
    good, index = truth(scene), np.arange(observed.shape[2])
    rng = np.random.default_rng(0)
    fresh = rng.normal(0, 2, observed.shape)
    same = np.tile(rng.normal(0, 2, (4, 2, 17)), (1, 1, 40))
    agree = weight > 0
    assert repetition(good, observed + fresh, agree, index, 17) < 1.1
    assert repetition(good, observed + same, agree, index, 17) > 5
    half = observed + (fresh + same) / np.sqrt(2)  # a mean over 40 frames keeps half of the variance, not a fortieth
    assert repetition(good, half, agree, index, 17) == pytest.approx(np.sqrt(40 / 2 + 0.5), rel=0.15)
    ten = observed + np.tile(fresh[:, :, : 4 * 17], (1, 1, 10))  # four frames ten times over
    assert repetition(good, ten, agree, index, 17) == pytest.approx(np.sqrt(10), rel=0.15)
    slow = np.zeros((4, 2, 40, 17))  # an autoregression: (1 + 0.5) / (1 - 0.5)
    for step in range(1, 40):
        slow[:, :, step] = 0.5 * slow[:, :, step - 1] + np.sqrt(0.75) * rng.normal(0, 2, (4, 2, 17))
    assert repetition(good, observed + slow.reshape(4, 2, -1), agree, index, 17) == pytest.approx(np.sqrt(3), rel=0.15)


def test_spread_points_are_whole_frames_over_the_whole_time() -> None:
    weight = np.ones((3, 100 * 17))
    weight[1:, :170] = 0  # the first ten frames are seen by one camera
    frame = np.repeat(np.arange(100), 17)
    index = spread_points(weight, frame, 200)
    frames = np.unique(frame[index])
    assert frames.min() == 10
    assert frames.max() == 99
    assert len(index) == 17 * len(frames)
    assert 170 <= len(index) <= 240


def test_a_camera_without_common_joints_is_named(make_scene) -> None:
    scene = make_scene(frames=20)
    scene.keypoints[:10, 2] = np.nan
    scene.keypoints[10:, [0, 1, 3]] = np.nan
    with pytest.raises(VergenceError, match="camera 3 shares fewer than 12 joints"):
        estimate_rig(*flat(scene))
    with pytest.raises(VergenceError, match="left, top shares"):
        check_connected({}, ("door", "left", "top"))


def test_cameras_in_one_place_are_refused(make_scene) -> None:
    scene = make_scene(views=2, frames=30)
    same = make_scene(views=2, frames=30, seed=5)
    scene.keypoints[:, 1] = same.keypoints[:, 0]
    with pytest.raises(VergenceError, match="stand in one place"):
        estimate_rig(*flat(scene))


def test_the_mirrors_gap_is_a_ratio_of_costs(make_scene) -> None:
    """In pixels ten times as large it is the same."""
    observed, weight, focal, frame = flat(make_scene(views=3, frames=20))
    fine, coarse = (estimate_rig(k * observed, weight, k * focal, frame) for k in (1.0, 0.1))
    assert np.isfinite(fine.mirror_gap)
    assert fine.mirror_gap == pytest.approx(coarse.mirror_gap, rel=0.05)
