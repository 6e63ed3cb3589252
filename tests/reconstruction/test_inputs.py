"""What a reconstruction begins with: keypoints as pixels from the principal point, and lenses where none are given."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.reconstruction.inputs import Joints, check_joints
from vergence.skeleton import H36M_17

SIZE = np.array([[1280.0, 720.0], [600.0, 801.0]])


def checked(keypoints: np.ndarray, intrinsics: np.ndarray | None = None, fov: float | None = None) -> Joints:
    return check_joints(keypoints, None, intrinsics, None, SIZE, H36M_17, fov, False, "auto", 0.0)


@pytest.mark.parametrize("fov", [None, 50.0, 70.0])
def test_the_middle_of_an_image_is_the_assumed_axis_and_the_angle_spans_its_longer_side(fov: float | None) -> None:
    """The middle is half a pixel before half the size; 50 degrees where no angle is said."""
    keypoints = np.tile((SIZE - 1) / 2, (3, 17, 1, 1)).transpose(0, 2, 1, 3)
    keypoints[:, :, 1] += [10.0, -20.0]
    found = checked(keypoints, fov=fov)
    np.testing.assert_allclose(found.offset[:, :, 0], 0, atol=1e-9)
    np.testing.assert_allclose(found.offset[:, :, 1], np.broadcast_to([10, -20], (3, 2, 2)), atol=1e-9)
    half = math.tan(math.radians((fov or 50.0) / 2))
    for k, size in zip(found.intrinsics, SIZE):
        focal = max(size) / 2 / half
        expected = [[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]]
        np.testing.assert_allclose(k, expected)


def test_one_matrix_for_two_cameras_is_refused() -> None:
    keypoints = np.ones((3, 2, 17, 2))
    with pytest.raises(VergenceError, match=r"shape \(3, 3\), not \(2, 3, 3\)"):
        checked(keypoints, np.eye(3))
    k = np.tile(np.array([[800.0, 0, 640], [0, 800, 360], [0, 0, 1]]), (2, 1, 1))
    assert (checked(keypoints, k).intrinsics == k).all()
    for row in (0, 1):
        wrong = k.copy()
        wrong[1, row, row] = 0
        with pytest.raises(VergenceError, match="not positive"):
            checked(keypoints, wrong)
