"""A lifting model carried through a recording: people's 2D keypoints, given or detected, to poses frame by frame.

Every pose looks at its neighbours in time, so keypoints are taken in stretches, each with what the network sees before and
behind it; images are only read to be shown, one by one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import groupby

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera
from vergence.inference.domain import domain_of
from vergence.inference.estimator import weights_identity
from vergence.inference.frames import BLOCK, NO_IMAGE, PredictedFrame, PredictedFrames, reduced_image
from vergence.inference.inputs import RGB
from vergence.inference.people import Box, Track, box_around
from vergence.inference.takes import Take
from vergence.lifting.model import LEAST_JOINTS, LiftingModel
from vergence.progress import Progress, followed, silent

# Of a stretch of frames: poses, keypoints, their confidences, boxes.
Lifted = tuple[Float[np.ndarray, "T J 3"], Float[np.ndarray, "T J 2"], Float[np.ndarray, "T J"], list[Box | None]]


class LiftedFrames(PredictedFrames):
    """The frames' results, as `PredictedFrames` gives them.

    Args:
        model: of keypoints.
        take: the images, the camera and the people, whose keypoints must be known (`Person.track`).
        flip: average with the mirrored keypoints' poses; None does.
        progress: reports every image.

    Raises:
        VergenceError: the person's keypoints are not known.
    """

    looks = False

    def __init__(self, model: LiftingModel, take: Take, flip: bool | None = None, progress: Progress = silent) -> None:
        if take.person.track is None and take.person.whole is not None:
            raise VergenceError(
                "boxes and whole images are for models that look at images, and this one lifts 2D keypoints",
                "Leave --box, --boxes and --whole-image out: a detector then finds the person; or give --keypoints.",
            )
        if take.person.track is None:
            raise VergenceError(
                f"no keypoints are given for {take.name}, and this model lifts 2D keypoints",
                "Give --keypoints, or install a detector (pip install 'vergence[rtmpose]') for a video.",
            )
        self._begin(model.skeleton, take, (), domain_of(model.config))
        self.model, self.flip = model, flip
        self._frames = self._lifted(progress)

    @property
    def identity(self) -> str:
        folder = self.model.folder
        return uuid.uuid4().hex if folder is None else f"{weights_identity(folder)} {self.flip}"

    def blocks(
        self, first: int, progress: Progress = silent, shown: bool = False
    ) -> Iterator[tuple[int, Iterator[PredictedFrame]]]:
        if shown:
            raise ValueError("poses are lifted without images")
        rows = [row for row in self.take.rows or () if row >= first * BLOCK]
        told = followed(rows, self.take.name, len(rows), progress)
        for number, some in groupby(told, key=lambda row: row // BLOCK):
            lifted = self._block(number, self.take.size)
            yield number, (one for row in some for one in self._frame(row, lifted, self.take.size, NO_IMAGE))

    def _lifted(self, progress: Progress) -> Iterator[PredictedFrame]:
        take = self.take
        count = take.footage.count if take.rows is None else len(take.rows)
        number, lifted = -1, list[Lifted]()
        for frame, full in followed(take.footage.images(take.rows), take.name, count, progress):
            image = take.fitted(full)
            size = (image.shape[1], image.shape[0])
            if frame // BLOCK != number:
                number = frame // BLOCK
                lifted = self._block(number, size)
            yield from self._frame(frame, lifted, size, reduced_image(image))

    def _block(self, number: int, size: tuple[int, int]) -> list[Lifted]:
        """Of every person."""
        camera = self.take.camera(size)
        return [self._stretch(p.track, number * BLOCK, camera) for p in self.take.people if p.track is not None]

    def _stretch(self, track: Track, start: int, camera: Camera) -> Lifted:
        """Of a block of frames, with what the network sees before and behind it."""
        fps = self.take.footage.fps
        margin = self.model.network.settings.reach * max(1, round(fps / self.model.fps))
        seen = track.window(start - margin, start + BLOCK + margin)
        poses = self.model(seen, track.skeleton, camera, fps, self.flip)[margin : margin + BLOCK]
        own = seen[margin : margin + BLOCK]
        points = track.skeleton.convert(own[..., :2].astype(np.float64), self.skeleton)
        sure = track.skeleton.convert_confidence(np.nan_to_num(own[..., 2]), self.skeleton)
        self.tally.beyond += int(camera.beyond(points).sum())
        return poses, points, sure, [box_around(points) for points in own]

    def _frame(self, frame: int, lifted: list[Lifted], size: tuple[int, int], image: RGB) -> Iterator[PredictedFrame]:
        """Every person in a frame."""
        self.tally.read += 1
        row, time = frame % BLOCK, self.take.time(frame)
        for person, (poses, points, sure, boxes) in zip(self.take.people, lifted):
            self.tally.add(poses[row], None)
            yield PredictedFrame(
                frame, time, poses[row], points[row], sure[row], None, boxes[row], size, image, person.number
            )

    @property
    def notes(self) -> tuple[str, ...]:
        whole = self.tally.seen == self.tally.read * len(self.take.people)
        return (
            super().notes if whole else (*super().notes, f"frames with fewer than {LEAST_JOINTS} joints have no pose")
        )
