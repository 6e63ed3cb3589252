"""`vergence train`: a recipe carried out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vergence.recipes.recipe import Recipe


def train(
    recipe: str,
    data: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
    print_config: bool = False,
    plugins: str = "",
    quiet: bool = False,
    overrides: list[str] = [],  # noqa: B006
    command: str = "",
) -> None:
    """Executes a recipe: a YAML file, a built-in recipe's name, or a row of a table, as TABLE/ROW.

    Example: vergence train demo --out runs/mine

    After a stop the same command continues. Any key of the recipe is an option too; --print-config shows them all.

    Example: vergence train capture --sources.footage.path my_capture --stages.pose.train.steps 2000

    Example: torchrun --no-python --nproc-per-node 4 vergence train demo

    Args:
        recipe: file, name of a built-in recipe, or TABLE/ROW (`vergence reproduce` lists them).

    What it reads and writes (--data /datasets --out runs/mine):
        data (ROOT): folder of the datasets, for relative paths.
        out (FOLDER): the run's folder (default: runs/RECIPE).
        print_config: print the resolved recipe and stop.

    How it runs (--device cpu):
        device: auto, cpu, cuda or mps.
        plugins (FILE,FILE): Python files, joined by commas, with your own methods, sources, backbones and metrics.
        quiet: no progress.
    """
    from dataclasses import asdict

    import yaml

    from vergence.commands.console.options import with_plugins
    from vergence.commands.console.terminal import told
    from vergence.files import check_writable
    from vergence.recipes.load import load_recipe
    from vergence.recipes.paper_tables import is_row

    loaded, named = load_recipe(recipe, with_plugins(overrides, plugins)).under(data), Path(recipe)
    if print_config:
        print("vergence train: checking the recipe; loading libraries", file=sys.stderr, flush=True)
        from vergence.training.checks import check_recipe

        check_recipe(loaded, weights=False)
        yaml.safe_dump(asdict(loaded), sys.stdout, sort_keys=False)
        return
    out = out or Path("runs") / (Path(named.parent.stem) / named.name if is_row(recipe) else named.stem)
    check_writable(out, folder=True)
    with told(quiet, f"{plan(loaded)} in {out}") as progress:
        from vergence.commands.console.export import write_tables
        from vergence.commands.console.tables import show
        from vergence.evaluation.evaluate import evaluate
        from vergence.report.run_page import write_run_page
        from vergence.training.train import train

        run = train(loaded, out, device=device, progress=progress)
        if run.team.rank:  # of several processes the first one measures
            return
        found = evaluate(run, progress=progress)
    found.save(out / "results.json", command=command)
    write_tables(write_run_page(found, out / "report.html", command), out)
    show(found, out, out / "report.html")


def plan(recipe: Recipe) -> str:
    """A recipe's stages in a line, told while libraries are still loaded."""
    stages = recipe.stages.items()
    return ", ".join(f"{n} ({stage.train.steps} steps)" if stage.train else n for n, stage in stages) or "no stages"
