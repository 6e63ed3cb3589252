"""`vergence evaluate --predictions`: poses that others predicted, measured as ours are."""

from __future__ import annotations

from pathlib import Path


def evaluate_predictions(
    predictions: Path = Path(),
    data: str = "",
    skeleton: str = "h36m_17",
    partial: bool = False,
    out: Path | None = None,
) -> None:
    """Measures 3D poses in a file (NPZ or JSON, keyed by sample) on a dataset; `docs/datasets.md` has the form.

    Args:
        predictions: the file.
        data: a recipe's line, as '{kind: shards, path: FOLDER}', or RECIPE:NAME, or the folder of a capture or of shards.
        skeleton: joints that are measured; the file must give all of them.
        partial: measure the samples that have a prediction, and say how many have none, instead of refusing.
        out: folder for results.json; default: the file's name with -evaluation behind.
    """
    from rich.console import Console
    from rich.table import Table

    from vergence.commands._sources import parse_source
    from vergence.errors import VergenceError
    from vergence.evaluation import protocol
    from vergence.files import write_json
    from vergence.predictions import on_rows, read_predictions, score_poses
    from vergence.skeleton import get_skeleton
    from vergence.sources import open_source, world_version

    if not data:
        raise VergenceError("--predictions needs --data", "Say which samples the predictions are of.")
    joints = get_skeleton(skeleton)
    predicted = read_predictions(predictions)
    source = parse_source(data)
    dataset = open_source(source, 64, skeleton)  # labels are compared; the size of the crops plays no part
    pose, found = on_rows(predicted, dataset, joints)
    missing = int((~found & dataset.index.posed).sum())
    if missing and not partial:
        raise VergenceError(
            f"{missing} of {int(dataset.index.posed.sum())} samples have no prediction",
            "Give all, or --partial to measure the rest.",
        )
    found_ = score_poses(pose, predicted.metric, dataset, joints)
    world = {"look": source.look, "seed": source.seed, "world_version": world_version()}
    about = {"path": source.path} if source.path else world
    how = protocol(
        dataset.index, joints, flip_averaging=False, source=source.kind, predictions=str(predictions),
        measured=found_["samples"], without_prediction=missing, axes=predicted.axes, metric=predicted.metric, **about,
    )  # fmt: skip
    folder = out or predictions.with_name(predictions.stem + "-evaluation")
    write_json(folder / "results.json", {"tests": {"predictions": found_}, "protocol": {"predictions": how}})
    columns = [n for n in ("mpjpe", "n_mpjpe", "p_mpjpe", "pck", "auc") if n in found_["model"]]
    table = Table("", *(f"{n.replace('_', '-').upper()} {'%' if n in ('pck', 'auc') else 'mm'}" for n in columns),
                  title=f"{predictions.name}: {found_['samples']} samples")  # fmt: skip
    for group, rows in found_.get("groups", {}).items():
        for value, row in rows.items():
            table.add_row(f"{group} {value}", *(f"{row[n]:.1f}" for n in columns))
        table.add_section()
    table.add_row("all", *(f"{found_['model'][n]:.1f}" for n in columns))
    console = Console()
    console.print(table)
    console.print(f"[dim]{how['alignment']}; MPJPE, PCK (150 mm) and AUC root-aligned, at the file's own scale[/dim]")
    if missing:
        console.print(f"{missing} samples have no prediction and were left out")
    print(folder / "results.json")
