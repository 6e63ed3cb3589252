"""A recipe carried out, stopped, taken up again and moved."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoBackbone, ResNetConfig

import vergence.training.run as runs
from vergence.batches.pseudo_labels import PseudoLabels
from vergence.batches.sampler import Mixture
from vergence.errors import VergenceError
from vergence.inference.estimator import load
from vergence.methods.refinement import Refined
from vergence.recipes.recipe import (
    CalibrateStage,
    LabelStage,
    NetworkSettings,
    Recipe,
    RefineStage,
    Stage,
    TrainStage,
)
from vergence.recipes.settings import Augmentation, MultiView
from vergence.recipes.typed import make_source
from vergence.training import stage_cache
from vergence.training.checks import check_recipe
from vergence.training.run import Run
from vergence.training.sources import open_source

LOSSES = {"heatmap": 1.0, "coordinates": 0.1, "depth": 1.0}


def tiny(**changes) -> Recipe:
    recipe = Recipe(
        image_size=32,
        network=NetworkSettings(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8),
        sources={
            "wild": make_source(kind="world_images", count=20, seed=1, keypoints=True),
            "studio": make_source(
                kind="world_recordings",
                look="studio",
                subjects=1,
                frames_per_subject=8,
                views=[3],
                seed=2,
                keypoints=True,
            ),
        },
        stages={
            "keypoints": Stage(train=TrainStage(steps=6, batch={"wild": 6}, losses=LOSSES)),
            "labels": Stage(label=LabelStage(source="studio", keypoints="labelled")),
            "pose": Stage(
                train=TrainStage(
                    steps=6,
                    batch={"wild": 3, "studio": 4},
                    losses=LOSSES,
                    labels=["labels"],
                    augmentation=Augmentation(mirror=0.5, rotation=10),
                )
            ),
        },
        checkpoint_every=2,
    )
    return dataclasses.replace(recipe, **changes)


def carry_out(folder, recipe: Recipe | None = None) -> Run:
    run = Run(recipe or tiny(), folder, device="cpu")
    run.execute()
    return run


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return carry_out(folder)


class Killed(BaseException):
    pass


def assert_same(a, b):
    one, other = weights(a), weights(b)
    assert set(one) == set(other)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_run_leaves_what_it_owes(whole):
    folder = whole.folder
    config = json.loads((folder / "config.json").read_text())
    assert config["method"] == "epipolar_pose"
    assert config["image_size"] == 32
    assert config["labels"]["labels"]["images"] == 24
    assert set(config["seconds"]) >= {"keypoints", "labels", "pose", "data"}
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["stages"]["pose"]["train"]["steps"] == 6
    assert [p.name for p in (folder / "labels").iterdir()] == [f"labels-{whole.prints['labels']}.npz"]
    for stage in ("keypoints", "pose"):
        assert (folder / "stages" / stage / "metrics.jsonl").is_file()
        assert not (folder / "stages" / stage / "last.ckpt").exists()
    assert_same(folder, folder / "stages" / "pose")


def test_the_second_stage_starts_where_the_first_ended_and_learns(whole):
    first, last = (load_file(whole.folder / "stages" / s / "model.safetensors") for s in ("keypoints", "pose"))
    moved = {k: float((first[k].float() - last[k].float()).abs().max()) for k in first}
    assert any(v > 0 for v in moved.values())
    fresh = whole._fresh().state_dict()
    weight = "network.neck.lateral.0.weight"
    assert (first[weight] - last[weight]).norm() < (fresh[weight] - last[weight]).norm() + first[weight].norm()


def test_what_the_training_mirrored_is_kept_with_the_model(whole):
    """The first stage never saw a mirror image, the last did: only its predictions may be averaged with one."""
    kept = whole._trained("keypoints", "pose")
    assert kept is not None
    assert not kept.mirrored
    assert load(whole.folder).method.mirrored


def test_pseudo_labels_reach_the_training_batches(whole):
    part = whole._part("studio", whole.recipe.stages["pose"].train, 4)
    assert part.visible.pseudo.all()
    assert not part.visible.metric.any()
    assert part.visible.pose.isfinite().all(-1).float().mean() > 0.95
    wild = whole._part("wild", whole.recipe.stages["pose"].train, 3)
    assert wild.visible.pose.isnan().all()
    assert not wild.visible.pseudo.any()


@pytest.mark.parametrize(("stage", "step"), [("keypoints", 3), ("pose", 5)])
def test_killed_and_run_again_equals_uninterrupted_bit_for_bit(whole, tmp_path, monkeypatch, stage, step):
    real, sizes = Mixture.batch, {"keypoints": 1, "pose": 2}

    def batch(self, number):
        if len(self.parts) == sizes[stage] and number == step:
            raise Killed
        return real(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Mixture, "batch", batch)
        with pytest.raises(Killed):
            carry_out(tmp_path / "cut")
    assert (tmp_path / "cut" / "stages" / stage / "last.ckpt").exists()
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    carry_out(tmp_path / "cut")
    assert_same(whole.folder, tmp_path / "cut")


def test_killed_after_the_last_step_but_before_saving(whole, tmp_path, monkeypatch):
    """The checkpoint of the very last step is complete: nothing is left to do but to keep its averaged weights."""

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runs, "save_weights", killed)
        with pytest.raises(Killed):
            carry_out(tmp_path / "cut")
    carry_out(tmp_path / "cut")
    assert_same(whole.folder, tmp_path / "cut")


def test_finished_stages_are_not_done_again(whole, tmp_path, monkeypatch):
    shutil.copytree(whole.folder, tmp_path / "again")

    def never(*_, **__):
        raise AssertionError("done again")

    monkeypatch.setattr(runs, "train_stage", never)
    monkeypatch.setattr(runs, "make_pseudo_labels", never)
    monkeypatch.setattr(stage_cache, "open_source", never)  # not even the images are needed
    again = carry_out(tmp_path / "again")
    assert_same(whole.folder, tmp_path / "again")
    assert torch.equal(again.labels["labels"].key, whole.labels["labels"].key)


@pytest.mark.parametrize("method", ["supervised", "mcss"])
def test_a_finished_run_needs_its_backbone_s_folder_no_more(tmp_path, method):
    """The same command again gives the same model, also where a part of it was never trained."""
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    AutoBackbone.from_config(config).save_pretrained(tmp_path / "weights")
    stages = {"pose": Stage(train=TrainStage(steps=2, batch={"wild": 3}, losses={"heatmap": 1.0, "coordinates": 0.1}))}
    network = NetworkSettings(backbone=str(tmp_path / "weights"), width=8)
    recipe = tiny(method=method, network=network, stages=stages)
    before = carry_out(tmp_path / "run", recipe)
    kept = {file.name: file.read_bytes() for file in before.folder.iterdir() if file.is_file()}
    shutil.rmtree(tmp_path / "weights")
    again = carry_out(tmp_path / "run", recipe)
    assert {file.name: file.read_bytes() for file in before.folder.iterdir() if file.is_file()} == kept
    want = before.method.state_dict()
    assert all(torch.equal(value, want[name]) for name, value in again.method.state_dict().items())
    assert again.seconds["pose"] == before.seconds["pose"]
    shutil.rmtree(tmp_path / "run" / "stages")  # now it would have to be trained, from weights that are gone
    with pytest.raises(VergenceError, match=r"backbone .*weights' could not be loaded"):
        carry_out(tmp_path / "run", recipe)
    with pytest.raises(VergenceError, match=r"backbone .*weights' could not be loaded"):
        carry_out(tmp_path / "new", recipe)


def test_another_recipe_in_the_same_folder_is_refused_with_the_differences(whole):
    other = tiny()
    other.checkpoint_every = 7
    other.stages["pose"].train.learning_rate = 1e-3  # type: ignore[union-attr]
    told = (
        r"another recipe: stages\.pose\.train\.learning_rate is 0\.005 there and 0\.001 here; checkpoint_every is \d+ "
    )
    with pytest.raises(VergenceError, match=told):
        Run(other, whole.folder, device="cpu")
    assert (
        yaml.safe_load((whole.folder / "recipe.yaml").read_text())["stages"]["pose"]["train"]["learning_rate"] == 5e-3
    )


def test_another_seed_gives_another_run(whole, tmp_path):
    carry_out(tmp_path / "b", tiny(seed=1))
    one, other = weights(whole.folder), weights(tmp_path / "b")
    assert any(not torch.equal(v, other[k]) for k, v in one.items())


def test_a_moved_run_still_loads(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "elsewhere" / "named differently")
    views = open_source(make_source(count=3, seed=9), 32, "h36m_17").index
    image = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    here = load(whole.folder)(image, views.intrinsics)
    there = load(tmp_path / "elsewhere" / "named differently")(image, views.intrinsics)
    assert torch.equal(here.pose, there.pose)
    assert here.pose.isfinite().all()


def test_labels_of_the_file_are_those_of_the_run(whole):
    loaded = PseudoLabels.load(next((whole.folder / "labels").iterdir()))
    ours = whole.labels["labels"]
    assert torch.equal(loaded.pose.nan_to_num(-1), ours.pose.nan_to_num(-1))
    assert loaded.report == ours.report


def test_a_half_written_recipe_file_is_named(tmp_path):
    (tmp_path / "recipe.yaml").write_text("method: [unclosed")
    with pytest.raises(VergenceError, match=r"recipe\.yaml"):
        Run(tiny(), tmp_path, device="cpu")


def test_a_folder_that_cannot_be_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VergenceError, match="could not be written"):
        Run(tiny(), tmp_path / "file" / "run", device="cpu")


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (
            {"labels": Stage(label=LabelStage(source="studio"))},
            "no trained network finds the joints for stage 'labels'",
        ),
        (
            {"labels": Stage(label=LabelStage(source="studio", network="x"))},
            "stage 'labels' wants the network of stage 'x'",
        ),
        (
            {"labels": Stage(label=LabelStage(source="studio", keypoints="labelled"))},
            "the recipe has no training stage",
        ),
        ({"pose": Stage(train=TrainStage(batch={"wild": 2}, labels=["l"]))}, "no label stage 'l' comes before"),
        ({"pose": Stage(train=TrainStage(batch={"wild": 2}, start="first"))}, "wants the network of stage 'first'"),
    ],
)
def test_stages_that_cannot_follow_each_other_are_refused(tmp_path, stages, said):
    with pytest.raises(VergenceError, match=said):
        carry_out(tmp_path, tiny(stages=stages))


def test_labelled_2d_that_is_withheld_cannot_be_used(tmp_path):
    recipe = tiny(stages={"labels": Stage(label=LabelStage(source="studio", keypoints="labelled"))})
    recipe.sources["studio"].keypoints = False
    with pytest.raises(VergenceError, match="is visible"):
        carry_out(tmp_path, recipe)


def refining(**changes) -> Recipe:
    recipe = tiny()
    recipe.sources["labelled"] = make_source(
        kind="world_recordings", look="studio", subjects=2, frames_per_subject=8, views=[3], seed=7, pose="all"
    )
    recipe.sources["poses"] = dataclasses.replace(recipe.sources["labelled"], seed=8, pose="1")
    stage = RefineStage(sources=["labelled"], poses=["poses"], steps=20, width=16)
    recipe.stages = {
        "keypoints": recipe.stages["keypoints"], "refinement": Stage(refine=dataclasses.replace(stage, **changes))
    }  # fmt: skip
    return recipe


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    return carry_out(tmp_path_factory.mktemp("refined") / "run", refining())


def test_a_refined_run_is_saved_loaded_and_applied(refined, tmp_path):
    shutil.copytree(refined.folder, tmp_path / "moved")
    estimator = load(tmp_path / "moved")
    assert isinstance(estimator.method, Refined)
    about = estimator.method.protocol["refinement_unit"]
    assert about["uses_3d_labels"] is True
    assert (about["images"], about["poses_without_images"]) == (48, 24)  # of one subject's pose alone
    assert about["sources"] == ["labelled"]
    views = refined.dataset("labelled").read(torch.arange(5))
    found = estimator(views.image, views.intrinsics)
    plain = estimator.method.method.predict(views.image, views.intrinsics)
    assert torch.allclose(found.keypoints, plain.keypoints)
    assert not torch.allclose(found.pose, plain.pose, atol=1e-3)
    assert torch.allclose(found.pose, estimator.method.unit(plain.pose), atol=1e-5)


def test_a_finished_refinement_is_not_made_again(refined, tmp_path, monkeypatch):
    shutil.copytree(refined.folder, tmp_path / "again")

    def never(*_, **__):
        raise AssertionError("done again")

    for place, name in ((runs, "train_stage"), (runs, "train_unit"), (stage_cache, "open_source")):
        monkeypatch.setattr(place, name, never)
    carry_out(tmp_path / "again", refining())
    ours, theirs = (load_file(f / "refinement.safetensors") for f in (refined.folder, tmp_path / "again"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_labels_that_are_withheld_refine_nothing(tmp_path):
    recipe = refining()
    recipe.sources["labelled"].pose = "none"
    with pytest.raises(VergenceError, match="0 images with a 3D label"):
        carry_out(tmp_path, recipe)


def test_pseudo_labels_refine_without_any_true_one(tmp_path):
    recipe = tiny()
    recipe.sources["studio"].frames_per_subject = 16
    assert recipe.sources["studio"].pose == "none"
    stage = RefineStage(sources=["studio"], labels=["labels"], images=40, steps=5, width=8)
    recipe.stages["refinement"] = Stage(refine=stage)
    run = carry_out(tmp_path, recipe)
    about = load(tmp_path).method.protocol["refinement_unit"]
    assert (about["uses_3d_labels"], about["labels_made"], about["images"]) == (False, 40, 40)
    assert about["poses_without_images"] == 0
    before = run.prints["refinement"]
    run.recipe.stages["labels"].label.frames = 7
    run.prints["labels"] = run._fingerprint("labels")
    assert run._fingerprint("refinement") != before
    stage.labels = ["nothing"]
    with pytest.raises(VergenceError, match="no label stage 'nothing'"):
        carry_out(tmp_path / "other", recipe)


def test_a_refinement_is_the_last_of_all(tmp_path):
    recipe = refining()
    recipe.stages = {name: recipe.stages[name] for name in ("refinement", "keypoints")}
    with pytest.raises(VergenceError, match="refines a finished method"):
        carry_out(tmp_path, recipe)
    recipe = refining()
    recipe.stages["more"] = recipe.stages["keypoints"]
    with pytest.raises(VergenceError, match="'more' follows"):
        carry_out(tmp_path / "b", recipe)
    with pytest.raises(VergenceError, match="exactly one"):
        Stage(train=TrainStage(), refine=RefineStage())


def test_gradients_are_clipped_in_mixed_precision_too(tmp_path):
    """Lightning refuses to clip for a fused optimizer there."""
    stages = {"only": Stage(train=TrainStage(steps=2, batch={"wild": 3}, losses=LOSSES, grad_clip=1.0))}
    carry_out(tmp_path, tiny(stages=stages, precision="bf16-mixed"))
    assert load(tmp_path).image_size == 32


def test_zhous_method_trains_on_both_networks(tmp_path):
    for name, network in {
        "ours": tiny().network,
        "hourglass": NetworkSettings(backbone="hourglass", width=16, stacks=1, modules=1),
    }.items():
        losses = {"heatmap": 1.0, "depth": 0.1, "geometry": 0.01}
        stages = {"all": Stage(train=TrainStage(steps=3, batch={"wild": 3, "studio": 3}, losses=losses))}
        recipe = tiny(method="geometric_constraint", network=network, stages=stages)
        recipe.sources["studio"].pose = "all"
        run = carry_out(tmp_path / name, recipe)
        views = run.dataset("wild").read(torch.arange(3))
        found = load(run.folder)(views.image, views.intrinsics)
        assert found.pose.isfinite().all()
        lines = (run.folder / "stages" / "all" / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[0])["geometry"] > 0


RATIOS = {
    "hip": 0.25, "knee": 0.88, "ankle": 0.89, "spine": 0.47, "thorax": 0.53, "neck_nose": 0.24, "head_top": 0.43,
    "shoulder": 0.34, "elbow": 0.59, "wrist": 0.54,
}  # fmt: skip


def test_multi_view_consistency_with_made_2d_and_found_cameras(tmp_path):
    """2D from the pre-trained network, rotations from labelled 2D, no 3D anywhere; whole time steps in every batch."""
    base = tiny()
    stages = {
        "keypoints": base.stages["keypoints"],
        "regularisation": Stage(label=LabelStage(source="studio", stores="keypoints", confidence=0.05)),
        "cameras": Stage(label=LabelStage(source="studio", keypoints="labelled", stores="cameras")),
        "pose": Stage(
            train=TrainStage(
                steps=6,
                batch={"wild": 3, "studio": 6},
                losses={"heatmap": 1.0, "consistency": 10.0, "limbs": 10.0, "bend": 1.0},
                labels=["regularisation", "cameras"],
                augmentation=Augmentation(mirror=0.5, rotation=10),
                multiview=MultiView(limb_ratios=RATIOS, rotations="given", root_depth="limbs", confidence=0.0),
            )
        ),
    }
    run = carry_out(tmp_path, dataclasses.replace(base, method="multiview_consistency", stages=stages))
    part = run._part("studio", stages["pose"].train, 6, True)
    assert part.visible.pose.isnan().all()
    assert not part.visible.pseudo.any()
    seen, true = part.visible.rotation, run.dataset("studio").index.rotation
    assert seen.isfinite().all()
    relative, truth = seen[0] @ seen[1].T, true[0] @ true[1].T
    assert float(torch.trace(relative.T @ truth)) > 1 + 2 * 0.999
    batch = Mixture([part], seed=0).batch(0)
    assert batch.groups()[1].shape == (2, 3)
    rows = [json.loads(line) for line in (tmp_path / "stages" / "pose" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["consistency"] > 0
    assert rows[0]["rotations_given"] == 1
    assert "reference_bone_tilt" in rows[0]
    assert load(tmp_path).method.predict(torch.zeros(1, 3, 32, 32), torch.eye(3)[None]).pose.shape == (1, 17, 3)


def calibrating(**changes):
    recipe = tiny()
    studio = recipe.sources["studio"]
    recipe.sources["held_out"] = dataclasses.replace(studio, seed=9, subjects=4)
    stages = dict(recipe.stages)
    stages["held_labels"] = Stage(label=LabelStage(source="held_out", keypoints="labelled"))
    given = {"sources": ["held_out"], "labels": ["held_labels"], "usual": ["studio"], **changes}
    return dataclasses.replace(recipe, stages={**stages, "errors": Stage(calibrate=CalibrateStage(**given))})


def test_a_run_calibrates_itself_on_made_labels_and_keeps_that(tmp_path, monkeypatch):
    run = carry_out(tmp_path / "run", calibrating())
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found = load(run.folder)(images)
    assert found.error_90.isfinite().any()
    assert found.strangeness.isfinite().all()
    monkeypatch.setattr("vergence.training.run.calibrated", None)
    again = carry_out(tmp_path / "run", calibrating())
    torch.testing.assert_close(load(again.folder)(images).error, found.error, equal_nan=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ["studio"]}, "'studio' of stage 'errors' is trained on.*Give calibrate.sources"),
        ({"sources": []}, "has no source"),
        ({"usual": ["held_out"]}, "calls 'held_out' usual.*studio"),
        ({"labels": ["none"]}, "no label stage 'none'"),
    ],
)
def test_a_stage_that_would_flatter_is_refused(changes, message):
    with pytest.raises(VergenceError, match=message):
        check_recipe(calibrating(**changes))


def test_it_comes_last():
    recipe = calibrating()
    stages = recipe.stages
    recipe.stages = {"errors": stages.pop("errors"), **stages}
    with pytest.raises(VergenceError, match="calibrates a finished method"):
        check_recipe(recipe)
