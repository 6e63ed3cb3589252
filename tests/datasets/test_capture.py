"""A capture read as a dataset: crops of a written recording against its truth, a reconstruction's poses, real footage."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from vergence.batches.dataset import withhold
from vergence.commands.reconstruct import reconstruct
from vergence.commands.synth import synth
from vergence.datasets import records
from vergence.datasets.capture import read_capture
from vergence.errors import VergenceError
from vergence.evaluation.scores import label_scores
from vergence.footage.capture import load_capture
from vergence.geometry.camera import project
from vergence.metrics import n_mpjpe
from vergence.outputs import read_npz
from vergence.recipes.recipe import LabelStage, Source
from vergence.recipes.typed import make_source
from vergence.skeleton import COCO_17, H36M_17
from vergence.training.labelling import make_pseudo_labels
from vergence.training.prepare import prepare
from vergence.training.sources import open_source

FRAMES, VIEWS, CROP = 12, 3, 48
PELVIS = H36M_17.index("pelvis")


def source(folder, **settings) -> Source:
    return make_source(kind="capture", path=str(folder), **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("capture") / "rec"
    synth(out, frames=FRAMES, views=VIEWS, size=128, known="cameras", seed=6, device="cpu", quiet=True)
    return out


@pytest.fixture(scope="module")
def rebuilt(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("capture") / "found"
    reconstruct(folder, out)
    return out


@pytest.fixture(scope="module")
def dataset(folder):
    return read_capture(source(folder), CROP, H36M_17)


def true_pose(folder, index):
    """The recording's truth in each crop's frame, by the rotation and translation that the crop states."""
    truth = torch.from_numpy(read_npz(folder / "truth.npz").pose).float()
    return torch.einsum("nij,nkj->nki", index.rotation, truth[index.frame]) + index.translation[:, None]


def test_every_camera_and_frame_is_a_crop_of_the_person(dataset):
    index = dataset.index
    assert len(dataset) == FRAMES * VIEWS
    assert sorted(set(index.view.tolist())) == [0, 1, 2]
    groups, mask = index.groups()
    assert groups.shape == (FRAMES, VIEWS)
    assert mask.all()
    assert torch.allclose(index.time, index.frame / 25)
    image = dataset.read(torch.arange(4)).image
    assert image.shape == (4, 3, CROP, CROP)
    assert image.float().std() > 5
    known = ~index.keypoints.isnan().any(-1)
    assert known.float().mean() > 0.9
    inside = index.keypoints[known]
    assert ((inside > -0.5) & (inside < CROP - 0.5)).all()
    assert torch.equal(index.confidence > 0, known)


def test_the_truth_seen_by_the_crops_cameras_is_the_crops_keypoints(dataset, folder):
    index = dataset.index
    pixels = project(true_pose(folder, index), index.intrinsics)
    known = ~index.keypoints.isnan().any(-1)
    assert (pixels - index.keypoints)[known].abs().max() < 0.02
    world_up = torch.einsum("nij,j->ni", index.rotation, torch.tensor([0.0, 0, 1]))
    assert torch.allclose(index.up, world_up, atol=1e-5)


def test_a_capture_alone_has_no_poses(dataset):
    assert dataset.index.pose.isnan().all()
    assert not dataset.index.pseudo.any()


def test_what_is_nowhere_known_takes_no_memory_and_batches_stay_what_they_are(folder, dataset, monkeypatch):
    """Against the index of all rows at once, in which every field has its own numbers."""
    whole = records._index_part(dataset.dataset.records, CROP, "virtual")
    monkeypatch.setattr(records, "ROWS_AT_ONCE", 7)
    small, rows = read_capture(source(folder), CROP, H36M_17), torch.tensor([30, 2, 17])
    batch, before = small.read(rows), dataset.read(rows)
    assert torch.equal(batch.image, before.image)
    for name, value in batch.items():
        if name != "image":
            assert torch.equal(value.nan_to_num(-1), getattr(whole, name)[rows].nan_to_num(-1)), name
            assert torch.equal(value.nan_to_num(-1), getattr(before, name).nan_to_num(-1)), name
    assert {"pose", "pose_weight", "source"} <= {
        name for name, value in small.index.items() if value.untyped_storage().nbytes() == value.element_size()
    }
    batch.pose[0] = 1.0  # a batch is its own
    assert small.index.pose.isnan().all()
    hidden = withhold(small.index, source(folder, pose="none", keypoints=False))
    assert hidden.keypoints.untyped_storage().nbytes() == hidden.rotation.untyped_storage().nbytes() == 4


def label(dataset, settings):
    """The labels that its own 2D makes, without its cameras."""
    visible = withhold(dataset.index, settings)
    assert visible.rotation.isnan().all()
    stage = LabelStage(keypoints="labelled")
    return make_pseudo_labels(
        dataset, visible, visible.keypoints[:, :, None], visible.confidence[:, :, None], stage, H36M_17
    )


def test_its_labels_find_the_truth_without_its_cameras(dataset, folder):
    labels = label(dataset, source(folder, keypoints=True))
    assert labels.report["put_right"] == {}
    truth = dataset.index.replace(pose=true_pose(folder, dataset.index))
    assert label_scores(labels.pose, truth, H36M_17)["n_mpjpe"] < 10


def test_a_reconstructions_pose_is_metric_and_made(folder, rebuilt):
    index = read_capture(source(folder, reconstruction=str(rebuilt)), CROP, H36M_17).index
    assert index.pseudo.all()
    assert index.metric.all()
    truth = true_pose(folder, index)
    assert float(n_mpjpe(index.pose, truth, PELVIS).nanmean()) < 5
    pixels = project(index.pose, index.intrinsics)
    known = ~index.keypoints.isnan().any(-1) & ~index.pose.isnan().any(-1)
    assert (pixels - index.keypoints)[known].abs().median() < 0.1


def test_frames_are_chosen_by_number(folder, rebuilt):
    index = read_capture(source(folder, frames="0-2,7,11-99", reconstruction=str(rebuilt)), CROP, H36M_17).index
    assert index.frame.unique().tolist() == [0, 1, 2, 7, 11]
    whole = read_capture(source(folder, reconstruction=str(rebuilt)), CROP, H36M_17).index
    row = (whole.frame == 7) & (whole.view == 1)
    assert torch.equal(index.pose[(index.frame == 7) & (index.view == 1)], whole.pose[row])
    with pytest.raises(VergenceError, match="frames: 50"):
        read_capture(source(folder, frames="50"), CROP, H36M_17)


def test_another_skeleton_gets_the_joints_it_can(folder):
    index = read_capture(source(folder), CROP, COCO_17).index
    assert index.keypoints.shape == (FRAMES * VIEWS, 17, 2)
    assert index.keypoints[:, COCO_17.index("left_eye")].isnan().all()
    assert (index.confidence[:, COCO_17.index("left_eye")] == 0).all()
    assert index.keypoints[:, COCO_17.index("left_knee")].isfinite().float().mean() > 0.9


def test_a_recipes_source_opens_it(folder, dataset):
    opened = open_source(source(folder), CROP, "h36m_17")
    assert torch.equal(opened.index.keypoints.nan_to_num(-1), dataset.index.keypoints.nan_to_num(-1))


def test_a_reconstruction_of_another_recording_is_refused(folder, tmp_path):
    synth(tmp_path / "b", frames=6, views=VIEWS, size=32, known="cameras", seed=7, device="cpu", quiet=True)
    reconstruct(tmp_path / "b", tmp_path / "found")
    with pytest.raises(VergenceError, match="6 frames, the capture 12"):
        read_capture(source(folder, reconstruction=str(tmp_path / "found")), CROP, H36M_17)
    with pytest.raises(VergenceError, match=r"poses\.npz"):
        read_capture(source(folder, reconstruction=str(tmp_path / "nowhere")), CROP, H36M_17)


def test_footage_that_shows_nobody_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with np.load(folder / "keypoints.npz") as data:
        arrays = dict(data)
    arrays["keypoints"][3] = np.nan
    arrays["keypoints"][4:, 1] = np.nan
    np.savez(tmp_path / "keypoints.npz", **arrays)
    index = read_capture(source(tmp_path), CROP, H36M_17).index
    assert len(index) == 3 * VIEWS + 8 * (VIEWS - 1)
    with pytest.raises(VergenceError, match="shows nobody in frames 3"):
        read_capture(source(tmp_path, frames="3"), CROP, H36M_17)


def exchanged(folder, out, frames):
    """A copy of the recording whose second camera has left and right exchanged in some frames."""
    out.mkdir()
    for file in folder.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    with np.load(folder / "keypoints.npz") as data:
        arrays = dict(data)
    arrays["keypoints"][frames, 1] = arrays["keypoints"][frames, 1][:, list(H36M_17.mirror)]
    np.savez(out / "keypoints.npz", **arrays)
    return out


@pytest.mark.parametrize("frames", [slice(None), slice(3, 8), [6]], ids=["whole", "stretch", "one"])
def test_sides_that_a_camera_exchanged_are_put_right_for_training(folder, dataset, tmp_path, frames):
    wrong = exchanged(folder, tmp_path / "rec", frames)
    true, raw = dataset.index.keypoints, read_capture(source(wrong), CROP, H36M_17)
    limbs = [i for i, name in enumerate(H36M_17.joint_names) if "_" in name and name != "neck_nose"]
    known = true.isfinite().all(-1)[:, limbs] & raw.index.keypoints.isfinite().all(-1)[:, limbs]

    def off(points):
        return float((points - true).norm(dim=-1)[:, limbs][known & (dataset.index.view == 1)[:, None]].max())

    assert off(raw.index.keypoints) > 5
    labels = label(raw, source(wrong, keypoints=True))
    assert list(labels.report["put_right"]) == ["images with exchanged sides"]
    assert off(labels.apply(withhold(raw.index, source(wrong, keypoints=True))).keypoints) < 1.5
    reconstruct(wrong, tmp_path / "found")
    again = source(wrong, reconstruction=str(tmp_path / "found"), keypoints=True)
    fixed = read_capture(again, CROP, H36M_17)
    assert off(fixed.index.keypoints) < 1e-3  # the box is the same, whichever side is which
    prepare([f"{{kind: capture, path: {wrong}, reconstruction: {tmp_path / 'found'}}}"], tmp_path / "shards", size=CROP)
    shards = open_source(make_source("shards", path=str(tmp_path / "shards"), keypoints=True), CROP, "h36m_17").index
    order = torch.argsort(shards.view * 1000 + shards.frame)
    assert off(shards.keypoints[order]) < 1e-3


def test_a_wrist_on_somebody_else_is_no_target(folder, dataset, tmp_path):
    wrong, wrist = exchanged(folder, tmp_path / "rec", []), H36M_17.index("left_wrist")
    with np.load(wrong / "keypoints.npz") as data:
        arrays = dict(data)
    arrays["keypoints"][4, 2, wrist, :2] += 20
    np.savez(wrong / "keypoints.npz", **arrays)
    raw = read_capture(source(wrong), CROP, H36M_17)
    labels = label(raw, source(wrong, keypoints=True))
    row = (raw.index.view == 2) & (raw.index.frame == 4)
    assert labels.report["put_right"] == {"joints dropped": 1}
    assert labels.seen[row, wrist].isnan().all()
    target = labels.apply(withhold(raw.index, source(wrong, keypoints=True))).keypoints[row, wrist]
    assert torch.allclose(target, labels.keypoints[row, wrist])  # where the others say it is


DATA = Path(os.environ.get("VERGENCE_DATA", "")) / "pose2sim"


@pytest.mark.skipif(not (DATA / "videos_single").exists(), reason="set VERGENCE_DATA to the folder of real data")
def test_real_footage(tmp_path):
    """Four cameras with distorted lenses, OpenPose's joints: each crop knows its full camera, labels fit what was seen."""
    text = f'[capture]\nfps = 60.0\ncalibration = "{DATA}/calib/Calib_qualisys.toml"\n'
    for name in ("cam01", "cam02", "cam03", "cam04"):
        text += f'[cameras.{name}]\nvideo = "{DATA}/videos_single/{name}.mp4"\n'
        text += f'keypoints = "{DATA}/openpose_json/balancing/{name}_json"\n'
    (tmp_path / "capture.toml").write_text(text)
    dataset = read_capture(source(tmp_path, frames="0-14"), CROP, H36M_17)
    index = dataset.index
    assert len(dataset) == 15 * 4
    assert (dataset.read(torch.arange(60)).image.float().flatten(1).std(1) > 10).all()
    for v, camera in enumerate(load_capture(tmp_path).cameras):
        assert (index.full_intrinsics[index.view == v] - torch.from_numpy(camera.intrinsics)).abs().max() < 1e-3
        assert (index.size[index.view == v] == torch.tensor(camera.image_size)).all()
    known = index.keypoints.isfinite().all(-1)
    assert known.float().mean() > 0.85
    labels = label(dataset, source(tmp_path, keypoints=True))
    assert labels.report["joints_labelled"] > 0.85
    off = (labels.keypoints - index.keypoints).norm(dim=-1)
    assert float(off.nanmedian()) < 1  # of 48 px, which span some 2.4 m
