"""A pose looked for in footage: footage and query opened, the index made or found again, the nearest moments."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vergence import __version__
from vergence.errors import VergenceError
from vergence.folders import held, nothing_left
from vergence.footage.capture import holds_recording, load_capture
from vergence.footage.images import IMAGE_SUFFIXES
from vergence.inference.estimator import Estimator, load, weights_identity
from vergence.inference.inputs import RGB
from vergence.inference.moments.index import Index, Shot, build_index, file_identity
from vergence.inference.moments.nearest import Hit, find_hits
from vergence.inference.takes import Take, open_take
from vergence.networks.devices import resolve_device
from vergence.plugins import load_plugins
from vergence.progress import Progress, followed, silent
from vergence.skeleton import Skeleton

WORDS = {"embedding": "the run's embedding", "pose": "predicted poses, each turned to its own heading (no embedding)"}


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The moments that are nearest to a query.

    Attributes:
        hits: the nearest first.
        index: what was searched; `made_by` is all that it depends on.
        reused: the index was there from before.
        skeleton: of the predicted poses, the index's and the query's.
        run, query, footage: as given.
        query_time: of the query's images, seconds.
        query_pose: predicted in the first of them, in reference bones.
        apart: seconds between hits of one camera.
        seconds: that the search took: `search` the index, `all` with footage and query.
        notes: what was assumed and done, as sentences.
    """

    hits: tuple[Hit, ...]
    index: Index
    reused: bool
    skeleton: Skeleton
    run: str
    query: Path
    footage: Path
    query_time: Float[np.ndarray, " T"]
    query_pose: Float[np.ndarray, "J 3"]
    apart: float
    seconds: dict[str, float]
    notes: tuple[str, ...]
    _takes: Sequence[Take] = field(repr=False)
    _asked: Take = field(repr=False)

    def query_image(self, size: int) -> tuple[int, RGB | None]:
        """The query's first frame number, and its crop of `size` px."""
        first = (self._asked.rows or [0])[0]
        return first, next((crop.pixels for crop in self._asked.crops(size, [first])), None)

    def hit_images(self, size: int) -> dict[tuple[str, int], RGB]:
        """The crops of the hits, `size` px, by camera and frame."""
        found: dict[tuple[str, int], RGB] = {}
        for take in self._takes:
            rows = sorted({hit.frame for hit in self.hits if hit.camera == take.name})
            crops = take.crops(size, rows) if rows else ()
            found |= {(take.name, crop.frame): crop.pixels for crop in crops if crop.pixels is not None}
        return found

    def image_name(self, hit: Hit) -> str:
        """The hit's image file; empty where it is a frame of a video."""
        folders = {take.name: take.footage.folder for take in self._takes}
        folder = folders[hit.camera]
        return "" if folder is None else folder.places[hit.frame].name

    def values(self) -> dict[str, Any]:
        """Everything but arrays, in plain values: what results.json holds."""
        return {
            "run": self.run,
            "query": {"path": str(self.query), "images": len(self.query_time)},
            "footage": {"path": str(self.footage), "images": len(self.index), "cameras": list(self.index.cameras)},
            "index": {"reused": self.reused, **self.index.made_by},
            "hits": [
                {"rank": i, "camera": h.camera, "frame": h.frame, "time": h.time, "distance": h.distance}
                | ({"image": image} if (image := self.image_name(h)) else {})
                for i, h in enumerate(self.hits, 1)
            ],
            "protocol": {
                "descriptor": WORDS[self.index.kind],
                "distance": "Euclidean; of a clip the root mean square over its images at equal times",
                "search": "exact",
                "apart": self.apart,
                "time_unit": "s",
            },
            "seconds": self.seconds,
        }


