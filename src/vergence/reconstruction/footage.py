"""From footage to a `Reconstruction`: keypoints and what is known of the cameras, solved (`solve`) and described."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from vergence.errors import VergenceError, check_choice, check_seed
from vergence.footage.capture import Capture, load_capture
from vergence.footage.observations import Observations, observe
from vergence.geometry.body import reference_length, reference_note, stature
from vergence.geometry.cameras import Rig
from vergence.networks.devices import NAMES
from vergence.outputs import PoseSequence, height_mm
from vergence.progress import Progress, silent
from vergence.reconstruction.checks.doubts import doubts, throughout
from vergence.reconstruction.checks.size import size_note
from vergence.reconstruction.inputs import REPORT_CONFIDENCE, Focal, check_views
from vergence.reconstruction.result import Reconstruction
from vergence.reconstruction.solve import Solution, reconstruct_keypoints
from vergence.reconstruction.sync.find import Sync
from vergence.reconstruction.sync.footage import described, synchronise, words
from vergence.reconstruction.wish import NOT_SYNCHRONOUS

DOUBTFUL_CAMERAS = (
    "The given cameras were found from a recording whose result was doubtful. Give cameras of a good one, "
    "or --ignore-extrinsics, or --refine."
)
Synchronising = Literal["auto", "off"]
HEIGHT_TOLERANCE = 0.15  # of limbs' proportions between people, and of what detectors call a joint


def reconstruct(
    capture: str | Path | Capture,
    *,
    ignore_extrinsics: bool = False,
    refine: bool = False,
    fov: float | None = None,
    fov_fixed: bool = False,
    focal: Focal = "auto",
    per_frame: bool = False,
    seed: int = 0,
    sync: Synchronising = "auto",
    height: float | None = None,
    detector: str = "",
    model: str = "",
    device: str = "auto",
    keypoints: str | Path | None = None,
    progress: Progress = silent,
) -> Reconstruction:
    """Cameras and 3D poses of the person in a capture, from 2D keypoints alone; no calibration is needed.

    A detector finds the keypoints of videos that have none. Known extrinsics give millimetres in their world (reference
    bones, where they are free of scale, as a `rig.toml` found from footage is). Without them the world is the first
    camera's frame and the unit the person's trunk, because footage alone does not give size.

    Args:
        capture: folder of videos, one with a capture.toml, or what `load_capture` read.
        ignore_extrinsics: find the cameras even where the capture has their extrinsics.
        refine: adjust the capture's extrinsics; by default they are used unchanged.
        fov: angle of view along the image's longer side, degrees, where intrinsics are missing; the search starts
            there.
        fov_fixed: keep `fov` fixed.
        focal: with missing intrinsics, one focal length for all cameras (`shared`), one for each, or the footage
            decides (`auto`).
        per_frame: solve every frame by itself, as EpipolarPose does; for comparison.
        seed: of subsets and starts.
        sync: `auto` synchronises cameras by the person's motion, unless the capture states their times; `off` leaves
            them.
        height: of the person, metres: gives millimetres where nothing else does, and is compared where extrinsics do.
        detector, model, device: of 2D keypoints, where a video has none (`vergence.detect`).
        keypoints: folder for the detector's keypoints; default: the user's cache.
        progress: reports the detector's frames.

    Raises:
        VergenceError: the capture cannot be read, the options contradict it, or nothing can be reconstructed.
    """
    start, tall = time.perf_counter(), height_mm(height)
    check_seed(seed)
    check_choice("sync", sync, get_args(Synchronising))
    check_choice("focal", focal, get_args(Focal))
    check_choice("device", device, NAMES)
    if ignore_extrinsics and refine:
        raise VergenceError("--ignore-extrinsics and --refine contradict each other", "Leave one of the two out.")
    footage = capture if isinstance(capture, Capture) else load_capture(capture)
    check_views(len(footage.cameras))
    if any(camera.video is not None for camera in footage.cameras):
        from vergence.footage.detectors.footage import with_keypoints  # opens videos, whose library loads slowly

        folder = None if keypoints is None else Path(keypoints)
        footage = with_keypoints(footage, folder, detector=detector, model=model, device=device, progress=progress)
    if ignore_extrinsics:
        footage = footage.without_extrinsics()
    seen, clocks = observe(footage), None
    asked = sync == "auto" and not per_frame
    if asked and _times_open(footage, seen):
        footage, seen, clocks = synchronise(footage, seen, seed)
    options = {"refine": refine, "focal": focal, "per_frame": per_frame, "seed": seed}
    lens = {"fov": fov, "fov_fixed": fov_fixed}
    solution: Solution | None = None
    against: tuple[str, ...] = ()
    try:
        solution, against = _solved(footage, seen, lens, options)
        late = any(reason.startswith(NOT_SYNCHRONOUS) for reason in (*solution.report.reasons, *against))
    except VergenceError:
        if not asked or clocks is not None:
            raise
        late = True
    if asked and clocks is None and late:  # asking the motion takes longer than all the rest
        moved, at_one_time, clocks = synchronise(footage, seen, seed)
        if solution is None:
            footage, seen = moved, at_one_time
            solution, against = _solved(footage, seen, lens, options)
        elif clocks is not None and clocks.moves:
            after = _better(moved, at_one_time, lens, options, solution)
            if after is None:
                clocks = _kept(clocks)
            else:
                (solution, against), footage, seen = after, moved, at_one_time
    assert solution is not None
    if clocks is not None and clocks.state == "synchronous":  # the motion looked closer than the residuals
        solution = replace(solution, report=solution.report.without(NOT_SYNCHRONOUS))
    timed, mistimed = words(clocks, footage)
    if clocks is not None and not clocks.moves and any(reason.startswith(NOT_SYNCHRONOUS) for reason in against):
        timed, mistimed, against = (), (), _left_as_they_are(against, clocks)
    placed = footage.has_extrinsics and not per_frame
    if placed and footage.doubtful and not refine:
        against += (DOUBTFUL_CAMERAS,)
    if placed and footage.unit != "mm":
        solution = _in_bones(solution)
    poses = _poses(footage, solution, placed)
    if tall is not None:
        against += _height_doubt(poses, tall)
        poses, solution = _sized(poses, solution, tall)
    bone = reference_note(solution.pose, seen.skeleton)
    tall_by = size_note(poses.pose, seen.skeleton) if placed and tall is None and poses.unit == "mm" else ""
    notes = (
        *footage.notes,
        *seen.notes,
        _beyond(footage, seen),
        *timed,
        _sides(footage, solution),
        _centred(solution),
        bone,
        tall_by,
    )
    return Reconstruction(
        poses=poses,
        rig=_rig(footage, solution),
        report=solution.report.doubted((*mistimed, *against)),
        subject=seen.subject,
        extrinsics=("adjusted" if refine else "as given") if placed else "estimated",
        intrinsics="given" if footage.rig.has_intrinsics else "estimated",
        coverage_of_points=_coverage(seen, solution),
        notes=tuple(filter(None, notes)),
        settings={"ignore_extrinsics": ignore_extrinsics, **lens, **options, "height": height},
        seconds=time.perf_counter() - start,
        capture=footage,
        observations=seen,
        solution=solution,
        synchronisation=described(clocks, footage),
    )


def _times_open(capture: Capture, seen: Observations) -> bool:
    """Whether cameras must be brought to one time before anything can be reconstructed."""
    rates = {round(camera.frame_steps, 3) for camera in capture.cameras}
    return len(rates) > 1 or seen.subject.verdict == "doubtful"


def _solved(
    footage: Capture, seen: Observations, lens: dict[str, Any], options: dict[str, Any]
) -> tuple[Solution, tuple[str, ...]]:
    """The solution, and what speaks against it."""
    cameras = known_cameras(footage, **lens)
    try:
        solution = reconstruct_keypoints(
            seen.keypoints[..., :2],
            seen.keypoints[..., 2],
            skeleton=seen.skeleton,
            fps=footage.fps,
            names=footage.names,
            **options,
            **cameras,
        )
    except VergenceError as error:
        if lost := _beyond(footage, seen):
            raise VergenceError(f"{lost}: {error.problem}", error.remedy) from error
        raise
    if options["per_frame"]:
        return solution, ()
    as_given = cameras["rotation"] is not None and not options["refine"]
    names = tuple(footage.names)
    return solution, doubts(seen.keypoints, seen.skeleton, cameras, solution, names, as_given, footage.up, footage.unit)


def _better(
    footage: Capture, seen: Observations, lens: dict[str, Any], options: dict[str, Any], before: Solution
) -> tuple[Solution, tuple[str, ...]] | None:
    """The solution at the times that the motion tells; None where nothing is left at them, or given cameras then leave
    more noise than before."""
    try:
        found, against = _solved(footage, seen, lens, options)
    except VergenceError:
        return None
    return None if footage.has_extrinsics and found.report.noise_px > before.report.noise_px else (found, against)


def _kept(clocks: Sync) -> Sync:
    """What the motion says, where cameras are left as they are though it would have moved them."""
    reason = "cameras fit better without the offsets of the motion"
    still = 0 * clocks.offset
    return replace(clocks, state="unknown", offset=still, drift=still, alternatives=(), zero_fits=True, reason=reason)


def _left_as_they_are(against: tuple[str, ...], clocks: Sync) -> tuple[str, ...]:
    """What speaks against a solution where joints show that cameras differ in time and the motion moved none."""
    why = f": {clocks.reason}" if clocks.reason else ""
    more = f" They were left as they are, since the person's motion does not tell it surely{why}."
    return tuple(reason + more * reason.startswith(NOT_SYNCHRONOUS) for reason in against)


def known_cameras(capture: Capture, fov: float | None, fov_fixed: bool) -> dict[str, Any]:
    """What is known of a capture's cameras, as `reconstruct_keypoints` takes it.

    Raises:
        VergenceError: some cameras have intrinsics and others not, or `fov` contradicts them.
    """
    missing = [camera.name for camera in capture.cameras if camera.intrinsics is None]
    if missing and len(missing) < len(capture.cameras):
        raise VergenceError(
            f"camera {', '.join(missing)} of {capture.folder.name} has no intrinsics, but others have",
            "Give intrinsics for all cameras, or for none (their focal lengths are then estimated).",
        )
    if fov is not None and not missing:
        raise VergenceError(f"--fov {fov:g} was given, but the capture has intrinsics", "Leave one of the two out.")
    if fov is not None and not 5 < fov < 170:
        raise VergenceError(f"--fov is {fov:g}", "It is in degrees, between 5 and 170.")
    if fov_fixed and fov is None:
        raise VergenceError("--fov-fixed was given without --fov", "Give the angle as well.")
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


def _poses(capture: Capture, solution: Solution, placed: bool) -> PoseSequence:
    poses = PoseSequence(
        pose=solution.pose,
        joint_names=solution.skeleton.joint_names,
        fps=capture.fps,
        unit=solution.unit,
        up=capture.up if placed else None,
        confidence=solution.weight,
    )
    return poses.seen_by(solution.rotation)


def _sized(poses: PoseSequence, solution: Solution, tall: float) -> tuple[PoseSequence, Solution]:
    """Both in millimetres by the person's height, where they have no unit of length."""
    if solution.unit == "mm":
        return poses, solution
    factor, report = poses.in_world(tall).mm_per_unit, solution.report
    sized = _in_unit(solution, factor, "mm")
    return poses.scaled(tall), replace(sized, report=replace(report, travel=report.travel * factor))


