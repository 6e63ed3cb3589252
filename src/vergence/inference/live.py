"""People before a camera, as they come: each image looked at once, with nothing known of the next.

A detector says where people are, `footage.tracking` who is who from image to image. A lifting model sees the last second of a
person and gives the pose of its end, which is shakier than in a recording, where it sees what follows as well; a run sees the
crop of the image. Nothing is kept but that second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import cv2
import numpy as np

from vergence.batches.crops import crop_image
from vergence.errors import VergenceError
from vergence.footage.detectors.base import Detector, People
from vergence.footage.tracking import follow_people, person_size
from vergence.geometry.cameras import Camera
from vergence.inference.domain import domain_of
from vergence.inference.estimator import Estimator
from vergence.inference.frames import PredictedFrame, PredictedFrames, reduced_image
from vergence.inference.inputs import ASSUMED_FPS, RGB, Footage, Lens
from vergence.inference.people import box_around
from vergence.inference.person import Person
from vergence.inference.takes import PersonCrop, Take
from vergence.lifting.model import LiftingModel
from vergence.skeleton import Skeleton

REMEMBERED = 30  # images of a person that a lifting model is shown
SLOWER = 0.9  # of the mean time between images, what an image more leaves of it

Clock = Callable[[], float]


class LiveFrames(PredictedFrames):
    """Results for endless images, by image (`images`) or one after the other; of an image with nobody in it one without a pose.

    Args:
        model: a lifting model, or a run.
        images: RGB, all of one size.
        detector: finds people.
        lens: of the camera.
        everybody: all people, else who has been in view longest.
        flip: average with the mirrored image; of a lifting model None does.
        clock: seconds.
        fps: images per second, where they come at a rate that is known; 0: as the clock tells.
    """

    def __init__(
        self,
        model: LiftingModel | Estimator,
        images: Iterable[RGB],
        detector: Detector,
        lens: Lens,
        everybody: bool = False,
        flip: bool | None = None,
        clock: Clock = time.monotonic,
        fps: float = 0.0,
    ) -> None:
        footage = Footage("camera", None, fps or ASSUMED_FPS, lambda rows: enumerate(images))
        take = Take("camera", footage, lens, (Person(lambda frame, size: None),), None, everybody=everybody)
        absent = model.absent if isinstance(model, Estimator) else ()
        domain = model.domain if isinstance(model, Estimator) else domain_of(model.config)
        self._begin(model.skeleton, take, absent, domain)
        self._model, self._detector, self._flip = model, detector, flip
        self._clock, self._fps = clock, fps
        self._frames = chain.from_iterable(self.images())

    def images(self) -> Iterator[list[PredictedFrame]]:
        """Of every image everybody in it, or nobody."""
        current: list[RGB] = []
        kept: dict[int, deque[np.ndarray]] = {}
        begun = before = self._clock()
        gap = 1 / self.take.footage.fps

        def seen() -> Iterator[People]:
            for _, full in self.take.footage.images(None):
                current[:] = [self.take.fitted(full)]
                yield self._detector(current)[0]

        mirror = self._detector.skeleton.mirror
        people = follow_people(seen(), self.take.footage.fps, moving=True, mirror=mirror)
        for frame, here in enumerate(people):
            now = self._clock()
            gap, before = SLOWER * gap + (1 - SLOWER) * max(now - before, 1e-3) if frame else gap, now
            for track in list(kept):
                kept[track].append(here.get(track, np.full((len(self._detector.skeleton), 3), np.nan)))
                if not any(np.isfinite(one).any() for one in kept[track]):
                    del kept[track]
            for track, person in here.items():
                kept.setdefault(track, deque([person], maxlen=REMEMBERED))
            tracks = list(here) if self.take.everybody else sorted(here, key=lambda n: _longest(kept[n]))[-1:]
            seconds, fps = (frame / self._fps, self._fps) if self._fps else (now - begun, 1 / gap)
            yield self._results(frame, seconds, current[0], {n: kept[n] for n in tracks}, fps)

    def _results(
        self, frame: int, seconds: float, image: RGB, people: dict[int, deque[np.ndarray]], fps: float
    ) -> list[PredictedFrame]:
        size = (image.shape[1], image.shape[0])
        small, camera, skeleton = reduced_image(image), self.take.camera(size), self._detector.skeleton
        empty = PredictedFrame(frame, seconds, *self._nobody(), None, size, small)
        out = []
        for track, past in people.items():
            one = replace(empty, person=track + 1, box=box_around(past[-1]))
            if isinstance(self._model, LiftingModel):
                out.append(self._lifted(self._model, one, np.stack(past), skeleton, camera, fps))
            else:
                out.append(self._estimated(self._model, one, image))
        self.tally.read += 1
        for one in out:
            self.tally.add(one.pose, one.reliable, one.strangeness)
        return out or [empty]

    def _lifted(
        self, model: LiftingModel, one: PredictedFrame, past: np.ndarray, skeleton: Skeleton, camera: Camera, fps: float
    ) -> PredictedFrame:
        points = skeleton.convert(past[-1:, :, :2].astype(np.float64), self.skeleton)[0]
        sure = skeleton.convert_confidence(np.nan_to_num(past[-1:, :, 2]), self.skeleton)[0]
        self.tally.beyond += int(camera.beyond(points).sum())
        pose = model(past, skeleton, camera, fps, self._flip)[-1]
        return replace(one, pose=pose, keypoints=points, confidence=sure)

    def _estimated(self, model: Estimator, one: PredictedFrame, image: RGB) -> PredictedFrame:
        if one.box is None:
            return one
        try:
            pixels, camera = crop_image(image, *self.take.lens.intrinsics(one.size), one.box, model.image_size)
        except VergenceError:  # a box beside the image
            return replace(one, box=None)
        crop = PersonCrop(one.frame, one.person, image, one.box, pixels, camera)
        found = self._predict(model, [crop], self._flip)[one.frame, one.person]
        pose, keypoints, confidence, reliable, more = found
        return replace(one, pose=pose, keypoints=keypoints, confidence=confidence, reliable=reliable, **more)


def _longest(past: Sequence[np.ndarray]) -> tuple[int, float]:
    """How much of the past a person was in view, and how large it is."""
    return sum(bool(np.isfinite(one).any()) for one in past), float(person_size(past[-1]))


def camera_images(number: int) -> Iterator[RGB]:
    """The images of a camera of this machine, until it gives no more.

    Raises:
        VergenceError: there is no such camera.
    """
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise VergenceError(
                f"there is no camera {number}, or another program has it", "Cameras are numbered from 0."
            )
        while True:
            there, image = camera.read()
            if not there:
                return
            yield np.ascontiguousarray(image[..., ::-1])
    finally:
        camera.release()
