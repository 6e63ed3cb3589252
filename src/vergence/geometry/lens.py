"""OpenCV's lens, in formulas: plain arithmetic, so that tensors (`geometry.camera`) pass through it as arrays do (`arrays`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FISHEYE_SIZE = 17  # coefficients of a row that may be a fisheye lens


def bend(x: Any, y: Any, lens: Sequence[Any]) -> tuple[Any, Any]:
    """The lens on normalised coordinates: k1 k2 p1 p2 k3 (Brown-Conrady), or twelve, with k4 k5 k6 (a denominator) and the
    thin prism s1 s2 s3 s4 behind them."""
    k1, k2, p1, p2, k3, *more = lens
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    across, down = p2 * (r2 + 2 * x * x) + 2 * p1 * x * y, p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    if more:
        k4, k5, k6, s1, s2, s3, s4 = more
        radial = radial / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        across, down = across + r2 * (s1 + r2 * s2), down + r2 * (s3 + r2 * s4)
    return x * radial + across, y * radial + down


def bend_slopes(x: Any, y: Any, lens: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """The 2x2 derivative of `bend` by its point: (xx, xy, yx, yy)."""
    k1, k2, p1, p2, k3, *more = lens
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
    prism = [0 * r2] * 2
    if more:
        k4, k5, k6, s1, s2, s3, s4 = more
        below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        slope = (slope - radial / below * 2 * (k4 + r2 * (2 * k5 + r2 * 3 * k6))) / below
        radial = radial / below
        prism = [2 * (s1 + 2 * r2 * s2), 2 * (s3 + 2 * r2 * s4)]
    xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x + prism[0] * x
    yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x + prism[1] * y
    both = slope * x * y + 2 * p1 * x + 2 * p2 * y
    return xx, both + prism[0] * y, both + prism[1] * x, yy
