"""`vergence data check`: what is this folder, is it valid, which recipe line uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from vergence.datasets.validation.check_dataset import DatasetCheck
    from vergence.report.page import Page


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

    from vergence.datasets.validation.check_dataset import check_dataset
    from vergence.report.render import write_page

    done = check_dataset(options.path, images=options.images, progress=lambda what, *_: print(what, flush=True))
    for part, report in done.read:
        if report:
            print(f"read{''.join(f' {k} {v}' for k, v in part.items())}: {report}")
    print("\n".join(f"{'' if i else 'rig: '}{'  ' * bool(i)}{line}" for i, line in enumerate(done.cameras)))
    out = options.out or Path(f"check-{options.path.resolve().name}.html")
    write_page(out, _page(done))
    _show(done, out)
    return 0 if done.valid else 1


def _page(done: DatasetCheck) -> Page:
    from vergence.report.data_check import check_page

    facts = {
        "folder": str(done.path.resolve()),
        "what it is": done.title,
        "rows": f"{len(done.records):,}, {done.records.skeleton.name}",
        **({"read with": ", ".join(f"{k}: {v}" for k, v in done.checked.items())} if done.checked else {}),
        **{f"the reader says ({i + 1})": report for i, (_, report) in enumerate(done.read) if report},
        **({"rig": "; ".join(done.cameras)} if done.cameras else {}),
        "recipe": "; ".join(done.recipe) or "no source reads this: it is for looking at",
    }
    return check_page(done.records, done.findings, facts, done.opened)


def _show(done: DatasetCheck, out: Path) -> None:
    from rich.console import Console
    from rich.markup import escape

    from vergence.report.installation import COLOURS

    console = Console(soft_wrap=True, highlight=False)
    for finding in done.findings:
        remedy = f" {escape(finding.remedy)}" if finding.remedy and finding.state != "good" else ""
        console.print(
            f"[{COLOURS[finding.state]}]{finding.state:<5}[/] {escape(finding.what)}: {escape(finding.found)}.{remedy}"
        )
    wrong = sum(finding.state == "wrong" for finding in done.findings)
    console.print(f"[bold red]invalid[/]: {wrong} wrong" if wrong else "[green]valid[/]")
    if done.recipe:
        console.print("recipe:\n  sources:")
        for line in done.recipe:
            console.print(f"    {escape(line)}")
    console.print(f"contact sheet: {escape(str(out))}")
