"""`vergence.evaluate` with public names alone: somebody's predictions under a protocol, metrics and protocols from outside,
and that train, evaluate and compare give what the verbs write."""

from __future__ import annotations

import json

import fixtures_human36m
import numpy as np
import pytest
import yaml

import vergence
from vergence.cli import main

JOINTS = [
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine", "thorax", "neck_nose",
    "head_top", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
]  # fmt: skip
RECIPE = """
image_size: 32
network: {embedding_size: 4, hidden_sizes: [4, 8], depths: [1, 1], width: 8}
sources:
  wild: {kind: world_images, count: 12, keypoints: true, pose: all, seed: 1}
  rig: {kind: world_recordings, look: studio, subjects: 1, frames_per_subject: 6, views: [3], keypoints: true, seed: 2}
test: {wild: {kind: world_images, count: 6, pose: all, keypoints: true, seed: 3}}
stages:
  labels: {label: {source: rig, keypoints: labelled}}
  pose: {train: {steps: 3, batch: {wild: 4, rig: 3}, labels: [labels], losses: {heatmap: 1, depth: 1}}}
"""
PLUGIN = """
from vergence import plugins
from vergence.protocols.base import Protocol
from vergence.protocols.figures import Figure


@plugins.metrics.register("head_height")
def head_height(prediction, target, root, joints, figure):
    "difference in height of the head, mm"
    at = [*root, *joints]
    p, t = prediction[:, at, 1], target[:, at, 1]
    return abs((p - p[:, :1]) - (t - t[:, :1]))[:, -1]


HEAD = ("head_top",)
FIGURES = (Figure("Head", "head_height", joints=HEAD),)
plugins.protocols.register("h36m-heads")(Protocol("h36m-heads", "Heads", "human36m", {"split": "S9"}, FIGURES, HEAD))
"""


# Somebody's predictions


@pytest.fixture(scope="module")
def human36m(tmp_path_factory):
    """A folder of Human3.6M; somebody's poses of its test people, keyed by image; by action how far they are off."""
    truth = fixtures_human36m.make_truth(frames=2)
    root = fixtures_human36m.write_official(tmp_path_factory.mktemp("predictions") / "h36m", truth)
    rng, rows, off = np.random.default_rng(0), [], {}
    for (subject, stem), world in truth.world.items():
        for v, camera in enumerate(fixtures_human36m.CAMERAS if subject in (9, 11) else ()):
            pose = truth.camera_frame(subject, stem, v)
            error = rng.normal(0, 40, pose.shape)
            error[:, 0] = 0
            rows += [(subject, stem, camera, t, (pose + error)[t]) for t in range(len(world))]
            off.setdefault(stem.split()[0], []).append(np.linalg.norm(error, axis=-1).mean())
    names = [f"S{s}/Videos/{stem}.{camera}.mp4#{t}" for s, stem, camera, t, _ in rows]
    found = {"pose": np.stack([row[-1] for row in rows]), "image": np.array(names), "unit": "mm", "joint_names": JOINTS}
    return root, found, {action: float(np.mean(each)) for action, each in off.items()}


def test_somebodys_predictions_under_a_protocol(human36m):
    root, predictions, off = human36m
    found = vergence.evaluate(predictions=predictions, data=root, protocol="h36m").results["protocols"]["predictions"]
    assert found["poses"] == len(predictions["pose"])
    assert found["average"]["MPJPE"] == pytest.approx(np.mean(list(off.values())), rel=1e-4)
    assert {action: row["MPJPE"] for action, row in found["tables"]["action"].items()} == pytest.approx(off, rel=1e-4)
    assert 0 < found["average"]["P-MPJPE"] < found["average"]["N-MPJPE"] <= found["average"]["MPJPE"] + 1
    metres = {**predictions, "pose": predictions["pose"] / 1000, "unit": "m"}
    again = vergence.evaluate(predictions=metres, data=root, protocol="h36m").results["protocols"]["predictions"]
    assert again["average"] == pytest.approx(found["average"])


def test_a_file_of_them_gives_what_the_verb_writes(human36m, tmp_path, capsys):
    root, predictions, _ = human36m
    np.savez(tmp_path / "theirs.npz", **predictions)
    words = ["evaluate", "--predictions", str(tmp_path / "theirs.npz"), "--data", str(root), "--protocol", "h36m"]
    assert main(words) == 0
    assert "protocol h36m" in " ".join(capsys.readouterr().out.split())
    found = vergence.evaluate(predictions=tmp_path / "theirs.npz", data=root, protocol="h36m")
    found.save(tmp_path / "ours.json")
    written = json.loads((tmp_path / "theirs-evaluation" / "results.json").read_text())
    assert json.loads((tmp_path / "ours.json").read_text()) == written


