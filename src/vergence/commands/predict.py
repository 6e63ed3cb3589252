"""`vergence predict`: images of one camera in; 3D poses, files and an overlay out."""

from __future__ import annotations

from pathlib import Path

from vergence.errors import VergenceError


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
    flip: bool | None = None,
    overlay: bool = True,
    device: str = "auto",
    quiet: bool = False,
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
        flip: average with the mirrored image, which is slower and 3 to 4 mm better; default: where the training mirrored.
        overlay: draw the overlay.
        device: auto, cpu, cuda or mps.
        quiet: print nothing.
    """
    from rich.console import Console
    from rich.progress import track

    from vergence.footage.frame_ranges import wanted_frames
    from vergence.inference.estimator import load
    from vergence.inference.inputs import find_lens, find_person, open_footage
    from vergence.inference.video import estimate, write_poses
    from vergence.networks.devices import resolve_device

    given = [f"--{name}" for name, value in (("box", box), ("boxes", boxes), ("keypoints", keypoints)) if value]
    if len(given) > 1:
        raise VergenceError(f"the person is given twice: {' and '.join(given)}", "Give one of them.")
    footage, lens = open_footage(input, fps), find_lens(capture, camera, fov)
    person = find_person(footage, lens, box, boxes, keypoints)
    rows = wanted_frames(frames, len(footage))
    estimator = load(run, resolve_device(device))
    folder = out or Path(f"{input.resolve().stem}-poses")
    console = Console(quiet=quiet)
    images = track(footage.images(rows), input.name, len(rows), console=console, disable=quiet)
    image_file = "overlay.png" if footage.single else "overlay.mp4"
    drawing = folder / image_file if overlay else None
    poses, notes = estimate(estimator, images, rows, footage.fps, lens, person, flip, drawing)
    notes = [note for note in (footage.note, *lens.notes, *person.notes, *notes, write_poses(folder, poses)) if note]
    for note in notes:
        console.print(f"[dim]{note}[/dim]")
    seen = int((poses.pose == poses.pose).any((1, 2)).sum())
    files = ["poses.npz", "poses.json", "poses.csv", "poses.trc", *([image_file] if overlay else [])]
    console.print(f"{seen} of {len(rows)} frames have a pose. {folder}: {', '.join(files)}")
