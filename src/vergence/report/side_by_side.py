"""Charts that set methods beside each other: one dot for each seed, and one image through every method.

Drawn as SVG like the curves: sharp, printable, no script. A pose is shown twice, from the camera and from its right,
because a wrong depth cannot be seen from where the image was taken.
"""

from __future__ import annotations

from html import escape

import numpy as np
from jaxtyping import Float

from vergence.report.charts import WIDTH, encode_image, format_number, linear_ticks
from vergence.report.page import Dots, Strip
from vergence.report.viewer import bone_sides, display_rotation, points_only
from vergence.skeleton import Skeleton

ROW, TOP, BOTTOM, LEFT, RIGHT = 24, 6, 40, 190, 14  # px of a chart of dots
SIDE = 150  # px of a drawn pose; two stand above each other
MARGIN = 0.12  # of the person's reach, left empty around a pose


def dots_svg(chart: Dots) -> str:
    """Names down the left, values across."""
    known = {name: [v for v in values if np.isfinite(v)] for name, values in chart.values.items()}
    every = [v for values in known.values() for v in values] or [0.0, 1.0]
    low, high = min(every), max(every)
    pad = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    low, high = low - pad, high + pad
    height = TOP + ROW * len(known) + BOTTOM
    base = height - BOTTOM

    def at(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [f'<path class="axis" d="M{LEFT} {base}H{WIDTH - RIGHT}"/>']
    for tick in linear_ticks(low, high, 6):
        parts.append(f'<path class="grid" d="M{at(tick):.1f} {TOP}V{base}"/>')
        parts.append(
            f'<text class="tick" x="{at(tick):.1f}" y="{base + 16}" text-anchor="middle">{format_number(tick)}</text>'
        )
    for i, (name, values) in enumerate(known.items()):
        y = TOP + ROW * (i + 0.5)
        parts.append(f'<text class="tick" x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        parts += [f'<circle class="dot s{i % 8}" cx="{at(v):.1f}" cy="{y:.1f}" r="5"/>' for v in values]
        if values:
            mean = float(np.mean(values))
            title = f"<title>{escape(name)}: {format_number(mean)}</title>"
            parts.append(f'<path class="mean s{i % 8}" d="M{at(mean):.1f} {y - 9:.1f}v18">{title}</path>')
    parts.append(
        f'<text class="label" x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end">{escape(chart.x_label)}</text>'
    )
    about = escape(f"{chart.title}: {', '.join(known)}", quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{about}">{"".join(parts)}</svg>'


def strip_html(strip: Strip, skeleton: Skeleton) -> str:
    """The image, then each method's pose over the truth."""
    source, _, _ = encode_image(strip.image)
    turn = display_rotation(strip.up)
    truth = points_only(strip.pose_true) @ turn.T
    reach = float(np.nanmax(np.abs(truth), initial=1e-9)) * (1 + MARGIN)
    parts = [f'<figure><img src="{source}" alt="{escape(strip.title, quote=True)}"></figure>']
    for panel in strip.panels:
        pose = points_only(panel.pose) @ turn.T
        drawn = "".join(
            _bones(p, skeleton, columns, row, reach, kind)
            for row, columns in enumerate(((0, 2), (1, 2)))
            for p, kind in ((truth, "truth"), (pose, ""))
        )
        label = escape(f"{panel.name}: {panel.note}", quote=True)
        parts.append(
            f'<figure><svg viewBox="0 0 {SIDE} {2 * SIDE}" role="img" aria-label="{label}">{drawn}</svg>'
            f"<figcaption>{escape(panel.name)}<br>{escape(panel.note)}</figcaption></figure>"
        )
    return f'<div class="beside"><h3>{escape(strip.title)}</h3><div class="row">{"".join(parts)}</div></div>'


def _bones(
    pose: Float[np.ndarray, "J 3"], skeleton: Skeleton, columns: tuple[int, int], row: int, reach: float, kind: str
) -> str:
    """One view of a pose in display axes: `columns` go across and up."""
    x = SIDE / 2 * (1 + pose[:, columns[0]] / reach)
    y = SIDE / 2 * (1 - pose[:, columns[1]] / reach) + row * SIDE
    lines: dict[str, str] = {}
    for a, b, side in bone_sides(skeleton):
        if np.isfinite([x[a], x[b], y[a], y[b]]).all():
            key = kind or side
            lines[key] = lines.get(key, "") + f"M{x[a]:.1f} {y[a]:.1f}L{x[b]:.1f} {y[b]:.1f}"
    return "".join(f'<path class="{key}" d="{path}"/>' for key, path in lines.items())
