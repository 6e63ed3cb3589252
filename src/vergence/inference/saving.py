"""Predictions of a whole recording as files: in blocks of frames, in little memory, and on from where a kill left them.

Poses of a block are worked out, written to their places, and marked as done (`work`); then the blocks' overlays, each a
piece of video of its own, which are joined at the end without coding them again. What takes no time is made anew by every
call: smoothing, the root's place in the camera's frame, the person's scale, the files themselves. So a call that was killed
gives the same bytes as one that was not, and an hour of video takes as much memory as a minute.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vergence import __version__, outputs
from vergence.errors import VergenceError
from vergence.files import atomic_path, check_writable, plain, write_json
from vergence.footage.detectors.detect import content
from vergence.footage.video import VideoWriter, join_videos
from vergence.geometry.root import place_root
from vergence.inference.frames import BLOCK, PredictedFrame, PredictedFrames, Tally, preview_size, reduced_image
from vergence.inference.inputs import RGB
from vergence.inference.person import Person
from vergence.inference.recording.smoothing import smoothed, window_frames, words
from vergence.inference.takes import Take
from vergence.inference.recording.work import Rows, Work, blocks, write_arrays
from vergence.outputs import PoseSequence
from vergence.plugins import exporters
from vergence.progress import Progress, followed, silent

# Rows of which scale and vertical are told where a recording has more.
TELLING_ROWS = 20_000

# An overlay's frame: of everybody's results in one frame, and the (width, height) of the first frame's small image.
Draw = Callable[[Sequence[PredictedFrame], PredictedFrames, tuple[int, int]], RGB]


@dataclass(frozen=True)
class SavedPerson:
    """What was written of a person.

    Attributes:
        number: counted from 1.
        frames: with a pose.
        first, last: seconds at which the person is first and last seen.
        files: names.
    """

    number: int
    frames: int
    first: float
    last: float
    files: tuple[str, ...]


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


def save_predicted(
    found: PredictedFrames,
    out: str | Path,
    *,
    smooth: float = 0.0,
    height: float | None = None,
    formats: Iterable[str] = outputs.FORMATS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    draw: Draw | None = None,
    progress: Progress = silent,
) -> Saved:
    """Predicts a whole recording and writes its files; a call that was killed goes on where it was.

    One person's files are `poses.npz` and so on; where everybody was asked for, `poses-1.npz`, `poses-2.npz`, and
    `people.json`, which lists them.

    Args:
        found: of `predict`, of which no frame was taken yet.
        out: folder; what stands there under the same names is replaced.
        smooth: seconds over which poses are smoothed, at most 2; 0 for not at all.
        height: of the people, metres: poses are then in mm.
        formats: names in `vergence.plugins.exporters`.
        options: by format, what its exporter takes (`outputs.options`).
        draw: makes a frame of the overlay; none is made without.
        progress: told of every frame.

    Raises:
        VergenceError: nobody was seen, arrays instead of a file, or a file that cannot be written.
    """
    take, out, formats = found.take, Path(out), list(formats)
    check_saving(out, smooth, height, formats, options)
    if take.footage.path is None or take.rows is None:
        raise VergenceError("images that are no file cannot be gone on with", "Use `collect` and `outputs.write`.")
    tall, window = outputs.height_mm(height), window_frames(smooth, take.footage.fps)
    work = Work(out, _asked(found, draw is not None, window))
    stored = _predicted(found, work, progress)
    if not found.tally.seen:
        work.remove()
        found.tally.check_seen()
    people = [Final.of(found, p, stored[p.number], window, tall, work) for p in take.people if stored[p.number].seen]
    overlay = "" if draw is None else _overlay(found, people, draw, work, progress)
    saved, said = [], dict[str, str]()
    for one in followed(people, "files", len(people), progress):
        stem = f"poses-{one.number}" if take.everybody else "poses"
        told = outputs.write(work.files, one.poses, formats, stem=stem, **(options or {}))
        said = {name: said.get(name) or note for name, note in told.items()}
        saved.append(one.saved(tuple(f"{stem}.{name}" for name in formats)))
    if take.everybody:
        write_json(work.files / "people.json", {"people": saved})
    notes = (*found.notes, *outputs.notes_of_files(said), *_of_earlier_calls(out, work.files))
    for file in sorted(work.files.iterdir()):
        os.replace(file, out / file.name)
    work.remove()
    return Saved(out, tuple(saved), len(take.rows), overlay, notes)


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
    if next(path for path in (out, *out.absolute().parents) if path.exists()).is_file():
        raise VergenceError(f"{out} is, or lies in, a file", "Give --out a folder, which is made where it is missing.")
    check_writable(out)
    _ = [exporters[name] for name in formats], outputs.height_mm(height), window_frames(smooth, 1.0)
    for given in (options or {}).values():
        outputs.check_markers(given.get("markers", ""))


def _of_earlier_calls(out: Path, files: Path) -> Iterator[str]:
    """Takes away files of people whom this call did not find, or did not number; names what else an earlier call left."""
    new = {file.name for file in files.iterdir()}
    numbers = {name.split(".")[0] for name in new}
    kinds = "|".join(map(re.escape, exporters))
    ours = re.compile(rf"(poses(-[1-9][0-9]*)?)\.({kinds})|(people)\.json|(overlay)\.(mp4|png)")
    left = [(name, one) for name in sorted({file.name for file in out.iterdir()} - new) if (one := ours.fullmatch(name))]
    gone = [name for name, one in left if one[4] or (one[1] and one[1] not in numbers)]
    for name in gone:
        (out / name).unlink()
    if gone:
        yield f"of an earlier call, of other people than this one's, and taken away: {', '.join(gone)}"
    if kept := [name for name, _ in left if name not in gone]:
        yield f"left there by an earlier call, and not of this one: {', '.join(kept)}"


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


@dataclass(frozen=True)
class Stored:
    """The rows of one person in a file; `seen`: poses among them."""

    rows: Rows
    seen: int


def _kind(joints: int) -> np.dtype:
    """A row: NaN and -1 where nothing is known."""
    points = [("pose", "<f8", (joints, 3)), ("keypoints", "<f8", (joints, 2)), ("confidence", "<f8", (joints,))]
    return np.dtype([*points, ("box", "<f8", (4,)), ("reliable", "i1")])


def _predicted(found: PredictedFrames, work: Work, progress: Progress) -> dict[int, Stored]:
    """Everybody's poses in all frames: those that are there, and the rest."""
    take, kind = found.take, _kind(len(found.skeleton))
    files = {person.number: Rows(work.folder / f"poses-{person.number}.bin", kind) for person in take.people}
    places = blocks(take.rows or (), BLOCK)
    done = int(work.state.get("poses", 0))  # blocks
    seen = {person.number: int(work.state.get("seen", {}).get(str(person.number), 0)) for person in take.people}
    found.tally = Tally(**work.state.get("tally", {}))
    results = found.blocks(places[done][0], progress) if done < len(places) else iter(())
    waiting = next(results, None)
    for index in range(done, len(places)):
        number, start, stop = places[index]
        here = {person: np.full(stop - start, _nothing(kind), kind) for person in files}
        if waiting is not None and waiting[0] == number:
            row_of = {frame: row for row, frame in enumerate((take.rows or ())[start:stop])}
            for frame in waiting[1]:
                _put(here[frame.person], row_of[frame.frame], frame)
                seen[frame.person] += frame.seen
            waiting = next(results, None)
        for person, records in here.items():
            files[person].write(start, records)
        work.mark(poses=index + 1, seen=seen, tally=asdict(found.tally))
    return {person: Stored(rows, seen[person]) for person, rows in files.items()}


