"""`vergence predict`: images of one camera in; 3D poses, files and an overlay out."""

from __future__ import annotations

from collections.abc import Callable
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
    detector: str | None = None,
    detector_model: str = "",
    people: Literal["one", "all"] = "one",
    smooth: float = 0.0,
    flip: bool | None = None,
    overlay: bool = True,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    plugins: str = "",
    quiet: bool = False,
    height: float | None = None,
    formats: str = "npz,json,csv,trc",
    markers: str = "",
    trc_unit: Literal["mm", "m"] = "mm",
) -> None:
    """3D poses of one person, or of everybody, from an image, a folder of images or a video.

    Example: vergence predict runs/mine walk.mp4 --keypoints walk_json. Without a run: vergence predict walk.mp4.

    Writes poses.npz, poses.json, poses.csv, poses.trc, an overlay, a video (a PNG for one image), and report.html, a page to
    look at; of all people poses-1.npz, poses-2.npz and so on. A call that was stopped goes on where it was.

    Args:
        run: folder of a trained run; left out, or `lifting`: the model that comes with the package, which lifts the 2D
            keypoints that a detector finds and was taught by motion capture.
        input: image, folder of images, or video; a number: that camera, live in a window, of which nothing is written.
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
        detector: rtmpose, mediapipe or vitpose: looks for people where nothing else says where they are; the first of them
            that is installed where not given.
        detector_model: the detector's local weights.
        people: one: who is longest, largest and most surely in view; all: everybody, each with a number.
        smooth: seconds over which poses are smoothed, as in 0.2; the files say so.
        flip: average with the mirrored image, which is slower and 3 to 4 mm better; default: where the training mirrored.
        overlay: draw the overlay.
        device: auto, cpu, cuda or mps.
        precision: fp32, or bf16, which is faster and rougher where the processor has it.
        plugins: Python files, joined by commas, in which the run's method or a reader of keypoints stands.
        quiet: print nothing.
        height: of the person, metres, as in 1.78: poses are then in mm, else in reference bones.
        formats: of the poses, joined by commas: npz, json, csv, trc, c3d, bvh, usd.
        markers: names in TRC and C3D: pose2sim, opensim, or a TOML file with lines such as right_hip = "RHJC".
        trc_unit: of the TRC file, mm or m.
    """
    from rich.console import Console

    import vergence
    from vergence.inference.saving import check_saving
    from vergence.plugins import load_plugins
    from vergence.report.bars import bars
    from vergence.report.overlay import overlay_of_people
    from vergence.report.recordings.prediction import prediction_html, print_predicted

    if str(input).isdigit() and not input.exists():
        from vergence.report.recordings.window import watch

        kept = {"box": box, "boxes": boxes, "keypoints": keypoints, "capture": capture, "frames": frames, "out": out,
                "whole_image": whole_image, "smooth": smooth, "height": height}  # fmt: skip
        load_plugins(plugins.split(",") if plugins else ())
        return watch(run, int(str(input)), Console(quiet=quiet), kept, detector=detector, detector_model=detector_model,
                     people=people, fov=fov, flip=flip, device=device)  # fmt: skip
    folder = out or Path(f"{input.resolve().stem}-poses")
    console = Console(quiet=quiet)
    load_plugins(plugins.split(",") if plugins else ())
    options = vergence.outputs.options(markers, trc_unit)
    check_saving(folder, smooth, height, formats.split(","), options)
    with bars(quiet) as progress:
        found = vergence.predict(
            run, input, box=box, boxes=boxes, keypoints=keypoints, capture=capture, camera=camera, fov=fov, frames=frames,
            fps=fps, whole_image=whole_image, detector=detector, detector_model=detector_model, people=people, flip=flip,
            device=device, precision=precision, plugins=plugins.split(",") if plugins else (), progress=progress,
        )  # fmt: skip
        saved = vergence.save_predicted(
            found, folder, smooth=smooth, height=height, formats=formats.split(","),
            draw=overlay_of_people if overlay else None, page=prediction_html, options=options, progress=progress,
        )  # fmt: skip
    print_predicted(found, saved, console)


def chosen(words: list[str]) -> Callable[..., None]:
    """The verb; where the only word before the options is the input, the run is the model that comes with the package."""
    if words and not words[0].startswith("-") and (len(words) == 1 or words[1].startswith("-")):
        words.insert(0, "lifting")
    return predict
