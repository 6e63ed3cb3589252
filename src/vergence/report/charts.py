"""Images as data URIs and curves as SVG: what a page can hold without loading anything.

Curves are drawn here rather than in the browser, so that they are sharp at any size, print, and need no script; one
only adds the reading under the pointer. An image is made smaller before it is embedded, which moves the keypoints:
`encode_image` returns the factor, and `rescale_keypoints` applies it with the centre of the top-left pixel at (0, 0).
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vergence.report.page import Curve

LONGEST_SIDE_PX = 720  # an image fills at most half a laptop's screen
PNG_BELOW_PX = 160  # small crops: JPEG's blocks would show, and PNG costs nothing
JPEG_QUALITY = 85
FEW_TICKS = 8  # values of a log x axis that are marked themselves
CURVE_POINTS = 700  # more than a chart has pixels to show them
WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 44


def encode_image(
    pixels: UInt8[np.ndarray, "H W 3"], longest: int = LONGEST_SIDE_PX
) -> tuple[str, tuple[int, int], tuple[float, float]]:
    """An image as a data URI, its width and height there, and the factors by which x and y were scaled."""
    height, width = pixels.shape[:2]
    factor = min(1.0, longest / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if size != (width, height):
        image = image.resize(size, Image.Resampling.LANCZOS)
    kind = "png" if max(size) <= PNG_BELOW_PX else "jpeg"
    buffer = io.BytesIO()
    options = {"optimize": True} if kind == "png" else {"quality": JPEG_QUALITY, "optimize": True}
    image.save(buffer, kind, **options)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{data}", size, (size[0] / width, size[1] / height)


def rescale_keypoints(keypoints: Float[np.ndarray, "J 2"], scale: tuple[float, float]) -> Float[np.ndarray, "J 2"]:
    """Keypoints of an image in the pixels of the same image resized by `scale`."""
    return (np.asarray(keypoints, dtype=float) + 0.5) * np.asarray(scale) - 0.5


def format_number(value: float) -> str:
    """Three significant digits or whole units, thousands set apart: 0.0123, 1.23, 12.3, 123, 12,345."""
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    if not np.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 99.95 or value == 0:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.995 else f"{value:.3g}"


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


def thin(x: np.ndarray, y: np.ndarray, limit: int = CURVE_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most about `limit` points that keep each stretch's least and greatest, so that no spike is hidden."""
    if len(x) <= limit:
        return x, y
    keep = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), limit // 2):
        finite = part[np.isfinite(y[part])]
        chosen = [finite[np.argmin(y[finite])], finite[np.argmax(y[finite])]] if len(finite) else [part[0]]
        keep.update(int(i) for i in chosen)
    index = np.array(sorted(keep))
    return x[index], y[index]


def _range(values: np.ndarray, log: bool) -> tuple[float, float]:
    """A range with some air around finite values; a single value gets a range too."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 10.0)
    if log:
        return low / 1.15, high * 1.15 if high > low else high * 2
    pad = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
    return (0.0 if 0 <= low <= 0.3 * high else low - pad), high + pad


def _tick_label(value: float) -> str:
    if abs(value) >= 100_000:
        text = f"{value / 1000:,.0f}k"
    else:
        text = f"{value:,.10g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.0e}"
    return text.replace("-", "−")


def _axes(curve: Curve, x_ticks: Sequence[tuple[float, float]], y_ticks: Sequence[tuple[float, float]]) -> str:
    """Grid, tick labels and axis titles; a tick is (value, position in the SVG)."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>']
    for value, at in y_ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{right}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{at + 3.5:.1f}" text-anchor="end">{_tick_label(value)}</text>'
        )
    for value, at in x_ticks:
        parts.append(f'<path class="axis" d="M{at:.1f} {bottom}v4"/>')
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{_tick_label(value)}</text>'
        )
    parts.append(f'<text class="label" x="{right}" y="{HEIGHT - 8}" text-anchor="end">{escape(curve.x_label)}</text>')
    y_label = escape(curve.y_label + (" (log scale)" if curve.log_y else ""))
    middle = (TOP + bottom) / 2
    parts.append(
        f'<text class="label" transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">{y_label}</text>'
    )
    return "".join(parts)


