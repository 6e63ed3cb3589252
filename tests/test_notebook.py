"""The notebook runs from its first cell to its last, and is kept without what it printed."""

from __future__ import annotations

import json
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"


def test_the_notebook_runs_and_is_kept_without_outputs(capsys):
    # Executed cell by cell, without a kernel: nbclient and nbmake bring Jupyter's, a dozen packages, for the same.
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells if cell["outputs"] or cell["execution_count"]] == []
    names: dict = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, cell {number}", "exec"), names)
    said = capsys.readouterr().out
    assert "good" in said
    assert len(names["frames"]) == 60
    assert names["apart"].mean() < 20  # mm
