"""`vergence evaluate`: a run on its recipe's test sets and on a capture beside its reconstruction."""

from __future__ import annotations

import json

import pytest
import yaml

from vergence.cli import main
from vergence.commands.reconstruct import reconstruct
from vergence.commands.synth import synth
from vergence.config import load_recipe
from vergence.runs import Run

RECIPE = """
image_size: 32
network: {embedding_size: 4, hidden_sizes: [4, 8], depths: [1, 1], width: 8}
sources: {wild: {kind: world_pictures, count: 8, keypoints: true, pose: all, seed: 1}}
test: {wild: {kind: world_pictures, count: 5, pose: all, keypoints: true, seed: 3}}
stages: {pose: {train: {steps: 2, batch: {wild: 4}, losses: {heatmap: 1, depth: 1}}}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "r.yaml").write_text(RECIPE)
    Run(load_recipe(str(folder / "r.yaml")), folder / "run", "cpu", progress=False).execute()
    return folder / "run"


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate-capture")
    synth(folder / "c", frames=8, views=3, size=96, known="cameras", seed=8, device="cpu", quiet=True)
    reconstruct(folder / "c", folder / "found")
    return folder


def test_on_the_recipes_test_sets(run, capsys):
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert "N-MPJPE" in capsys.readouterr().out
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert results["tests"]["wild"]["model"]["n_mpjpe"] > 0
    assert results["protocol"]["wild"]["pictures"] == 5
    assert (run / "evaluation" / "report.html").is_file()


def test_on_a_capture_beside_its_reconstruction(run, capture, tmp_path):
    words = ["evaluate", str(run), "--data", str(capture / "c"), "--frames", "2-5", "--device", "cpu"]
    words += ["--reconstruction", str(capture / "found"), "--out", str(tmp_path / "e")]
    assert main(words) == 0
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    found, about = results["tests"]["capture"], results["protocol"]["capture"]
    assert about["pictures"] == 4 * 3
    assert about["frames"] == "2-5"
    assert "reconstruction" in about["reference"]
    assert about["source"] == "capture"
    assert {"model", "zero_depth", "true_2d_zero_depth"} <= set(found)


def test_twice_gives_the_same_figures(run, tmp_path):
    for name in "ab":
        assert main(["evaluate", str(run), "--device", "cpu", "--out", str(tmp_path / name)]) == 0
    one, other = (json.loads((tmp_path / n / "results.json").read_text())["tests"] for n in "ab")
    assert one == other


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "CAPTURE"], "Give --reconstruction"),
        (["--data", "nowhere", "--reconstruction", "x"], "nowhere"),
        (["--data", "CAPTURE", "--reconstruction", "x"], "x"),
        (["--data", "CAPTURE", "--reconstruction", "FOUND", "--frames", "99"], "frames"),
        (["--dta", "x"], "--dta"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_status_2(run, capture, capsys, words, said):
    places = {"CAPTURE": str(capture / "c"), "FOUND": str(capture / "found")}
    assert main(["evaluate", str(run), "--device", "cpu", *(places.get(w, w) for w in words)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_folder_that_is_no_run(tmp_path, run, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "not a finished run" in capsys.readouterr().err
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert main(["evaluate", str(tmp_path), "--device", "cpu"]) == 2
    assert "has no recipe.yaml" in capsys.readouterr().err
    recipe = yaml.safe_load((run / "recipe.yaml").read_text()) | {"test": {}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["evaluate", str(tmp_path), "--device", "cpu"]) == 2
    assert "no test sets" in capsys.readouterr().err


def test_a_moved_run_is_measured_the_same(run, tmp_path):
    for name in ("config.json", "model.safetensors", "recipe.yaml"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert main(["evaluate", str(tmp_path), "--device", "cpu"]) == 0
    assert main(["evaluate", str(run), "--device", "cpu", "--out", str(tmp_path / "there")]) == 0
    here = json.loads((tmp_path / "evaluation" / "results.json").read_text())["tests"]
    assert here == json.loads((tmp_path / "there" / "results.json").read_text())["tests"]
