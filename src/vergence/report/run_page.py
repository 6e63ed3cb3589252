"""The page of a training run: its table beside the baselines, curves, and images with their 2D and 3D."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from vergence import __version__
from vergence.batches.views import Views
from vergence.evaluation.evaluate import Evaluation
from vergence.evaluation.measure import protocol_words
from vergence.evaluation.run_tests import Tested
from vergence.evaluation.scores import HEADING, RETRIEVAL, in_camera_frame
from vergence.inference.domain import domain_of
from vergence.recipes.recipe import Recipe
from vergence.recipes.sources import Files, Source
from vergence.report.page import Cell, Curve, Page, Sample, Table, choose_samples
from vergence.report.render import write_page
from vergence.skeleton import Skeleton, get_skeleton, in_words
from vergence.training.loop import read_metrics

PROTOCOL = (
    "N-MPJPE: root-aligned, one least-squares scale per pose; P-MPJPE: similarity per pose, no reflection. Millimetres, mean "
    "over images; no true depth or scale is used."
)
ROWS = {
    "model": "the model",
    "ridge": "its embedding, ridge regression",
    "zero_depth": "its own 2D, zero depth",
    "true_2d_zero_depth": "true 2D, zero depth",
    "mean_pose": "mean pose",
    "nearest_pose": "nearest training pose",
    "camera_mean_pose": "mean pose of each camera",
}
MEASURES = ("n_mpjpe", "p_mpjpe", "n_pck", "n_auc", "depth_correlation")
RETRIEVAL_COLUMNS = (
    "descriptor, database", "Detection@1 %", "@5 %", "@10 %", "within, @1 %", "PA-MPJPE@1 mm", "@5 mm", "@10 mm",
    "same person @1 %",
)  # fmt: skip

RANKS = ("spearman", "spearman_within_joints", "spearman_of_images")
UNCERTAINTY_COLUMNS = (
    "", "Spearman, all joints", "within a joint", "of images", "errors within error_90 %", "expected error", "true error",
    "images unlike the training's %",
)  # fmt: skip
UNCERTAINTY = (
    "Expected errors of joints beside their true ones: root-relative distances in reference bones, nothing fitted. "
    "Spearman: rank correlation of the two. error_90 is to hold nine of ten errors. They were fitted to labels of other images."
)


def write_run_page(found: Evaluation, path: Path, command: str) -> Page:
    """Writes the page of a run or an evaluation, and returns what it says."""
    page = run_page(found, command)
    write_page(path, page)
    return page


def run_page(found: Evaluation, command: str) -> Page:
    """A run's page from its results, its test predictions and its metric files."""
    recipe, results, tests = found.recipe, found.results, found.tests
    assert recipe is not None, "somebody's predictions have no page"
    skeleton = get_skeleton(recipe.skeleton)
    each = 6 if len(tests) < 3 else 3
    retrieved = retrieval_rows(results["tests"])
    samples = [sample for name, test in tests.items() for sample in _samples(name, test, skeleton, each)]
    return Page(
        title=f"Vergence: {recipe.method}",
        subtitle=f"A single-camera 3D pose estimator and how it was made.{_domain(recipe)}",
        skeleton=skeleton,
        facts=_facts(recipe, results, command),
        tables=[
            *([_table(results["tests"], results["protocol"])] if results["tests"] else []),
            *_protocol_tables(results.get("protocols", {})),
            *([Table("Cross-view retrieval", RETRIEVAL_COLUMNS, retrieved, RETRIEVAL)] if retrieved else []),
            *label_tables(results["labels"]),
            *uncertainty_tables(results["tests"]),
        ],
        curves=_curves(found.curves),
        samples=sorted(samples, key=lambda s: ("random", "worst", "best").index(s.group)),
        labels=("prediction", "reconstruction" if any(s.kind == "capture" for s in recipe.test.values()) else "truth"),
        samples_protocol=PROTOCOL
        + (f" {HEADING}." if any(test.prediction.frame == "canonical" for test in tests.values()) else "")
        + " The prediction is shown at the truth's scale.",
        details=[_joint_table(results["tests"], skeleton)] if results["tests"] else [],
    )


def _domain(recipe: Recipe) -> str:
    """That a run saw drawn people only, which no figure of its page shows."""
    found = domain_of({"sources": {name: {"kind": source.kind} for name, source in recipe.sources.items()}})
    return f" T{found.words[1:]}." if found.drawn else ""


def run_facts(command: str) -> dict[str, str]:
    """What was run, by which versions, on what."""
    here = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    version = f"vergence {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    return {"command": command, "version": version, "device": here}