def _polyline(x: np.ndarray, y: np.ndarray) -> str:
    """An SVG path that lifts the pen where y is NaN; a lone point becomes a dot."""
    path, pen = [], False
    for i, (px, py) in enumerate(zip(x, y)):
        if not np.isfinite(py):
            pen = False
            continue
        path.append(f"{'L' if pen else 'M'}{px:.1f} {py:.1f}")
        if not pen and (i + 1 == len(y) or not np.isfinite(y[i + 1])):
            path.append("h.01")
        pen = True
    return "".join(path)


def curve_svg(curve: Curve) -> str:
    """A chart as inline SVG. Values that a log scale cannot show (0 and below) break the line, as NaN does."""
    series = {}
    for name, (x, y) in curve.series.items():
        xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float).copy()
        ys[~np.isfinite(ys) | ((ys <= 0) if curve.log_y else False)] = np.nan
        series[name] = thin(xs, ys)
    x_all = np.concatenate([x[np.isfinite(x) & np.isfinite(y)] for x, y in series.values()] or [np.zeros(0)])
    y_all = np.concatenate([y[np.isfinite(x) & np.isfinite(y)] for x, y in series.values()] or [np.zeros(0)])
    x_low, x_high = (float(x_all.min()), float(x_all.max())) if len(x_all) else (1.0, 2.0)
    x_high = x_high if x_high > x_low else x_low + 1.0
    ends = [np.asarray(side, dtype=float) for pair in curve.spread.values() for side in pair]
    y_all = np.concatenate([y_all, *(side[np.isfinite(side)] for side in ends)])
    low, high = _range(y_all, curve.log_y)
    warp_x, warp = (np.log10 if log else np.asarray for log in (curve.log_x, curve.log_y))

    def at_x(x: np.ndarray | float) -> np.ndarray:
        share = (warp_x(x) - warp_x(x_low)) / (warp_x(x_high) - warp_x(x_low))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def at_y(y: np.ndarray | float) -> np.ndarray:
        share = (warp(y) - warp(low)) / (warp(high) - warp(low))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    ticks = linear_ticks(x_low, x_high, 6) if not curve.log_x else sorted(set(x_all.tolist()))
    if curve.log_x and len(ticks) > FEW_TICKS:
        ticks = log_ticks(x_low, x_high)
    x_ticks = [(t, float(at_x(t))) for t in ticks]
    y_ticks = [(t, float(at_y(t))) for t in (log_ticks(low, high) if curve.log_y else linear_ticks(low, high, 5))]
    lines, data = [], []
    for i, (name, (x, y)) in enumerate(series.items()):
        lines.append(f'<path class="line s{i % 8}" d="{_polyline(at_x(x), at_y(y))}"/>')
        if name in curve.spread:
            bars = zip(curve.series[name][0], *curve.spread[name], strict=True)
            path = "".join(f"M{at_x(a):.1f} {at_y(b):.1f}V{at_y(c):.1f}" for a, b, c in bars if np.isfinite(b + c))
            lines.append(f'<path class="line s{i % 8}" d="{path}"/>')
        points = [[round(float(at_x(a)), 1), round(float(at_y(b)), 1), format_number(float(a)), format_number(float(b))]
                  for a, b in zip(x, y) if np.isfinite(a) and np.isfinite(b)]  # fmt: skip
        data.append({"name": name, "points": points})
    about = escape(
        f"{curve.title}: {curve.y_label} against {curve.x_label}; {', '.join(curve.series) or 'no data'}", quote=True
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{about}" '
        f'data-series="{escape(json.dumps(data, ensure_ascii=False), quote=True)}">'
        f'{_axes(curve, x_ticks, y_ticks)}{"".join(lines)}<g class="reading"></g></svg>'
    )
