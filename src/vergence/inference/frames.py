"""An estimator carried through images in time: a result for each frame, as it is asked for.

Frames go through in batches of 32 and are forgotten when the next are asked for, so that a film of any length and size takes
as much memory as a short one; of each image only a small copy stays with its result, to draw on. A frame in which nobody
was seen has a result without a pose; a frame that cannot be read has none. What there is to say about them all is told by
`notes`, whole when the last frame has been taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.geometry.crops import keypoints_from_crop, pose_from_crop
from vergence.inference.estimator import Estimator
from vergence.inference.inputs import RGB
from vergence.inference.takes import PersonCrop, Take
from vergence.outputs import PoseSequence
from vergence.progress import Progress, silent
from vergence.skeleton import Skeleton

BATCH = 32
LONGEST_SIDE_PX = 960
CANONICAL_UP = np.array([0.0, -1.0, 0.0])  # of `geometry.canonical`: y goes down the vertical


@dataclass(frozen=True, eq=False)
class PredictedFrame:
    """One frame's result.

    Attributes:
        frame: its number, counted from 0.
        time: seconds; frame / fps.
        pose: root-relative, in reference bones, in the frame of the camera that took the images (`canonical` poses of MCSS:
            turned to a fixed heading); NaN where nobody was seen.
        keypoints: px of the full image (of `size`), lens distortion included; NaN where nobody was seen, or where the run
            gives none.
        confidence: of the keypoints, 0 to 1; NaN likewise.
        reliable: False where the closed form for depth had to be clamped or had two answers; None where the run does not say.
        box: x, y, width, height of the person, px of the full image; None where nobody was seen.
        size: (width, height) of the full image.
        image: a copy of it, at most 960 px long, to draw on.
    """

    frame: int
    time: float
    pose: Float[np.ndarray, "J 3"]
    keypoints: Float[np.ndarray, "J 2"]
    confidence: Float[np.ndarray, " J"]
    reliable: bool | None
    box: Float[np.ndarray, " 4"] | None
    size: tuple[int, int]
    image: RGB

    @property
    def seen(self) -> bool:
        """Whether there is a pose."""
        return bool(np.isfinite(self.pose).any())


class PredictedFrames(Iterator[PredictedFrame]):
    """The frames' results, one after the other; each is worked out when it is asked for, and given once.

    Args:
        estimator: of a run.
        take: the images, the camera that took them and where the person is.
        flip: average with the mirrored image; None where the training saw mirrored images.
        progress: told of every image.

    Attributes:
        skeleton: the joints.
        take: as above.
        canonical: poses are turned to a fixed heading; known after the first frame with a pose.
    """

    def __init__(self, estimator: Estimator, take: Take, flip: bool | None = None, progress: Progress = silent) -> None:
        # Whatever predicts may stand for an estimator.
        self._begin(estimator.skeleton, take, getattr(estimator, "absent", ()))
        self._frames = self._run(estimator, take.crops(estimator.image_size, progress=progress), flip)

    def _begin(self, skeleton: Skeleton, take: Take, absent: Sequence[str] = ()) -> None:
        self.skeleton: Skeleton = skeleton
        self._absent = absent
        self.take, self.canonical = take, False
        self._first_error: VergenceError | None = None
        self._outside = self._seen = self._read = self._guessed = 0

    def __next__(self) -> PredictedFrame:
        return next(self._frames)

    def _run(self, estimator: Estimator, crops: Iterable[PersonCrop], flip: bool | None) -> Iterator[PredictedFrame]:
        reduced = map(_reduced, crops)
        while batch := list(islice(reduced, BATCH)):
            poses = self._predict(estimator, [crop for crop, _ in batch if crop.camera is not None], flip)
            for crop, size in batch:
                self._read += 1
                if crop.error is not None:
                    self._outside += 1
                    self._first_error = self._first_error or crop.error
                pose, keypoints, confidence, reliable = poses.get(crop.frame) or self._nobody()
                self._seen += int(np.isfinite(pose).any())
                self._guessed += int(reliable is False)
                box = None if crop.camera is None else crop.box
                yield PredictedFrame(crop.frame, self.take.time(crop.frame), pose, keypoints, confidence, reliable, box,
                                     size, crop.image)  # fmt: skip

    def _predict(
        self, estimator: Estimator, crops: list[PersonCrop], flip: bool | None
    ) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, bool | None]]:
        """Pose, keypoints, confidence and `reliable` of the crops, by frame."""
        cameras = [crop.camera for crop in crops if crop.camera is not None]
        if not cameras:
            return {}
        pixels = np.stack([crop.pixels for crop in crops if crop.pixels is not None])
        found = estimator(pixels, np.stack([camera.intrinsics for camera in cameras]), flip)
        self.canonical = found.frame == "canonical"
        out = {}
        for i, (crop, camera) in enumerate(zip(crops, cameras, strict=True)):
            _, keypoints, confidence, _ = self._nobody()
            pose = found.pose[i].double().numpy()
            if found.keypoints is not None:
                keypoints = keypoints_from_crop(found.keypoints[i].numpy(), camera)
            if found.confidence is not None:
                confidence = found.confidence[i].double().numpy()
            reliable = None if found.reliable is None else bool(found.reliable[i])
            out[crop.frame] = pose if self.canonical else pose_from_crop(pose, camera), keypoints, confidence, reliable
        return out

    def _nobody(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, None]:
        joints = len(self.skeleton)
        return np.full((joints, 3), np.nan), np.full((joints, 2), np.nan), np.full(joints, np.nan), None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what the frames taken so far have shown, as sentences."""
        unread = 0 if self.take.rows is None else len(self.take.rows) - self._read
        found = ["poses are turned to a fixed heading, not in the camera's frame"] if self.canonical else []
        found += [f"no label showed the run {', '.join(self._absent)}: missing in all poses"] if self._absent else []
        found += [f"{unread} of {len(self.take.rows or ())} frames cannot be read and have no pose"] if unread else []
        guessed = f"in {self._guessed} of {self._seen} frames depths had to be guessed (`reliable` is false there)"
        found += [guessed] if self._guessed else []
        found += [f"in {self._outside} frames {self._first_error.problem}: no pose there"] if self._first_error else []
        return (*self.take.notes, *found)

    def collect(self, each: Callable[[PredictedFrame], object] = lambda frame: None) -> PoseSequence:
        """All frames as one sequence, NaN where there is no pose, in reference bones.

        Args:
            each: called with every frame while its image is at hand, to draw or to show it.

        Raises:
            VergenceError: nobody was seen in any frame.
        """
        taken: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        reliable: dict[int, bool] = {}
        for frame in self:
            each(frame)
            taken[frame.frame] = frame.pose, frame.keypoints, frame.confidence
            if frame.reliable is not None:
                reliable[frame.frame] = frame.reliable
        if not self._seen:
            problem = "nobody was seen in any of the frames"
            raise self._first_error or VergenceError(problem, "Look at the boxes or keypoints given.")
        rows, nobody = np.array(list(taken) if self.take.rows is None else self.take.rows), self._nobody()[:3]
        pose, keypoints, confidence = (np.stack(part) for part in zip(*(taken.get(int(row), nobody) for row in rows)))
        poses = PoseSequence(
            pose,
            self.skeleton.joint_names,
            self.take.footage.fps,
            "reference_bone",
            up=CANONICAL_UP if self.canonical else self.take.lens.up,
            keypoints=keypoints,
            confidence=confidence,
            frame=rows,
            time=rows / self.take.footage.fps,
            reliable=np.array([reliable.get(int(row), False) for row in rows]) if reliable else None,
        )
        return poses.seen_by(np.eye(3)[None])


def preview_size(image: RGB, longest: int = LONGEST_SIDE_PX) -> tuple[int, int]:
    """(width, height) of an image's small copy: multiples of 4, so that a video codec takes it with its panel."""
    height, width = image.shape[:2]
    factor = min(1.0, longest / max(height, width))
    return max(4, round(width * factor / 4) * 4), max(4, round(height * factor / 4) * 4)


def _reduced(crop: PersonCrop) -> tuple[PersonCrop, tuple[int, int]]:
    """A crop with a small copy of its image, and that image's own (width, height): 32 images of 4K would fill a GB."""
    size = (crop.image.shape[1], crop.image.shape[0])
    return PersonCrop(crop.frame, reduced_image(crop.image), crop.box, crop.pixels, crop.camera, crop.error), size


def reduced_image(image: RGB) -> RGB:
    """A small copy of an image, to draw on."""
    return np.asarray(cv2.resize(image, preview_size(image), interpolation=cv2.INTER_AREA))
