"""`vergence evaluate`: a run on its recipe's test sets and on a capture beside its reconstruction."""

from __future__ import annotations

import json

import fixtures_flat
import fixtures_human36m
import numpy as np
import pytest
import yaml
from fixtures_told import SIDE, told, write_videos
from scipy.io import savemat

import vergence
from vergence.cli import main
from vergence.commands.reconstruct import reconstruct
from vergence.commands.synth import synth
from vergence.evaluation.scores import predict_all
from vergence.footage.detectors import footage as base
from vergence.inference.estimator import load
from vergence.metrics.keypoints import COCO_SIGMAS
from vergence.protocols.base import get_protocol
from vergence.recipes.load import load_recipe
from vergence.recipes.typed import make_source
from vergence.skeleton import COCO_17, H36M_17
from vergence.training.run import Run
from vergence.training.sources import open_source

__all__ = ["told"]

RECIPE = """
image_size: 32
network: {embedding_size: 4, hidden_sizes: [4, 8], depths: [1, 1], width: 8}
sources: {wild: {kind: world_images, count: 8, keypoints: true, pose: all, seed: 1}}
test: {wild: {kind: world_images, count: 5, pose: all, keypoints: true, seed: 3}}
stages: {pose: {train: {steps: 2, batch: {wild: 4}, losses: {heatmap: 1, depth: 1}}}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "r.yaml").write_text(RECIPE)
    Run(load_recipe(str(folder / "r.yaml")), folder / "run", "cpu").execute()
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
    assert results["protocol"]["wild"]["images"] == 5
    assert (run / "evaluation" / "report.html").is_file()


def test_on_a_capture_beside_its_reconstruction(run, capture, tmp_path):
    words = ["evaluate", str(run), "--data", str(capture / "c"), "--frames", "2-5", "--device", "cpu"]
    words += ["--reconstruction", str(capture / "found"), "--out", str(tmp_path / "e")]
    assert main(words) == 0
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    found, about = results["tests"]["capture"], results["protocol"]["capture"]
    assert about["images"] == 4 * 3
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
        (["--data", "nowhere", "--reconstruction", "x"], "there is no x"),
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


H36M = """
image_size: 32
network: {embedding_size: 4, hidden_sizes: [4, 8], depths: [1, 1], width: 8}
sources: {film: {kind: human36m, path: ROOT, step: 2, keypoints: true, pose: 1}}
test: {held_out: {kind: human36m, path: ROOT, protocol: h36m-hmr}}
stages: {pose: {train: {steps: 2, batch: {film: 4}, losses: {heatmap: 1, depth: 1}}}}
"""


@pytest.fixture(scope="module")
def human36m(tmp_path_factory):
    """A folder of Human3.6M's files, and a run that was trained on them."""
    folder = tmp_path_factory.mktemp("evaluate-h36m")
    root = fixtures_human36m.write_official(folder / "h36m", fixtures_human36m.make_truth(frames=2))
    (folder / "r.yaml").write_text(H36M.replace("ROOT", str(root)))
    Run(load_recipe(str(folder / "r.yaml")), folder / "run", "cpu").execute()
    return folder


