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

    from vergence.comparison.reproduce import Plan, carry_out, overview
    from vergence.errors import VergenceError
    from vergence.recipes.paper_tables import read_table

    if not options.table:
        print(overview())
        return 0
    read_table(options.table)
    if options.data is None:
        raise VergenceError(
            f"where the datasets of {options.table} lie is not said",
            "Give --data ROOT, the folder in which they lie, each in a folder of its kind's name (docs/datasets.md).",
        )
    plan = Plan.of(options.table, options.only, overrides, options.seeds, options.data)
    carry_out(plan, options.out, options.device, options.quiet, " ".join(["vergence reproduce", *words]))
    return 0


reproduce.takes_words = True  # type: ignore[attr-defined]
