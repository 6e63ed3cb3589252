"""Canonical poses and embeddings in a protocol: which figures need a heading, and retrieval beside its baselines."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vergence.batches.dataset import MemoryDataset
from vergence.evaluation.scores import (
    evaluate,
    fit_ridge,
    in_camera_frame,
    mean_bone_sum,
    retrieval_figures,
    score,
    score_prediction,
)
from vergence.geometry.canonical import canonical_pose
from vergence.methods.base import Method, Prediction
from vergence.metrics import fit_clusters
from vergence.skeleton import H36M_17
from vergence.world import recordings

PELVIS, THORAX = H36M_17.index("pelvis"), H36M_17.index("thorax")


@pytest.fixture(scope="module")
def views():
    return recordings(3, 8, 3, 16, seed=72)


@pytest.fixture(scope="module")
def canonical(views):
    bone = (views.pose[:, THORAX] - views.pose[:, PELVIS]).norm(dim=-1)[:, None, None]
    return canonical_pose(views.pose, views.up, H36M_17) / bone


class Knowing(Method):
    """Predicts what it was given, in the images' order."""

    def __init__(self, prediction: Prediction) -> None:
        super().__init__(nn.Module(), H36M_17)  # type: ignore[arg-type]
        self.prediction, self.at = prediction, 0

    def predict(self, image, intrinsics, flip=None):
        rows = slice(self.at, self.at + len(image))
        self.at += len(image)
        p = self.prediction
        return Prediction(p.pose[rows], p.frame, embedding=None if p.embedding is None else p.embedding[rows])


def test_the_true_canonical_pose_scores_nothing_with_the_true_heading(views, canonical):
    found = score_prediction(Prediction(canonical, "canonical"), views, H36M_17)
    assert found.summary["n_mpjpe"] < 1e-2
    assert found.summary["p_mpjpe"] < 1e-2
    assert found.summary["heading_known"] == 1
    turned = in_camera_frame(Prediction(canonical, "canonical"), views, H36M_17)
    assert score(canonical, views.pose, H36M_17).summary["n_mpjpe"] > 100  # unturned it is wrong
    assert score(turned, views.pose, H36M_17).summary["n_mpjpe"] < 1e-2


def test_without_a_heading_only_the_p_mpjpe_is_told(views, canonical):
    noisy = canonical + 0.1 * torch.randn(canonical.shape, generator=torch.Generator().manual_seed(0))
    full = score_prediction(Prediction(noisy, "canonical"), views, H36M_17).summary
    blind = views.replace(up=torch.full_like(views.up, math.nan))
    found = score_prediction(Prediction(noisy, "canonical"), blind, H36M_17)
    assert found.summary["p_mpjpe"] == pytest.approx(full["p_mpjpe"])
    assert math.isnan(found.summary["n_mpjpe"])
    assert found.summary["heading_known"] == 0
    some = views.up.clone()
    some[::2] = math.nan
    half = score_prediction(Prediction(noisy, "canonical"), views.replace(up=some), H36M_17)
    assert half.summary["heading_known"] == pytest.approx(0.5, abs=0.02)
    assert half.summary["p_mpjpe"] == pytest.approx(full["p_mpjpe"])
    assert bool(torch.from_numpy(half.n_mpjpe[::2]).isnan().all())


def test_a_protocol_with_an_embedding_its_ridge_and_retrieval(views, canonical):
    _, code = torch.unique(views.time_step, return_inverse=True)
    embedding = torch.nn.functional.one_hot(code).float()
    prediction = Prediction(canonical[torch.randperm(len(views))], "canonical", embedding=embedding)
    refit = fit_ridge(embedding, canonical, 1e-9)
    results, _, _ = evaluate(Knowing(prediction), MemoryDataset(views), H36M_17, refit=refit)
    assert results["ridge"]["p_mpjpe"] < 0.1
    assert results["model"]["p_mpjpe"] > 50
    assert "zero_depth" not in results  # it finds no joints
    found = results["retrieval"]
    assert found["embedding"]["all"].detection[1] == 100
    assert found["predicted_pose"]["same"].detection[1] < 60
    assert found["random"]["same"].detection[1] == pytest.approx(12.5)
    assert found["oracle"]["same"].mean_pa_mpjpe[1] < 0.1


def test_canonical_poses_get_structure_scores_and_sizes_as_others_do(views, canonical):
    clusters = fit_clusters(views.pose, 4, H36M_17.root, of="training", skeleton=H36M_17.name)
    bones = mean_bone_sum([views], H36M_17)
    perfect = Prediction(canonical, "canonical", embedding=torch.eye(len(views)))
    refit = fit_ridge(torch.eye(len(views)), canonical, 1e-9)
    results, _, scores = evaluate(
        Knowing(perfect), MemoryDataset(views), H36M_17, clusters=[clusters], bones_mm=bones, refit=refit
    )
    assert scores.summary["pss_4"] == 100
    assert results["ridge"]["pss_4"] == 100
    itself = score(views.pose, views.pose, H36M_17, (), bones).summary["bone_sum_mpjpe"]
    assert itself > 1  # people are not of one size
    assert scores.summary["bone_sum_mpjpe"] == pytest.approx(itself, abs=0.01)
    assert "left_right" not in results  # by limb and in pixels: of poses in the camera's frame
    blind = views.replace(up=torch.full_like(views.up, math.nan))
    nothing = score_prediction(Prediction(canonical, "canonical"), blind, H36M_17, [clusters], bones).summary
    assert set(nothing) == set(scores.summary)
    assert math.isnan(nothing["pss_4"])
    assert math.isnan(nothing["bone_sum_mpjpe"])


def test_retrieval_takes_a_spread_of_time_steps_and_needs_two_views(views, canonical, monkeypatch):
    prediction = Prediction(canonical, "canonical")
    monkeypatch.setattr("vergence.evaluation.scores.RETRIEVAL_TIME_STEPS", 4)
    found = retrieval_figures(prediction, views, H36M_17)
    assert found["random"]["same"].database == 4
    assert found["random"]["all"].queries == 3 * 4 * 3 * 2
    one = views[views.view == 0]
    assert retrieval_figures(Prediction(canonical[views.view == 0], "canonical"), one, H36M_17) == {}
