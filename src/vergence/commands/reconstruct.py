"""`vergence reconstruct`: cameras and 3D poses from uncalibrated footage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from vergence.reconstruction.result import Reconstruction


def reconstruct(
    capture: Path,
    out: Path = Path("reconstruction"),
    ignore_extrinsics: bool = False,
    refine: bool = False,
    fov: float | None = None,
    fov_fixed: bool = False,
    focal: Literal["shared", "each"] = "shared",
    per_frame: bool = False,
    seed: int = 0,
) -> None:
    """Cameras and 3D poses of the person in a capture, from 2D keypoints alone; no calibration is needed.

    Writes rig.toml (the cameras, anipose layout), poses.npz, poses.trc, poses.csv, results.json (figures, verdict and
    everything that was decided on the way) and report.html, a page to look at.

    Args:
        capture: folder of videos, or one with a capture.toml.
        out: folder to write to.
        ignore_extrinsics: find the cameras even where the capture says where they stand.
        refine: adjust the capture's extrinsics instead of using them as they are.
        fov: degrees along the image's longer side where intrinsics are missing; a start for the search.
        fov_fixed: take --fov as the truth.
        focal: with missing intrinsics, one focal length for all cameras (shared) or one for each.
        per_frame: solve every frame by itself, as EpipolarPose does; for comparison.
        seed: of subsets and starts.
    """
    import time

    from vergence.reconstruction import footage
    from vergence.report import write_page
    from vergence.report.reconstruction import page_of

    start = time.perf_counter()
    found = footage.reconstruct(
        capture,
        ignore_extrinsics=ignore_extrinsics,
        refine=refine,
        fov=fov,
        fov_fixed=fov_fixed,
        focal=focal,
        per_frame=per_frame,
        seed=seed,
    )
    results = found.save(out)
    write_page(out / "report.html", page_of(found))
    show(found, results["trc"]["note"])
    print(f"written to {out} in {time.perf_counter() - start:.1f} s")


def show(found: Reconstruction, trc_note: str) -> None:
    """The short table, and the verdict in words."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    plain: dict[str, Any] = {"highlight": False, "soft_wrap": True}
    report, subject = found.report, found.subject
    table = Table(title="Reconstruction", show_header=True)
    for column, side in (("camera", "left"), ("reprojection, px", "right"), ("subject seen", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for camera, error, share in zip(found.rig.cameras, report.reprojection_per_camera, subject.seen):
        table.add_row(escape(camera.name), f"{error:.1f}", f"{share:.0%}")
    table.add_section()
    table.add_row("all, median", f"{report.reprojection_median:.1f}", "")
    table.add_row("all, 90 %", f"{report.reprojection_p90:.1f}", "")
    console.print(table)
    limbs = {name: value for name, value in report.limb_cv.items() if value == value}
    worst = max(limbs, key=lambda name: limbs[name], default=None)
    uncertainty = report.predicted_rotation_deg
    console.print(
        f"joints reconstructed {report.coverage:.1%}; rotation uncertainty "
        f"{uncertainty if math.isfinite(uncertainty) else 0:.2f} deg"
        + (f"; least steady limb {escape(worst)}, {limbs[worst]:.1%} of its length" if worst else ""),
        **plain,
    )
    console.print(f"subject: {subject.verdict}, {escape(subject.reason)}", **plain)
    for note in found.notes:
        console.print(f"note: {escape(note)}", **plain)
    colour = "green" if found.verdict == "good" else "yellow"
    reasons = f": {'; '.join(found.reasons)}" if found.reasons else ""
    console.print(f"verdict: [{colour}]{found.verdict}[/]{escape(reasons)}", **plain)
    if trc_note:
        console.print(f"poses.trc: {escape(trc_note)}", **plain)
