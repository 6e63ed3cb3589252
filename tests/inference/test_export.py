"""A run as an ONNX file: the same predictions, whatever the method, and files that are not what they should be."""

from __future__ import annotations

import importlib
import json
import shutil

import numpy as np
import pytest
import torch
from fixtures_uncertain import uncertain

import vergence
from vergence.batches.labelled import Labelled
from vergence.errors import VergenceError
from vergence.inference.estimator import load, save
from vergence.methods.refinement import Refined, RefinementUnit
from vergence.methods.registry import build_method
from vergence.networks import graphs
from vergence.networks.heads import Volume
from vergence.recipes.recipe import NetworkSettings
from vergence.world import single_images

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

SIZE = 32
SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "width": 8}
KINDS = {
    "volume": ("epipolar_pose", {"neck": "deconvolution", "head": "volume", "depth_bins": 8}),
    "hourglass": ("geometric_constraint", {"backbone": "hourglass", "stacks": 1, "modules": 1}),
    "mcss": ("mcss", {}),
    "refined": ("multiview_consistency", {}),
    "calibrated": ("epipolar_pose", {}),
}


def known_errors():
    """Different of every joint and cue; none of the root, and nothing known of the last joint."""
    known = uncertain(colours=sum(SMALL["hidden_sizes"]), limit=2.0)
    for number, way in enumerate((known.plain, known.flipped)):
        way.weight.copy_(torch.linspace(-0.2, 0.3 + number, way.weight.numel()).view_as(way.weight))
        way.offset[0], way.offset[-1] = -torch.inf, torch.nan
    return known


def made(folder, kind="supervised", seed=0):
    """A run with the weights of no training, whose heatmaps have peaks."""
    torch.manual_seed(seed)
    name, more = KINDS.get(kind, (kind, {}))
    network = NetworkSettings(**SMALL | more)
    method = build_method(name, network, "h36m_17", pretrained=False)
    with torch.no_grad():
        if hasattr(method.network, "head"):
            method.network.head.weight *= 100
        for module in method.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    if kind == "mcss":
        method.finds_joints.fill_(True)
    if kind == "calibrated":
        method.uncertainty = known_errors()
    if kind == "refined":
        with_labels = {"width": 16, "dropout": 0.5, "correct": True, "images": 9, "labels_made": 0}
        unit = RefinementUnit(method.skeleton, 16, 0.5, True)
        for answer in unit.answers:
            torch.nn.init.normal_(answer.weight, std=0.01)
        method = Refined(method, unit, {**with_labels, "poses_without_images": 0})
    save(method.eval(), folder, name, network, SIZE, sources={"a": {"kind": "world_images"}})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """With its file; no label showed it the top of a head."""
    folder = made(tmp_path_factory.mktemp("export") / "run")
    method = load(folder).method
    method.labelled = Labelled(frozenset(method.skeleton.joint_names) - {"head_top"}, frozenset())
    save(method, folder, "supervised", NetworkSettings(**SMALL), SIZE, sources={"a": {"kind": "world_images"}})
    assert vergence.export(folder) == folder / "model.onnx"
    return folder


@pytest.fixture(scope="module")
def views():
    return single_images(5, SIZE, seed=80)


