"""MCSS as a run: resumed bit for bit, frozen where asked, its recipes alike where they say so, and it learns to find poses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from vergence.errors import VergenceError
from vergence.evaluation.scores import evaluate
from vergence.recipes.load import load_recipe
from vergence.recipes.recipe import Draw, MetricLoss, NetworkSettings, Recipe, Source, Stage, TrainStage
from vergence.recipes.settings import Augmentation
from vergence.recipes.typed import make_source
from vergence.skeleton import H36M_17
from vergence.training.run import Run
from vergence.training.sources import open_source

NETWORK = NetworkSettings(
    embedding_size=8, hidden_sizes=[8, 16, 32], depths=[1, 1, 1], width=16, pose_embedding=16, pose_hidden=32
)


def film(subjects: int, frames: int, seed: int, pose: str = "1") -> Source:
    return make_source(kind="world_recordings", look="studio", subjects=subjects, frames_per_subject=frames, views=[3],
                  seed=seed, pose=pose, keypoints=True)  # fmt: skip


def tiny(steps: int, **changes) -> Recipe:
    train = TrainStage(
        steps=steps,
        batch={"rig": 12, "labelled": 6},
        draw={"rig": Draw(time_steps=3, apart=0.8), "labelled": Draw(source="rig", labelled=True)},
        losses={"heatmap": 0.3, "pose": 1.0, "metric": 1.0},
        metric=MetricLoss(apart=0.8),
        augmentation=Augmentation(mirror=0.5),
    )
    return Recipe(
        method="mcss",
        image_size=32,
        network=NETWORK,
        sources={"rig": film(3, 12, 93)},
        stages={"pose": Stage(train=replace(train, **changes))},
        checkpoint_every=3,
    )


def test_a_run_that_was_stopped_equals_one_that_was_not(tmp_path, monkeypatch, one_thread):
    whole = Run(tiny(7), tmp_path / "whole", "cpu").execute()
    from vergence.batches import sampler as mixture

    real = mixture.Mixture.batch

    def failing(self, step):
        if step == 5:
            raise RuntimeError("the power went")
        return real(self, step)

    monkeypatch.setattr(mixture.Mixture, "batch", failing)
    with pytest.raises(RuntimeError, match="power"):
        Run(tiny(7), tmp_path / "parts", "cpu").execute()
    monkeypatch.undo()
    assert (tmp_path / "parts" / "stages" / "pose" / "last.ckpt").exists()
    parts = Run(tiny(7), tmp_path / "parts", "cpu").execute()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert bool(whole.finds_joints)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_frozen_part_keeps_weights_and_statistics(tmp_path, one_thread, optimizer):
    recipe = tiny(2)
    second = replace(recipe.stages["pose"].train, frozen=["network"], losses={"pose": 1.0}, optimizer=optimizer)
    recipe.stages["head"] = Stage(train=second)
    method = Run(recipe, tmp_path, "cpu").execute()
    before = load_file(tmp_path / "stages" / "pose" / "model.safetensors")
    after = method.state_dict()
    for name, value in before.items():
        assert torch.equal(value, after[name]) == (name.startswith("network.") or name == "finds_joints"), name


def test_a_part_that_is_not_there_cannot_be_frozen(tmp_path):
    with pytest.raises(VergenceError, match=r"names 'trunk'\. The method has network"):
        Run(tiny(1, frozen=["trunk"]), tmp_path, "cpu").execute()


def test_the_baseline_differs_in_the_metric_loss_alone():
    ours, baseline = load_recipe("mcss"), load_recipe("mcss_baseline")
    assert baseline.stages["pose"].train.losses.pop("metric") == 0
    assert ours.stages["pose"].train.losses.pop("metric") > 0
    assert ours == baseline
    assert not any(source.keypoints for source in ours.sources.values())  # no 2D label, as in the paper
    frozen, trained = load_recipe("mcss_frozen"), load_recipe("mcss_2d")
    assert (frozen.sources, frozen.test, frozen.network) == (trained.sources, trained.test, trained.network)
    assert (trained.sources["studio"], trained.test) == (ours.sources["studio"], ours.test)
    assert frozen.stages["keypoints"] == trained.stages["keypoints"]


def test_settings_of_draws_and_loss_are_options():
    recipe = load_recipe("mcss", ["--stages.pose.train.metric.kind", "hardnet", "--sources.studio.pose", "4"])
    assert recipe.stages["pose"].train.metric.kind == "hardnet"
    assert recipe.sources["studio"].pose == "4"
    with pytest.raises(VergenceError, match="draw names 'rig'"):
        TrainStage(batch={"wild": 3}, draw={"rig": Draw()})
    with pytest.raises(VergenceError, match="margin"):
        MetricLoss(margin=0)
    with pytest.raises(VergenceError, match="time steps"):
        Draw(time_steps=-1)


def test_it_learns_to_find_poses_again(tmp_path, one_thread):
    """Half a minute of one thread: poses are found again in other cameras better than by chance."""
    recipe = tiny(
        350,
        batch={"rig": 24, "labelled": 8},
        draw={"rig": Draw(time_steps=12, apart=0.8), "labelled": Draw(source="rig", labelled=True)},
        losses={"heatmap": 1.0, "coordinates": 0.1, "pose": 1.0, "metric": 0.5},
        metric=MetricLoss(kind="infonce", apart=0.8),
        learning_rate=4e-3,
    )
    recipe.image_size = 48
    recipe.network = NetworkSettings(
        embedding_size=12, hidden_sizes=[12, 24, 48, 64], depths=[1, 1, 1, 1], width=24, pose_embedding=32
    )
    recipe.sources["rig"] = film(30, 30, 93)
    trained = Run(recipe, tmp_path, "cpu").execute()
    results, _, _ = evaluate(trained, open_source(film(6, 20, 92, "all"), 48, "h36m_17"), H36M_17)
    found = results["retrieval"]
    chance, ours = found["random"]["same"], found["embedding"]["same"]
    assert chance.detection[1] == pytest.approx(5)
    assert ours.detection[1] > 1.6 * chance.detection[1], ours
    assert ours.mean_pa_mpjpe[1] < chance.mean_pa_mpjpe[1] - 15, (ours, chance)
