"""The page of a prediction: the video's images beside everybody's 3D in time, what was found of whom, and what to know of it.

A page must open anywhere, so its size is bounded whatever the length of the video: a short recording is shown whole, of a long
one stretches that are spread over the time with somebody in view. The images are the video's own, a few a second, each with
the joints that were found in it; the 3D between them is every moment's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from vergence.inference.frames import PredictedFrames, reduced_image
from vergence.inference.recording.final import Final
from vergence.inference.saving import Saved
from vergence.outputs.angles import angles_of
from vergence.report.page import Cell, Clip, Curve, Page, Still, Table, Verdict
from vergence.report.recordings.motion import angle_curves, binned, with_bands
from vergence.report.render import render_page
from vergence.report.viewer import MAX_FRAMES

WHOLE_S = 24.0  # a recording of at most this length is shown whole
STRETCHES, STRETCH_S = 6, 4.0  # of a longer one
MOST_PER_SECOND = 30.0
MOST_STILLS = 96
MOST_PEOPLE = 8
CURVE_ROWS = 400
COVERED = "On the built-in world two deviations held 85 % (hips) to 99 % (elbows) of the true angles."
BARS = 20  # of a deviation in one chart, about


def prediction_page(found: PredictedFrames, people: Sequence[Final], saved: Saved) -> Page:
    """A finished recording as a page."""
    domain, clip = found.domain, _clip(found, people)
    files = [name for one in saved.people for name in one.files] + [saved.overlay] * bool(saved.overlay)
    facts = {"input": str(found.take.footage.path), "files": ", ".join(files)}
    verdict = Verdict(domain.verdict, domain.reasons) if domain.verdict == "doubtful" else None
    if domain.drawn:
        verdict = Verdict("doubtful", (f"{domain.words[0].upper()}{domain.words[1:]}.",))
    return Page(
        title=f"3D of {found.take.footage.name}",
        subtitle=f"{saved.frames:,} frames, {len(people)} {'person' if len(people) == 1 else 'people'}, one camera",
        skeleton=found.skeleton,
        facts=facts,
        verdict=verdict,
        tables=[_notes(found, people, saved), _people(people, saved)],
        curves=[*_angles(people[0]), *_distances(people)],
        curves_title="Over time",
        curves_lead=_curves_lead(people),
        clip=clip,
        sections=("clip", "curves", "results", "run"),
    )


def prediction_html(found: PredictedFrames, people: Sequence[Final], saved: Saved) -> str:
    """The same as HTML, for `save_predicted`."""
    return render_page(prediction_page(found, people, saved))


def print_predicted(found: PredictedFrames, saved: Saved, console: Console) -> None:
    """On the screen: what was assumed and found, then everybody and the files."""
    print_notes(found, saved.notes, console)
    for person in saved.people:
        who = f"person {person.number}, {person.first:.1f} to {person.last:.1f} s: " if found.take.everybody else ""
        have = f"{who}{person.frames} of {saved.frames} frames have a pose."
        if found.take.person.whole is not False:
            have = f"{saved.frames} frames, each taken whole as a crop of one person."
        files = [*person.files, *([saved.overlay] if saved.overlay and person is saved.people[-1] else [])]
        console.print(escape(f"{have} {saved.folder}: {', '.join(files)}"))
    console.print(escape(str(saved.folder / "report.html")))


def print_notes(found: PredictedFrames, notes: Sequence[str], console: Console) -> None:
    """Sentences in faint print, but for a model that saw drawn people only."""
    for note in notes:
        style = "bold yellow" if found.domain.drawn and note == found.domain.words else "dim"
        console.print(f"[{style}]{escape(note)}[/]")


def _scale(people: Sequence[Final]) -> tuple[list[float], str]:
    """For each person the factor of the files' unit to the page's, and that unit."""
    worlds = [one.poses.known_world for one in people]
    if all(world is not None for world in worlds):
        return [world.mm_per_unit for world in worlds if world is not None], "mm"
    return [1.0] * len(people), "reference bones"


def _clip(found: PredictedFrames, people: Sequence[Final]) -> Clip:
    take, shown = found.take, people[:MOST_PEOPLE]
    fps, frames = take.footage.fps, people[0].poses.frames
    stretches = _stretches(np.any([one.seen for one in people], axis=0), fps)
    step = max(1, round(fps / MOST_PER_SECOND))
    rows = np.concatenate([np.arange(a, b, step) for a, b in stretches])
    scale, unit = _scale(shown)
    poses = np.stack([one.poses.pose[rows] * k for one, k in zip(shown, scale)])
    roots = None
    if all(one.poses.root is not None for one in shown):
        roots = np.stack([one.poses.root[rows] * k for one, k in zip(shown, scale)])  # type: ignore[index]
    lead = f"All {len(frames):,} frames." if len(rows) * step >= len(frames) else (
        f"{len(stretches)} stretches of {STRETCH_S:g} s, spread over the time with somebody in view; the files have all "
        f"{len(frames):,} frames.")  # fmt: skip
    lead += f" An image stays until the next; the 3D moves at {fps / step:.3g} a second. Space plays, arrow keys step."
    if len(people) > len(shown):
        lead += f" The {len(shown)} who are most in view; {len(people) - len(shown)} more are in the files."
    camera = replace(take.camera(take.size), rotation=np.eye(3), translation=np.zeros(3))
    first = np.cumsum([0, *(len(range(a, b, step)) for a, b in stretches)])[:-1]
    return Clip(camera, poses, roots, [one.number for one in shown], frames[rows].tolist(),
                people[0].poses.times[rows].tolist(), first.tolist(), _stills(found, shown, rows, stretches), fps / step,
                _up(people[0]), unit, lead)  # fmt: skip


def _up(one: Final) -> np.ndarray | None:
    """Gravity's opposite as it is known, or as the files take it."""
    world = one.poses.known_world
    return one.poses.up if one.poses.up is not None or world is None else world.up


