"""`vergence demo`: the main job on the built-in world."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def demo(
    out: Path = Path("vergence-demo"), seed: int = 0, device: str = "auto", quiet: bool = False, command: str = ""
) -> None:
    """Trains a single-camera 3D estimator from multi-camera footage of the built-in world without any 3D label.

    Example: vergence demo --out vergence-demo

    Its model is for the built-in world, not for photographs. It takes 4 to 10 minutes on two cores. After a stop the
    same command continues.

    Args:
        out (FOLDER): for results.json, report.html and the run.
        seed: of people, cameras, weights and batches.
        device: auto, cpu, cuda or mps.
        quiet: no progress.
    """
    import time

    started = time.monotonic()
    from vergence.commands.console.terminal import told
    from vergence.commands.train import plan
    from vergence.files import read_bytes, write_bytes, write_json
    from vergence.recipes.load import load_recipe

    recipe = load_recipe("demo").at_seed(seed)
    with told(quiet, f"{plan(recipe)} in {out}, 4 to 10 minutes on two cores") as progress:
        from vergence.commands.console.export import write_tables
        from vergence.commands.console.tables import show
        from vergence.evaluation.evaluate import evaluate
        from vergence.report.run_page import write_run_page
        from vergence.training.processes import check_alone
        from vergence.training.train import train

        check_alone()
        run = train(recipe, out / "run", device=device, progress=progress)
        found = evaluate(run, progress=progress)
    found.save(run.folder / "results.json", command=command)
    write_tables(write_run_page(found, run.folder / "report.html", command), out)
    write_bytes(out / "report.html", read_bytes(run.folder / "report.html"))
    results = summary(found, time.monotonic() - started)
    write_json(out / "results.json", results)
    show(found, run.folder, out / "report.html")


def summary(found: Any, seconds: float) -> dict[str, Any]:
    """What the demo's `results.json` holds, of an `Evaluation`.

    Its first figures are those on the recipe's first test set: people and cameras never seen, in the look of the footage
    that taught the third dimension. Every test set stands in `by_look`.
    """
    results = found.results
    first = next(iter(found.tests))
    of_first = results["tests"][first]
    return {
        "mean_pose": of_first["mean_pose"],
        "zero_depth": of_first["zero_depth"],
        "label_free": of_first["model"],
        "true_2d_zero_depth": of_first["true_2d_zero_depth"],
        "labels": next(iter(results["labels"].values())),
        "by_look": results["tests"],
        "protocol": {**results["protocol"], "figures_of": first, "unit": "mm"},
        "stages": results["seconds"],
        "seconds": seconds,
    }
