"""What a single-camera model is worth by how its 3D labels were made: number of cameras, pooled frames or single ones, known
cameras, labelled 2D, true labels of ten people, of all. One 2D network, equal steps, the demo's data and tests.

    python benchmarks/supervision.py [--seed 0] [--rows cameras_2 single_frames ...] [--out supervision]

Every row labels 150 recordings of 20 time steps, and trains as the demo's last stage does; rows of four cameras see the same
images. A stopped run goes on. About half an hour on 2 cores.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from vergence.evaluation.scores import evaluate, label_scores
from vergence.files import write_json
from vergence.methods.registry import build_method
from vergence.recipes.load import load_recipe
from vergence.recipes.recipe import LabelStage, Recipe, Source, Stage
from vergence.recipes.sources import WorldRecordings
from vergence.skeleton import get_skeleton
from vergence.training.run import Run
from vergence.training.sources import open_source


def rows_of(studio: WorldRecordings) -> dict[str, tuple[Source, LabelStage | None]]:
    """Name of a row to its images, with what of their labels is shown, and how 3D labels are made of them."""
    made = LabelStage(network="keypoints")
    return {
        **{f"cameras_{v}": (replace(studio, views=[v]), made) for v in (2, 3, 4, 8)},
        "single_frames": (studio, replace(made, per_frame=True)),
        "known_cameras": (studio, replace(made, cameras="known")),
        "labelled_2d": (replace(studio, keypoints=True), replace(made, keypoints="labelled")),
        "true_3d_of_ten": (replace(studio, pose="10"), made),
        "true_3d": (replace(studio, keypoints=True, pose="all"), None),
    }


def studio_of(demo: Recipe) -> WorldRecordings:
    studio = demo.sources["studio"]
    assert isinstance(studio, WorldRecordings)
    return studio


def one_recipe(seed: int, chosen: list[str]) -> Recipe:
    """The demo's recipe with one pair of label and training stages for each row, all from the one 2D network."""
    demo = load_recipe("demo").at_seed(seed)
    last = demo.stages["pose"].train
    assert last is not None
    sources, stages = {"wild": demo.sources["wild"]}, {"keypoints": demo.stages["keypoints"]}
    for row, (source, labels) in rows_of(studio_of(demo)).items():
        if row not in chosen:
            continue
        sources[row] = source
        batch = {row if name == "studio" else name: count for name, count in last.batch.items()}
        if labels:
            stages[f"{row}_labels"] = Stage(label=replace(labels, source=row))
        names = [f"{row}_labels"] if labels else []
        stages[row] = Stage(train=replace(last, start="keypoints", batch=batch, labels=names))
    return replace(demo, sources=sources, stages=stages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = list(rows_of(studio_of(load_recipe("demo"))))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", nargs="*", choices=every, default=every)
    parser.add_argument("--out", type=Path, default=Path("supervision"))
    options = parser.parse_args()
    recipe = one_recipe(options.seed, options.rows)
    run = Run(recipe, options.out)
    run.execute()
    skeleton = get_skeleton(recipe.skeleton)
    tests = {name: open_source(source, recipe.image_size, recipe.skeleton) for name, source in recipe.test.items()}
    results: dict[str, dict[str, object]] = {}
    table = Table("3D labels", "labels N / P", "joints", *(f"{name} N / P" for name in tests), title="mm")
    for row in options.rows:
        method = build_method(recipe.method, recipe.network, recipe.skeleton)
        method.load_state_dict(load_file(options.out / "stages" / row / "model.safetensors"))
        found = {name: evaluate(method, test, skeleton)[0]["model"] for name, test in tests.items()}
        results[row] = dict(found)
        cells = ["", ""]
        if labels := run.labels.get(f"{row}_labels"):
            made = label_scores(labels.pose, run.dataset(row).index, skeleton)
            results[row]["labels"] = made | labels.report
            cells = [f"{made['n_mpjpe']:.1f} / {made['p_mpjpe']:.1f}", f"{100 * made['joints_labelled']:.0f} %"]
        table.add_row(row, *cells, *(f"{f['n_mpjpe']:.1f} / {f['p_mpjpe']:.1f}" for f in found.values()))
    write_json(options.out / "results.json", results)
    Console().print(table)


if __name__ == "__main__":
    main()
