"""What footage says of its lenses: one focal length or several, principal points and distortion that were given wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from vergence.reconstruction import lenses
from vergence.reconstruction.bundle import Bundle
from vergence.reconstruction.lenses import FIELDS_OF_VIEW, motion_in_images, turned_by_centres, view_deg
from vergence.reconstruction.solve import Solution, reconstruct_keypoints
from vergence.reconstruction.wish import Wish
from vergence.skeleton import H36M_17

STRAIGHT = (0.0, 0.0, 0.0, 0.0, 0.0)


def solved(scene, keypoints=None, **known) -> Solution:
    points = scene.keypoints if keypoints is None else keypoints
    return reconstruct_keypoints(points, None, image_size=scene.image_size, skeleton=H36M_17, **known)


def through(scene, factor: list[float]) -> np.ndarray:
    """Keypoints as cameras with other focal lengths would have seen them."""
    return 499.5 + (scene.keypoints - 499.5) * np.array(factor)[:, None, None]


def turned(found: Solution, scene) -> float:
    """Degrees of the worst pair."""
    worst = 0.0
    for a in range(len(scene.rotation)):
        for b in range(a):
            off = (found.rotation[a] @ found.rotation[b].T).T @ scene.rotation[a] @ scene.rotation[b].T
            worst = max(worst, float(np.degrees(np.arccos(np.clip((np.trace(off) - 1) / 2, -1, 1)))))
    return worst


def test_equal_lenses_share_one_focal_length(make_scene: Callable) -> None:
    scene = make_scene(frames=60, noise=1.5, distortion=STRAIGHT)
    report = solved(scene, intrinsics=None).report
    assert report.focal_mode == "shared"
    assert "separate ones would spread" in report.focal_evidence
    assert len(set(report.focal_deviation)) == 1
    assert 0 < report.focal_deviation[0] < 0.05
    assert 0 < report.zoom_change[0] < 0.2
    assert report.view_deg == pytest.approx([48.9] * 4, abs=2)


def test_different_lenses_get_one_each(make_scene: Callable) -> None:
    scene = make_scene(frames=60, noise=1.5, distortion=STRAIGHT)
    factor = [1.0, 1.3, 0.8, 1.1]
    found = solved(scene, through(scene, factor), intrinsics=None)
    assert found.report.focal_mode == "each"
    np.testing.assert_allclose(found.intrinsics[:, 0, 0], 1100 * np.array(factor), rtol=0.05)
    assert turned(found, scene) < 1.5


def test_asked_to_share_different_lenses_are_doubtful(make_scene: Callable) -> None:
    scene = make_scene(frames=60, noise=1.5, distortion=STRAIGHT)
    report = solved(scene, through(scene, [1.0, 1.3, 0.8, 1.1]), intrinsics=None, focal="shared").report
    assert report.verdict == "doubtful"
    assert any("lenses differ" in reason for reason in report.reasons)


def test_two_cameras_say_that_they_cannot_tell(make_scene: Callable) -> None:
    scene = make_scene(frames=60, views=2, span=3.0, noise=1.5, distortion=STRAIGHT)
    reasons = {focal: solved(scene, intrinsics=None, focal=focal).report.reasons for focal in ("auto", "shared")}
    assert any("cannot tell whether their lenses differ" in reason for reason in reasons["auto"])
    assert not any("cannot tell whether their lenses differ" in reason for reason in reasons["shared"])


def test_a_focal_length_that_no_lens_has_is_doubtful(make_scene: Callable) -> None:
    scene = make_scene(frames=40, noise=1.0, distortion=STRAIGHT, focal=9000.0, radius=36000.0)
    report = solved(scene, intrinsics=None).report
    assert min(report.view_deg) < FIELDS_OF_VIEW[0]
    assert any("field of view" in reason or "is known to" in reason for reason in report.reasons)


@pytest.mark.parametrize("views", [3, 4])
def test_right_lenses_are_left_alone(make_scene: Callable, views: int) -> None:
    scene = make_scene(frames=90, views=views, noise=2.0, missing=0.1, outliers=0.03)
    report = solved(scene, intrinsics=scene.intrinsics, distortion=scene.distortion).report
    assert not any("footage" in reason for reason in report.reasons)
    assert report.focal_mode == "given"


@pytest.mark.parametrize(("cameras", "factor"), [(4, 0.8), (4, 1.2), (2, 0.8)])
def test_given_focal_lengths_that_are_wrong(make_scene: Callable, cameras: int, factor: float) -> None:
    scene = make_scene(frames=90, noise=2.0, distortion=STRAIGHT)
    k = scene.intrinsics.copy()
    k[:cameras, [0, 1], [0, 1]] *= factor
    reasons = solved(scene, intrinsics=k).report.reasons
    said = next(reason for reason in reasons if "prefers other focal lengths than given" in reason)
    assert ("camera 4" in said) == (cameras == 4)


def test_a_principal_point_that_is_wrong_is_named(make_scene: Callable) -> None:
    scene = make_scene(frames=90, noise=1.5, distortion=STRAIGHT)
    k = scene.intrinsics.copy()
    k[2, 0, 2] += 100
    reasons = " ".join(solved(scene, intrinsics=k).report.reasons)
    assert "another principal point of camera 3" in reasons
    named = solved(scene, intrinsics=k, names=("left", "top", "right", "door")).report.reasons
    assert any("another principal point of right, by about (" in reason for reason in named)


@pytest.mark.parametrize(
    ("wish", "calibrated", "words"),
    [
        (Wish("centre", np.array([1, 40.0, -30.0]), -9.0), True, "principal point of top, by about (+40, -30) px"),
        (Wish("centre", np.array([1, 40.0, -30.0]), -9.0), False, "are its pictures cut, or bent by its lens?"),
        (
            Wish("centre", np.array([1, 7275.0, 49416.0]), -9.0, False),
            False,
            "the lens of top neither by what is assumed",
        ),
        (Wish("focal", np.array([1.0, 0.1]), -9.0, False), True, "the lens of top neither by its calibration"),
        (Wish("radial", np.array([70.0, 1.0]), -9.0, False), True, "the lens of left neither"),
        (Wish("radial", np.array([-0.2, -0.2]), -9.0), False, "and nobody gave any (k1 -0.20, about)"),
        (Wish("late", np.array([1, 0.8]), -9.0), True, "Cameras are not synchronous: top began later than the others"),
        (Wish("late", np.array([0, -0.8]), -9.0), False, "left began earlier than the others"),
    ],
)
def test_a_lens_is_spoken_of_as_it_is_known(wish: Wish, calibrated: bool, words: str) -> None:
    told = wish.words(("left", "top"), calibrated)
    assert words in told
    assert wish.usual or not any(c.isdigit() for c in told)
    assert calibrated or "calibration" not in told
    several = replace(
        wish, others=(Wish("radial", np.array([-0.2, 0.1]), -9.0), Wish("late", np.array([0, 2.0]), -9.0))
    )
    listed = several.words(("left", "top"), calibrated)
    assert "does not tell why. Any of these would explain it: " in listed
    assert listed.endswith("; lens distortion (k1 -0.20, +0.10); left began later than the others")


@pytest.mark.parametrize(("late", "words"), [(1, "camera 2 began later"), (-2, "camera 2 began earlier")])
@pytest.mark.parametrize("known", [True, False])
def test_a_late_camera_is_no_other_lens(make_scene: Callable, late: int, words: str, known: bool) -> None:
    scene = make_scene(frames=52, noise=2.0, distortion=STRAIGHT, outliers=0.03)
    points = np.stack([scene.keypoints[s : s + 46, v] for v, s in enumerate((3, 3 + late, 3, 3))], 1)
    reasons = solved(scene, points, intrinsics=scene.intrinsics if known else None).report.reasons
    assert sum(words in reason for reason in reasons) == 1, reasons
    assert not any("principal point" in reason or "distortion" in reason for reason in reasons)


def test_causes_that_explain_as_much_are_listed(make_scene: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(frames=90, noise=1.5, distortion=STRAIGHT)
    k = scene.intrinsics.copy()
    k[2, 0, 2] += 100
    monkeypatch.setattr(lenses, "CLEARLY", np.inf)
    reasons = " ".join(solved(scene, intrinsics=k).report.reasons)
    assert "does not tell why. Any of these would explain it: another principal point of camera 3" in reasons
    assert reasons.count("principal point of camera 3") == 1
    assert ";" in reasons


def test_a_principal_point_outside_its_image_is_no_explanation(make_scene: Callable) -> None:
    """The same wrong one, in images that end before the right one."""
    scene = make_scene(frames=90, noise=1.5, distortion=STRAIGHT)
    k, points, size = scene.intrinsics.copy(), scene.keypoints.copy(), scene.image_size.copy()
    k[2, 0, 2], points[:, 2, :, 0], size[2, 0] = 370.0, points[:, 2, :, 0] - 100, 390
    reasons = " ".join(solved(scene, points, intrinsics=k).report.reasons)
    assert "another principal point of camera 3" in reasons
    reasons = " ".join(solved(replace(scene, image_size=size), points, intrinsics=k).report.reasons)
    assert "the lens of camera 3 neither by its calibration" in reasons
    assert "another principal point of camera 3" not in reasons


def test_motion_is_what_the_images_show_between_frames_on_either_side() -> None:
    """A point at depth 4 that goes 0.1 a frame to the right, f 1000: 25 px a frame; another one stands."""
    points = np.array([[0.1 * t, 0, 4.0] for t in range(6)] + [[0, 1.0, 4.0]] * 6)
    scene = Bundle(np.eye(3)[None], np.zeros((1, 3)), np.full((1, 2), 1000.0), points)
    index = np.concatenate([3 * np.arange(6) + 1, 3 * np.arange(6)])  # joints 1 and 0 of 3
    found = motion_in_images(scene, index, 3)
    np.testing.assert_allclose(found[0, 0], [0, 0, 25, 25, 0, 0, *[0] * 6], atol=1e-9)
    np.testing.assert_allclose(found[0, 1], 0, atol=1e-9)


def test_a_principal_point_beyond_all_images_is_no_number(
    make_scene: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(frames=90, noise=1.5, distortion=STRAIGHT)
    monkeypatch.setattr(lenses, "MOST_USUAL_CENTRE", np.radians(2.0))
    k = scene.intrinsics.copy()
    k[2, 0, 2] += 100
    reasons = " ".join(solved(scene, intrinsics=k).report.reasons)
    assert "the lens of camera 3 neither by its calibration nor by any usual one" in reasons


@pytest.mark.parametrize("known", [True, False])
def test_distortion_that_nobody_gave_is_seen(make_scene: Callable, known: bool) -> None:
    scene = make_scene(frames=90, noise=1.5, distortion=(-0.35, 0.1, 0.0, 0.0, 0.0), radius=3000.0, focal=800.0)
    reasons = " ".join(solved(scene, intrinsics=scene.intrinsics if known else None).report.reasons)
    assert "lens distortion" in reasons


def test_fields_of_view_are_along_the_longer_side() -> None:
    k = np.array([[[500.0, 0, 499.5], [0, 500.0, 999.5], [0, 0, 1]]])
    assert view_deg(np.array([[1000.0, 1000.0]]), k) == pytest.approx([90.0])


@pytest.mark.parametrize("free", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("gain", [-3.0, 0.0, 0.3, 1.0, 4.0, 25.0, 90.0])
def test_the_chance_of_a_gain_is_the_tail_of_the_chi_square_distribution(gain: float, free: int) -> None:
    assert lenses._log_chance(gain, free) == pytest.approx(chi2.logsf(max(gain, 0.0), free), rel=1e-9, abs=1e-12)


def test_principal_points_that_nobody_gave_leave_rotations_unsure(make_scene: Callable) -> None:
    """Points 10 px from the middle to either side turn cameras of 1000 px by half a degree each way: sqrt(4) times 0.01."""
    found = turned_by_centres(np.full((3, 2), 1000.0), np.array([[1000.0, 600], [600, 1000], [2000, 900]]))
    np.testing.assert_allclose(found[:2, :2], [[0, 0.02], [0.02, 0]])
    np.testing.assert_allclose(found[2], [np.sqrt(10) * 0.01, np.sqrt(10) * 0.01, 0])
    scene = make_scene(frames=60, noise=1.0, distortion=STRAIGHT)
    given, assumed = (solved(scene, intrinsics=k).report for k in (scene.intrinsics, None))
    assert given.predicted_rotation_deg == given.rotation_noise_deg < 0.3
    assert assumed.rotation_noise_deg < 0.6
    assert assumed.predicted_rotation_deg > np.degrees(0.02 * 1000 / 1100) - 0.02
    moved = scene.keypoints + np.array([[12.0, -8], [-12, 8], [0, 12], [6, 0]])[:, None]
    off = turned(solved(scene, moved, intrinsics=None), scene)
    assert 0.5 < off / assumed.predicted_rotation_deg < 2


@pytest.mark.parametrize(("focal", "free"), [("each", 4), ("shared", 1)])
def test_focal_lengths_that_were_free_follow_what_is_tried(
    make_scene: Callable, focal: str, free: int, monkeypatch
) -> None:
    scene, loose = make_scene(frames=60, noise=1.5, distortion=STRAIGHT), []
    real = lenses._score
    monkeypatch.setattr(lenses, "_score", lambda m, g, held, tried: loose.append(len(held)) or real(m, g, held, tried))
    solved(scene, intrinsics=None, focal=focal)
    assert min(loose) == 6 * 3 + free
