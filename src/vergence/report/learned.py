"""The page and the lines of `learn`: what each recording is worth, and the model beside simple answers."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table as ScreenTable

from vergence.learning.learn import Learned
from vergence.learning.measure import PROTOCOL, WAYS
from vergence.lifting.train import LIFTED
from vergence.report.page import Cell, Page, Table, Verdict


def rows_of(learned: Learned) -> list[tuple[str, list[Cell]]]:
    """For each way, N and P of every recording's mean."""
    measured = [one for one in learned.recordings if one.figures is not None]
    rows = []
    for way in WAYS if measured else ():
        cells: list[Cell] = [value for one in measured if one.figures for value in one.figures.mean(way)]
        rows.append((way, cells))
    return rows


def learned_page(learned: Learned) -> Page:
    """The page of a finished `learn`."""
    measured = [one for one in learned.recordings if one.figures is not None]
    columns = ["", *(f"{one.name}, {kind}" for one in measured for kind in ("N-MPJPE", "P-MPJPE"))]
    tables = []
    if measured:
        tables.append(
            Table(
                "Held-out time", columns, [[way, *cells] for way, cells in rows_of(learned)], PROTOCOL, highlight=(0,)
            )
        )
    tables.append(
        Table(
            "Recordings",
            ("", "verdict", "frames", "cameras", "worst rotation, degrees", "why"),
            [
                [
                    one.name,
                    one.reconstruction.verdict,
                    len(one.held_out),
                    len(one.reconstruction.rig.cameras),
                    one.reconstruction.report.predicted_rotation_deg,
                    " ".join(one.reconstruction.reasons),
                ]
                for one in learned.recordings
            ],
            "predicted standard deviation of the worst pair's rotation; each recording's page is in its folder",
        )
    )
    reasons = [reason for one in learned.recordings for reason in one.reconstruction.reasons]
    return Page(
        title=f"Learned: {learned.folder.name}",
        subtitle="A single-camera model from recordings of several cameras, without 3D labels",
        skeleton=LIFTED,
        facts={"model": str(learned.folder / "model"), "use": f"vergence predict {learned.folder / 'model'} VIDEO"},
        tables=tables,
        verdict=Verdict("doubtful" if learned.doubtful else "good", reasons),
    )


def print_learned(learned: Learned, console: Console) -> None:
    """The same on the screen, and the next step."""
    for one in learned.recordings:
        why = f": {escape(' '.join(one.reconstruction.reasons))}" if one.reconstruction.reasons else ""
        console.print(f"{escape(one.name)}: {one.reconstruction.verdict}{why}", highlight=False, soft_wrap=True)
    rows = rows_of(learned)
    if rows:
        table = ScreenTable(title="Held-out time, mm: N-MPJPE / P-MPJPE")
        table.add_column("")
        for one in learned.recordings:
            if one.figures is not None:
                table.add_column(escape(one.name), justify="right")
        for way, cells in rows:
            pairs = zip(cells[::2], cells[1::2])
            table.add_row(way, *(f"{_number(n)} / {_number(p)}" for n, p in pairs))
        console.print(table)
    if learned.model is not None:
        console.print(f"vergence predict {learned.folder / 'model'} VIDEO", highlight=False, soft_wrap=True)
    if learned.image_run is not None:
        console.print(f"vergence predict {learned.image_run} VIDEO --keypoints FILE", highlight=False, soft_wrap=True)


def _number(value: Cell) -> str:
    return f"{value:.1f}" if isinstance(value, float) and math.isfinite(value) else "-"
