"""The page of a search: the query, the moments nearest to it with their images and poses, and a table of them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Lines

from vergence import __version__
from vergence.inference.search import SearchResult
from vergence.report.page import Cell, Page, Sample, Table
from vergence.report.render import write_page

THUMBNAIL_PX = 160


def write_search(path: Path, found: SearchResult) -> None:
    """The page, as one HTML file."""
    index, about = found.index, found.values()["protocol"]
    protocol = f"distance: {about['distance']}, between descriptors ({about['descriptor']}); {about['search']} search"
    first, image = found.query_image(THUMBNAIL_PX)
    samples = [Sample(f"query: {found.query.name}, frame {first}", "query", image, pose=found.query_pose)]
    images = found.hit_images(THUMBNAIL_PX)
    for i, hit in enumerate(found.hits, 1):
        file = f"{name}, " if (name := found.image_name(hit)) else ""
        title = f"{i}. {hit.camera}, {file}{hit.time:.2f} s (frame {hit.frame})"
        pose, errors = index.pose[hit.row], {"distance": f"{hit.distance:.3f}"}
        samples.append(Sample(title, "hits", images.get((hit.camera, hit.frame)), pose=pose, errors=errors))
    images_of, columns = _columns(found)
    rows: list[list[Cell]] = [
        [f"{i}", h.camera, f"{h.time:.2f}", str(h.frame), h.distance, *image]
        for i, (h, image) in enumerate(zip(found.hits, images_of), 1)
    ]
    cameras = f"{len(index.cameras)} camera" + "s" * (len(index.cameras) > 1)
    page = Page(
        title=f"Where is the pose of {found.query.name}?",
        subtitle=f"The nearest moments among {len(index):,} images of {cameras}",
        skeleton=found.skeleton,
        facts={
            "run": found.run, "footage": str(found.footage), "version": f"vergence {__version__}",
            **{f"digest of the {k}": str(v) for k, v in index.made_by.items() if k in ("weights", "footage")},
        },
        tables=[Table("Hits", ["", *columns], rows, protocol)],
        samples=samples,
        samples_protocol=protocol + ". Skeletons are predictions"
        + (", turned to one heading." if index.frame_of_pose == "canonical" else ", as each camera sees them."),
        pose_unit="reference bones",
        labels=("prediction", ""),
        sections=("samples", "results", "run"),
    )  # fmt: skip
    write_page(path, page)


def _columns(found: SearchResult) -> tuple[list[list[str]], list[str]]:
    """The hits' image files, one each or none of a video, and the names of a hit's columns."""
    images = [found.image_name(hit) for hit in found.hits]
    columns = ["camera", "time s", "frame", "distance", *["image"] * any(images)]
    return [[image] * any(images) for image in images], columns


def print_search(console: Console, found: SearchResult) -> None:
    """The hits on the terminal."""
    about = found.values()["protocol"]
    images, columns = _columns(found)
    table = Lines("", *columns, title="Hits")
    for rank, (hit, image) in enumerate(zip(found.hits, images), 1):
        where = (escape(hit.camera), f"{hit.time:.2f}", str(hit.frame))
        table.add_row(str(rank), *where, f"{hit.distance:.3f}", *map(escape, image))
    console.print(table)
    console.print(f"[dim]distance: {about['distance']}; {about['descriptor']}[/dim]")
