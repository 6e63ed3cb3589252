"""The steps of `vergence search`: footage and query opened, the index kept, the page of hits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table as Lines

from vergence import __version__
from vergence.batches.crops import CropCamera, check_box, crop_camera, warp
from vergence.errors import VergenceError
from vergence.files import write_json
from vergence.footage.capture import load_capture
from vergence.footage.frame_ranges import wanted_frames
from vergence.footage.images import IMAGE_SUFFIXES
from vergence.footage.video import VIDEO_SUFFIXES
from vergence.inference.estimator import Estimator
from vergence.inference.inputs import RGB, Footage, Lens, Person, find_lens, find_person, open_footage
from vergence.inference.search import Hit, Index, Shot, build_index, file_identity, weights_identity
from vergence.report.page import Cell, Page, Sample, Table
from vergence.report.render import write_page

THUMBNAIL_PX = 160
WORDS = {"embedding": "the run's embedding", "pose": "predicted poses, each turned to its own heading (no embedding)"}


@dataclass(frozen=True)
class Place:
    """One camera's images: which frames are looked at, where the person is, and frame 0's place in the recording."""

    name: str
    footage: Footage
    lens: Lens
    person: Person
    rows: Sequence[int]
    fps: float
    offset: float = 0.0

    def crops(self, rows: Sequence[int], size: int) -> Iterator[tuple[int, RGB, CropCamera]]:
        """Frame number, pixels and camera of the crops; frames without a person, or a box beside the image, give none."""
        for frame, image in self.footage.images(rows):
            fit = self.lens.fit((image.shape[1], image.shape[0]))
            image = image if fit is None else fit.apply(image)
            full = (image.shape[1], image.shape[0])
            box = self.person.at(frame, full)
            if box is None:
                continue
            try:
                check_box(box, full[1], full[0])
                camera = crop_camera(*self.lens.intrinsics(full), box, size)
                pixels = warp(image, camera)
            except VergenceError:
                continue
            yield frame, pixels, camera

    def time(self, frame: int) -> float:
        return (frame - self.offset) / self.fps


@dataclass(frozen=True)
class Described:
    """The query's descriptors, their times, and its first crop's image and pose."""

    descriptor: np.ndarray
    time: np.ndarray
    pose: np.ndarray


def check_numbers(top: int, apart: float, every: int) -> None:
    if top < 1 or every < 1 or not 0 <= apart < 1e9:
        raise VergenceError(
            f"--top {top}, --apart {apart:g}, --every {every}", "Give 1 or more hits and frames, 0 or more seconds."
        )


def open_places(
    path: Path, fps: float | None, fov: float | None, box: str, boxes: Path | None, keypoints: Path | None, frames: str,
    every: int,
) -> list[Place]:  # fmt: skip
    """The cameras of the footage."""
    if not path.exists():
        raise VergenceError(f"there is no {path}", "Give --footage: a folder of images, a video or a capture.")
    given = [name for name, value in (("--box", box), ("--boxes", boxes), ("--keypoints", keypoints)) if value]
    if len(given) > 1:
        raise VergenceError(f"the person is given twice: {' and '.join(given)}", "Give one of them.")
    if not _is_capture(path):
        footage, lens = open_footage(path, fps), find_lens(None, "", fov)
        person = find_person(footage, lens, box, boxes, keypoints)
        return [Place(path.name, footage, lens, person, _rows(footage, frames, every), footage.fps)]
    if given and given != ["--box"]:
        raise VergenceError(f"{given[0]} for a capture of several cameras", "Name the keypoints in its capture.toml.")
    capture = load_capture(path)
    places = []
    for camera in capture.cameras:
        if camera.video is None:
            continue
        footage = open_footage(camera.video, capture.fps)
        lens = find_lens(path, camera.name, fov if camera.intrinsics is None else None)
        person = find_person(footage, lens, box, None, None)
        places.append(
            Place(camera.name, footage, lens, person, _rows(footage, frames, every), capture.fps, camera.offset)
        )
    if not places:
        raise VergenceError(f"{path} has no images", "Give `video` or `frames` in capture.toml.")
    return places


def _is_capture(path: Path) -> bool:
    if path.suffix == ".toml":
        return True
    return path.is_dir() and any(p.name == "capture.toml" or p.suffix.lower() in VIDEO_SUFFIXES for p in path.iterdir())


def _rows(footage: Footage, frames: str, every: int) -> list[int]:
    return wanted_frames(frames, len(footage))[::every]


def open_query(path: Path, fps: float | None, fov: float | None, box: str, frames: str) -> Place:
    """The image or clip that is looked for."""
    if not path.exists():
        raise VergenceError(f"there is no query {path}", "Give an image, a video or a folder of images.")
    if path.suffix == ".toml" or (path / "capture.toml").is_file():
        raise VergenceError(f"the query {path} is a capture", "Give one of its videos, or an image.")
    footage, lens = open_footage(path, fps), find_lens(None, "", fov)
    person = find_person(footage, lens, box, None, None)
    return Place(path.name, footage, lens, person, _rows(footage, frames, 1), footage.fps)


def provenance(run: Path, places: Sequence[Place], options: Sequence[object]) -> dict[str, Any]:
    """Everything that an index depends on."""
    for name in ("model.safetensors", "config.json"):
        if not (run / name).is_file():
            raise VergenceError(f"{run} is not a finished run: it has no {name}", "Give the folder of a trained run.")
    beside = [Path(str(o)) for o in options if isinstance(o, Path)]
    captures = {p.lens.capture.folder for p in places if p.lens.capture is not None}
    files = [f for place in places for f in _files(place.footage.path)]
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
    path: Path, estimator: Estimator, places: Sequence[Place], made_by: dict[str, Any], console: Console
) -> tuple[Index, bool]:
    """The index that is there if it is of this run and footage (then True), else a new one, saved."""
    if path.exists():
        index = Index.load(path)
        if index.made_by == made_by:
            console.print(f"[dim]{path}: {len(index)} images, indexed before[/dim]")
            return index, True
    for note in dict.fromkeys(
        note for p in places for note in (p.footage.note, *p.lens.notes, *p.person.notes) if note
    ):
        console.print(f"[dim]{note}[/dim]")
    total = sum(len(p.rows) for p in places)
    shots = track(_shots(places, estimator.image_size), "indexing", total, console=console, disable=console.quiet)
    index = build_index(estimator, shots, [p.name for p in places], made_by)
    index.save(path)
    return index, False


def _shots(places: Sequence[Place], size: int) -> Iterator[Shot]:
    for number, place in enumerate(places):
        for frame, pixels, camera in place.crops(place.rows, size):
            yield Shot(number, frame, place.time(frame), pixels, camera.intrinsics)


def describe(estimator: Estimator, query: Place) -> Described:
    """The query's descriptors, as an index of its own."""
    try:
        own = build_index(estimator, _shots([query], estimator.image_size), [query.name], {})
    except VergenceError as error:
        raise VergenceError(f"nobody was seen in the query {query.name}", "Give --query_box.") from error
    return Described(own.descriptor, own.time, own.pose[0])