def _stretches(seen: np.ndarray, fps: float) -> list[tuple[int, int]]:
    """First rows and the rows behind the last, of what is shown."""
    if len(seen) <= WHOLE_S * fps:
        return [(0, len(seen))]
    there, half = np.flatnonzero(seen), round(STRETCH_S * fps / 2)
    middles = there[((np.arange(STRETCHES) + 0.5) / STRETCHES * len(there)).astype(int)]
    found: list[tuple[int, int]] = []
    for middle in middles.tolist():
        start = min(max(0, middle - half), max(0, len(seen) - 2 * half))
        stop = min(start + 2 * half, len(seen))
        if found and start <= found[-1][1]:
            start = found.pop()[0]
        found.append((start, stop))
    return found


def _stills(
    found: PredictedFrames, people: Sequence[Final], rows: np.ndarray, stretches: Sequence[tuple[int, int]]
) -> list[Still]:
    """Images of evenly spread rows, from each stretch's first on; what cannot be read is left out."""
    take, frames = found.take, people[0].poses.frames
    every = max(1, -(-len(rows) // MOST_STILLS))
    wanted: dict[int, int] = {}
    for start, stop in stretches:
        own = np.flatnonzero((rows >= start) & (rows < stop))
        wanted |= {int(frames[rows[at]]): int(at) for at in own[::every]}
    stills = []
    for start, stop in stretches:
        asked = [frame for frame in frames[start:stop].tolist() if frame in wanted]
        for frame, image in take.footage.images(asked):
            row = wanted[frame]
            full = take.fitted(image)
            small = reduced_image(full)
            factor = np.array(small.shape[1::-1]) / full.shape[1::-1]
            points = [(one.poses.keypoints[rows[row]] + 0.5) * factor - 0.5 for one in people]  # type: ignore[index]
            stills.append(Still(row, small, np.stack(points)))
    return stills


def _notes(found: PredictedFrames, people: Sequence[Final], saved: Saved) -> Table:
    """What to know before the poses are used, a row for each thing."""
    poses, unit = people[0].poses, _scale(people)[1]
    files = {"mm": "millimetres", "m": "metres", "reference_bone": "reference bones (pelvis to thorax is 1)"}[
        poses.unit
    ]
    shown = "" if poses.unit == unit else f"; shown here in {unit}"
    world = poses.known_world
    root = "not known: poses are relative to their root"
    if (sigma := _sigma(people[0])) is not None:
        root = f"in the camera's frame, by least squares on the joints' rays; standard deviation of the distance {sigma:.0%}"
        root += ", plus the error of the assumed lens" if found.take.lens.camera is None else ""
    rows: list[list[Cell]] = [
        ["the model", found.domain.words or "the model's training data is not known"],
        ["its training", found.domain.verdict or "nothing speaks for or against it"],
        ["its error", found.domain.error or "not measured on footage"],
        ["unit of NPZ, JSON, CSV", f"{files}{shown}; TRC (--trc-unit) and C3D in mm, BVH in cm, USD in metres"],
        ["assumed or measured", world.note or "nothing had to be assumed"]
        if world is not None
        else ["scale", "unknown"],
        ["where people are", root],
        ["smoothing", poses.smoothing or "none: the model's own poses"],
    ]
    told = (found.domain.words, found.domain.error, *([world.note] if world is not None and world.note else []))
    said = [note for note in saved.notes if not any(one and note.endswith(one) for one in told)]
    rows += [["noted" if not i else "", note] for i, note in enumerate(said)]
    return Table("What to know", ["", ""], rows, "as the files say it", words=True)


def _sigma(one: Final) -> float | None:
    """Standard deviation of the distance over the distance, in the median."""
    if one.poses.root is None or one.poses.root_sigma is None:
        return None
    rows = np.flatnonzero(one.seen)[:: max(1, int(one.seen.sum()) // CURVE_ROWS)]
    share = one.poses.root_sigma[rows, 2] / one.poses.root[rows, 2]
    return float(np.nanmedian(share)) if np.isfinite(share).any() else None


def _people(people: Sequence[Final], saved: Saved) -> Table:
    scale, unit = _scale(people)
    rows: list[list[Cell]] = []
    for one, about, k in zip(people, saved.people, scale):
        some = np.flatnonzero(one.seen)[:: max(1, int(one.seen.sum()) // CURVE_ROWS)]
        root = None if one.poses.root is None else one.poses.root[some, 2] * k
        sure = None if one.poses.confidence is None else one.poses.confidence[some]
        rows.append([f"person {one.number}", about.frames, f"{about.first:.1f} to {about.last:.1f} s",
                     None if root is None or not np.isfinite(root).any() else float(np.nanmedian(root)),
                     None if sure is None or not np.isfinite(sure).any() else float(np.nanmedian(sure))])  # fmt: skip
    columns = ["", "frames with a pose", "seen", f"distance, {unit}", "confidence"]
    protocol = f"of {saved.frames:,} frames; distance of the root from the camera and confidence of the joints: medians"
    return Table("Who was found", columns, rows, protocol)


def _angles(one: Final) -> list[Curve]:
    """Joint angles of who is most in view; of a long recording by stretches."""
    if len(one.seen) < 2:
        return []
    x, angles = one.poses.times, angles_of(one.poses, _up(one))
    lines = with_bands(angles)
    if len(x) > MAX_FRAMES:
        lines, x = binned({name: values for name, (values, _) in angles.items()}, x)
    return angle_curves(lines, x)


def _curves_lead(people: Sequence[Final]) -> str:
    """What the charts of angles are of."""
    first = people[0]
    lead = "Angles are computed from joint centres; 0 is standing straight with hanging arms."
    if len(people) > 1:
        lead += f" They are person {first.number}'s; the others' are in angles-2.csv and so on."
    if len(first.seen) > MAX_FRAMES:
        each = -(-len(first.seen) // MAX_FRAMES)
        lead += f" A value is the median of {each} frames, its band from their least to their greatest; the CSV file has all."
    if first.poses.error is None:
        return lead + " How wrong the model's angles are is not known here."
    what = "Bands are two" if len(first.seen) <= MAX_FRAMES else "The CSV file has the"
    return f"{lead} {what} standard deviations, by the joints' expected errors. {COVERED}"


def _distances(people: Sequence[Final]) -> list[Curve]:
    """How far away everybody is, with the standard deviation."""
    scale, unit = _scale(people)
    series: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    for one, k in zip(people[:MOST_PEOPLE], scale):
        if one.poses.root is None or one.poses.root_sigma is None or len(one.seen) < 2:
            continue
        some = np.unique(np.linspace(0, len(one.seen) - 1, min(len(one.seen), CURVE_ROWS)).round().astype(int))
        depth, sigma = one.poses.root[some, 2] * k, one.poses.root_sigma[some, 2] * k
        name = f"person {one.number}"
        series[name] = (one.poses.times[some], depth)
        bars = np.where(np.arange(len(some)) % max(1, len(some) // BARS) == 0, sigma, np.nan)
        spread[name] = ((depth - bars).tolist(), (depth + bars).tolist())
    if not series:
        return []
    return [
        Curve(
            "Distance from the camera, bars of one standard deviation",
            "time, s",
            unit,
            series,
            spread=spread,
            clock="time",
        )
    ]
