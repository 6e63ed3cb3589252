"""Ours beside theirs: means, differences, and the reasons for which two figures are not comparable."""

from __future__ import annotations

import math

import pytest

from vergence.commands.console.export import table_markdown
from vergence.comparison.reproduce import figure_key, not_comparable, row_results
from vergence.comparison.results import Measured
from vergence.protocols.base import get_protocol
from vergence.recipes.paper_tables import Published, Row
from vergence.report.papers.published import published_tables

NAME = "h36m-64"


def measured(seed: int, mpjpe: float, poses: int = 8600, left_out: dict | None = None) -> Measured:
    about = {
        "average": {"MPJPE": mpjpe, "P-MPJPE": mpjpe - 10},
        "tables": {"action": {"Walking": {"MPJPE": mpjpe / 2, "poses": 5.0}}},
        "poses": poses,
        "scale": "none",
        "left_out": {"AUC": "no scale"},
        "protocol": get_protocol(NAME).describe(),
    }
    test = {"parameters": {"all": 7}, "left_right": {"mm": {"upper_arm": 20.0 + seed}}, "model": {}}
    results = {
        "tests": {NAME: test},
        "protocols": {NAME: about},
        "protocol": {NAME: {"data": {"left_out": left_out or {}}}},
    }
    plain = {"results": results, "labels_3d": 12, "people_3d": 2, "seconds": {"data": 99.0, "pose": 5.0}}
    return Measured("row", seed, plain, {})


FIGURES = {"mpjpe": 51.8, "left_right.mm.upper_arm": 18.0, "left_right.mm.tail": None, "action.Walking.MPJPE": 30.0}
PUBLISHED = Published(NAME, FIGURES, "table 2", images=8606)


def test_ours_stand_beside_theirs_over_seeds():
    row = row_results(Row("row", {}, (PUBLISHED,)), [measured(0, 60.0), measured(1, 64.0)], [])
    assert (row["labels_3d"], row["parameters"], row["seeds"]) == (12, 7, [0, 1])
    assert row["seconds"] == {"mean": 5.0, "std": 0.0}
    found = row["protocols"][NAME]
    mpjpe = found["figures"]["mpjpe"]
    assert mpjpe["ours"] == {"mean": 62.0, "std": pytest.approx(math.sqrt(8))}
    assert mpjpe["difference"] == pytest.approx(10.2)
    assert mpjpe["seeds"] == {"0": 60.0, "1": 64.0}
    assert found["figures"]["p_mpjpe"] == {"heading": "P-MPJPE mm", "ours": {"mean": 52.0, "std": pytest.approx(math.sqrt(8))},
                                           "seeds": {"0": 50.0, "1": 54.0}, "published": None, "difference": None}  # fmt: skip
    assert found["figures"]["left_right.mm.upper_arm"]["difference"] == pytest.approx(2.5)
    assert found["figures"]["left_right.mm.tail"]["ours"]["mean"] is None
    assert found["figures"]["action.Walking.MPJPE"]["difference"] == pytest.approx(1.0)
    assert found["figures"]["auc"]["ours"]["mean"] is None
    assert found["comparable"] is True


@pytest.mark.parametrize(
    ("published", "poses", "overrides", "reason"),
    [
        (Published(NAME, images=8606), 8400, [], None),
        (Published(NAME, images=8606), 800, [], "800 images are measured here, the paper's test has about 8,606"),
        (Published(NAME), 800, [], None),
        (Published(NAME), 1, ["--image_size=64", "--sources.film.path=/x"], "than its own: --image_size=64."),
        (Published(NAME), 1, ["--sources.film.path=/x", "--sources.film.kind=shards", "--checkpoint_every=9"], None),
        (Published(NAME), 1, ["--sources.film.kind=coco"], "--sources.film.kind=coco"),
        (Published(NAME, differs="Other joints."), 1, [], "Other joints."),
    ],
)
def test_why_two_figures_are_not_comparable(published, poses, overrides, reason):
    found = not_comparable(published, poses, overrides)
    assert bool(found) == (reason is not None)
    assert reason is None or reason in found[0]


def test_the_table_says_what_its_figures_are():
    row = Row("row", {}, (PUBLISHED,))
    alone = Row("alone", {}, (Published(NAME),))
    rows = {
        "row": row_results(row, [measured(0, 60.0, poses=80, left_out={"missing_views": 3})], []),
        "alone": row_results(alone, [measured(0, 61.0)], []),
    }
    (table,) = published_tables({"rows": rows})
    text = table_markdown(table)
    assert table.columns[:4] == ["row", "MPJPE mm", "published", "difference"]
    assert "| row | 60.0 | 51.8 | +8.2* |" in text
    assert "| alone | 61.0 | – | – |" in text
    assert "left right, mm, upper arm" in text
    assert "row: Published: table 2." in text
    assert "row: * Not comparable: 80 images are measured here" in text
    assert "row: Left out of the test data, missing views: 3." in text
    assert "alone: No published figure could be read; only ours is shown." in text
    assert "every 64th frame" in text


def test_keys_of_figures():
    assert [figure_key(name) for name in ("P-MPJPE", "PCK@150", "AUC")] == ["p_mpjpe", "pck_150", "auc"]
