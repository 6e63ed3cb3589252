"""`vergence.synthesize`: a dataset from the built-in world on disk, with everything that is true about it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vergence.errors import VergenceError
from vergence.files import new_folder
from vergence.networks.devices import resolve_device
from vergence.progress import Progress, counted, silent
from vergence.world.faults import Faults
from vergence.world.writer import write_images, write_recording

FOREIGN = {"capture": ("occlusion", "truncation"), "images": ("dropped_views", "focal_error")}


def synthesize(
    out: Path | str,
    *,
    kind: Literal["capture", "images"] = "capture",
    subjects: int | None = None,
    frames: int | None = None,
    views: int = 4,
    size: int | None = None,
    fps: float = 25.0,
    look: Literal["studio", "wild"] | None = None,
    known: Literal["nothing", "intrinsics", "cameras"] = "intrinsics",
    faults: Faults | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
) -> list[Path]:
    """Writes captures (a video per camera, capture.toml, keypoints.npz, truth.npz) or images with keypoints.

    Args:
        out: folder, new or empty.
        kind: `capture`, as `vergence.reconstruct` reads it, or `images`: JPEG crops of one person each, with COCO-style
            keypoints.json and truth.npz.
        subjects: people; default: 1 for a capture, 1000 for images. Several people are a capture each.
        frames: of each capture (default 250), or images of each person (default 1).
        views: cameras of a capture.
        size: side of the square images, px; default: 640 for a capture, 256 for images.
        fps: frames per second of a capture.
        look: default: studio for a capture, wild for images.
        known: what capture.toml tells of the cameras: nothing, intrinsics, or cameras (intrinsics, R and t).
        faults: of what is stated, never of the truth; occlusion and truncation are for images, dropped views and a focal
            error for captures.
        seed: of people, motion, cameras and faults, 0 to 999; people of two seeds never meet.
        device: where to draw: auto, cpu, cuda or mps.
        progress: told of every frame.

    Returns:
        The folders: `out`, or `out/person01` and on for the captures of several people.

    Raises:
        VergenceError: a number out of its range, a fault of the other kind, or a folder that holds something.
    """
    out, faults = Path(out), faults or Faults()
    if kind not in FOREIGN:
        raise VergenceError(f"there is no kind {kind!r}", "Kinds: capture, images.")
    capture = kind == "capture"
    people = subjects if subjects is not None else (1 if capture else 1000)
    each = frames if frames is not None else (250 if capture else 1)
    side = size if size is not None else (640 if capture else 256)
    _check(kind, faults, side, subjects=people, frames=each, views=views)
    new_folder(out)
    look = look or ("studio" if capture else "wild")
    device, advance = resolve_device(device), counted("drawing", people * each, progress)
    if not capture:
        write_images(out, people, each, side, look, faults, seed, device, advance)
        return [out]
    folders = [out] if people == 1 else [out / f"person{i + 1:02d}" for i in range(people)]
    for i, folder in enumerate(folders):
        write_recording(folder, each, views, side, fps, look, known, faults, seed, i, device, advance)
    return folders


def _check(kind: str, faults: Faults, side: int, **counts: int) -> None:
    for name in FOREIGN[kind]:
        if (value := getattr(faults, name)) != getattr(Faults(), name):
            other = "images" if kind == "capture" else "capture"
            raise VergenceError(f"{name} {value:g} is for kind {other} only", f"Make {other}, or leave it out.")
    for name, value in counts.items():
        if value < 1:
            raise VergenceError(f"{name} is {value}", "Give at least 1.")
    if not 16 <= side <= 2048:
        raise VergenceError(f"size is {side}", "Give 16 to 2048 px.")
