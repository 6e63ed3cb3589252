"""`vergence predict`: pictures of one camera in; 3D poses, files and an overlay out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vergence.errors import VergenceError

if TYPE_CHECKING:
    import numpy as np

    from vergence.commands._predict_input import Lens, Person
    from vergence.crops import CropCamera
    from vergence.estimator import Estimator
    from vergence.posefiles import PoseSequence

BATCH = 32


def predict(
    run: Path,
    input: Path,
    out: Path | None = None,
    box: str = "",
    boxes: Path | None = None,
    keypoints: Path | None = None,
    capture: Path | None = None,
    camera: str = "",
    fov: float | None = None,
    frames: str = "",
    fps: float | None = None,
    flip: bool = True,
    overlay: bool = True,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """3D poses of one person from a picture, a folder of pictures or a video.

    Writes poses.npz, poses.json, poses.csv, poses.trc and an overlay, a video (a PNG for one picture).

    Args:
        run: folder of a trained run.
        input: picture, folder of pictures, or video.
        out: folder for the results; the input's name with `-poses` behind, where not given.
        box: where the person is in every picture, x,y,width,height in px, as in 100,50,200,400.
        boxes: person boxes per frame, COCO-style JSON or CSV with the columns frame,x,y,w,h.
        keypoints: 2D keypoints that say where the person is, OpenPose folder or COCO-style JSON.
        capture: folder or capture.toml that knows this camera; gives intrinsics, lens distortion and, where the input is
            this camera's own video, the subject's keypoints.
        camera: which camera of the capture.
        fov: angle that the picture's longer side spans, degrees; 55 is assumed where nothing is known.
        frames: which frames, as in 0-34,65-99; all where not given.
        fps: frames per second; the video's own where not given, 30 for a folder of pictures.
        flip: average with the mirrored picture, which is slower and 3 to 4 mm better.
        overlay: draw the overlay.
        device: auto, cpu, cuda or mps.
        quiet: print nothing.
    """
    from rich.console import Console
    from rich.progress import track

    from vergence.commands._predict_input import find_lens, find_person, open_footage, wanted_frames
    from vergence.estimator import load

    given = [f"--{name}" for name, value in (("box", box), ("boxes", boxes), ("keypoints", keypoints)) if value]
    if len(given) > 1:
        raise VergenceError(f"the person is given twice: {' and '.join(given)}", "Give one of them.")
    footage, lens = open_footage(input, fps), find_lens(capture, camera, fov)
    person = find_person(footage, lens, box, boxes, keypoints)
    rows = wanted_frames(frames, len(footage))
    estimator = load(run, _device(device))
    folder = out or Path(f"{input.resolve().stem}-poses")
    console = Console(quiet=quiet)
    pictures = track(footage.pictures(rows), input.name, len(rows), console=console, disable=quiet)
    picture_file = "overlay.png" if footage.single else "overlay.mp4"
    drawing = folder / picture_file if overlay else None
    poses, notes = estimate(estimator, pictures, rows, footage.fps, lens, person, flip, drawing)
    notes = [note for note in (footage.note, *lens.notes, *person.notes, *notes, write_poses(folder, poses)) if note]
    for note in notes:
        console.print(f"[dim]{note}[/dim]")
    seen = int((poses.pose == poses.pose).any((1, 2)).sum())
    files = ["poses.npz", "poses.json", "poses.csv", "poses.trc", *([picture_file] if overlay else [])]
    console.print(f"{seen} of {len(rows)} frames have a pose. {folder}: {', '.join(files)}")


def _device(name: str) -> str:
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def estimate(
    estimator: Estimator,
    pictures: Iterable[tuple[int, np.ndarray]],
    rows: Sequence[int],
    fps: float,
    lens: Lens,
    person: Person,
    flip: bool = True,
    drawing: Path | None = None,
) -> tuple[PoseSequence, list[str]]:
    """Poses of one person in all wanted frames, root-relative, in the frame of the camera that took the pictures.

    Args:
        estimator: of a run.
        pictures: frame number and RGB picture, in order; a frame that is not among them has no pose.
        rows: the wanted frame numbers, in order.
        fps: frames per second.
        lens: of the camera.
        person: where the person is.
        flip: average with the mirrored picture.
        drawing: file for the overlay, drawn while the pictures are at hand.

    Returns:
        Poses, NaN where nobody was seen, in reference bones, and what there is to say about them.

    Raises:
        VergenceError: nobody was seen in any frame.
    """
    import numpy as np

    from vergence.posefiles import PoseSequence

    joints, place = len(estimator.skeleton), {frame: row for row, frame in enumerate(rows)}
    unread, kinds = set(rows), set[str]()
    result = {
        "pose": np.full((len(rows), joints, 3), np.nan),
        "keypoints": np.full((len(rows), joints, 2), np.nan),
        "confidence": np.full((len(rows), joints), np.nan),
    }
    with _overlay(drawing, estimator, fps, lens) as draw:
        for batch in _batches(pictures, lens, person, estimator.image_size):
            kinds |= _predict(estimator, [shot for shot in batch if shot.camera is not None], flip, place, result)
            for shot in batch:
                draw(shot, {name: values[place[shot.frame]] for name, values in result.items()})
                unread.remove(shot.frame)
        if not np.isfinite(result["pose"]).any():
            raise VergenceError("nobody was seen in any of the frames", "Look at the boxes or keypoints given.")
    canonical = kinds == {"canonical"}
    notes = ["poses are turned to a fixed heading, not in the camera's frame"] if canonical else []
    notes += [f"{len(unread)} of {len(rows)} frames cannot be read and have no pose"] if unread else []
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
    """One picture on its way: its crop's pixels and camera, None where nobody was seen, and a copy to draw on."""

    frame: int
    picture: np.ndarray
    scale: np.ndarray
    pixels: np.ndarray | None
    camera: CropCamera | None


