"""Expected errors beside true ones on the built-in world: ranks, coverage of the 90 % radius, and how well images of the other
look are told from the training's, one by one and by recordings.

    python benchmarks/uncertainty.py [--seeds 0 1 2] [--runs FOLDER ...] [--quick] [--out uncertainty]

Each seed trains the recipe `vergence` (about 6 minutes on 2 cores; `--quick`: a quarter of its steps and images), whose stage
`errors` calibrates on made labels of people that it did not learn from. `--runs` are finished runs of the recipes `demo` or
`vergence`: they are calibrated alone. `truth` is the same calibration from true poses: what the labels' own error costs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from vergence.batches.dataset import Dataset, MemoryDataset, visible_labels
from vergence.evaluation.expected import auroc, uncertainty_figures
from vergence.evaluation.scores import predict_all
from vergence.files import write_json
from vergence.inference.estimator import load
from vergence.methods.base import Method, Prediction
from vergence.methods.registry import build_method
from vergence.recipes.load import load_recipe
from vergence.recipes.recipe import Recipe
from vergence.training.calibrating import calibrated
from vergence.training.labelling import find_keypoints, labelled_from, make_pseudo_labels
from vergence.training.run import Run
from vergence.training.sources import open_source
from vergence.world.scenes import recordings

QUICK = {"sources.wild.count": 4000, "sources.studio.subjects": 40, "stages.keypoints.train.steps": 250,
         "stages.pose.train.steps": 350}  # fmt: skip
RECORDINGS = 20  # of each look
STEPS = 3


def mean_by_recording(strangeness: torch.Tensor, recording: torch.Tensor) -> torch.Tensor:
    return torch.stack([strangeness[recording == one].mean() for one in recording.unique()])


def calibration(recipe: Recipe, folder: Path, method: Method, true: bool) -> None:
    """What the stage `errors` of the recipe `vergence` does, for a finished run that has none."""
    ours = load_recipe("vergence").at_seed(recipe.seed)
    source, stage = ours.sources["held_out"], recipe.stages["labels"].label
    assert stage is not None
    held = open_source(source, recipe.image_size, recipe.skeleton)
    labelled = held.index
    if not true:
        finder = build_method(recipe.method, recipe.network, recipe.skeleton)
        finder.load_state_dict(load_file(folder / "stages" / "keypoints" / "model.safetensors"))
        visible = visible_labels(held, labelled_from(source, stage))
        points, trust = find_keypoints(finder.eval(), held, "cpu", count=stage.peaks)
        labels = make_pseudo_labels(held, visible, points, trust, stage, method.skeleton, recipe.seed)
        labelled = labels.apply(visible)
    rows = torch.arange(len(labelled))
    studio = open_source(recipe.sources["studio"], recipe.image_size, recipe.skeleton)
    some = torch.linspace(0, len(studio.index) - 1, 2000).round().long()
    method.uncertainty = calibrated(method, [(held, rows, labelled)], [MemoryDataset(studio.read(some))], "cpu")


def measured(method: Method, tests: dict[str, Dataset]) -> dict[str, dict[str, float]]:
    found: dict[str, Prediction] = {name: predict_all(method, test) for name, test in tests.items()}
    results = {
        name: uncertainty_figures(found[name], tests[name].index, method.skeleton) for name in ("studio", "wild")
    }
    strange = {name: one.strangeness for name, one in found.items()}
    together = {n: mean_by_recording(strange[n], tests[n].index.sequence) for n in ("studio", "wild_recordings")}
    limit = float(method.uncertainty.usual.together)
    results["looks"] = {
        "auroc_images": auroc(strange["studio"], strange["wild"]),
        "auroc_recordings": auroc(together["studio"], together["wild_recordings"]),
        "flagged_studio": float((together["studio"] > limit).double().mean()),
        "flagged_wild": float((together["wild_recordings"] > limit).double().mean()),
    }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("uncertainty"))
    options = parser.parse_args()
    folders = list(options.runs)
    for seed in options.seeds if not folders else ():
        words = [word for key, value in QUICK.items() for word in (f"--{key}", str(value))] if options.quick else []
        Run(load_recipe("vergence", words).at_seed(seed), options.out / str(seed)).execute()
        folders.append(options.out / str(seed))
    results: dict[str, dict[str, dict[str, float]]] = {}
    table = Table("run", "labels", "test", "Spearman", "within joints", "of images", "coverage", "unlike")
    looks = Table("run", "AUROC of images", "of recordings", "flagged studio", "flagged wild")
    for folder in folders:
        recipe, method = load_recipe(str(folder / "recipe.yaml")), load(folder).method
        tests = {n: open_source(s, recipe.image_size, recipe.skeleton) for n, s in recipe.test.items()}
        wild = recordings(RECORDINGS, STEPS, 4, recipe.image_size, look="wild", seed=6 + recipe.seed * 10)
        tests["wild_recordings"] = MemoryDataset(wild)
        for labels in ("made", "truth"):
            if labels == "truth" or method.uncertainty is None:
                calibration(recipe, folder, method, labels == "truth")
            found = results[f"{folder.name} {labels}"] = measured(method, tests)
            for test in ("studio", "wild"):
                row = [found[test][key] for key in
                       ("spearman", "spearman_within_joints", "spearman_of_images", "coverage_90", "unlike")]  # fmt: skip
                table.add_row(folder.name, labels, test, *(f"{value:.3f}" for value in row))
        looks.add_row(folder.name, *(f"{value:.3f}" for value in found["looks"].values()))
    console = Console()
    console.print(table)
    console.print(looks)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "uncertainty.json", results)


if __name__ == "__main__":
    main()
