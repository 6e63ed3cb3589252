"""A table of a paper trained again: ours beside theirs, and whether the two may be compared at all.

Two figures are comparable where the same thing was measured on the same images of models that were trained alike. What
keeps them from it is said in words beside them: the paper measured something else (`Published.differs`), the row was
trained with other settings than its own, or the test has other images than the paper counts. What cannot be seen from
here is a difference that nobody wrote down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vergence.comparison.results import Measured, spread, total_seconds
from vergence.errors import VergenceError
from vergence.protocols.base import get_protocol
from vergence.recipes.paper_tables import Published, Row, Table

IMAGES_TOLERANCE = 0.05  # by how much, as a share, our test's images may be more or fewer than the paper's
HARMLESS = re.compile(r"--(checkpoint_every=.*|(sources|test)\.[^.]+\.(path=.*|kind=shards))")  # change no result


def figure_key(name: str) -> str:
    """A protocol's figure as tables call it: `p_mpjpe` of `P-MPJPE`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def check_figures(table: Table) -> None:
    """Refuses a table with an unknown protocol or metric, before anything is trained.

    Raises:
        VergenceError: names the row and the figure.
    """
    for row in table.rows.values():
        for published in row.published:
            known = {figure_key(figure.name): figure for figure in get_protocol(published.protocol).figures}
            for name in published.figures:
                if "." not in name and name not in known:
                    raise VergenceError(
                        f"table {table.name}, row {row.name}: protocol {published.protocol} has no figure {name!r}",
                        f"It has {', '.join(known)}; a path as left_right.mm.upper_arm leads to others.",
                    )


def row_results(row: Row, measured: Sequence[Measured], overrides: Sequence[str]) -> dict[str, Any]:
    """One row over its seeds: by protocol the figures, ours beside the published ones, and what is to be known of them."""
    first = measured[0].about
    return {
        "protocols": {p.protocol: _beside(p, measured, overrides) for p in row.published},
        "labels_3d": first["labels_3d"],
        "people_3d": first["people_3d"],
        "parameters": measured[0].tests[row.published[0].protocol]["parameters"]["all"],
        "seconds": spread(total_seconds(one.about["seconds"]) for one in measured),
        "seeds": [one.seed for one in measured],
    }


def _beside(published: Published, measured: Sequence[Measured], overrides: Sequence[str]) -> dict[str, Any]:
    name = published.protocol
    each = [_ours(published, one) for one in measured]
    headings = {figure_key(f.name): f"{f.name} {f.unit}" for f in get_protocol(name).figures}
    figures: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in each for key in one):
        ours, theirs = spread(one.get(key) for one in each), published.figures.get(key)
        both = ours["mean"] is not None and theirs is not None
        figures[key] = {
            "heading": headings.get(key, key.replace(".", ", ").replace("_", " ")),
            "ours": ours,
            "seeds": {str(m.seed): one.get(key) for m, one in zip(measured, each, strict=True)},
            "published": theirs,
            "difference": ours["mean"] - theirs if both else None,  # type: ignore[operator]
        }
    about = measured[0].about["results"]["protocols"][name]
    reasons = not_comparable(published, about["poses"], overrides)
    return {
        "figures": figures,
        "comparable": not reasons,
        "not_comparable": reasons,
        "source": published.source,
        "poses": about["poses"],
        "left_out": _left_out(measured[0], name),
        "measured": {key: value for key, value in about.items() if key not in ("average", "tables")},
    }


def _ours(published: Published, measured: Measured) -> dict[str, float | None]:
    """All figures of the protocol, None where one was left out, and those that the table asks for by their path: of the
    protocol's own tables (`scene.outdoor.PCK`), or of the test's results."""
    name = published.protocol
    average = measured.about["results"]["protocols"][name]["average"]
    out = {figure_key(f.name): average.get(f.name) for f in get_protocol(name).figures}
    for key in published.figures:
        if "." in key:
            tables = measured.about["results"]["protocols"][name].get("tables", {})
            out[key] = _at({**tables, **measured.tests.get(name, {})}, key)
    return out


def _at(value: Any, path: str) -> float | None:
    """A figure of a test's results by its path; None where this method has none."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def not_comparable(published: Published, poses: int, overrides: Sequence[str]) -> list[str]:
    """Why ours and the published figures are not comparable, in sentences; none where they are."""
    reasons = [published.differs] if published.differs else []
    if changed := [word for word in overrides if not HARMLESS.fullmatch(word)]:
        reasons.append(f"The row was trained with other settings than its own: {' '.join(changed)}.")
    if published.images and abs(poses / published.images - 1) > IMAGES_TOLERANCE:
        reasons.append(f"{poses:,} images are measured here, the paper's test has about {published.images:,}.")
    return reasons


def _left_out(measured: Measured, protocol: str) -> dict[str, Any]:
    """What the test's reader left out, and how much of it."""
    return dict(measured.about["results"]["protocol"][protocol].get("data", {}).get("left_out") or {})
