"""`vergence reproduce`: reproduces a paper's table, our figures beside the published ones."""

from __future__ import annotations

from pathlib import Path

from vergence.commands.compare import compare, listed


def reproduce(
    table: str = "",
    data: Path | None = None,
    only: str = "",
    out: Path = Path("reproduced"),
    seeds: int = 1,
    device: str = "auto",
    plugins: str = "",
    quiet: bool = False,
    overrides: list[str] = [],  # noqa: B006
    command: str = "",
) -> int:
    """Trains all rows of a paper's table, measures each by the protocols of its published figures, and writes ours
    beside theirs. Without a table it lists all tables.

    Example: vergence reproduce epipolar_pose_h36m --data /datasets --only full_r18

    Common parts of rows are made once. A row that fails does not stop the others: it is named at the end, and the exit
    status is 1. After a stop or a failure the same command continues. Any key of a recipe is an option for
    all rows; `all` stands for every stage or source, as in --stages.all.train.steps 20.

    Args:
        table: a built-in table's name, or a file; none: list them.

    What is trained (--only full_r18,full_r50 --seeds 3):
        data (ROOT): folder in which the datasets' folders lie.
        only (ROW,ROW): only these rows.
        seeds: train each row with seeds 0 to N - 1.

    How it runs (--device cuda):
        out (FOLDER): of all tables.
        device: auto, cpu, cuda or mps.
        plugins (FILE,FILE): Python files, joined by commas, with your own methods, sources, backbones and metrics.
        quiet: no progress.
    """
    if not table:
        from vergence.recipes.paper_tables import overview

        print(overview())
        return 0
    from rich.console import Console

    from vergence.commands.console.options import with_plugins
    from vergence.commands.console.terminal import told
    from vergence.recipes.paper_tables import data_root

    data_root(table, data)  # refused before libraries are loaded
    with told(quiet, f"training the rows of {table}, hours to days each; the first says how long") as progress:
        from vergence.commands.console.rows import ended, following, save
        from vergence.commands.console.tables import show_page_table
        from vergence.comparison.reproduce import Reproduction, reproduce
        from vergence.report.papers.published import published_page, published_tables
        from vergence.skeleton import get_skeleton

        def page(so_far: Reproduction) -> None:
            skeleton = get_skeleton(so_far.plan.entries[0].recipe.skeleton)
            save(so_far, published_page({**so_far.results, "command": command}, skeleton), so_far.folder, command)

        found = reproduce(
            table, data=data, out=out, only=listed(only), overrides=with_plugins(overrides, plugins), seeds=seeds,
            device=device, progress=progress, after=following(f"vergence reproduce {table}", page),
        )  # fmt: skip
    console = Console()
    for one in published_tables(found.results):
        show_page_table(one, console)
        console.print(one.note, highlight=False, markup=False)
    status = ended(found, page)
    console.print(str(found.folder / "report.html"), markup=False, soft_wrap=True)
    return status


reproduce.placed = ("table",)  # type: ignore[attr-defined]
reproduce.keys = compare.keys  # type: ignore[attr-defined]
