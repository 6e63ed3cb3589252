"""`vergence evaluate`: a run measured on a test set, or poses that others predicted."""

from __future__ import annotations

from pathlib import Path

from vergence.lifting import SHIPPED_RUN
from vergence.recipes.sources import Scale


def evaluate(
    run: Path | None = None,
    data: str = "",
    footage: Path | None = None,
    frames: str = "",
    reconstruction: Path | None = None,
    height: float | None = None,
    protocol: str = "",
    scale: Scale = "training",
    predictions: Path | None = None,
    skeleton: str = "",
    partial: bool = False,
    detector: str = "",
    detector_model: str = "",
    out: Path | None = None,
    device: str = "auto",
    plugins: str = "",
    quiet: bool = False,
    command: str = "",
) -> None:
    """Measures a run on the recipe's own test sets, on a capture beside its reconstruction, on a dataset by a protocol,
    or on footage without ground truth. It can also measure given poses.

    Example: vergence evaluate runs/mine

    Prints N-MPJPE and P-MPJPE beside baselines (mean pose, each camera's mean pose, nearest training pose, own 2D with zero
    depth) and writes results.json with the protocol, report.html and tables/ (CSV, LaTeX).

    Args:
        run: folder that `vergence train`, `demo` or (with --footage) `learn` wrote; lifting: the model in the package; left
            out with --predictions.

    On images with truth (--data /datasets/human36m --protocol h36m):
        data (DATA): a capture's folder, a recipe's line as '{kind: shards, path: FOLDER}', or RECIPE:NAME, or with --protocol
            a dataset's folder or shards made of it; empty means the test sets of the run's recipe.
        protocol (NAME): a published protocol, as h36m, or mpii-pckh and coco-oks for 2D: which images, joints, alignment and
            average.
        scale: how scale-free predictions are converted to mm under a protocol: by the training people's mean limb lengths, or
            by each pose's own (true) or its root's distance (depth), which use ground truth.

    On footage (--footage my_capture, or --data my_capture --reconstruction rec):
        footage (FOLDER): a capture, or a recording's folder in what `vergence learn` wrote: held-out time and cameras,
            agreement between views, limbs and jitter; needs no truth.
        frames (A-B,C): frames of the capture, as in 35-64; of --footage those that the run did not learn from.
        reconstruction (FOLDER): what `vergence reconstruct` wrote for the capture; --footage is reconstructed without it.
        height (METRES): of the person in --footage: gives its millimetres where the cameras do not.
        detector (NAME): rtmpose, mediapipe or vitpose, for 2D keypoints where there are none; default: the first that
            is installed.
        detector_model (PATH): the detector's local weights.

    Poses that others predicted (--predictions poses.npz --data '{kind: shards, path: FOLDER}'):
        predictions (FILE): NPZ or JSON, keyed by sample; docs/datasets.md has the form.
        skeleton (NAME): joints that are measured; the file must have them; default: the protocol's dataset's own, else
            h36m_17.
        partial: measure the samples that have a prediction, and say how many have none, instead of refusing.

    How it runs (--out measured --device cpu):
        out (FOLDER): for results and page; default: RUN/evaluation, or the predictions' name with -evaluation.
        device: auto, cpu, cuda or mps.
        plugins (FILE,FILE): Python files, joined by commas, with your own protocols, metrics and methods.
        quiet: no progress.
    """
    from vergence.commands.console.terminal import told
    from vergence.errors import VergenceError
    from vergence.files import check_writable
    from vergence.recipes.load import check_source

    if run is None and predictions is None:
        raise VergenceError("there is nothing to evaluate", "Give a run, or --predictions FILE --data DATA.")
    check_source(data)
    plan = f"measuring {predictions or run} on {footage or data or 'the test sets of its recipe'}, mostly 10 s to 3 min"
    plan += "; finding 2D keypoints in videos comes first and takes a few times as long as they last" if footage else ""
    if predictions is not None:
        folder = out or predictions.with_name(predictions.stem + "-evaluation")
    else:
        shipped, own = str(run) == SHIPPED_RUN, footage.resolve().name if footage else ""
        folder = out or (Path("evaluation") if shipped else Path(run or "") / "evaluation" / own)
    check_writable(folder, folder=True)
    with told(quiet, plan) as progress:
        from vergence.commands.console.export import write_tables
        from vergence.commands.console.tables import show, show_predictions
        from vergence.evaluation.evaluate import evaluate
        from vergence.report.learned import show_footage
        from vergence.report.run_page import write_run_page

        found = evaluate(
            run, data=data, footage=footage, frames=frames, reconstruction=reconstruction or "", height=height,
            protocol=protocol, scale=scale, predictions=predictions, skeleton=skeleton, partial=partial, detector=detector,
            model=detector_model, keypoints=folder / "keypoints", device=device, progress=progress,
            plugins=[file for file in plugins.split(",") if file],
        )  # fmt: skip
    if predictions is not None:
        found.save(folder / "results.json")
        show_predictions(predictions.name, found.results)
        print(folder / "results.json")
    elif footage:
        show_footage(found, folder)
    else:
        assert run is not None
        found.save(folder / "results.json", command=command)
        write_tables(write_run_page(found, folder / "report.html", command), folder)
        show(found, run, folder / "report.html")


evaluate.placed = ("run",)  # type: ignore[attr-defined]
