"""The page and the lines of an inspection: will it do, what to film again, and one image of every camera to see why.

The images are of one moment and whole, not cut out, since what is asked is how large the person is in them, what stands in
front, and what a camera shows beside.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape

from vergence.errors import VergenceError
from vergence.reconstruction.inspection.findings import Finding
from vergence.reconstruction.inspection.inspect import Inspection
from vergence.report.overlay import ON_IMAGE, draw_skeleton, thickness
from vergence.report.page import Cell, Page, Picture, RigScene, Table, Verdict
from vergence.report.reconstruction import relabelled, shown_scale, shown_up
from vergence.report.recordings.cameras import EMPTY_GROUND, shrunk
from vergence.report.viewer import LONGEST_SIDE_PX
from vergence.skeleton import H36M_17, in_words

COLOURS = {
    "good": "green",
    "note": "cyan",
    "doubtful": "yellow",
    "wrong": "bold red",
    "go": "green",
    "no-go": "bold red",
}
LISTED = 10  # pairs of cameras on the screen
MOMENTS = 40  # among which the one that is shown is chosen
LEAD = "One moment in every camera, whole images; lines are the person's joints as seen (left blue, right orange)."
ALONE = "reconstruct and learn need two cameras or more at once. 3D of this video alone can be estimated: vergence predict {}."
DOUBTED = "learn uses such a recording only with --anyway."
STANDS = {
    "no-go": "This footage gives no usable result.",
    "doubtful": f"This gives cameras and 3D, but they may be wrong, for the reasons below. {DOUBTED}",
}
NEXT = "No fault was found. Next: vergence learn {}, or vergence reconstruct."


def inspection_page(found: Inspection) -> Page:
    """Everything that was understood, as a page."""
    capture, made = found.look.source, found.reconstruction
    seen = found.observations
    rig = None
    if made is not None and made.solution is not None:
        up, note = shown_up(made.solution, made.poses.up, made.poses.world)
        factor, unit, by = shown_scale(made.poses.unit, made.poses.world)
        cameras, poses = made.rig.scaled(factor, unit).cameras, made.poses.pose * factor
        rig = RigScene(cameras, poses, found.capture.fps, up, unit, note=by, up_note=note)
    return Page(
        title=f"Inspection of {capture.folder.name if len(capture.cameras) > 1 else capture.names[0]}",
        subtitle=_sentence(f"By {found.basis}"),
        skeleton=H36M_17 if seen is None else seen.skeleton,
        facts={
            "footage": str(capture.folder),
            **({"notes": "\n".join(found.notes)} if found.notes else {}),
            "version": found.version,
        },
        verdict=Verdict(found.verdict, _reasons(found)),
        tables=[_again(found), _findings(found)][0 if found.film_again else 1 :],
        pictures=_pictures(found),
        pictures_lead=LEAD,
        rig=rig,
        details=[_cameras(found), *_pairs(found), *_joints(found)],
        sections=("results", "pictures", "rig", "details", "run"),
    )


def print_inspection(found: Inspection, console: Console) -> None:
    """The same in lines: the answer last, where it is looked for."""
    for c in found.cameras:
        parts = [
            f"{c.image_size[0]} x {c.image_size[1]}",
            f"{c.frames} frames at {c.rate:.4g} a second",
            f"lens {_lens(c.lens, c.view_deg, c.focal_deviation)}",
        ]
        parts += [f"person in {c.seen:.0%}", *([f"{c.height_px:.0f} px high"] if c.height_px == c.height_px else [])]
        console.print(f"{escape(c.name)}: {', '.join(parts)}")
    for p in found.pairs[:LISTED]:
        angle = "angle unknown" if p.angle_deg != p.angle_deg else f"{p.angle_deg:.0f} degrees apart"
        agree = "" if p.inliers != p.inliers else f", {p.inliers:.0%} of their joints agree"
        console.print(f"{escape(' and '.join(p.cameras))}: {angle}, {p.seconds:.1f} s in common{agree}")
    if len(found.pairs) > LISTED:
        console.print(f"{len(found.pairs) - LISTED} more pairs are on the page")
    console.print(f"(by {found.basis})", markup=False)
    for one in found.findings:
        again = f" {escape(_sentence(one.again))}" if one.again else ""
        console.print(f"[{COLOURS[one.state]}]{one.state:<8}[/] {escape(_sentence(one.found))}{again}")
    more = f": {DOUBTED}" if found.verdict == "doubtful" else ""
    console.print(f"[{COLOURS[found.verdict]}]{found.verdict}[/]{more}")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def _reasons(found: Inspection) -> list[str]:
    spoken = [one for one in found.findings if one.state in ("wrong", "doubtful")]
    if not spoken:
        return [NEXT.format(shlex.quote(found.look.source.folder.name))]
    if len(found.cameras) == 1 and found.observations is not None:
        return [ALONE.format(_given(found)), *(_sentence(one.found) for one in spoken)]
    return [STANDS[found.verdict], *(_sentence(one.found) for one in spoken)]


def _given(found: Inspection) -> str:
    """The only camera's video, as a command line has it."""
    video = found.look.source.cameras[0].video
    return "VIDEO" if video is None else shlex.quote(video.name)


