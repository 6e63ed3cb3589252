"""`vergence demo`: the main job on the built-in world."""

from __future__ import annotations

from pathlib import Path


def demo(out: Path = Path("vergence-demo"), seed: int = 0, device: str = "auto", quiet: bool = False) -> None:
    """Trains a single-camera 3D estimator from multi-camera footage of the built-in world without any 3D label.

    Its model is for the built-in world, not for photographs.

    Args:
        out: folder for results.json, report.html and the run.
        seed: of people, cameras, weights and batches.
        device: auto, cpu, cuda or mps.
        quiet: no progress bars.
    """
    import time

    started = time.monotonic()
    from vergence.evaluation.run_tests import finish_demo
    from vergence.recipes.load import load_recipe
    from vergence.training.run import Run

    recipe = load_recipe("demo").at_seed(seed)
    run = Run(recipe, out / "run", device, not quiet)
    method = run.execute()
    command = f"vergence demo --out {out} --seed {seed}"
    results = finish_demo(run, method, out, command, lambda: time.monotonic() - started)
    run.console.print(f"[bold]{results['seconds']:.0f} s[/bold]. Open {out / 'report.html'}")