def _batches(
    pictures: Iterable[tuple[int, np.ndarray]], lens: Lens, person: Person, size: int
) -> Iterator[list[_Shot]]:
    """Crops in batches; of the pictures only copies of overlay size are kept, so that 4K video fits in memory."""
    import cv2
    import numpy as np

    from vergence.crops import check_box, crop_camera, warp
    from vergence.report.overlay import picture_size

    batch: list[_Shot] = []
    for frame, picture in pictures:
        fit = lens.fit(picture.shape[1::-1])
        picture = picture if fit is None else fit.apply(picture)
        full = picture.shape[1::-1]
        box, camera, pixels = person.at(frame, full), None, None
        if box is not None:
            check_box(box, full[1], full[0])
            camera = crop_camera(*lens.intrinsics(full), box, size)
            pixels = warp(picture, camera)
        small = picture_size(picture)
        copy = np.asarray(cv2.resize(picture, small, interpolation=cv2.INTER_AREA))
        batch.append(_Shot(frame, copy, np.array(small) / full, pixels, camera))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _predict(
    estimator: Estimator, shots: list[_Shot], flip: bool, place: dict[int, int], result: dict[str, np.ndarray]
) -> set[str]:
    """Fills the rows of `result` that belong to some crops; returns the frame that the poses are in, if any."""
    import numpy as np

    from vergence.crops import keypoints_from_crop, pose_from_crop

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
    from PIL import Image

    from vergence.files import atomic_path
    from vergence.footage.video import VideoWriter
    from vergence.report.overlay import overlay

    size: list[tuple[int, int]] = []

    def frame(shot: _Shot, row: dict[str, np.ndarray]) -> np.ndarray:
        size[:] = size or [(shot.picture.shape[1], shot.picture.shape[0])]
        points = (row["keypoints"] + 0.5) * shot.scale - 0.5
        caption = f"frame {shot.frame}  {shot.frame / fps:.2f} s" + ("" if shot.camera else "  nobody seen")
        return overlay(
            shot.picture, estimator.skeleton, points, row["confidence"], row["pose"], lens.up, caption, size[0]
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
    from vergence.posefiles import write_csv, write_json_poses, write_npz, write_trc

    write_npz(folder / "poses.npz", poses)
    write_json_poses(folder / "poses.json", poses)
    write_csv(folder / "poses.csv", poses)
    note = write_trc(folder / "poses.trc", poses)
    return f"poses.trc: {note}" if note else ""
