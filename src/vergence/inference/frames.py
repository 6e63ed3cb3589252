"""An estimator carried through images in time: a result for each frame, as it is asked for.

Frames go through in batches of 32 and are forgotten when the next are asked for, so that a film of any length and size takes
as much memory as a short one; of each image only a small copy stays with its result, to draw on. A frame in which nobody
was seen has a result without a pose; a frame that cannot be read has none. What there is to say about them all is told by
`notes`, whole when the last frame has been taken.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from vergence.errors import VergenceError
from vergence.footage.images import ahead
from vergence.geometry.cameras import Camera
from vergence.geometry.crops import keypoints_from_crop, pose_from_crop
from vergence.geometry.root import place_root
from vergence.inference.domain import Domain
from vergence.inference.estimator import Estimator, weights_identity
from vergence.inference.inputs import RGB
from vergence.inference.recording.smoothing import smoothed, window_frames, words
from vergence.inference.takes import PersonCrop, Take
from vergence.outputs import PoseSequence
from vergence.outputs.sequence import UNSURE
from vergence.progress import Progress, silent
from vergence.skeleton import Skeleton, in_words

BATCH = 32

BLOCK = 512  # frames that are worked out together, from a multiple of it on
LONGEST_SIDE_PX = 960
NO_IMAGE = np.zeros((1, 1, 3), np.uint8)
CANONICAL_UP = np.array([0.0, -1.0, 0.0])  # of `geometry.canonical`: y goes down the vertical


@dataclass(frozen=True, eq=False)
class PredictedFrame:
    """One frame's result.

    Attributes:
        frame: its number, counted from 0.
        time: seconds, by the video's time stamps where its rate is uneven; else frame / fps.
        pose: root-relative, in reference bones, in the frame of the camera that took the images (`canonical` poses of MCSS:
            turned to a fixed heading); NaN where nobody was seen.
        keypoints: px of the full image (of `size`), lens distortion included; NaN where nobody was seen, or where the run
            gives none.
        confidence: of the keypoints, 0 to 1; NaN likewise.
        reliable: False where the closed form for depth had to be clamped or had two answers; None where the run does not say.
        box: x, y, width, height of the person, px of the full image; None where nobody was seen.
        size: (width, height) of the full image.
        image: a copy of it, at most 960 px long, to draw on.
        person: whose it is, counted from 1.
        camera: of the full image, where the frame was taken one by one and its pose is in the camera's frame.
        error, error_90: of each joint, as `methods.base.Prediction` has them; None where the run does not say.
        strangeness: likewise; above 1 the image is unlike those that the run learned its poses from.
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
    person: int = 1
    camera: Camera | None = None
    error: Float[np.ndarray, " J"] | None = None
    error_90: Float[np.ndarray, " J"] | None = None
    strangeness: float | None = None

    @property
    def seen(self) -> bool:
        """Whether there is a pose."""
        return bool(np.isfinite(self.pose).any())

    @cached_property
    def root(self) -> Float[np.ndarray, " 3"] | None:
        """Where the root is in the camera's frame, in reference bones; None where unknown. Worked out when first asked for."""
        if self.camera is None or not self.seen:
            return None
        rays = self.camera.normalise(np.array(self.keypoints[None]))
        root = place_root(self.pose[None], rays, self.confidence[None])[0][0]
        return root if np.isfinite(root).all() else None


