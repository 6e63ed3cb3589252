"""`vergence search`: a pose found in footage."""

from __future__ import annotations

from pathlib import Path


def search(
    run: Path,
    query: Path,
    footage: Path,
    out: Path | None = None,
    top: int = 20,
    apart: float = 1.0,
    every: int = 1,
    frames: str = "",
    box: str = "",
    boxes: Path | None = None,
    keypoints: Path | None = None,
    fov: float | None = None,
    fps: float | None = None,
    query_box: str = "",
    query_frames: str = "",
    whole_image: bool = False,
    device: str = "auto",
    plugins: str = "",
    quiet: bool = False,
) -> None:
    """Finds the pose of an image, or the movement of a clip, in footage.

    Example: vergence search runs/mcss throw.jpg --footage my_capture

    Writes index.npz (kept, and used again while run, footage and options are the same), results.json and report.html, a
    page of hits. Descriptors are the run's embedding; a run without one is searched by predicted poses.

    Args:
        run: folder of a trained run.
        query: image, or a clip: a video or a folder of images.
        footage (PATH): folder of images, video, or a capture (folder or capture.toml).

    What is shown (--top 50 --apart 0):
        out (FOLDER): for the results; default: the footage's name with `-search`.
        top: number of hits.
        apart (SECONDS): between hits of one camera; 0 shows neighbouring frames too.

    The footage, where it does not say itself (--box 100,50,200,400 --fps 50):
        every: index only every Nth frame.
        frames (A-B,C): which frames, as in 0-34,65-99; default: all.
        box (X,Y,W,H): where the person is, px.
        boxes (FILE): person boxes per frame, COCO-style JSON or CSV with the columns frame,x,y,w,h.
        keypoints (PATH): 2D keypoints that say where the person is, OpenPose folder or COCO-style JSON.
        fov (DEGREES): angle of view along an image's longer side, where no capture gives it; default: 55.
        fps: frames per second; default: the footage's own, 30 for a folder of images.

    The query (--query-box 80,40,200,420):
        query_box (X,Y,W,H): where the person is in the query, px.
        query_frames (A-B): which frames of a clip.
        whole_image: query, and footage without box, boxes or keypoints, are crops of one person.

    How it runs (--device cpu):
        device: auto, cpu, cuda or mps.
        plugins (FILE,FILE): Python files, joined by commas, with the run's method or a reader of keypoints.
        quiet: no progress.
    """
    from rich.console import Console
    from rich.markup import escape

    import vergence
    from vergence.files import write_json
    from vergence.folders import check_replaced
    from vergence.report.bars import bars
    from vergence.report.search import print_search, write_search

    console = Console()
    folder = out or Path(f"{footage.resolve().stem}-search")
    if earlier := check_replaced(folder, "hits", "a search"):
        print(earlier)
    with bars(quiet) as progress:
        found = vergence.search(
            run, query, footage, index=folder / "index.npz", top=top, apart=apart, every=every, frames=frames, box=box,
            boxes=boxes, keypoints=keypoints, fov=fov, fps=fps, query_box=query_box, query_frames=query_frames,
            whole_image=whole_image, device=device, plugins=plugins.split(",") if plugins else (), progress=progress,
        )  # fmt: skip
    write_json(folder / "results.json", found.values())
    write_search(folder / "report.html", found)
    for note in found.notes:
        console.print(f"[dim]{escape(note)}[/dim]")
    print_search(console, found)
    console.print(str(folder / "report.html"), markup=False, soft_wrap=True)


search.named = ("footage",)  # type: ignore[attr-defined]
search.takes = "footage that was not searched before is looked at, about as long as it lasts"  # type: ignore[attr-defined]
