"""`vergence.train`: a recipe in one call."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vergence.folders import held, nothing_left
from vergence.networks.devices import resolve_device
from vergence.progress import Progress, silent
from vergence.recipes.load import load_recipe, recipe_from
from vergence.recipes.recipe import Recipe
from vergence.training.processes import join
from vergence.training.run import Run
from vergence.training.sources import check_present


def train(
    recipe: str | Path | Recipe | Mapping[str, Any],
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Run:
    """Executes a recipe in a folder, or continues a stopped run there.

    Where `torchrun` or SLURM's `srun` started several processes, each calls this, and they divide every batch between them
    (`docs/training.md`). The first writes, and is the one to measure: `run.team.rank` is 0 there.

    Args:
        recipe: a YAML file, a built-in recipe's name, a row of a table as `TABLE/ROW`, plain values, or a recipe.
        out: the run's folder; `vergence.load` reads the estimator from it.
        overrides: keys of the recipe, as on the command line: `["--stages.pose.train.steps", "2000"]`.
        data: folder that relative paths of datasets are in.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: reports each stage's steps.

    Returns:
        The finished run: `run.folder`, `run.method`, its pseudo-labels and its seconds. `vergence.evaluate(run)` measures it.

    Raises:
        VergenceError: a wrong key or value of the recipe, missing data, a folder with another recipe's run,
            training that cannot continue.
    """
    loaded = resolve_recipe(recipe, overrides).under(None if data is None else Path(data))
    check_present([loaded])
    team = join(resolve_device(device))
    first = team.rank == 0
    with nothing_left(Path(out)) if first else nullcontext(), held(out) if first else nullcontext():
        run = Run(loaded, Path(out), device, silent if team.rank else progress, team=team)
        run.execute()
    return run


def resolve_recipe(recipe: str | Path | Recipe | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that `train` carries out."""
    overrides = shlex.split(overrides) if isinstance(overrides, str) else overrides
    if isinstance(recipe, Recipe):
        return recipe_from(asdict(recipe), "the recipe", overrides) if overrides else recipe
    if isinstance(recipe, Mapping):
        return recipe_from(dict(recipe), "the recipe", overrides)
    return load_recipe(str(recipe), overrides)
