"""`vergence evaluate`: a run measured on a test set, or poses that others predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vergence.recipes.sources import Scale


def chosen(words: Sequence[str]) -> Callable[..., None]:
    """The function for these words: with `--predictions` there is no run."""
    if any(word.partition("=")[0] == "--predictions" for word in words):
        return evaluate_predictions
    return evaluate


def evaluate(
    run: Path,
    data: str = "",
    footage: str = "",
    frames: str = "",
    reconstruction: str = "",
    height: float | None = None,
    protocol: str = "",
    scale: Scale = "training",
    out: Path | None = None,
    device: str = "auto",
    plugins: str = "",
) -> None:
    """Measures a run on the recipe's own test sets, on a capture beside its reconstruction, or on a dataset by a protocol.

    Prints N-MPJPE and P-MPJPE beside baselines (mean pose, each camera's mean pose, nearest training pose, own 2D with zero
    depth) and writes results.json with the protocol. Poses that others predicted are measured by `vergence evaluate
    --predictions FILE --data DATA`; `--predictions x --help` shows its options. `--footage` needs no truth.

    Args:
        run: folder that `vergence train`, `demo` or (with --footage) `learn` wrote; lifting: the model in the package.
        data: a capture's folder, a recipe's line as '{kind: shards, path: FOLDER}', or RECIPE:NAME, or with --protocol a
            dataset's folder or shards made of it; empty means the test sets of the run's recipe.
        footage: a capture with 2D keypoints, or a recording's folder in what `vergence learn` wrote: held-out time and
            cameras, agreement between views, limbs and jitter.
        frames: frames of the capture, as in 35-64; of --footage those that the run did not learn from.
        reconstruction: folder that `vergence reconstruct` wrote for the capture; --footage is reconstructed without it.
        height: of the person in --footage, metres, where it is reconstructed now.
        protocol: name of a published protocol, as h36m, or mpii-pckh and coco-oks for 2D: which images, joints, alignment
            and average.
        scale: how scale-free predictions are converted to mm under a protocol: by the training people's mean limb lengths, or
            by each pose's own (true) or its root's distance (depth), which use ground truth.
        out: folder for results.json and report.html; default RUN/evaluation.
        device: auto, cpu, cuda or mps.
        plugins: Python files, joined by commas, with protocols, metrics and methods of yours.
    """
    from vergence.commands.console.tables import show
    from vergence.evaluation.evaluate import evaluate
    from vergence.report.learned import show_footage
    from vergence.report.run_page import write_run_page

    files = [file for file in plugins.split(",") if file]
    found = evaluate(run, data=data, footage=footage or None, frames=frames, reconstruction=reconstruction, height=height,
                     protocol=protocol, scale=scale, device=device, plugins=files)  # fmt: skip
    if footage:
        folder = out or (
            Path("evaluation") if str(run) == "lifting" else run / "evaluation" / Path(footage).resolve().name
        )
        show_footage(found, folder)
        return
    command = f"vergence evaluate {run}" + (f" --data {data}" if data else "")
    command += f" --protocol {protocol} --scale {scale}" if protocol else ""
    folder = out or run / "evaluation"
    found.save(folder / "results.json", command=command)
    write_run_page(found, folder / "report.html", command)
    show(found.results)
    print(f"{folder / 'report.html'}")


def evaluate_predictions(
    predictions: Path = Path(),
    data: str = "",
    protocol: str = "",
    skeleton: str = "",
    partial: bool = False,
    out: Path | None = None,
    plugins: str = "",
) -> None:
    """Measures poses in a file (NPZ or JSON, keyed by sample) on a dataset; `docs/datasets.md` has the form.

    Args:
        predictions: the file.
        data: a recipe's line, as '{kind: shards, path: FOLDER}', or RECIPE:NAME, or the folder of a capture or of shards;
            with --protocol the dataset's folder, or shards made of it.
        protocol: name of a published protocol, as h36m: which images, joints, alignment and average.
        skeleton: joints that are measured, which the file must give; default: the protocol's dataset's own, else h36m_17.
        partial: measure the samples that have a prediction, and say how many have none, instead of refusing.
        out: folder for results.json; default: the file's name with -evaluation behind.
        plugins: Python files, joined by commas, with protocols and metrics of yours.
    """
    from vergence.commands.console.tables import show_predictions
    from vergence.evaluation.evaluate import evaluate

    files = [file for file in plugins.split(",") if file]
    found = evaluate(predictions=predictions, data=data, protocol=protocol, skeleton=skeleton, partial=partial,
                     plugins=files)  # fmt: skip
    path = (out or predictions.with_name(predictions.stem + "-evaluation")) / "results.json"
    found.save(path)
    show_predictions(predictions.name, found.results)
    print(path)
