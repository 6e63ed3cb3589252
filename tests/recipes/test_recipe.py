"""Recipes refuse what makes no sense, with a sentence; every key is documented where it stands."""

from __future__ import annotations

import dataclasses

import pytest

from vergence import plugins
from vergence.errors import VergenceError
from vergence.recipes.recipe import (
    Draw,
    LabelStage,
    MetricLoss,
    NetworkSettings,
    Recipe,
    RefineStage,
    Stage,
    TrainStage,
)
from vergence.recipes.typed import make_source


@pytest.mark.parametrize("pose", ["none", "all", "0", "3"])
def test_3d_labels_by_word_or_number(pose):
    assert make_source(pose=pose).pose == pose


@pytest.mark.parametrize("pose", ["some", "-1", "1.5", ""])
def test_other_words_for_3d_labels_are_refused(pose):
    with pytest.raises(VergenceError, match=r"source\.pose"):
        make_source(pose=pose)


def test_3d_labels_by_name_are_those_of_datasets():
    assert make_source(kind="human36m", path="x", pose="S1,S5").named == ("S1", "S5")
    assert make_source(kind="human36m", path="x", pose="2").named == ()
    with pytest.raises(VergenceError, match=r"source\.pose is 'S1'"):
        make_source(pose="S1")


@pytest.mark.parametrize(
    "wrong",
    [{"no_augment": ["b"]}, {"milestones": [0.5]}, {"schedule": "steps", "milestones": [1.0]}],
    ids=["nobody", "cosine", "end"],
)
def test_a_stage_whose_keys_do_not_fit_each_other_is_refused(wrong):
    with pytest.raises(VergenceError, match=next(reversed(wrong))):
        TrainStage(batch={"a": 1}, **wrong)


def test_a_capture_needs_its_folder():
    with pytest.raises(VergenceError, match="no path"):
        make_source(kind="capture")


def test_a_stage_is_one_thing():
    with pytest.raises(VergenceError, match="exactly one"):
        Stage()
    with pytest.raises(VergenceError, match="exactly one"):
        Stage(train=TrainStage(), label=LabelStage())


@pytest.mark.parametrize(
    "stage",
    [Stage(train=TrainStage(batch={"studo": 3})), Stage(label=LabelStage(source="studo"))],
    ids=["train", "label"],
)
def test_a_stage_that_reads_no_source_of_the_recipe_is_refused(stage):
    with pytest.raises(VergenceError, match=r"stage 'x' reads source 'studo'.*Its sources are studio") as caught:
        Recipe(sources={"studio": make_source()}, stages={"x": stage})
    assert "\n" not in str(caught.value)


KINDS = [plugins.datasets[name] for name in plugins.datasets]
SETTINGS = [NetworkSettings, Draw, MetricLoss, TrainStage, LabelStage, RefineStage, Stage, Recipe]


@pytest.mark.parametrize("kind", [*SETTINGS, *KINDS])
def test_every_key_is_documented_where_it_stands(kind):
    lines = [line for one in kind.__mro__ for line in (one.__doc__ or "").splitlines()]
    documented = {line.strip().split(":")[0] for line in lines if ":" in line}
    documented |= {name for line in documented for name in line.split(", ")}
    assert {field.name for field in dataclasses.fields(kind)} <= documented


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"kind": "coco", "path": "x", "step": 5},
            "of kind coco has no key step. Keys there: kind, keypoints, pose, path,",
        ),
        ({"kind": "capture", "path": "x", "split": "test"}, "of kind capture has no key split"),
        ({"kind": "human36m", "path": "x", "universal": True}, "of kind human36m has no key universal"),
        ({"kind": "world_images", "subjects": 3}, "of kind world_images has no key subjects"),
        ({"kind": "world_recordings", "subject": 3}, "has no key subject. Did you mean subjects?"),
        ({"kind": "films"}, "kind: no kind of source is called 'films'"),
    ],
)
def test_a_key_that_a_kind_does_not_know_is_refused(settings, said):
    with pytest.raises(VergenceError) as caught:
        make_source(**settings)
    assert said in str(caught.value)


def test_what_is_asked_of_every_source_has_an_answer():
    world, capture = make_source(), make_source("capture", path="x")
    assert (world.path, world.protocol, world.scale, capture.seed, capture.split) == ("", "", "training", 0, "")
    assert "path" not in dataclasses.asdict(world)
    assert [
        kind for kind in plugins.datasets if make_source(kind, **NEEDED.get(kind, {"path": "x"})).kind != kind
    ] == []


NEEDED = {"world_images": {}, "world_recordings": {}, "world_static": {}}


def test_every_seed_has_its_own_people_and_the_same_files():
    recipe = Recipe(sources={"a": make_source(seed=1), "b": make_source("coco", path="x")})
    other = recipe.at_seed(2)
    assert (other.seed, other.sources["a"].seed, other.sources["b"]) == (2, 21, recipe.sources["b"])


def test_defaults_are_not_shared():
    one, other = Recipe(), Recipe()
    one.network.hidden_sizes.append(7)
    one.sources["a"] = make_source()
    assert 7 not in other.network.hidden_sizes
    assert other.sources == {}
