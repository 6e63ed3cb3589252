"""The overlay of a whole recording: blocks of frames, each a piece of video of its own, which are joined at the end.

A network's poses come with small copies of the images that it looked at: of these the overlay is drawn as they come, a
window of smoothing behind (`Along`), so that a video is decoded once. Lifted poses come without images, and whom a detector
sees is known when it has seen all of them: there the video is read to be drawn on (`write_overlay`). Reading, drawing and
coding go on at the same time, each in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vergence.files import atomic_path
from vergence.footage.images import OVERLAY, Behind, ahead
from vergence.footage.video import VideoWriter, join_videos
from vergence.inference.frames import BLOCK, NO_IMAGE, PredictedFrame, PredictedFrames, preview_size, reduced_image
from vergence.inference.inputs import RGB
from vergence.inference.recording.final import Final
from vergence.inference.recording.smoothing import smoothed
from vergence.inference.recording.work import Work
from vergence.progress import Progress, followed

WAITING = 16  # frames that wait to be drawn, and that are smoothed at once

# An overlay's frame: of everybody's results in one frame, and the (width, height) of the first frame's small image.
Draw = Callable[[Sequence[PredictedFrame], PredictedFrames, tuple[int, int]], RGB]


class Along(Behind[PredictedFrame]):
    """Draws the results with images that are given, everybody's of a frame one after the other, as they come.

    Args:
        found: whose results they are.
        draw: makes a frame.
        work: gets the pieces, and what `end` is told of a block when its piece is there.
        window: of smoothing, frames.
    """

    def __init__(self, found: PredictedFrames, draw: Draw, work: Work, window: int) -> None:
        size = preview_size(found.take.size)
        self._states: dict[int, Mapping[str, Any]] = {}
        self._kept = work

        def write(frames: Iterator[PredictedFrame]) -> None:
            rows = (list(row) for _, row in groupby(frames, key=lambda one: one.frame))
            images = ((row[0].frame, draw(row, found, size)) for row in smooth_rows(rows, window))
            _write_pieces(ahead(images), work, found.take.footage.fps, self._mark)
            self._mark(max(self._states, default=-1))  # blocks of which no image can be read

        super().__init__(write, WAITING)

    def end(self, number: int, state: Mapping[str, Any]) -> None:
        """Everything of this block has been given; `state` is to be recorded when it is drawn."""
        self._states[number] = state

    def _mark(self, number: int) -> None:
        done = [self._states.pop(block) for block in sorted(self._states) if block <= number]
        if done:
            self._kept.mark(**done[-1])


def smooth_rows(rows: Iterable[list[PredictedFrame]], window: int) -> Iterator[list[PredictedFrame]]:
    """Everybody's results in each frame, ascending, with poses smoothed as those of the whole are, a window later."""
    if not window:
        yield from rows
        return
    before, waiting = list[list[PredictedFrame]](), list[list[PredictedFrame]]()
    for row in rows:
        waiting.append(row)
        if len(waiting) == window + WAITING:
            yield from _smoothed(before, waiting, len(waiting) - window, window)
            passed, waiting = waiting[: len(waiting) - window], waiting[len(waiting) - window :]
            before = [*before, *([replace(one, image=NO_IMAGE) for one in row] for row in passed)][-window:]
    yield from _smoothed(before, waiting, len(waiting), window)


def _smoothed(
    before: list[list[PredictedFrame]], rows: list[list[PredictedFrame]], count: int, window: int
) -> Iterator[list[PredictedFrame]]:
    """The first `count` of the rows, smoothed among those before and behind them."""
    if not rows:
        return
    around = [*before, *rows]
    poses = np.array([[one.pose for one in row] for row in around])
    frames = np.array([row[0].frame for row in around], dtype=int)
    poses = smoothed(poses.reshape(len(around), -1), frames, window).reshape(poses.shape)
    for row, own in zip(rows[:count], poses[len(before) :]):
        yield [replace(one, pose=pose) for one, pose in zip(row, own)]


def write_overlay(found: PredictedFrames, people: Sequence[Final], draw: Draw, work: Work, progress: Progress) -> str:
    """Reads the recording and draws what was found; the overlay's name, when it lies with the other files: a video joined of
    its blocks', or a PNG of one image."""
    take = found.take
    rows = take.rows or ()
    size: tuple[int, int] = preview_size(take.size)
    row_of = {frame: row for row, frame in enumerate(rows)}

    def reduced(wanted: Sequence[int]) -> Iterator[tuple[int, RGB, tuple[int, int]]]:
        for frame, full in take.footage.images(wanted) if wanted else ():
            image = take.fitted(full)
            yield frame, reduced_image(image), (image.shape[1], image.shape[0])

    def drawn(wanted: Sequence[int]) -> Iterator[tuple[int, RGB]]:
        for frame, small, full in ahead(reduced(wanted)):
            yield frame, draw([one.frame(row_of[frame], small, full) for one in people], found, size)

    if take.footage.single:
        with atomic_path(work.files / "overlay.png") as file:
            for _, image in drawn(rows):
                Image.fromarray(image).save(file)
        return "overlay.png"
    done = int(work.state.get("overlay", 0))  # the number of the block behind those that are drawn
    left = [row for row in rows if row >= done * BLOCK]
    images = followed(ahead(drawn(left)), "overlay", len(left), progress)
    _write_pieces(images, work, take.footage.fps, lambda number: work.mark(overlay=number + 1))
    return joined(work)


def _write_pieces(images: Iterable[tuple[int, RGB]], work: Work, fps: float, mark: Callable[[int], None]) -> None:
    """A video of each block of frames; `mark` is told the block's number when its video is there."""
    for number, some in groupby(images, key=lambda one: one[0] // BLOCK):
        with VideoWriter(_parts(work) / f"{number:08d}.mp4", fps) as video:
            for _, image in some:
                video.write(image)
        mark(number)


def joined(work: Work) -> str:
    """The overlay's name, joined of its blocks' pieces."""
    join_videos(sorted(_parts(work).glob("[0-9]*.mp4")), work.files / OVERLAY)
    return OVERLAY


def _parts(work: Work) -> Path:
    return work.folder / "overlay"
