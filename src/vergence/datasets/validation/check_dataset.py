"""`vergence.check_dataset`: what is this folder, is it valid, which recipe line uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vergence.datasets.records import ImageReader, OpenFiles, Records
from vergence.datasets.validation.checks import check_images, check_records
from vergence.datasets.validation.detect_format import joined, read_kind, recipe_line, recognise
from vergence.datasets.validation.finding import Finding, is_valid
from vergence.datasets.validation.readers import CAMERAS
from vergence.errors import VergenceError
from vergence.plugins import imported
from vergence.progress import Progress, heard, silent


@dataclass(frozen=True)
class DatasetCheck:
    """What `check_dataset` found.

    Attributes:
        path: the folder.
        title: what lies in it, for people.
        read: settings of each part that was read (a split), with what its reader says in one line.
        checked: settings that thin a large dataset out for the check, as a step.
        records: all rows that were checked.
        opened: opens their images; None where there are no rows.
        findings: good ones, notes and wrong ones, in the order in which a reader should mend them.
        recipe: the entries of a recipe's `sources:` that read this folder; none where no source does.
        cameras: what was understood of the rig, in lines; none where nobody says where cameras are.
    """

    path: Path
    title: str
    read: tuple[tuple[Mapping[str, Any], str], ...]
    checked: Mapping[str, Any]
    records: Records
    opened: ImageReader | None
    findings: tuple[Finding, ...]
    recipe: tuple[str, ...]
    cameras: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Nothing is wrong; notes do not count."""
        return is_valid(self.findings)


def check_dataset(path: Path | str, *, images: int = 100, split: str = "", progress: Progress = silent) -> DatasetCheck:
    """Detects the format of a folder and checks files, images, 3D against 2D, units, frames, joint order, limbs, boxes.

    Args:
        path: the dataset's top folder, in any layout that `detect_format.KINDS` lists, or a JSON file in COCO's form.
        images: how many are decoded, spread over the dataset.
        split: the part that is checked, as the dataset's reader names it (`train`, `S1,S5`); empty: everything.
        progress: reports what was recognised, before the reading, which can take minutes.

    Raises:
        VergenceError: no such folder, no known format, or nothing in it that can be read.
    """
    path = Path(path)
    if images < 1:
        raise VergenceError(f"images is {images}", "Give at least 1.")
    kind = recognise(path)
    progress(f"{path} is {kind.title}", 0, None)
    with heard(progress, "reading it"):
        parts, refused = read_kind(kind, path, split)
        records = joined([found for _, found in parts])
    opened = (imported(kind.pixels)(path) if kind.pixels else OpenFiles()) if len(records) else None
    with heard(progress, "checking it"):
        findings = check_records(records) + (check_images(records, images, opened) if opened else [])
    findings += [Finding(_words(dict(part)), "note", f"not read: {e.problem}", e.remedy) for part, e in refused]
    return DatasetCheck(
        path,
        kind.title,
        tuple((part, _words(found.report)) for part, found in parts),
        kind.checked,
        records,
        opened,
        tuple(findings),
        tuple(recipe_line(kind, path, part, found) for part, found in parts) if kind.name else (),
        tuple(line for _, found in parts for line in found.report.get(CAMERAS, ())),
    )


def _words(report: Any) -> str:
    """A reader's report in one line."""
    if isinstance(report, dict):
        said = {key: value for key, value in report.items() if value not in ({}, [], None) and key != CAMERAS}
        return ", ".join(f"{key}: {_words(value)}" for key, value in said.items())
    if isinstance(report, list | tuple):
        return " / ".join(map(_words, report))
    return str(report)
