"""One person of a finished prediction: the stored rows smoothed, placed and scaled, as files, overlay and page have them.

What takes no time is made anew by every call, from rows that lie in a file, and goes into arrays that lie in files as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool

from vergence.inference.frames import BLOCK, PredictedFrame, PredictedFrames
from vergence.inference.inputs import RGB
from vergence.inference.person import Person
from vergence.inference.recording.smoothing import smoothed, words
from vergence.inference.recording.work import Rows, Work, blocks, write_arrays
from vergence.outputs import PoseSequence
from vergence.outputs.sequence import UNSURE

# Rows of which scale and vertical are told where a recording has more.
TELLING_ROWS = 20_000


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
class Stored:
    """The rows of one person in a file; `seen`: poses among them."""

    rows: Rows
    seen: int


def kind_of(joints: int) -> np.dtype:
    """A row: NaN and -1 where nothing is known."""
    points = [("pose", "<f8", (joints, 3)), ("keypoints", "<f8", (joints, 2)), ("confidence", "<f8", (joints,))]
    unsure = [("error", "<f8", (joints,)), ("error_90", "<f8", (joints,)), ("strangeness", "<f8")]
    return np.dtype([*points, *unsure, ("box", "<f8", (4,)), ("reliable", "i1")])


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
        for name in UNSURE:
            if not any(np.isfinite(arrays[name][a:b]).any() for a, b in _pieces(frames)):
                del arrays[name]
        own: dict[str, Any] = {
            name: values.view(bool) if name == "reliable" else values for name, values in arrays.items()
        }
        whole = found.sequence(arrays["pose"], None, None, None, frames)
        smoothing = words(window, found.take.footage.fps)
        poses = replace(whole, **own, unit=scaled.unit, world=scaled.world, person=person.number, smoothing=smoothing)
        return Final(person.number, poses, boxes, bone)

    @cached_property
    def seen(self) -> Bool[np.ndarray, " T"]:
        """The rows with a pose."""
        return np.concatenate([np.isfinite(part.pose).any((1, 2)) for part in self.poses.parts()])

    def saved(self, files: tuple[str, ...]) -> SavedPerson:
        times = self.poses.times[self.seen]
        return SavedPerson(self.number, int(self.seen.sum()), float(times[0]), float(times[-1]), files)

    def frame(self, row: int, small: RGB, size: tuple[int, int]) -> PredictedFrame:
        """To be drawn."""
        poses = self.poses
        box = self.boxes[row]
        radius = None if poses.error_90 is None else poses.error_90[row] / self.bone
        strange = None if poses.strangeness is None else float(poses.strangeness[row])
        return PredictedFrame(
            int(poses.frames[row]), float(poses.times[row]), poses.pose[row] / self.bone,
            poses.keypoints[row], poses.confidence[row], None,  # type: ignore[index]
            None if np.isnan(box).any() else box, size, small, self.number, error_90=radius, strangeness=strange,
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
    root, sigma = found.roots(pose, around["keypoints"], around["confidence"], found.take.size)
    root = smoothed(root, frames[low:high], window)
    return {
        "pose": pose[own] * bone, "keypoints": here["keypoints"], "confidence": here["confidence"],
        "reliable": np.where(here["reliable"] < 0, -1, here["reliable"]).astype("i1"), "box": here["box"],
        "error": here["error"] * bone, "error_90": here["error_90"] * bone, "strangeness": here["strangeness"],
        "root": root[own] * bone, "root_sigma": sigma[own] * bone,
    }  # fmt: skip
