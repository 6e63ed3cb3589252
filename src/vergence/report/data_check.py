"""The page of a dataset's check: its findings, and images with their labels, since some faults only an eye can see.

Each cut-out shows the 2D labels and, where there is 3D, its projection: two skeletons that lie on each other, or do not.
Most images are spread over the dataset; those whose 3D misses its 2D most are shown beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from vergence.batches.crops import warp
from vergence.datasets.records import ImageReader, Records, crop_index, record_crops
from vergence.datasets.validation.finding import Finding, is_valid
from vergence.datasets.validation.reprojection import reprojection_by_camera, reprojection_errors, row_median
from vergence.errors import VergenceError
from vergence.geometry.camera import project
from vergence.report.page import Cell, Page, Sample, Table, Verdict
from vergence.report.run_page import image_and_up

SPREAD, WORST = 12, 4
CROP_PX = 256
MOST_MEASURED = 5000  # rows among which the worst are sought
PROTOCOL = "distance in px of the full image from the projected 3D joint to its 2D label, lens included"


def check_page(
    records: Records, findings: Sequence[Finding], facts: Mapping[str, str], opened: ImageReader | None
) -> Page:
    """A check as a page.

    Args:
        records: what was checked.
        findings: the answers.
        facts: what was read, and how.
        opened: opens the images; None where there are none.
    """
    wrong = [finding for finding in findings if finding.state == "wrong"]
    reasons = [f"{finding.what}: {finding.found}. {finding.remedy}" for finding in wrong]
    samples = _samples(records, opened) if opened is not None else []
    return Page(
        title="Vergence: data check",
        subtitle=facts.get("what it is", ""),
        skeleton=records.skeleton,
        facts=facts,
        verdict=Verdict("good" if is_valid(findings) else "refused", reasons or ("Nothing was found wrong.",)),
        tables=[_findings(findings, len(records)), *_cameras(records)],
        samples=samples,
        samples_protocol=f"median over joints of the {PROTOCOL}",
        labels=("projected 3D", "2D label"),
        sections=("results", "samples", "run"),
    )


def _findings(findings: Sequence[Finding], rows: int) -> Table:
    advised = any(f.remedy for f in findings)
    columns = ["what", "state", "found", *["what to do"] * advised]
    cells: list[list[Cell]] = [[f.what, f.state, f.found, *[f.remedy] * advised] for f in findings]
    return Table("Findings", columns, cells, f"{rows:,} rows; each limit stands beside "
                 "its number", highlight=[i for i, f in enumerate(findings) if f.state == "wrong"], words=True)  # fmt: skip


def _cameras(records: Records) -> list[Table]:
    found = reprojection_by_camera(records) if len(records) else {}
    rows: list[list[Cell]] = [
        [name, count, f"{middle:.3g}", f"{high:.3g}"] for name, (middle, high, count) in found.items()
    ]
    columns = ["camera", "rows", "median px", "95th percentile px"]
    return [Table("Reprojection by camera", columns, rows, PROTOCOL)] if rows else []


def _samples(records: Records, opened: ImageReader) -> list[Sample]:
    rows = np.linspace(0, len(records) - 1, min(len(records), MOST_MEASURED)).astype(int)
    error = row_median(reprojection_errors(records[rows])) if len(rows) else np.empty(0)
    order = np.argsort(-np.where(np.isnan(error), -np.inf, error), kind="stable")
    worst = [int(rows[i]) for i in order[:WORST] if error[i] > 0]
    spread = [int(row) for row in np.linspace(0, len(records) - 1, min(len(records), SPREAD)).astype(int)]
    chosen = [("spread over the dataset", row) for row in dict.fromkeys(spread)]
    chosen += [("3D farthest from 2D", row) for row in worst]
    return [sample for group, row in chosen if (sample := _sample(records, row, group, opened)) is not None]


def _sample(records: Records, row: int, group: str, opened: ImageReader) -> Sample | None:
    """One row's cut-out; None where its image or box is damaged, which is a finding already."""
    part = records[[row]]
    try:
        image = opened.read(part.images[0])
        shown = replace(part, size=np.array([image.shape[1::-1]]))
        view = crop_index(shown, CROP_PX)
        pixels = warp(image, record_crops(shown, CROP_PX)[0])
        view = view.replace(image=torch.from_numpy(pixels).permute(2, 0, 1)[None])
    except VergenceError:
        return None
    pose = view.pose[0]
    projected = project(pose, view.intrinsics[0]).numpy() if pose.isfinite().any() else None
    error = float(row_median(reprojection_errors(part))[0])
    place = part.images[0]
    names = ", ".join(f"{name} {values[0]}" for name, values in part.groups.items())
    return Sample(
        title=f"{place.path.name}" + (f" frame {place.frame}" if place.frame is not None else ""),
        group=group,
        keypoints=projected,
        keypoints_true=view.keypoints[0].numpy(),
        pose=pose.numpy() if torch.isfinite(pose).any() else None,
        errors={"reprojection": f"{error:.2g} px"} if np.isfinite(error) else {},
        note=f"row {row}: person {int(part.subject[0])}, view {int(part.view[0])}" + (f"; {names}" if names else ""),
        **image_and_up(view),
    )
