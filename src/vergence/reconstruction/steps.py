"""What `vergence reconstruct` is made of: the geometry's arguments, results, files and the table on the screen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vergence import __version__
from vergence.errors import VergenceError
from vergence.footage.calibration import write_rig_toml
from vergence.footage.capture import Capture
from vergence.footage.observations import Observations
from vergence.geometry.cameras import Rig
from vergence.outputs import ASSUMED_STATURE_MM, PoseSequence, write_csv, write_npz, write_trc
from vergence.outputs.trc import trc_scale
from vergence.reconstruction.solve import Reconstruction
from vergence.report import Verdict, write_page
from vergence.report.reconstruction import reconstruction_page


def geometry_inputs(capture: Capture, fov: float | None, fov_fixed: bool) -> dict[str, Any]:
    """The cameras' side of the geometry's arguments."""
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
    rig = capture.rig
    return {
        "intrinsics": rig.intrinsics if rig.has_intrinsics else None,
        "distortion": rig.distortion if rig.has_intrinsics else None,
        "image_size": rig.image_size,
        "rotation": rig.rotation if rig.has_extrinsics else None,
        "translation": rig.translation if rig.has_extrinsics else None,
        "fov": fov,
        "fov_fixed": fov_fixed,
    }


def pose_sequence(capture: Capture, result: Reconstruction) -> PoseSequence:
    """What the pose files are written from."""
    return PoseSequence(
        pose=result.pose,
        joint_names=result.skeleton.joint_names,
        fps=capture.fps,
        unit=result.unit,
        up=capture.up if result.unit == "mm" else None,
        confidence=result.weight,
    )


def summarise(
    capture: Capture, seen: Observations, result: Reconstruction, cameras: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """Everything that is known about the result, for results.json."""
    report = result.report
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
            "reprojection": "px of the full image, distorted, all input points with confidence above 0.3",
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


def write_files(
    out: Path, capture: Capture, result: Reconstruction, poses: PoseSequence, results: dict[str, Any]
) -> dict[str, Any]:
    """Writes rig and poses; returns what is to be said about the files."""

    cameras = result.intrinsics, result.rotation, result.translation, result.distortion
    rig = Rig.of(capture.names, capture.rig.image_size, *cameras, unit=result.unit)
    write_rig_toml(out / "rig.toml", rig, results["reprojection_px"]["median"])
    write_npz(out / "poses.npz", poses)
    write_csv(out / "poses.csv", poses)
    try:
        factor, _ = trc_scale(poses)
    except VergenceError as error:
        return {"trc": {"written": False, "note": str(error)}}
    note = write_trc(out / "poses.trc", poses, assumed_up=-result.rotation[0][1])
    assumed = {} if poses.unit == "mm" else {"assumed_stature_mm": ASSUMED_STATURE_MM}
    return {"trc": {"written": True, "unit": "mm", "scale": factor, "note": note, **assumed}}


def write_report(
    out: Path, capture: Capture, seen: Observations, result: Reconstruction, results: dict[str, Any], seconds: float
) -> None:
    """Writes report.html."""
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
        seen.keypoints,
        names=capture.names,
        image_size=[camera.image_size for camera in capture.cameras],
        fps=capture.fps,
        title=f"Reconstruction of {capture.folder.name}",
        facts=facts,
        images=capture.image if any(camera.video is not None for camera in capture.cameras) else None,
        up=results["up"],
        verdict=Verdict(results["verdict"], results["reasons"]),
        notes=results["notes"],
    )
    write_page(out / "report.html", page)


def show(results: dict[str, Any], out: Path) -> None:
    """The short table, and the verdict in words."""

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