def _in_unit(solution: Solution, factor: float, unit: Literal["mm", "reference_bone"]) -> Solution:
    lengths = {name: getattr(solution, name) * factor for name in ("pose", "deviation", "translation")}
    return replace(solution, **lengths, unit=unit)


def _height_doubt(poses: PoseSequence, tall: float) -> tuple[str, ...]:
    """Given extrinsics that make the person of another height than was given."""
    if poses.unit == "reference_bone":
        return ()
    found = stature(poses.pose, poses.skeleton)
    if abs(found / tall - 1) <= HEIGHT_TOLERANCE:
        return ()
    words = f"By the given cameras the person is {found / 1000:.2f} m tall, by the given height {tall / 1000:.2f} m"
    return (f"{words}: the cameras' unit or distances, or the height, is wrong.",)


def _in_bones(solution: Solution) -> Solution:
    """What given cameras of no length leave, in the person's reference bones: another rig's numbers are no unit."""
    bone = reference_length(solution.pose, solution.skeleton)
    if not np.isfinite(bone):
        raise VergenceError(
            "the given cameras are free of scale and the trunk was never reconstructed, so the result has no unit",
            "Give keypoints of hips and shoulders, or a calibration in mm.",
        )
    return _in_unit(solution, 1 / bone, "reference_bone")