def test_on_a_dataset_by_a_protocol(human36m, capsys):
    words = ["evaluate", str(human36m / "run"), "--data", str(human36m / "h36m"), "--device", "cpu"]
    assert main([*words, "--protocol", "h36m", "--out", str(human36m / "e")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for word in (
        "protocol h36m",
        "WalkDog",
        "S11",
        "mean of the means of each action",
        "training people's mean sum of limb",
    ):
        assert (word in said) is (word != "WalkDog")  # nobody walks a dog in this test set
    results = json.loads((human36m / "e" / "results.json").read_text())
    found = results["protocols"]["human36m"]
    assert set(found["average"]) == {"MPJPE", "P-MPJPE", "N-MPJPE"}
    assert set(found["tables"]["action"]) == {"Directions", "Greeting", "Sitting", "Walking"}
    assert found["poses"] == 4 * 4 * 2
    assert found["protocol"]["joints"] == list(H36M_17.joint_names)
    assert found["true_depth_or_scale_used"] is False
    means = [row["MPJPE"] for row in found["tables"]["action"].values()]
    assert found["average"]["MPJPE"] == pytest.approx(sum(means) / 4)
    assert results["protocol"]["human36m"]["data"]["reprojection_px"] < 0.01
    assert "protocol h36m" in (human36m / "e" / "report.html").read_text()
    words += ["--protocol", "h36m-14", "--scale", "true", "--out", str(human36m / "true")]
    assert main(words) == 0
    other = json.loads((human36m / "true" / "results.json").read_text())["protocols"]["human36m"]
    assert other["true_depth_or_scale_used"] is True
    assert len(other["protocol"]["joints"]) == 14


def test_on_shards_of_the_dataset(human36m, capsys):
    """The figures are those on the dataset, up to JPEG; a protocol that wants fewer frames takes its own."""
    shards, data = human36m / "shards", human36m / "h36m"
    words = ["data", "prepare", f"{{kind: human36m, path: {data}, protocol: h36m}}", "--out", str(shards)]
    assert main([*words, "--size", "32", "--quiet"]) == 0
    for protocol in ("h36m", "h36m-hmr-frontal", "h36m-sound"):
        found = []
        for place in (data, shards):
            out = human36m / f"{protocol}-{place.name}"
            words = ["evaluate", str(human36m / "run"), "--data", str(place), "--protocol", protocol, "--out", str(out)]
            assert main([*words, "--device", "cpu"]) == 0
            found.append(json.loads((out / "results.json").read_text()))
        one, other = (f["protocols"]["human36m"] for f in found)
        assert other["poses"] == one["poses"]
        assert other["average"] == pytest.approx(one["average"], rel=0.02)
        assert list(other["tables"]["action"]) == list(one["tables"]["action"])
        assert found[1]["protocol"]["human36m"]["source"] == "shards"
    capsys.readouterr()
    words = ["evaluate", str(human36m / "run"), "--data", str(shards), "--protocol", "3dhp", "--device", "cpu"]
    assert main(words) == 2
    assert "is measured on mpi_inf_3dhp" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["mpii", "coco"])
def test_on_2d_by_a_protocol(human36m, tmp_path, capsys, kind):
    """Distances by a loop over the predictions of the same run; without any 3D in the test set."""
    data = fixtures_flat.shots()
    if kind == "mpii":
        fixtures_flat.write_mpii_json(tmp_path, data, fixtures_flat.mpii_rows(data), "valid")
        boxes = 8 * fixtures_flat.head_boxes(6).reshape(6, 2, 2).transpose(1, 2, 0)
        savemat(tmp_path / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    else:
        fixtures_flat.write_coco(tmp_path, data, fixtures_flat.coco(data), "val")
    name = {"mpii": "mpii-pckh", "coco": "coco-oks-body"}[kind]
    words = ["evaluate", str(human36m / "run"), "--data", str(tmp_path), "--protocol", name, "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "e")]) == 0
    assert f"protocol {name}" in " ".join(capsys.readouterr().out.split())
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    assert results["tests"] == {}
    found = results["protocols"][kind]
    assert found["poses"] == 6
    assert name in (tmp_path / "e" / "report.html").read_text()
    dataset = open_source(make_source(kind=kind, path=str(tmp_path), protocol=name), 32, "h36m_17")
    prediction = predict_all(load(human36m / "run").method, dataset)
    size = dataset.measures[{"mpii": "head_px", "coco": "area_px"}[kind]]
    right, scores, total = 0, [], 0
    for i in range(6):
        side = float(dataset.records.box[i, 2:].max())
        corner = dataset.records.box[i, :2] + dataset.records.box[i, 2:] / 2 - side / 2
        each = []
        for joint in get_protocol(name).joints:
            j = H36M_17.sources(joint)[0]
            true = dataset.records.convert(H36M_17).keypoints[i, j]
            if np.isnan(true).any():
                continue
            there = corner + (prediction.keypoints[i, j].numpy() + 0.5) * side / 32
            distance = float(np.linalg.norm(there - true))
            right, total = right + (distance <= 0.5 * size[i]), total + 1
            sigma = COCO_SIGMAS[COCO_17.index(joint)] if kind == "coco" else 1
            each.append(np.exp(-(distance**2) / (2 * size[i] * (2 * sigma) ** 2)))
        scores.append(np.mean(each))
    if kind == "mpii":
        assert found["average"]["PCKh@0.5"] == pytest.approx(100 * right / total)
        assert 0 < right < total
        assert sum(row["poses"] for row in found["tables"]["joint"].values()) == total
    else:
        assert found["average"]["OKS"] == pytest.approx(100 * np.mean(scores), rel=1e-2)
        assert found["average"]["OKS"] > 0


def test_on_the_recipes_own_protocol(human36m):
    assert main(["evaluate", str(human36m / "run"), "--device", "cpu", "--out", str(human36m / "own")]) == 0
    found = json.loads((human36m / "own" / "results.json").read_text())["protocols"]["held_out"]
    assert found["protocol"]["name"] == "h36m-hmr"
    assert found["poses"] == 4 * 4  # every fifth frame: the first of two


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--protocol", "h36m"], "Give --data"),
        (["--protocol", "h36n", "--data", "DATA"], "h36n"),
        (["--protocol", "h36m", "--data", "DATA", "--frames", "3"], "no --frames"),
        (["--protocol", "h36m", "--data", "nowhere"], "there is no folder nowhere"),
        (["--protocol", "h36m", "--data", "DATA", "--scale", "mine"], "scale"),
    ],
)
def test_a_protocol_that_cannot_be_measured_is_one_line(human36m, capsys, words, said):
    words = [str(human36m / "h36m") if w == "DATA" else w for w in words]
    assert main(["evaluate", str(human36m / "run"), "--device", "cpu", *words]) == 2
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


def test_an_image_run_on_footage_without_truth(run, capture, tmp_path, capsys):
    words = ["evaluate", str(run), "--footage", str(capture / "c"), "--reconstruction", str(capture / "found")]
    assert main([*words, "--frames", "2-7", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert "mean pose" in capsys.readouterr().out
    found = json.loads((tmp_path / "results.json").read_text())["footage"]
    model = found["figures"]["ways"]["model"]
    assert found["frames"] == "2-7"
    assert found["frames_learned_from"] == 0
    assert len(model["n_mpjpe"]) == 3
    assert min(model["n_mpjpe"]) > 20  # two steps teach nothing
    assert found["figures"]["ways"]["zero depth"]["score"] == pytest.approx(1)


def test_keypoints_that_footage_lacks_are_detected(told, make_scene, tmp_path, monkeypatch, capsys):
    """Into --out, once; beside a reconstruction as well, and not before footage of one camera is refused."""
    told.keypoints = make_scene(views=3, frames=40, distortion=(0.0,) * 5, noise=1.0).keypoints * SIDE / 1000
    (tmp_path / "footage").mkdir()
    footage = write_videos(tmp_path / "footage", [40, 40, 40])
    monkeypatch.setattr(base, "CACHE", tmp_path / "cache")
    before = sorted(footage.iterdir())
    words = ["evaluate", "lifting", "--footage", str(footage), "--detector", "told", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "e")]) == 0
    assert sorted(footage.iterdir()) == before
    assert len(list((tmp_path / "e" / "keypoints").glob("*.json"))) == 3
    asked = vergence.evaluate("lifting", footage=footage, detector="told").results["footage"]["figures"]
    reconstruct(footage, tmp_path / "rec", detector="told", quiet=True)
    own = ["--reconstruction", str(tmp_path / "rec"), "--detector", "nobody is asked", "--out", str(tmp_path / "own")]
    assert main([*words[:-3], *own]) == 0
    found = [json.loads((tmp_path / n / "results.json").read_text())["footage"]["figures"] for n in ("e", "own")]
    scores = [one["ways"]["model"]["score"] for one in (asked, *found)]
    assert scores == pytest.approx(scores[:1] * 3, rel=1e-6)
    for name in ("cam1.mp4", "cam2.mp4"):
        (footage / name).unlink()
    assert main(["evaluate", "lifting", "--footage", str(footage), "--out", str(tmp_path / "one")]) == 2
    assert "one camera gives no depth" in capsys.readouterr().err


def test_a_detector_without_footage_is_refused(run, capsys):
    assert main(["evaluate", str(run), "--detector", "rtmpose"]) == 2
    assert "--detector belongs to --footage" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--detector-model", "x.task"]) == 2
    assert "--detector-model belongs to --footage" in capsys.readouterr().err


def test_frames_that_an_image_run_learned_from_are_left_out(capture, tmp_path):
    (tmp_path / "r.yaml").write_text(
        RECIPE.split("sources:")[0]
        + f"sources: {{film: {{kind: capture, path: {capture / 'c'}, frames: 0-3, keypoints: true}}}}\n"
        + "stages: {pose: {train: {steps: 2, batch: {film: 4}, losses: {heatmap: 1}}}}\n"
    )
    Run(load_recipe(str(tmp_path / "r.yaml")), tmp_path / "run", "cpu").execute()
    found = vergence.evaluate(tmp_path / "run", footage=capture / "c", reconstruction=capture / "found").results
    assert found["footage"]["frames"] == "4-7"
    assert found["footage"]["frames_learned_from"] == 0
    assert found["footage"]["figures"]["hidden"] == []
    assert "nearest training pose" in found["footage"]["figures"]["ways"]
