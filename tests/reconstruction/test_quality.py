from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest

from vergence.reconstruction import quality
from vergence.reconstruction.lenses import Optics
from vergence.skeleton import H36M_17

FINE = {
    "predicted_deg": 0.2,
    "worst_pair": ("camera 1", "camera 3"),
    "gap": 3.0,
    "mirror_gap": 3.0,
    "bend": 0.1,
    "parallax": 20.0,
    "moved": 1.0,
    "coverage": 0.95,
    "inlier_share": 0.9,
    "thigh_cv_free": 0.03,
    "camera_errors": (1.0, 1.1, 0.9),
    "estimated": True,
    "centred": False,
    "names": ("camera 1", "camera 2", "camera 3"),
}


def test_nothing_speaks_against_a_good_run() -> None:
    assert quality.doubts(**FINE) == ()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"predicted_deg": 0.9}, "of the worst pair of cameras, camera 1 and camera 3, is known to 0.90 degrees"),
        ({"predicted_deg": float("nan")}, "degrees"),
        ({"predicted_deg": 0.9}, "More frames, more travel or sharper keypoints would help"),
        (
            {"predicted_deg": 1.2, "centred": True},
            "(limit 1.0). Intrinsics, more travel or sharper keypoints would help",
        ),
        ({"gap": 1.05, "mirror_gap": 1.05}, "mirror image"),
        ({"gap": 1.05}, "another arrangement"),
        ({"mirror_gap": 1.5, "bend": -0.1}, "wrong way"),
        ({"parallax": 1.1}, "one place"),
        ({"moved": 0.02}, "hardly moves"),
        ({"coverage": 0.3}, "30%"),
        ({"inlier_share": 0.4}, "40%"),
        ({"thigh_cv_free": 0.3}, "thighs"),
        ({"camera_errors": (1.0, 5.0, 1.1)}, "camera 2 agrees badly"),
    ],
)
def test_each_doubt_is_a_sentence_of_its_own(change: dict, word: str) -> None:
    found = quality.doubts(**{**FINE, **change})
    assert len(found) == 1
    assert word in found[0]
    assert found[0].endswith((".", "?"))


def test_known_cameras_are_not_doubted_for_what_was_not_estimated() -> None:
    change = {"predicted_deg": 0.0, "parallax": float("nan"), "gap": np.inf, "moved": 0.0, "estimated": False}
    assert quality.doubts(**{**FINE, **change}) == ()


def test_handedness_turns_with_the_mirror(make_scene) -> None:
    pose = make_scene(frames=40).pose
    assert quality.handedness(pose, H36M_17) > 0.05
    for axis in np.eye(3):
        mirrored = pose - 2 * (pose @ axis)[..., None] * axis
        assert quality.handedness(mirrored, H36M_17) == pytest.approx(-quality.handedness(pose, H36M_17))
    assert np.isnan(quality.handedness(np.full((3, 17, 3), np.nan), H36M_17))


def test_limb_variation_and_thighs() -> None:
    pose = np.zeros((4, 17, 3))
    pose[:, 2, 2] = [400, 420, 400, 420]
    pose[:, 5, 2] = [400, 400, 400, 400]
    found = quality.limb_variation(pose, H36M_17)
    assert found["right_hip-right_knee"] == pytest.approx(10 / 410)
    assert found["left_hip-left_knee"] == 0
    assert quality.thigh_mean(found) == pytest.approx(5 / 410)


def test_errors_are_medians_of_what_counts_by_camera_and_by_joint() -> None:
    """Against loops, of three cameras; what has no weight or is not counted is left out."""
    rng = np.random.default_rng(0)
    residual = rng.exponential(3.0, (9, 3, 17))
    weight, counted = rng.uniform(0, 1, (9, 3, 17)).round(), rng.random((9, 3, 17)) < 0.8
    given = SimpleNamespace(
        weight=weight,
        counted=counted,
        focal=np.full((3, 2), 900.0),
        names=("a", "b", "c"),
        intrinsics=np.eye(3),
        centred=False,
    )
    side = np.tile(np.arange(17), (9, 3, 1))
    side[0, 1, [2, 5]] = 5, 2
    optics = Optics("given", "", (0.0,) * 3, (60.0,) * 3, (np.nan, np.nan), np.zeros((3, 3)))
    found = quality.measured_report(
        given, rng.normal(size=(9, 17, 3)), residual, weight > 0, 1.0, np.zeros((3, 3)), None, H36M_17, side, None, optics
    )  # fmt: skip
    some = np.where((weight > 0) & counted, residual, np.nan)
    assert found.reprojection_median == pytest.approx(np.nanmedian(some))
    assert found.reprojection_p90 == pytest.approx(np.nanpercentile(some, 90))
    assert found.reprojection_per_camera == pytest.approx([np.nanmedian(some[:, v]) for v in range(3)])
    assert list(found.reprojection_per_joint.values()) == pytest.approx([np.nanmedian(some[..., j]) for j in range(17)])
    assert found.swapped_sides == pytest.approx(1 / 27)


