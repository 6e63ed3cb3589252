"""Figures of single cameras: which way up people are, and by how much joints tremble."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vergence.reconstruction.inspection.measure import trembling, turn_of
from vergence.skeleton import COCO_17, H36M_17

SIZE = (400, 600)


def seen(lean: float, turn: int = 0) -> tuple[np.ndarray, Any, Any]:
    """Somebody in the middle of 20 images who leans from the vertical by so many degrees, in images turned by quarters."""
    height = {"nose": 150, "shoulder": 110, "elbow": 80, "wrist": 60, "hip": 0, "knee": -60, "ankle": -120}
    up = np.array([next((h for part, h in height.items() if part in name), 150) for name in COCO_17.joint_names])
    angle = np.radians(lean - 90 * turn)
    points = np.stack([200 + up * np.sin(angle), 300 - up * np.cos(angle), np.ones(17)], -1)
    return np.tile(points, (20, 1, 1)), SimpleNamespace(skeleton=COCO_17), SimpleNamespace(image_size=SIZE)


@pytest.mark.parametrize(
    ("lean", "turn", "found"), [(0, 0, 0), (48, 0, 0), (-50, 0, 0), (0, 1, 3), (0, 3, 1), (5, 2, 2), (90, 0, 1)]
)
def test_who_leans_is_not_taken_for_a_turned_camera(lean, turn, found):
    assert turn_of(*seen(lean, turn)) == found


def test_of_nobody_no_way_is_known():
    points, *rest = seen(0)
    assert turn_of(np.full_like(points, np.nan), *rest) is None


def test_trembling_is_the_noise_of_a_coordinate_whatever_the_motion():
    rng, t = np.random.default_rng(0), np.arange(600) / 50
    way = np.stack([300 * t, 200 * np.sin(2 * np.pi * t)], -1)[:, None] + np.zeros((1, 17, 2))
    points = way + rng.normal(0, 2.5, way.shape) * np.linspace(0, 1, 17)[:, None]
    points[:, 3] = np.nan
    found = trembling(points, H36M_17.joint_names)
    names = list(H36M_17.joint_names)
    assert names[3] not in found
    assert found[names[16]] == pytest.approx(2.5, rel=0.1)
    assert found[names[8]] == pytest.approx(1.25, rel=0.1)
    assert found[names[0]] < 0.2