def _nothing(kind: np.dtype) -> np.ndarray:
    row = np.zeros((), kind)
    for name in kind.names or ():
        row[name] = -1 if name == "reliable" else np.nan
    return row


def _put(records: np.ndarray, row: int, frame: PredictedFrame) -> None:
    records["pose"][row], records["keypoints"][row] = frame.pose, frame.keypoints
    records["confidence"][row] = frame.confidence
    if frame.box is not None:
        records["box"][row] = frame.box
    if frame.reliable is not None:
        records["reliable"][row] = int(frame.reliable)


@dataclass(frozen=True)
class Final:
    """One person as files have it.

    Attributes:
        number: the person's.
        poses: whose arrays lie in files.
        boxes: T 4, px; NaN where nobody was seen.
        bone: of the poses' unit.
    """

    number: int
    poses: PoseSequence
    boxes: np.ndarray
    bone: float

    @staticmethod
    def of(
        found: PredictedFrames, person: Person, stored: Stored, window: int, tall: float | None, work: Work
    ) -> Final:
        """Smoothed, placed and scaled, from the stored rows."""
        frames, rows = np.asarray(found.take.rows), stored.rows
        some = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), TELLING_ROWS)).round().astype(int))
        telling = np.concatenate(
            [rows.read(a, b)["pose"][some[(some >= a) & (some < b)] - a] for a, b in _pieces(frames)]
        )
        told = found.sequence(telling, None, None, None, frames[some]).seen_by(np.eye(3)[None])
        scaled = told if tall is None else told.scaled(tall)
        bone = 1.0 if scaled is told else told.in_world(tall or 0.0).mm_per_unit
        parts = (_part(found, rows, frames, a, b, window, bone) for a, b in _pieces(frames))
        arrays = write_arrays(work.folder / f"final-{person.number}", len(frames), parts)
        boxes = arrays.pop("box")
        if (arrays["reliable"] < 0).all():
            del arrays["reliable"]
        if not any(np.isfinite(arrays["root"][a:b]).any() for a, b in _pieces(frames)):
            del arrays["root"], arrays["root_sigma"]
        own: dict[str, Any] = {
            name: values.view(bool) if name == "reliable" else values for name, values in arrays.items()
        }
        whole = found.sequence(arrays["pose"], None, None, None, frames)
        smoothing = words(window, found.take.footage.fps)
        poses = replace(whole, **own, unit=scaled.unit, world=scaled.world, person=person.number, smoothing=smoothing)
        return Final(person.number, poses, boxes, bone)

    def saved(self, files: tuple[str, ...]) -> SavedPerson:
        seen = np.concatenate([np.isfinite(part.pose).any((1, 2)) for part in self.poses.parts()])
        times = self.poses.times[seen]
        return SavedPerson(self.number, int(seen.sum()), float(times[0]), float(times[-1]), files)

    def frame(self, row: int, small: RGB, size: tuple[int, int]) -> PredictedFrame:
        """To be drawn."""
        poses = self.poses
        box = self.boxes[row]
        return PredictedFrame(
            int(poses.frames[row]), float(poses.times[row]), poses.pose[row] / self.bone,
            poses.keypoints[row], poses.confidence[row], None,  # type: ignore[index]
            None if np.isnan(box).any() else box, size, small, self.number,
        )  # fmt: skip


