"""Whole cameras with left and right exchanged are found; right ones are left alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vergence.reconstruction.checks.sides import exchanged_cameras
from vergence.skeleton import H36M_17, skeleton_from_names


def normalised(make_scene: Callable, views: int) -> np.ndarray:
    scene = make_scene(views=views, noise=3.0, missing=0.1, outliers=0.03, distortion=(0.0, 0.0, 0.0, 0.0, 0.0))
    return (scene.keypoints - 499.5) / 1100.0


@pytest.mark.parametrize(("views", "wrong"), [(2, []), (3, []), (4, []), (3, [0]), (3, [2]), (4, [1]), (5, [0, 3])])
def test_the_cameras_whose_sides_are_exchanged(make_scene: Callable, views: int, wrong: list[int]) -> None:
    image = normalised(make_scene, views)
    for camera in wrong:
        image[:, camera] = image[:, camera][:, list(H36M_17.mirror)]
    assert list(np.flatnonzero(exchanged_cameras(image, H36M_17))) == wrong


def test_of_two_cameras_one_is_named(make_scene: Callable) -> None:
    image = normalised(make_scene, 2)
    image[:, 0] = image[:, 0][:, list(H36M_17.mirror)]
    assert exchanged_cameras(image, H36M_17).sum() == 1


def test_joints_without_sides_cannot_be_exchanged(make_scene: Callable) -> None:
    middle = ["pelvis", "spine", "thorax", "head_top"]
    image = normalised(make_scene, 3)[:, :, [H36M_17.index(name) for name in middle]]
    assert not exchanged_cameras(image, skeleton_from_names(middle)).any()
