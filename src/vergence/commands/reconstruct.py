"""`vergence reconstruct`: cameras and 3D poses from uncalibrated footage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from vergence.footage.capture import Capture
    from vergence.geometry.reconstruction import Reconstruction
    from vergence.posefiles import PoseSequence


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
        fov: angle of view along the picture's longer side, degrees, where intrinsics are missing; a start for the search.
        fov_fixed: take --fov as the truth.
        focal: with missing intrinsics, one focal length for all cameras (shared) or one for each.
        per_frame: solve every frame by itself, as EpipolarPose does; for comparison.
        seed: of subsets and starts.
    """
    import time

    from vergence.footage.capture import load_capture
    from vergence.geometry import reconstruction

    start = time.perf_counter()
    recording = load_capture(capture)
    if ignore_extrinsics:
        recording = recording.without_extrinsics()
    seen = recording.observations
    cameras = _geometry_inputs(recording, fov, fov_fixed)
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
    poses = _poses(recording, result)
    results = _results(recording, result, cameras, settings)
    results |= _write(out, recording, result, poses, results)
    _write_page(out, recording, result, results, time.perf_counter() - start)
    results["seconds"] = time.perf_counter() - start
    _save(out, results)
    _show(results, out)


def _geometry_inputs(capture: Capture, fov: float | None, fov_fixed: bool) -> dict[str, Any]:
    """The cameras' side of the geometry's arguments."""
    import numpy as np

    from vergence.errors import VergenceError

    missing = [camera.name for camera in capture.cameras if camera.intrinsics is None]
    if missing and len(missing) < len(capture.cameras):
        raise VergenceError(
            f"camera {', '.join(missing)} of {capture.folder.name} has no intrinsics, but others have",
            "Give intrinsics for all cameras, or for none (their focal lengths are then estimated).",
        )
    if fov is not None and not missing:
        raise VergenceError(f"--fov {fov:g} was given, but the capture has intrinsics", "Leave one of the two out.")
    if fov is not None and not 5 < fov < 170:
        raise VergenceError(f"--fov is {fov:g}", "It is an angle in degrees, between 5 and 170.")
    if fov_fixed and fov is None:
        raise VergenceError("--fov_fixed was given without --fov", "Give the angle as well.")
    known = not missing
    placed = capture.has_extrinsics
    return {
        "intrinsics": np.stack([c.intrinsics for c in capture.cameras if c.intrinsics is not None]) if known else None,
        "distortion": np.stack([camera.distortion for camera in capture.cameras]) if known else None,
        "image_size": np.array([camera.image_size for camera in capture.cameras]),
        "rotation": np.stack([c.rotation for c in capture.cameras if c.rotation is not None]) if placed else None,
        "translation": np.stack([c.translation for c in capture.cameras if c.translation is not None])
        if placed
        else None,
        "fov": fov,
        "fov_fixed": fov_fixed,
    }


def _poses(capture: Capture, result: Reconstruction) -> PoseSequence:
    from vergence.posefiles import PoseSequence

    return PoseSequence(
        pose=result.pose,
        joint_names=result.skeleton.joint_names,
        fps=capture.fps,
        unit=result.unit,
        up=capture.up if result.unit == "mm" else None,
        confidence=result.weight,
    )


