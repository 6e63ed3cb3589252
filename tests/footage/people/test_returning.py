"""Who goes on after somebody left one camera's sight."""

import numpy as np

from vergence.footage.people.returning import alone_again


def track(first: int, last: int, size: float) -> np.ndarray:
    """Somebody of a size, px, from one frame to another of 60."""
    out = np.full((60, 17, 3), np.nan)
    out[first:last] = np.c_[np.random.default_rng(0).uniform(0, size, (17, 2)), np.ones(17)]
    return out


def test_who_comes_while_the_first_is_away_and_is_left_out_is_a_rival() -> None:
    first = track(0, 30, 200)
    whole, taken = alone_again([first, track(40, 60, 200)])
    assert (taken.frames, taken.rivals, taken.left) == (20, False, [])
    assert np.isfinite(whole[40:]).all()
    whole, taken = alone_again([first, track(40, 60, 40)])  # of another size
    assert (taken.frames, taken.rivals, taken.left) == (0, True, [(0, 1)])
    np.testing.assert_array_equal(whole, first)
    whole, taken = alone_again([first, track(20, 45, 200)])  # beside the first
    assert (taken.frames, taken.rivals, taken.left) == (0, False, [(0, 1)])
    np.testing.assert_array_equal(whole, first)
