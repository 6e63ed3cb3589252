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