def check_same(found, expected):
    sure = slice(None) if expected.reliable is None else expected.reliable
    torch.testing.assert_close(found.pose[sure], expected.pose[sure], atol=1e-4, rtol=1e-4, equal_nan=True)
    for name in ("keypoints", "confidence", "embedding", "error", "error_90", "strangeness"):
        if getattr(expected, name) is not None:
            torch.testing.assert_close(
                getattr(found, name), getattr(expected, name), atol=1e-4, rtol=1e-4, equal_nan=True
            )
    assert found.frame == expected.frame
    assert found.joint_names == expected.joint_names
    assert [f is None for f in (found.keypoints, found.root_depth, found.reliable, found.embedding)] == [
        f is None for f in (expected.keypoints, expected.root_depth, expected.reliable, expected.embedding)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_predicts_the_same(kind, tmp_path, views):
    folder = made(tmp_path / "run", kind)
    path = vergence.export(folder, tmp_path / "new" / f"{kind}.onnx", flip=False)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # weights are in it, nothing is left over
    expected = load(folder)(views.image, views.intrinsics, flip=False)
    estimator = vergence.load(path)
    with pytest.raises(VergenceError, match=r"does not average .* --flip"):
        estimator(views.image, flip=True)
    check_same(estimator(views.image, views.intrinsics), expected)
    check_same(estimator(views.image[:1], views.intrinsics[:1]), expected.rows(torch.tensor([0])))
    assert estimator.domain.drawn
    assert "32 px" in repr(estimator)


@pytest.mark.parametrize("flip", [False, True])
def test_a_calibrated_run_s_file_tells_the_same_errors(flip, tmp_path, views, light_video):
    """In predictions, in what the file says of recordings, and in the notes of a video."""
    folder = made(tmp_path / "run", "calibrated")
    path = vergence.export(folder, tmp_path / "run.onnx", flip=flip)
    ours, theirs = load(folder), vergence.load(path)
    expected, found = (one(views.image, views.intrinsics, flip=flip) for one in (ours, theirs))
    assert expected.error[:, 0].tolist() == [0.0] * len(views)
    assert expected.error[:, -1].isnan().all()
    assert float(expected.error[:, 1:-1].std(0).min()) > 0  # they differ between images
    check_same(found, expected)
    assert found.unlike.tolist() == expected.unlike.tolist()
    other = ours(views.image, views.intrinsics, flip=not flip)
    assert not torch.allclose(found.error, other.error, equal_nan=True)
    assert theirs.strangest == ours.strangest == pytest.approx(0.1)
    assert json.loads(graphs.Graph(path).metadata["units"])["error_90"].startswith("reference bones")
    if flip:
        videos = [vergence.predict(one, light_video, box=(0, 0, 60, 60), fov=50) for one in (ours, theirs)]
        poses = [frames.collect() for frames in videos]
        np.testing.assert_allclose(poses[1].error_90, poses[0].error_90, rtol=1e-3, atol=1e-4)
        assert [["together" in note for note in frames.notes] for frames in videos] == [
            ["together" in note for note in videos[0].notes]
        ] * 2
        assert any("taken together the images are unlike" in note for note in videos[1].notes)


def test_images_of_other_sizes_are_fitted(run):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (size, size, 3), np.uint8) for size in (40, 20, 40)]
    check_same(vergence.load(run / "model.onnx")(images), load(run)(images))


def test_the_run_and_its_file_predict_the_same(run, views):
    estimator = vergence.load(run / "model.onnx")
    check_same(estimator(views.image, views.intrinsics), load(run)(views.image, views.intrinsics))
    with pytest.raises(VergenceError, match=r"averages .* --no-flip"):
        estimator(views.image, flip=False)


def test_joints_that_no_label_showed_stay_unknown(run, views):
    assert vergence.load(run / "model.onnx").absent == load(run).absent == ("head_top",)
    raw = graphs.Graph(run / "model.onnx")(image=views.image.float() / 255, intrinsics=views.intrinsics)
    assert raw["pose"].isnan().any(-1)[0].nonzero()[:, 0].tolist() == [load(run).skeleton.index("head_top")]


def test_the_file_says_what_it_is(run):
    about = graphs.Graph(run / "model.onnx").metadata
    assert about["image_size"] == str(SIZE)
    assert json.loads(about["joint_names"]) == list(load(run).skeleton.joint_names)
    assert "reference bones" in json.loads(about["units"])["pose"]
    assert "ImageNet" in about["normalisation"]
    assert json.loads(about["config"])["method"] == "supervised"
    assert b"site-packages" not in (run / "model.onnx").read_bytes()  # where the exporter's code lay
    assert str(run).encode() not in (run / "model.onnx").read_bytes()


def test_a_folder_is_read_through_its_file(run, views):
    quick = load(run, engine="onnxruntime")
    assert quick.folder == run / "model.onnx"
    check_same(quick(views.image), load(run)(views.image))
    images = [views.image[i].permute(1, 2, 0).numpy() for i in range(3)]
    for source, more in ((run, {"engine": "onnxruntime"}), (run / "model.onnx", {})):
        found = list(vergence.predict(source, images, whole_image=True, **more))
        expected = list(vergence.predict(run, images, whole_image=True))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-3)


