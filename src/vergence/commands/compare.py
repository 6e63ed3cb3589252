"""`vergence compare`: methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NARROW = ("n_mpjpe", "p_mpjpe", "keypoints_2d", "detection_1")  # as many as fit on a terminal
KEYS = ("method", "skeleton", "image_size", "network", "sources", "stages", "test", "precision", "checkpoint_every")


def compare(words: Sequence[str]) -> int:
    """`vergence compare [RECIPE|SET|RUN ...] [--seeds N] [--labels 1,2,all] [--out DIR] [--any.key value]`."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(
        prog="vergence compare",
        allow_abbrev=False,
        description="Trains recipes on the same data, measures them on the same tests, and writes one table and one page. "
        "What several recipes have in common is made once. Stopped, the same command goes on where it was. Any key of a "
        "recipe is an option that goes for all of them, as in --stages.pose.train.steps 2000.",
    )
    parser.add_argument(
        "what", nargs="*", metavar="RECIPE|SET|RUN",
        help="a recipe's file or built-in name, a row of a table (TABLE/ROW), a set of recipes, or the folder of a finished "
        "run, which is only measured (default: the built-in set)",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="train each with seeds 0 to N - 1 (default: 1)"
    )
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="only these of all that is named")
    parser.add_argument(
        "--labels", default="", metavar="1,2,4,all",
        help="train each recipe that uses 3D labels once for every number of people whose 3D it sees",
    )  # fmt: skip
    parser.add_argument(
        "--reference", default="", metavar="NAME", help="what the others are held against (default: supervised)"
    )
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder that relative paths of datasets are in")
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="folder (default: comparison)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options, overrides = read_options(parser, words)

    from rich.console import Console

    from vergence.commands.console.rows import following, save
    from vergence.commands.console.tables import show_page_table
    from vergence.commands.console.terminal import told
    from vergence.comparison.compare import Comparison, compare
    from vergence.report.comparison import comparison_page, result_table, versus_table
    from vergence.skeleton import get_skeleton

    command = " ".join(["vergence compare", *words])

    def page(so_far: Comparison) -> None:
        results = {**so_far.results, "command": command}
        skeleton = get_skeleton(so_far.plan.base.skeleton)
        save(so_far, comparison_page(results, so_far.shown, so_far.tests(), skeleton), options.out, command)

    with told(options.quiet) as progress:
        found = compare(
            options.what, out=options.out, only=options.only, labels=options.labels, overrides=overrides,
            seeds=options.seeds, reference=options.reference, data=options.data, device=options.device,
            progress=progress, after=following("vergence compare", page),
        )  # fmt: skip
    if found.row.evaluation is None:  # else it was written with that row
        page(found)
    for table, most in ((result_table(found.results, keys=NARROW), None), (versus_table(found.results), 3)):
        if table is not None:
            keep = [i for i, column in enumerate(table.columns[:most]) if column != "parameters"]
            show_page_table(table, Console(), keep)
    print(options.out / "report.html")
    return 0


def read_options(parser: ArgumentParser, words: Sequence[str]) -> tuple[Namespace, list[str]]:
    """The verb's options, `only` and `labels` as lists, and those that set a recipe's keys.

    Raises:
        VergenceError: an option that is none.
    """
    from vergence.errors import VergenceError

    own, overrides = split_overrides(words)
    options, unknown = parser.parse_known_intermixed_args(own)
    if unknown:
        raise VergenceError(f"there is no option {unknown[0]}", f"`{parser.prog} --help` shows the options.")
    for name in ("only", "labels"):
        setattr(options, name, [word for word in getattr(options, name, "").split(",") if word])
    return options, overrides


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The verb's own words, and the options that set a recipe's keys, each with its value."""
    own: list[str] = []
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word[2:].partition("=")
        if word.startswith("--") and name.partition(".")[0] in KEYS:
            overrides.append(word if equals or not rest else f"{word}={rest.pop(0)}")
        else:
            own.append(word)
    return own, overrides


compare.takes_words = True  # type: ignore[attr-defined]