@dataclass
class Tally:
    """What frames have shown.

    Attributes:
        read: images.
        seen: poses.
        guessed: poses whose depths had to be guessed.
        outside: boxes beside their images.
        error: what was said of the first of these.
        beyond: keypoints that are left out, since the lens' model has no ray for them.
        canonical: poses are turned to a fixed heading.
        judged, unlike, strangeness: images of which the run says how strange they are, those that it calls unlike its
            training's, and the sum over all.
    """

    read: int = 0
    seen: int = 0
    guessed: int = 0
    outside: int = 0
    error: tuple[str, str] | None = None
    beyond: int = 0
    canonical: bool = False
    judged: int = 0
    unlike: int = 0
    strangeness: float = 0.0

    def add(self, pose: np.ndarray, reliable: bool | None, strangeness: float | None = None) -> None:
        self.seen += int(np.isfinite(pose).any())
        self.guessed += int(reliable is False)
        if strangeness is not None:
            self.judged += 1
            self.unlike += int(strangeness > 1)
            self.strangeness += strangeness

    def notes(self, rows: Sequence[int] | None, absent: Sequence[str] = ()) -> tuple[str, ...]:
        """As sentences; `rows` are the frames that were to be read, `absent` the joints that no label showed the run."""
        unread = 0 if rows is None else len(rows) - self.read
        found = ["poses are turned to a fixed heading, not in the camera's frame"] if self.canonical else []
        found += (
            [f"training had no labels of {', '.join(map(in_words, absent))}: missing in all poses"] if absent else []
        )
        found += [f"{unread} of {len(rows or ())} frames cannot be read and have no pose"] if unread else []
        lost = f"{self.beyond} keypoints beyond the range of the lens model are left out (is the distortion right?)"
        found += [lost] if self.beyond else []
        guessed = f"in {self.guessed} of {self.seen} frames depths had to be guessed (`reliable` is false there)"
        found += [guessed] if self.guessed else []
        unlike = f"{self.unlike} of {self.judged} images of people are unlike those that the run learned its poses from"
        found += [f"{unlike} (`strangeness` is above 1 there)"] if self.unlike else []
        return (*found, *([f"in {self.outside} frames {self.error[0]}: no pose there"] if self.error else []))

    def check_seen(self) -> None:
        """A `VergenceError` where nobody was seen."""
        if not self.seen:
            problem, remedy = "nobody was seen in any of the frames", "Look at the boxes or keypoints given."
            raise VergenceError(*(self.error or (problem, remedy)))


