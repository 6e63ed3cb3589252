"""`vergence.reproduce`: a paper's table trained again, ours beside what was published, and whether the two may be compared.

Two figures are comparable where the same thing was measured on the same images of models that were trained alike. What
keeps them from it is said in words beside them: the paper measured something else (`Published.differs`), the row was
trained with other settings than its own, or the test has other images than the paper counts. What cannot be seen from
here is a difference that nobody wrote down.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vergence import __version__
from vergence.comparison.compare import check_seeds
from vergence.comparison.entries import Entry
from vergence.comparison.results import Measured, spread, total_seconds
from vergence.comparison.runner import SoFar, Work, carried_out, each_row, unmeasured
from vergence.errors import VergenceError, refusing
from vergence.folders import held
from vergence.progress import Progress, heard, silent
from vergence.protocols.base import get_protocol
from vergence.recipes.load import recipe_from
from vergence.recipes.paper_tables import Published, Table, data_root, read_table
from vergence.recipes.paper_tables import Row as TableRow
from vergence.training.sources import check_present
from vergence.world.scenes import WORLD_VERSION

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
                    where = f"table {table.name}, row {row.name}: protocol {published.protocol}"
                    remedy = f"It has {', '.join(known)}; a path as left_right.mm.upper_arm leads to others."
                    raise VergenceError(f"{where} has no figure {name!r}", remedy)


def row_results(row: TableRow, measured: Sequence[Measured], overrides: Sequence[str]) -> dict[str, Any]:
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
        "left_out": dict(measured[0].about["results"]["protocol"][name].get("data", {}).get("left_out") or {}),
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


@dataclass(frozen=True)
class Plan:
    """What is to be reproduced.

    Attributes:
        table: whose rows.
        entries: the chosen rows' recipes, on the data that is there.
        overrides: settings that are not the rows' own.
        seeds: how many.
    """

    table: Table
    entries: list[Entry]
    overrides: Sequence[str]
    seeds: int

    @staticmethod
    def of(name: str, only: Sequence[str], overrides: Sequence[str], seeds: int, data: Path) -> Plan:
        """Raises VergenceError for what can be known before: wrong names and keys, datasets that are missing."""
        table = read_table(name)
        if missing := [row for row in only if row not in table.rows]:
            raise VergenceError(
                f"table {table.name} has no row {missing[0]!r}", f"Its rows are {', '.join(table.rows)}."
            )
        check_figures(table)
        rows = [row for row in table.rows.values() if not only or row.name in only]
        entries = [
            Entry(row.name, recipe_from(row.recipe, f"{table.name}/{row.name}", overrides).under(data)) for row in rows
        ]
        return Plan(table, entries, overrides, seeds)


@dataclass(frozen=True)
class Reproduction(SoFar):
    """What has been measured so far, and of what.

    Attributes:
        plan: what is reproduced.
        folder: of this table's runs and of what was measured.
    """

    plan: Plan
    folder: Path

    @cached_property
    def results(self) -> dict[str, Any]:
        """Plain values: `rows` (by protocol the figures, ours beside the published ones, and why they are not comparable)."""
        plan, measured = self.plan, self.measured
        return {
            **({"failed": self.failures} if self.failed else {}),
            "table": plan.table.name,
            "title": plan.table.title,
            "rows": {name: row_results(plan.table.rows[name], each, plan.overrides) for name, each in measured.items()},
            "seeds": sorted({one.seed for each in measured.values() for one in each}),
            "overrides": list(plan.overrides),
            "world_version": WORLD_VERSION,
            "version": __version__,
        }


def reproduce(
    table: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path = "reproduced",
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seeds: int = 1,
    device: str = "auto",
    progress: Progress = silent,
    after: Callable[[Reproduction], None] | None = None,
) -> Reproduction:
    """Trains a table's rows and measures each by the protocols of its published figures. Common parts of rows and
    tables are made once. After a stop the same call continues. A row that fails does not stop the others; it is among the
    result's `failed`.

    Args:
        table: a built-in table's name, or a file.
        data: folder in which the datasets' folders lie.
        out: folder of all tables, each with a folder of its own.
        only: rows to keep.
        overrides: keys of every row's recipe, as on the command line.
        seeds: each row is trained with seeds 0 to `seeds - 1`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: reports each stage's steps.
        after: called with the reproduction so far after each row and seed, before that is kept.

    Raises:
        VergenceError: wrong names and keys, data that is missing or cannot be read.
    """
    check_seeds(seeds)
    table = str(table)
    plan = Plan.of(table, only, overrides, seeds, data_root(table, data))
    out = Path(out)
    work = Work(out / plan.table.name, device, progress, common=out / "shared")
    with held(work.out):
        given = work, plan.entries, lambda entry: range(plan.seeds), lambda entry: entry.recipe
        lacking = unmeasured(*given)
        check_present([entry.recipe for entry in lacking])
        _open_all(lacking, work)
        of = lambda measured, row, failed: Reproduction(measured, row, failed, plan, work.out)
        return carried_out(each_row(*given), plan.entries, of, after)


def _open_all(entries: Sequence[Entry], work: Work) -> None:
    """Opens every dataset of some rows, so that one that cannot be read is known before days of training."""
    for entry in entries:
        recipe = entry.recipe
        for name, source in (*recipe.sources.items(), *recipe.test.items()):
            told = heard(work.progress, f"{entry.name}: {name}")
            with refusing(f"{entry.name}, {name} ({source.path})", "", VergenceError), told:
                work.shared.open(source, recipe.image_size, recipe.skeleton)
