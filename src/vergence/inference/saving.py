"""Predictions of a whole recording as files: in blocks of frames, in little memory, and on from where a kill left them.

Poses of a block are worked out, written to their places, and marked as done (`work`): when the block's overlay is there as
well where images are looked at, else before all overlays. These are pieces of video, joined at the end without coding them
again. What takes no time is made anew by every call: smoothing, the root's place in the camera's frame, the person's scale,
the files themselves. So a call that was killed gives the same bytes as one that was not, and an hour of video takes as much
memory as a minute.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vergence import __version__, outputs
from vergence.errors import VergenceError
from vergence.files import check_writable, plain, write_json, write_text
from vergence.folders import held
from vergence.footage.detectors.detect import content
from vergence.inference.frames import BLOCK, PredictedFrame, PredictedFrames, Tally
from vergence.inference.person import Person
from vergence.inference.recording.drawing import Along, Draw, joined, write_overlay
from vergence.inference.recording.final import Final, SavedPerson, Stored, kind_of
from vergence.inference.recording.smoothing import window_frames
from vergence.inference.recording.work import Rows, Work, blocks
from vergence.inference.takes import Take
from vergence.outputs.angles import write_angles
from vergence.outputs.limbs import write_limbs
from vergence.outputs.sequence import UNSURE
from vergence.plugins import exporters
from vergence.progress import Progress, followed, silent


@dataclass(frozen=True)
class Saved:
    """What was written of a recording.

    Attributes:
        folder: of the files.
        people: those who have a pose.
        frames: that were looked at.
        overlay: its file's name; empty where none was drawn.
        notes: what was assumed and what was found, as sentences.
    """

    folder: Path
    people: tuple[SavedPerson, ...]
    frames: int
    overlay: str
    notes: tuple[str, ...]


# The page of a finished recording as HTML: from the frames, everybody, and what was written.
Page = Callable[[PredictedFrames, Sequence[Final], Saved], str]


def save_predicted(
    found: PredictedFrames,
    out: str | Path,
    *,
    smooth: float = 0.0,
    height: float | None = None,
    formats: Iterable[str] = outputs.FORMATS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    draw: Draw | None = None,
    page: Page | None = None,
    progress: Progress = silent,
) -> Saved:
    """Predicts a whole recording and writes its files. After a kill the same call continues.

    One person's files are `poses.npz` and so on, `angles.csv` and `limbs.csv`; where everybody was asked for, `poses-1.npz`,
    `poses-2.npz`, and `people.json`, which lists them.

    Args:
        found: of `predict`, of which no frame was taken yet.
        out: folder; what stands there under the same names is replaced.
        smooth: seconds over which poses are smoothed, at most 2; 0 for not at all.
        height: of the people, metres: poses are then in mm.
        formats: names in `vergence.plugins.exporters`.
        options: by format, what its exporter takes (`outputs.options`).
        draw: makes a frame of the overlay; none is made without.
        page: makes `report.html`; none is made without.
        progress: reports every frame.

    Raises:
        VergenceError: nobody was seen, arrays instead of a file, or a file that cannot be written.
    """
    take, out, formats = found.take, Path(out), list(formats)
    check_saving(out, smooth, height, formats, options)
    if take.footage.path is None or take.rows is None:
        raise VergenceError("images that are no file cannot be gone on with", "Use `collect` and `outputs.write`.")
    tall, window = outputs.height_mm(height), window_frames(smooth, take.footage.fps)
    with held(out):
        work = Work(out, _asked(found, draw is not None, window))
        drawn = draw is not None and found.looks and not take.footage.single  # while the images are read anyway
        with Along(found, draw, work, window) if draw is not None and drawn else nullcontext() as along:
            stored = _predicted(found, work, along, progress)
        if not found.tally.seen:
            work.remove()
            found.tally.check_seen()
        people = [
            Final.of(found, p, stored[p.number], window, tall, work) for p in take.people if stored[p.number].seen
        ]
        overlay = ""
        if draw is not None:
            overlay = joined(work) if drawn else write_overlay(found, people, draw, work, progress)
        saved, said = [], dict[str, str]()
        for one in followed(people, "files", len(people), progress):
            stem = f"poses-{one.number}" if take.everybody else "poses"
            told = outputs.write(work.files, one.poses, formats, stem=stem, **(options or {}))
            said = {name: said.get(name) or note for name, note in told.items()}
            angles, limbs = (f"{stem.replace('poses', what)}.csv" for what in ("angles", "limbs"))
            write_angles(work.files / angles, one.poses)
            write_limbs(work.files / limbs, one.poses)
            saved.append(one.saved((*(f"{stem}.{name}" for name in formats), angles, limbs)))
        if take.everybody:
            write_json(work.files / "people.json", {"people": saved})
        whole = Saved(out, tuple(saved), len(take.rows), overlay, (*found.notes, *outputs.notes_of_files(said)))
        if page is not None:
            write_text(work.files / "report.html", page(found, people, whole))
        whole = replace(whole, notes=(*whole.notes, *_of_earlier_calls(out, work.files)))
        for file in sorted(work.files.iterdir()):
            os.replace(file, out / file.name)
        work.remove()
        return whole


def check_saving(
    out: Path,
    smooth: float,
    height: float | None,
    formats: Iterable[str],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Checks what `save_predicted` is asked, which needs no image: before hours of looking for people.

    Raises:
        VergenceError: a folder that is a file, or what is out of its range or not there.
    """
    check_writable(out, folder=True)
    outputs.check(formats, options)
    _ = outputs.height_mm(height), window_frames(smooth, 1.0)


