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
    detector: str | None = None,
    detector_model: str = "",
    people: Literal["one", "all"] = "one",
    smooth: float = 0.0,
    flip: bool | None = None,
    overlay: bool = True,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    engine: Literal["torch", "onnxruntime"] | None = None,
    plugins: str = "",
    quiet: bool = False,
    height: float | None = None,
    formats: str = "npz,json,csv,trc",
    markers: str = "",
    trc_unit: Literal["mm", "m"] = "mm",
) -> None:
    """3D poses of one person, or of everybody, from an image, a folder of images or a video.

    Example: vergence predict walk.mp4, or with a run of yours: vergence predict runs/mine walk.mp4 --keypoints walk_json

    Writes poses.npz, poses.json, poses.csv, poses.trc, angles.csv, limbs.csv, an overlay, a video (a PNG for one image),
    and report.html, a page. With --people all: poses-1.npz, poses-2.npz and so on. After a stop the same command continues.

    Args:
        run: folder of a trained run; default, or `lifting`: the model that comes with the package, which lifts a
            detector's 2D keypoints and was trained on motion capture.
        input: image, folder of images, or video; or a camera's number, live in a window; then nothing is written.
        out (FOLDER): for the results; default: the input's name with `-poses`.

    Where the person is (--box 100,50,200,400):
        box (X,Y,W,H): in every image, px; for runs that look at images, not for lifting models.
        boxes (FILE): person boxes per frame, COCO-style JSON or CSV with the columns frame,x,y,w,h.
        keypoints (PATH): 2D keypoints that say where the person is, OpenPose folder or COCO-style JSON.
        whole_image: every image is a crop of one person; else --box, --boxes, --keypoints or --capture say where the person is.
        detector (NAME): rtmpose, mediapipe or vitpose: finds people where no other option says where they are; default:
            the first that is installed.
        detector_model (PATH): the detector's local weights.
        people: one: who is longest, largest and most surely in view; all: everybody, each with a number.

    The camera and its images (--capture my_capture --camera cam01, or --fov 70):
        capture (PATH): folder or capture.toml with this camera; gives intrinsics, lens distortion and, where the input
            is this camera's own video, the subject's keypoints.
        camera (NAME): which camera of the capture.
        fov (DEGREES): angle of view along the image's longer side, where no capture gives it; default: 55.
        frames (A-B,C): which frames, as in 0-34,65-99; default: all.
        fps: frames per second; default: the video's own, 30 for a folder of images.

    The poses and the files (--height 1.78 --formats npz,bvh --smooth 0.2):
        height (METRES): of the person, as in 1.78: poses are then in mm, else in reference bones.
        smooth (SECONDS): time over which poses are smoothed, as in 0.2.
        flip: average with the mirrored image, which is slower and 3 to 4 mm better; default: as in training.
        formats (A,B): of the poses, joined by commas: npz, json, csv, trc, c3d, bvh, usd.
        markers (NAME|FILE): names in TRC and C3D: pose2sim, opensim, or a TOML file with lines such as right_hip = "RHJC".
        trc_unit: of the TRC file, mm or m.
        overlay: draw no overlay.

    How it runs (--device cuda):
        device: auto, cpu, cuda or mps.
        precision: fp32, or bf16, which is faster and less exact, where the processor has it.
        engine: torch, or onnxruntime for the model.onnx that `vergence export` wrote into the run's folder.
        plugins (FILE,FILE): Python files, joined by commas, with the run's method or a reader of keypoints.
        quiet: no progress.
    """
    from rich.console import Console

    import vergence
    from vergence.inference.saving import check_saving
    from vergence.plugins import load_plugins
    from vergence.report.bars import bars
    from vergence.report.overlay import overlay_of_people
    from vergence.report.recordings.prediction import prediction_html, print_predicted

    files = plugins.split(",") if plugins else ()
    load_plugins(files)
    if str(input).isdigit() and not input.exists():
        from vergence.report.recordings.window import watch

        kept = {"box": box, "boxes": boxes, "keypoints": keypoints, "capture": capture, "frames": frames, "out": out,
                "whole_image": whole_image, "smooth": smooth, "height": height, "engine": engine}  # fmt: skip
        return watch(run, int(str(input)), Console(), kept, detector=detector, detector_model=detector_model,
                     people=people, fov=fov, flip=flip, device=device)  # fmt: skip
    folder, console = out or Path(f"{input.resolve().stem}-poses"), Console()
    options = vergence.outputs.options(markers, trc_unit)
    check_saving(folder, smooth, height, formats.split(","), options)
    with bars(quiet) as progress:
        found = vergence.predict(
            run, input, box=box, boxes=boxes, keypoints=keypoints, capture=capture, camera=camera, fov=fov, frames=frames,
            fps=fps, whole_image=whole_image, detector=detector, detector_model=detector_model, people=people, flip=flip,
            device=device, precision=precision, engine=engine or "", plugins=files, progress=progress)  # fmt: skip
        saved = vergence.save_predicted(
            found, folder, smooth=smooth, height=height, formats=formats.split(","),
            draw=overlay_of_people if overlay else None, page=prediction_html, options=options, progress=progress,
        )  # fmt: skip
    print_predicted(found, saved, console)


predict.placed = ("run",)  # type: ignore[attr-defined]
predict.otherwise = {"run": Path("lifting")}  # type: ignore[attr-defined]
predict.takes = "about 10 s, then as long as a video lasts, or a few times that with a detector"  # type: ignore[attr-defined]
