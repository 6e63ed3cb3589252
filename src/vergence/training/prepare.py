"""`vergence.prepare`: crops and labels of sources, written once into shards that are read fast.

It stands here and not with the shards because it opens sources, which know datasets and the world alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vergence.datasets.shards.writer import Joined
from vergence.datasets.shards.writer import prepare as write_shards
from vergence.errors import VergenceError, several
from vergence.files import check_writable
from vergence.folders import held
from vergence.networks.threads import cores
from vergence.progress import Progress, counted, heard, silent
from vergence.skeleton import get_skeleton
from vergence.training.sources import open_source, parse_source
from vergence.training.stage_cache import images_of


@dataclass(frozen=True)
class Prepared:
    """Shards that are complete.

    Attributes:
        path: their folder.
        rows: crops.
        shards: files of crops.
        size_bytes: of all files.
        unreadable: images that were left out.
        reason: of the first of them.
    """

    path: Path
    rows: int
    shards: int
    size_bytes: int
    unreadable: int = 0
    reason: str = ""

    @property
    def recipe_line(self) -> str:
        """A recipe's source that reads them."""
        return f"{{kind: shards, path: {self.path}}}"


def prepare(
    sources: str | Sequence[str],
    out: Path | str,
    *,
    size: int = 256,
    skeleton: str = "h36m_17",
    skip_unreadable: bool = False,
    workers: int | None = None,
    progress: Progress = silent,
) -> Prepared:
    """Crops the people of sources once. After a stop or a kill the same call continues; it checks a finished folder.

    Args:
        sources: one or several, each a recipe's line `{kind: ..., path: ...}`, RECIPE:NAME, or the folder of a capture.
        out: folder, new, or of the same sources.
        size: side of the crops, px.
        skeleton: joints of the labels.
        skip_unreadable: leave out, and count, images that cannot be read, instead of stopping at the first.
        workers: processes; None: the cores this process may use.
        progress: reports every file's rows.

    Raises:
        VergenceError: a number out of its range, no such source, a folder of something else, an unreadable image.
    """
    out, workers = Path(out), cores() if workers is None else workers
    if not 16 <= size <= 2048:
        raise VergenceError(f"size is {size}", "Give 16 to 2048 px.")
    if workers < 1:
        raise VergenceError(f"workers is {workers}", "Give 1 or more processes.")
    check_writable(out, folder=True)
    joints, parsed = get_skeleton(skeleton), {text: parse_source(text) for text in several(sources)}
    with heard(progress, "sources"):
        opened = {text: open_source(source, size, joints.name) for text, source in parsed.items()}
    dataset = Joined(opened) if len(opened) > 1 else next(iter(opened.values()))
    settings = {"sources": [images_of(source) for source in parsed.values()]}
    advance = counted("preparing", len(dataset), progress)
    with held(out):
        manifest = write_shards(
            dataset, out, size, joints, settings, skip_unreadable=skip_unreadable, workers=workers, advance=advance
        )
    skipped, files = manifest["report"].get("unreadable"), manifest["files"]
    lost = (skipped["images"], next(iter(skipped["first"].values()))) if skipped else (0, "")
    return Prepared(out, manifest["rows"], len(files) - 1, sum(file["bytes"] for file in files.values()), *lost)
