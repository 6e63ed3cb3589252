"""Tables on a terminal of 80 columns."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from vergence.commands.console import tables
from vergence.commands.console.rows import line
from vergence.comparison.results import Measured
from vergence.metrics.retrieval import Retrieval
from vergence.report.page import Table as PageTable
from vergence.report.run_page import retrieval_rows

FOUND = Retrieval({1: 51.2, 5: 80.0, 10: 90.1}, {1: 60.0}, {1: 40.0, 5: 45.0, 10: 50.0}, 88.0, 100, 50.0)


def results(*descriptors: str) -> dict:
    both = {"n_mpjpe": 100.0, "p_mpjpe": 80.0}
    retrieved = {name: {"same": FOUND, "all": FOUND} for name in (*descriptors, "oracle", "random")}
    return {"tests": {"studio": {"model": both, "retrieval": retrieved}}, "labels": {}, "protocol": {}}


@pytest.fixture
def shown(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(tables, "Console", lambda: Console(file=text, width=80))
    return text


def test_the_retrieval_table_is_for_models_with_an_embedding_and_can_be_read(shown):
    tables.show(
        SimpleNamespace(results=results("embedding", "predicted_pose"), recipe=None),
        Path("run"),
        Path("run/report.html"),
    )  # type: ignore[arg-type]
    table = shown.getvalue().split("Cross-view retrieval")[1]
    row = next(line for line in table.splitlines() if "studio: embedding, same" in line)
    assert row.split()[-4:] == ["51.2", "90.1", "40.0", "88.0"]
    assert all(len(line) <= 80 for line in shown.getvalue().splitlines())


def test_other_runs_have_no_retrieval_table(shown):
    tables.show(SimpleNamespace(results=results("predicted_pose"), recipe=None), Path("run"), Path("run/report.html"))  # type: ignore[arg-type]
    assert "retrieval" not in shown.getvalue()
    assert "next: vergence predict run VIDEO" in shown.getvalue()
    assert retrieval_rows(results("predicted_pose")["tests"]) == []


def test_long_names_are_folded_and_no_figure_or_heading_is_cut():
    name = "multiview_consistency_with_people_added"
    columns = ["", "3D labels", "N-MPJPE mm", "P-MPJPE mm", "2D px", "Det@1 %", "seconds"]
    page = PageTable("t", columns, [[name, 800, 210.7, 161.9, 2.49, 22.7, 41.1]], "how")
    tables.show_page_table(page, Console(file=(text := io.StringIO()), width=80))
    shown = text.getvalue()
    assert "…" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    rows = [line.split() for line in shown.splitlines()]
    assert next(row for row in rows if "800" in row)[-6:] == ["800", "211", "162", "2.49", "22.7", "41.1"]
    assert [word for row in rows for word in row if word.endswith("MPJPE")] == ["N-MPJPE", "P-MPJPE"]


def test_names_are_shown_as_they_are_written():
    """Recipes, joints, recordings: what looks like rich's markup is neither taken away nor an error."""
    name = "run [/bold] [red]one"
    page = PageTable(name, ["", name], [[name, "68.1 [66.0, 70.2]"]], name)
    protocol = {"protocol": {"name": name, "units": {"a": "mm"}}, "average": {"a": 1.0}, "poses": 3}
    found = {"a": 1.0, "poses": 3.0}
    text = io.StringIO()
    console = Console(file=text, width=400)
    tables.show_page_table(page, console)
    assert " ".join(text.getvalue().split()).count(name) == 4
    assert "68.1 [66.0, 70.2]" in text.getvalue()
    with suppress(KeyError):  # how it was measured is another's, and comes last
        tables.show_protocol(name, {**protocol, "tables": {"action": {name: found}}}, console)
    assert " ".join(text.getvalue().split()).count(name) == 7
    look = {name: {"model": {"n_mpjpe": 60.0}}}
    console.print(line(Measured(name, 0, {"results": {"tests": look}, "seconds": {}}, {})))
    assert " ".join(text.getvalue().split()).count(name) == 9
