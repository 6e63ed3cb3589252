"""A run's folder as an estimator: kinds of images, their sizes, and folders that are not what they should be."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoBackbone, ResNetConfig

import vergence
from vergence import plugins
from vergence.errors import VergenceError
from vergence.inference.estimator import load, save
from vergence.methods.base import Prediction
from vergence.methods.registry import build_method
from vergence.recipes.recipe import NetworkSettings
from vergence.world import single_images

SIZE = 32
NETWORK = NetworkSettings(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimator") / "run"
    torch.manual_seed(0)
    method = build_method("epipolar_pose", NETWORK, "h36m_17")
    with torch.no_grad():
        method.network.head.weight[::2] *= (
            300  # heatmaps with peaks: joints in different places, as a trained network's
        )
    save(method, folder, "epipolar_pose", NETWORK, SIZE, seed=0)
    return folder


@pytest.fixture(scope="module")
def views():
    return single_images(5, SIZE, seed=80)


def poses(prediction):
    return prediction.pose, prediction.keypoints, prediction.root_depth


def same(a, b, tolerance=1e-5):
    return all(torch.allclose(x, y, atol=tolerance) for x, y in zip(poses(a), poses(b)))


def test_the_package_loads_runs(run):
    estimator = vergence.load(run)
    assert estimator.image_size == SIZE
    assert estimator.skeleton.name == "h36m_17"
    assert not estimator.method.training


def test_saved_and_loaded_weights_are_the_same(run, tmp_path):
    estimator = load(run)
    save(estimator.method, tmp_path, "epipolar_pose", NETWORK, SIZE)
    again = load(tmp_path).method.state_dict()
    for name, value in estimator.method.state_dict().items():
        assert torch.equal(value, again[name]), name


@pytest.mark.parametrize("size", [(1080, 1920), (480, 640), (1920, 1080)])
def test_a_whole_image_instead_of_a_crop_is_warned_of(run, size):
    with pytest.warns(
        UserWarning, match=rf"images of {size[1]} x {size[0]} px are no square crops .* box=\(x, y, w, h\)"
    ):
        load(run)(np.zeros((*size, 3), np.uint8))
    with pytest.warns(UserWarning, match="no square crops"):
        load(run)([np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((*size, 3), np.uint8)])


@pytest.mark.parametrize("size", [(SIZE, SIZE), (256, 256), (500, 500), (300, 250)])
def test_crops_of_any_size_are_not_warned_of(run, size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(run)(np.zeros((*size, 3), np.uint8))


def test_every_kind_of_image_gives_the_same(run, views):
    estimator = load(run)
    expected = estimator(views.image, views.intrinsics)
    assert expected.pose.shape == (5, 17, 3)
    assert expected.pose.isfinite().all()
    array = views.image.permute(0, 2, 3, 1).numpy()
    assert same(estimator(array, views.intrinsics.numpy()), expected)
    assert same(estimator(views.image.float() / 255, views.intrinsics), expected)
    assert same(estimator(array[..., ::-1][..., ::-1], views.intrinsics), expected)  # negative strides
    one = estimator(array[2], views.intrinsics[2])
    assert torch.allclose(one.pose[0], expected.pose[2], atol=1e-5)
    assert torch.allclose(estimator(views.image[2], views.intrinsics[2]).pose[0], expected.pose[2], atol=1e-5)
    assert estimator(array, views.intrinsics[0]).pose.shape == (5, 17, 3)  # one camera for all


def test_batches_are_joined_in_order(run, views, monkeypatch):
    estimator = load(run)
    expected = estimator(views.image, views.intrinsics)
    monkeypatch.setattr("vergence.inference.estimator.BATCH", 2)
    assert same(estimator(views.image, views.intrinsics), expected)


@pytest.mark.filterwarnings("ignore:images of 64 x 96 px are no square crops")
def test_an_image_of_another_size_is_resized_with_its_intrinsics(run, views, monkeypatch):
    """Each pixel twice as wide and three times as high is the same image by another camera."""
    estimator = load(run)
    seen = []

    def predict(image, intrinsics, flip):
        seen.append((image, intrinsics))
        return Prediction(torch.zeros(len(image), 17, 3), "camera", keypoints=views.keypoints[: len(image)])

    monkeypatch.setattr(estimator.method, "predict", predict)
    large = views.image.repeat_interleave(2, -1).repeat_interleave(3, -2)
    k = views.intrinsics.clone()
    for axis, factor in ((0, 2), (1, 3)):
        k[:, axis, axis] *= factor
        k[:, axis, 2] = (k[:, axis, 2] + 0.5) * factor - 0.5
    before = k.clone()
    found = estimator(large, k)
    assert torch.equal(k, before)
    assert torch.allclose(seen[0][1], views.intrinsics, rtol=1e-5)
    assert (seen[0][0] - views.image / 255).abs().mean() < 0.04  # the filter reaches a little into the neighbours
    expected = (views.keypoints + 0.5) * torch.tensor([2.0, 3.0]) - 0.5
    assert torch.allclose(found.keypoints, expected, atol=1e-4, equal_nan=True)
    estimator(views.image, views.intrinsics)
    assert torch.equal(seen[1][0], views.image)  # the right size is left alone


def test_without_intrinsics_the_usual_field_of_view_is_assumed(run, views):
    estimator = load(run)
    focal = SIZE / 2 / np.tan(np.radians(12.5))
    k = torch.tensor([[focal, 0, 15.5], [0, focal, 15.5], [0, 0, 1]], dtype=torch.float32)
    assert same(estimator(views.image), estimator(views.image, k))


def test_the_image_alone_decides(run, views):
    """Nothing of one image reaches another: no batch statistics."""
    estimator = load(run)
    alone = estimator(views.image[:1], views.intrinsics[:1])
    assert torch.allclose(alone.pose[0], estimator(views.image, views.intrinsics).pose[0], atol=1e-5)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((8, 8), np.uint8), "shape \\(8, 8\\)"),
        (np.zeros((8, 8, 4), np.uint8), "uint8, RGB"),
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (torch.zeros(8, 8, 3), "shape \\(8, 8, 3\\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "nothing to see"),
        (torch.zeros(1, 3, 0, 4), "nothing to see"),
        ("image.jpg", "there is no image image.jpg"),
    ],
)
def test_what_is_no_image_is_refused(run, image, said):
    with pytest.raises(VergenceError, match=said):
        load(run)(image)


@pytest.mark.parametrize("k", [np.eye(4), np.full((3, 3), np.nan), np.zeros((2, 3, 3)), np.ones(3)])
def test_intrinsics_that_do_not_fit_are_refused(run, views, k):
    with pytest.raises(VergenceError, match="intrinsics of shape"):
        load(run)(views.image, k)


def copied(run, folder):
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((run / name).read_bytes())
    return folder


def changed(folder, **values):
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_an_unfinished_run_is_named(run, tmp_path, missing):
    folder = copied(run, tmp_path / "r")
    (folder / missing).unlink()
    with pytest.raises(VergenceError, match=f"not a finished run: it has no {missing}"):
        load(folder)
    with pytest.raises(VergenceError, match="not a finished run"):
        load(tmp_path / "nowhere")


def test_files_that_are_broken_are_named(run, tmp_path):
    whole = (run / "model.safetensors").read_bytes()
    for number, (name, content) in enumerate(
        [
            ("model.safetensors", whole[: len(whole) // 2]),
            ("model.safetensors", b""),
            ("config.json", b"{"),
            ("config.json", b"\xff\xfe\x00"),
            ("config.json", b"[]"),
            ("config.json", b"{}"),
        ]
    ):
        folder = copied(run, tmp_path / str(number))
        (folder / name).write_bytes(content)
        with pytest.raises(VergenceError, match="cannot be read"):
            load(folder)


def test_files_of_two_runs_are_refused(run, tmp_path):
    folder = copied(run, tmp_path / "r")
    changed(folder, network={"width": 16, "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]})
    with pytest.raises(VergenceError, match="must come from the same run"):
        load(folder)
    changed(folder, network={"wdith": 8})
    with pytest.raises(VergenceError, match="wdith"):
        load(folder)
    changed(folder, network={}, method="magic")
    with pytest.raises(VergenceError, match="no method is called 'magic'"):
        load(folder)
    folder = copied(run, tmp_path / "s")
    changed(folder, image_size=None)
    with pytest.raises(VergenceError, match="cannot be read"):
        load(folder)


def test_a_method_from_outside_is_named_and_not_run(run, tmp_path, monkeypatch):
    """What a run was trained with is told; only what the caller names is executed."""
    monkeypatch.setattr(plugins, "_loaded", {})
    folder = copied(run, tmp_path / "r")
    file = tmp_path / "mine.py"
    file.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    (folder / "recipe.yaml").write_text(f"method: mine\nplugins: [{file}]\n")
    load(folder)
    assert not (tmp_path / "ran").exists()
    changed(folder, network={}, method="mine_all_mine")
    with pytest.raises(VergenceError, match=r"'mine_all_mine'.* plug-ins that are not loaded.* --plugins .*mine\.py"):
        load(folder)
    assert not (tmp_path / "ran").exists()
    load(run, plugins=[file])
    assert (tmp_path / "ran").exists()


def test_paths_pil_images_and_lists_are_images(run, views, tmp_path):
    estimator = load(run)
    arrays = [image.permute(1, 2, 0).contiguous().numpy() for image in views.image]
    want = estimator(np.stack(arrays), views.intrinsics)
    pictures = [Image.fromarray(array) for array in arrays]
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i}.png")
    assert same(estimator(tmp_path / "0.png", views.intrinsics[0]), want.rows(torch.tensor([0])))
    assert same(estimator(str(tmp_path / "0.png"), views.intrinsics[0]), want.rows(torch.tensor([0])))
    assert same(estimator(pictures[0], views.intrinsics[0]), want.rows(torch.tensor([0])))
    mixed = [tmp_path / "0.png", pictures[1], arrays[2], views.image[3], str(tmp_path / "4.png")]
    assert same(estimator(mixed, views.intrinsics), want)
    grey = estimator(pictures[0].convert("L"))
    assert grey.pose.shape == (1, 17, 3)


def test_a_list_of_several_sizes_keeps_its_order(run, views):
    estimator = load(run)
    arrays = [image.permute(1, 2, 0).contiguous().numpy() for image in views.image]
    large = [array.repeat(1 + i % 2, 0).repeat(1 + i % 2, 1) for i, array in enumerate(arrays)]
    found = estimator(large)
    for i, image in enumerate(large):
        assert same(found.rows(torch.tensor([i])), estimator(image))
    with pytest.raises(VergenceError, match="a list of 0 images"):
        estimator([])
    with pytest.raises(VergenceError, match="each of them single"):
        estimator([np.stack(arrays), arrays[0]])
    with pytest.raises(VergenceError, match=r"intrinsics of shape \(2, 3, 3\) for 5 images"):
        estimator(large, views.intrinsics[:2])
    with pytest.raises(VergenceError, match=r"no image nowhere\.png"):
        estimator("nowhere.png")


def test_a_prediction_names_its_joints_and_unit_and_is_saved(run, views, tmp_path):
    estimator = load(run)
    found = estimator(views.image)
    assert (found.joint_names, found.unit) == (estimator.skeleton.joint_names, "reference_bone")
    assert "5 poses of 17 joints in reference_bone, camera frame, with keypoints, confidence" in repr(found)
    assert repr(estimator) == f"Estimator(epipolar_pose, 32 px, h36m_17, on cpu of {run})"
    assert found.save(tmp_path / "poses.npz") == ""
    assert "assumed stature 1700 mm" in found.save(tmp_path / "poses.trc")
    again = vergence.outputs.read_npz(tmp_path / "poses.npz")
    np.testing.assert_array_equal(again.pose, found.pose.numpy())
    np.testing.assert_array_equal(again.keypoints, found.keypoints.numpy())
    assert (again.joint_names, again.unit) == (found.joint_names, found.unit)
    found.save(tmp_path / "poses.csv")
    assert (tmp_path / "poses.csv").stat().st_size > 100
    with pytest.raises(VergenceError, match="'xyz'"):
        found.save(tmp_path / "poses.xyz")
    with pytest.raises(VergenceError, match="without joint names"):
        Prediction(found.pose, "camera").save(tmp_path / "bare.npz")


def test_a_run_of_a_local_backbone_needs_its_folder_no_more(views, tmp_path):
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    AutoBackbone.from_config(config).save_pretrained(tmp_path / "weights")
    network = NetworkSettings(backbone=str(tmp_path / "weights"), width=8)
    method = build_method("epipolar_pose", network, "h36m_17")
    save(method, tmp_path / "run", "epipolar_pose", network, SIZE)
    want = load(tmp_path / "run")(views.image)
    shutil.rmtree(tmp_path / "weights")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    again = load(tmp_path / "elsewhere")
    assert same(again(views.image), want, 0)
    assert again.config["network"]["backbone"] == str(tmp_path / "weights")  # what it was trained from
