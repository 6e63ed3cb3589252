"""`vergence detect`: 2D keypoints of everybody in raw videos, written where the other verbs look for them."""

from __future__ import annotations

from pathlib import Path


def detect(
    footage: Path,
    out: Path | None = None,
    detector: str = "",
    detector_model: str = "",
    device: str = "auto",
    again: bool = False,
    plugins: str = "",
    quiet: bool = False,
) -> int:
    """2D keypoints of everybody in every video of a recording, as COCO-style JSON beside each video.

    Example: vergence detect my_capture

    On a CPU it takes a few times as long as the videos last. A kill loses one batch of images at most; then the same
    command continues. Videos whose keypoints the same detector has written are skipped. Exit status 0, or 1
    where nobody is in any of the videos.

    Args:
        footage: folder of videos (or of folders of images), a capture.toml, or one video.
        out (FOLDER): for the files; default: beside each video.
        again: also for cameras that have keypoints from elsewhere.

    The detector (--detector rtmpose --detector-model FOLDER):
        detector (NAME): rtmpose (26 joints), mediapipe (33) or vitpose (17); default: the first that is installed.
        detector_model (PATH): local weights (mediapipe: a .task file; rtmpose: a folder with det.onnx and pose.onnx;
            vitpose: a folder with detector and pose); default: the detector's own download.
        plugins (FILE,FILE): Python files, joined by commas, with a detector.

    How it runs (--device cpu):
        device: auto, cpu or cuda.
        quiet: no progress.
    """
    from rich.console import Console
    from rich.markup import escape

    import vergence
    from vergence.plugins import load_plugins
    from vergence.report.bars import bars

    load_plugins(plugins.split(",") if plugins else ())
    console = Console()
    with bars(quiet) as progress:
        found = vergence.detect(
            footage, out, detector=detector, model=detector_model, device=device, again=again, progress=progress
        )
    for one in found:
        turned = f", images turned by {one.turn * 90} degrees for the detector" if one.turn else ""
        there = "" if one.made else ", as it was"
        who = "somebody" if one.seen else "[bold yellow]nobody was found[/]: somebody"
        console.print(f"{escape(str(one.path))}: {who} in {one.seen} of {one.frames} frames{turned}{there}")
    if not found:
        console.print(f"every camera of {escape(str(footage))} has keypoints; --again detects them anew")
    nobody = bool(found) and not any(one.seen for one in found)
    if nobody:
        console.print(
            "Nobody was found in any image. Is a person in view, upright, in the light and at least 60 px high? "
            "Another detector may see more: --detector."
        )
    return int(nobody)


detect.formerly = {"model": "detector_model"}  # type: ignore[attr-defined]
detect.takes = "a few times as long as the videos last"  # type: ignore[attr-defined]
