"""Tables: rows written over their base, named as recipes, and what is refused; the tables that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from vergence import plugins
from vergence.comparison.reproduce import check_figures
from vergence.errors import VergenceError
from vergence.recipes.load import load_recipe
from vergence.recipes.paper_tables import Published, built_in_tables, dataset_of, is_row, read_row, read_table

TABLE = """
title: A table
base:
  method: supervised
  network: {width: 8}
  sources: {film: {kind: human36m, path: human36m, step: 5, keypoints: true, pose: all}}
  stages: {pose: {train: {steps: 10, batch: {film: 2}, losses: {heatmap: 1.0}}}}
rows:
  plain:
    published:
      - {protocol: h36m-64, scale: true, figures: {mpjpe: 50.5, auc: ~}, source: table 2}
      - {protocol: 3dhp, figures: {}}
  wider:
    network: {width: 16}
    sources: {more: {kind: mpii, path: /elsewhere/mpii}}
    published: [{protocol: h36m, figures: {mpjpe: 49}}]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TABLE)
    return path


def test_a_row_is_written_over_the_base_and_measured_by_its_protocols(file):
    table = read_table(file)
    assert (table.name, table.title, list(table.rows)) == ("mine", "A table", ["plain", "wider"])
    row = table.rows["plain"]
    assert row.published[0] == Published("h36m-64", {"mpjpe": 50.5, "auc": None}, "table 2", "true")
    assert row.recipe["test"] == {
        "h36m-64": {"kind": "human36m", "path": "human36m", "protocol": "h36m-64", "scale": "true"},
        "3dhp": {"kind": "mpi_inf_3dhp", "path": "mpi_inf_3dhp", "protocol": "3dhp", "scale": "training"},
    }
    assert "published" not in table.rows["wider"].recipe
    assert table.rows["wider"].recipe["network"] == {"width": 16}
    assert list(table.rows["wider"].recipe["sources"]) == ["film", "more"]


def test_a_row_is_a_recipe_by_its_name(file, tmp_path):
    recipe = load_recipe(f"{file}/wider", ["--network.width=4", "--stages.all.train.steps", "3"])
    assert (recipe.network.width, recipe.stages["pose"].train.steps) == (4, 3)
    assert is_row(f"{file}/wider")
    assert not is_row(str(file))
    assert not is_row("demo")
    there = recipe.under(tmp_path / "data")
    assert there.sources["film"].path == str(tmp_path / "data" / "human36m")
    assert there.sources["more"].path == "/elsewhere/mpii"
    assert there.test["h36m"].path == str(tmp_path / "data" / "human36m")
    assert recipe.sources["film"].path == "human36m"
    assert recipe.under(None) == recipe
    with pytest.raises(VergenceError, match=r"no row 'widest'.*plain, wider"):
        read_row(f"{file}/widest")
    with pytest.raises(VergenceError, match="is a table of recipes"):
        load_recipe(str(file))
    with pytest.raises(VergenceError, match="is a table of recipes"):
        load_recipe("epipolar_pose_h36m")


def test_all_stands_for_every_entry_that_has_such_a_part(file):
    words = ["--sources.all.step=7", "--stages.all.refine.steps", "9", "--stages.all.train.batch.film=4"]
    recipe = load_recipe(f"{file}/plain", words)
    assert recipe.sources["film"].step == 7
    assert recipe.stages["pose"].train.batch == {"film": 4}
    with pytest.raises(VergenceError, match=r"no key stages\.pose\.train\.stepz"):
        load_recipe(f"{file}/plain", ["--stages.all.train.stepz=1"])


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("title: A table\n", "", "is no table"),
        ("mpjpe: 49", "mpjpe: about 49", "the published mpjpe is 'about 49'"),
        ("{protocol: 3dhp, figures: {}}", "{protocol: h36m-64}", "two entries of one protocol"),
        ("{protocol: 3dhp, figures: {}}", "{figures: {}}", "an entry of `published:` is"),
        ("published: [{protocol: h36m, figures: {mpjpe: 49}}]", "published: []", "row wider has no list `published:`"),
        ("scale: true", "scale: big", "the scale is 'big'"),
        ("source: table 2", "sorce: table 2", "an entry of `published:` is"),
    ],
)
def test_what_is_no_table_is_refused_by_its_row(file, old, new, error):
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(VergenceError, match=error):
        read_table(file)


def test_figures_and_protocols_that_there_are_none_of(file):
    check_figures(read_table(file))
    for old, new, error in (("auc: ~", "acu: ~", "no figure 'acu'"), ("h36m-64,", "h36m-65,", "no protocol is called")):
        (changed := file.with_name("changed.yaml")).write_text(file.read_text().replace(old, new))
        with pytest.raises(VergenceError, match=error):
            check_figures(read_table(changed))


def test_a_protocol_s_name_begins_with_its_dataset():
    for protocol in (plugins.protocols[name] for name in plugins.protocols):
        assert dataset_of(protocol.name) == protocol.dataset


def test_the_documentation_names_every_table():
    text = (Path(__file__).parents[2] / "docs" / "reproducing.md").read_text()
    assert [name for name in built_in_tables() if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", built_in_tables())
def test_the_tables_that_come_with_the_package_are_sound(name):
    table = read_table(name)
    check_figures(table)
    head = [line for line in table.path.read_text().splitlines() if line.startswith("#")]
    assert any("time" in line.lower() for line in head)
    for row in table.rows.values():
        recipe = load_recipe(f"{name}/{row.name}")
        assert any(stage.train for stage in recipe.stages.values())
        assert recipe.test
        assert all(
            source.path.split("/")[0] == source.kind for source in (*recipe.sources.values(), *recipe.test.values())
        )
        for published in row.published:
            assert published.source or not any(v is not None for v in published.figures.values()), row.name
