"""Predictions of others against the built-in world's truth: every form of the file, and every way to get it wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_world import world, world_records

from vergence.batches.dataset import MemoryDataset
from vergence.cli import main
from vergence.datasets.records import ImageDataset
from vergence.errors import VergenceError
from vergence.evaluation.external import on_rows, read_predictions, score_poses
from vergence.skeleton import COCO_17, H36M_17, MPII_16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> ImageDataset:
    return ImageDataset(world_records(tmp_path_factory.mktemp("world"), *world(frames=5, views=3), "mp4"), 64, H36M_17)


def full_poses(dataset) -> np.ndarray:
    """The truth as others predict it: root-relative, in the camera that took the image."""
    pose = dataset.records.pose.astype(np.float64)
    return pose - pose[:, :1]


def write(path: Path, pose: np.ndarray, **more) -> Path:
    np.savez(path, pose=pose, **{"joint_names": np.array(H36M_17.joint_names), "unit": "mm", **more})
    return path


def figures(path: Path, dataset) -> dict:
    predicted = read_predictions(path)
    pose, found = on_rows(predicted, dataset, H36M_17)
    assert found.all()
    return score_poses(pose, predicted.metric, dataset, H36M_17)


def keys(dataset, order=slice(None)) -> dict[str, np.ndarray]:
    return {name: getattr(dataset.records, name)[order] for name in ("sequence", "view", "frame")}


def test_true_labels_are_without_error_by_every_key(dataset, tmp_path):
    pose = full_poses(dataset)
    order = np.random.default_rng(0).permutation(len(pose))
    images = np.array([f"{p.path.name}#{p.frame}" for p in dataset.records.images])
    for key in (keys(dataset, order), {"row": order}, {"image": images[order]}):
        found = figures(write(tmp_path / "a.npz", pose[order], **key), dataset)
        assert found["samples"] == 15
        assert found["model"]["mpjpe"] < 0.01
        assert found["model"]["n_mpjpe"] < 0.01
        assert found["model"]["pck"] == 100
        assert set(found["groups"]["action"]) == {"sitting", "walking"}
        assert found["groups"]["camera"]["cam1"]["mpjpe"] < 0.01
    assert figures(write(tmp_path / "a.npz", pose), dataset)["model"]["mpjpe"] < 0.01  # in order
    assert figures(write(tmp_path / "a.npz", pose / 1000, unit="m"), dataset)["model"]["mpjpe"] < 0.01
    crop = dataset.index.pose.numpy()
    assert figures(write(tmp_path / "a.npz", crop, axes="crop"), dataset)["model"]["mpjpe"] < 0.01
    free = figures(write(tmp_path / "a.npz", pose * 0.002, unit="free"), dataset)["model"]
    assert "mpjpe" not in free
    assert free["n_mpjpe"] < 0.01


def test_a_known_error_is_measured(dataset, tmp_path):
    """A group's figures are the means of its own samples: those of one camera are moved by 30 mm at one joint."""
    pose = full_poses(dataset)
    pose[dataset.records.view == 1, 3] += [0, 30, 0]
    groups = figures(write(tmp_path / "a.npz", pose), dataset)["groups"]["camera"]
    assert groups["cam1"]["mpjpe"] == pytest.approx(30 / 17, abs=1e-3)
    assert groups["cam0"]["mpjpe"] < 0.01


def test_the_axes_matter_and_are_turned(dataset, tmp_path):
    """Camera-frame poses taken for crop-frame ones are off by the crop's turn, which P-MPJPE does not see."""
    model = figures(write(tmp_path / "a.npz", full_poses(dataset), axes="crop"), dataset)["model"]
    assert model["mpjpe"] > 5
    assert model["p_mpjpe"] < 0.01
    blind = MemoryDataset(dataset.index.replace(turn=torch.full_like(dataset.index.turn, float("nan"))))
    with pytest.raises(VergenceError, match="does not say how its crops are turned"):
        figures(write(tmp_path / "a.npz", full_poses(dataset)), blind)


def test_json_is_read_alike(dataset, tmp_path):
    pose = full_poses(dataset)
    samples = [
        {"pose": joints.tolist(), **{name: int(value[i]) for name, value in keys(dataset).items()}}
        for i, joints in enumerate(pose)
    ]
    samples[0]["pose"][5] = None
    samples[1]["pose"][6] = [None, 1.0, 2.0]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"unit": "mm", "joint_names": H36M_17.joint_names, "samples": samples}))
    theirs, found = on_rows(read_predictions(path), dataset, H36M_17)
    assert found.tolist() == [False] * 2 + [True] * 13  # what is not whole is not measured
    result = score_poses(theirs, True, dataset, H36M_17)
    assert (result["samples"], result["model"]["pck"]) == (13, 100)
    assert np.isnan(read_predictions(path).pose).any(-1).sum() == 2


