"""What runs share: equal to what each would have made alone, and never where anything that matters differs."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

import vergence.training.run as runs
import vergence.training.stage_cache as shared_module
from vergence.batches.sampler import Mixture
from vergence.errors import VergenceError
from vergence.files import write_json
from vergence.recipes.recipe import (
    Draw,
    LabelStage,
    NetworkSettings,
    Recipe,
    RefineStage,
    Source,
    Stage,
    TrainStage,
)
from vergence.recipes.settings import Augmentation, MultiView
from vergence.recipes.typed import make_source
from vergence.training import checks
from vergence.training.run import Run
from vergence.training.stage_cache import Shared, images_of

RATIOS = {
    "hip": 0.25, "knee": 0.88, "ankle": 0.89, "spine": 0.47, "thorax": 0.53, "neck_nose": 0.24, "head_top": 0.43,
    "shoulder": 0.34, "elbow": 0.59, "wrist": 0.54,
}  # fmt: skip
LABELLED = {"labelled": Draw(source="studio", labelled=True)}
# For each method what of the studio it sees, and its last stage.
LAST = {
    "supervised": ("all", TrainStage(batch={"wild": 2, "studio": 3}, losses={"heatmap": 1.0, "depth": 1.0})),
    "epipolar_pose": ("none", TrainStage(batch={"studio": 3}, labels=["made"], losses={"heatmap": 1.0, "depth": 1.0})),
    "multiview_consistency": (
        "none",
        TrainStage(
            batch={"wild": 2, "studio": 6},
            losses={"heatmap": 1.0, "consistency": 1.0, "limbs": 1.0},
            multiview=MultiView(limb_ratios=RATIOS, confidence=0.0),
        ),
    ),
    "geometric_constraint": (
        "2",
        TrainStage(batch={"labelled": 3}, draw=LABELLED, losses={"depth": 1.0, "geometry_3d": 1.0}),
    ),
    "mcss": ("1", TrainStage(batch={"labelled": 3}, draw=LABELLED, losses={"pose": 1.0}, frozen=["network"])),
}


def recipe_of(method: str, **changes) -> Recipe:
    shows, last = LAST[method]
    studio = make_source(
        kind="world_recordings", look="studio", subjects=3, frames_per_subject=6, views=[3], seed=2, pose=shows
    )
    first = TrainStage(
        steps=5, batch={"wild": 5}, losses={"heatmap": 1.0, "coordinates": 0.1}, augmentation=Augmentation(mirror=0.5)
    )
    stages = {
        "keypoints": Stage(train=first),
        "made": Stage(label=LabelStage(source="studio", keypoints="predicted", stores="keypoints")),
        "last": Stage(train=dataclasses.replace(copy.deepcopy(last), steps=3)),
    }
    if method == "mcss":
        del stages["made"]  # it makes no labels
    recipe = Recipe(
        method=method,
        image_size=32,
        network=NetworkSettings(
            embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8, pose_embedding=8, pose_hidden=8
        ),
        sources={"wild": make_source(count=20, seed=1, keypoints=True), "studio": studio},
        stages=stages,
        checkpoint_every=2,
    )
    return dataclasses.replace(recipe, **changes)


def carry_out(recipe: Recipe, folder, shared: Shared | None = None) -> Run:
    run = Run(recipe, folder, "cpu", shared=shared)
    run.execute()
    return run


def prints(recipe: Recipe, folder) -> dict[str, str]:
    """Fingerprints of all stages, without doing any."""
    run = Run(recipe, folder, "cpu")
    for name in recipe.stages:
        run.prints[name] = run._fingerprint(name)
    return run.prints


def assert_same(a, b):
    one, other = load_file(a), load_file(b)
    assert set(one) == set(other)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The reference's run, with what it leaves for others."""
    folder = tmp_path_factory.mktemp("shared")
    shared = Shared(folder / "shared")
    return carry_out(recipe_of("supervised"), folder / "run", shared), shared