def search(
    run: str | Path | Estimator,
    query: str | Path,
    footage: str | Path,
    *,
    index: str | Path | None = None,
    top: int = 20,
    apart: float = 1.0,
    every: int = 1,
    frames: str = "",
    box: str | Sequence[float] | None = None,
    boxes: str | Path | None = None,
    keypoints: str | Path | None = None,
    fov: float | None = None,
    fps: float | None = None,
    query_box: str | Sequence[float] | None = None,
    query_frames: str = "",
    whole_image: bool = False,
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
    progress: Progress = silent,
) -> SearchResult:
    """The moments of footage whose pose is nearest to that of an image, or whose movement is nearest to that of a clip.

    Args:
        run: folder of a trained run, or the estimator loaded from it.
        query: image, video or folder of images.
        footage: folder of images, video, or a capture (folder or capture.toml).
        index: file that the index is kept in, and found in while run, footage and options are the same; None keeps none.
        top: number of hits.
        apart: seconds between hits of one camera.
        every: with 5, only every 5th frame of the footage is used.
        frames: which of them, as in `0-34,65-99`; all where empty.
        box, boxes, keypoints: where the person is in the footage, px; see `predict`.
        fov: angle of view along the longer side, degrees, where no capture gives it.
        fps: frames per second, where the footage does not give them.
        query_box, query_frames: the same of the query.
        whole_image: query, and footage without box, boxes or keypoints, are crops of one person.
        device: `auto`, `cpu`, `cuda` or `mps`; an estimator stays where it is.
        plugins: files with the run's method or the reader of the keypoints.
        progress: reports every image of the footage.

    Raises:
        VergenceError: inputs that cannot be read or do not fit together, or nobody was seen.
    """
    started = time.perf_counter()
    if top < 1 or every < 1 or not 0 <= apart < 1e9:
        raise VergenceError(
            f"--top {top}, --apart {apart:g}, --every {every}", "Give 1 or more hits and frames, 0 or more seconds."
        )
    load_plugins(plugins)
    query, footage = Path(query), Path(footage)
    boxes, keypoints = (None if path is None else Path(path) for path in (boxes, keypoints))
    given = {"fov": fov, "box": box, "boxes": boxes, "keypoints": keypoints, "frames": frames}
    given["whole_image"] = whole_image and not any((box, boxes, keypoints))
    takes = [replace(take, rows=(take.rows or ())[::every]) for take in open_takes(footage, fps, **given)]
    asked = open_query(
        query, fps=fps, fov=fov, box=query_box, frames=query_frames, whole_image=whole_image and not query_box
    )
    estimator = load(run, resolve_device(device), plugins) if isinstance(run, str | Path) else run
    if estimator.folder is None:
        raise VergenceError("an estimator that was not loaded from a run", "Give the run's folder.")
    for take in takes:
        if take.person.whole is None and take.size != (estimator.image_size, estimator.image_size):
            raise VergenceError(
                f"nothing says where the person is in {take.name}",
                "Give --box, --boxes or --keypoints, or the capture's folder; --whole-image where every image is a crop.",
            )
    try:
        own = build_index(estimator, _shots([asked], estimator.image_size), [asked.name], {})
    except VergenceError as error:
        why = "nothing says where the person is" if asked.person.whole is None else "nobody was seen"
        raise VergenceError(
            f"{why} in the query {asked.name}", "Give --query-box, or --whole-image where it is a crop."
        ) from error
    made_by = provenance(estimator.folder, takes, [box or "", boxes, keypoints, fov, fps, frames, every])
    found, reused, notes = find_index(None if index is None else Path(index), estimator, takes, made_by, progress)
    asking = time.perf_counter()
    hits = find_hits(found, own.descriptor, own.time, top, apart)
    seconds = {"search": time.perf_counter() - asking, "all": time.perf_counter() - started}
    return SearchResult(
        tuple(hits), found, reused, estimator.skeleton, str(estimator.folder), query, footage, own.time, own.pose[0],
        apart, seconds, notes, takes, asked,
    )  # fmt: skip


