"""`vergence data prepare`: crops and labels of sources written once into shards that are read fast."""

from __future__ import annotations

from collections.abc import Sequence


def prepare(words: Sequence[str]) -> int:
    """`vergence data prepare SOURCE... --out SHARDS [--size 256] [--skeleton h36m_17] [--skip_unreadable] [--workers N]`."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(
        prog="vergence data prepare",
        description="Crops the people of sources once and writes them, with all labels, into a few large files, which "
        "recipes read as {kind: shards, path: SHARDS}. Stopped or killed, the same command goes on where it was; on a "
        "finished folder it checks every file.",
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a recipe's line '{kind: ..., path: ...}', "
                        "RECIPE:NAME, or the folder of a capture")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="SHARDS", help="folder, new, or of the same sources")
    parser.add_argument("--size", type=int, default=256, help="side of the crops, px (default: 256)")
    parser.add_argument("--skeleton", default="h36m_17", help="joints of the labels (default: h36m_17)")
    parser.add_argument("--skip_unreadable", "--skip-unreadable", action="store_true",
                        help="leave out, and count, images that cannot be read")  # fmt: skip
    parser.add_argument("--workers", type=int, help="processes (default: the machine's cores)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(list(words))

    from vergence.report.bars import bars
    from vergence.training.prepare import prepare as prepared

    with bars(options.quiet) as progress:
        done = prepared(
            options.sources, options.out, size=options.size, skeleton=options.skeleton,
            skip_unreadable=options.skip_unreadable, workers=options.workers, progress=progress,
        )  # fmt: skip
    print(f"{done.rows} crops of {options.size} px in {done.shards} shards, {done.size_bytes / 1e6:.1f} MB")
    if done.unreadable:
        print(f"{done.unreadable} images could not be read: {done.reason}")
    print(done.recipe_line)
    return 0
