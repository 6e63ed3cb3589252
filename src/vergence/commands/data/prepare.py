"""`vergence data prepare`: crops and labels of sources written once into shards that are read fast."""

from __future__ import annotations

from pathlib import Path


def prepare(
    sources: list[str],
    out: Path,
    size: int = 256,
    skeleton: str = "h36m_17",
    skip_unreadable: bool = False,
    workers: int | None = None,
    quiet: bool = False,
) -> None:
    """Crops the people of sources once and writes them, with all labels, into a few large files, which recipes read as
    {kind: shards, path: SHARDS}.

    Example: vergence data prepare '{kind: human36m, path: /datasets/human36m}' --out shards

    After a stop or a kill the same command continues. On a finished folder it checks every file.

    Args:
        sources (SOURCE): a recipe's line '{kind: ..., path: ...}', RECIPE:NAME, or the folder of a capture.

    What is written (--out shards --size 128):
        out (SHARDS): folder, new, or of the same sources.
        size: side of the crops, px.
        skeleton (NAME): joints of the labels.
        skip_unreadable: leave out, and count, images that cannot be read.

    How it runs (--workers 4):
        workers: processes (default: the machine's cores).
        quiet: no progress.
    """
    from vergence.recipes.load import check_source
    from vergence.report.bars import bars

    for source in sources:
        check_source(source)
    from vergence.training.prepare import prepare as prepared

    with bars(quiet) as progress:
        done = prepared(
            sources, out, size=size, skeleton=skeleton,
            skip_unreadable=skip_unreadable, workers=workers, progress=progress,
        )  # fmt: skip
    print(f"{done.rows} crops of {size} px in {done.shards} shards, {done.size_bytes / 1e6:.1f} MB")
    if done.unreadable:
        print(f"{done.unreadable} images could not be read: {done.reason}")
    print(done.recipe_line)


prepare.named = ("out",)  # type: ignore[attr-defined]
prepare.takes = "a few minutes for 100,000 images; the first ones tell how long"  # type: ignore[attr-defined]
