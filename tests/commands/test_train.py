"""`vergence train` from words to files, and what it says about wrong words."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import yaml

import vergence
from vergence.batches.sampler import Mixture
from vergence.cli import main
from vergence.report.run_page import ROWS

RECIPE = """
# A tiny run.
image_size: 32
network: {embedding_size: 4, hidden_sizes: [4, 8], depths: [1, 1], width: 8}
sources:
  wild: {kind: world_images, count: 12, keypoints: true, seed: 1}
  rig: {kind: world_recordings, look: studio, subjects: 1, frames_per_subject: 6, views: [3], keypoints: true, seed: 2}
test:
  wild: {kind: world_images, count: 6, pose: all, keypoints: true, seed: 3}
stages:
  labels:
    label: {source: rig, keypoints: labelled}
  pose:
    train: {steps: 9, batch: {wild: 2, rig: 4}, labels: [labels], losses: {heatmap: 1, depth: 1}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("train") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def run(recipe):
    out = recipe.parent / "run"
    words = ["train", str(recipe), "--out", str(out), "--device", "cpu", "--quiet", "--stages.pose.train.steps", "4"]
    assert main(words) == 0
    return out


def test_the_files_of_a_run(run):
    names = {p.name for p in run.iterdir()}
    assert {
        "recipe.yaml",
        "config.json",
        "model.safetensors",
        "results.json",
        "report.html",
        "stages",
        "labels",
    } <= names
    assert yaml.safe_load((run / "recipe.yaml").read_text())["stages"]["pose"]["train"]["steps"] == 4
    assert vergence.load(run).image_size == 32


def test_results_stand_beside_their_baselines_and_protocol(run):
    results = json.loads((run / "results.json").read_text())
    found = results["tests"]["wild"]
    assert {"model", "zero_depth", "true_2d_zero_depth", "mean_pose"} <= set(found) & set(ROWS)
    for name in ("model", "zero_depth", "mean_pose"):
        assert 0 < found[name]["p_mpjpe"] <= found[name]["n_mpjpe"] * 1.01
    about = results["protocol"]["wild"]
    assert about["images"] == 6
    assert {"alignment", "root", "joints", "look", "world_version"} <= set(about)
    assert results["labels"]["labels"]["n_mpjpe"] < 5  # exact 2D, three cameras
    assert results["command"].startswith("vergence train ")
    assert results["seconds"]["pose"] > 0


def test_the_same_command_goes_on_and_another_recipe_is_refused(run, recipe, capsys):
    before = (run / "model.safetensors").read_bytes()
    words = ["train", str(recipe), "--out", str(run), "--device", "cpu", "--quiet"]
    assert main([*words, "--stages.pose.train.steps", "4"]) == 0
    assert (run / "model.safetensors").read_bytes() == before
    assert main(words) == 2
    assert "stages.pose.train.steps is 4 there and 9 here" in capsys.readouterr().err


def test_quiet_hides_no_results_and_tables_fit_a_narrow_terminal(run, recipe, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = ["train", str(recipe), "--out", str(run), "--device", "cpu", "--quiet", "--stages.pose.train.steps", "4"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "wild: the model" in shown
    assert "Cross-view retrieval" not in shown  # no embedding
    assert shown.rstrip().endswith(str(run / "report.html"))
    assert "mean pose" in (run / "tables" / "errors-by-test-set.csv").read_text()
    assert r"\toprule" in (run / "tables" / "errors-by-test-set.tex").read_text()


def test_a_stop_keeps_the_step_and_says_how_to_go_on(recipe, tmp_path, capsys, monkeypatch):
    words = ["train", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu", "--quiet"]
    real = Mixture.batch

    def batch(self, step):
        if step == 5:
            signal.raise_signal(signal.SIGINT)
        return real(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Mixture, "batch", batch)
        assert main(words) == 130
    assert capsys.readouterr().err.strip() == "vergence train: stopped. The same command continues."
    monkeypatch.setattr(Mixture, "batch", lambda self, step: real(self, step) if step >= 5 else pytest.fail("again"))
    assert main(words) == 0


def test_the_resolved_recipe_is_printed_and_nothing_done(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(recipe), "--print_config", "--seed", "7"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["seed"] == 7
    assert printed["network"]["hidden_sizes"] == [4, 8]
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_test_sets_has_its_page_and_names_what_to_do_next(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    data = yaml.safe_load(recipe.read_text())
    del data["test"]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    words = ["train", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "o"), "--device", "cpu", "--quiet"]
    assert main([*words, "--stages.pose.train.steps=2"]) == 0
    assert "html" in (tmp_path / "o" / "report.html").read_text()[:200].lower()
    shown = capsys.readouterr().out
    assert "The recipe has no test sets: nothing was measured." in shown
    assert f"next: vergence evaluate {tmp_path / 'o'} --footage CAPTURE" in shown
    assert "joints labelled" in " ".join(shown.split())  # of the labels that were made
    assert "N-MPJPE mm" not in shown.split("Labels made")[0]
    assert json.loads((tmp_path / "o" / "results.json").read_text())["tests"] == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stages.pose.train.step", "3"], "stages.pose.train.steps"),
        (["--sed", "3"], "Did you mean seed"),
        (["--precision", "8-bit"], "8-bit"),
        (["--stages.pose.train.losses.dept", "1"], "dept"),
        (["more"], "more"),
    ],
)
def test_a_bad_key_or_value_is_one_line_and_status_2(recipe, tmp_path, capsys, words, said):
    assert main(["train", str(recipe), "--out", str(tmp_path / "x"), "--device", "cpu", "--quiet", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("vergence train: ")
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_recipe_that_is_not_there(capsys):
    assert main(["train", "nowhere.yaml"]) == 2
    assert "no recipe 'nowhere.yaml'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--stages.pose.train.losses", "{heatmapp: 1}", "Did you mean heatmap?"),
        ("--network.backbone", "/no/such/folder", "backbone '/no/such/folder'"),
        ("--stages.pose.train.frozen", "[nose]", "frozen names 'nose'"),
        ("--method", "epipolr_pose", "Did you mean epipolar_pose?"),
        ("--stages.pose.train.steps", "-5", "it must be 1 or more"),
    ],
)
def test_what_could_not_be_trained_is_not_printed(recipe, capsys, monkeypatch, option, value, said):
    monkeypatch.setattr("vergence.networks.hub.reachable", lambda address: False)
    assert main(["train", str(recipe), "--print-config", option, value]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_no_hub_is_asked_to_print_a_recipe(recipe, capsys, monkeypatch):
    monkeypatch.setattr("vergence.networks.hub.reachable", lambda address: pytest.fail("asked"))
    assert main(["train", str(recipe), "--print-config", "--network.backbone", "microsoft/resnet-50"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["network"]["backbone"] == "microsoft/resnet-50"


def test_the_first_sentence_comes_before_the_libraries(recipe, tmp_path):
    """And names the stages; torch alone takes seconds to load."""
    code = (
        "import logging, sys\n"
        "from vergence.cli import main\n"
        "class First(logging.Handler):\n"
        "    def emit(self, record):\n"
        "        print(record.getMessage(), 'torch' in sys.modules, flush=True)\n"
        "        raise SystemExit(0)\n"
        "logging.getLogger('vergence').addHandler(First())\n"
        f"main(['train', {str(recipe)!r}, '--out', {str(tmp_path / 'run')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines()[-1] == f"labels, pose (9 steps) in {tmp_path / 'run'}; loading libraries False"
