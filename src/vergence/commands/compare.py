"""`vergence compare`: methods side by side."""

from __future__ import annotations

from pathlib import Path

NARROW = ("n_mpjpe", "p_mpjpe", "keypoints_2d", "detection_1")  # as many as fit on a terminal


def compare(
    what: list[str] = [],  # noqa: B006
    seeds: int = 1,
    only: str = "",
    labels: str = "",
    vary: str = "",
    reference: str = "",
    data: Path | None = None,
    out: Path = Path("comparison"),
    device: str = "auto",
    plugins: str = "",
    quiet: bool = False,
    overrides: list[str] = [],  # noqa: B006
    command: str = "",
) -> int:
    """Trains recipes on the same data, measures them on the same tests, and writes one table and one page.

    Example: vergence compare demo supervised runs/old --seeds 3

    Common parts of several recipes are made once. A recipe that fails does not stop the others: it is named at the end, and
    the exit status is 1. After a stop or a failure the same command continues. Any key of a recipe is an
    option for all of them, as in --stages.pose.train.steps 2000.

    Args:
        what (RECIPE|SET|RUN): a recipe's file or built-in name, a row of a table (TABLE/ROW), a set of recipes, or the folder
            of a finished run, which is only measured (default: the built-in set).

    What is compared (--only supervised,mcss --labels 1,2,all):
        seeds: train each with seeds 0 to N - 1.
        only (NAME,NAME): only these names.
        labels (N,N,all): train each recipe that uses 3D labels once for every number of people with visible 3D.
        vary (KEY=V,V): train each recipe once for every value of one of its keys.
        reference (NAME): the method that the others are compared with (default: supervised; with --labels that of most
            labels).

    What it reads and writes (--out comparison):
        data (ROOT): folder of the datasets, for relative paths.
        out (FOLDER): for report.html, results.json, results.md, tables/ (CSV, LaTeX), figures/ (SVG) and the runs.

    How it runs (--device cpu):
        device: auto, cpu, cuda or mps.
        plugins (FILE,FILE): Python files, joined by commas, with your own methods, sources, backbones and metrics.
        quiet: no progress.
    """
    from rich.console import Console

    from vergence.commands.console.options import with_plugins
    from vergence.commands.console.terminal import told
    from vergence.recipes.load import compared_path
    from vergence.recipes.paper_tables import is_row

    for word in what:
        if not (Path(word).is_dir() or is_row(word)):
            compared_path(word)  # refused before libraries are loaded
    many = f", each with {seeds} seeds" if seeds > 1 else ""
    named = ", ".join(what) or "the built-in recipes"
    begin = f"comparing {named}{many} in {out}: each says how long it trains, and the first how long all take"
    with told(quiet, begin) as progress:
        from vergence.commands.console.rows import ended, following, save
        from vergence.commands.console.tables import show_page_table
        from vergence.comparison.compare import Comparison, compare
        from vergence.report.comparison import (
            change_tables,
            comparison_page,
            few_people,
            result_table,
            versus_table,
            worth_table,
        )
        from vergence.skeleton import get_skeleton

        def page(so_far: Comparison) -> None:
            results = {**so_far.results, "command": command}
            skeleton = get_skeleton(so_far.plan.base.skeleton)
            save(so_far, comparison_page(results, so_far.shown, so_far.tests(), skeleton), out, command)

        found = compare(
            what, out=out, only=listed(only), labels=listed(labels), overrides=with_plugins(overrides, plugins), seeds=seeds,
            reference=reference, data=data, vary=vary, device=device, progress=progress,
            after=following("vergence compare", page),
        )  # fmt: skip
    results = found.results
    tables = [(result_table(results, keys=NARROW), None), (versus_table(results), 3), (worth_table(results), 3)]
    for table, most in [*tables, *((one, None) for one in change_tables(results))]:
        if table is not None:
            keep = [i for i, column in enumerate(table.columns[:most]) if column != "parameters"]
            show_page_table(table, Console(), keep)
    if warning := few_people(results, results["protocol"]["figures_of"]):
        Console().print(f"[yellow]{warning}[/yellow]", highlight=False)
    status = ended(found, page)
    print(out / "report.html")
    return status


def listed(words: str) -> list[str]:
    """`A,B` as a list."""
    return [word for word in words.split(",") if word]


compare.placed = ("what",)  # type: ignore[attr-defined]
compare.keys = (  # type: ignore[attr-defined]
    "method", "skeleton", "image_size", "network", "sources", "stages", "test", "precision", "checkpoint_every",
)  # fmt: skip