class PredictedFrames(Iterator[PredictedFrame]):
    """The frames' results, one after the other; each is worked out when it is asked for, and given once. Of several people
    each has a result in every frame, in the order of their numbers.

    Args:
        estimator: of a run.
        take: the images, the camera that took them and where the people are.
        flip: average with the mirrored image; None where the training saw mirrored images.
        progress: reports every image.

    Attributes:
        skeleton: the joints.
        domain: what the model was taught by.
        take: as above.
        tally: what the frames taken so far have shown.
    """

    looks = True  # poses come from images, which are therefore read
    _strangest: float | None = None  # what the mean over a recording may be

    def __init__(self, estimator: Estimator, take: Take, flip: bool | None = None, progress: Progress = silent) -> None:
        # Whatever predicts may stand for an estimator.
        self._begin(estimator.skeleton, take, getattr(estimator, "absent", ()), getattr(estimator, "domain", Domain()))
        self._estimator, self._flip = estimator, flip
        self._strangest = getattr(estimator, "strangest", None)
        self._frames = self.of_crops(take.crops(estimator.image_size, progress=progress))

    def _begin(self, skeleton: Skeleton, take: Take, absent: Sequence[str], domain: Domain) -> None:
        self.skeleton: Skeleton = skeleton
        self.absent, self.domain = absent, domain
        self.take, self.tally = take, Tally()

    def __next__(self) -> PredictedFrame:
        frame = next(self._frames)
        return frame if self.canonical else replace(frame, camera=self.take.camera(frame.size))

    @property
    def identity(self) -> str:
        """Which model: that of a run by its weights, any other by itself."""
        folder = getattr(self._estimator, "folder", None)
        where = f"{getattr(self._estimator, 'device', '')} {getattr(self._estimator, 'precision', '')}"
        return uuid.uuid4().hex if folder is None else f"{weights_identity(folder)} {where} {self._flip}"

    @property
    def canonical(self) -> bool:
        """Poses are turned to a fixed heading; known after the first frame with a pose."""
        return self.tally.canonical

    def of_crops(self, crops: Iterable[PersonCrop], shown: bool = True) -> Iterator[PredictedFrame]:
        """The results of crops, in batches from the first on; with `NO_IMAGE` where none is to be shown."""
        reduced, tally = _reduced(crops, shown), self.tally
        if self.take.footage.path is not None:  # a camera's images are taken as they come
            reduced = ahead(reduced, BATCH)
        while batch := list(islice(reduced, BATCH)):
            poses = self._predict(self._estimator, [crop for crop, _ in batch if crop.camera is not None], self._flip)
            for crop, size in batch:
                tally.read += int(crop.number == self.take.person.number)
                if crop.error is not None:
                    tally.outside += 1
                    tally.error = tally.error or (crop.error.problem, crop.error.remedy or "")
                found = poses.get((crop.frame, crop.number)) or (*self._nobody(), {})
                pose, keypoints, confidence, reliable, more = found
                tally.add(pose, reliable, more.get("strangeness"))
                box = None if crop.camera is None else crop.box
                yield PredictedFrame(crop.frame, self.take.time(crop.frame), pose, keypoints, confidence, reliable, box,
                                     size, crop.image, crop.number, **more)  # fmt: skip

    def _predict(
        self, estimator: Estimator, crops: list[PersonCrop], flip: bool | None
    ) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray, bool | None, dict[str, Any]]]:
        """Pose, keypoints, confidence, `reliable` and what there is of `UNSURE` of the crops, by frame and person."""
        cameras = [crop.camera for crop in crops if crop.camera is not None]
        if not cameras:
            return {}
        pixels = np.stack([crop.pixels for crop in crops if crop.pixels is not None])
        found = estimator(pixels, np.stack([camera.intrinsics for camera in cameras]), flip)
        self.tally.canonical = found.frame == "canonical"
        out = {}
        for i, (crop, camera) in enumerate(zip(crops, cameras, strict=True)):
            _, keypoints, confidence, _ = self._nobody()
            pose = found.pose[i].double().numpy()
            if found.keypoints is not None:
                keypoints = keypoints_from_crop(found.keypoints[i].numpy(), camera)
            if found.confidence is not None:
                confidence = found.confidence[i].double().numpy()
            reliable = None if found.reliable is None else bool(found.reliable[i])
            pose = pose if self.canonical else pose_from_crop(pose, camera)
            more = {n: getattr(found, n)[i].double().numpy() for n in UNSURE if getattr(found, n) is not None}
            more |= {"strangeness": float(more["strangeness"])} if "strangeness" in more else {}
            out[crop.frame, crop.number] = pose, keypoints, confidence, reliable, more
        return out

    def _nobody(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, None]:
        joints = len(self.skeleton)
        return np.full((joints, 3), np.nan), np.full((joints, 2), np.nan), np.full(joints, np.nan), None

    def blocks(
        self, first: int, progress: Progress = silent, shown: bool = False
    ) -> Iterator[tuple[int, Iterator[PredictedFrame]]]:
        """The results in blocks of frame numbers (`BLOCK`), from a block's number on, each with its number; the same
        whichever block is the first, and without images unless they are `shown`. A block of which no image can be read is left
        out."""
        rows = [row for row in self.take.rows or () if row >= first * BLOCK]
        crops = self.take.crops(self._estimator.image_size, rows, progress) if rows else ()
        for number, some in groupby(crops, key=lambda crop: crop.frame // BLOCK):
            yield number, self.of_crops(some, shown)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what the frames taken so far have shown, as sentences."""
        said = tuple(filter(None, (self.domain.words, self.domain.error)))
        if self.domain.verdict == "doubtful":
            said = (*said, f"the training is doubtful: {' '.join(self.domain.reasons)}")
        limit = self._strangest
        if limit is not None and self.tally.judged and self.tally.strangeness > limit * self.tally.judged:
            said = (
                *said,
                "taken together the images are unlike those that the run learned its poses from: errors may be larger",
            )
        return (*said, *self.take.notes, *self.tally.notes(self.take.rows, self.absent))

    def collect(self, smooth: float = 0.0) -> PoseSequence:
        """All frames as one sequence, NaN where there is no pose, in reference bones, with the root's place in the camera's
        frame; of several people the first one's.

        Args:
            smooth: seconds over which poses are smoothed, at most 2; 0 for not at all.

        Raises:
            VergenceError: nobody was seen in any frame, or a time out of its range.
        """
        window = window_frames(smooth, self.take.footage.fps)
        taken: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        reliable: dict[int, bool] = {}
        unsure: dict[str, dict[int, Any]] = {name: {} for name in UNSURE}
        first, size = self.take.person.number, (0, 0)
        for frame in self._frames:
            if self.take.everybody and frame.person != first:
                continue
            size = frame.size
            taken[frame.frame] = frame.pose, frame.keypoints, frame.confidence
            if frame.reliable is not None:
                reliable[frame.frame] = frame.reliable
            for name, told in unsure.items():
                if (value := getattr(frame, name)) is not None:
                    told[frame.frame] = value
        self.tally.check_seen()
        rows, nobody = np.array(list(taken) if self.take.rows is None else self.take.rows), self._nobody()[:3]
        pose, keypoints, confidence = (np.stack(part) for part in zip(*(taken.get(int(row), nobody) for row in rows)))
        pose = smoothed(pose.reshape(len(rows), -1), rows, window).reshape(pose.shape)
        sure = np.array([reliable.get(int(row), False) for row in rows]) if reliable else None
        poses = self.sequence(pose, keypoints, confidence, sure, rows)
        some = {name: np.full_like(next(iter(of.values())), np.nan) for name, of in unsure.items() if of}
        more: dict[str, Any] = {n: np.stack([unsure[n].get(int(r), nan) for r in rows]) for n, nan in some.items()}
        root, sigma = self.roots(pose, keypoints, confidence, size)
        if np.isfinite(root).any():
            more |= {"root": smoothed(root, rows, window), "root_sigma": sigma}
        more["smoothing"] = words(window, self.take.footage.fps)
        return replace(poses, **more).seen_by(np.eye(3)[None])

    def roots(
        self,
        pose: Float[np.ndarray, "T J 3"],
        keypoints: Float[np.ndarray, "T J 2"],
        confidence: Float[np.ndarray, "T J"],
        size: tuple[int, int],
    ) -> tuple[Float[np.ndarray, "T 3"], Float[np.ndarray, "T 3"]]:
        """Where the root is in the frame of the camera of images of (width, height), and its standard deviation; NaN where
        unknown."""
        if self.canonical:
            unknown = np.full((len(pose), 3), np.nan)
            return unknown, unknown
        return place_root(pose, self.take.camera(size).normalise(np.array(keypoints)), confidence)

    def sequence(
        self,
        pose: Float[np.ndarray, "T J 3"],
        keypoints: Float[np.ndarray, "T J 2"] | None,
        confidence: Float[np.ndarray, "T J"] | None,
        reliable: np.ndarray | None,
        rows: np.ndarray,
    ) -> PoseSequence:
        """Poses of these frames, in reference bones, with what this recording says of them."""
        return PoseSequence(
            pose,
            self.skeleton.joint_names,
            self.take.footage.fps,
            "reference_bone",
            up=CANONICAL_UP if self.canonical else self.take.lens.up,
            keypoints=keypoints,
            confidence=confidence,
            frame=rows,
            time=self.take.footage.at(rows),
            reliable=reliable,
            model=self.domain.words,
        )


def preview_size(size: tuple[int, int]) -> tuple[int, int]:
    """An image's (width, height) as that of its small copy: multiples of 4, so that a video codec takes it with its panel."""
    width, height = size
    factor = min(1.0, LONGEST_SIDE_PX / max(height, width))
    return max(4, round(width * factor / 4) * 4), max(4, round(height * factor / 4) * 4)


def _reduced(crops: Iterable[PersonCrop], shown: bool) -> Iterator[tuple[PersonCrop, tuple[int, int]]]:
    """Crops with a small copy of their image, or none, and its own (width, height): 32 images of 4K would fill a GB."""
    small, frame = NO_IMAGE, -1
    for crop in crops:
        if shown and crop.frame != frame:
            small, frame = reduced_image(crop.image), crop.frame
        size = (crop.image.shape[1], crop.image.shape[0])
        yield replace(crop, image=small), size


def reduced_image(image: RGB) -> RGB:
    """A small copy of an image, to draw on."""
    return np.asarray(cv2.resize(image, preview_size(image.shape[1::-1]), interpolation=cv2.INTER_AREA))
