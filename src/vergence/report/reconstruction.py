"""The page of a reconstruction: the verdict and why, the rig and the person in it, and the 3D laid back over the footage.

What convinces is the last: the reconstructed joints, projected into each camera, beside the keypoints that were seen
there. They come from moments spread evenly over the recording, the same ones in every camera, and from the worst
moments of all, so that a page cannot look better than its reconstruction. Without images the joints are drawn on an
empty ground. A small reprojection error does not make a reconstruction right (a scene that was scaled, mirrored or
bent can reproject as well), hence limb lengths and the verdict's own figures stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.markup import escape
from rich.table import Table as ScreenTable

from vergence.errors import VergenceError
from vergence.geometry.arrays import project
from vergence.geometry.body import limb_lengths
from vergence.geometry.cameras import Rig
from vergence.geometry.vertical import level_up
from vergence.outputs import World, notes_of_files
from vergence.outputs.world import GIVEN
from vergence.reconstruction.inputs import REPORT_CONFIDENCE
from vergence.reconstruction.result import Reconstruction
from vergence.reconstruction.solve import Solution
from vergence.report.page import Cell, Curve, Page, RigScene, Sample, Table, Verdict
from vergence.report.recordings.cameras import Images, Seen, Window, camera_views, read_images, shown_rows
from vergence.report.recordings.motion import LEAD, SECONDS, motion_curves
from vergence.report.viewer import MAX_FRAMES
from vergence.skeleton import in_words

Array = np.ndarray
MOMENTS = 4  # shown from every camera
WORST = 6  # shown beside them, at most
MARGIN = 0.2  # of the person's size, around the cut-out
NO_DOUBT = (
    "Camera angles, other possible rigs, motion, limb lengths, coverage and agreement are all within their limits."
)
UNITS = {"mm": "mm", "reference_bone": "reference bones"}


def projections(found: Solution) -> Float[Array, "T V J 2"]:
    """The reconstructed joints in every camera's image, px, lens included; NaN where there is none or it is behind."""
    seen = np.einsum("vij,tnj->tvni", found.rotation, found.pose) + found.translation[:, None]
    return project(seen, found.intrinsics, found.distortion)


def relabelled(keypoints: Float[Array, "T V J 3"], side: Array) -> Float[Array, "T V J 3"]:
    """Keypoints with left and right as the reconstruction used them (`Reconstruction.side`)."""
    return np.take_along_axis(keypoints, np.asarray(side, dtype=int)[..., None], axis=2)


