"""Charts as SVG."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vergence.report.charts import curve_svg, dots_svg, linear_ticks, thin
from vergence.report.page import Curve, Dots


def test_thinning_keeps_the_spikes_and_the_ends():
    x, y = np.arange(20_000.0), np.zeros(20_000)
    y[777], y[15_003], y[40:4000] = 9.0, -7.0, np.nan
    tx, ty = thin(x, y)
    assert len(tx) < 1000
    assert (tx[0], tx[-1]) == (0, 19_999)
    assert (np.nanmin(ty), np.nanmax(ty)) == (-7, 0)
    assert (np.diff(tx) > 0).all()


def path_points(svg):
    return [
        [tuple(map(float, p)) for p in re.findall(r"[ML]([\d.]+) ([\d.]+)", d)]
        for d in re.findall(r'class="line s\d" d="([^"]*)"', svg)
    ]


@pytest.mark.parametrize("log", [False, True])
def test_a_curve_is_drawn_where_its_values_are(log):
    curve = Curve("c", "step", "loss", {"a": ([0, 5, 10], [1.0, 10.0, 100.0]), "b": ([0, 10], [100.0, 1.0])}, log)
    (a, b) = path_points(curve_svg(curve))
    assert a[0][0] == b[0][0] < a[1][0] < a[2][0] == b[1][0]
    np.testing.assert_allclose(a[1][0], (a[0][0] + a[2][0]) / 2, atol=0.1)
    share = (a[0][1] - a[1][1]) / (a[0][1] - a[2][1])
    np.testing.assert_allclose(share, 0.5 if log else 9 / 99, atol=0.002)
    assert (a[0][1], a[2][1]) == (b[1][1], b[0][1])


def test_a_curve_breaks_where_nothing_is_known():
    svg = curve_svg(Curve("c", "x", "y", {"a": ([0, 1, 2, 3, 4], [1, 2, np.nan, 3, 0])}, log_y=True))
    line = re.search(r'class="line s0" d="([^"]*)"', svg)[1]
    assert line.count("M") == 2
    assert line.count("L") == 1


def test_what_arithmetic_leaves_of_nothing_is_drawn_as_nothing():
    rounding, nothing = (
        Curve("c", "x", "px", {"a": ([0, 1, 2], np.array([3.0, 0, 8]) * scale)}) for scale in (1e-14, 0)
    )
    assert curve_svg(rounding) == curve_svg(nothing)


@pytest.mark.parametrize("y", [[], [np.nan, np.nan], [3.0, 3.0], [0.0, 0.0], [-2.0, -2.0], [1e-9, 1e7]])
@pytest.mark.parametrize("log", [False, True])
def test_a_curve_of_little_is_still_a_chart(y, log):
    svg = curve_svg(Curve("c", "x", "y", {"a": (np.arange(len(y)), y)}, log))
    assert "nan" not in svg
    assert "inf" not in svg
    assert svg.count('class="tick"') >= 2


def test_ticks_are_round_and_within():
    assert linear_ticks(-0.2, 1.01, 5) == pytest.approx([-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert not any(np.signbit(t) for t in linear_ticks(-1e-12, 10, 5) if t == 0)


def test_differences_of_nothing_do_not_fill_a_chart():
    """Of 281.0 and 281.2 all numbers of the axis read 281."""
    curve = curve_svg(Curve("c", "x", "mm", {"a": ([0, 1], [281.0, 281.2])}))
    dots = dots_svg(Dots("error", "mm", {"a": [281.0], "b": [281.2]}))
    for svg, own in ((curve, "end"), (dots, "middle")):
        told = re.findall(rf'class="tick"[^>]*text-anchor="{own}"[^>]*>([^<]*)<', svg)
        assert len(told) > 2
        assert len(set(told)) == len(told)
