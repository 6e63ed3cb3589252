"""A quick look at footage whose 2D keypoints are missing: a detector on few of its images, and which ones these are.

Two questions want different images. Who is in view, and whether cameras stand still, is a matter of the whole recording: a
few images spread over it. Cameras and time are told by motion, which needs images that follow each other: one stretch, where
most cameras see somebody, at twenty-five images a second or more; of a short recording it is nearly all. What a person does
elsewhere is not seen, and whoever reads the result is told how much was looked at.

The stretch becomes a capture of its own, with fewer time steps, so that everything behind it runs as on any other; images that
fall between its steps keep their own times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from vergence.errors import VergenceError
from vergence.footage.capture import Capture
from vergence.footage.capture_camera import CaptureCamera
from vergence.footage.detectors.base import Detector, People
from vergence.footage.detectors.detect import write_people
from vergence.footage.detectors.lines import plain_people
from vergence.footage.detectors.turns import LOOKED_AT, people_in, turn_of_images
from vergence.footage.images import RGB, Video
from vergence.footage.video import open_video
from vergence.progress import Progress, silent
from vergence.reconstruction.inspection.still import Scene, scene

SPREAD = 8  # images of each camera, over the whole recording
LEAST_RATE = 25.0  # images a second of the stretch: in slower ones people are lost, and time is not told
LEAST_STEPS = 48  # of the stretch, where the recording has them: fewer do not tell time either
COVERS = 0.8  # of the recording, by the stretch: then nothing is looked at besides
BATCH = 16


@dataclass(frozen=True, eq=False)
class Look:
    """What was looked at.

    Attributes:
        capture: whose time steps are those of the results, with keypoints.
        source: the capture as it was read.
        stride: its time steps to one of `capture`.
        start: its time step that is step 0 of `capture`.
        frames: of each camera's video, those of `capture`; None where it has all.
        turn: of each camera, quarter turns counter-clockwise after which people stand; None where nobody looked.
        scenes: of each camera, images spread over the recording, small, with who is in them.
        share: of the source's images that were looked at.
    """

    capture: Capture
    source: Capture
    stride: int = 1
    start: int = 0
    frames: tuple[Int[np.ndarray, " N"], ...] | None = None
    turn: tuple[int | None, ...] = ()
    scenes: tuple[tuple[Scene, ...], ...] = ()
    share: float = 1.0

    def image(self, capture: Capture, view: int, step: int) -> UInt8[np.ndarray, "H W 3"]:
        """The image of a time step of the results.

        Args:
            capture: `self.capture`, or the same brought to one time.

        Raises:
            VergenceError: there is none.
        """
        if self.frames is None:
            return capture.image(view, step)
        own, known = float(capture.cameras[view].own_frames(step)[0]), self.frames[view]
        if not own == own or not 0 <= round(own) < len(known):
            raise VergenceError(f"camera {capture.cameras[view].name} has no image of this moment", "Take another.")
        camera = self.source.cameras[view]
        assert camera.video is not None
        with open_video(camera.video, camera.numbering) as video:
            return _fitted(camera, video[int(known[round(own)])])


def common_time(capture: Capture) -> tuple[float, float]:
    """First and last time step that all cameras with images have, as far as their times are known.

    Raises:
        VergenceError: there is none.
    """
    ends = {
        c.name: (0.0 - c.offset / (1 + c.drift * 1e-6), c.steps_of(c.frame_count or 1) - 1) for c in capture.cameras
    }
    start, stop = max(low for low, _ in ends.values()), min(high for _, high in ends.values())
    if stop < start:
        told = ", ".join(
            f"{n} {low / capture.fps:.1f} to {high / capture.fps:.1f} s" for n, (low, high) in ends.items()
        )
        raise VergenceError(
            f"there is no moment that all cameras filmed ({told})",
            "Film again with all cameras running at once, or correct the times (offset, time stamps).",
        )
    return start, stop


def look(capture: Capture, folder: Path, detector: Detector, frames: int, progress: Progress = silent) -> Look:
    """Looks at a capture's images with a detector.

    Args:
        capture: every camera with images.
        folder: for keypoint files.
        detector: of 2D keypoints.
        frames: of each camera's stretch, at most.
        progress: told of every batch.

    Raises:
        VergenceError: a camera without images, no moment in common, or images that cannot be read.
    """
    blind = [camera.name for camera in capture.cameras if camera.video is None or camera.frame_count is None]
    if blind:
        raise VergenceError(f"camera {', '.join(blind)} has neither images nor keypoints", "Give one of them.")
    start, stop = common_time(capture)
    stride, count, whole = _stride(capture, start, stop, frames)
    turns: list[int | None] = [None] * len(capture.cameras)
    scenes: list[tuple[Scene, ...]] = [()] * len(capture.cameras)
    middle = (start + stop) / 2
    if stride * count < COVERS * whole:
        moments = spread_steps(start, stop)
        for v, camera in enumerate(capture.cameras):
            turns[v], scenes[v] = _spread(camera, detector, moments, progress)
        middle = _busiest(scenes, moments)
    low = int(np.ceil(start))
    first = int(
        np.clip(round(middle - stride * (count - 1) / 2), low, max(low, low + whole - stride * (count - 1) - 1))
    )
    first = max(low, first - first % stride)  # where slower cameras have their frames
    cameras, kept, looked = [], [], 0
    for v, camera in enumerate(capture.cameras):
        steps = first + stride * np.arange(count)
        own, people, turn, passed = _detected(camera, detector, turns[v], steps, progress)
        turns[v], scenes[v] = turn, scenes[v] or passed
        file = folder / f"{camera.name}.json"
        info = {"detector": detector.identity, "video": _video(camera).name, "turn": turn}
        write_people(
            file, [plain_people(one) for one in people], len(people), info, detector.skeleton, camera.image_size
        )
        cameras.append(_thinned(camera, file, own, first, stride))
        kept.append(own)
        looked += len(own)
    share = min(1.0, looked / max(sum(camera.frame_count or 0 for camera in capture.cameras), 1))
    thin = replace(capture, fps=capture.fps / stride, cameras=tuple(cameras), keypoint_file=None)
    return Look(thin, capture, stride, first, tuple(kept), tuple(turns), tuple(scenes), share)


def _spread(
    camera: CaptureCamera, detector: Detector, moments: Float[np.ndarray, " N"], progress: Progress
) -> tuple[int, tuple[Scene, ...]]:
    """How people stand in a camera, and who is in its images of some moments."""
    progress(f"who is in {camera.name}", 0, len(moments))
    with open_video(_video(camera), camera.numbering) as video:
        images = _at(camera, video, moments)
    turn = turn_of_images(images, detector)
    scenes = tuple(scene(image, people) for image, people in zip(images, people_in(images, detector, turn)))
    progress(f"who is in {camera.name}", len(moments), len(moments))
    return turn, scenes


def spread_steps(start: float, stop: float) -> Float[np.ndarray, " N"]:
    """Some time steps from the first to the last, evenly."""
    return np.unique(np.linspace(start, stop, SPREAD + 2)[1:-1].round())


def _video(camera: CaptureCamera) -> Path:
    assert camera.video is not None
    return camera.video


def _fitted(camera: CaptureCamera, image: RGB) -> RGB:
    return image if camera.fit is None else camera.fit.apply(image)


def _at(camera: CaptureCamera, video: Video, moments: Float[np.ndarray, " N"]) -> list[RGB]:
    """The images of these time steps, but for those that are not there or damaged."""
    out = []
    for own in camera.own_frames(moments):
        if own == own and 0 <= round(own) < len(video):
            try:
                out.append(_fitted(camera, video[round(own)]))
            except VergenceError:
                continue
    return out


def _busiest(scenes: Sequence[tuple[Scene, ...]], moments: Float[np.ndarray, " N"]) -> float:
    """The moment in which most cameras see somebody; of several the one in their middle."""
    seen = [sum(len(own[i].boxes) > 0 for own in scenes if i < len(own)) for i in range(len(moments))]
    best = [moment for moment, count in zip(moments, seen) if count == max(seen)]
    return float(best[len(best) // 2])


def _stride(capture: Capture, start: float, stop: float, frames: int) -> tuple[int, int, int]:
    """Distance and number of the time steps that are looked at, and how many there are."""
    whole = int(np.floor(stop)) - int(np.ceil(start)) + 1
    coarsest = max(1, round(max(camera.frame_steps for camera in capture.cameras)))
    most = max(int(capture.fps // LEAST_RATE) // coarsest, 1) * coarsest
    stride = min(-(-whole // frames // coarsest) * coarsest, most)
    while stride > coarsest and whole // stride < LEAST_STEPS:
        stride -= coarsest
    stride = max(stride, coarsest)
    return stride, min(frames, max(whole // stride, 1)), whole


def _detected(
    camera: CaptureCamera, detector: Detector, turn: int | None, steps: Int[np.ndarray, " T"], progress: Progress
) -> tuple[Int[np.ndarray, " N"], list[People], int, tuple[Scene, ...]]:
    """The camera's frames of these time steps, who is in them, how people stand, and some of the images."""
    own = camera.own_frames(steps.astype(float))
    wanted = np.unique(own[np.isfinite(own)].round().astype(int))
    wanted = wanted[(wanted >= 0) & (wanted < (camera.frame_count or 0))]
    shown = set(wanted[np.linspace(0, len(wanted) - 1, min(len(wanted), SPREAD)).astype(int)].tolist())
    found: dict[int, People] = {}
    scenes: list[Scene] = []
    with open_video(_video(camera), camera.numbering) as video:
        rest = iter(video.frames(int(wanted[0]), int(wanted[-1]) + 1) if len(wanted) else ())
        chosen = ((i, _fitted(camera, image)) for i, image in rest if i in wanted)
        while batch := list(islice(chosen, BATCH)):
            images = [image for _, image in batch]
            way = turn_of_images(images[:: max(1, len(images) // LOOKED_AT)], detector) if turn is None else turn
            for (i, image), people in zip(batch, people_in(images, detector, way)):
                found[i] = people
                scenes += [scene(image, people)] if i in shown else []
                turn = way if len(people) else turn  # where nobody is, nothing tells how people stand
            progress(camera.name, len(found), len(wanted))
    progress(camera.name, len(wanted), len(wanted))
    return np.array(sorted(found), dtype=int), [found[i] for i in sorted(found)], turn or 0, tuple(scenes)


def _thinned(
    camera: CaptureCamera, keypoints: Path, own: Int[np.ndarray, " N"], first: int, stride: int
) -> CaptureCamera:
    """The camera with these of its frames only, in time steps of the stretch."""
    at = own.astype(float) if camera.stamps is None else camera.stamps[own]
    steps = ((at - camera.offset) / (1 + camera.drift * 1e-6) - first) / stride
    even = len(own) < 3 or bool(np.allclose(np.diff(steps), 1, atol=1e-3))
    begin = float(steps[0]) if len(steps) else 0.0
    return replace(
        camera,
        keypoints=keypoints,
        video=None,
        fit=None,
        numbering=None,
        frame_count=len(own),
        stamps=None if even else steps - begin,
        offset=-round(begin, 6),
        drift=0.0,
    )
