"""A model under a named protocol: the truth scores 0 whatever gives its millimetres; what cannot be given is left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from fixtures_world import world, world_records

from vergence.batches.dataset import MemoryDataset
from vergence.datasets.records import ImageDataset
from vergence.errors import VergenceError
from vergence.evaluation.measure import measure_protocol
from vergence.geometry.camera import rotate
from vergence.geometry.canonical import canonical_rotation
from vergence.methods.base import Prediction
from vergence.metrics import limb_lengths
from vergence.protocols.base import get_protocol
from vergence.protocols.human36m import PROTOCOLS
from vergence.skeleton import H36M_17

H36M = PROTOCOLS[0]
PELVIS, THORAX = H36M_17.index("pelvis"), H36M_17.index("thorax")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    records = world_records(tmp_path_factory.mktemp("benchmark"), *world(frames=4, views=2))
    groups = {**records.groups, "subject": np.array(["S9", "S11"] * 4)}
    return ImageDataset(dataclasses.replace(records, groups=groups), 32, H36M_17)


@pytest.fixture(scope="module")
def true(dataset):
    """The truth as a network says it: root-relative, reference bone 1, and the distance of its root."""
    pose = dataset.index.pose
    bone = (pose[:, THORAX] - pose[:, PELVIS]).norm(dim=-1)
    relative = (pose - pose[:, [PELVIS]]) / bone[:, None, None]
    return Prediction(relative, "camera", root_depth=pose[:, PELVIS, 2] / bone)


def size(dataset):
    return float(limb_lengths(dataset.index.pose, H36M_17.limbs).sum(1).mean())


@pytest.mark.parametrize("scale", ["training", "true", "depth"])
def test_the_truth_scores_nothing(dataset, true, scale):
    found, about = measure_protocol(H36M, true, dataset, H36M_17, scale, size(dataset))
    assert max(found.average.values()) < 0.05
    assert about["true_depth_or_scale_used"] is (scale != "training")
    assert ("TRUE" in about["scale"]) is (scale != "training")
    assert not about["left_out"]
    assert set(found.tables["action"]) == {"walking", "sitting"}


def test_the_size_of_the_training_people_is_what_an_error_of_size_costs(dataset, true):
    """People a tenth taller than those of the training: MPJPE is a tenth of the mean distance from the root, N-MPJPE none."""
    small = size(dataset) / 1.1
    found, about = measure_protocol(H36M, true, dataset, H36M_17, "training", small)
    pose = dataset.index.pose.double().numpy()
    reach = [[np.linalg.norm(p[j] - p[PELVIS]) * (1 - 1 / 1.1) for j in range(17)] for p in pose]
    walking = dataset.records.groups["action"] == "walking"
    expected = (np.mean(np.array(reach)[walking]) + np.mean(np.array(reach)[~walking])) / 2
    assert found.average["MPJPE"] == pytest.approx(expected, rel=1e-3)
    assert found.average["N-MPJPE"] < 0.05
    assert about["bone_sum_mm"] == small


def test_without_a_scale_what_needs_one_is_left_out(dataset, true):
    found, about = measure_protocol(H36M, true, dataset, H36M_17)
    assert set(found.average) == {"P-MPJPE", "N-MPJPE"}
    assert "no scale" in about["left_out"]["MPJPE"]
    flat = dataclasses.replace(true, root_depth=None)
    assert set(measure_protocol(H36M, flat, dataset, H36M_17, "depth")[0].average) == {"P-MPJPE", "N-MPJPE"}
    needs = dataclasses.replace(H36M, figures=H36M.figures[:1])
    with pytest.raises(VergenceError, match="--scale true"):
        measure_protocol(needs, true, dataset, H36M_17)


def test_joints_that_no_label_showed_are_not_counted(dataset, true):
    head = H36M_17.index("head_top")
    taught = dataclasses.replace(true, pose=true.pose.clone())
    taught.pose[:, head] = float("nan")
    with pytest.raises(VergenceError, match="training had no labels of head top"):
        measure_protocol(H36M, taught, dataset, H36M_17, "true")
    others = tuple(name for name in H36M.joints if name != "head_top")
    some = dataclasses.replace(H36M, figures=(H36M.figures[0], dataclasses.replace(H36M.figures[1], joints=others)))
    found, about = measure_protocol(some, taught, dataset, H36M_17, "true")
    assert list(found.average) == [H36M.figures[1].name]
    assert "training had no labels of head top" in about["left_out"][H36M.figures[0].name]


def test_canonical_poses_are_turned_by_the_true_heading(dataset, true):
    turn = canonical_rotation(dataset.index.pose, dataset.index.up, H36M_17)
    canonical = Prediction(rotate(true.pose, turn), "canonical")
    found, about = measure_protocol(H36M, canonical, dataset, H36M_17, "true")
    assert max(found.average.values()) < 0.05
    assert "heading" in about
    blind = ImageDataset(dataset.records, 32, H36M_17)
    blind.index = blind.index.replace(up=torch.full_like(blind.index.up, float("nan")))
    found, about = measure_protocol(H36M, canonical, blind, H36M_17, "true")
    assert set(found.average) == {"P-MPJPE"}
    assert found.average["P-MPJPE"] < 0.05
    assert about["left_out"]["MPJPE"] == "true heading unknown"


def test_a_protocol_that_sizes_poses_needs_no_scale_and_says_whose_it_is(dataset, true):
    """Zhou's: the pose comes in any unit; nothing is left out, whatever scale was asked for."""
    for scale, factor in (("training", 1.0), ("depth", 37.0)):
        pose = dataclasses.replace(true, pose=factor * true.pose)
        found, about = measure_protocol(get_protocol("h36m-zhou"), pose, dataset, H36M_17, scale)
        assert about["left_out"] == {}
        assert "4296.99" in about["scale"]
        assert about["true_depth_or_scale_used"] is False
        assert "bone_sum_mm" not in about
        assert 0 < found.average["MPJPE"] < 80  # the spine, and another size than the training people's
    protocol = dataclasses.replace(H36M, fit=get_protocol("3dhp-zhou").fit, figures=H36M.figures[:1])
    assert measure_protocol(protocol, true, dataset, H36M_17)[1]["true_depth_or_scale_used"] is True