def test_a_metric_and_a_protocol_from_outside(human36m, tmp_path, capsys):
    root, predictions, _ = human36m
    (tmp_path / "heads.py").write_text(PLUGIN)
    np.savez(tmp_path / "theirs.npz", **predictions)
    words = ["evaluate", "--predictions", str(tmp_path / "theirs.npz"), "--data", str(root), "--protocol", "h36m-heads"]
    assert main([*words, "--plugins", str(tmp_path / "heads.py")]) == 0
    assert "difference in height of the head, mm" in " ".join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / "theirs-evaluation" / "results.json").read_text())["protocols"]["predictions"]
    assert found["protocol"]["units"] == {"Head": "mm"}
    assert 10 < found["average"]["Head"] < 60  # of normal errors of 40 mm the mean size is 32
    assert {"h36m-heads", "h36m"} <= set(vergence.plugins.protocols)
    assert {"head_height", "error"} <= set(vergence.plugins.metrics)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "nothing to evaluate"),
        ({"run": "a", "predictions": {}}, "predictions stand for a run"),
        ({"predictions": {"pose": []}, "data": "."}, "has no joint_names"),
        ({"predictions": "x.npz"}, "needs --data"),
        ({"predictions": "x.npz", "data": ".", "protocol": "h36n"}, "no protocol is called 'h36n'"),
        ({"run": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_evaluated_is_one_error(words, said):
    with pytest.raises(vergence.VergenceError, match=said):
        vergence.evaluate(**words)


# The verbs are these calls


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("api") / "r.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def run(recipe):
    told = []
    run = vergence.train(
        recipe,
        recipe.parent / "trained",
        device="cpu",
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert ("pose", 3, 3) in told
    return run


def written(value, path) -> dict:
    value.save(path)
    return json.loads(path.read_text())


def without(results: dict, *names: str) -> dict:
    """Without seconds, which differ from time to time."""
    labels = {n: {k: v for k, v in one.items() if "seconds" not in k} for n, one in results.get("labels", {}).items()}
    return {**{k: v for k, v in results.items() if k not in names}, "labels": labels}


def test_train_and_evaluate_give_what_the_verbs_write(recipe, run, tmp_path, capsys):
    assert main(["train", str(recipe), "--out", str(tmp_path / "verb"), "--device", "cpu", "--quiet"]) == 0
    assert (run.folder / "model.safetensors").read_bytes() == (tmp_path / "verb" / "model.safetensors").read_bytes()
    capsys.readouterr()  # the verb's tables
    ours = written(vergence.evaluate(run), tmp_path / "ours.json")
    theirs = json.loads((tmp_path / "verb" / "results.json").read_text())
    assert without(ours, "seconds") == without(theirs, "seconds", "command")
    assert ours["labels"]["labels"]["n_mpjpe"] < 5
    assert capsys.readouterr().out == ""
    assert main(["evaluate", str(tmp_path / "verb"), "--device", "cpu"]) == 0
    theirs = json.loads((tmp_path / "verb" / "evaluation" / "results.json").read_text())
    theirs.pop("command")
    for what in (run.folder, tmp_path / "verb"):
        assert written(vergence.evaluate(what, device="cpu"), tmp_path / "again.json") == theirs
    assert theirs["tests"] == ours["tests"]


def test_a_recipe_may_be_values_and_a_call_prints_nothing(recipe, run, tmp_path, capsys):
    values = yaml.safe_load(RECIPE)
    vergence.train(values, tmp_path / "a", device="cpu")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (run.folder / "model.safetensors").read_bytes()
    again = vergence.train(run.recipe, run.folder, device="cpu")  # finished: nothing is done again
    assert again.method is not None
    vergence.train(recipe, tmp_path / "b", overrides=["--stages.pose.train.steps", "1"], device="cpu")
    assert yaml.safe_load((tmp_path / "b" / "recipe.yaml").read_text())["stages"]["pose"]["train"]["steps"] == 1
    said = capsys.readouterr()
    assert said.out == said.err == ""
    with pytest.raises(vergence.VergenceError, match="another recipe"):
        vergence.train(recipe, tmp_path / "b", device="cpu")


def test_an_estimator_is_measured_on_data_that_is_named(run):
    estimator = vergence.load(run.folder)
    with pytest.raises(vergence.VergenceError, match="Give --data"):
        vergence.evaluate(estimator)
    line = "{kind: world_images, count: 6, pose: all, keypoints: true, seed: 3}"
    found = vergence.evaluate(estimator, data=line).results["tests"]["data"]
    own = vergence.evaluate(run).results["tests"]["wild"]
    assert found["model"]["p_mpjpe"] == own["model"]["p_mpjpe"]
    assert "mean_pose" not in found  # which training people make


def test_images_that_were_learned_from_are_a_warning(run, caplog, tmp_path):
    line = "{{kind: world_images, count: 6, pose: all, keypoints: true, seed: {}}}"
    found = vergence.evaluate(run.folder, data=line.format(3))
    assert not caplog.messages
    assert "learned_from" not in found.results["protocol"]["data"]
    found = vergence.evaluate(run.folder, data=line.format(1))
    assert found.results["protocol"]["data"]["learned_from"] == ["wild"]
    assert caplog.messages == ["the test data has images of the source wild: its figures are not of new images"]
    assert main(["evaluate", str(run.folder), "--data", line.format(1), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert "data has images of wild, which the model learned from" in (tmp_path / "out/report.html").read_text()


def test_images_of_synth_are_no_capture(run, tmp_path):
    assert main(["synth", str(tmp_path / "people"), "--kind", "images", "--subjects", "2", "--quiet"]) == 0
    with pytest.raises(vergence.VergenceError, match="images of `vergence synth`, which no test reads"):
        vergence.evaluate(run.folder, data=str(tmp_path / "people"))


def test_compare_gives_what_the_verb_writes(recipe, run, tmp_path):
    rows = []
    what = [recipe, run.folder]
    found = vergence.compare(what, out=tmp_path / "api", device="cpu", after=lambda so_far: rows.append(so_far.row))
    assert [row.measured.name for row in rows] == ["r", "trained"]
    assert main(["compare", *map(str, what), "--out", str(tmp_path / "verb"), "--device", "cpu", "--quiet"]) == 0
    theirs = json.loads((tmp_path / "verb" / "results.json").read_text())
    ours = written(found, tmp_path / "ours.json")
    for name in ("r", "trained"):
        assert ours["methods"][name]["by_look"] == theirs["methods"][name]["by_look"]
    assert ours["differences"] == theirs["differences"]
    assert ours["differences"]["wild"]["n_mpjpe"]["trained - r"]["difference"]["mean"] == 0  # the same weights
