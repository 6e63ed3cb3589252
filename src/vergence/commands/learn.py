"""`vergence learn`: recordings of several cameras in, a single-camera model out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def learn(
    footage: list[Path] = [],  # noqa: B006
    out: Path = Path("learned"),
    student: Literal["lifting", "image", "both"] = "lifting",
    detector: str = "",
    detector_model: str = "",
    motion: Path | None = None,
    height: float | None = None,
    held_out: float = 0.2,
    hold_out: str = "",
    steps: int | None = None,
    anyway: bool = False,
    device: str = "auto",
    seed: int = 0,
    plugins: str = "",
    quiet: bool = False,
) -> None:
    """A single-camera 3D model from recordings of several uncalibrated cameras: 2D keypoints, cameras and 3D, training,
    and figures in held-out time. After a stop the same command continues.

    Example: vergence learn my_videos --out learned; then vergence predict learned/model new_video.mp4

    Args:
        footage: folders of videos, one for each recording; without any, only --motion is learned from.
        out (FOLDER): for everything.

    What is learned (--student image --motion bvh_folder --height 1.78):
        student: lifting (2D keypoints to 3D, minutes on a CPU), image (an image network for these cameras), or both.
        motion (FOLDER): motion capture (BVH, NPZ) to learn from as well.
        height (METRES): of the people, as in 1.78.
        steps: of the lifting model's training; default: 600 with footage, 4000 with --motion alone.
        anyway: also use recordings whose verdict is doubtful; the model's config says so.
        seed: of everything.

    What it is measured on (--held-out 0.3 --hold-out cam04):
        held_out (SHARE): of each recording's time that is kept for measuring.
        hold_out (CAMERA): held out of training, to measure the model on a new camera; several are joined by commas.

    2D keypoints, where there are none (--detector rtmpose):
        detector (NAME): rtmpose, mediapipe or vitpose; default: the first that is installed.
        detector_model (PATH): the detector's local weights.
        plugins (FILE,FILE): Python files, joined by commas, with a detector or a reader.

    How it runs (--device cuda):
        device: of detector and image network, auto, cpu, cuda or mps.
        quiet: no progress.
    """
    from rich.console import Console

    import vergence
    from vergence.plugins import load_plugins
    from vergence.report.bars import bars
    from vergence.report.learned import print_learned
    from vergence.report.reconstruction import page_of
    from vergence.report.recordings.learning import learned_page
    from vergence.report.render import write_page

    load_plugins(plugins.split(",") if plugins else ())
    hidden = [name.strip() for name in hold_out.split(",") if name.strip()]
    with bars(quiet) as progress:
        found = vergence.learn(
            footage, out, student=student, detector=detector, model=detector_model, motion=motion, height=height,
            held_out=held_out, hold_out=hidden, steps=steps, anyway=anyway, device=device, seed=seed, progress=progress,
            each=lambda made, folder: write_page(folder / "report.html", page_of(made)),
        )  # fmt: skip
    write_page(out / "report.html", learned_page(found))
    print_learned(found, Console())
    print(out / "report.html")


learn.placed = ("footage",)  # type: ignore[attr-defined]
learn.formerly = {"model": "detector_model"}  # type: ignore[attr-defined]
learn.takes = (  # type: ignore[attr-defined]
    "cameras and 3D poses take mostly 1 to 60 s for a recording, a lifting model 2 to 10 minutes, an image model longer; "
    "finding 2D keypoints in videos comes first and takes a few times as long as they last"
)
