"""`vergence predict`: images of one camera in; 3D poses, files and an overlay out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


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
    whole_image: bool = False,
    flip: bool | None = None,
    overlay: bool = True,
    device: str = "auto",
    plugins: str = "",
    quiet: bool = False,
    height: float | None = None,
    formats: str = "npz,json,csv,trc",
    markers: str = "",
    trc_unit: Literal["mm", "m"] = "mm",
) -> None:
    """3D poses of one person from an image, a folder of images or a video.

    Writes poses.npz, poses.json, poses.csv, poses.trc and an overlay, a video (a PNG for one image).

    Args:
        run: folder of a trained run.
        input: image, folder of images, or video.
        out: folder for the results; the input's name with `-poses` behind, where not given.
        box: where the person is in every image, x,y,width,height in px, as in 100,50,200,400.
        boxes: person boxes per frame, COCO-style JSON or CSV with the columns frame,x,y,w,h.
        keypoints: 2D keypoints that say where the person is, OpenPose folder or COCO-style JSON.
        capture: folder or capture.toml that knows this camera; gives intrinsics, lens distortion and, where the input is
            this camera's own video, the subject's keypoints.
        camera: which camera of the capture.
        fov: angle that the image's longer side spans, degrees; 55 is assumed where nothing is known.
        frames: which frames, as in 0-34,65-99; all where not given.
        fps: frames per second; the video's own where not given, 30 for a folder of images.
        whole_image: every image is a crop of one person; else --box, --boxes, --keypoints or --capture say where the person is.
        flip: average with the mirrored image, which is slower and 3 to 4 mm better; default: where the training mirrored.
        overlay: draw the overlay.
        device: auto, cpu, cuda or mps.
        plugins: Python files, joined by commas, in which the run's method or a reader of keypoints stands.
        quiet: print nothing.
        height: of the person, metres, as in 1.78: poses are then in mm, else in reference bones.
        formats: of the poses, joined by commas: npz, json, csv, trc, c3d, bvh, usd.
        markers: names in TRC and C3D: pose2sim, opensim, or a TOML file with lines such as right_hip = "RHJC".
        trc_unit: of the TRC file, mm or m.
    """
    from rich.console import Console

    import vergence
    from vergence.outputs import notes_of_files
    from vergence.report.bars import bars
    from vergence.report.overlay import overlay_file

    tall = vergence.outputs.height_mm(height)
    folder = out or Path(f"{input.resolve().stem}-poses")
    console = Console(quiet=quiet)
    with bars(quiet) as progress:
        found = vergence.predict(
            run, input, box=box, boxes=boxes, keypoints=keypoints, capture=capture, camera=camera, fov=fov, frames=frames,
            fps=fps, whole_image=whole_image, flip=flip, device=device, plugins=plugins.split(",") if plugins else (),
            progress=progress,
        )  # fmt: skip
        image_file = "overlay.png" if found.take.footage.single else "overlay.mp4"
        with overlay_file(folder / image_file if overlay else None, found) as draw:
            poses = found.collect(draw)
    if tall is not None:
        poses = poses.scaled(tall)
    names = formats.split(",")
    said = vergence.outputs.write(folder, poses, names, **vergence.outputs.options(markers, trc_unit))
    for note in (*found.notes, *notes_of_files(said)):
        console.print(f"[dim]{note}[/dim]")
    seen = int((poses.pose == poses.pose).any((1, 2)).sum())
    files = [*(f"poses.{name}" for name in names), *([image_file] if overlay else [])]
    have = f"{seen} of {len(poses.pose)} frames have a pose."
    if found.take.person.whole is not False:
        have = f"{len(poses.pose)} frames, each taken whole as a crop of one person."
    console.print(f"{have} {folder}: {', '.join(files)}")
