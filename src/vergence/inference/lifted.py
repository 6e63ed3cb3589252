"""A lifting model carried through a recording: people's 2D keypoints, given or detected, to poses frame by frame.

Every pose looks at its neighbours in time, so keypoints are taken in stretches, each with what the network sees before and
behind it; images are only read to be shown, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera
from vergence.inference.frames import PredictedFrame, PredictedFrames, reduced_image
from vergence.inference.people import Track, box_around
from vergence.inference.takes import Take
from vergence.lifting.model import LEAST_JOINTS, LiftingModel
from vergence.progress import Progress, followed, silent

DOMAIN_NOTE = "poses are lifted from 2D keypoints by a model that motion capture taught, unpaired with any image"
STRETCH = 512  # frames that are lifted together, from a multiple of it on: the same whatever was asked for

Lifted = tuple[Float[np.ndarray, "T J 3"], Float[np.ndarray, "T J 2"], Float[np.ndarray, "T J"]]


class LiftedFrames(PredictedFrames):
    """The frames' results, as `PredictedFrames` gives them.

    Args:
        model: of keypoints.
        take: the images, the camera and the people, whose keypoints must be known (`Person.track`).
        flip: average with the mirrored keypoints' poses; None does.
        progress: told of every image.

    Raises:
        VergenceError: the person's keypoints are not known.
    """

    def __init__(self, model: LiftingModel, take: Take, flip: bool | None = None, progress: Progress = silent) -> None:
        if take.person.track is None:
            raise VergenceError(
                f"nothing says where the joints are in {take.name}, and this model lifts 2D keypoints",
                "Give --keypoints, or install a detector (pip install 'vergence[rtmpose]') for a video.",
            )
        self._begin(model.skeleton, take)
        self.model, self.flip = model, flip is not False
        self._frames = self._lifted(progress)

    def stretch(self, track: Track, number: int, camera: Camera) -> Lifted:
        """Poses, keypoints (in the model's joints) and their confidences of a track's frames `number * STRETCH` and on."""
        fps, start = self.take.footage.fps, number * STRETCH
        margin = self.model.network.settings.reach * max(1, round(fps / self.model.fps))
        seen = track.window(start - margin, start + STRETCH + margin)
        poses = self.model(seen, track.skeleton, camera, fps, self.flip)
        points = track.skeleton.convert(seen[..., :2].astype(np.float64), self.skeleton)
        sure = track.skeleton.convert_confidence(np.nan_to_num(seen[..., 2]), self.skeleton)
        own = slice(margin, margin + STRETCH)
        return poses[own], points[own], sure[own]

    def _lifted(self, progress: Progress) -> Iterator[PredictedFrame]:
        take = self.take
        count = take.footage.count if take.rows is None else len(take.rows)
        camera: Camera | None = None
        number, lifted = -1, list[Lifted]()
        for frame, full in followed(take.footage.images(take.rows), take.name, count, progress):
            image = take.fitted(full)
            size = (image.shape[1], image.shape[0])
            camera = camera or take.camera(size)
            if frame // STRETCH != number:
                number = frame // STRETCH
                lifted = [self.stretch(p.track, number, camera) for p in take.people if p.track is not None]
            self.tally.read += 1
            small = reduced_image(image)
            for person, parts in zip(take.people, lifted):
                pose, keypoints, confidence = (part[frame % STRETCH] for part in parts)
                self.tally.add(pose, None)
                box = None if person.track is None else box_around(person.track.window(frame, frame + 1)[0])
                yield PredictedFrame(
                    frame, take.time(frame), pose, keypoints, confidence, None, box, size, small, person.number
                )

    @property
    def notes(self) -> tuple[str, ...]:
        domain = str(self.model.config.get("taught_by", DOMAIN_NOTE))
        few = f"frames with fewer than {LEAST_JOINTS} joints have no pose"
        return (domain, *super().notes, few)
