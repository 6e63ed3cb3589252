"""`vergence data check`: what is this folder, is it valid, which recipe line uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from vergence.datasets.records import Records
    from vergence.datasets.validation.checks import Finding
    from vergence.datasets.validation.detect_format import Kind

COLOURS = {"good": "green", "note": "yellow", "wrong": "bold red"}


def check(words: Sequence[str]) -> int:
    """`vergence data check PATH [--out PAGE.html] [--images 100]`; exit status 1 where something is wrong."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(
        prog="vergence data check",
        description="Recognises what lies in a folder, checks it (files, images, 3D against 2D, sides, units, frames, joint "
        "order, limbs, boxes), writes a contact sheet, and prints the recipe lines that use it. Exit status 0: valid; 1: "
        "not; 2: nothing that can be read.",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="the dataset's top folder")
    parser.add_argument("--out", type=Path, metavar="PAGE.html", help="contact sheet (default: check-NAME.html, here)")
    parser.add_argument("--images", type=int, default=100, help="images that are decoded (default: 100)")
    options = parser.parse_args(list(words))

    from vergence.datasets.validation.checks import Finding, check_images, check_records, is_sound
    from vergence.datasets.validation.detect_format import (
        joined,
        pixels_of,
        read_kind,
        recipe_line,
        recognise,
    )
    from vergence.errors import VergenceError

    if options.images < 1:
        raise VergenceError(f"--images is {options.images}", "Give at least 1.")
    path = options.path
    kind = recognise(path)
    print(f"{path} is {kind.title}", flush=True)
    parts, refused = read_kind(kind, path)
    for part, found in parts:
        if report := _words(found.report):
            print(f"read{''.join(f' {k} {v}' for k, v in part.items())}: {report}")
    records = joined([found for _, found in parts])
    opened = pixels_of(kind, path) if len(records) else None
    findings = check_records(records) + (check_images(records, options.images, opened) if opened else [])
    findings += [
        Finding(_words(dict(part)), "note", f"not read: {error.problem}", error.remedy) for part, error in refused
    ]
    lines = [recipe_line(kind, path, part, found) for part, found in parts] if kind.name else []
    out = options.out or Path(f"check-{path.resolve().name}.html")
    _page(out, path, kind, records, [found.report for _, found in parts], findings, lines, opened)
    _show(findings, out, lines)
    return 0 if is_sound(findings) else 1


def _page(
    out: Path,
    path: Path,
    kind: Kind,
    records: Records,
    reports: list[Any],
    findings: list[Finding],
    lines: list[str],
    opened: Any,
) -> None:
    from vergence.report.data_check import check_page
    from vergence.report.render import write_page

    facts = {
        "folder": str(path.resolve()),
        "what it is": kind.title,
        "rows": f"{len(records):,}, {records.skeleton.name}",
        **({"read with": ", ".join(f"{k}: {v}" for k, v in kind.checked.items())} if kind.checked else {}),
        **{f"the reader says ({i + 1})": _words(report) for i, report in enumerate(reports) if report},
        "recipe": "; ".join(lines) or "no source reads this: it is for looking at",
    }
    write_page(out, check_page(records, findings, facts, opened))


def _words(report: Any) -> str:
    """A reader's report in one line."""
    if isinstance(report, dict):
        return ", ".join(f"{key}: {_words(value)}" for key, value in report.items() if value not in ({}, [], None))
    if isinstance(report, list | tuple):
        return " / ".join(map(_words, report))
    return str(report)


def _show(findings: list[Finding], out: Path, lines: list[str]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        remedy = f" {escape(finding.remedy)}" if finding.remedy and finding.state != "good" else ""
        console.print(
            f"[{COLOURS[finding.state]}]{finding.state:<5}[/] {escape(finding.what)}: {escape(finding.found)}.{remedy}"
        )
    wrong = sum(finding.state == "wrong" for finding in findings)
    console.print(f"[bold red]invalid[/]: {wrong} wrong" if wrong else "[green]valid[/]")
    if lines:
        console.print("recipe:\n  sources:")
        for line in lines:
            console.print(f"    {escape(line)}")
    console.print(f"contact sheet: {escape(str(out))}")
