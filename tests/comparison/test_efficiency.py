"""Error against 3D labels, and how many people's labels a method without any is worth."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_measured import measured

from vergence.comparison import bootstrap
from vergence.comparison.efficiency import crossings, efficiency, reached, varied
from vergence.comparison.entries import Entry
from vergence.comparison.results import summary
from vergence.recipes.recipe import Recipe


def test_the_efficiency_curve_is_in_order_of_labels():
    entries = [
        Entry("m@all", Recipe(), None, "m", "all"),
        Entry("m@1", Recipe(), None, "m", "1"),
        Entry("f", Recipe(), None, "f"),
    ]
    methods = {}
    for name, count in (("m@all", 12), ("m@1", 4), ("f", 0)):
        one = measured(name, 0, [count])
        one.about["labels_3d"] = count
        methods[name] = summary([one])
    found = efficiency(entries, methods)
    assert [(p["people"], p["labels_3d"]) for p in found["m"]] == [("1", 4), ("all", 12)]
    assert (found["f"][0]["labels_3d"], found["f"][0]["people_3d"]) == (0, 1)
    assert found["m"][0]["by_look"]["studio"]["n_mpjpe"]["mean"] == 4


def test_where_a_curve_reaches_a_level():
    people, error = np.array([1, 4, 16]), np.array([[100.0, 90.0, 70.0]] * 5)
    found = reached(people, error, np.array([95.0, 90.0, 80.0, 69.0, 101.0]))
    assert found.tolist() == pytest.approx([2, 4, 8, np.inf, 0])


def test_a_curve_that_rises_again_has_reached_a_level_where_it_stays_below():
    error = np.array([[100.0, 80.0, 95.0, 75.0], [70.0, 80.0, 95.0, 75.0]])
    found = reached(np.array([1, 2, 4, 16]), error, np.array([85.0, 85.0]))
    assert found.tolist() == pytest.approx([8, 8])
    assert reached(np.array([3]), np.array([[9.0], [7.0]]), np.array([8.0, 8.0])).tolist() == [np.inf, 0]
    assert reached(np.array([2, 2]), np.array([[9.0, 7.0]]), np.array([8.0])).tolist() == [2]


def seen(name: str, people: int, *errors: list[float]) -> list:
    found = [measured(name, seed, each) for seed, each in enumerate(errors)]
    for one in found:
        one.about["people_3d"] = people
    return found


ENTRIES = [
    Entry("m@16", Recipe(), None, "m", "16"), Entry("m@1", Recipe(), None, "m", "1"), Entry("f", Recipe(), None, "f"),
    Entry("g", Recipe(), None, "g"), Entry("old", Recipe(), None, "old"),
]  # fmt: skip


def test_how_many_people_a_method_without_labels_is_worth(monkeypatch):
    draws = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2]])
    monkeypatch.setattr(bootstrap, "_draws", lambda people: draws)
    methods = {
        "m@1": seen("m@1", 1, [100, 100, 100]),
        "m@16": seen("m@16", 16, [60, 60, 60], [1, 1, 1]),  # f has one seed
        "f": seen("f", 0, [80, 90, 20]),
        "old": seen("old", 7, [80, 90, 20]),  # one number of labels is no ladder
    }
    found = crossings(ENTRIES, methods)
    assert [(one["method"], one["reaches"], one["test"], one["measure"]) for one in found] == [
        ("m", "f", "studio", "n_mpjpe"), ("m", "f", "studio", "p_mpjpe")
    ]  # fmt: skip
    one = found[0]
    assert one["people"] == pytest.approx(16 ** ((100 - 190 / 3) / 40))
    assert one["low"] == pytest.approx(2)  # of the second person alone
    assert one["high"] is None  # of the third, whom 16 people do not suffice for
    assert (one["fewest"], one["most"], one["between"]) == (1, 16, (1, 16))
    below = crossings(ENTRIES, {**methods, "f": seen("f", 0, [101, 101, 101])})[0]
    assert (below["people"], below["low"], below["high"], below["between"]) == (0, 0, 0, None)
    never = crossings(ENTRIES, {**methods, "f": seen("f", 0, [1, 1, 1])})[0]
    assert (never["people"], never["low"], never["high"], never["between"]) == (None, None, None, None)


def test_nothing_is_worth_anything_without_a_ladder_or_a_method_without_labels():
    assert crossings(ENTRIES, {"m@1": seen("m@1", 1, [1, 2, 3])}) == []
    assert crossings(ENTRIES, {"f": seen("f", 0, [1, 2, 3])}) == []
    apart = {"m@1": seen("m@1", 1, [1, 2, 3]), "f": [measured("f", 1, [1, 2, 3])]}
    apart["f"][0].about["people_3d"] = 0
    assert crossings(ENTRIES, apart) == []  # of other seeds


def test_a_key_s_changes_and_those_of_two_methods_less_each_other(monkeypatch):
    draws = np.array([[2.0, 0], [0, 2]])
    monkeypatch.setattr(bootstrap, "_draws", lambda people: draws)
    monkeypatch.setattr(bootstrap, "CONFIDENCE", 100)
    errors = {"a@0": [10, 20], "a@0.5": [13, 21], "b@0": [10, 10], "b@0.5": [11, 15], "b@x": [1, 1]}
    entries = [Entry(name, Recipe(), None, name[0], value=name[2:]) for name in errors]
    measured_ = {name: [measured(name, 0, error)] for name, error in errors.items()}
    found = varied(entries, measured_, {name: summary(each) for name, each in measured_.items()})
    points = found["points"]["b"]
    assert [(point["value"], point["number"], point["name"]) for point in points] == [
        ("0", 0.0, "b@0"), ("0.5", 0.5, "b@0.5"), ("x", None, "b@x")
    ]  # fmt: skip
    assert points[1]["by_look"]["studio"]["n_mpjpe"]["mean"] == 13
    told = {
        (one["method"], one["other"], one["value"]): (one["mean"], one["low"], one["high"], one["people"])
        for one in found["changes"]
        if one["measure"] == "n_mpjpe"
    }
    assert told == {
        ("a", "", "0.5"): (2, 1, 3, 2), ("b", "", "0.5"): (3, 1, 5, 2), ("b", "", "x"): (-9, -9, -9, 2),
        ("b", "a", "0.5"): (1, -2, 4, 2),
    }  # fmt: skip
    assert {one["of"] for one in found["changes"]} == {"0"}