def _facts(recipe: Recipe, results: Mapping[str, Any], command: str) -> dict[str, str]:
    seconds = results.get("seconds", {})
    counts = [found["parameters"] for found in results["tests"].values() if "parameters" in found]
    return {
        **run_facts(command),
        "images": f"{recipe.image_size} pixels",
        **{
            f"stage {name}": f"a refinement unit, trained on the 3D labels of {', '.join(stage.sources)}"
            for name, stage in recipe.stages.items()
            if stage.refine
        },
        "seed": str(recipe.seed),
        **({"parameters": ", ".join(f"{name} {n:,}" for name, n in counts[0].items())} if counts else {}),
        **{f"source {name}": source_words(s) for name, s in recipe.sources.items()},
        **({"seconds": ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())} if seconds else {}),
    }


def source_words(source: Source) -> str:
    """What a source is, on one line; of a kind from outside all its keys, for its author chose them."""
    labels = ["keypoints"] * bool(source.keypoints) + [f"3D of {source.pose}"] * (source.pose != "none")
    own = {name: value for name, value in asdict(source).items() if name not in ("kind", "keypoints", "pose")}
    part = source.protocol or source.split
    if source.kind == "human36m":
        what = f"human36m {source.path}, {part}, every {own['step']} frames, {own['cameras']} cameras"
    elif source.kind == "capture":
        what = f"capture {source.path}" + (f", frames {source.frames}" if source.frames else "")
    elif source.kind == "world_images":
        what = f"{own['count']} single images, {own['look']} look"
    elif source.kind == "world_static":
        places = " or ".join(map(str, own["views"]))
        what = f"{source.subjects} people standing still, from {places} places of one camera, {own['look']} look"
    elif source.kind == "world_recordings":
        cameras = " or ".join(map(str, own["views"]))
        what = f"{source.subjects} recordings of {own['frames_per_subject']} time steps by {cameras} cameras, "
        what += f"{own['look']} look"
    elif isinstance(source, Files):
        what = f"{source.kind} {source.path}" + (f", {part}" if part else "")
    else:
        what = ", ".join([source.kind, *(f"{name} {value}" for name, value in own.items() if value not in ("", None))])
    return f"{what}; labels used: {', '.join(labels) or 'none'}"


def _table(tests: Mapping[str, Any], protocols: Mapping[str, Any]) -> Table:
    rows = []
    for name, found in tests.items():
        for key, label in ROWS.items():
            if key in found:
                rows.append([f"{name}: {label}", *(found[key][measure] for measure in MEASURES)])
    counts = "; ".join(
        f"{name}: {p['images']} images of {p['subjects']} people" for name, p in protocols.items() if name in tests
    )
    canonical = any(p.get("frame") == "canonical" for p in protocols.values())
    return Table(
        title="Errors by test set",
        columns=["", "N-MPJPE mm", "P-MPJPE mm", "N-PCK@150 %", "N-AUC %", "depth correlation"],
        rows=rows,
        protocol=f"{PROTOCOL} {counts}." + (f" {HEADING}." if canonical else ""),
        note=" ".join(
            f"{name} has images of {', '.join(p['learned_from'])}, which the model learned from: no figures of new images."
            for name, p in protocols.items()
            if "learned_from" in p
        ),
        highlight=[i for i, row in enumerate(rows) if str(row[0]).endswith("the model")],
    )


def _protocol_tables(protocols: Mapping[str, Any]) -> list[Table]:
    """One table for each named protocol, with its words."""
    tables = []
    for name, found in protocols.items():
        how, figures = found["protocol"], list(found["average"])
        rows: list[list[Cell]] = [["average", *found["average"].values(), found["poses"]]]
        for values in found["tables"].values():
            rows += [[value, *(row[f] for f in figures), int(row["poses"])] for value, row in values.items()]
        title = f"{name}: protocol {how['name']}"
        tables.append(Table(title, ["", *figures, "poses"], rows, protocol_words(found), highlight=[0]))
    return tables


def retrieval_rows(tests: Mapping[str, Any]) -> list[list[Cell]]:
    """Rows of cross-view retrieval, one per test set, descriptor and database; of models that were made for it, which have
    an embedding."""
    rows: list[list[Cell]] = []
    for name, found in tests.items():
        retrieved = found.get("retrieval", {})
        for descriptor, databases in retrieved.items() if "embedding" in retrieved else ():
            for database, r in databases.items():
                rows.append([f"{name}: {descriptor}, {database}", *r.detection.values(), r.detection_window[1],
                             *r.mean_pa_mpjpe.values(), r.same_person_at_1])  # fmt: skip
    return rows


