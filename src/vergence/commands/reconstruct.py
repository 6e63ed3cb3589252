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
    focal: Literal["auto", "shared", "each"] = "auto",
    per_frame: bool = False,
    seed: int = 0,
    sync: Literal["auto", "off"] = "auto",
    height: float | None = None,
    formats: str = "npz,csv,trc",
    markers: str = "",
    trc_unit: Literal["mm", "m"] = "mm",
    detector: str = "",
    detector_model: str = "",
    device: str = "auto",
    plugins: str = "",
    quiet: bool = False,
) -> None:
    """Cameras and 3D poses of the person in a capture, from 2D keypoints alone; no calibration is needed.

    A detector finds the keypoints of videos that have none, into OUT/keypoints; this takes a few times as long as the
    videos.

    Example: vergence reconstruct my_capture --out rec

    Writes rig.toml (the cameras, anipose layout), poses.npz, poses.trc, poses.csv, angles.csv, limbs.csv, results.json
    (figures, verdict and all decisions) and report.html, a page.

    Args:
        capture: folder of videos, or one with a capture.toml.
        out (FOLDER): to write to.

    The cameras (--fov 60 --focal shared, or --ignore-extrinsics):
        ignore_extrinsics: find the cameras even where the capture has their extrinsics.
        refine: adjust the capture's extrinsics; by default they are used unchanged.
        fov (DEGREES): angle of view along the image's longer side, degrees, where intrinsics are missing; the search
            starts there; default: 50.
        fov_fixed: keep --fov fixed.
        focal: with missing intrinsics, one focal length for all cameras (shared), one for each, or the footage decides
            (auto).
        sync: auto synchronises cameras by the person's motion where nothing states their times; off leaves them.
        per_frame: solve every frame by itself, as EpipolarPose does; for comparison.
        seed: of subsets and starts.

    The person and the files (--height 1.78 --formats npz,trc,bvh):
        height (METRES): of the person, as in 1.78: gives millimetres where nothing else gives a scale.
        formats (A,B): of the poses, joined by commas: npz (always written), json, csv, trc, c3d, bvh, usd.
        markers (NAME|FILE): names in TRC and C3D: pose2sim, opensim, or a TOML file with lines such as right_hip = "RHJC".
        trc_unit: of the TRC file, mm or m.

    2D keypoints, where there are none (--detector rtmpose):
        detector (NAME): rtmpose, mediapipe or vitpose; default: the first that is installed.
        detector_model (PATH): the detector's local weights.
        plugins (FILE,FILE): Python files, joined by commas, with a detector or a reader.

    How it runs (--device cpu):
        device: of the detector, auto, cpu or cuda.
        quiet: no progress.
    """
    import time

    import vergence
    from vergence.folders import check_apart, check_replaced
    from vergence.plugins import load_plugins
    from vergence.report.bars import bars
    from vergence.report.reconstruction import page_of, print_summary
    from vergence.report.render import write_page

    check_apart(out, capture)
    if earlier := check_replaced(out, "reprojection_px", "a reconstruction"):
        print(earlier)
    load_plugins(plugins.split(",") if plugins else ())
    wanted, options = formats.split(","), vergence.outputs.options(markers, trc_unit)
    vergence.outputs.check(wanted, options)
    start = time.perf_counter()
    with bars(quiet) as progress:
        progress("cameras and 3D poses", 0, None)  # how long is not known: a line a minute, or a bar that moves
        found = vergence.reconstruct(
            capture, ignore_extrinsics=ignore_extrinsics, refine=refine, fov=fov, fov_fixed=fov_fixed, focal=focal,
            per_frame=per_frame, seed=seed, sync=sync, height=height,
            detector=detector, model=detector_model, device=device, keypoints=out / "keypoints", progress=progress,
        )  # fmt: skip
    results = found.save(out, wanted, **options)
    write_page(out / "report.html", page_of(found))
    print_summary(found, results["files"])
    print(f"written to {out} in {time.perf_counter() - start:.1f} s")


reconstruct.takes = (  # type: ignore[attr-defined]
    "cameras and 3D poses take mostly 1 to 60 s, longer for recordings of many minutes; finding 2D keypoints "
    "in videos comes first and takes a few times as long as they last"
)