@pytest.mark.parametrize("method", LAST)
def test_a_shared_stage_equals_the_unshared_one_bit_for_bit(first, tmp_path, monkeypatch, method):
    """2D stage and label file come from another method's run, and the result is that of a run that made all itself."""
    alone = carry_out(recipe_of(method), tmp_path / "alone")
    made, trained = [], runs.train_stage

    def counted(method, mixture, stage, *words, **more):
        made.append(stage.steps)
        trained(method, mixture, stage, *words, **more)

    monkeypatch.setattr(runs, "train_stage", counted)
    monkeypatch.setattr(runs, "find_keypoints", None)  # nobody may look for joints again
    together = carry_out(recipe_of(method), tmp_path / "together", first[1])
    assert made == ([] if method == "supervised" else [3])  # of the reference everything is there
    assert together.prints == alone.prints
    for stage in ("keypoints", "last"):
        file = f"stages/{stage}/model.safetensors"
        assert_same(tmp_path / "alone" / file, tmp_path / "together" / file)
    assert_same(tmp_path / "alone" / "model.safetensors", tmp_path / "together" / "model.safetensors")
    for name, labels in alone.labels.items():
        for field in ("key", "pose", "weight", "keypoints", "intrinsics"):
            ours, theirs = (getattr(run.labels[name], field).nan_to_num(-1) for run in (alone, together))
            assert torch.equal(ours, theirs), field
        assert labels.report.keys() == together.labels[name].report.keys()


def test_the_truth_stays_whole_after_methods_that_see_little_of_it(first):
    shared = first[1]
    source = recipe_of("multiview_consistency").sources["studio"]
    index = shared.open(source, 32, "h36m_17").index
    assert index.pose.isfinite().all()
    assert index.rotation.isfinite().all()
    assert index.keypoints.isfinite().float().mean() > 0.8


def test_seconds_go_with_a_stage(first, tmp_path):
    run, shared = first
    other = carry_out(recipe_of("multiview_consistency"), tmp_path / "run", shared)
    assert run.seconds["keypoints"] > 0
    assert other.seconds["keypoints"] == run.seconds["keypoints"]
    assert other.seconds["made"] == run.seconds["made"]
    assert other.cpu_seconds["keypoints"] == run.cpu_seconds["keypoints"] > 0
    assert {"keypoints", "made", "last"} <= set(other.seconds)


def changed(path: str, value):
    """A change of one setting of the recipe, by its path."""

    def change(recipe: Recipe) -> None:
        *way, last = path.split(".")
        at = recipe
        for key in way:
            at = at[key] if isinstance(at, dict) else getattr(at, key)
        if isinstance(at, dict):
            at[last] = value
        else:
            object.__setattr__(at, last, value)

    return change


EVERY = {"keypoints", "made", "last"}


@pytest.mark.parametrize(
    ("path", "value", "touched"),
    [
        # of all
        ("seed", 1, EVERY),
        ("image_size", 48, EVERY),
        ("precision", "bf16-mixed", EVERY),
        ("network.width", 16, EVERY),
        ("network.head", "volume", EVERY),
        ("sources.wild.seed", 9, EVERY),
        ("sources.wild.count", 21, EVERY),
        ("sources.wild.occlusion", 0.5, EVERY),
        ("stages.keypoints.train.steps", 6, EVERY),
        ("stages.keypoints.train.losses.heatmap", 2.0, EVERY),
        ("stages.keypoints.train.augmentation.mirror", 0.25, EVERY),
        ("stages.keypoints.train.optimizer", "muon", EVERY),
        ("stages.keypoints.train.batch.wild", 6, EVERY),
        # of what reads the studio
        ("sources.studio.subjects", 4, {"made", "last"}),
        ("sources.studio.seed", 5, {"made", "last"}),
        ("stages.made.label.confidence", 0.5, {"made", "last"}),
        # of who sees its labels: a label stage sees no 3D, and 2D only where that is what makes the labels
        ("sources.studio.pose", "1", {"last"}),
        ("sources.studio.keypoints", True, {"last"}),
        # of the method, once it does more than 2D
        ("method", "supervised", {"last"}),
        ("stages.last.train.learning_rate", 1.0, {"last"}),
        ("stages.last.train.losses.depth", 2.0, {"last"}),
        # of none
        ("checkpoint_every", 7, set()),
        ("network.pose_embedding", 16, set()),
        ("test", {"wild": make_source(count=3, seed=9, pose="all")}, set()),
    ],
)
def test_a_fingerprint_is_of_what_matters_and_of_nothing_else(tmp_path, path, value, touched):
    recipe = recipe_of("epipolar_pose")
    before = prints(recipe, tmp_path / "a")
    assert before == prints(copy.deepcopy(recipe), tmp_path / "again")
    changed(path, value)(recipe)
    after = prints(recipe, tmp_path / "b")
    assert {name for name in before if before[name] != after[name]} == touched