def _known(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> tuple[list[str], list[list[Cell]]]:
    """Without columns in which nothing is known."""
    kept = [i for i in range(len(columns)) if not i or any(row[i] is not None for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _again(found: Inspection) -> Table:
    rows: list[list[Cell]] = []
    for again in found.film_again:
        why = [
            _sentence(one.found) for one in found.findings if one.again == again and one.state in ("wrong", "doubtful")
        ]
        rows.append([_sentence(again), " ".join(why)])
    return Table(
        "What to film again",
        ["do this", "because"],
        rows,
        "the worst first; notes are in the next table",
        words=True,
    )


def _findings(found: Inspection) -> Table:
    def row(one: Finding) -> list[Cell]:
        return [
            one.what,
            one.state,
            _sentence(one.found),
            _sentence(one.again) if one.again and one.state == "note" else "",
        ]

    bold = [i for i, one in enumerate(found.findings) if one.state == "wrong"]
    protocol = "each figure has its limit; wrong: no result; doubtful: the result may be wrong"
    rows = [row(one) for one in found.findings]
    return Table("What was found", ["what", "state", "found", "better"], rows, protocol, highlight=bold, words=True)


def _lens(lens: str, view: float, deviation: float) -> str:
    if view != view:
        return "unknown"
    if deviation > 1:
        return f"{lens}, but hardly known"
    sure = f", focal length ± {deviation:.0%}" if deviation == deviation and deviation else ""
    return f"{lens}, {view:.0f}° along the longer side{sure}"


def _cameras(found: Inspection) -> Table:
    rows: list[list[Cell]] = []
    for c in found.cameras:
        time = "time stamps" if c.stamped else "frame numbers"
        time += f", begins {c.begins:.2f} s late" if c.begins else ""
        time += f", dropped at {c.holes}" if c.holes else ""
        turn = None if c.turn is None else "upright" if not c.turn else f"turned by {c.turn * 90}°"
        still = None if c.moves != c.moves else f"{c.moves:.1%}"
        frames = f"{c.frames:,} at {c.rate:.4g}"
        rows.append([c.name, f"{c.image_size[0]} × {c.image_size[1]}", frames, time,
                     _lens(c.lens, c.view_deg, c.focal_deviation), turn, still, c.people, f"{c.seen:.0%}", _px(c.height_px),
                     _px(c.error_px)])  # fmt: skip
    columns = ["camera", "image, px", "frames, a second", "time by", "lens", "people", "moves",
               "most at once", "person seen", "person's height", "error"]  # fmt: skip
    protocol = "moves: how far corners of the image move, of its longer side; height in px of the full image"
    protocol += "; error: median reprojection" if len(found.cameras) > 1 else ""
    return Table("Cameras", *_known(columns, rows), protocol)


def _px(value: float) -> str | None:
    return None if value != value else f"{value:.0f} px" if value >= 20 else f"{value:.1f} px"


def _pairs(found: Inspection) -> list[Table]:
    rows: list[list[Cell]] = []
    for p in found.pairs:
        angle = None if p.angle_deg != p.angle_deg else f"{p.angle_deg:.0f}°"
        offset = None if p.offset != p.offset else f"{p.offset:+z.1f} ± {p.deviation:.1f}"
        agree = None if p.inliers != p.inliers else f"{p.inliers:.0%}"
        rows.append([" – ".join(p.cameras), f"{p.seconds:.1f} s ({p.overlap:.0%})", angle, offset, agree])
    columns = ["cameras", "person seen by both", "angle", "later, frames", "joints that agree"]
    protocol = (
        "angle between the cameras' directions from the person; later: the second one, by the person's motion, and its "
    )
    protocol += "standard deviation; joints that both see and that are inliers"
    return [Table("Pairs of cameras", columns, rows, protocol)] if rows else []


def _joints(found: Inspection) -> list[Table]:
    rows: list[list[Cell]] = [
        [
            in_words(j.name),
            f"{j.seen:.0%}",
            None if j.together != j.together else f"{j.together:.0%}",
            _px(j.noise_px),
            None if j.noise != j.noise else f"{j.noise:.1%}",
        ]
        for j in found.joints
    ]
    columns, several = ["joint", "seen", "by two cameras", "noise", "of the person"], len(found.cameras) > 1
    protocol = "seen: share of images with the person that show the joint with confidence above 0.3; "
    if several:
        protocol += "by two cameras: of time steps in which two see the person; noise: median reprojection error"
    else:
        protocol += (
            "noise: how much it trembles from frame to frame, standard deviation of a coordinate by third differences"
        )
    protocol += ", and its share of the person's size"
    return [Table("Joints", *_known(columns, rows), protocol)] if rows else []


def _pictures(found: Inspection) -> list[Picture]:
    """One whole image of every camera, of one moment."""
    seen, capture, step = found.observations, found.capture, _moment(found)
    keypoints = None if seen is None else seen.keypoints[step]
    if found.reconstruction is not None and found.reconstruction.solution is not None and seen is not None:
        keypoints = relabelled(seen.keypoints, found.reconstruction.solution.side)[step]
    out = []
    for v, (camera, shown) in enumerate(zip(capture.cameras, found.cameras)):
        who = "Nobody is seen here at this moment"
        try:
            image, note = found.look.image(capture, v, step), ""
        except VergenceError as error:
            width, height = camera.image_size
            image, note = np.full((height, width, 3), EMPTY_GROUND, np.uint8), f"No image: {error.problem}. "
        full, image = image, shrunk(image, LONGEST_SIDE_PX)
        scale = np.array(image.shape[1::-1]) / full.shape[1::-1]
        if keypoints is not None and seen is not None and np.isfinite(keypoints[v, :, 2]).any():
            who = f"The person is {shown.height_px:.0f} px high"
            points = (keypoints[v, :, :2] + 0.5) * scale - 0.5
            width = max(2, thickness(image.shape[0]))
            draw_skeleton(image, points, seen.skeleton, ON_IMAGE, width, keypoints[v, :, 2], halo=True)
        out.append(Picture(f"{camera.name}, {_time(found, step)}", image, f"{note}{_sentence(who)}"))
    return out


def _time(found: Inspection, step: int) -> str:
    own = found.look.start + found.look.stride * step
    return f"{own / found.look.source.fps:.2f} s"


def _moment(found: Inspection) -> int:
    """The time step in which most cameras see most of the person; of several the middle one."""
    seen = found.observations
    if seen is None:
        return 0
    steps: Sequence[int] = np.unique(np.linspace(0, len(seen.keypoints) - 1, MOMENTS).astype(int)).tolist()
    middle = len(seen.keypoints) / 2
    there = np.isfinite(seen.keypoints[..., 2])
    return min(steps, key=lambda t: (-there[t].any(1).sum(), -there[t].sum(), abs(t - middle)))
