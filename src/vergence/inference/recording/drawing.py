"""The overlay of a whole recording: blocks of frames, each a piece of video of its own, which are joined at the end.

Reading, drawing and coding go on at the same time, each in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from PIL import Image

from vergence.files import atomic_path
from vergence.footage.images import ahead
from vergence.footage.video import VideoWriter, join_videos
from vergence.inference.frames import BLOCK, PredictedFrame, PredictedFrames, preview_size, reduced_image
from vergence.inference.inputs import RGB
from vergence.inference.recording.final import Final
from vergence.inference.recording.work import Work
from vergence.progress import Progress, followed

# An overlay's frame: of everybody's results in one frame, and the (width, height) of the first frame's small image.
Draw = Callable[[Sequence[PredictedFrame], PredictedFrames, tuple[int, int]], RGB]


def write_overlay(found: PredictedFrames, people: Sequence[Final], draw: Draw, work: Work, progress: Progress) -> str:
    """The overlay's name, when it lies with the other files: a video joined of its blocks', or a PNG of one image."""
    take = found.take
    rows, fps = take.rows or (), take.footage.fps
    parts = work.folder / "overlay"
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
    for number, some in groupby(images, key=lambda one: one[0] // BLOCK):
        with VideoWriter(parts / f"{number:08d}.mp4", fps) as video:
            for _, image in some:
                video.write(image)
        work.mark(overlay=number + 1)
    join_videos(sorted(parts.glob("[0-9]*.mp4")), work.files / "overlay.mp4")
    return "overlay.mp4"