def test_the_order_of_a_batch_and_of_losses_matters(tmp_path):
    """Sums in another order are other sums."""
    one, other = recipe_of("supervised"), recipe_of("supervised")
    stage = other.stages["last"].train
    stage.batch = dict(reversed(stage.batch.items()))
    assert prints(one, tmp_path / "a")["last"] != prints(other, tmp_path / "b")["last"]
    other = recipe_of("supervised")
    other.stages["last"].train.losses = {"depth": 1.0, "heatmap": 1.0}
    assert prints(one, tmp_path / "a")["last"] != prints(other, tmp_path / "c")["last"]


def test_labels_that_use_2d_see_whether_it_is_shown(tmp_path):
    recipe = recipe_of("epipolar_pose")
    recipe.stages["made"].label.keypoints = "labelled"
    with pytest.raises(VergenceError, match="none of source 'studio' is visible"):
        prints(recipe, tmp_path / "a")
    recipe.sources["studio"].keypoints = True
    shown = prints(recipe, tmp_path / "c")["made"]
    recipe.stages["keypoints"].train.steps = 9  # no network finds these joints
    assert prints(recipe, tmp_path / "d")["made"] == shown
    recipe.sources["studio"].pose = "2"
    assert prints(recipe, tmp_path / "e")["made"] == shown


def test_only_stages_of_plain_2d_are_carried_out_as_supervised():
    def carrier(recipe: Recipe, stage: str = "keypoints") -> str:
        return checks.carrier(recipe, stage)

    for method in LAST:
        recipe = recipe_of(method)
        assert carrier(recipe) == "supervised"
        assert carrier(recipe, "last") == method
    own = recipe_of("mcss")
    own.stages["keypoints"].train.losses["metric"] = 0.0  # it watches a term of its own
    assert carrier(own) == "mcss"
    frozen = recipe_of("mcss")
    frozen.stages["keypoints"].train.frozen = ["embed"]
    assert carrier(frozen) == "mcss"
    later = recipe_of("mcss")  # 2D alone, but on top of what is the method's own
    later.stages["again"] = copy.deepcopy(later.stages["keypoints"])
    assert carrier(later, "again") == "mcss"
    later.stages["again"].train.start = "scratch"
    assert carrier(later, "again") == "supervised"
    hourglass = recipe_of("geometric_constraint", network=NetworkSettings(backbone="hourglass", width=16, stacks=1))
    assert carrier(hourglass) == "geometric_constraint"


def test_an_embedding_keeps_its_own_parts_when_it_takes_the_network(first, tmp_path):
    run = carry_out(recipe_of("mcss"), tmp_path / "run", first[1])
    before = run._left_by("keypoints", "mcss")
    fresh = run._fresh()
    assert bool(before.finds_joints)
    assert torch.equal(before.embed[0].weight, fresh.embed[0].weight)
    assert not torch.equal(before.network.head.weight, fresh.network.head.weight)
    after = run._left_by("last", "mcss")
    assert torch.equal(after.network.head.weight, before.network.head.weight)  # frozen
    assert not torch.equal(after.embed[0].weight, before.embed[0].weight)
    assert bool(after.finds_joints)


