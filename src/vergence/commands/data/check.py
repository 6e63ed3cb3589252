"""`vergence data check`: what is this folder, is it valid, which recipe line uses it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vergence.datasets.validation.check_dataset import DatasetCheck
    from vergence.report.page import Page


def check(path: Path, split: str = "", images: int = 100, out: Path | None = None) -> int:
    """Recognises what lies in a folder, checks it (files, images, 3D against 2D, sides, units, frames, joint order, limbs,
    boxes), writes a contact sheet, and prints the recipe lines that use it.

    Example: vergence data check /datasets/human36m --split S1,S5

    Exit status 0: valid; 1: not; 2: nothing that can be read. Large datasets take minutes.

    Args:
        path: the dataset's top folder, or a COCO keypoint file.

    What is looked at (--split S1 --images 500):
        split (PART): a part of the dataset, as train, val or names of subjects; all that is there where not given.
        images: images that are decoded.
        out (PAGE.html): contact sheet (default: check-NAME.html, here).
    """
    from vergence.datasets.validation.check_dataset import check_dataset
    from vergence.report.bars import bars
    from vergence.report.render import write_page

    said: list[str] = []
    with bars() as progress:

        def tell(what: str, done: int, total: int | None) -> None:
            if said:
                progress(what, done, total)
            else:  # what the folder is, before minutes of reading
                print(what, flush=True)
            said.append(what)

        done = check_dataset(path, images=images, split=split, progress=tell)
    for part, report in done.read:
        if report:
            print(f"read{''.join(f' {k} {v}' for k, v in part.items())}: {report}")
    print("\n".join(f"{'' if i else 'rig: '}{'  ' * bool(i)}{line}" for i, line in enumerate(done.cameras)))
    page = out or Path(f"check-{path.resolve().name}.html")
    write_page(page, _page(done))
    _show(done, page)
    return 0 if done.valid else 1


check.writes_file = True  # type: ignore[attr-defined]
check.takes = "mostly 5 to 60 s, minutes for large datasets"  # type: ignore[attr-defined]


def _page(done: DatasetCheck) -> Page:
    from vergence.report.data_check import check_page

    facts = {
        "folder": str(done.path.resolve()),
        "what it is": done.title,
        "rows": f"{len(done.records):,}, {done.records.skeleton.name}",
        **({"read with": ", ".join(f"{k}: {v}" for k, v in done.checked.items())} if done.checked else {}),
        **{f"the reader says ({i + 1})": report for i, (_, report) in enumerate(done.read) if report},
        **({"rig": "; ".join(done.cameras)} if done.cameras else {}),
        "recipe": "; ".join(done.recipe) or "no source reads this data",
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