def test_travel_and_motion(make_scene) -> None:
    walk, still = make_scene(frames=60).pose, np.repeat(make_scene(frames=1).pose, 30, axis=0)
    way = np.linalg.norm(np.ptp(walk[:, 0], axis=0))
    assert 0.85 * way < quality.travel(walk, H36M_17) <= way
    assert quality.travel(still, H36M_17) == 0
    assert quality.motion(still, H36M_17) < 1e-9
    assert quality.motion(walk, H36M_17) > 1


def reported(
    pose: np.ndarray,
    inlier: np.ndarray,
    weight: np.ndarray,
    rig: object = None,
    predicted: object = None,
    turned: object = 0.0,
) -> quality.Report:
    """Of three cameras."""
    given = SimpleNamespace(
        weight=weight,
        counted=weight > 0,
        focal=np.full((3, 2), 900.0),
        names=("a", "b", "c"),
        intrinsics=np.eye(3),
        centred=False,
    )
    side, optics = (
        np.tile(np.arange(17), (len(pose), 3, 1)),
        Optics("given", "", (0.0,) * 3, (60.0,) * 3, (np.nan, np.nan), turned + np.zeros((3, 3))),
    )
    predicted = np.zeros((3, 3)) if predicted is None else predicted
    return quality.measured_report(  # type: ignore[arg-type]
        given, pose, np.ones(weight.shape), inlier, 1.5, predicted, rig, H36M_17, side, None, optics
    )


def test_shares_are_of_what_was_seen() -> None:
    """Ten frames, two of which show nobody: joints that have 3D, of all, and of those that two cameras see; and what agrees."""
    pose, weight = np.random.default_rng(0).normal(size=(10, 17, 3)), np.ones((10, 3, 17))
    weight[8:], weight[:4, 1:] = 0.0, 0.0  # four frames of one camera, four of three
    pose[8:], pose[6:8] = np.nan, np.nan
    inlier = np.ones((10, 3, 17), bool)
    inlier[4:7, 2] = False
    found = reported(pose, inlier, weight)
    assert found.coverage == pytest.approx(0.6)
    assert found.coverage_of_seen == pytest.approx(0.5)
    assert found.inlier_share == pytest.approx(13 / 16)  # of 16 frames of cameras
    assert (found.frames, found.cameras, found.noise_px, found.starts) == (10, 3, 1.5, 0)
    assert np.isnan(reported(pose, inlier, np.zeros((10, 3, 17))).coverage_of_seen)
    assert reported(pose, inlier, np.zeros((10, 3, 17))).inlier_share == 0.0


def test_the_worst_pair_and_the_least_parallax_are_those_of_the_rig() -> None:
    pairs = {
        (0, 1): SimpleNamespace(parallax=9.0, conditioning=2.0),
        (1, 2): SimpleNamespace(parallax=4.0, conditioning=7.0),
    }
    rig = SimpleNamespace(pairs=pairs, gap=3.0, mirror_gap=2.0, starts=5, agreeing=3)
    predicted = np.array([[0, 0.1, 0.2], [0.1, 0, 0.3], [0.2, 0.3, 0]])
    found = reported(
        np.random.default_rng(0).normal(size=(9, 17, 3)), np.ones((9, 3, 17), bool), np.ones((9, 3, 17)), rig, predicted
    )
    assert (found.worst_pair, found.predicted_rotation_deg) == (("b", "c"), 0.3)
    assert found.rotation_noise_deg == 0.3
    assert found.rotation_words == "0.30 degrees"
    assert (found.parallax, found.conditioning, found.gap, found.mirror_gap) == (4.0, 7.0, 3.0, 2.0)
    assert (found.starts, found.agreeing_starts) == (5, 3)


