"""`vergence data prepare`: crops and labels of sources written once into shards that are read fast."""

from __future__ import annotations

from collections.abc import Sequence


def prepare(words: Sequence[str]) -> int:
    """`vergence data prepare SOURCE... --out SHARDS [--size 256] [--skeleton h36m_17] [--skip_unreadable] [--workers N]`."""
    import argparse
    import os
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
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
                        else os.cpu_count() or 1, help="processes (default: the machine's cores)")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(list(words))

    from rich.progress import Progress

    from vergence.datasets.shards.writer import Joined
    from vergence.datasets.shards.writer import prepare as write_shards
    from vergence.errors import VergenceError
    from vergence.skeleton import get_skeleton
    from vergence.training.source_words import parse_source
    from vergence.training.sources import open_source
    from vergence.training.stage_cache import images_of

    if not 16 <= options.size <= 2048:
        raise VergenceError(f"--size is {options.size}", "Give 16 to 2048 px.")
    if options.workers < 1:
        raise VergenceError(f"--workers is {options.workers}", "Give 1 or more processes.")
    if options.out.is_file():
        raise VergenceError(f"{options.out} is a file", "Choose another folder.")
    skeleton = get_skeleton(options.skeleton)
    opened = {text: open_source(parse_source(text), options.size, skeleton.name) for text in options.sources}
    dataset = Joined(opened) if len(opened) > 1 else next(iter(opened.values()))
    settings = {"sources": [images_of(parse_source(text)) for text in opened]}
    with Progress(disable=options.quiet) as progress:
        task = progress.add_task("preparing", total=len(dataset))
        manifest = write_shards(
            dataset, options.out, options.size, skeleton, settings,
            skip_unreadable=options.skip_unreadable, workers=options.workers, advance=lambda rows: progress.advance(task, rows),
        )  # fmt: skip
    count = manifest["rows"]
    size = sum(file["bytes"] for file in manifest["files"].values())
    print(f"{count} crops of {options.size} px in {len(manifest['files']) - 1} shards, {size / 1e6:.1f} MB")
    if skipped := manifest["report"].get("unreadable"):
        print(f"{skipped['images']} images could not be read: {next(iter(skipped['first'].values()))}")
    print(f"{{kind: shards, path: {options.out}}}")
    return 0
