"""`vergence.search` in Python: the hits, and what is kept and told."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_light import path_of

import vergence
from vergence.errors import VergenceError
from vergence.inference.estimator import Estimator


def boxes_of(folder):
    rows = [f"{frame},{path_of(frame)[0] - 20},{path_of(frame)[1] - 30},40,60" for frame in range(12) if frame != 4]
    (folder / "boxes.csv").write_text("\n".join(["frame,x,y,w,h", *rows]))
    return folder / "boxes.csv"


def test_a_clip_is_found_in_its_own_video_and_nothing_is_printed_or_kept(light_run, light_video, tmp_path, capsys):
    told = []
    x, y = path_of(6)
    found = vergence.search(
        light_run, light_video, light_video, boxes=boxes_of(tmp_path), query_box=(x - 20, y - 30, 40, 60),
        query_frames="6", apart=0.05, top=5, fov=60, device="cpu", progress=lambda *words: told.append(words),
    )  # fmt: skip
    assert capsys.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes.csv"]
    assert [hit.frame for hit in found.hits][:1] == [6]
    assert found.hits[0].distance < 1e-3
    assert (len(found.hits), len(found.index), found.reused) == (5, 11, False)
    assert found.values()["hits"][0] == {
        "rank": 1, "camera": "walk.mp4", "frame": 6, "time": 0.24, "distance": found.hits[0].distance,
    }  # fmt: skip
    assert told[0] == ("indexing", 0, 12)
    images = found.hit_images(32)
    assert set(images) == {("walk.mp4", hit.frame) for hit in found.hits}
    first, image = found.query_image(32)
    assert first == 6
    np.testing.assert_array_equal(image, images["walk.mp4", 6])


def test_an_index_is_kept_where_it_is_asked_for_and_says_so(light_run, light_video, tmp_path):
    estimator = vergence.load(light_run)
    words = {"index": tmp_path / "index.npz", "box": "10,10,200,200", "query_box": "10,10,200,200", "query_frames": "3"}
    first = vergence.search(estimator, light_video, light_video, **words)
    again = vergence.search(estimator, light_video, light_video, **words, top=3)
    assert (first.reused, again.reused) == (False, True)
    assert any("assumed" in note for note in first.notes)
    assert again.notes == (f"{tmp_path / 'index.npz'}: 12 images, indexed before",)
    assert [h.frame for h in again.hits] == [h.frame for h in first.hits][:3]
    nameless = Estimator(estimator.method, estimator.config)
    with pytest.raises(VergenceError, match="not loaded from a run"):
        vergence.search(nameless, light_video, light_video)