def median(values: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Median of what is not NaN; NaN where there is nothing, without numpy's warning."""
    values = np.asarray(values, dtype=float)
    known = np.isfinite(values).any(axis=axis, keepdims=True)
    filled = np.where(known, values, 0.0)
    result = np.nanmedian(filled, axis=axis, keepdims=True)
    return np.squeeze(np.where(known, result, np.nan), axis=axis)


def page_of(found: Reconstruction) -> Page:
    """The page of a reconstruction that was just made, over its own footage.

    Raises:
        VergenceError: it was loaded from files, which keep neither.
    """
    capture, seen, solution = found.capture, found.observations, found.solution
    if capture is None or seen is None or solution is None:
        raise VergenceError("a reconstruction that was loaded has no footage to show", "Reconstruct it again.")
    facts = {
        "capture": str(capture.folder),
        "cameras": f"extrinsics {found.extrinsics}, intrinsics {found.intrinsics}",
        "world": found.world,
        "settings": ", ".join(f"{k} {v}" for k, v in found.settings.items() if v is not None and v is not False),
        "subject": f"{found.subject.verdict}: {found.subject.reason}",
        **({"seconds": f"{found.seconds:.1f}, this page apart"} if np.isfinite(found.seconds) else {}),
        "version": found.version,
    }
    return reconstruction_page(
        solution,
        seen.keypoints,
        names=capture.names,
        image_size=[camera.image_size for camera in capture.cameras],
        fps=capture.fps,
        title=f"Reconstruction of {capture.folder.name}",
        facts=facts,
        images=capture.image if any(camera.video is not None for camera in capture.cameras) else None,
        up=found.poses.up,
        world=found.poses.world,
        verdict=Verdict(found.verdict, found.reasons),
        notes=found.notes,
        offsets={n: at["offset"] for n, at in found.synchronisation.get("cameras", {}).items()},
    )


def print_summary(found: Reconstruction, file_notes: Mapping[str, str]) -> None:
    """On the screen: the short table, the verdict in words, and what the files assume (`results["files"]`)."""
    console = Console()
    plain: dict[str, Any] = {"highlight": False, "soft_wrap": True}
    report, subject = found.report, found.subject
    table = ScreenTable(title="Reconstruction", show_header=True)
    for column, side in (("camera", "left"), ("reprojection, px", "right"), ("subject seen", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for one, error, share in zip(found.rig.cameras, report.reprojection_per_camera, subject.seen):
        table.add_row(escape(one.name), f"{error:.1f}", f"{share:.0%}")
    table.add_section()
    table.add_row("all, median", f"{report.reprojection_median:.1f}", "")
    table.add_row("all, 90 %", f"{report.reprojection_p90:.1f}", "")
    console.print(table)
    limbs = {name: value for name, value in report.limb_cv.items() if value == value}
    worst = max(limbs, key=lambda name: limbs[name], default=None)
    pair = " and ".join(report.worst_pair)
    sure = "; cameras as given" if found.extrinsics == "as given" else ""
    if pair:
        sure = f"; rotations known to {report.rotation_words}, worst pair {escape(pair)}"
    steady = f"; least steady limb {escape(in_words(worst))}, {limbs[worst]:.1%} of its length" if worst else ""
    unit = "reference bones (pelvis to thorax is 1)" if found.poses.unit == "reference_bone" else found.poses.unit
    world = (
        f"the frame of {escape(found.rig.names[0])}" if found.extrinsics == "estimated" else "the given cameras' world"
    )
    said = f"joints reconstructed {report.coverage:.1%}{sure}{steady}; poses in {unit}, in {world}"
    console.print(said, **plain)
    console.print(f"subject: {subject.verdict}, {escape(subject.reason)}", **plain)
    for note in found.notes:
        console.print(f"note: {escape(note)}", **plain)
    colour = "green" if found.verdict == "good" else "yellow"
    reasons = f": {' '.join(found.reasons)}" if found.reasons else ""
    console.print(f"verdict: [{colour}]{found.verdict}[/]{escape(reasons)}", **plain)
    for note in notes_of_files(file_notes):
        console.print(escape(note), **plain)


def reconstruction_page(
    found: Solution,
    keypoints: Float[Array, "T V J 3"],
    *,
    names: Sequence[str],
    image_size: Sequence[tuple[int, int]],
    fps: float,
    title: str,
    facts: Mapping[str, str],
    images: Images | None = None,
    up: Float[Array, " 3"] | None = None,
    world: World | None = None,
    verdict: Verdict | None = None,
    notes: Sequence[str] = (),
    offsets: Mapping[str, float] | None = None,
) -> Page:
    """Everything that a reader needs to judge a reconstruction.

    Args:
        keypoints: x, y, confidence as they were given to `reconstruct`, px of the full images.
        names: of the cameras.
        image_size: width and height of each.
        images: (camera, frame) to the image in the keypoints' pixels, or a `VergenceError` where it is missing.
        up: gravity's opposite in the reconstruction's world; None where unknown.
        world: where it was taken to be then, and how long a millimetre is, as in the files.
        verdict: where more is known than the geometry's own report says, e.g. about the choice of the subject.
        notes: what was decided and put right while reading.
        offsets: of the cameras whose times were found, in time steps (`CaptureCamera.offset`).
    """
    up, up_note = shown_up(found, up, world)
    factor, unit, scale_note = shown_scale(found.unit, world)
    seen = relabelled(keypoints, found.side)
    projected = projections(found)
    counted = np.isfinite(seen).all(axis=-1) & (np.nan_to_num(seen[..., 2]) > REPORT_CONFIDENCE)
    error = np.where(counted, np.linalg.norm(projected - seen[..., :2], axis=-1), np.nan)
    observed = np.where(counted[..., None], seen[..., :2], np.nan)
    points = f"input points with confidence above {REPORT_CONFIDENCE}, px of the full image, lens included"
    report = found.report
    verdict = verdict or Verdict(report.verdict, report.reasons)
    rig = Rig.of(names, image_size, found.intrinsics, found.rotation, found.translation, found.distortion)
    rig = rig.scaled(factor, unit)
    series = {name: (np.arange(len(error)) / fps, median(error[:, v], 1)) for v, name in enumerate(names)}
    even, worst = _moments(error)
    wanted = [(names[v], f, v) for v in range(len(names)) for f in even] + [("worst", f, v) for f, v in worst]
    windows = {(v, f): cut_out(projected[f, v], observed[f, v], image_size[v]) for _, f, v in wanted}
    known, stride = np.isfinite(found.pose).all(-1).any(-1), max(1, -(-len(error) // MAX_FRAMES))
    rows = shown_rows(known, stride, len(names), images is not None)
    read = read_images(windows, [(v, row) for v in range(len(names)) for row in rows], images)
    views = camera_views(read, rows, projected, observed, image_size)
    return Page(
        title=title,
        subtitle=f"{report.cameras} cameras and {report.frames:,} frames of one person. "
        + ("The cameras were found from the person's joints." if report.starts else "The cameras were given."),
        skeleton=found.skeleton,
        facts={**facts, **({"notes": "\n".join(notes)} if notes else {})},
        verdict=verdict if verdict.reasons else replace(verdict, reasons=(NO_DOUBT,)),
        tables=[_quality_table(found), _camera_table(error, counted, names, offsets, points)],
        details=[_joint_table(error, found, names, points), _limb_table(found, factor, unit, scale_note)],
        curves=[
            *motion_curves(
                found.pose * factor,
                found.deviation * factor,
                found.skeleton,
                up,
                unit,
                fps,
                float("nan") if world is None else world.ground * factor,
            ),
            Curve("Reprojection error, median over joints", SECONDS, "px", series, clock="time"),
        ],
        curves_title="Over time",
        curves_lead=LEAD,
        samples=_samples(found, projected, observed, error, names, wanted, windows, read, up, factor),
        samples_protocol=f"distance from the reprojected 3D joint to the observed keypoint, median over joints, {points}",
        pose_unit=unit,
        labels=("reprojected 3D", "observed 2D"),
        rig=RigScene(rig.cameras, found.pose * factor, fps, up, unit, note=scale_note, up_note=up_note, views=views),
        sections=("results", "rig", "curves", "samples", "details", "run"),
    )


def shown_up(found: Solution, up: Float[Array, " 3"] | None, world: World | None) -> tuple[Float[Array, " 3"], str]:
    """Which way is up on a page, and where that is from, if not from gravity."""
    if up is not None:
        return up, ""
    if world is not None:
        return world.up, f"As in the files: {world.note}."
    return level_up(found.rotation), "Which way is up is unknown: shown as if the cameras were level."


def shown_scale(unit: str, world: World | None) -> tuple[float, str, str]:
    """The factor on lengths, their unit on a page, and by what they are millimetres where footage or cameras do not say."""
    by = ""
    if world is not None and world.scale_from != GIVEN:
        by = f"Millimetres by the {world.scale_from}, {world.stature_mm:.0f} mm (+/- {world.scale_sigma:.0%})."
    if unit == "mm" or world is None:
        return 1.0, UNITS[unit], by
    return world.mm_per_unit, "mm", by


def _quality_table(found: Solution) -> Table:
    """The report's figures, each with its own words."""
    r = found.report
    of_seen = f"of all joints in all frames; of those that two cameras see {_percent(r.coverage_of_seen)}"
    rows: list[list[Cell]] = [
        ["reprojection, median", f"{r.reprojection_median:.1f} px", "all input points, outliers included"],
        ["reprojection, 90th percentile", f"{r.reprojection_p90:.1f} px", ""],
        ["noise of one coordinate", f"{r.noise_px:.1f} px", "robust estimate of the adjustment"],
        ["coverage", _percent(r.coverage), of_seen],
        ["observations that agree", _percent(r.inlier_share), "with their joint"],
        ["thigh length, spread", _percent(r.thigh_cv), "standard deviation over mean, both thighs"],
    ]  # fmt: skip
    if r.worst_pair:
        error, pair = f"{r.predicted_rotation_deg:.2f}°", f"worst pair of cameras ({' and '.join(r.worst_pair)})"
        how = "root mean square, largest of all pairs" if r.assumes_centres else f"root mean square, {pair}"
        rows.append(["camera rotation, predicted error", error, how])
        if r.assumes_centres:
            what = f"{pair}; the verdict goes by this; the rest is for principal points, taken as the images' middles"
            rows.append(["of which noise", f"{r.rotation_noise_deg:.2f}°", what])
    if r.starts:
        times = f"{r.gap:.2f}" if r.gap < 1000 else "over 1,000"
        gap = f"the next best rig costs {times} times as much" if np.isfinite(r.gap) else "no other rig was found"
        rows.append(["starts that agree", f"{r.agreeing_starts} of {r.starts}", gap])
    if r.swapped_sides:
        rows.append(["left and right exchanged back", _percent(r.swapped_sides), "of images"])
    protocol = (
        f"{r.frames:,} frames, {r.cameras} cameras; input points with confidence above {REPORT_CONFIDENCE}, px of "
    )
    how = "the full image with the lens undone; poses as triangulated, not smoothed"
    return Table("Quality", ["", "measured", "of what"], rows, protocol + how, words=True)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if np.isfinite(share) else "–"


def _camera_table(
    error: Array, counted: Array, names: Sequence[str], offsets: Mapping[str, float] | None, points: str
) -> Table:
    """Which camera is bad: its errors, how often it sees the person, and by how much it began later than the first."""
    offsets = offsets or {}
    rows: list[list[Cell]] = []
    for v, name in enumerate(names):
        own = error[:, v][np.isfinite(error[:, v])]
        middle, most = (float(x) for x in np.percentile(own, [50, 90])) if len(own) else (None, None)
        row: list[Cell] = [name, middle, most, f"{counted[:, v].any(1).mean():.0%}"]
        rows.append([*row, f"{-offsets.get(name, 0.0):+z.2f}"] if any(offsets.values()) else row)
    columns = ["camera", "reprojection, px", "90 %, px", "person seen"]
    protocol = f"median and 90th percentile over joints and frames; {points}"
    if any(offsets.values()):
        columns.append("began later")
        protocol += "; began later: frames after the cameras that have 0, found from the person's motion"
    return Table("By camera", columns, rows, protocol)


def _joint_table(error: Array, found: Solution, names: Sequence[str], points: str) -> Table:
    rows: list[list[Cell]] = [["all joints", *median(error, (0, 2)), float(median(error))]]
    for j, name in enumerate(found.skeleton.joint_names):
        rows.append([in_words(name), *median(error[:, :, j], 0), float(median(error[:, :, j]))])
    return Table("Reprojection error by joint and camera, px", ["", *names, "all cameras"], rows,
                 f"median over frames; {points}", highlight=[0], heat=True)  # fmt: skip


def _limb_table(found: Solution, factor: float, unit: str, note: str) -> Table:
    rows: list[list[Cell]] = []
    limbs = found.skeleton.rigid_limbs
    for limb, length in zip(limbs, limb_lengths(found.pose * factor, limbs).T):
        length = length[np.isfinite(length)]
        ends = " – ".join(in_words(found.skeleton.joint_names[i]) for i in limb)
        known = len(length) >= 3
        rows.append([ends, float(length.mean()) if known else None,
                     _percent(float(length.std() / length.mean())) if known else None, len(length)])  # fmt: skip
    return Table("Limb lengths", ["", f"mean, {unit}", "spread", "frames"], rows,
                 "reconstructed joints, no smoothing; spread is the standard deviation over the mean", note)  # fmt: skip


def _moments(error: Array) -> tuple[list[int], list[tuple[int, int]]]:
    """Frames spread evenly over those that were reconstructed, and the (frame, camera) of the largest errors.

    The worst are taken one after the other, each at least a twentieth of the recording from those before it in the
    same camera, or they would all show one moment.
    """
    score = median(error, 2)
    seen = np.flatnonzero(np.isfinite(score).any(axis=1))
    spread = np.linspace(0, len(seen) - 1, MOMENTS + 2).round().astype(int)[1:-1]
    even = sorted({int(seen[i]) for i in spread if len(seen)})
    worst: list[tuple[int, int]] = []
    for flat in np.argsort(-np.where(np.isfinite(score), score, -np.inf), axis=None, kind="stable"):
        frame, view = (int(i) for i in np.unravel_index(flat, score.shape))
        if len(worst) == WORST or not np.isfinite(score[frame, view]):
            break
        if frame not in even and all(v != view or abs(f - frame) > len(score) / 20 for f, v in worst):
            worst.append((frame, view))
    return even, worst


def _samples(
    found: Solution,
    projected: Array,
    observed: Array,
    error: Array,
    names: Sequence[str],
    wanted: Sequence[tuple[str, int, int]],
    windows: Mapping[tuple[int, int], Window],
    images: Seen,
    up: Array,
    factor: float,
) -> list[Sample]:
    """The chosen moments as cut-outs around the person, with the pose in that camera's frame."""
    samples = []
    for group, frame, view in wanted:
        left, top, _, _ = windows[view, frame]
        known = int(np.isfinite(found.pose[frame]).all(axis=-1).sum())
        shown = {"reprojection": f"{median(error[frame, view]):.1f} px", "joints": f"{known} of {len(found.skeleton)}"}
        samples.append(
            Sample(
                title=f"{names[view]}, frame {frame}",
                group=group,
                image=images.cuts[view, frame],
                keypoints=projected[frame, view] - [left, top],
                keypoints_true=observed[frame, view] - [left, top],
                pose=(found.pose[frame] @ found.rotation[view].T + found.translation[view]) * factor,
                errors=shown,
                up=found.rotation[view] @ np.asarray(up, dtype=float),
                note=images.missing.get((view, frame), ""),
            )
        )
    return samples


def cut_out(
    projected: Float[Array, "J 2"], observed: Float[Array, "J 2"], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a window around the person, within the image; the whole image where nobody is.

    The reconstruction decides where the person is, since a keypoint may be anywhere; keypoints do where it has nothing.
    """
    width, height = size
    for points in (projected, observed):
        inside = np.isfinite(points).all(axis=-1)
        inside &= (np.nan_to_num(points) >= 0).all(axis=-1) & (np.nan_to_num(points) < size).all(axis=-1)
        if inside.sum() >= 2:
            low, high = points[inside].min(axis=0), points[inside].max(axis=0)
            pad = MARGIN * max(float((high - low).max()), 40.0)
            left, top = np.maximum(np.floor(low - pad), 0).astype(int)
            right, bottom = np.minimum(np.ceil(high + pad) + 1, size).astype(int)
            return int(left), int(top), int(right), int(bottom)
    return 0, 0, width, height
