"""Principal points far from the middle: doubted where footage cannot tell, believed where it can or where they are usual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vergence.reconstruction.bundle import Bundle
from vergence.reconstruction.checks import centres
from vergence.reconstruction.checks.centres import centre_doubt
from vergence.reconstruction.inputs import check_joints
from vergence.reconstruction.solve import reconstruct_keypoints
from vergence.skeleton import H36M_17

NAMES = ("a", "b", "c", "d")


def asked(scene, intrinsics: np.ndarray, image_size: np.ndarray) -> str:
    lens = {"intrinsics": intrinsics, "distortion": scene.distortion, "image_size": image_size}
    found = reconstruct_keypoints(scene.keypoints, None, skeleton=H36M_17, **lens)
    given = check_joints(scene.keypoints, None, *lens.values(), H36M_17, None, False, "shared", 0.05)
    cameras = Bundle(found.rotation, found.translation, given.focal, np.zeros((1, 3)))
    return centre_doubt(given, cameras, found.report.noise_px, image_size, NAMES)


@pytest.mark.parametrize("px", [0.0, 30.0])
def test_usual_ones_are_believed(make_scene: Callable, px: float) -> None:
    scene = make_scene(noise=3.0, distortion=(0.0,) * 5)
    moved = scene.intrinsics.copy()
    moved[1, 0, 2] += px
    assert asked(scene, moved, scene.image_size) == ""


def test_a_wrong_one_is_doubted_by_name(make_scene: Callable) -> None:
    scene = make_scene(noise=6.0, frames=40, distortion=(0.0,) * 5)
    moved = scene.intrinsics.copy()
    moved[1, 0, 2] += 100
    told = asked(scene, moved, scene.image_size)
    assert "principal point of b" in told
    assert "100 px" in told


def test_a_cut_image_is_believed_where_the_footage_holds_it(make_scene: Callable) -> None:
    """Right intrinsics of an image that was cut on one side, sharp keypoints of a person who fills the view."""
    scene = make_scene(noise=0.1, frames=90, distortion=(0.0,) * 5)
    cut = scene.image_size.copy()
    cut[1, 0] -= 200
    assert asked(replace(scene), scene.intrinsics, cut) == ""


def test_a_lens_that_bends_excludes_no_middle(make_scene: Callable) -> None:
    """Undone about the wrong point, straightened points do not fit the middle; undone about the middle they do."""
    scene = make_scene(noise=3.0, views=3, frames=60, distortion=(-0.3, 0.1, 0.0, 0.0, 0.0))
    moved = scene.intrinsics.copy()
    moved[1, 0, 2] += 100
    assert "principal point of b" in asked(scene, moved, scene.image_size)


def test_the_cost_of_a_step_is_in_variances_of_the_widened_noise(
    make_scene: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adjustments that cost 40 where the point is and 58 where it is moved to, under a noise of 1.5 px: 2 x 18 / 1.5^2."""
    scene = make_scene(noise=1.0, distortion=(0.0,) * 5)
    size = scene.image_size
    given = check_joints(
        scene.keypoints, None, scene.intrinsics, scene.distortion, size, H36M_17, None, False, "shared", 0.05
    )
    cameras = Bundle(scene.rotation, scene.translation, given.focal, np.zeros((1, 3)))
    costs = iter([50.0, 40.0, 58.0])
    monkeypatch.setattr(centres, "adjust", lambda start, *_, **__: replace(start, cost=next(costs)))
    monkeypatch.setattr(
        centres, "agreeing", lambda scene, seen, weight, *_: (scene, (np.ones(seen.shape[2], bool), weight), 1.5)
    )
    step = np.zeros((len(size), 2))
    assert centres._cost_of(step, [1], given, cameras, 1.0) == {1: pytest.approx(16.0)}