def test_a_refinement_unit_is_shared_with_what_it_was_made_with(tmp_path):
    recipe = recipe_of("supervised")
    recipe.stages = {
        "keypoints": recipe.stages["keypoints"],
        "unit": Stage(refine=RefineStage(sources=["studio"], steps=3, width=8)),
    }
    shared = Shared(tmp_path / "shared")
    one, other = (carry_out(recipe, tmp_path / name, shared) for name in ("one", "other"))
    assert_same(one.folder / "refinement.safetensors", other.folder / "refinement.safetensors")
    made = [json.loads((run.folder / "config.json").read_text())["refinement"] for run in (one, other)]
    assert made[0] == made[1]
    assert made[0]["images"] == 54


class Killed(BaseException):
    pass


def test_a_killed_stage_goes_on_and_is_shared_when_it_is_whole(first, tmp_path, monkeypatch):
    real, shared = Mixture.batch, Shared(tmp_path / "shared")

    def batch(self, number):
        if number == 3:
            raise Killed
        return real(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Mixture, "batch", batch)
        with pytest.raises(Killed):
            carry_out(recipe_of("supervised"), tmp_path / "cut", shared)
    assert not list(shared.folder.glob("*"))
    clock = tmp_path / "cut" / "stages" / "keypoints.seconds.json"
    write_json(clock, {"made_by": prints(recipe_of("supervised"), tmp_path / "p")["keypoints"], "seconds": 1000.0})
    run = carry_out(recipe_of("supervised"), tmp_path / "cut", shared)
    assert 1000 < run.seconds["keypoints"] < 1200  # of both sittings
    assert not clock.exists()
    assert_same(run.folder / "model.safetensors", first[0].folder / "model.safetensors")
    assert len(list(shared.folder.glob("*"))) == 3  # two stages and a label file


def test_a_kill_between_a_stage_and_its_sharing_is_made_good(first, tmp_path, monkeypatch):
    shared = Shared(tmp_path / "shared")

    def copy(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shared_module.shutil, "copyfile", copy)
        with pytest.raises(Killed):
            carry_out(recipe_of("supervised"), tmp_path / "cut", shared)
    (half,) = shared.folder.iterdir()
    checkpoint = tmp_path / "cut" / "stages" / "keypoints" / "last.ckpt"
    checkpoint.touch()  # as by a kill just before
    carry_out(recipe_of("supervised"), tmp_path / "cut", shared)
    assert not half.exists()
    assert not checkpoint.exists()
    assert len(list(shared.folder.iterdir())) == 3


def test_images_are_opened_once_for_all_who_see_different_labels(tmp_path, monkeypatch):
    opened = []
    real = shared_module.open_source
    monkeypatch.setattr(shared_module, "open_source", lambda *words: opened.append(words) or real(*words))
    shared = Shared(tmp_path)
    source = make_source(count=4, seed=1)
    first = shared.open(source, 32, "h36m_17")
    assert shared.open(dataclasses.replace(source, keypoints=True, pose="2"), 32, "h36m_17") is first
    assert len(opened) == 1
    for other in ({"seed": 2}, {"count": 5}, {"look": "studio"}, {"occlusion": 0.5}):
        assert shared.open(dataclasses.replace(source, **other), 32, "h36m_17") is not first
    assert shared.open(source, 48, "h36m_17") is not first
    shared.forget()
    assert shared.open(source, 32, "h36m_17") is not first


def test_every_setting_of_a_source_but_the_two_that_hide_labels_makes_its_images():
    hidden = {"keypoints": True, "pose": "all"}
    usual = make_source()
    for field in dataclasses.fields(Source):
        if field.name in hidden:
            assert images_of(dataclasses.replace(usual, **{field.name: hidden[field.name]})) == images_of(usual)
        else:
            assert field.name in images_of(usual)
