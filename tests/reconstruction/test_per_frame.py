from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.geometry.camera import normalise
from vergence.reconstruction.per_frame import frames_by_themselves, pair_points, single_frame_pair
from vergence.skeleton import H36M_17


def image(scene) -> np.ndarray:
    k, d = (torch.from_numpy(x) for x in (scene.intrinsics, scene.distortion))
    return normalise(torch.from_numpy(scene.keypoints), k, d).numpy()


def test_without_noise_one_frame_is_enough(make_scene) -> None:
    scene = make_scene(views=3, frames=6, noise=1e-4)
    pose, rotation, _ = frames_by_themselves(image(scene), H36M_17.reference_bone)
    truth = scene.pose @ scene.rotation[0].T + scene.translation[0]
    bone = np.linalg.norm(truth[:, 8] - truth[:, 0], axis=1)[:, None, None]
    error = np.linalg.norm(pose - truth / bone, axis=2)
    assert np.median(error) < 1e-3
    turn = rotation[2] @ rotation[0].T @ (scene.rotation[2] @ scene.rotation[0].T).T
    assert np.degrees(Rotation.from_matrix(turn).magnitude()) < 0.5


def test_a_pair_is_triangulated_in_the_first_camera(make_scene) -> None:
    scene = make_scene(views=2, frames=3, noise=0.0, span=2.0)
    a, b = image(scene)[1]
    rotation = scene.rotation[1] @ scene.rotation[0].T
    move = scene.translation[1] - rotation @ scene.translation[0]
    length = np.linalg.norm(move)
    truth = scene.pose[1] @ scene.rotation[0].T + scene.translation[0]
    np.testing.assert_allclose(pair_points((rotation, move / length), a, b) * length, truth, rtol=1e-5)


def test_too_few_joints_give_nothing(make_scene) -> None:
    scene = make_scene(views=2, frames=3)
    points = image(scene)
    points[:, 1, 7:] = np.nan
    assert single_frame_pair(points[0, 0], points[0, 1]) is None
    with pytest.raises(VergenceError, match="no frame has 8 joints"):
        frames_by_themselves(points, H36M_17.reference_bone)
