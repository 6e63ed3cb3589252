"""`vergence reconstruct`: cameras and 3D poses from uncalibrated footage."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


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
    sync: Literal["auto", "off"] = "auto",
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
        sync: auto brings cameras to one time by the person's motion where nothing states their times; off leaves them.
    """
    import time

    import vergence
    from vergence.report.reconstruction import page_of, print_summary
    from vergence.report.render import write_page

    start = time.perf_counter()
    found = vergence.reconstruct(
        capture,
        ignore_extrinsics=ignore_extrinsics,
        refine=refine,
        fov=fov,
        fov_fixed=fov_fixed,
        focal=focal,
        per_frame=per_frame,
        seed=seed,
        sync=sync,
    )
    results = found.save(out)
    write_page(out / "report.html", page_of(found))
    print_summary(found, results["trc"]["note"])
    print(f"written to {out} in {time.perf_counter() - start:.1f} s")
