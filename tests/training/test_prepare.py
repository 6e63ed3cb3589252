"""`vergence.prepare` counts what it wrote; what the shards hold: tests/datasets/test_shards.py, tests/commands/test_data.py."""

from __future__ import annotations

import pytest

import vergence
from vergence.training.sources import open_source, parse_source


def test_shards_are_counted_and_their_line_reads_them(tmp_path, capsys):
    told = []
    line = "{kind: world_images, count: 5, look: studio, seed: 2}"
    done = vergence.prepare(
        [line], tmp_path / "out", size=32, workers=1, progress=lambda *all_of_it: told.append(all_of_it)
    )
    assert (done.rows, done.shards, done.unreadable) == (5, 1, 0)
    assert done.size_bytes == sum(
        file.stat().st_size for name in ("index.h5", "shard-*") for file in done.path.glob(name)
    )
    assert told[-1] == ("preparing", 5, 5)
    assert len(open_source(parse_source(done.recipe_line), 32, "h36m_17")) == 5
    assert capsys.readouterr() == ("", "")


def test_numbers_out_of_range_are_refused(tmp_path):
    for wrong, said in (({"size": 8}, "size is 8"), ({"workers": 0}, "workers is 0")):
        with pytest.raises(vergence.VergenceError, match=said):
            vergence.prepare(["{kind: world_images}"], tmp_path / "x", **wrong)
