"""`vergence train`: a recipe carried out."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def train(words: Sequence[str]) -> int:
    """`vergence train RECIPE [--data ROOT] [--out DIR] [--device D] [--any.key value] [--print_config]`."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(
        prog="vergence train",
        description="Carries a recipe out: a YAML file, a built-in recipe's name, or a row of a table, as TABLE/ROW. Any key "
        "of the recipe is an option, as in --stages.pose.train.steps 2000. A run that was stopped goes on where it was.",
    )
    parser.add_argument(
        "recipe", help="file, name of a built-in recipe, or TABLE/ROW (`vergence reproduce` lists them)"
    )
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder that relative paths of datasets are in")
    parser.add_argument("--out", type=Path, help="the run's folder (default: runs/RECIPE)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--print_config", action="store_true", help="print the resolved recipe and stop")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options, overrides = parser.parse_known_args(list(words))

    from dataclasses import asdict

    import yaml

    from vergence.recipes.load import load_recipe

    if options.print_config:
        yaml.safe_dump(asdict(load_recipe(options.recipe, overrides).under(options.data)), sys.stdout, sort_keys=False)
        return 0
    from vergence.commands.console.tables import show
    from vergence.commands.console.terminal import told
    from vergence.evaluation.evaluate import evaluate
    from vergence.recipes.paper_tables import is_row
    from vergence.report.run_page import write_run_page
    from vergence.training.train import train

    named = Path(options.recipe)
    out = options.out or Path("runs") / (Path(named.parent.stem) / named.name if is_row(options.recipe) else named.stem)
    with told(options.quiet) as progress:
        run = train(
            options.recipe, out, overrides=overrides, data=options.data, device=options.device, progress=progress
        )  # fmt: skip
        found = evaluate(run, progress=progress)
    command = " ".join(["vergence train", *words])
    found.save(out / "results.json", command=command)
    write_run_page(found, out / "report.html", command)
    if not options.quiet:
        show(found.results)
    return 0


train.takes_words = True  # type: ignore[attr-defined]