def test_retrieval_is_a_protocol(dataset, true):
    """Two views of four time steps: by the truth as its embedding every query is found, by noise not all."""
    protocol = get_protocol("h36m-retrieval")
    found, about = measure_protocol(protocol, true, dataset, H36M_17)
    assert about["descriptor"] == "predicted_pose"
    time_step = torch.nn.functional.one_hot(torch.unique(dataset.index.time_step, return_inverse=True)[1]).float()
    found, about = measure_protocol(protocol, dataclasses.replace(true, embedding=time_step), dataset, H36M_17)
    assert about["descriptor"] == "embedding"
    assert found.average["Detection@1"] == 100
    assert found.average["Mean-PA-MPJPE@1"] == pytest.approx(0, abs=0.01)
    assert set(found.tables["cameras"]) == {"0-1", "1-0"}
    assert set(found.tables["descriptor"]) == {"embedding", "predicted_pose", "oracle", "random"}
    assert found.tables["descriptor"]["random"]["Detection@1"] == pytest.approx(25)
    assert found.average["Mean-PA-MPJPE@5"] == pytest.approx(found.tables["descriptor"]["random"]["Mean-PA-MPJPE@5"])
    wrong = dataclasses.replace(true, embedding=time_step.roll(1, 1) * (dataset.index.view == 0)[:, None] + time_step)
    missed, _ = measure_protocol(protocol, wrong, dataset, H36M_17)
    assert missed.average["Detection@1"] < 100
    told = found.plain()["protocol"]
    assert told["units"] == {"Detection@1": "%", "Detection@5": "%", "Detection@10": "%", "Mean-PA-MPJPE@1": "mm",
                             "Mean-PA-MPJPE@5": "mm", "Mean-PA-MPJPE@10": "mm"}  # fmt: skip
    for who in ("all", "same"):
        named = get_protocol("h36m-retrieval" + ("-same" if who == "same" else ""))
        assert named.retrieval == who
        of_one = measure_protocol(named, dataclasses.replace(true, embedding=time_step), dataset, H36M_17)[0]
        assert of_one.average["Detection@1"] == 100


def test_images_without_names_of_their_actions_are_refused(dataset, true):
    with pytest.raises(VergenceError, match="needs the groups of a dataset's rows"):
        measure_protocol(H36M, true, MemoryDataset(dataset.index), H36M_17)
