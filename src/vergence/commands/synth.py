"""`vergence synth`: a dataset from the built-in world on disk, with everything that is true about it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal


def synth(
    out: Path,
    kind: Literal["capture", "images", "pictures"] = "capture",
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

    Example: vergence synth people --kind images --subjects 50

    A capture is what `vergence reconstruct` reads; with several subjects each has a folder, person01 and on, else OUT is
    the capture. Images are JPEG crops of one person each, with COCO-style keypoints.json and truth.npz.

    Args:
        out: folder, new or empty.
        kind (capture|images): what to write (images were called pictures).
        seed: of people, motion, cameras and faults, 0 to 999; two seeds have no people in common.

    How much, and how it looks (--subjects 5 --frames 100 --views 3):
        subjects: people; default: 1 for a capture, 1000 for images.
        frames: of each capture (default 250), or images of each person (default 1).
        views: cameras of a capture.
        size: side of the square images, px; default: 640 for a capture, 256 for images.
        fps: frames per second of a capture.
        look: studio or wild; default: studio for a capture, wild for images.
        known: what capture.toml states of the cameras: nothing, intrinsics, or cameras (intrinsics, R and t).

    Faults (--noise-px 2 --missing-joints 0.05):
        noise_px (PX): standard deviation of the keypoints' error, px.
        missing_joints: share of keypoints that are not found.
        swapped_sides: share of images whose keypoints have left and right exchanged.
        dropped_views: share of a capture's images without any keypoint.
        focal_error: standard deviation of the error of a capture's stated focal lengths, as a share; one for each camera.
        occlusion: share of images with an object in front of the person; default: the look's own. Only for images.
        truncation: share of images that cut the person off; default: the look's own. Only for images.

    How it runs (--device cpu):
        device: where to draw: auto, cpu, cuda or mps.
        quiet: no progress.
    """
    from vergence.report.bars import bars
    from vergence.world import Faults
    from vergence.world.synthesize import synthesize

    if kind == "pictures":
        warnings.warn("--kind pictures is now --kind images", FutureWarning, stacklevel=2)
        kind = "images"
    faults = Faults(occlusion, truncation, noise_px, missing_joints, swapped_sides, dropped_views, 0.0, focal_error)
    with bars(quiet) as progress:
        folders = synthesize(
            out, kind=kind, subjects=subjects, frames=frames, views=views, size=size, fps=fps, look=look, known=known,
            faults=faults, seed=seed, device=device, progress=progress,
        )  # fmt: skip
    what, following = f"{len(folders)} capture{'s' * (len(folders) > 1)}", f"reconstruct {folders[0]}"
    if kind == "images":
        what, following = "images with keypoints", f"data check {out}"
    print(f"written to {out}: {what}; next: vergence {following}")


synth.takes = "mostly 5 to 60 s, longer for many people"  # type: ignore[attr-defined]
