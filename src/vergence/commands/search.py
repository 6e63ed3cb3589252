"""`vergence search`: a pose found in footage."""

from __future__ import annotations

from pathlib import Path


def search(
    run: Path,
    query: Path,
    footage: Path | None = None,
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

    Writes index.npz (kept, and used again while run, footage and options are the same), results.json and report.html, a
    page of hits. Descriptors are the run's embedding; a run without one is searched by predicted poses.

    Args:
        run: folder of a trained run.
        query: image, or a clip: a video or a folder of images.
        footage: folder of images, video, or a capture (folder or capture.toml).
        out: folder for the results; the footage's name with `-search` behind, where not given.
        top: number of hits.
        apart: seconds between hits of one camera; 0 shows neighbouring frames too.
        every: only every so many-th frame of the footage is indexed.
        frames: which frames of the footage, as in 0-34,65-99; all where not given.
        box: where the person is in the footage, x,y,width,height in px.
        boxes: person boxes per frame of the footage, COCO-style JSON or CSV with the columns frame,x,y,w,h.
        keypoints: 2D keypoints that say where the person is in the footage, OpenPose folder or COCO-style JSON.
        fov: angle that the longer side of an image spans, degrees, where a capture does not say.
        fps: frames per second of footage that does not say.
        query_box: where the person is in the query, x,y,width,height in px.
        query_frames: which frames of a clip.
        whole_image: query, and footage without box, boxes or keypoints, are crops of one person.
        device: auto, cpu, cuda or mps.
        plugins: Python files, joined by commas, in which the run's method or a reader of keypoints stands.
        quiet: print nothing.
    """
    from rich.console import Console

    import vergence
    from vergence.errors import VergenceError
    from vergence.files import write_json
    from vergence.report.bars import bars
    from vergence.report.search import print_search, write_search

    if footage is None:
        raise VergenceError("there is no footage to search", "Give --footage: images, a video or a capture.")
    console = Console(quiet=quiet)
    folder = out or Path(f"{footage.resolve().stem}-search")
    with bars(quiet) as progress:
        found = vergence.search(
            run, query, footage, index=folder / "index.npz", top=top, apart=apart, every=every, frames=frames, box=box,
            boxes=boxes, keypoints=keypoints, fov=fov, fps=fps, query_box=query_box, query_frames=query_frames,
            whole_image=whole_image, device=device, plugins=plugins.split(",") if plugins else (), progress=progress,
        )  # fmt: skip
    write_json(folder / "results.json", found.values())
    write_search(folder / "report.html", found)
    for note in found.notes:
        console.print(f"[dim]{note}[/dim]")
    print_search(console, found)
    console.print(f"{folder / 'report.html'}")
