"""The page of a paper's table trained again: one table for each protocol, ours beside theirs, and below it what keeps them
apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vergence.evaluation.measure import protocol_words
from vergence.report.comparison import failed_tables, value_text
from vergence.report.page import Cell, Page, Table
from vergence.skeleton import Skeleton

NOT_COMPARABLE = "*"


def published_tables(results: Mapping[str, Any]) -> list[Table]:
    """One for each protocol that rows were measured by."""
    rows = results["rows"]
    names = dict.fromkeys(name for row in rows.values() for name in row["protocols"])
    return [_table({row: about for row, about in rows.items() if name in about["protocols"]}, name) for name in names]


def _table(rows: Mapping[str, Any], protocol: str) -> Table:
    found = {name: about["protocols"][protocol] for name, about in rows.items()}
    keys = list(dict.fromkeys(key for one in found.values() for key in one["figures"]))
    told = [key for key in keys if any(_theirs(one, key) is not None for one in found.values())]
    columns = ["row"]
    for key in keys:
        heading = next(one["figures"][key]["heading"] for one in found.values() if key in one["figures"])
        columns += [heading, "published", "difference"] if key in told else [heading]
    out: list[list[Cell]] = []
    for name, one in found.items():
        mark = "" if one["comparable"] else NOT_COMPARABLE
        cells: list[Cell] = [name]
        for key in keys:
            figure = one["figures"].get(key)
            cells.append(value_text(figure["ours"]) if figure else None)
            if key in told:
                theirs, apart = _theirs(one, key), figure["difference"] if figure else None
                cells += [value_text({"mean": theirs, "std": None}), None if apart is None else f"{apart:+z.1f}{mark}"]
        out.append([*cells, f"{rows[name]['labels_3d']:,}", f"{one['poses']:,}"])
    how = protocol_words(next(iter(found.values()))["measured"])
    return Table(protocol, [*columns, "3D labels", "poses"], out, how, " ".join(_notes(found)))


def _theirs(one: Mapping[str, Any], key: str) -> float | None:
    return (one["figures"].get(key) or {}).get("published")


def _notes(found: Mapping[str, Any]) -> list[str]:
    """Where the published figures were read, what was left out, and why rows are not comparable; each said once."""
    notes: dict[str, list[str]] = {}
    for name, one in found.items():
        if one["source"]:
            notes.setdefault(f"Published: {one['source']}.", []).append(name)
        for what, count in one["left_out"].items():
            notes.setdefault(f"Left out of the test data, {what.replace('_', ' ')}: {count}.", []).append(name)
        for reason in one["not_comparable"]:
            notes.setdefault(f"{NOT_COMPARABLE} Not comparable: {reason}", []).append(name)
        if not any(_theirs(one, key) is not None for key in one["figures"]):
            notes.setdefault("No published figure could be read; only ours is shown.", []).append(name)
    return [text if len(names) == len(found) else f"{', '.join(names)}: {text}" for text, names in notes.items()]


def published_page(results: Mapping[str, Any], skeleton: Skeleton) -> Page:
    """The page: the tables and what was run."""
    facts = {"command": results["command"], "version": f"vergence {results['version']}"}
    return Page(
        title=results["title"],
        subtitle="Reproduced: our figures beside the published ones",
        skeleton=skeleton,
        facts={**facts, "seeds": ", ".join(map(str, results["seeds"])), "table": results["table"]},
        tables=[*published_tables(results), *failed_tables(results)],
        sections=("results", "run"),
    )
