"""Charts and strips as SVG: what a page can hold without loading anything.

They are drawn here rather than in the browser, so that they are sharp at any size, print, and need no script; one only
adds the reading under a curve's pointer. A chart is as wide as its place: lines stretch, words keep a size that can be
read. In a strip a pose is shown twice, from the camera and from its right, because a wrong depth cannot be seen from where
the image was taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from vergence.report.page import ROUNDING, Curve, Dots, Strip, format_number
from vergence.report.templates import asset, draw, draw_file
from vergence.report.viewer import bone_sides, display_rotation, encode_image, points_only
from vergence.skeleton import Skeleton

FEW_TICKS = 8  # values of a log x axis that are marked themselves
CURVE_POINTS = 700  # more than a chart has pixels to show them
PLOT = 1000  # units across and down a curve's plot, which the browser stretches; words and marks keep their size
LEAST_PAD = 0.01  # of the greatest value, on both sides: differences of nothing must not fill a chart
SIDE = 150  # px of a drawn pose; two stand above each other
MARGIN = 0.12  # of the person's reach, left empty around a pose


def nice_step(span: float, count: int) -> float:
    """The step of 1, 2 or 5 times a power of ten that cuts `span` into about `count` pieces."""
    raw = span / max(count, 1)
    power = 10.0 ** np.floor(np.log10(raw))
    return float(power * next(m for m, most in ((1, 1.4), (2, 3.2), (5, 7.1), (10, 11)) if raw <= most * power))


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    step = nice_step(high - low, count)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(i * step) + 0.0 for i in np.arange(first, last + 1)]  # + 0.0: no minus zero


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within [low, high], with their 2 and 5 where there are fewer than three."""
    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    whole = [float(10.0**p) for p in powers if low <= 10.0**p <= high]
    if len(whole) >= 3:
        return whole
    return [t for t in (float(m * 10.0**p) for p in powers for m in (1, 2, 5)) if low <= t <= high]


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most about `CURVE_POINTS` points that keep each stretch's least and greatest, so that no spike is hidden."""
    if len(x) <= CURVE_POINTS:
        return x, y
    keep = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), CURVE_POINTS // 2):
        finite = part[np.isfinite(y[part])]
        chosen = [finite[np.argmin(y[finite])], finite[np.argmax(y[finite])]] if len(finite) else [part[0]]
        keep.update(int(i) for i in chosen)
    index = np.array(sorted(keep))
    return x[index], y[index]


def _air(low: float, high: float, share: float) -> float:
    """What is left empty on each side of a range: a share of it, or some of a single value."""
    return max(share * (high - low), LEAST_PAD * abs(high)) if high > low else 0.5 * abs(high) or 1.0