def test_principal_points_that_nobody_gave_count_for_the_rotation_and_not_for_the_verdict() -> None:
    """Noise makes the pair b and c the worst, principal points a and b."""
    rig = SimpleNamespace(
        pairs={(0, 1): SimpleNamespace(parallax=9.0, conditioning=2.0)}, gap=3.0, mirror_gap=2.0, starts=5, agreeing=3
    )
    pose, seen = np.random.default_rng(0).normal(size=(9, 17, 3)), np.ones((9, 3, 17))
    noise = np.array([[0, 0.3, 0.2], [0.3, 0, 0.6], [0.2, 0.6, 0]])
    turned = np.array([[0, 0.4, 0], [0.4, 0, 0], [0, 0, 0]])
    found = reported(pose, seen > 0, seen, rig, noise, 3 * turned)
    assert found.predicted_rotation_deg == pytest.approx(np.hypot(0.3, 1.2))
    assert (found.worst_pair, found.rotation_noise_deg) == (("b", "c"), 0.6)  # the pair that the verdict names
    assert "cameras, b and c, is known to 0.60 degrees" in " ".join(found.reasons)
    assert found.rotation_words.startswith("0.60 degrees (1.24 if principal points")


@pytest.mark.parametrize(
    ("limit", "sound"),
    [
        ({"moved": quality.MIN_MOTION}, True), ({"moved": 0.99 * quality.MIN_MOTION}, False),
        ({"predicted_deg": quality.MAX_UNCERTAINTY_DEG}, True), ({"predicted_deg": 1.01 * quality.MAX_UNCERTAINTY_DEG}, False),
        ({"predicted_deg": quality.MAX_UNCERTAINTY_FREE_DEG, "centred": True}, True),
        ({"predicted_deg": 1.01 * quality.MAX_UNCERTAINTY_FREE_DEG, "centred": True}, False),
        ({"gap": quality.MIN_GAP}, True), ({"gap": 0.99 * quality.MIN_GAP}, False), ({"bend": -0.1}, True),
        ({"bend": -0.1, "mirror_gap": 2 * quality.MIN_GAP}, True),
        ({"bend": -0.1, "mirror_gap": 1.99 * quality.MIN_GAP}, False),
        ({"bend": 0.0, "mirror_gap": 1.5}, True), ({"coverage": quality.MIN_COVERAGE}, True),
        ({"coverage": 0.99 * quality.MIN_COVERAGE}, False), ({"inlier_share": quality.MIN_INLIERS}, True),
        ({"inlier_share": 0.99 * quality.MIN_INLIERS}, False), ({"thigh_cv_free": quality.MAX_LIMB_CV}, True),
        ({"thigh_cv_free": 1.01 * quality.MAX_LIMB_CV}, False), ({"camera_errors": (1.0, quality.MAX_CAMERA_RATIO, 1.0)}, True),
        ({"camera_errors": (1.0, 1.01 * quality.MAX_CAMERA_RATIO, 1.0)}, False),
    ],
)  # fmt: skip
def test_doubts_begin_beyond_their_limits(limit: dict, sound: bool) -> None:
    assert (quality.doubts(**{**FINE, **limit}) == ()) == sound


def test_of_two_rigs_that_fit_alike_the_mirror_image_is_named_where_it_is_the_nearer() -> None:
    for mirror, words in (
        (1.05, "its mirror image in depth"),
        (1.1, "its mirror image"),
        (1.11, "another arrangement"),
    ):
        assert words in quality.doubts(**{**FINE, "gap": 1.1, "mirror_gap": mirror})[0]


def test_a_camera_that_disagrees_is_named_with_its_share() -> None:
    (said,) = quality.doubts(**{**FINE, "camera_errors": (1.0, 3.0, np.nan, 1.2), "names": ("a", "b", "c", "d")})
    assert said.startswith("b agrees badly with the others (2.5 times their error)")


def test_who_is_late_is_told_once() -> None:
    nothing = {field.name: 0.0 for field in fields(quality.Report)}
    report = quality.Report(**{**nothing, "verdict": "good", "reasons": ()})
    rough, closer, other = "Cameras are not synchronous: a.", "Cameras are not synchronous: b by 2.", "Nobody moves."
    assert report.doubted(()) == report
    assert report.doubted((other, rough)).reasons == (other, rough)
    assert report.doubted((other, rough)).doubted((closer,)).reasons == (other, closer)
    assert report.doubted((rough,)).doubted((other,)).reasons == (rough, other)
    assert report.doubted((rough, other)).without(rough).reasons == (other,)
    assert report.doubted((rough,)).without("Cameras").verdict == "good"
    assert report.doubted((rough, other)).without("Cameras").verdict == "doubtful"
