"""A lifting model's ONNX file lifts as the model does."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vergence
from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera
from vergence.inference.predict import open_model
from vergence.lifting.model import LiftingModel, describe, is_lifting, load_lifting
from vergence.lifting.network import Lifter, LifterSettings
from vergence.lifting.train import LIFTED
from vergence.networks.graphs import Graph

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

CAMERA = Camera("a", (640, 480), np.array([[500.0, 0, 319.5], [0, 500, 239.5], [0, 0, 1]]), np.zeros(5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lifting") / "model"
    describe(Lifter(LIFTED, LifterSettings(width=16, dilations=(1, 2))).eval(), 30.0).save(folder)
    assert vergence.export(folder) == folder / "model.onnx"
    return folder


@pytest.fixture
def keypoints():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 40, (20, len(LIFTED), 2)) + rng.normal(0, 5, (20, 1, 2)).cumsum(0) + [300, 200]
    found = np.concatenate([points, np.full((20, len(LIFTED), 1), 0.9)], -1)
    found[3, 4] = np.nan
    found[9] = np.nan  # nobody: two stretches
    found[11] = np.nan  # and one of a single frame between them
    return found


def test_the_file_lifts_as_the_model_does(folder, keypoints):
    model, exported = load_lifting(folder), load_lifting(folder / "model.onnx")
    assert is_lifting(folder / "model.onnx")
    assert (exported.fps, exported.skeleton.joint_names) == (model.fps, model.skeleton.joint_names)
    for fps in (30.0, 60.0):
        expected = model(keypoints, LIFTED, CAMERA, fps)
        assert np.isfinite(expected).all((1, 2)).sum() == 18
        np.testing.assert_allclose(exported(keypoints, LIFTED, CAMERA, fps), expected, atol=1e-4)
    one = keypoints[:1]
    np.testing.assert_allclose(exported(one, LIFTED, CAMERA, 30.0), model(one, LIFTED, CAMERA, 30.0), atol=1e-4)


def test_without_the_mirrored_joints(folder, keypoints, tmp_path):
    exported = load_lifting(vergence.export(folder, tmp_path / "plain.onnx", flip=False))
    expected = load_lifting(folder)(keypoints, LIFTED, CAMERA, 30.0, flip=False)
    np.testing.assert_allclose(exported(keypoints, LIFTED, CAMERA, 30.0), expected, atol=1e-4)
    with pytest.raises(VergenceError, match=r"does not average .* --flip"):
        exported(keypoints, LIFTED, CAMERA, 30.0, flip=True)


def test_predict_takes_it(folder, keypoints):
    expected = load_lifting(folder)(keypoints, LIFTED, CAMERA, 30.0)
    for source, engine in ((folder, "onnxruntime"), (folder / "model.onnx", "")):
        model = open_model(source, "auto", engine=engine)
        assert isinstance(model, LiftingModel)
        assert model.folder == folder / "model.onnx"
        np.testing.assert_allclose(model(keypoints, LIFTED, CAMERA, 30.0), expected, atol=1e-4)


def test_a_file_is_opened_once(folder, tmp_path, keypoints, monkeypatch):
    import onnxruntime

    path, made, session = tmp_path / "a.onnx", [], onnxruntime.InferenceSession
    path.write_bytes((folder / "model.onnx").read_bytes())
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: made.append(a) or session(*a, **k))
    model = open_model(path, "auto")
    open_model(folder, "auto", engine="onnxruntime")
    assert [args[0] for args in made] == [path, folder / "model.onnx"]
    path.write_bytes((folder / "model.onnx").read_bytes() + b"\0")  # another file now, and none
    with pytest.raises(VergenceError, match="cannot be opened"):
        open_model(path, "auto")
    assert np.isfinite(model(keypoints, LIFTED, CAMERA, 30.0)).any()


def test_the_file_says_what_it_is(folder):
    about = Graph(folder / "model.onnx").metadata
    assert about["fps"] == "30.0"
    assert json.loads(about["joint_names"]) == list(LIFTED.joint_names)
    assert "reference bones" in json.loads(about["units"])["pose"]
    assert "turned to the person" in about["normalisation"]


def test_what_cannot_be_is_refused(folder, tmp_path):
    with pytest.raises(VergenceError, match=r"lifting model, which sees no image.*load_lifting"):
        vergence.load(folder / "model.onnx")
    with pytest.raises(VergenceError, match=r"lifting model, which sees no image.*load_lifting"):
        vergence.load(folder)
    with pytest.raises(VergenceError, match=r"cannot be saved again"):
        load_lifting(folder / "model.onnx").save(tmp_path / "x")
    with pytest.raises(VergenceError, match=r"not written into the package.*--out"):
        vergence.export("lifting")
    with pytest.raises(VergenceError, match=r"no ONNX file beside it.*export lifting --out"):
        vergence.predict("lifting", [np.zeros((48, 64, 3), np.uint8)], engine="onnxruntime")
    other = tmp_path / "other"
    describe(Lifter(LIFTED, LifterSettings(width=16, dilations=(1, 2))).eval(), 30.0).save(other)
    (other / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    with pytest.raises(VergenceError, match="not exported from the weights"):
        vergence.predict(other, [np.zeros((48, 64, 3), np.uint8)], engine="onnxruntime")


def test_the_model_that_comes_with_the_package(keypoints, tmp_path):
    exported = load_lifting(vergence.export("lifting", tmp_path / "lifting.onnx"))
    model = load_lifting()
    found = exported(keypoints, LIFTED, CAMERA, 30.0)
    np.testing.assert_allclose(found, model(keypoints, LIFTED, CAMERA, 30.0), atol=1e-4)
