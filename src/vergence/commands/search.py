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
    device: str = "auto",
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
        device: auto, cpu, cuda or mps.
        quiet: print nothing.
    """
    import time

    from rich.console import Console

    from vergence.errors import VergenceError
    from vergence.inference import search_footage as steps
    from vergence.inference.estimator import load
    from vergence.inference.search import search as find
    from vergence.networks.devices import resolve_device

    started = time.perf_counter()
    if footage is None:
        raise VergenceError("there is no footage to search", "Give --footage: images, a video or a capture.")
    steps.check_numbers(top, apart, every)
    console = Console(quiet=quiet)
    places = steps.open_places(footage, fps, fov, box, boxes, keypoints, frames, every)
    asked = steps.open_query(query, fps, fov, query_box, query_frames)
    estimator = load(run, resolve_device(device))
    folder = out or Path(f"{footage.resolve().stem}-search")
    made_by = steps.provenance(run, places, [box, boxes, keypoints, fov, fps, frames, every])
    index, reused = steps.find_index(folder / "index.npz", estimator, places, made_by, console)
    described = steps.describe(estimator, asked)
    asking = time.perf_counter()
    hits = find(index, described.descriptor, described.time, top, apart)
    timing = {"search": time.perf_counter() - asking, "all": time.perf_counter() - started}
    results = steps.results(run, query, footage, index, reused, described, hits, apart, timing)
    steps.write(folder, estimator, places, asked, described, index, hits, results)
    steps.show(console, results, folder)
