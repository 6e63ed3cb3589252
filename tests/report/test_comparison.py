"""The page of a comparison and the charts that it adds."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from vergence.commands.console.export import table_markdown, write_figures
from vergence.errors import VergenceError
from vergence.report.charts import PLOT, SIDE, curve_svg, dots_svg, strip_html
from vergence.report.comparison import (
    cell_text,
    change_tables,
    efficiency_curves,
    interval,
    ladder_tables,
    pair_table,
    result_table,
    seconds_table,
    value_text,
    varied_curves,
    versus_table,
    worth_table,
)
from vergence.report.page import Curve, Dots, Page, Panel, Strip
from vergence.report.render import render_page
from vergence.skeleton import H36M_17

POSE = np.stack([np.linspace(-300, 300, 17), np.linspace(700, -800, 17), np.linspace(50, -90, 17)], 1)


def numbers(pattern: str, text: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, text)]


def test_dots_stand_in_the_order_of_their_values_with_their_mean_among_them():
    svg = dots_svg(Dots("error", "mm", {"a": [10.0, 30.0], "<b>": [20.0, float("nan")]}))
    x = numbers(r'cx="([\d.]+)%"', svg)
    assert len(x) == 3
    assert x[0] < x[2] < x[1]
    means = numbers(r'class="mean s\d" x1="([\d.]+)%"', svg)
    assert means == pytest.approx([(x[0] + x[1]) / 2, x[2]], abs=0.11)
    assert "<b>" not in svg
    assert "nan" not in svg
    assert "<svg" in dots_svg(Dots("nothing", "mm", {"a": []}))


def test_a_strip_draws_each_pose_from_the_front_and_the_side_over_the_truth():
    strip = Strip(
        "one", np.zeros((8, 8, 3), np.uint8), POSE, [Panel("m<1>", POSE, "N 0 mm"), Panel("none", POSE * np.nan)]
    )
    html = strip_html(strip, H36M_17)
    first, second = html.split("<svg")[1:]
    assert first.count('class="truth"') == second.count('class="truth"') == 2
    assert first.count('class="l"') == 2
    assert 'class="l"' not in second  # unknown poses are not drawn
    assert "m&lt;1&gt;" in html
    y = numbers(r"[ML][\d.]+ ([\d.]+)", first)
    assert 0 < min(y) < SIDE < max(y) < 2 * SIDE
    truth, left = (re.findall(rf'class="{kind}" d="([^"]+)"', first) for kind in ("truth", "l"))
    assert all(part in truth[0] for part in re.findall(r"M[^M]+", left[0]))  # equal poses lie on each other


def test_strips_with_notes_need_a_protocol():
    strip = Strip("one", np.zeros((8, 8, 3), np.uint8), POSE, [Panel("m", POSE, "N 0 mm")])
    with pytest.raises(VergenceError, match="samples_protocol"):
        Page("t", "s", H36M_17, strips=[strip])
    with pytest.raises(VergenceError, match="the pose of 'm' in strip 'one'"):
        Page("t", "s", H36M_17, strips=[Strip("one", strip.image, POSE, [Panel("m", POSE[:3])])])
    html = render_page(Page("t", "s", H36M_17, strips=[strip], samples_protocol="as ever", dots=[Dots("d", "mm", {})]))
    assert 'class="beside"' in html


def test_a_curve_may_have_a_log_axis_and_bars():
    curve = Curve(
        "c", "labels", "mm", {"a": ([10.0, 100.0, 1000.0], [3.0, 2.0, 1.0])}, log_x=True,
        spread={"a": ([2.5, 2.0, 0.5], [4.0, 2.0, 1.5])},
    )  # fmt: skip
    svg = curve_svg(curve)
    line, bars = re.findall(r'class="line s0" d="([^"]+)"', svg)
    x = numbers(r"[ML]([\d.]+) ", line)
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.11)  # decades are equally wide
    ends = [tuple(map(float, pair)) for pair in re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", bars)]
    assert len(ends) == 3
    assert all(f">{tick}</text>" in svg for tick in ("10", "100", "1,000"))
    assert ends[0][0] > ends[0][1]  # larger is higher up
    assert ends[1][0] == ends[1][1]
    assert all(0 <= y <= PLOT for pair in ends for y in pair)  # the axis reaches as far as the bars


def found(n: float, labels: int = 0) -> dict:
    return {
        "by_look": {"studio": {"n_mpjpe": {"mean": n, "std": 0.5}, "p_mpjpe": {"mean": n / 2, "std": None}}},
        "labels_3d": labels, "parameters": 1234, "seconds": {"mean": 61.0, "std": 2.0},
        "cpu_seconds": {"mean": 122.0, "std": 2.0}, "stages": {"pose": {"seconds": 61.0, "cpu_seconds": 122.0}},
    }  # fmt: skip


STAGES = {"labels": {"seconds": 9.5, "cpu_seconds": 9.0}, "pose": {"seconds": 51.5, "cpu_seconds": 113.0}}
RESULTS = {
    "methods": {"supervised": found(60.0, 12000), "free": {**found(66.0), "stages": STAGES}},
    "reference": "supervised",
    "baselines": {"studio": {"mean_pose": {"n_mpjpe": 150.0}, "random": {"detection_1": 16.7}}},
    "differences": {
        "studio": {
            "n_mpjpe": {
                "free - supervised": {
                    "difference": {"mean": 6.0, "low": 4.0, "high": 8.0},
                    "ratio": {"mean": 1.1, "low": 1.05, "high": 1.15}, "people": 40,
                }
            }
        }
    },
    "protocol": {
        "studio": {"images": 960, "subjects": 40, "look": "studio"},
        "figures_of": "studio", "seeds": [0, 1], "world_version": "4",
        "methods": {"supervised": {"studio": {"frame": "camera"}}, "free": {"studio": {"frame": "canonical"}}},
    },
}  # fmt: skip


def test_the_table_holds_methods_then_baselines_and_says_how_it_was_measured():
    table = result_table(RESULTS)
    assert list(table.columns) == ["", "3D labels", "N-MPJPE mm", "P-MPJPE mm", "parameters", "seconds"]
    assert table.rows[0] == ["supervised", "12,000", "60.0 ± 0.5", "30.0", "1,234", "61.0 ± 2.0"]
    assert table.rows[2][:3] == ["mean pose", None, "150.0"]
    assert len(table.rows) == 3  # random has none of these figures
    assert "960 images of 40 people" in table.protocol
    assert "true* heading" in table.protocol
    text = table_markdown(table)
    assert "| free | 0 | 66.0 ± 0.5 | 33.0 | 1,234 | 61.0 ± 2.0 |" in text
    assert table.protocol in text


def test_a_difference_is_told_from_either_side():
    table = versus_table(RESULTS)
    assert table is not None
    assert table.rows == [["free", "6.0 [4.0, 8.0]", "1.100 [1.050, 1.150]", "–", "–"]]
    turned = versus_table({**RESULTS, "reference": "free"})
    assert turned is not None
    assert turned.rows[0][:3] == ["supervised", "-6.0 [-8.0, -4.0]", "0.909 [0.870, 0.952]"]
    assert versus_table({**RESULTS, "differences": {}}) is None


def test_intervals_over_few_people_are_warned_of():
    table = versus_table(RESULTS)
    assert table is not None
    assert table.note == ""
    few = deepcopy(RESULTS)
    few["differences"]["studio"]["n_mpjpe"]["free - supervised"]["people"] = 3
    for table in (versus_table(few), pair_table(few, "studio")):
        assert table is not None
        assert "over 3 test people: too few" in table.note


def test_seconds_stand_by_stage():
    table = seconds_table(RESULTS)
    assert list(table.columns) == ["", "pose", "labels", "all"]
    assert table.rows == [
        ["supervised", "61 (122)", None, "61 (122)"],
        ["free", "52 (113)", "9.5 (9.0)", "61 (122)"],
    ]


def efficient() -> dict:
    def point(people: int, *errors: float) -> dict:
        mean = {"mean": float(np.mean(errors)), "std": None}
        return {
            "people_3d": people, "by_look": {"studio": {"n_mpjpe": mean}},
            "seeds": {str(i): {"studio": {"n_mpjpe": e}} for i, e in enumerate(errors)},
        }  # fmt: skip

    worth = {"method": "few", "reaches": "free", "test": "studio", "fewest": 1, "most": 80}
    return {
        **RESULTS,
        "label_efficiency": {"few": [point(1, 90.0, 94.0), point(80, 70.0)], "free": [point(0, 64.0, 68.0)]},
        "label_crossings": [
            worth | {"measure": "n_mpjpe", "people": 23.4, "low": 0.0, "high": None, "between": [1, 80]},
            worth | {"measure": "p_mpjpe", "people": None, "low": None, "high": None, "between": None},
        ],
    }


def test_a_method_without_labels_is_a_level_line_in_the_efficiency_curve():
    curve, other = efficiency_curves(efficient())
    assert curve.series["few"] == ([1.0, 80.0], [92.0, 70.0])
    assert curve.spread["few"] == ([90.0, 70.0], [94.0, 70.0])
    assert curve.series["free"] == ([1.0, 80.0], [66.0, 66.0])
    assert curve.x_label == "people with 3D labels"
    assert other.series["few"] == ([], [])  # no P-MPJPE was given
    svg = curve_svg(curve)
    assert svg.count('class="line s1 level"') == 1
    assert svg.count('<path class="band s1"') == 1
    assert "band s0" not in svg
    assert "<svg" in curve_svg(other)
    assert efficiency_curves(RESULTS) == []


def test_the_worth_of_a_method_without_labels_in_words_and_the_ladder_in_numbers():
    table = worth_table(efficient())
    assert table is not None
    assert table.rows == [["few reaches free", "23 [at most 1, more than 80]", "1 and 80", "more than 80", None]]
    assert len(table.columns) == 5
    assert worth_table(RESULTS) is None
    first, _ = ladder_tables(efficient(), "studio")
    assert first.columns == ["", "0", "1", "80"]
    assert first.rows == [["few", None, "92.0", "70.0"], ["free", "66.0", None, None]]
    assert ladder_tables(RESULTS, "studio") == []


def test_a_varied_key_is_a_curve_and_its_changes_a_table():
    def point(value: str, error: float) -> dict:
        figure = {"n_mpjpe": {"mean": error, "std": None}, "p_mpjpe": {"mean": error, "std": None}}
        number = float(value) if value != "word" else None
        return {
            "value": value,
            "number": number,
            "by_look": {"studio": figure},
            "seeds": {"0": {"studio": {"n_mpjpe": error, "p_mpjpe": error}}},
        }

    change = {
        "test": "studio",
        "measure": "n_mpjpe",
        "value": "300",
        "of": "20",
        "mean": -3.0,
        "low": -4.0,
        "high": -2.0,
    }
    changes = [change | {"method": "a", "other": ""}, change | {"method": "a", "other": "b", "mean": 0.5}]
    results = {
        **RESULTS,
        "varied": {"key": "sources.x", "points": {"a": [point("20", 9.0), point("300", 6.0)]}, "changes": changes},
    }
    curve, _ = varied_curves(results)
    assert curve.series["a"] == ([20.0, 300.0], [9.0, 6.0])
    assert (curve.x_label, curve.log_x) == ("sources.x", True)
    (table,) = change_tables(results)
    assert table.title == "N-MPJPE mm more than with sources.x 20, studio"
    assert (table.columns, table.rows) == (["", "300"], [["a", "-3.0 [-4.0, -2.0]"], ["a less b", "0.5 [-4.0, -2.0]"]])
    results["varied"]["points"]["a"].append(point("word", 1.0))
    assert varied_curves(results) == []
    results["varied"]["points"]["a"][:] = [point("0", 9.0), point("300", 6.0)]
    assert not varied_curves(results)[0].log_x
    assert (varied_curves(RESULTS), change_tables(RESULTS)) == ([], [])


def test_a_curve_is_a_file_of_its_own(tmp_path):
    curve = replace(efficiency_curves(efficient())[0], title="N-MPJPE, <a> & b")
    page = Page("t", "s", H36M_17, curves=[curve], curves_title="Error and 3D labels")
    write_figures(page, tmp_path)
    (path,) = (tmp_path / "figures").iterdir()
    assert path.name == "error-and-3d-labels-n-mpjpe-a-b.svg"
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"N-MPJPE, <a> & b", "few", "free", "people with 3D labels", "80"} <= set(texts)
    assert "var(" not in path.read_text()


def test_values_as_text():
    assert value_text({"mean": 3.14159, "std": 0.2}) == "3.14 ± 0.20"
    assert value_text({"mean": 1234.5, "std": None}) == "1,234"
    assert value_text({"mean": None, "std": None}) is None
    assert value_text(None) is None
    assert cell_text(None) == "–"
    assert interval({"mean": -0.04, "low": -1.0, "high": 1.0}, 1) == "0.0 [-1.0, 1.0]"
