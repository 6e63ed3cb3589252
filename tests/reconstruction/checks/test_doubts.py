"""What a capture's reconstruction is asked beside its residuals: the sentences, and that right ones hear none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vergence.reconstruction.checks.doubts import doubts, throughout
from vergence.reconstruction.solve import reconstruct_keypoints
from vergence.skeleton import COCO_17, H36M_17

NAMES = tuple("abcd")
STRAIGHT = (0.0, 0.0, 0.0, 0.0, 0.0)


def asked(scene, keypoints: np.ndarray, **more) -> tuple[str, ...]:
    cameras = {"intrinsics": scene.intrinsics, "distortion": scene.distortion, "image_size": scene.image_size, **more}
    cameras = {"rotation": None, "translation": None, **cameras}
    found = reconstruct_keypoints(keypoints, None, skeleton=H36M_17, **cameras)
    seen = np.concatenate([keypoints, np.ones((*keypoints.shape[:3], 1))], axis=3)
    names = tuple(f"cam{v + 1}" for v in range(len(scene.rotation)))
    given = cameras["rotation"] is not None
    return doubts(seen, H36M_17, cameras, found, names, given, np.array([0.0, 0.0, 1.0]) if given else None)


@pytest.mark.parametrize("views", [2, 4])
def test_right_footage_is_asked_in_vain(make_scene: Callable, views: int) -> None:
    scene = make_scene(views=views, span=np.pi * views / 2.5, noise=1.5, distortion=STRAIGHT)
    assert asked(scene, scene.keypoints) == ()
    assert asked(scene, scene.keypoints, rotation=scene.rotation, translation=scene.translation) == ()


def test_two_cameras_of_which_one_exchanges_sides_are_doubtful(make_scene: Callable) -> None:
    scene = make_scene(views=2, span=2.5, noise=1.5, distortion=STRAIGHT)
    wrong = scene.keypoints.copy()
    wrong[:, 1] = wrong[:, 1][:, list(H36M_17.mirror)]
    assert "one of the two cameras" in asked(scene, wrong)[0]


def test_mirrored_images_are_named(make_scene: Callable) -> None:
    scene = make_scene(noise=1.5, distortion=STRAIGHT)
    wrong = scene.keypoints.copy()
    wrong[:, 2, :, 0] = 999 - wrong[:, 2, :, 0]
    wrong[:, 2] = wrong[:, 2][:, list(H36M_17.mirror)]
    assert any("cam3" in told and "mirrored" in told for told in asked(scene, wrong))


def test_a_wrong_unit_is_asked_of_given_cameras(make_scene: Callable) -> None:
    scene = make_scene(noise=1.5, distortion=STRAIGHT)
    small = asked(scene, scene.keypoints, rotation=scene.rotation, translation=scene.translation / 10)
    assert any("centimetres" in told for told in small)


def test_up_is_asked_of_given_cameras(make_scene: Callable) -> None:
    scene = make_scene(noise=1.5, distortion=STRAIGHT)
    over = replace(scene, rotation=scene.rotation * [1, -1, -1])  # the world turned about x
    told = asked(over, scene.keypoints, rotation=over.rotation, translation=scene.translation)
    assert any("upside down" in sentence for sentence in told)


def test_throughout_is_nearly_always() -> None:
    side = np.tile(np.arange(4), (10, 3, 1))
    side[:, 0] = side[:, 0, ::-1]
    side[:5, 1] = side[:5, 1, ::-1]
    assert throughout(side, ("a", "b", "c")) == ("a",)


def test_joints_under_wrong_names_are_doubted(make_scene: Callable) -> None:
    scene = make_scene(noise=1.5, distortion=STRAIGHT)
    seen = np.concatenate([scene.keypoints, np.ones((*scene.keypoints.shape[:3], 1))], axis=3)
    found = reconstruct_keypoints(
        scene.keypoints, None, intrinsics=scene.intrinsics, image_size=scene.image_size, skeleton=COCO_17
    )
    told = doubts(seen, COCO_17, {"image_size": scene.image_size, "intrinsics": scene.intrinsics}, found, NAMES, False)
    assert len(told) == 1
    assert "coco_17" in told[0]
    assert "h36m_17" in told[0]
