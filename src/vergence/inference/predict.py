"""An estimator carried through images in time: a result for each frame, as it is asked for.

Frames go through in batches of 32 and are forgotten when the next are asked for, so that a film of any length and size takes
as much memory as a short one; of each image only a small copy stays with its result, to draw on. A frame in which nobody
was seen has a result without a pose; a frame that cannot be read has none. What there is to say about them all is told by
`notes`, whole when the last frame has been taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.capture import Capture
from vergence.geometry.crops import keypoints_from_crop, pose_from_crop
from vergence.inference.estimator import Estimator, load
from vergence.inference.inputs import RGB
from vergence.inference.takes import PersonCrop, Take, open_take
from vergence.networks.devices import resolve_device
from vergence.outputs import PoseSequence
from vergence.plugins import load_plugins
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
        self.skeleton: Skeleton = estimator.skeleton
        self._absent = getattr(estimator, "absent", ())  # whatever predicts may stand for an estimator
        self.take, self.canonical = take, False
        self._first_error: VergenceError | None = None
        self._outside = self._seen = self._read = self._guessed = 0
        self._frames = self._run(estimator, take.crops(estimator.image_size, progress=progress), flip)

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


def predict(
    run: str | Path | Estimator,
    source: str | Path | Iterable[RGB],
    *,
    box: str | Sequence[float] | None = None,
    boxes: str | Path | Mapping[int, Sequence[float]] | None = None,
    keypoints: str | Path | None = None,
    capture: str | Path | Capture | None = None,
    camera: str = "",
    fov: float | None = None,
    frames: str = "",
    fps: float | None = None,
    whole_image: bool = False,
    flip: bool | None = None,
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
    progress: Progress = silent,
) -> PredictedFrames:
    """3D poses of one person in images of one camera.

        for frame in vergence.predict("runs/mine", "walk.mp4", boxes="walk.csv"): print(frame.time, frame.pose)
        poses = vergence.predict("runs/mine", "walk.mp4", boxes="walk.csv").collect()

    Args:
        run: folder of a trained run, or its estimator (`vergence.load`).
        source: path of an image, a folder of images or a video; or RGB arrays, H W 3 of uint8, whose iterator may be endless.
        box: x, y, width, height of the person in every frame, px.
        boxes: COCO-style JSON or CSV (frame,x,y,w,h), or a box for each frame number; of several people one is followed.
        keypoints: of the person, px: OpenPose folder, COCO-style JSON or what a plug-in reads.
        capture: that knows the camera: intrinsics, lens distortion, up and, of its own video, the subject.
        camera: its name there, where there are several.
        fov: angle that the longer side spans, degrees, where no capture says; 55 where nothing does.
        frames: which frames, as in `0-34,65-99`; all where empty.
        fps: frames per second; the video's own, else 30.
        whole_image: every image is a crop of one person. Images of the run's own crop size are taken so anyway; of all others
            something must say where the person is.
        flip: average with the mirrored image; None where the training saw mirrored images.
        device: `auto`, `cpu`, `cuda` or `mps`; an estimator stays where it is.
        plugins: files that the run's method, or the reader of the keypoints, stands in.
        progress: told of every image.

    Returns:
        An iterator of frames, with `notes` and `collect`.

    Raises:
        VergenceError: what was given cannot be read or does not fit together.
    """
    load_plugins(plugins)
    take = open_take(
        source,
        box=box,
        boxes=boxes,
        keypoints=keypoints,
        capture=capture,
        camera=camera,
        fov=fov,
        frames=frames,
        fps=fps,
        whole_image=whole_image,
    )
    estimator = load(run, resolve_device(device), plugins) if isinstance(run, str | Path) else run
    if take.footage.path is not None and take.person.whole is None:  # refused here, before a file is begun
        for _, image in take.footage.images((take.rows or [0])[:1]):
            take.check_person((image.shape[1], image.shape[0]), estimator.image_size)
    return PredictedFrames(estimator, take, flip, progress)


def preview_size(image: RGB, longest: int = LONGEST_SIDE_PX) -> tuple[int, int]:
    """(width, height) of an image's small copy: multiples of 4, so that a video codec takes it with its panel."""
    height, width = image.shape[:2]
    factor = min(1.0, longest / max(height, width))
    return max(4, round(width * factor / 4) * 4), max(4, round(height * factor / 4) * 4)


def _reduced(crop: PersonCrop) -> tuple[PersonCrop, tuple[int, int]]:
    """A crop with a small copy of its image, and that image's own (width, height): 32 images of 4K would fill a GB."""
    small = np.asarray(cv2.resize(crop.image, preview_size(crop.image), interpolation=cv2.INTER_AREA))
    size = (crop.image.shape[1], crop.image.shape[0])
    return PersonCrop(crop.frame, small, crop.box, crop.pixels, crop.camera, crop.error), size
