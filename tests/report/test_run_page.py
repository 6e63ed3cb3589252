"""Tables of a run's page that only some runs have."""

from __future__ import annotations

import pytest

from vergence.report.run_page import uncertainty_tables

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