def test_a_run_s_file_is_opened_once(run, monkeypatch):
    import onnxruntime

    made, session = [], onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: made.append(a) or session(*a, **k))
    graphs._opened.cache_clear()
    load(run, engine="onnxruntime"), load(run / "model.onnx")
    assert len(made) == 1


def test_an_old_file_is_refused(run, tmp_path):
    folder = made(tmp_path / "run", seed=1)
    with pytest.raises(VergenceError, match=r"has no model.onnx .* `vergence export"):
        load(folder, engine="onnxruntime")
    shutil.copy(run / "model.onnx", folder)
    with pytest.raises(VergenceError, match="not exported from the weights that are in"):
        load(folder, engine="onnxruntime")


def test_what_cannot_be_is_refused(run, tmp_path):
    onnx = pytest.importorskip("onnx")
    with pytest.raises(VergenceError, match="format of openvino"):
        vergence.export(run, format="openvino")
    with pytest.raises(VergenceError, match=r"ends in .onnx"):
        vergence.export(run, tmp_path / "x.pt")
    with pytest.raises(VergenceError, match="not a finished run"):
        vergence.export(tmp_path)
    with pytest.raises(VergenceError, match="exported file already"):
        vergence.export(run / "model.onnx", tmp_path / "y.onnx")
    for more in ({"device": "mps"}, {"precision": "bf16"}):
        with pytest.raises(VergenceError, match="CPU in fp32"):
            load(run / "model.onnx", **more)
    with pytest.raises(VergenceError, match="engine of tensorrt"):
        load(run, engine="tensorrt")
    with pytest.raises(VergenceError, match="no such file"):
        load(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes((run / "model.onnx").read_bytes()[:5000])
    with pytest.raises(VergenceError, match="cannot be opened"):
        load(tmp_path / "broken.onnx")
    foreign = onnx.load(run / "model.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(VergenceError, match="not written by"):
        load(tmp_path / "foreign.onnx")


def test_a_file_that_answers_otherwise_is_not_kept(run, tmp_path, monkeypatch):
    folder = made(tmp_path / "run", seed=1)
    module = importlib.import_module("vergence.inference.export")
    monkeypatch.setattr(module, "write", lambda *given: shutil.copy(run / "model.onnx", given[-1]))
    with pytest.raises(VergenceError, match="away from the run's"):
        vergence.export(folder, tmp_path / "out" / "a.onnx")
    assert list((tmp_path / "out").iterdir()) == []


class Odd(torch.nn.Module):
    """Needs what ONNX has no operator for."""

    def forward(self, image):
        return (torch.linalg.eigvals(image),)


def test_a_network_without_counterpart_is_refused(tmp_path):
    with pytest.raises(VergenceError, match="no counterpart in ONNX"):
        graphs.write(Odd(), {"image": torch.ones(2, 3, 3)}, ["out"], {0: "N"}, {}, tmp_path / "odd.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_packages_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    with pytest.raises(VergenceError, match=r"onnxruntime.*vergence\[onnx\]"):
        vergence.export(run)
    with pytest.raises(VergenceError, match=r"onnxruntime.*vergence\[onnx\]"):
        load(run / "model.onnx")


def test_a_whole_volume_is_added_up_exactly(tmp_path):
    """A file's sums over 64 x 64 x 64 cells that are nearly alike; added in a row they were 5e-5 off, and so were poses."""

    class Reading(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.reads = Volume(NetworkSettings(depth_bins=64, depth_box=4.0))

        def forward(self, out):
            return self.reads(out)

    torch.manual_seed(0)
    reading, out = Reading(), torch.randn(2, 2, 64, 64, 64) / 10
    names = ["log_heatmap", "heatmap", "depth"]
    graphs.write(reading, {"out": out}, names, {0: "N"}, {}, tmp_path / "volume.onnx")
    found = graphs.opened(tmp_path / "volume.onnx")(out=out)
    for name, exact in zip(names, reading(out.double()), strict=True):
        atol = 1e-6 if name == "depth" else 0  # bones; it is near 0 here
        torch.testing.assert_close(found[name].double(), exact, rtol=1e-6, atol=atol)
