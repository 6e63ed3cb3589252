"""`vergence demo` with a recipe of a few seconds: the files and figures that it promises."""

from __future__ import annotations

import json

import pytest

import vergence
import vergence.recipes.load as config
import vergence.training.train
from vergence.cli import main

SMALL = [
    "--image_size=32", "--precision=32-true",
    "--network.embedding_size=4", "--network.hidden_sizes=[4,8]", "--network.depths=[1,1]", "--network.width=8",
    "--sources.wild.count=16", "--sources.studio.subjects=2", "--sources.studio.frames_per_subject=6",
    "--test.studio.subjects=1", "--test.studio.frames_per_subject=2", "--test.wild.count=6",
    "--sources.studio.keypoints=true", "--stages.labels.label.keypoints=labelled",
]  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The demo with its own recipe but for sizes, and labelled 2D: the network of a few steps finds no joints."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    real = config.load_recipe
    steps = [f"--stages.{n}.train.steps=3" for n, s in real("demo").stages.items() if s.train]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "load_recipe", lambda name, words=(): real(name, [*words, *SMALL, *steps]))
        assert main(["demo", "--out", str(folder), "--device", "cpu", "--quiet", "--seed", "1"]) == 0
    return folder


def test_the_figures_it_promises(out):
    results = json.loads((out / "results.json").read_text())
    assert {"mean_pose", "zero_depth", "labels", "label_free", "protocol", "seconds"} <= set(results)
    for name in ("mean_pose", "zero_depth", "label_free", "true_2d_zero_depth"):
        assert 0 < results[name]["p_mpjpe"] <= results[name]["n_mpjpe"] * 1.01
    assert results["labels"]["n_mpjpe"] < 5
    assert results["labels"]["images"] == 2 * 6 * 4
    assert results["seconds"] > 0
    assert results["protocol"]["unit"] == "mm"
    assert {"studio", "wild"} <= set(results["protocol"])
    assert results["protocol"]["wild"]["world_version"]


def test_first_figures_are_those_of_the_footages_look(out):
    results = json.loads((out / "results.json").read_text())
    assert results["protocol"]["figures_of"] == "studio"
    for first, name in (("label_free", "model"), ("mean_pose", "mean_pose"), ("zero_depth", "zero_depth")):
        assert results[first] == results["by_look"]["studio"][name]
    assert set(results["by_look"]) == {"studio", "wild"}


def test_the_page_and_the_run_beside_it(out):
    page = (out / "report.html").read_text()
    assert len(page) > 5000
    assert (out / "run" / "report.html").read_text() == page
    assert vergence.load(out / "run").image_size == 32


def test_the_seed_moves_people_and_weights(out):
    import yaml

    recipe = yaml.safe_load((out / "run" / "recipe.yaml").read_text())
    plain = config.load_recipe("demo")
    assert recipe["seed"] == 1
    assert recipe["sources"]["wild"]["seed"] == plain.sources["wild"].seed + 10
    seeds = [s["seed"] for s in (*recipe["sources"].values(), *recipe["test"].values())]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("words", [["--sed", "1"], ["--seed", "x"], ["--seed", "-3"]])
def test_a_bad_option_is_one_line_and_status_2(capsys, words):
    assert main(["demo", *words]) == 2
    said = capsys.readouterr()
    assert (len(said.err.strip().splitlines()), said.out) == (1, "")