def test_other_joints_are_converted_or_refused(dataset, tmp_path):
    pose = full_poses(dataset)
    mpii = H36M_17.convert(pose, MPII_16)
    path = write(tmp_path / "a.npz", mpii, joint_names=np.array(MPII_16.joint_names))
    predicted = read_predictions(path)
    other = ImageDataset(dataset.records, 64, MPII_16)
    assert score_poses(on_rows(predicted, other, MPII_16)[0], True, other, MPII_16)["model"]["mpjpe"] < 0.01
    write(path, H36M_17.convert(pose, COCO_17), joint_names=np.array(COCO_17.joint_names))
    with pytest.raises(VergenceError, match="head_top"):
        on_rows(read_predictions(path), dataset, H36M_17)


def test_wrong_units_and_mixed_up_poses_are_seen(dataset, tmp_path):
    pose = full_poses(dataset)
    with pytest.raises(VergenceError, match=r"0\.001 times as long"):
        figures(write(tmp_path / "a.npz", pose / 1000), dataset)
    mirrored = figures(write(tmp_path / "a.npz", pose[:, list(H36M_17.mirror)]), dataset)["model"]
    shuffled = figures(write(tmp_path / "a.npz", np.roll(pose, 1, axis=1)), dataset)["model"]
    assert min(mirrored["n_mpjpe"], shuffled["n_mpjpe"]) > 30


def test_bad_files_are_refused_by_name(dataset, tmp_path):
    pose = full_poses(dataset)

    def refused(match: str, array=pose, **more) -> None:
        with pytest.raises(VergenceError, match=match):
            on_rows(read_predictions(write(tmp_path / "a.npz", array, **more)), dataset, H36M_17)

    refused("unit is 'cm'", unit="cm")
    refused("axes is 'world'", axes="world")
    refused(r"shape \(15, 16, 3\)", pose[:, 1:])
    refused("14 predictions without keys for 15", pose[1:])
    refused("keyed by sequence, view", sequence=np.zeros(15, int), view=np.zeros(15, int))
    refused("row has shape", row=np.arange(14))
    refused("two labels for one image", row=np.zeros(15, int))
    refused("no prediction belongs", row=np.arange(15) + 99)
    refused("several samples", image=np.array(["cam0.mp4#0"] * 15))
    refused("is not a readable NPZ", pose.astype(object))
    (tmp_path / "b.npz").write_bytes(b"PK nothing")
    for name, match in (("b.npz", "is not a readable NPZ"), ("c.npz", "there is no file")):
        with pytest.raises(VergenceError, match=match):
            read_predictions(tmp_path / name)
    for text in ("{", "[]", '{"unit": "mm"}', '{"unit": "mm", "joint_names": ["a"], "samples": []}'):
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(VergenceError, match=r"d\.json"):
            read_predictions(tmp_path / "d.json")


def test_the_command_measures_and_says_what_is_missing(tmp_path, capsys):
    from vergence.recipes.typed import make_source
    from vergence.training.sources import open_source

    line = "{kind: world_images, count: 6, look: studio, seed: 4}"
    truth = open_source(make_source(count=6, look="studio", seed=4), 64, "h36m_17").index
    path = write(tmp_path / "theirs.npz", truth.pose.numpy(), axes="crop")
    words = ["evaluate", "--predictions", str(path), "--data", line]
    assert main(words) == 0
    assert "100.0" in capsys.readouterr().out
    found = json.loads((tmp_path / "theirs-evaluation" / "results.json").read_text())
    assert found["tests"]["predictions"]["model"]["mpjpe"] < 0.01
    assert found["protocol"]["predictions"]["measured"] == 6
    write(path, truth.pose[:4].numpy(), axes="crop", row=np.arange(4))
    assert main(words) == 2
    assert "2 of 6 samples have no prediction" in capsys.readouterr().err
    assert main([*words, "--partial"]) == 0
    assert "2 samples have no prediction" in capsys.readouterr().out
    assert main(["evaluate", "--predictions", str(path)]) == 2
    assert torch.isfinite(truth.pose).all()


def test_the_old_key_of_images_is_read_with_a_warning(tmp_path):
    """`picture` is what files of the version before are keyed by."""
    file = tmp_path / "p.npz"
    pose = np.zeros((2, 17, 3))
    np.savez(
        file, pose=pose, joint_names=np.array(H36M_17.joint_names), unit="mm", picture=np.array(["a.jpg", "b.jpg"])
    )
    with pytest.warns(FutureWarning, match="picture is now image"):
        assert list(read_predictions(file).key) == ["image"]
