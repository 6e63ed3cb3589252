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

    from vergence.files import write_json
    from vergence.footage.capture import load_capture
    from vergence.footage.observations import observe
    from vergence.reconstruction import solve as reconstruction
    from vergence.reconstruction import steps as steps

    start = time.perf_counter()
    recording = load_capture(capture)
    if ignore_extrinsics:
        recording = recording.without_extrinsics()
    seen = observe(recording)
    cameras = steps.geometry_inputs(recording, fov, fov_fixed)
    result = reconstruction.reconstruct(
        seen.keypoints[..., :2],
        seen.keypoints[..., 2],
        skeleton=seen.skeleton,
        fps=recording.fps,
        refine=refine,
        focal=focal,
        per_frame=per_frame,
        seed=seed,
        **cameras,
    )
    settings = {
        "ignore_extrinsics": ignore_extrinsics,
        "refine": refine,
        "fov": fov,
        "fov_fixed": fov_fixed,
        "focal": focal,
        "per_frame": per_frame,
        "seed": seed,
    }
    poses = steps.pose_sequence(recording, result)
    results = steps.summarise(recording, seen, result, cameras, settings)
    results |= steps.write_files(out, recording, result, poses, results)
    steps.write_report(out, recording, seen, result, results, time.perf_counter() - start)
    results["seconds"] = time.perf_counter() - start
    write_json(out / "results.json", results)
    steps.show(results, out)
