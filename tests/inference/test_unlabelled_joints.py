"""A run whose labels show no head top has none: not in files, figures, searches or labels made by it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

import vergence
from vergence.commands.reconstruct import reconstruct
from vergence.commands.synth import synth
from vergence.outputs import read_npz
from vergence.recipes.recipe import LabelStage, NetworkSettings, Recipe, Stage, TrainStage
from vergence.recipes.typed import make_source
from vergence.skeleton import H36M_17
from vergence.training.labelling import find_keypoints
from vergence.training.run import Run
from vergence.training.sources import open_source

HEAD = H36M_17.index("head_top")
OTHERS = [j for j in range(17) if j != HEAD]


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """A capture whose detector knows no head top, and its reconstruction."""
    folder = tmp_path_factory.mktemp("unlabelled") / "rec"
    synth(folder, frames=12, views=3, size=96, known="cameras", seed=8, device="cpu", quiet=True)
    with np.load(folder / "keypoints.npz") as data:
        arrays = dict(data)
    arrays["keypoints"] = arrays["keypoints"][:, :, OTHERS]
    arrays["joint_names"] = np.array([H36M_17.joint_names[j] for j in OTHERS])
    np.savez(folder / "keypoints.npz", **arrays)
    reconstruct(folder, folder.parent / "found")
    return folder


@pytest.fixture(scope="module")
def run(footage):
    losses = {"heatmap": 1.0, "coordinates": 0.1, "depth": 1.0}
    recipe = Recipe(
        image_size=32,
        network=NetworkSettings(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8),
        sources={"footage": make_source(kind="capture", path=str(footage), keypoints=True)},
        stages={
            "labels": Stage(label=LabelStage(source="footage", keypoints="labelled")),
            "pose": Stage(train=TrainStage(steps=2, batch={"footage": 6}, losses=losses, labels=["labels"])),
        },
    )
    made = Run(recipe, footage.parent / "run", device="cpu")
    made.execute()
    return made.folder


def test_the_run_records_what_its_labels_show(run):
    labelled = json.loads((run / "config.json").read_text())["labelled"]
    names = [H36M_17.joint_names[j] for j in OTHERS]
    assert labelled == {"keypoints": names, "pose": names}
    assert vergence.load(run).method.absent() == ("head_top",)


def test_its_predictions_and_files_have_no_such_joint(run, footage, tmp_path):
    found = vergence.predict(run, footage / "cam01.mp4", box="10,10,70,80", device="cpu")
    poses = found.collect()
    assert "training had no labels of head top: missing in all poses" in found.notes
    vergence.outputs.write(tmp_path, poses)
    again = read_npz(tmp_path / "poses.npz")
    for part in (again.pose, again.keypoints, again.confidence[..., None]):
        assert np.isnan(part[:, HEAD]).all()
        assert np.isfinite(part[:, OTHERS]).all()
    with (tmp_path / "poses.csv").open() as file:
        table = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert {row[name] for row in table for name in row if name.startswith("head_top")} == {""}


def test_evaluation_leaves_it_out_of_model_and_baselines(run, footage):
    found = vergence.evaluate(run, data=footage, reconstruction=footage.parent / "found", device="cpu")
    results = found.results
    how = results["protocol"]["capture"]
    assert how["joints_never_labelled"] == ["head_top"]
    assert how["joints"] == [H36M_17.joint_names[j] for j in OTHERS]
    assert np.isnan(results["tests"]["capture"]["per_joint"]["head_top"])
    assert np.isfinite(results["tests"]["capture"]["model"]["p_mpjpe"])
    assert np.isfinite(results["tests"]["capture"]["zero_depth"]["n_mpjpe"])


def test_truth_that_has_it_does_not_make_it_count(run):
    source = make_source(kind="world_recordings", subjects=1, frames_per_subject=3, views=[2], seed=3)
    estimator = vergence.load(run)
    from vergence.evaluation.scores import evaluate

    dataset = open_source(source, 32, "h36m_17")
    known = evaluate(estimator.method, dataset, H36M_17, {"mean_pose": torch.zeros(17, 3)})
    assert np.isnan(known[0]["per_joint"]["head_top"])
    moved = dataset.index.pose.clone()
    moved[:, HEAD] += 500
    dataset.index = dataset.index.replace(pose=moved)
    again = evaluate(estimator.method, dataset, H36M_17, {"mean_pose": torch.zeros(17, 3)})
    assert again[0]["model"] == pytest.approx(known[0]["model"], nan_ok=True)
    assert again[0]["mean_pose"] == pytest.approx(known[0]["mean_pose"], nan_ok=True)


def test_labels_and_searches_made_with_it_know_nothing_of_it(run, footage):
    estimator = vergence.load(run)
    dataset = open_source(make_source(kind="capture", path=str(footage)), 32, "h36m_17")
    points, trust = find_keypoints(estimator.method, dataset, "cpu", count=2)
    assert points[:, HEAD].isnan().all()
    assert (trust[:, HEAD] == 0).all()
    assert points[:, OTHERS].isfinite().all()
    hits = vergence.search(
        run, footage / "cam01.mp4", footage, query_frames="3", query_box=(10, 10, 70, 80), top=2, device="cpu"
    )
    assert np.isnan(hits.index.pose[:, HEAD]).all()
    assert np.isfinite(hits.index.descriptor).all()


def test_runs_without_the_record_are_as_before(run, tmp_path):
    for file in ("model.safetensors", "config.json"):
        (tmp_path / file).write_bytes((run / file).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["labelled"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    old = vergence.load(tmp_path)
    image = np.zeros((2, 32, 32, 3), np.uint8)
    found, masked = old(image), vergence.load(run)(image)
    assert found.pose.isfinite().all()
    assert torch.equal(found.pose[:, OTHERS], masked.pose[:, OTHERS])
