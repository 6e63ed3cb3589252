"""What is said of a rig."""

import numpy as np
import pytest
import torch

from vergence.footage.calibrations.summary import described
from vergence.geometry.camera import fisheye_lens, intrinsics_from_fov, look_at
from vergence.geometry.cameras import Camera, Rig


def camera(name: str, place: list[float], lens: np.ndarray | None = None) -> Camera:
    turn, shift = look_at(*(torch.tensor(v, dtype=torch.float64) for v in (place, [0.0, 0.0, 1000.0], [0.0, 0.0, 1.0])))
    k = intrinsics_from_fov(np.radians(60), 1280, 720).numpy()
    return Camera(name, (1280, 720), k, np.zeros(5) if lens is None else lens, turn.numpy(), shift.numpy())


def test_views_distances_heights() -> None:
    first, second = camera("a", [3000.0, 0.0, 1000.0]), camera("b", [0.0, 4000.0, 2500.0])
    head, one, two = described(Rig((first, second), up=np.array([0.0, 0.0, 1.0])))
    assert head == "2 cameras, 2 with intrinsics, 2 with extrinsics; 5.22 to 5.22 m apart"
    assert one == "a: 1280 x 720 px, 60 x 36 degrees of view, 1.00 m high, looks 0 degrees down"
    assert "2.50 m high, looks 21 degrees down" in two
    head, one, two = described(Rig((first, second)))
    assert "up not known" in head
    assert "0.00 m above the lowest" in one
    assert "0.76 m above the lowest" in two  # up: the mean of the two images', which lean by 0 and 21 degrees


def test_scale_free_unposed_and_fisheye() -> None:
    free = Rig((camera("a", [3.0, 0, 1]), camera("b", [0.0, 4, 1])), "reference_bone")
    assert "5.00 reference_bone apart" in described(free)[0]
    wide = camera("a", [3000.0, 0.0, 1000.0], np.array(fisheye_lens([0.1, 0, 0, 0]))).without_extrinsics()
    head, line, bare = described(Rig((wide, Camera("b", None))))
    assert head == "2 cameras, 1 with intrinsics, 0 with extrinsics"
    assert "fisheye lens, place not known" in line
    assert bare == "b: no intrinsics, place not known"


def test_a_camera_that_leans_and_looks_up_with_a_lens() -> None:
    """20 degrees up, then rolled by 30 about its axis; in world axes z is up."""
    up, roll = np.radians(20), np.radians(30)
    forward, level = np.array([np.cos(up), 0, np.sin(up)]), np.array([0.0, -1, 0])
    down = np.cross(forward, level)
    right = np.cos(roll) * level - np.sin(roll) * down
    turn = np.stack([right, np.cross(forward, right), forward])
    assert np.linalg.det(turn) == pytest.approx(1)
    k, lens = intrinsics_from_fov(np.radians(60), 1280, 720).numpy(), np.array([-0.123, 0, 0, 0, 0])
    leaning = Camera("a", (1280, 720), k, lens, turn, -turn @ [0, 0, 500.0])
    line = described(Rig((leaning, camera("b", [3000.0, 0.0, 1000.0])), up=np.array([0.0, 0.0, 2.0])))[1]
    assert line.endswith("lens k1 -0.123, 0.50 m high, looks 20 degrees up, turned by 30 degrees")
    bare = Camera("c", None, k, np.zeros(5))
    assert described(Rig((bare,)))[1] == f"c: focal length {640 / np.tan(np.radians(30)):.0f} px, place not known"
