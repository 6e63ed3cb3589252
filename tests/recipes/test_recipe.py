"""Recipes refuse what makes no sense, with a sentence; every key is documented where it stands."""

from __future__ import annotations

import dataclasses

import pytest

from vergence.errors import VergenceError
from vergence.recipes.recipe import LabelStage, NetworkSettings, Recipe, Source, Stage, TrainStage


@pytest.mark.parametrize("pose", ["none", "all", "0", "3"])
def test_3d_labels_by_word_or_number(pose):
    assert Source(pose=pose).pose == pose


@pytest.mark.parametrize("pose", ["some", "-1", "1.5", ""])
def test_other_words_for_3d_labels_are_refused(pose):
    with pytest.raises(VergenceError, match=r"source\.pose"):
        Source(pose=pose)


def test_3d_labels_by_name_are_those_of_datasets():
    assert Source(kind="human36m", path="x", pose="S1,S5").named == ("S1", "S5")
    assert Source(kind="human36m", path="x", pose="2").named == ()
    with pytest.raises(VergenceError, match=r"source\.pose is 'S1'"):
        Source(pose="S1")


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
        Source(kind="capture")


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
        Recipe(sources={"studio": Source()}, stages={"x": stage})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [NetworkSettings, Source, TrainStage, LabelStage, Stage, Recipe])
def test_every_key_is_documented_where_it_stands(kind):
    documented = {line.strip().split(":")[0] for line in kind.__doc__.splitlines() if ":" in line}
    documented |= {name for line in documented for name in line.split(", ")}
    assert {field.name for field in dataclasses.fields(kind)} <= documented


def test_defaults_are_not_shared():
    one, other = Recipe(), Recipe()
    one.network.hidden_sizes.append(7)
    one.sources["a"] = Source()
    assert 7 not in other.network.hidden_sizes
    assert other.sources == {}
