"""An estimator carried through footage: crops, poses back in the image's camera, files, and the overlay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vergence.batches.crops import warp
from vergence.errors import VergenceError
from vergence.files import atomic_path
from vergence.footage.video import VideoWriter
from vergence.geometry.crops import CropCamera, check_box, crop_camera, keypoints_from_crop, pose_from_crop
from vergence.inference.estimator import Estimator
from vergence.inference.inputs import RGB, Lens, Person
from vergence.outputs import PoseSequence, write_csv, write_json_poses, write_npz, write_trc
from vergence.report.overlay import image_size, overlay

BATCH = 32


def estimate(
    estimator: Estimator,
    images: Iterable[tuple[int, RGB]],
    rows: Sequence[int],
    fps: float,
    lens: Lens,
    person: Person,
    flip: bool | None = None,
    drawing: Path | None = None,
) -> tuple[PoseSequence, list[str]]:
    """Poses of one person in all wanted frames, root-relative, in the frame of the camera that took the images.

    Args:
        estimator: of a run.
        images: frame number and RGB image, in order; a frame that is not among them has no pose.
        rows: the wanted frame numbers, in order.
        fps: frames per second.
        lens: of the camera.
        person: where the person is.
        flip: average with the mirrored image; None where the training saw mirrored images.
        drawing: file for the overlay, drawn while the images are at hand.

    Returns:
        Poses, NaN where nobody was seen, in reference bones, and what there is to say about them.

    Raises:
        VergenceError: nobody was seen in any frame.
    """
    joints, place = len(estimator.skeleton), {frame: row for row, frame in enumerate(rows)}
    unread, kinds, outside = set(rows), set[str](), list[VergenceError]()
    result = {
        "pose": np.full((len(rows), joints, 3), np.nan),
        "keypoints": np.full((len(rows), joints, 2), np.nan),
        "confidence": np.full((len(rows), joints), np.nan),
    }
    with _overlay(drawing, estimator, fps, lens) as draw:
        for batch in _batches(images, lens, person, estimator.image_size, outside):
            kinds |= _predict(estimator, [shot for shot in batch if shot.camera is not None], flip, place, result)
            for shot in batch:
                draw(shot, {name: values[place[shot.frame]] for name, values in result.items()})
                unread.remove(shot.frame)
        if not np.isfinite(result["pose"]).any():
            raise (
                outside[0]
                if outside
                else VergenceError("nobody was seen in any of the frames", "Look at the boxes or keypoints given.")
            )
    canonical = kinds == {"canonical"}
    notes = ["poses are turned to a fixed heading, not in the camera's frame"] if canonical else []
    notes += [f"{len(unread)} of {len(rows)} frames cannot be read and have no pose"] if unread else []
    notes += [f"in {len(outside)} frames {outside[0].problem}: no pose there"] if outside else []
    poses = PoseSequence(
        **result,
        joint_names=estimator.skeleton.joint_names,
        fps=fps,
        unit="reference_bone",
        up=None if canonical else lens.up,
        frame=np.array(rows),
        time=np.array(rows) / fps,
    )
    return poses, notes


@dataclass(frozen=True)
class _Shot:
    """One image on its way: its crop's pixels and camera, None where nobody was seen, and a copy to draw on."""

    frame: int
    image: RGB
    scale: np.ndarray
    pixels: RGB | None
    camera: CropCamera | None


def _batches(
    images: Iterable[tuple[int, RGB]], lens: Lens, person: Person, size: int, outside: list[VergenceError]
) -> Iterator[list[_Shot]]:
    """Crops in batches; of the images only copies of overlay size are kept, so that 4K video fits in memory.

    A box that shows nothing of its image goes into `outside` and has no crop: one bad box in a long file loses a frame.
    """
    batch: list[_Shot] = []
    for frame, image in images:
        fit = lens.fit(image.shape[1::-1])
        image = image if fit is None else fit.apply(image)
        full = image.shape[1::-1]
        box, camera, pixels = person.at(frame, full), None, None
        try:
            if box is not None:
                check_box(box, full[1], full[0])
                camera = crop_camera(*lens.intrinsics(full), box, size)
                pixels = warp(image, camera)
        except VergenceError as error:
            outside.append(error)
            camera = None
        small = image_size(image)
        copy = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA))
        batch.append(_Shot(frame, copy, np.array(small) / full, pixels, camera))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _predict(
    estimator: Estimator, shots: list[_Shot], flip: bool | None, place: dict[int, int], result: dict[str, np.ndarray]
) -> set[str]:
    """Fills the rows of `result` that belong to some crops; returns the frame that the poses are in, if any."""
    cameras = [shot.camera for shot in shots if shot.camera is not None]
    if not cameras:
        return set()
    pixels = np.stack([shot.pixels for shot in shots if shot.pixels is not None])
    found = estimator(pixels, np.stack([camera.intrinsics for camera in cameras]), flip)
    for i, (shot, camera) in enumerate(zip(shots, cameras)):
        row, pose = place[shot.frame], found.pose[i].double().numpy()
        result["pose"][row] = pose_from_crop(pose, camera) if found.frame == "camera" else pose
        if found.keypoints is not None:
            result["keypoints"][row] = keypoints_from_crop(found.keypoints[i].numpy(), camera)
        if found.confidence is not None:
            result["confidence"][row] = found.confidence[i].numpy()
    return {found.frame}


@contextmanager
def _overlay(
    file: Path | None, estimator: Estimator, fps: float, lens: Lens
) -> Iterator[Callable[[_Shot, dict[str, np.ndarray]], None]]:
    """A function that draws one frame after the other: into a video, into a PNG, or nowhere."""
    if file is None:
        yield lambda shot, row: None
        return

    size: list[tuple[int, int]] = []

    def frame(shot: _Shot, row: dict[str, np.ndarray]) -> np.ndarray:
        size[:] = size or [(shot.image.shape[1], shot.image.shape[0])]
        points = (row["keypoints"] + 0.5) * shot.scale - 0.5
        caption = f"frame {shot.frame}  {shot.frame / fps:.2f} s" + ("" if shot.camera else "  nobody seen")
        return overlay(
            shot.image, estimator.skeleton, points, row["confidence"], row["pose"], lens.up, caption, size[0]
        )

    if file.suffix == ".png":

        def save(shot: _Shot, row: dict[str, np.ndarray]) -> None:
            with atomic_path(file) as temporary:
                Image.fromarray(frame(shot, row)).save(temporary)

        yield save
        return
    with VideoWriter(file, fps) as video:
        yield lambda shot, row: video.write(frame(shot, row))


def write_poses(folder: Path, poses: PoseSequence) -> str:
    """The four pose files; returns what the TRC's header says about assumed scale and axes."""
    write_npz(folder / "poses.npz", poses)
    write_json_poses(folder / "poses.json", poses)
    write_csv(folder / "poses.csv", poses)
    note = write_trc(folder / "poses.trc", poses)
    return f"poses.trc: {note}" if note else ""