def results(
    run: Path, query: Path, footage: Path, index: Index, reused: bool, described: Described, hits: Sequence[Hit],
    apart: float, seconds: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    """What results.json holds."""
    return {
        "run": str(run),
        "query": {"path": str(query), "images": len(described.time)},
        "footage": {"path": str(footage), "images": len(index), "cameras": list(index.cameras)},
        "index": {"reused": reused, **index.made_by},
        "hits": [
            {"rank": i, "camera": h.camera, "frame": h.frame, "time": h.time, "distance": h.distance}
            for i, h in enumerate(hits, 1)
        ],
        "protocol": {
            "descriptor": WORDS[index.kind],
            "distance": "Euclidean; of a clip the root mean square over its images at equal times",
            "search": "exhaustive",
            "apart": apart,
            "time_unit": "s",
        },
        "seconds": seconds,
    }


def write(
    folder: Path, estimator: Estimator, places: Sequence[Place], query: Place, described: Described, index: Index,
    hits: Sequence[Hit], found: dict[str, Any],
) -> None:  # fmt: skip
    """results.json and report.html."""
    about = found["protocol"]
    protocol = f"distance: {about['distance']}, between descriptors ({about['descriptor']}); {about['search']} search"
    first = query.rows[0]
    image = next((pixels for _, pixels, _ in query.crops([first], THUMBNAIL_PX)), None)
    samples = [Sample(f"query: {query.name}, frame {first}", "query", image, pose=described.pose)]
    images = _thumbnails(places, hits)
    for i, hit in enumerate(hits, 1):
        title = f"{i}. {hit.camera}, {hit.time:.2f} s (frame {hit.frame})"
        pose, errors = index.pose[hit.row], {"distance": f"{hit.distance:.3f}"}
        samples.append(Sample(title, "hits", images.get((hit.camera, hit.frame)), pose=pose, errors=errors))
    rows: list[list[Cell]] = [
        [f"{i}", h.camera, f"{h.time:.2f}", str(h.frame), h.distance] for i, h in enumerate(hits, 1)
    ]
    page = Page(
        title=f"Where is the pose of {query.name}?",
        subtitle=f"The nearest moments among {len(index):,} images of {len(index.cameras)} cameras",
        skeleton=estimator.skeleton,
        facts={
            "run": found["run"], "footage": found["footage"]["path"], "version": f"vergence {__version__}",
            **{k: str(v) for k, v in index.made_by.items() if k in ("weights", "footage")},
        },
        tables=[Table("Hits", ["", "camera", "time s", "frame", "distance"], rows, protocol)],
        samples=samples,
        samples_protocol=protocol + ". Skeletons are predictions"
        + (", turned to one heading." if index.frame_of_pose == "canonical" else ", as each camera sees them."),
        pose_unit="reference bones",
        labels=("prediction", ""),
        sections=("samples", "results", "run"),
    )  # fmt: skip
    write_json(folder / "results.json", found)
    write_page(folder / "report.html", page)


def _thumbnails(places: Sequence[Place], hits: Sequence[Hit]) -> dict[tuple[str, int], RGB]:
    """The crops of the hits, by camera and frame."""
    found = {}
    for place in places:
        rows = sorted({h.frame for h in hits if h.camera == place.name})
        if rows:
            found.update({(place.name, frame): pixels for frame, pixels, _ in place.crops(rows, THUMBNAIL_PX)})
    return found


def show(console: Console, found: dict[str, Any], folder: Path) -> None:
    """The hits on the terminal."""
    table = Lines("", "camera", "time s", "frame", "distance", title="Hits")
    for h in found["hits"]:
        table.add_row(str(h["rank"]), h["camera"], f"{h['time']:.2f}", str(h["frame"]), f"{h['distance']:.3f}")
    console.print(table)
    console.print(f"[dim]distance: {found['protocol']['distance']}; {found['protocol']['descriptor']}[/dim]")
    console.print(f"{folder / 'report.html'}")
