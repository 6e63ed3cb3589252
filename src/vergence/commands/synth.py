"""`vergence synth`: a dataset from the built-in world on disk, with everything that is true about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from vergence.errors import VergenceError


def synth(
    out: Path,
    kind: Literal["capture", "images"] = "capture",
    subjects: int | None = None,
    frames: int | None = None,
    views: int = 4,
    size: int | None = None,
    fps: float = 25.0,
    look: Literal["studio", "wild"] | None = None,
    known: Literal["nothing", "intrinsics", "cameras"] = "intrinsics",
    noise_px: float = 0.0,
    missing_joints: float = 0.0,
    swapped_sides: float = 0.0,
    dropped_views: float = 0.0,
    focal_error: float = 0.0,
    occlusion: float | None = None,
    truncation: float | None = None,
    seed: int = 0,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Writes captures (a video per camera, capture.toml, keypoints.npz, truth.npz) or images with keypoints.

    A capture is what `vergence reconstruct` reads; with several subjects each has a folder, person01 and on, else OUT is
    the capture. Images are JPEG crops of one person each, with COCO-style keypoints.json and truth.npz.

    Args:
        out: folder, new or empty.
        kind: capture, or images.
        subjects: people; default: 1 for a capture, 1000 for images.
        frames: of each capture (default 250), or images of each person (default 1).
        views: cameras of a capture.
        size: side of the square images, px; default: 640 for a capture, 256 for images.
        fps: frames per second of a capture.
        look: studio or wild; default: studio for a capture, wild for images.
        known: what capture.toml tells of the cameras: nothing, intrinsics, or cameras (intrinsics, R and t).
        noise_px: standard deviation of the keypoints' error, px.
        missing_joints: share of keypoints that are not found.
        swapped_sides: share of images whose keypoints have left and right exchanged.
        dropped_views: share of a capture's images without any keypoint.
        focal_error: standard deviation of the error of a capture's stated focal lengths, as a share; one for each camera.
        occlusion: share of images with an object before the person; default: the look's own. Only for images.
        truncation: share of images that cut the person off; default: the look's own. Only for images.
        seed: of people, motion, cameras and faults, 0 to 999; people of two seeds never meet.
        device: where to draw: auto, cpu, cuda or mps.
        quiet: no progress bar.
    """
    from vergence.networks.devices import resolve_device
    from vergence.world import Faults
    from vergence.world.writer import write_images, write_recording

    capture = kind == "capture"
    _refuse_foreign(capture, occlusion=occlusion, truncation=truncation)
    _refuse_foreign(not capture, dropped_views=dropped_views or None, focal_error=focal_error or None)
    faults = Faults(occlusion, truncation, noise_px, missing_joints, swapped_sides, dropped_views, 0.0, focal_error)
    people = subjects if subjects is not None else (1 if capture else 1000)
    each = frames if frames is not None else (250 if capture else 1)
    side = size if size is not None else (640 if capture else 256)
    for name, value in (("subjects", people), ("frames", each), ("views", views)):
        if value < 1:
            raise VergenceError(f"--{name} is {value}", "Give at least 1.")
    if not 16 <= side <= 2048:
        raise VergenceError(f"--size is {side}", "Give 16 to 2048 px.")
    _claim(out)
    look = look or ("studio" if capture else "wild")
    device = resolve_device(device)
    with _progress(people * each, quiet) as advance:
        if capture:
            for i in range(people):
                folder = out if people == 1 else out / f"person{i + 1:02d}"
                write_recording(folder, each, views, side, fps, look, known, faults, seed, i, device, advance)
        else:
            write_images(out, people, each, side, look, faults, seed, device, advance)


def _refuse_foreign(foreign: bool, **options: float | None) -> None:
    for name, value in options.items():
        if foreign and value is not None:
            kind = "images" if name in ("occlusion", "truncation") else "capture"
            raise VergenceError(f"--{name} {value:g} is for --kind {kind} only", f"Use --kind {kind}, or leave it out.")


def _claim(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = any(out.iterdir())
    except OSError as error:
        raise VergenceError(f"cannot write to {out}: {error.strerror}", "Choose another folder.") from error
    if taken:
        raise VergenceError(f"{out} is not empty", "Choose a new folder, or empty it.")


def _progress(total: int, quiet: bool) -> Any:
    from contextlib import contextmanager

    from rich.progress import Progress

    @contextmanager
    def shown() -> Iterator[Callable[[int], None]]:
        with Progress(disable=quiet) as progress:
            task = progress.add_task("drawing", total=total)
            yield lambda steps: progress.advance(task, steps)

    return shown()