def _pieces(frames: np.ndarray) -> list[tuple[int, int]]:
    return [(start, stop) for _, start, stop in blocks(frames, BLOCK)]


def _part(
    found: PredictedFrames, rows: Rows, frames: np.ndarray, start: int, stop: int, window: int, bone: float
) -> dict[str, np.ndarray]:
    """The rows of a block as files have them, in a unit of which a reference bone has `bone`."""
    low, high = max(0, start - window), min(len(frames), stop + window)
    around = rows.read(low, high)
    own = slice(start - low, stop - low)
    here = around[own]
    pose = smoothed(around["pose"].reshape(high - low, -1), frames[low:high], window).reshape(around["pose"].shape)
    root = sigma = np.full((high - low, 3), np.nan)
    if not found.canonical:
        rays = found.take.camera(found.take.size).normalise(np.array(around["keypoints"]))
        root, sigma = place_root(pose, rays, around["confidence"])
        root = smoothed(root, frames[low:high], window)
    return {
        "pose": pose[own] * bone, "keypoints": here["keypoints"], "confidence": here["confidence"],
        "reliable": np.where(here["reliable"] < 0, -1, here["reliable"]).astype("i1"), "box": here["box"],
        "root": root[own] * bone, "root_sigma": sigma[own] * bone,
    }  # fmt: skip


def _overlay(found: PredictedFrames, people: Sequence[Final], draw: Draw, work: Work, progress: Progress) -> str:
    """The overlay's name, when it lies with the other files: a video joined of its blocks', or a PNG of one image."""
    take = found.take
    rows, fps = take.rows or (), take.footage.fps
    parts = work.folder / "overlay"
    size: tuple[int, int] = preview_size(take.size)
    row_of = {frame: row for row, frame in enumerate(rows)}

    def drawn(frame: int, image: RGB) -> RGB:
        image = take.fitted(image)
        small, full = reduced_image(image), (image.shape[1], image.shape[0])
        return draw([one.frame(row_of[frame], small, full) for one in people], found, size)

    if take.footage.single:
        with atomic_path(work.files / "overlay.png") as file:
            for frame, image in take.footage.images(rows):
                Image.fromarray(drawn(frame, image)).save(file)
        return "overlay.png"
    done = int(work.state.get("overlay", 0))  # the number of the block behind those that are drawn
    left = [row for row in rows if row >= done * BLOCK]
    images = followed(take.footage.images(left) if left else (), "overlay", len(left), progress)
    for number, some in groupby(images, key=lambda one: one[0] // BLOCK):
        with VideoWriter(parts / f"{number:08d}.mp4", fps) as video:
            for frame, image in some:
                video.write(drawn(frame, image))
        work.mark(overlay=number + 1)
    join_videos(sorted(parts.glob("[0-9]*.mp4")), work.files / "overlay.mp4")
    return "overlay.mp4"
