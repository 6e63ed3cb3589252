"""What is compared, and what may be."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

import pytest
import yaml

from vergence.comparison.entries import (
    Entry,
    check_comparable,
    labels_3d,
    ladder,
    merged,
    read_entries,
    read_set,
    slot_of,
    vary,
)
from vergence.errors import VergenceError
from vergence.recipes.load import read_yaml
from vergence.recipes.recipe import Recipe, Stage, TrainStage
from vergence.recipes.typed import make_source
from vergence.training.run import Run
from vergence.training.stage_cache import Shared, images_of

BUILT_IN_SET = Path(str(resources.files("vergence"))) / "recipes" / "sets" / "compare.yaml"


def recipe(**changes) -> Recipe:
    usual = Recipe(
        image_size=32,
        sources={
            "wild": make_source(count=4, seed=1, keypoints=True),
            "studio": make_source(
                kind="world_recordings", subjects=3, frames_per_subject=2, views=[2], seed=2, pose="2"
            ),
        },
        test={"studio": make_source(kind="world_recordings", subjects=2, seed=3, pose="all")},
        stages={"pose": Stage(train=TrainStage(steps=2, batch={"wild": 2, "studio": 2}, losses={"depth": 1.0}))},
    )
    return dataclasses.replace(usual, **changes)


# Sets


def test_one_recipe_is_written_over_another_key_by_key():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merged(base, {"a": {"c": [9]}, "e": 4}) == {"a": {"b": 1, "c": [9]}, "d": 3, "e": 4}
    assert merged(base, {"a": None}) == {"d": 3}
    assert merged(base, {"a": {"b": None}}) == {"a": {"c": [1, 2]}, "d": 3}
    assert merged(base, {"d": {"x": 1}})["d"] == {"x": 1}
    assert list(merged({"first": {}, "last": {}}, {"more": {}, "first": {"x": 1}})) == ["first", "last", "more"]
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_the_built_in_set_is_sound_and_shares_its_images_tests_and_first_stage(tmp_path):
    entries = read_entries([])
    assert [entry.name for entry in entries] == [
        "supervised", "epipolar_pose", "multiview_consistency", "mcss", "geometric_constraint", "vergence"
    ]  # fmt: skip
    check_comparable(entries)
    first = entries[0].recipe
    made_by, steps = set(), {}
    for entry in entries:
        recipe = entry.recipe
        assert recipe.method == ("epipolar_pose" if entry.name == "vergence" else entry.name)
        for name in ("wild", "studio"):
            assert images_of(recipe.sources[name]) == images_of(first.sources[name])
        steps[entry.name] = sum(stage.train.steps for stage in recipe.stages.values() if stage.train)
        if entry.name != "mcss":  # which learns no 2D
            assert next(iter(recipe.stages)) == "keypoints"
            made_by.add(Run(recipe, tmp_path / entry.name, "cpu")._fingerprint("keypoints"))
    assert len(made_by) == 1
    assert (
        len({steps[n] for n in ("supervised", "epipolar_pose", "multiview_consistency", "geometric_constraint")}) == 1
    )
    assert steps["vergence"] < steps["supervised"]  # its refinement unit takes time as well
    shown = {entry.name: entry.recipe.sources["studio"].pose for entry in entries}
    assert shown == {
        "supervised": "all", "epipolar_pose": "none", "multiview_consistency": "none", "mcss": "1",
        "geometric_constraint": "8", "vergence": "none",
    }  # fmt: skip
    assert not any(source.pose != "none" for source in entries[-1].recipe.sources.values())


@pytest.mark.parametrize(
    ("name", "variant", "differs"),
    [
        ("multiview_consistency", "few_labels_and_views", "sources.wild.count"),
        ("mcss", "mcss_baseline", "stages.pose.train.losses.metric"),
        ("geometric_constraint", "geometric_constraint_large", "stages.geometry.train.losses.geometry"),
        ("vergence", "vergence_one_peak", "stages.labels.label.peaks"),
    ],
)
def test_a_variant_differs_where_its_name_says(name, variant, differs):
    one, other = read_entries([], [name, variant])
    check_comparable([one, other])
    a, b = (dataclasses.asdict(entry.recipe) for entry in (one, other))
    *path, last = differs.split(".")
    for key in path:
        a, b = a[key], b[key]
    assert a[last] != b[last]
    a[last] = b[last]
    whole = [dataclasses.asdict(entry.recipe) for entry in (one, other)]
    for side, part in zip(whole, (a, b), strict=True):
        for key in path[:-1]:
            side = side[key]
        side[path[-1]] = part
    assert whole[0] == whole[1]


def test_all_variants_can_be_compared():
    entries = read_entries([], list(read_yaml(BUILT_IN_SET)["variants"]))
    check_comparable(entries)
    few, alone = (e.recipe for e in read_entries([], ["few_labels_and_views", "few_labels_alone"]))
    assert few.sources["wild"] == alone.sources["wild"]
    total = [sum(stage.train.steps for stage in r.stages.values() if stage.train) for r in (few, alone)]
    assert total[0] == total[1]


def test_names_paths_and_sets_may_be_mixed(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"method": "supervised", "image_size": 64}))
    (tmp_path / "set.yaml").write_text(
        yaml.safe_dump({"base": {"image_size": 48}, "methods": {"a": {}, "b": {"recipe": "demo", "seed": 5}}})
    )
    words = ["supervised", str(tmp_path / "mine.yaml"), str(tmp_path / "set.yaml")]
    entries = {entry.name: entry.recipe for entry in read_entries(words, overrides=["--precision=16-mixed"])}
    assert list(entries) == ["supervised", "mine", "a", "b"]
    assert entries["supervised"].image_size == entries["b"].image_size == 96
    assert (entries["mine"].image_size, entries["a"].image_size) == (64, 48)
    assert entries["b"].seed == 5
    assert {one.precision for one in entries.values()} == {"16-mixed"}
    assert [entry.name for entry in read_entries(words, only=["a", "mine"])] == ["mine", "a"]


@pytest.mark.parametrize(
    ("words", "only", "said"),
    [
        (["nosuch"], [], "no recipe 'nosuch'"),
        (["supervised"], ["mcss"], r"nothing to compare is called 'mcss'. There are supervised"),
        (["supervised", "supervised"], [], "two things to compare are called 'supervised'"),
    ],
)
def test_what_is_not_there_is_named(words, only, said):
    with pytest.raises(VergenceError, match=said):
        read_entries(words, only)


@pytest.mark.parametrize(
    "text",
    [
        "methods: []",
        "methods: {}",
        "{methods: {a: {}}, metods: {}}",
        "{methods: {a: {imagesize: 3}}}",
        "{methods: {a b: {}}}",
    ],
)
def test_a_set_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises(VergenceError, match=r"set\.yaml|imagesize|a b"):
        read_entries([str(tmp_path / "set.yaml")])


def test_a_folder_that_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(VergenceError, match=r"is not a finished run: it has no config\.json"):
        read_entries([str(tmp_path)])


def test_a_set_reads_what_it_writes_over(tmp_path):
    (tmp_path / "set.yaml").write_text("{base: {seed: 3}, methods: {a: ~, b: {seed: 4}}}")
    assert read_set(tmp_path / "set.yaml") == {"a": {"seed": 3}, "b": {"seed": 4}}


# Comparable or not


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_size": 48}, "image_size is 32 in a and 48 in b"),
        (
            {"test": {"studio": make_source(kind="world_recordings", subjects=3, seed=3, pose="all")}},
            r"test\.studio\.subjects",
        ),
        ({"test": {}}, r"test\.studio"),
    ],
)
def test_other_tests_are_not_comparable_and_the_difference_is_named(changes, said):
    entries = [Entry("a", recipe()), Entry("b", recipe(**changes))]
    with pytest.raises(VergenceError, match=f"a and b are not comparable: .*{said}"):
        check_comparable(entries)
    if "test" not in changes:
        return
    check_comparable([entries[0], dataclasses.replace(entries[1], run="folder")])  # a run is measured on the first's


def test_nothing_to_measure_on_is_refused():
    with pytest.raises(VergenceError, match="a has no test sets"):
        check_comparable([Entry("a", recipe(test={}))])
    images = make_source(kind="mpii", path="mpii", protocol="mpii-pckh", keypoints=True)
    with pytest.raises(VergenceError, match="'people' is measured by mpii-pckh, which knows no 3D"):
        check_comparable([Entry("a", recipe(test={"people": images}))])


def test_a_run_is_measured_on_its_own_seeds_tests_and_never_on_people_it_was_trained_on():
    base = recipe()
    assert slot_of(Entry("x", base.at_seed(1), run="folder"), base, 3) == 1
    assert slot_of(Entry("x", base.at_seed(7), run="folder"), base, 3) == 0
    trained = recipe(sources={"mine": make_source(kind="world_recordings", subjects=9, seed=3)}, test={}, stages={})
    with pytest.raises(VergenceError, match="x was trained on 'mine', whose people are those of the test 'studio'"):
        slot_of(Entry("x", trained, run="folder"), base, 3)


def test_a_seed_changes_people_weights_and_tests_and_0_nothing():
    base = recipe()
    assert base.at_seed(0) == base
    other = base.at_seed(2)
    assert (other.seed, other.sources["wild"].seed, other.test["studio"].seed) == (2, 21, 23)
    assert base.sources["wild"].seed == 1


# 3D labels


def test_the_ladder_varies_what_shows_3d_and_leaves_the_rest():
    free = recipe()
    free.sources["studio"].pose = "none"
    found = ladder([Entry("few", recipe()), Entry("free", free)], ["1", "3", "all"])
    assert [entry.name for entry in found] == ["few@1", "few@3", "few@all", "free"]
    assert [entry.recipe.sources["studio"].pose for entry in found] == ["1", "3", "all", "none"]
    assert {entry.of for entry in found} == {"few", "free"}
    with pytest.raises(VergenceError, match="3D of 4 people: few's 'studio' has 3"):
        ladder([Entry("few", recipe())], ["4"])


@pytest.mark.parametrize(("pose", "images", "people"), [("none", 0, 0), ("2", 8, 2), ("all", 12, 3)])
def test_3d_labels_are_the_images_whose_3d_a_stage_is_shown(tmp_path, pose, images, people):
    """Two time steps by two cameras of each person."""
    one = recipe()
    one.sources["studio"].pose = pose
    one.sources["unread"] = make_source(count=5, seed=4, pose="all")
    assert labels_3d(one, Shared(tmp_path)) == {"labels_3d": images, "people_3d": people}


def test_options_are_for_the_recipes_that_are_compared():
    (found,) = read_entries([], ["mcss"], ["--stages.pose.train.losses.metric=0.1"])  # others have no such stage
    assert found.recipe.stages["pose"].train.losses["metric"] == 0.1
    with pytest.raises(VergenceError, match="the recipe has no stages"):
        read_entries([], [], ["--stages.pose.train.losses.metric=0.1"])


def test_a_recipe_without_an_options_source_is_named_with_what_is_for_all(tmp_path):
    said = (
        r"^mcss: the recipe has no sources\.wild\. There are studio\. --sources\.all\.count is for all that have it\.$"
    )
    with pytest.raises(VergenceError, match=said):
        read_entries(["supervised", "mcss"], [], ["--sources.wild.count=40"])
    supervised, mcss = read_entries(["supervised", "mcss"], [], ["--sources.all.count=40"])
    assert supervised.recipe.sources["wild"].count == 40
    assert set(mcss.recipe.sources) == {"studio"}


def test_the_built_in_set_has_a_name_beside_recipes(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"method": "supervised"}))
    mine, theirs = read_entries(["compare", str(tmp_path / "mine.yaml")], ["mine", "epipolar_pose"])[::-1]
    (alone,) = read_entries([], ["epipolar_pose"])
    assert (mine.name, theirs) == ("mine", alone)


# One key in several values


def test_each_recipe_once_for_every_value_of_a_key():
    only = ["epipolar_pose", "mcss"]
    found = vary([], only, ["--image_size=64"], "sources.studio.occlusion=0,0.3")
    assert [(entry.name, entry.of, entry.value) for entry in found] == [
        (f"{name}@{value}", name, value) for name in only for value in ("0", "0.3")
    ]
    assert [entry.recipe.sources["studio"].occlusion for entry in found] == [0.0, 0.3] * 2
    assert [entry.recipe.image_size for entry in found] == [64] * 4
    assert found[1].recipe.test == found[0].recipe.test
    lists = vary([], ["mcss"], [], "sources.studio.views=[3],[4]")
    assert [entry.name for entry in lists] == ["mcss@_3_", "mcss@_4_"]
    steps = ladder(vary([], ["mcss"], [], "stages.pose.train.losses.metric=0,0.1"), ["1", "all"])
    assert [(entry.name, entry.of, entry.subjects, entry.value) for entry in steps][:2] == [
        ("mcss@0@1", "mcss@0", "1", ""),
        ("mcss@0@all", "mcss@0", "all", ""),
    ]


@pytest.mark.parametrize("words", ["occlusion", "sources.studio.occlusion=0.3", "a.b=1,1", "a.b=1,,2", "seed=1,2"])
def test_what_cannot_be_varied_is_refused(words):
    with pytest.raises(VergenceError, match=r"--vary is .* Give a recipe's key and two or more values"):
        vary([], ["mcss"], [], words)
