"""`vergence inspect`: whether footage will do, and what to film again."""

from __future__ import annotations

from pathlib import Path


def inspect(
    footage: Path,
    out: Path | None = None,
    detector: str = "",
    detector_model: str = "",
    frames: int = 100,
    device: str = "auto",
    seed: int = 0,
    plugins: str = "",
    quiet: bool = False,
) -> int:
    """Says whether a recording of several cameras is good enough: go, doubtful or no-go, why, and what to film again.
    In about a minute.

    Example: vergence inspect my_videos

    Writes report.html, with one image of every camera, and results.json. Exit status 0, or 1 for no-go.

    Args:
        footage: folder of videos, or one with a capture.toml; or one video.
        out (FOLDER): for the results; default: the footage's name with `-inspection`.

    The detector (--detector mediapipe --frames 200):
        detector (NAME): rtmpose, mediapipe or vitpose, for 2D keypoints where there are none; default: the first that
            is installed.
        detector_model (PATH): the detector's local weights.
        frames: consecutive images of each camera that are looked at, where there are no keypoints.
        plugins (FILE,FILE): Python files, joined by commas, with a detector or a reader.

    How it runs (--device cpu):
        device: of the detector, auto, cpu or cuda.
        seed: of subsets and starts.
        quiet: no progress.
    """
    from rich.console import Console

    import vergence
    from vergence.files import check_writable
    from vergence.folders import check_apart, check_replaced
    from vergence.plugins import load_plugins
    from vergence.report.bars import bars
    from vergence.report.recordings.inspection import inspection_page, print_inspection
    from vergence.report.render import write_page

    folder = out or Path(f"{footage.resolve().stem}-inspection")
    check_writable(folder, folder=True)
    check_apart(folder, footage)
    if earlier := check_replaced(folder, "film_again", "an inspection"):
        print(earlier)
    load_plugins(plugins.split(",") if plugins else ())
    with bars(quiet) as progress:
        found = vergence.inspect(
            footage, detector=detector, model=detector_model, frames=frames, device=device, seed=seed, progress=progress
        )
    found.save(folder)
    page = write_page(folder / "report.html", inspection_page(found))
    console = Console(highlight=False, soft_wrap=True)
    print_inspection(found, console)
    console.print(f"written to {page}", markup=False)
    return int(found.verdict == "no-go")


inspect.formerly = {"model": "detector_model"}  # type: ignore[attr-defined]
inspect.takes = "half a minute to two"  # type: ignore[attr-defined]