def _results(
    capture: Capture, result: Reconstruction, cameras: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """Everything that is known about the result, for results.json."""
    import dataclasses

    import numpy as np

    from vergence.version import __version__

    report, seen = result.report, capture.observations
    counted = np.nan_to_num(seen.keypoints[..., 2]) > 0.3
    there = np.broadcast_to(np.isfinite(result.pose).all(axis=-1)[:, None], counted.shape)
    verdict, reasons = str(report.verdict), list(report.reasons)
    if seen.subject.verdict == "doubtful":
        verdict = "doubtful"
        reasons.append(f"the subject may be the wrong person: {seen.subject.reason}")
    placed = cameras["rotation"] is not None
    return {
        "verdict": verdict,
        "reasons": reasons,
        "unit": result.unit,
        "reprojection_px": {
            "median": report.reprojection_median,
            "p90": report.reprojection_p90,
            "per_camera": dict(zip(capture.names, report.reprojection_per_camera)),
            "per_joint": report.reprojection_per_joint,
        },
        "limb_cv": report.limb_cv,
        "coverage": report.coverage,
        "coverage_of_points": float(there[counted].mean()) if counted.any() else float("nan"),
        "cameras": {
            name: {
                "R": result.rotation[v],
                "t": result.translation[v],
                "K": result.intrinsics[v],
                "distortion": result.distortion[v],
                "image_size": capture.cameras[v].image_size,
            }
            for v, name in enumerate(capture.names)
        },
        "world": "as given" if placed else f"frame of the first camera, {capture.names[0]}",
        "up": capture.up if placed else None,
        "protocol": {
            "extrinsics": ("adjusted" if settings["refine"] else "as given") if placed else "estimated",
            "intrinsics": "given" if cameras["intrinsics"] is not None else "estimated",
            "reprojection": "px of the full picture, distorted, all input points with confidence above 0.3",
            "coverage": "share of (frame, joint); coverage_of_points: of input points with confidence above 0.3",
            "limb_cv": "standard deviation over mean of each limb's length",
            "settings": settings,
        },
        "subject": dataclasses.asdict(seen.subject),
        "joints": list(result.skeleton.joint_names),
        "skeleton": result.skeleton.name,
        "fps": capture.fps,
        "notes": [*capture.notes, *seen.notes],
        "report": report.to_dict(),
        "version": __version__,
    }


def _write(
    out: Path, capture: Capture, result: Reconstruction, poses: PoseSequence, results: dict[str, Any]
) -> dict[str, Any]:
    """Writes rig and poses; returns what is to be said about the files."""
    from vergence.errors import VergenceError
    from vergence.footage.calibration import Camera, write_rig_toml
    from vergence.posefiles import ASSUMED_STATURE_MM, write_csv, write_npz, write_trc
    from vergence.posefiles.trc import trc_scale

    rig = [
        Camera(name, capture.cameras[v].image_size, *arrays)
        for v, (name, *arrays) in enumerate(
            zip(capture.names, result.intrinsics, result.distortion, result.rotation, result.translation)
        )
    ]
    write_rig_toml(out / "rig.toml", rig, result.unit, results["reprojection_px"]["median"])
    write_npz(out / "poses.npz", poses)
    write_csv(out / "poses.csv", poses)
    try:
        factor, _ = trc_scale(poses)
    except VergenceError as error:
        return {"trc": {"written": False, "note": str(error)}}
    note = write_trc(out / "poses.trc", poses, assumed_up=-result.rotation[0][1])
    assumed = {} if poses.unit == "mm" else {"assumed_stature_mm": ASSUMED_STATURE_MM}
    return {"trc": {"written": True, "unit": "mm", "scale": factor, "note": note, **assumed}}


def _write_page(out: Path, capture: Capture, result: Reconstruction, results: dict[str, Any], seconds: float) -> None:
    from vergence.report import Verdict, write_page
    from vergence.report.reconstruction import reconstruction_page

    protocol = results["protocol"]
    facts = {
        "capture": str(capture.folder),
        "cameras": f"extrinsics {protocol['extrinsics']}, intrinsics {protocol['intrinsics']}",
        "world": results["world"],
        "settings": ", ".join(f"{k} {v}" for k, v in protocol["settings"].items() if v is not None and v is not False),
        "subject": f"{results['subject']['verdict']}: {results['subject']['reason']}",
        "seconds": f"{seconds:.1f}, this page apart",
        "version": results["version"],
    }
    page = reconstruction_page(
        result,
        capture.keypoints(),
        names=capture.names,
        image_size=[camera.image_size for camera in capture.cameras],
        fps=capture.fps,
        title=f"Reconstruction of {capture.folder.name}",
        facts=facts,
        pictures=capture.picture if any(camera.video is not None for camera in capture.cameras) else None,
        up=results["up"],
        verdict=Verdict(results["verdict"], results["reasons"]),
        notes=results["notes"],
    )
    write_page(out / "report.html", page)


def _save(out: Path, results: dict[str, Any]) -> None:
    from vergence.files import write_json

    write_json(out / "results.json", results)


def _show(results: dict[str, Any], out: Path) -> None:
    """The short table, and the verdict in words."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    plain: dict[str, Any] = {"highlight": False, "soft_wrap": True}
    table = Table(title="Reconstruction", show_header=True)
    for column, side in (("camera", "left"), ("reprojection, px", "right"), ("subject seen", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for (name, error), share in zip(results["reprojection_px"]["per_camera"].items(), results["subject"]["seen"]):
        table.add_row(escape(name), f"{error:.1f}", f"{share:.0%}")
    table.add_section()
    table.add_row("all, median", f"{results['reprojection_px']['median']:.1f}", "")
    table.add_row("all, 90 %", f"{results['reprojection_px']['p90']:.1f}", "")
    console.print(table)
    limbs = {name: value for name, value in results["limb_cv"].items() if value == value}
    worst = max(limbs, key=lambda name: limbs[name], default=None)
    console.print(
        f"joints reconstructed {results['coverage']:.1%}; rotation uncertainty "
        f"{results['report']['predicted_rotation_deg'] or 0:.2f} deg"
        + (f"; least steady limb {escape(worst)}, {limbs[worst]:.1%} of its length" if worst else ""),
        **plain,
    )
    subject = results["subject"]
    console.print(f"subject: {subject['verdict']}, {escape(subject['reason'])}", **plain)
    for note in results["notes"]:
        console.print(f"note: {escape(note)}", **plain)
    colour = "green" if results["verdict"] == "good" else "yellow"
    reasons = f": {'; '.join(results['reasons'])}" if results["reasons"] else ""
    console.print(f"verdict: [{colour}]{results['verdict']}[/]{escape(reasons)}", **plain)
    if results["trc"]["note"]:
        console.print(f"poses.trc: {escape(results['trc']['note'])}", **plain)
    console.print(f"written to {escape(str(out))} in {results['seconds']:.1f} s", **plain)
