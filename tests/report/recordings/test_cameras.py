"""What cameras saw: which moments, images that are read once and in order, and 2D that belongs to its own moment."""

import numpy as np

from vergence.errors import VergenceError
from vergence.report.page import CameraView
from vergence.report.recordings.cameras import BARE, LEAST, MOST, camera_views, read_images, shown_rows
from vergence.report.viewer import STILL_SIDE_PX


def test_moments_are_even_among_those_with_somebody_and_of_the_pages_own():
    known = np.zeros(4000, bool)
    known[1000:3001] = True
    rows = shown_rows(known, 5, 4, images=True)
    assert (rows[0], rows[-1], len(rows)) == (1000, 3000, 14)
    assert all(row % 5 == 0 for row in rows)
    assert np.ptp(np.diff(rows)) <= 5
    assert shown_rows(np.zeros(9, bool), 1, 4, images=True) == []


def test_their_number_is_bounded_by_what_they_cost():
    assert len(shown_rows(np.ones(100, bool), 1, 4, images=True)) == MOST
    assert len(shown_rows(np.ones(100_000, bool), 1, 4, images=True)) == 12
    assert len(shown_rows(np.ones(100_000, bool), 1, 30, images=True)) == LEAST
    assert len(shown_rows(np.ones(100_000, bool), 112, 30, images=False)) == BARE
    assert shown_rows(np.ones(5, bool), 1, 2, images=True) == [0, 1, 2, 3, 4]


def test_each_image_is_read_once_in_order_and_a_damaged_one_costs_itself():
    asked = []

    def images(view, frame):
        asked.append((view, frame))
        if frame == 7:
            raise VergenceError("frame 7 is damaged", "Leave it out.")
        return np.full((900, 1200, 3), 10 * view + frame, np.uint8)

    seen = read_images({(1, 3): (2, 4, 10, 20), (0, 7): (0, 0, 5, 5)}, [(1, 3), (0, 2), (0, 7)], images)
    assert asked == [(0, 2), (0, 7), (1, 3)]
    assert list(seen.small) == [(0, 2), (1, 3)]
    assert {image.shape for image in seen.small.values()} == {(360, STILL_SIDE_PX, 3)}
    assert (seen.cuts[1, 3].shape, seen.cuts[1, 3].max()) == ((16, 8, 3), 13)
    assert seen.cuts[0, 7].shape == (5, 5, 3)
    assert seen.missing == {(0, 7): "No image: frame 7 is damaged."}
    bare = read_images({(0, 7): (0, 0, 5, 5)}, [(0, 2)], None)
    assert (bare.small, bare.missing, list(bare.cuts)) == ({}, {}, [(0, 7)])


def test_a_view_has_the_2d_of_its_own_moments():
    points = np.random.default_rng(0).uniform(0, 100, (9, 2, 17, 2))
    seen = read_images({}, [(1, 4)], lambda view, frame: np.zeros((10, 20, 3), np.uint8))
    first, second = camera_views(seen, [0, 4], points, points + 1, [(20, 10)] * 2)
    assert isinstance(first, CameraView)
    assert first.images == [None, None]
    assert (second.images[0], second.images[1].shape) == (None, (10, 20, 3))
    np.testing.assert_array_equal(second.keypoints, points[[0, 4], 1])
    np.testing.assert_array_equal(second.keypoints_true, points[[0, 4], 1] + 1)