def open_takes(path: Path, fps: float | None, **given: Any) -> list[Take]:
    """The cameras of the footage; `given` as of `open_take`."""
    if not path.exists():
        raise VergenceError(f"there is no {path}", "Give --footage: a folder of images, a video or a capture.")
    if not _is_capture(path):
        return [open_take(path, fps=fps, **given)]
    for name in ("boxes", "keypoints"):
        if given[name]:
            raise VergenceError(f"--{name} for a capture of several cameras", "Name the keypoints in its capture.toml.")
    capture, takes = load_capture(path), []
    for camera in capture.cameras:
        if camera.video is not None:
            own = given if camera.intrinsics is None else {**given, "fov": None}
            take = open_take(camera.video, fps=capture.fps, capture=capture, camera=camera.name, **own)
            takes.append(replace(take, name=camera.name, offset=camera.offset))
    if not takes:
        raise VergenceError(f"{path} has no images", "Give `video` or `frames` in capture.toml.")
    return takes


def _is_capture(path: Path) -> bool:
    return path.suffix == ".toml" or (path.is_dir() and holds_recording(path))


def open_query(path: Path, **given: Any) -> Take:
    """The image or clip that is looked for; `given` as of `open_take`."""
    if not path.exists():
        raise VergenceError(f"there is no query {path}", "Give an image, a video or a folder of images.")
    if path.suffix == ".toml" or (path / "capture.toml").is_file():
        raise VergenceError(f"the query {path} is a capture", "Give one of its videos, or an image.")
    return open_take(path, **given)


def provenance(run: Path, takes: Sequence[Take], options: Sequence[object]) -> dict[str, Any]:
    """Everything that an index depends on."""
    beside = [Path(str(o)) for o in options if isinstance(o, Path)]
    captures = {p.lens.capture.folder for p in takes if p.lens.capture is not None}
    files = [f for take in takes for f in _files(take.footage.path or Path())]
    files += [f for folder in sorted(captures) for f in sorted(folder.iterdir()) if f.is_file()]
    files += [f for path in beside for f in _files(path)]
    return {
        "vergence": __version__,
        "weights": weights_identity(run),
        "footage": file_identity(files),
        "options": [None if o is None else str(o) for o in options],
    }


def _files(path: Path) -> list[Path]:
    """A file, or a folder's images and keypoint files."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.iterdir() if p.suffix.lower() in (*IMAGE_SUFFIXES, ".json", ".csv"))


def find_index(
    path: Path | None, estimator: Estimator, takes: Sequence[Take], made_by: dict[str, Any], progress: Progress
) -> tuple[Index, bool, tuple[str, ...]]:
    """The index that is there if it is of this run and footage (then True), else a new one, saved; and notes."""
    if path is not None and path.exists():
        index = Index.load(path)
        if index.made_by == made_by:
            if index.sketch is None:
                index = _kept(index, path)
            return index, True, (f"{path}: {len(index)} images, indexed before",)
        del index  # some systems do not replace a file that is mapped
    shots = followed(_shots(takes, estimator.image_size), "indexing", sum(len(t.rows or ()) for t in takes), progress)
    notes, names = tuple(dict.fromkeys(note for take in takes for note in take.notes)), [take.name for take in takes]
    if path is None:
        return build_index(estimator, shots, names, made_by), False, notes
    with nothing_left(path.parent), held(path.parent):
        return _kept(build_index(estimator, shots, names, made_by, path.parent), path), False, notes


def _kept(index: Index, path: Path) -> Index:
    """The index as it is found again in its file."""
    index.save(path)
    return Index.load(path)


def _shots(takes: Sequence[Take], size: int) -> Iterator[Shot]:
    for number, take in enumerate(takes):
        for crop in take.crops(size):
            if crop.camera is not None and crop.pixels is not None:
                yield Shot(number, crop.frame, take.time(crop.frame), crop.pixels, crop.camera.intrinsics)
