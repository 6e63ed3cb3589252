"""How a video asks to be shown: quarter turns and mirrors read from the display matrix, others refused."""

from __future__ import annotations

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.formats.display import _turn_of_matrix, as_displayed


def matrix(degrees: float, mirrored: bool) -> tuple[float, float, float, float]:
    """a, b, c, d of (x, y) to (a x + c y, b x + d y), y down: turned clockwise, then mirrored left to right."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[-1.0 if mirrored else 1.0, 0.0], [0.0, 1.0]]) @ np.array([[cosine, -sine], [sine, cosine]])
    whole = np.rint(turn) if degrees % 90 == 0 else turn  # files have exact zeros
    return tuple(whole.T.ravel().tolist())


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_quarter_turns_and_mirrors_show_each_pixel_where_the_matrix_puts_it(degrees: int, mirrored: bool) -> None:
    a, b, c, d = matrix(degrees, mirrored)
    turn = _turn_of_matrix(1.5 * a, 1.5 * b, 1.5 * c, 1.5 * d)
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    shown = as_displayed(image, turn)
    y, x = np.indices((2, 3)).reshape(2, -1)
    moved = np.rint(np.array([[a, c], [b, d]]) @ [x, y]).astype(int)
    moved -= moved.min(1, keepdims=True)
    assert (shown[moved[1], moved[0]] == image[y, x]).all()


def test_other_turns_are_refused() -> None:
    with pytest.raises(VergenceError, match=r"turned by -?45\.0 degrees"):
        _turn_of_matrix(*matrix(45, False))