def _range(values: np.ndarray, log: bool) -> tuple[float, float]:
    """A range with some air around finite values; a single value gets a range too."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 10.0)
    if log:
        return low / 1.15, high * 1.15 if high > low else high * 2
    pad = _air(low, high, 0.05)
    return (0.0 if 0 <= low <= 0.3 * high else low - pad), high + pad


def _scale(
    low: float, high: float, start: int, end: int, log: bool = False
) -> Callable[[np.ndarray | float], np.ndarray]:
    """Values to px, `low` to `start` and `high` to `end`."""
    warp = np.log10 if log else np.asarray
    return lambda value: start + (warp(value) - warp(low)) / (warp(high) - warp(low)) * (end - start)


def _polyline(x: np.ndarray, y: np.ndarray) -> str:
    """An SVG path that lifts the pen where y is NaN; a lone point becomes a dot."""
    known = np.isfinite(y)
    before, after = np.append(False, known)[:-1], np.append(known, False)[1:]
    points = zip(x[known], y[known], before[known], after[known])
    return "".join(f"{'L' if b else 'M'}{px:.1f} {py:.1f}{'' if a or b else 'h.01'}" for px, py, b, a in points)


def _area(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """An SVG path around what lies between two lines; a new one after every gap."""
    known = np.flatnonzero(np.isfinite(low + high))
    path = ""
    for part in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        there, back = zip(x[part], high[part]), zip(x[part][::-1], low[part][::-1])
        around = "L".join(f"{a:.1f} {b:.1f}" for a, b in (*there, *back))
        path += f"M{around}Z" if around else ""
    return path


def curve_svg(curve: Curve) -> str:
    """A chart as inline SVG. Values that a log scale cannot show (0 and below) break the line, as NaN does."""
    series = {}
    for name, (x, y) in curve.series.items():
        xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float).copy()
        ys[~np.isfinite(ys) | ((ys <= 0) if curve.log_y else False)] = np.nan
        series[name] = thin(xs, ys if curve.log_y else np.where(np.abs(ys) < ROUNDING, 0.0, ys))
    shown = np.concatenate([np.stack(xy)[:, np.isfinite(xy).all(0)] for xy in series.values()] or [np.zeros((2, 0))], 1)
    x_low, x_high = (float(shown[0].min()), float(shown[0].max())) if shown.size else (1.0, 2.0)
    x_high = x_high if x_high > x_low else x_low + 1.0
    ends = np.array([end for pair in curve.spread.values() for side in pair for end in side])
    low, high = _range(np.concatenate([shown[1], ends[np.isfinite(ends)]]), curve.log_y)
    at_x = _scale(x_low, x_high, 0, PLOT, curve.log_x)
    at_y = _scale(low, high, PLOT, 0, curve.log_y)
    x_ticks = sorted(set(shown[0].tolist())) if curve.log_x else linear_ticks(x_low, x_high, 5)
    if curve.log_x and len(x_ticks) > FEW_TICKS:
        x_ticks = log_ticks(x_low, x_high)
    y_ticks = log_ticks(low, high) if curve.log_y else linear_ticks(low, high, 5)
    lines = []
    for name, (x, y) in series.items():
        paths, band = [_polyline(at_x(x), at_y(y))], ""
        level = name in curve.level
        if name in curve.spread and (curve.band or level):
            band = _area(
                at_x(np.asarray(curve.series[name][0], dtype=float)), *(at_y(np.asarray(v)) for v in curve.spread[name])
            )
        elif name in curve.spread:
            bars = zip(curve.series[name][0], *curve.spread[name], strict=True)
            paths.append(
                "".join(f"M{at_x(a):.1f} {at_y(b):.1f}V{at_y(c):.1f}" for a, b, c in bars if np.isfinite(b + c))
            )
        share = [np.round(at(v) / PLOT * 100, 2).tolist() for at, v in ((at_x, x), (at_y, y))]
        points = [[*place, format_number(float(a)), format_number(float(b))]
                  for *place, a, b in zip(*share, x, y) if np.isfinite(a) and np.isfinite(b)]  # fmt: skip
        lines.append(
            {"name": name, "paths": paths, "points": points, "band": band, "level": level, "lone": len(points) == 1}
        )
    about = f"{curve.title}: {curve.y_label} against {curve.x_label}; {', '.join(curve.shown) or 'no data'}"
    ticks = ([(t, float(at(t)) / PLOT) for t in own] for at, own in ((at_x, x_ticks), (at_y, y_ticks)))
    return draw("curve", curve, about, PLOT, *ticks, lines, f"{x_low:.9g} {x_high:.9g}")


def curve_file(curve: Curve) -> str:
    """A chart as an SVG file that stands alone, with its title and its names beside it."""
    colours = re.findall(r"-{2}s(\d): (#\w+)", asset("page.css"))[:8]
    return draw_file("figure.svg", curve=curve, chart=curve_svg(curve), colours=colours)


def dots_svg(chart: Dots) -> str:
    """A lane for each name, below it."""
    known = {name: np.array([v for v in values if np.isfinite(v)]) for name, values in chart.values.items()}
    every = np.concatenate([*known.values(), np.zeros(0)])
    low, high = (every.min(), every.max()) if len(every) else (0.0, 1.0)
    pad = _air(low, high, 0.06)
    at = _scale(float(low - pad), float(high + pad), 0, 1)
    rows = [
        (name, at(v).tolist(), (float(v.mean()), float(at(v.mean()))) if len(v) else None) for name, v in known.items()
    ]
    ticks = [(tick, float(at(tick))) for tick in linear_ticks(float(low - pad), float(high + pad), 4)]
    return draw("dots", chart, f"{chart.title}: {', '.join(known)}", ticks, rows)


def strip_html(strip: Strip, skeleton: Skeleton) -> str:
    """The image, then each method's pose over the truth."""
    turn = display_rotation(strip.up)
    truth = points_only(strip.pose_true) @ turn.T
    reach = float(np.nanmax(np.abs(truth), initial=1e-9)) * (1 + MARGIN)
    drawn = []
    for panel in strip.panels:
        pose = points_only(panel.pose) @ turn.T
        both = [(p, row, kind) for row in (0, 1) for p, kind in ((truth, "truth"), (pose, ""))]
        drawn.append((panel, [path for p, row, kind in both for path in _bones(p, skeleton, row, reach, kind)]))
    return draw("strip", strip, encode_image(strip.image)[0], SIDE, drawn)


def _bones(
    pose: Float[np.ndarray, "J 3"], skeleton: Skeleton, row: int, reach: float, kind: str
) -> Iterator[tuple[str, str]]:
    """One view of a pose in display axes, as paths by their kind: from the front in row 0, from the right in row 1."""
    x = SIDE / 2 * (1 + pose[:, row] / reach)
    y = SIDE / 2 * (1 - pose[:, 2] / reach) + row * SIDE
    lines: dict[str, str] = {}
    for a, b, side in bone_sides(skeleton):
        if np.isfinite([x[a], x[b], y[a], y[b]]).all():
            key = kind or side
            lines[key] = lines.get(key, "") + f"M{x[a]:.1f} {y[a]:.1f}L{x[b]:.1f} {y[b]:.1f}"
    yield from lines.items()
