"""AdamW against Muon: the demo's 2D stage at a few hundred steps, error and time of both in one run.

python benchmarks/optimizer.py [--steps 300] [--seed 0]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from vergence.batches.dataset import withhold
from vergence.batches.sampler import Mixture, Part
from vergence.evaluation.scores import evaluate
from vergence.methods.registry import build_method
from vergence.recipes.load import load_recipe
from vergence.skeleton import get_skeleton
from vergence.training.loop import train_stage
from vergence.training.sources import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    recipe = load_recipe("demo", [])
    stage = recipe.stages["keypoints"].train
    assert stage is not None
    source = recipe.sources["wild"]
    dataset = open_source(source, recipe.image_size, recipe.skeleton)
    part = Part("wild", dataset, withhold(dataset.index, source), stage.batch["wild"])
    test = open_source(recipe.test["wild"], recipe.image_size, recipe.skeleton)
    muon = replace(stage, steps=options.steps, optimizer="muon")
    rows = {"adamw": replace(muon, optimizer="adamw", learning_rate=5e-3), "muon": muon}
    seconds = {}
    for name, settings in rows.items():
        torch.manual_seed(options.seed)
        method = build_method(recipe.method, recipe.network, recipe.skeleton)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            train_stage(
                method,
                Mixture([part], options.seed),
                settings,
                Path(folder),
                seed=options.seed,
                device="cpu",
                precision=recipe.precision,
            )
        seconds[name] = time.perf_counter() - started
        error = evaluate(method, test, get_skeleton(recipe.skeleton))[0]["pixel_error"]
        print(f"{name:6} {options.steps} steps: median 2D error {error:.2f} px, {seconds[name]:.0f} s")
    print(f"a step of muon takes {seconds['muon'] / seconds['adamw']:.2f} times one of adamw")


if __name__ == "__main__":
    main()
