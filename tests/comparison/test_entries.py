"""What is compared, what is told of it, and whether a difference is more than chance."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import yaml

from vergence.comparison.entries import (
    FIGURES,
    Entry,
    Measured,
    all_differences,
    check_comparable,
    difference,
    efficiency,
    figures,
    labels_3d,
    ladder,
    merged,
    paired_bootstrap,
    read_entries,
    read_set,
    slot_of,
    spread,
    summary,
)
from vergence.errors import VergenceError
from vergence.recipes.load import read_yaml
from vergence.recipes.recipe import Recipe, Source, Stage, TrainStage
from vergence.training.run import Run
from vergence.training.stage_cache import Shared, images_of

BUILT_IN_SET = Path(str(resources.files("vergence"))) / "recipes" / "sets" / "compare.yaml"


def recipe(**changes) -> Recipe:
    usual = Recipe(
        image_size=32,
        sources={
            "wild": Source(count=4, seed=1, keypoints=True),
            "studio": Source(kind="world_recordings", subjects=3, frames_per_subject=2, views=[2], seed=2, pose="2"),
        },
        test={"studio": Source(kind="world_recordings", subjects=2, seed=3, pose="all")},
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
        ("epipolar_pose", "epipolar_pose_occluded", "sources.studio.occlusion"),
        ("multiview_consistency", "multiview_consistency_occluded", "sources.studio.occlusion"),
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
            {"test": {"studio": Source(kind="world_recordings", subjects=3, seed=3, pose="all")}},
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
    images = Source(kind="mpii", path="mpii", protocol="mpii-pckh", keypoints=True)
    with pytest.raises(VergenceError, match="'people' is measured by mpii-pckh, which knows no 3D"):
        check_comparable([Entry("a", recipe(test={"people": images}))])


def test_a_run_is_measured_on_its_own_seeds_tests_and_never_on_people_it_was_trained_on():
    base = recipe()
    assert slot_of(Entry("x", base.at_seed(1), run="folder"), base, 3) == 1
    assert slot_of(Entry("x", base.at_seed(7), run="folder"), base, 3) == 0
    trained = recipe(sources={"mine": Source(kind="world_recordings", subjects=9, seed=3)}, test={}, stages={})
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
    one.sources["unread"] = Source(count=5, seed=4, pose="all")
    assert labels_3d(one, Shared(tmp_path)) == {"labels_3d": images, "people_3d": people}


# What is told


def result(n: float, **more) -> dict:
    return {
        "model": {"n_mpjpe": n, "p_mpjpe": n / 2, "pss_50": None},
        "per_joint": {"root": n},
        "parameters": {"all": 7},
        **more,
    }


def measured(name: str, seed: int, error, subject=None, look="studio") -> Measured:
    error = np.asarray(error, dtype=float)
    subject = np.arange(len(error)) if subject is None else np.asarray(subject)
    mean = float(np.nanmean(error)) if np.isfinite(error).any() else float("nan")
    about = {"results": {"tests": {look: result(mean)}}, "labels_3d": 3, "people_3d": 1,
             "seconds": {"a": 1.0, "b": 2.0, "data": 50.0}, "cpu_seconds": {"a": 3.0, "b": 4.0, "data": 90.0}}  # fmt: skip
    return Measured(name, seed, about, {f"{look}.n_mpjpe": error, f"{look}.p_mpjpe": error, f"{look}.subject": subject})


def test_figures_are_those_that_a_method_has():
    assert figures(result(3.0)) == {"n_mpjpe": 3.0, "p_mpjpe": 1.5}
    same = {"same": {"detection": {"1": 40.0}, "mean_pa_mpjpe": {"1": 20.0}}}
    other = {"same": {"detection": {"1": 10.0}, "mean_pa_mpjpe": {"1": 60.0}}}
    found = figures(result(3.0, pixel_error=1.5, retrieval={"predicted_pose": other, "embedding": same}))
    assert (found["keypoints_2d"], found["detection_1"], found["retrieved_pa_mpjpe_1"]) == (1.5, 40.0, 20.0)
    assert figures(result(3.0, retrieval={"predicted_pose": other}))["detection_1"] == 10.0
    assert list(found) == [key for key in FIGURES if key in found]


def test_the_spread_over_seeds():
    assert spread([1.0, 3.0]) == {"mean": 2.0, "std": pytest.approx(2**0.5)}
    assert spread([5.0]) == {"mean": 5.0, "std": None}
    assert spread([None, float("nan")]) == {"mean": None, "std": None}


def test_a_methods_summary_is_over_its_seeds():
    found = summary([measured("a", 0, [10, 20]), measured("a", 1, [30, 40])])
    assert found["n_mpjpe"] == {"mean": 25.0, "std": pytest.approx(200**0.5)}
    assert found["by_look"]["studio"]["p_mpjpe"]["mean"] == 12.5
    assert found["seconds"]["mean"] == 3.0  # without drawing images
    assert found["cpu_seconds"]["mean"] == 7.0
    assert found["stages"]["b"] == {"seconds": 2.0, "cpu_seconds": 4.0}
    assert found["seeds"]["1"]["n_mpjpe"] == 35.0
    assert (found["parameters"], found["labels_3d"]) == (7, 3)
    assert found["per_joint"] == {"studio": {"root": 25.0}}


def test_what_was_measured_is_kept_until_something_else_made_it(tmp_path):
    one = measured("a", 2, [1, 2])
    one.about["made_by"] = "abc"
    one.save(tmp_path)
    again = Measured.load(tmp_path, "a", 2, "abc")
    assert again is not None
    assert again.about == one.about
    assert np.array_equal(again.images["studio.n_mpjpe"], one.images["studio.n_mpjpe"])
    assert Measured.load(tmp_path, "a", 2, "other") is None
    assert Measured.load(tmp_path, "a", 1, "abc") is None
    (tmp_path / "a-2.npz").write_bytes(b"torn")
    assert Measured.load(tmp_path, "a", 2, "abc") is None


# Is it chance?


def slow_bootstrap(unit, error, samples):
    """Mean difference and ratio of each sample, image by image."""
    people = sorted({tuple(u) for u in unit})
    out = []
    for counts in samples:
        a, b, n = 0.0, 0.0, 0
        for who, times in zip(people, counts, strict=True):
            for u, (x, y) in zip(unit, error, strict=True):
                if tuple(u) == who:
                    a, b, n = a + times * x, b + times * y, n + times
        out.append((a / n - b / n, a / b))
    return np.array(out)


def test_the_bootstrap_is_that_of_a_slow_one_over_people(monkeypatch):
    import vergence.comparison.entries as comparison

    rng = np.random.default_rng(3)
    unit = np.stack([np.repeat([0, 1], 9), np.tile([0, 0, 1, 1, 1, 2, 3, 3, 3], 2)], 1)
    error = rng.uniform(40, 90, (18, 2))
    draws = rng.multinomial(8, np.full(8, 1 / 8), size=40).astype(float)
    monkeypatch.setattr(comparison, "_draws", lambda people: draws)
    found = paired_bootstrap(unit, error)
    slow = slow_bootstrap(unit, error, draws)
    for i, name in enumerate(("difference", "ratio")):
        low, high = np.percentile(slow[:, i], [2.5, 97.5])
        assert found[name]["low"] == pytest.approx(low)
        assert found[name]["high"] == pytest.approx(high)
    assert found["difference"]["mean"] == pytest.approx(float((error[:, 0] - error[:, 1]).mean()))
    assert found["ratio"]["mean"] == pytest.approx(float(error[:, 0].sum() / error[:, 1].sum()))
    assert (found["people"], found["images"]) == (8, 18)


def test_images_of_one_person_are_no_independent_witnesses():
    rng = np.random.default_rng(0)
    base = rng.normal(60, 5, 400)
    per_person = np.repeat(rng.normal(1.0, 6.0, 20), 20)
    error = np.stack([base + per_person, base], 1)
    together = paired_bootstrap(np.repeat(np.arange(20), 20)[:, None], error)["difference"]
    alone = paired_bootstrap(np.arange(400)[:, None], error)["difference"]
    assert together["high"] - together["low"] > 3 * (alone["high"] - alone["low"])


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        noise = rng.normal(0, 4, 40)
        base = rng.normal(60, 10, 40)
        found = paired_bootstrap(np.arange(40)[:, None], np.stack([base + 2 + noise, base], 1))["difference"]
        hits += found["low"] <= 2 <= found["high"]
    assert 178 <= hits <= 198  # 95 % of 200 is 190; percentile intervals of 40 are a little short


def test_differences_pair_seeds_and_images():
    a = [measured("a", 0, [11, 22, np.nan]), measured("a", 1, [5, 5, 5])]
    b = [measured("b", 0, [10, 20, 30])]
    found = difference(a, b, "studio")
    assert found is not None
    assert found["difference"]["mean"] == 1.5  # of the two images of seed 0 that both are measured on
    assert (found["people"], found["images"]) == (2, 2)
    assert difference([measured("a", 0, [np.nan])], [measured("b", 0, [1.0])], "studio") is None
    assert difference([measured("a", 0, [1.0])], [measured("b", 1, [1.0])], "studio") is None
    with pytest.raises(VergenceError, match="not measured on the same images"):
        difference([measured("a", 0, [1.0])], [measured("b", 0, [1.0], subject=[4])], "studio")
    every = all_differences({"a": a, "b": b, "c": [measured("c", 0, [1, 2, 3])]})
    assert set(every["studio"]["n_mpjpe"]) == {"b - a", "c - a", "c - b"}


def test_the_efficiency_curve_is_in_order_of_labels():
    entries = [
        Entry("m@all", recipe(), None, "m", "all"),
        Entry("m@1", recipe(), None, "m", "1"),
        Entry("f", recipe(), None, "f"),
    ]
    methods = {}
    for name, count in (("m@all", 12), ("m@1", 4), ("f", 0)):
        one = measured(name, 0, [count])
        one.about["labels_3d"] = count
        methods[name] = summary([one])
    found = efficiency(entries, methods)
    assert [(p["people"], p["labels_3d"]) for p in found["m"]] == [("1", 4), ("all", 12)]
    assert found["f"][0]["labels_3d"] == 0
    assert found["m"][0]["by_look"]["studio"]["n_mpjpe"]["mean"] == 4