def _of_earlier_calls(out: Path, files: Path) -> Iterator[str]:
    """Takes away files of people whom this call did not find, or did not number; names what else an earlier call left."""
    new = {file.name for file in files.iterdir()}
    numbers = {name.split(".")[0] for name in new}
    kinds = "|".join(map(re.escape, exporters))
    ours = re.compile(
        rf"((?:poses|angles|limbs)(-[1-9][0-9]*)?)\.({kinds})|(people)\.json|(overlay)\.(mp4|png)|report\.html"
    )
    left = [
        (name, one) for name in sorted({file.name for file in out.iterdir()} - new) if (one := ours.fullmatch(name))
    ]
    gone = [name for name, one in left if one[4] or (one[1] and one[1] not in numbers)]
    for name in gone:
        (out / name).unlink()
    if gone:
        yield f"removed files of an earlier call, of other people: {', '.join(gone)}"
    if kept := [name for name, _ in left if name not in gone]:
        yield f"files of an earlier call that remain: {', '.join(kept)}"


def _asked(found: PredictedFrames, drawn: bool, window: int) -> dict[str, Any]:
    """All that poses and overlay depend on."""
    take = found.take
    path, rows = take.footage.path, take.rows
    assert path is not None
    assert rows is not None
    intrinsics, distortion = take.lens.intrinsics(take.size)
    lens = [intrinsics, distortion, take.lens.up, take.size]
    people = [_whereabouts(person, take) for person in take.people]
    return {
        "vergence": __version__, "model": found.identity, "video": content(path), "frames": _digest([rows]), "drawn": drawn,
        "fps": take.footage.fps, "lens": plain(lens), "people": people, "smoothed": window, "block": BLOCK,
    }  # fmt: skip


def _whereabouts(person: Person, take: Take) -> str:
    """A digest of where a person is."""
    rows = take.rows or ()
    if person.track is None:
        return _digest(np.array([np.nan] if (box := person.at(row, take.size)) is None else box) for row in rows)
    track = person.track
    return _digest(track.window(number * BLOCK, (number + 1) * BLOCK) for number, _, _ in blocks(rows, BLOCK))


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:24]


def _predicted(found: PredictedFrames, work: Work, along: Along | None, progress: Progress) -> dict[int, Stored]:
    """Everybody's poses in all frames: those that are there, and the rest, which are drawn along."""
    take, kind = found.take, kind_of(len(found.skeleton))
    files = {person.number: Rows(work.folder / f"poses-{person.number}.bin", kind) for person in take.people}
    places = blocks(take.rows or (), BLOCK)
    done = int(work.state.get("poses", 0))  # blocks
    seen = {person.number: int(work.state.get("seen", {}).get(str(person.number), 0)) for person in take.people}
    found.tally = Tally(**work.state.get("tally", {}))
    results = found.blocks(places[done][0], progress, along is not None) if done < len(places) else iter(())
    waiting = next(results, None)
    for index in range(done, len(places)):
        number, start, stop = places[index]
        here = {person: np.full(stop - start, _nothing(kind), kind) for person in files}
        if waiting is not None and waiting[0] == number:
            row_of = {frame: row for row, frame in enumerate((take.rows or ())[start:stop])}
            for frame in waiting[1]:
                _put(here[frame.person], row_of[frame.frame], frame)
                seen[frame.person] += frame.seen
                if along is not None:
                    along.give(frame)
            waiting = next(results, None)
        for person, records in here.items():
            files[person].write(start, records)
        state = {"poses": index + 1, "seen": dict(seen), "tally": asdict(found.tally)}
        if along is None:
            work.mark(**state)
        else:
            along.end(number, state)
    return {person: Stored(rows, seen[person]) for person, rows in files.items()}


def _nothing(kind: np.dtype) -> np.ndarray:
    row = np.zeros((), kind)
    for name in kind.names or ():
        row[name] = -1 if name == "reliable" else np.nan
    return row


def _put(records: np.ndarray, row: int, frame: PredictedFrame) -> None:
    records["pose"][row], records["keypoints"][row] = frame.pose, frame.keypoints
    records["confidence"][row] = frame.confidence
    for name in UNSURE:
        if (told := getattr(frame, name)) is not None:
            records[name][row] = told
    if frame.box is not None:
        records["box"][row] = frame.box
    if frame.reliable is not None:
        records["reliable"][row] = int(frame.reliable)
