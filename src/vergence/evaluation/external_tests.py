"""`vergence evaluate --predictions`: poses that others predicted, measured as ours are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vergence.batches.dataset import Dataset
    from vergence.evaluation.external import Predicted
    from vergence.recipes.recipe import Source
    from vergence.skeleton import Skeleton

OWN_SKELETON = {"mpi_inf_3dhp": "mpi_inf_17", "mpii": "mpii_16", "coco": "coco_17"}
LEAST_SIZE = 16  # labels are compared; the size of the crops plays no part


def evaluate_predictions(
    predictions: Path = Path(),
    data: str = "",
    protocol: str = "",
    skeleton: str = "",
    partial: bool = False,
    out: Path | None = None,
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
    """
    from vergence.errors import VergenceError
    from vergence.evaluation.external import read_predictions
    from vergence.files import write_json
    from vergence.protocols.base import get_protocol
    from vergence.skeleton import get_skeleton
    from vergence.training.source_words import parse_source, protocol_source
    from vergence.training.sources import open_source

    if not data:
        raise VergenceError("--predictions needs --data", "Say which samples the predictions are of.")
    joints = get_skeleton(
        skeleton or (OWN_SKELETON.get(get_protocol(protocol).dataset, "") if protocol else "") or "h36m_17"
    )
    predicted = read_predictions(predictions)
    source = protocol_source(protocol, data) if protocol else parse_source(data)
    dataset = open_source(source, LEAST_SIZE, joints.name)
    measured = _by_protocol if protocol else _by_samples
    results = measured(predictions, predicted, source, dataset, joints, partial)
    folder = out or predictions.with_name(predictions.stem + "-evaluation")
    write_json(folder / "results.json", results)
    print(folder / "results.json")


def _by_samples(
    file: Path, predicted: Predicted, source: Source, dataset: Dataset, joints: Skeleton, partial: bool
) -> dict[str, Any]:
    """Figures over all samples and over each group; shown, and as `results.json` has them."""
    from rich.console import Console
    from rich.table import Table

    from vergence.evaluation.external import on_rows, score_poses
    from vergence.evaluation.scores import protocol
    from vergence.training.sources import world_version

    pose, found = on_rows(predicted, dataset, joints)
    missing = _missing(int((~found & dataset.index.has_pose).sum()), int(dataset.index.has_pose.sum()), partial)
    scored = score_poses(pose, predicted.metric, dataset, joints)
    world = {k: value for k, value in vars(source).items() if k in ("look", "seed")} | {
        "world_version": world_version()
    }
    about = world if source.of_world else {"path": source.path}
    how = protocol(
        dataset.index, joints, flip_averaging=False, source=source.kind, predictions=str(file),
        measured=scored["samples"], without_prediction=missing, axes=predicted.axes, metric=predicted.metric, **about,
    )  # fmt: skip
    columns = [n for n in ("mpjpe", "n_mpjpe", "p_mpjpe", "pck", "auc") if n in scored["model"]]
    table = Table("", *(f"{n.replace('_', '-').upper()} {'%' if n in ('pck', 'auc') else 'mm'}" for n in columns),
                  title=f"{file.name}: {scored['samples']} samples")  # fmt: skip
    for group, rows in scored.get("groups", {}).items():
        for value, row in rows.items():
            table.add_row(f"{group} {value}", *(f"{row[n]:.1f}" for n in columns))
        table.add_section()
    table.add_row("all", *(f"{scored['model'][n]:.1f}" for n in columns))
    console = Console()
    console.print(table)
    console.print(f"[dim]{how['alignment']}; MPJPE, PCK (150 mm) and AUC root-aligned, at the file's own scale[/dim]")
    _say(missing)
    return {"tests": {"predictions": scored}, "protocol": {"predictions": how}}


def _by_protocol(
    file: Path, predicted: Predicted, source: Source, dataset: Dataset, joints: Skeleton, partial: bool
) -> dict[str, Any]:
    """The table of a named protocol; shown, and as `results.json` has it."""
    from rich.console import Console

    from vergence.evaluation.external import score_protocol
    from vergence.evaluation.measure import protocol_words
    from vergence.evaluation.run_tests import protocol_table
    from vergence.protocols.base import get_protocol

    table, how, missing = score_protocol(get_protocol(source.protocol), predicted, dataset, joints)
    _missing(missing, missing + table.poses, partial)
    found = {**table.plain(), **how, "predictions": str(file), "without_prediction": missing, "skeleton": joints.name,
             "data": {"kind": source.kind, "path": source.path}}  # fmt: skip
    console = Console()
    console.print(protocol_table(file.name, found))
    console.print(f"[dim]{protocol_words(found)}[/dim]")
    _say(missing)
    return {"protocols": {"predictions": found}}


def _missing(missing: int, samples: int, partial: bool) -> int:
    from vergence.errors import VergenceError

    if missing and not partial:
        raise VergenceError(
            f"{missing} of {samples} samples have no prediction", "Give all, or --partial to measure the rest."
        )
    return missing


def _say(missing: int) -> None:
    if missing:
        print(f"{missing} samples have no prediction and were left out")
