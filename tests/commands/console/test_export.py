"""A page's tables as files for spreadsheets and papers."""

from __future__ import annotations

import csv

from vergence.commands.console.export import table_csv, table_latex, write_tables
from vergence.report.page import Page, Table
from vergence.skeleton import H36M_17

TABLE = Table(
    "Results, studio look",
    ["", "3D labels", "N-MPJPE mm", "against", "share %"],
    [["mine_1", "12,000", "95.0 ± 2.5", "1.2 [-0.3, 2.1]", 99.96], ["mean pose", None, "271.0", "–", 1.88e-13]],
    "measured so & so",
)


def test_csv_holds_plain_numbers_with_spreads_in_columns_of_their_own():
    rows = list(csv.DictReader(table_csv(TABLE).splitlines()))
    assert list(rows[0]) == [
        "name", "3D labels", "N-MPJPE mm", "N-MPJPE mm std", "against", "against low", "against high", "share %"
    ]  # fmt: skip
    assert list(rows[0].values()) == ["mine_1", "12000", "95.0", "2.5", "1.2", "-0.3", "2.1", "99.96"]
    assert list(rows[1].values())[:-1] == ["mean pose", "", "271.0", "", "", "", ""]


def test_latex_is_escaped_and_carries_its_protocol():
    text = table_latex(TABLE)
    assert r"mine\_1 & 12,000 & 95.0 $\pm$ 2.5 & 1.2 [-0.3, 2.1] & 100 \\" in text
    assert r"mean pose & -- & 271.0 & -- & 0 \\" in text
    assert r"\caption{Results, studio look. measured so \& so}" in text
    assert text.count(r"\\") == 3


def test_every_table_with_rows_becomes_two_files(tmp_path):
    empty = Table("Nothing", ["", "a"], [], "none")
    write_tables(Page("t", "s", H36M_17, facts={}, tables=[TABLE, empty]), tmp_path)
    assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == [
        "results-studio-look.csv",
        "results-studio-look.tex",
    ]
