"""A lifting model carried through a recording: a person's 2D keypoints, given or detected, to poses frame by frame.

All keypoints are there before the first pose is worked out, since every pose looks at its neighbours in time; images are
only read to be shown, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera
from vergence.inference.frames import PredictedFrame, PredictedFrames, reduced_image
from vergence.inference.person import box_around
from vergence.inference.takes import Take
from vergence.lifting.model import LEAST_JOINTS, LiftingModel
from vergence.progress import Progress, followed, silent

DOMAIN_NOTE = "poses are lifted from 2D keypoints by a model that motion capture taught, unpaired with any image"


class LiftedFrames(PredictedFrames):
    """The frames' results, as `PredictedFrames` gives them.

    Args:
        model: of keypoints.
        take: the images, the camera and the person, whose keypoints must be known (`Person.track`).
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
        self._model = model
        self._frames = self._lifted(flip is not False, progress)

    def _lifted(self, flip: bool, progress: Progress) -> Iterator[PredictedFrame]:
        take, track = self.take, self.take.person.track
        assert track is not None
        count = take.footage.count if take.rows is None else len(take.rows)
        points: np.ndarray | None = None
        for frame, full in followed(take.footage.images(take.rows), take.name, count, progress):
            fit = take.lens.fit((full.shape[1], full.shape[0]))
            image = full if fit is None else fit.apply(full)
            size = (image.shape[1], image.shape[0])
            if points is None:
                intrinsics, distortion = take.lens.intrinsics(size)
                camera = Camera(take.name, size, intrinsics, np.zeros(5) if distortion is None else distortion)
                poses = self._model(track.keypoints, track.skeleton, camera, take.footage.fps, flip)
                points = track.skeleton.convert(track.keypoints[..., :2].astype(np.float64), self.skeleton)
                sure = track.skeleton.convert_confidence(np.nan_to_num(track.keypoints[..., 2]), self.skeleton)
            self._read += 1
            pose, keypoints, confidence, _ = self._nobody()
            box = None
            if frame < len(poses):
                pose, keypoints, confidence = poses[frame], points[frame], sure[frame]
                box = box_around(track.keypoints[frame])
            self._seen += int(np.isfinite(pose).any())
            yield PredictedFrame(
                frame, take.time(frame), pose, keypoints, confidence, None, box, size, reduced_image(image)
            )

    @property
    def notes(self) -> tuple[str, ...]:
        domain = str(self._model.config.get("taught_by", DOMAIN_NOTE))
        few = f"frames with fewer than {LEAST_JOINTS} joints have no pose"
        return (domain, *super().notes, few)
