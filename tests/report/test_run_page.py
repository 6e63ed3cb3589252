"""Tables of a run's page that only some runs have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from vergence import Source, plugins
from vergence.recipes.typed import make_source
from vergence.report.charts import curve_svg
from vergence.report.page import Curve
from vergence.report.run_page import person, source_words, uncertainty_tables
from vergence.report.templates import _breaking

TOLD = {
    "spearman": 0.641, "spearman_within_joints": 0.27, "spearman_of_images": 0.47, "coverage_90": 0.892, "expected": 0.1,
    "true": 0.1234,
}  # fmt: skip


def test_a_calibrated_run_s_page_tells_how_well_it_knows_its_errors():
    (table,) = uncertainty_tables({"studio": {"uncertainty": TOLD | {"unlike": 0.125}}, "wild": {"uncertainty": TOLD}})
    assert len(table.columns) == len(table.rows[0]) == len(table.rows[1])
    (_, *ranks, within, expected, true, unlike), other = table.rows
    assert ranks == ["0.64", "0.27", "0.47"]
    assert (within, unlike) == (pytest.approx(89.2), 12.5)
    assert (expected, true) == ("0.100", "0.123")
    assert other[-1] is None
    assert "reference bones" in table.protocol
    assert uncertainty_tables({"studio": {}}) == []


@pytest.mark.parametrize("kind", list(plugins.datasets))
def test_every_kind_of_source_has_words(kind, tmp_path):
    own = {} if kind.startswith("world_") else {"path": str(tmp_path)}
    words = source_words(make_source(kind, keypoints=True, **own))
    assert words.endswith("; labels used: keypoints")
    assert not own or f"{kind} {tmp_path}" in words


def test_people_are_numbered_from_one():
    assert [person(np.array([19_000_001, 19_000_000, 19_000_001]), row) for row in range(3)] == [
        "person 2", "person 1", "person 2",
    ]  # fmt: skip


def test_a_source_from_outside_has_its_own_keys_for_words():
    @dataclass
    class Lab(Source):
        room: str = "A"
        take: int = 0

    assert source_words(Lab("lab", pose="2")) == "lab, room A, take 0; labels used: 3D of 2"


def test_a_curve_of_one_point_can_be_seen():
    chart = curve_svg(Curve("c", "x", "y", {"one": ([0], [2.0]), "two": ([0, 1], [2.0, 3.0])}))
    assert chart.count(" lone") == 1


def test_a_command_breaks_between_its_words_and_a_path_behind_its_folders():
    found = _breaking("train a/b_c --sources.wild.count 16 x-y <i>")
    assert found == 'train a/<wbr>b_<wbr>c <span class="whole">--sources.wild.count</span> 16 x-y &lt;i&gt;'
