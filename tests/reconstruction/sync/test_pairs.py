"""The cost of shifts of two cameras."""

from __future__ import annotations

import numpy as np

from vergence.reconstruction.sync.pairs import scan


def test_the_right_shift_costs_least_and_short_overlap_is_not_told(make_scene) -> None:
    scene = make_scene(views=2, frames=120, noise=1.0, distortion=(0.0,) * 5)
    image = (scene.keypoints - 499.5) / 1100.0
    shifts = np.array([-90, -20, -8, 0, 8, 20])
    cost = scan(image[:100, 0], image[8:108, 1], shifts, least_frames=30)
    assert np.nanargmin(cost) == 2
    assert np.isnan(cost[0])


def test_a_few_frames_of_many_joints_tell_no_moment() -> None:
    a = np.random.default_rng(0).normal(size=(100, 20, 2))
    b = np.full_like(a, np.nan)
    b[60:68] = a[60:68]
    assert np.isnan(scan(a, b, np.arange(-20, 21, 5), 24)).all()
    b[40:68] = a[40:68]
    assert np.isfinite(scan(a, b, np.array([0]), 24)).all()
