"""`vergence evaluate`: a run measured on a test set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vergence.recipes.sources import Scale


def chosen(words: Sequence[str]) -> Callable[..., None]:
    """The function for these words: with `--predictions` there is no run."""
    if any(word.partition("=")[0] == "--predictions" for word in words):
        from vergence.evaluation.external_tests import evaluate_predictions

        return evaluate_predictions
    return evaluate


def evaluate(
    run: Path,
    data: str = "",
    frames: str = "",
    reconstruction: str = "",
    protocol: str = "",
    scale: Scale = "training",
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Measures a run on the recipe's own test sets, on a capture beside its reconstruction, or on a dataset by a protocol.

    Prints N-MPJPE and P-MPJPE beside baselines (mean pose, each camera's mean pose, nearest training pose, own 2D with zero
    depth) and writes results.json with the protocol. Poses that others predicted are measured by `vergence evaluate
    --predictions FILE --data DATA`; `--predictions x --help` shows its options.

    Args:
        run: folder that `vergence train` or `vergence demo` wrote.
        data: a capture's folder, a recipe's line as '{kind: shards, path: FOLDER}', or RECIPE:NAME, or with --protocol a
            dataset's folder or shards made of it; empty means the test sets of the run's recipe.
        frames: frames of the capture, as in 35-64.
        reconstruction: folder that `vergence reconstruct` wrote for the capture.
        protocol: name of a published protocol, as h36m, or mpii-pckh and coco-oks for 2D: which images, joints, alignment
            and average.
        scale: how scale-free predictions are converted to mm under a protocol: by the training people's mean limb lengths, or
            by each pose's own (true) or its root's distance (depth), which use ground truth.
        out: folder for results.json and report.html; default RUN/evaluation.
        device: auto, cpu, cuda or mps.
    """
    from vergence.errors import VergenceError
    from vergence.evaluation.run_tests import measure_tests, show, write_report
    from vergence.files import write_json
    from vergence.inference.estimator import load
    from vergence.networks.devices import resolve_device
    from vergence.recipes.load import load_recipe
    from vergence.recipes.typed import make_source

    recipe_file = run / "recipe.yaml"
    estimator = load(run, resolve_device(device))
    if not recipe_file.is_file():
        raise VergenceError(f"{run} has no recipe.yaml", "Give the folder that `vergence train` wrote.")
    recipe = load_recipe(str(recipe_file))
    if not data and (frames or reconstruction):
        raise VergenceError("--frames and --reconstruction belong to a capture", "Give --data: the capture's folder.")
    if protocol:
        from vergence.protocols.base import get_protocol
        from vergence.training.source_words import protocol_source

        kind = get_protocol(protocol).dataset
        if not data or frames or reconstruction:
            raise VergenceError(
                f"--protocol {protocol} measures {kind} data",
                "Give --data: its folder, or shards of it, no --frames or --reconstruction.",
            )
        recipe.test = {kind: protocol_source(protocol, data)}
    elif data and not Path(data).is_dir():
        from vergence.training.source_words import parse_source

        recipe.test = {"data": parse_source(data)}
    elif data:
        if not reconstruction:
            raise VergenceError(
                "a capture has no 3D truth of its own",
                "Give --reconstruction: the folder that `vergence reconstruct` wrote for it.",
            )
        for source in recipe.sources.values():  # its other frames make the baselines
            if source.kind == "capture" and Path(source.path).resolve() == Path(data).resolve():
                source.reconstruction = reconstruction
        recipe.test = {"capture": make_source(kind="capture", path=data, frames=frames, reconstruction=reconstruction)}
    if not recipe.test:
        raise VergenceError(f"the recipe of {run} has no test sets", "Give --data.")
    results, tested = measure_tests(recipe, estimator.method, estimator.device, folder=run, scale=scale)
    results["command"] = f"vergence evaluate {run}" + (f" --data {data}" if data else "")
    results["command"] += f" --protocol {protocol} --scale {scale}" if protocol else ""
    folder = out or run / "evaluation"
    write_json(folder / "results.json", results)
    write_report(recipe, results, tested, {}, folder / "report.html")
    show(results)
    print(f"{folder / 'report.html'}")
