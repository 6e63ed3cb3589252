"""Is a dataset what it says it is? Pure functions on `Records` that answer in words; no model, no training.

A dataset with a wrong unit, axis, joint order or camera does not stop a training: it makes it bad, and nothing says why.
But such a fault leaves a trace. Bodies have lengths (`arrays`); a 3D joint projects onto its 2D joint, knees
bend forward, one moment seen by two cameras is one body (`geometry`); an image can be opened and has the size
that its labels are for. Each finding states its number and limit, and what would explain a fault: metres, the world's
frame, a mirror, another joint order.

What they cannot see: a fault that 2D and 3D share and that leaves a possible body, such as subjects scaled by 1.2 or
images of another recording. The contact sheet of `vergence data check` shows those to the eye.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np
from numpy import ndarray

from vergence.datasets.records import ImageReader, OpenFiles, Records
from vergence.datasets.validation import arrays, geometry
from vergence.datasets.validation.finding import Finding, is_valid, percent
from vergence.errors import VergenceError
from vergence.progress import followed, hearing


def check_records(records: Records) -> list[Finding]:
    """Everything that arrays alone can tell, in the order in which a reader should mend it.

    Cross-camera agreement is checked only where reprojection passed: one fault, one finding.
    """
    if not len(records):
        return [Finding("rows", "wrong", "no image of anybody", "Look at the path and at what the reader skipped.")]
    found = [finding for check in arrays.CHECKS for finding in check(records)]
    placed = geometry.check_reprojection(records)
    found += placed + geometry.check_knees(records)
    return found + (geometry.check_agreement(records) if is_valid(placed) else [])


def check_images(records: Records, most: int = 100, opened: ImageReader | None = None) -> list[Finding]:
    """Every file is there; `most` images, spread over the dataset, can be decoded and have the size their labels say.

    Videos are only opened for images that are decoded: opening all of a large dataset takes minutes.
    """
    files = Counter(image.path for image in records.images)
    missing = [path for path in files if not path.exists()]
    out = []
    if missing:
        lost = sum(files[path] for path in missing)
        out.append(Finding("files", "wrong", f"{len(missing):,} of {len(files):,} are missing, with {lost:,} of "
                           f"{len(records):,} rows (limit 0); the first is {missing[0]}",
                           "Complete the download, or leave these parts out."))  # fmt: skip
    gone = set(missing)
    rows = np.array([i for i, image in enumerate(records.images) if image.path not in gone], dtype=int)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)] if len(rows) else rows
    damaged, other = _decode(records, rows, opened or OpenFiles())
    for faults, words, remedy in (
        (damaged, "cannot be decoded", "Download or export these files again, or leave them out."),
        (other, "have another size than their labels are for", "Use the images that the labels were made on."),
    ):
        if faults:
            out.append(Finding("images", "wrong", f"{len(faults)} of {len(rows)} that were opened {words} (limit 0); the "
                               f"first: {faults[0]}", remedy))  # fmt: skip
    if not out:
        share = "all" if len(rows) == len(records) else percent(len(rows) / len(records))
        words = f"{len(files):,} files are there; {len(rows)} images ({share}) were opened"
        out.append(Finding("images", "good", words))
    return out


def _decode(records: Records, rows: ndarray, opened: ImageReader) -> tuple[list[str], list[str]]:
    """What went wrong with some rows' images: damaged ones, and ones of another size."""
    damaged, other = [], []
    order = sorted(rows.tolist(), key=lambda i: (str(records.images[i].path), records.images[i].frame or 0))
    once = lru_cache(1)(opened.read)
    for row in followed(order, "images decoded", len(order), hearing()):
        image = records.images[row]
        try:
            height, width = once(image).shape[:2]
        except VergenceError as error:
            damaged.append(error.problem)
            continue
        if (width, height) != tuple(records.size[row]):
            stated = "x".join(f"{value:g}" for value in records.size[row])
            other.append(f"{image.path} is {width}x{height}, not {stated}")
    return damaged, other