def _rig(capture: Capture, found: Solution) -> Rig:
    arrays = found.intrinsics, found.rotation, found.translation, found.distortion
    return Rig.of(capture.names, capture.rig.image_size, *arrays, unit=found.unit)


def _sides(capture: Capture, solution: Solution) -> str:
    names = ", ".join(throughout(solution.side, tuple(capture.names)))
    return f"{names}: left and right are exchanged from beginning to end, and were exchanged back" if names else ""


def _centred(solution: Solution) -> str:
    if not solution.report.assumes_centres:
        return ""
    return (
        "nobody gave principal points, and they are taken to be in the middle of the images: a video that was cropped to one "
        "side has a wrongly turned camera, which its poses hardly show"
    )


def _beyond(capture: Capture, seen: Observations) -> str:
    cameras = capture.rig.cameras if capture.rig.has_intrinsics else []
    known = np.nan_to_num(seen.keypoints[..., 2]) > 0
    counts = {c.name: int((c.beyond(seen.keypoints[:, v, :, :2]) & known[:, v]).sum()) for v, c in enumerate(cameras)}
    told = ", ".join(
        f"{count} of {known[:, v].sum()} of {name}" for v, (name, count) in enumerate(counts.items()) if count
    )
    return (
        f"keypoints beyond the range of the lens model are left out: {told} (is the distortion right?)" if told else ""
    )


def _coverage(seen: Observations, solution: Solution) -> float:
    """Share of the input points, those that the report counts, whose joint was reconstructed."""
    counted = np.nan_to_num(seen.keypoints[..., 2]) > REPORT_CONFIDENCE
    there = np.broadcast_to(np.isfinite(solution.pose).all(axis=-1)[:, None], counted.shape)
    return float(there[counted].mean()) if counted.any() else float("nan")
