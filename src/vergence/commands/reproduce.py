"""`vergence reproduce`: a paper's table trained again, ours beside theirs."""

from __future__ import annotations

from collections.abc import Sequence


def reproduce(words: Sequence[str]) -> int:
    """`vergence reproduce [TABLE --data ROOT [--only ROW,...] [--out DIR] [--seeds N] [--any.key value]]`."""
    import argparse
    from pathlib import Path

    from vergence.commands.compare import read_options

    parser = argparse.ArgumentParser(
        prog="vergence reproduce",
        allow_abbrev=False,
        description="Trains all rows of a paper's table, measures each by the protocols of its published figures, and writes "
        "ours beside theirs. What rows have in common is made once. Stopped, the same command goes on where it was. Any key "
        "of a recipe is an option that goes for all rows; `all` stands for every stage or source, as in "
        "--stages.all.train.steps 20. Without a table it lists those there are.",
    )
    parser.add_argument("table", nargs="?", help="a built-in table's name, or a file; none: list them")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder in which the datasets' folders lie")
    parser.add_argument("--only", default="", metavar="ROW,ROW", help="only these rows")
    parser.add_argument(
        "--out", type=Path, default=Path("reproduced"), help="folder of all tables (default: reproduced)"
    )
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="train each row with seeds 0 to N - 1 (default: 1)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options, overrides = read_options(parser, words)

    from vergence.comparison.reproduce import Reproduction, overview, reproduce

    if not options.table:
        print(overview())
        return 0
    from rich.console import Console

    from vergence.commands._rows import following, save
    from vergence.commands._tables import show_page_table
    from vergence.commands._terminal import told
    from vergence.report.comparison import published_page, published_tables
    from vergence.skeleton import get_skeleton

    command = " ".join(["vergence reproduce", *words])

    def page(so_far: Reproduction) -> None:
        skeleton = get_skeleton(so_far.plan.entries[0].recipe.skeleton)
        save(so_far, published_page({**so_far.results, "command": command}, skeleton), so_far.folder, command)

    with told(options.quiet) as progress:
        found = reproduce(
            options.table, data=options.data, out=options.out, only=options.only, overrides=overrides,
            seeds=options.seeds, device=options.device, progress=progress,
            after=following(f"vergence reproduce {options.table}", page),
        )  # fmt: skip
    if found.row.evaluation is None:  # else it was written with that row
        page(found)
    console = Console()
    for table in published_tables(found.results):
        show_page_table(table, console)
        console.print(table.note, highlight=False)
    console.print(f"{found.folder / 'report.html'}")
    return 0


reproduce.takes_words = True  # type: ignore[attr-defined]