def label_tables(labels: Mapping[str, Any]) -> list[Table]:
    rows: list[list[Cell]] = []
    note = "The truth is used here to measure these labels, never for training."
    for name, found in labels.items():
        if "recordings" in found:
            verdicts = ", ".join(f"{n} {word}" for word, n in found["verdicts"].items())
            rows.append([name, found["recordings"], verdicts, sum(found["refused"].values()), 100 * found["joints_labelled"],
                         found.get("n_mpjpe"), found.get("p_mpjpe")])  # fmt: skip
            note += f" A doubtful recording of {name}, for example: {found['doubt']}" if found.get("doubt") else ""
    columns = ["", "recordings", "verdicts", "refused", "joints labelled %", "N-MPJPE mm", "P-MPJPE mm"]
    return [Table("Labels made from several views", columns, rows, PROTOCOL, note)] if rows else []


def uncertainty_tables(tests: Mapping[str, Any]) -> list[Table]:
    """How well a calibrated run knows its own errors, by test set; nothing of another run."""
    told = {name: found["uncertainty"] for name, found in tests.items() if "uncertainty" in found}
    rows: list[list[Cell]] = [
        [name, *(f"{one[key]:.2f}" for key in RANKS), 100 * one["coverage_90"],
         *(f"{one[key]:.3f}" for key in ("expected", "true")), 100 * one["unlike"] if "unlike" in one else None]
        for name, one in told.items()
    ]  # fmt: skip
    return [Table("Expected errors", UNCERTAINTY_COLUMNS, rows, UNCERTAINTY)] if rows else []


def _joint_table(tests: Mapping[str, Any], skeleton: Skeleton) -> Table:
    rows = [
        [in_words(joint), *(found["per_joint"][joint] for found in tests.values())] for joint in skeleton.joint_names
    ]
    return Table("N-MPJPE by joint, mm", ["joint", *tests], rows, PROTOCOL, heat=True)


def _curves(files: Mapping[str, Path]) -> list[Curve]:
    curves = []
    for stage, path in files.items():
        series = {name: tuple(map(list, zip(*points))) for name, points in read_metrics(path).items()}
        if series:
            curves.append(Curve(f"Training: {stage}", "step", "loss", series, log_y=True))  # type: ignore[arg-type]
    return curves


def image_and_up(view: Views) -> dict[str, Any]:
    """`image` and `up` of the one view, as a `Sample` or a `Strip` has them."""
    up = view.up[0].numpy()
    image = view.image[0].permute(1, 2, 0).contiguous().numpy()
    return {"image": image, "up": up if np.isfinite(up).all() else None}


def at_scale_of(true: Float[np.ndarray, "J 3"], pose: Float[np.ndarray, "J 3"]) -> Float[np.ndarray, "J 3"]:
    """A root-relative pose at the truth's size, by least squares."""
    known = np.isfinite(true) & np.isfinite(pose)
    return pose * max((pose * true)[known].sum() / max((pose * pose)[known].sum(), 1e-9), 0.0)


def person(subjects: Int[np.ndarray, " N"], row: int) -> str:
    """Who is on a row of a test set: its people numbered from 1, for a subject's own number is the program's."""
    return f"person {np.searchsorted(np.unique(subjects), subjects[row]) + 1}"


def _samples(name: str, test: Tested, skeleton: Skeleton, each: int) -> list[Sample]:
    dataset, prediction, scores = test.dataset, test.prediction, test.scores
    root = list(skeleton.root)
    poses, subjects = in_camera_frame(prediction, dataset.index, skeleton), dataset.index.subject.numpy()
    names = getattr(dataset, "groups", {}).get("subject")
    samples = []
    for group, i in choose_samples(scores.n_mpjpe, each):
        view = dataset.read(torch.tensor([i]))
        true = (view.pose[0] - view.pose[0, root].mean(0)).numpy()
        who = person(subjects, i) if names is None else f"subject {names[i]}"
        samples.append(
            Sample(
                title=f"{name}: {who}, camera {int(view.view[0])}, frame {int(view.frame[0])}",
                group=group,
                keypoints=None if prediction.keypoints is None else prediction.keypoints[i].numpy(),
                keypoints_true=view.keypoints[0].numpy(),
                pose=at_scale_of(true, poses[i].numpy()),
                pose_true=true,
                errors={"N-MPJPE": f"{scores.n_mpjpe[i]:.0f} mm", "P-MPJPE": f"{scores.p_mpjpe[i]:.0f} mm"},
                **image_and_up(view),
            )
        )
    return samples
