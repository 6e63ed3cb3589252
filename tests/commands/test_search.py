"""`vergence search` from words to files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from vergence.cli import main
from vergence.inference import estimator as estimators
from vergence.methods.registry import build_method
from vergence.recipes.recipe import NetworkSettings
from vergence.world import recordings

NETWORK = NetworkSettings(
    embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], width=8, pose_embedding=16, pose_hidden=16
)


def saved(folder, name):
    torch.manual_seed(0)
    method = build_method(name, NETWORK, "h36m_17")
    estimators.save(method, folder, name, NETWORK, 32)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Untrained, with an embedding: a fixed function of its images."""
    return saved(tmp_path_factory.mktemp("run"), "mcss")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    views = recordings(1, 8, 1, 64, seed=5)
    for i, image in enumerate(views.image):
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(folder / f"{i:03d}.png")
    return folder


def ask(*words, whole: bool = True) -> int:
    more = ["--whole_image", "true"] if whole else []
    return main(["search", *(str(w) for w in words), *more, "--device", "cpu", "--quiet"])


def test_an_image_of_the_footage_is_its_own_first_hit(run, images, tmp_path):
    words = [run, images / "004.png", "--footage", images, "--out", tmp_path, "--fps", "10", "--apart", "0.1"]
    assert ask(*words, "--top", "3") == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert len(found["hits"]) == 3
    first = found["hits"][0]
    assert (first["frame"], first["time"], first["rank"], first["image"]) == (4, 0.4, 1, "004.png")
    assert first["distance"] < 1e-3
    assert found["index"]["reused"] is False
    assert "embedding" in found["protocol"]["descriptor"]
    page = (tmp_path / "report.html").read_text()
    assert "004.png, 0.40 s (frame 4)" in page
    assert page.count("data:image/png") >= 4  # the query and a thumbnail for each hit


def test_an_index_is_used_again_until_something_changes(run, images, tmp_path):
    words = [run, images / "002.png", "--footage", images, "--out", tmp_path]

    def reused(*more) -> bool:
        assert ask(*words, *more) == 0
        return json.loads((tmp_path / "results.json").read_text())["index"]["reused"]

    assert [reused(), reused(), reused("--top", "2"), reused("--every", "2")] == [False, True, True, False]
    assert reused("--every", "2")
    os.utime(images / "001.png", ns=(1, 1))
    assert not reused("--every", "2")
    other = saved(tmp_path / "run2", "mcss")
    weights = build_method("mcss", NETWORK, "h36m_17")
    estimators.save_weights(weights, other / "model.safetensors")
    words[0] = other
    assert not reused("--every", "2")


def test_an_index_of_an_older_version_is_used_and_brought_up_to_date(run, images, tmp_path):
    words, path = [run, images / "002.png", "--footage", images, "--out", tmp_path], tmp_path / "index.npz"
    assert ask(*words) == 0
    hits = json.loads((tmp_path / "results.json").read_text())["hits"]
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name not in ("axes", "sketch")}
    np.savez(path, **arrays)
    assert ask(*words) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert (found["index"]["reused"], found["hits"]) == (True, hits)
    with np.load(path) as file:
        assert "sketch" in file.files


def test_refused_footage_leaves_no_folder(run, images, tmp_path):
    words = [run, images / "000.png", "--footage", images, "--box", "900,900,9,9", "--out", tmp_path / "out"]
    assert ask(*words) == 2
    assert not (tmp_path / "out").exists()


def test_a_clip_is_found_where_it_was_taken(run, images, tmp_path):
    words = [run, images, "--footage", images, "--out", tmp_path, "--query_frames", "3-5"]
    assert ask(*words) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["query"]["images"] == 3
    assert found["hits"][0]["frame"] == 3


def test_a_run_without_an_embedding_is_searched_by_its_poses(images, tmp_path):
    run = saved(tmp_path / "run", "supervised")
    assert ask(run, images / "006.png", "--footage", images, "--out", tmp_path) == 0
    page = (tmp_path / "report.html").read_text().replace("<wbr>", "")
    assert f"<dt>footage</dt><dd>{images}</dd>" in page
    assert "<dt>digest of the footage</dt>" in page
    found = json.loads((tmp_path / "results.json").read_text())
    assert "predicted poses" in found["protocol"]["descriptor"]
    assert found["hits"][0]["frame"] == 6


def test_a_capture_is_searched_in_all_its_cameras_at_its_own_time(run, tmp_path):
    capture = tmp_path / "capture"
    words = ["synth", capture, "--frames", "6", "--views", "2", "--size", "96", "--quiet"]
    assert main([str(w) for w in words]) == 0
    head = (capture / "capture.toml").read_text()
    (capture / "capture.toml").write_text(head + "\n# touched\n")
    assert ask(run, capture / "cam01.mp4", "--footage", capture, "--out", tmp_path / "out", "--query_frames", "2",
               "--apart", "0", "--top", "12") == 0  # fmt: skip
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {h["camera"] for h in found["hits"]} == {"cam01", "cam02"}
    assert len(found["hits"]) == found["footage"]["images"] == 12
    assert all(h["time"] == pytest.approx(h["frame"] / 25) for h in found["hits"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "QUERY"], "--footage is not given"),
        (["RUN", "QUERY", "--footage", "nowhere"], "there is no nowhere"),
        (["RUN", "nothing.png", "--footage", "IMAGES"], "there is no nothing.png. QUERY is: image, or a clip"),
        (["IMAGES", "QUERY", "--footage", "IMAGES"], "not a finished run"),
        (["RUN", "QUERY", "--footage", "IMAGES", "--top", "0"], "--top 0"),
        (["RUN", "QUERY", "--footage", "IMAGES", "--frames", "90"], "frames 0 to 7"),
        (["RUN", "QUERY", "--footage", "IMAGES", "--box", "1,2"], "--box 1,2"),
        (["RUN", "QUERY", "--footage", "IMAGES", "--box", "1,2,9,9", "--keypoints", "IMAGES"], "given twice"),
        (["RUN", "QUERY", "--footage", "IMAGES", "--query_box", "900,900,9,9"], "nobody was seen in the query"),
        (["RUN", "QUERY", "--footage", "IMAGES", "--box", "900,900,9,9"], "nobody was seen in any of the footage"),
    ],
)
def test_wrong_words_are_one_sentence(words, said, run, images, tmp_path, capsys):
    place = {"RUN": run, "QUERY": images / "000.png", "IMAGES": images}
    assert ask(*(place.get(w, w) for w in words), "--out", tmp_path) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_damaged_index_is_one_sentence(run, images, tmp_path, capsys):
    (tmp_path / "index.npz").write_bytes(b"PK nothing")
    assert ask(run, images / "000.png", "--footage", images, "--out", tmp_path) == 2
    assert "Delete it" in capsys.readouterr().err
    assert np.array_equal((tmp_path / "index.npz").read_bytes(), b"PK nothing")


def test_a_query_whose_person_nothing_places_is_told_before_the_footage_is_looked_at(run, images, tmp_path, capsys):
    Image.new("RGB", (80, 60)).save(tmp_path / "query.png")
    words = [run, tmp_path / "query.png", "--footage", images, "--box", "0,0,60,60", "--out", tmp_path / "out"]
    assert ask(*words, whole=False) == 2
    error = capsys.readouterr().err
    assert "nothing says where the person is in the query query.png. Give --query-box, or --whole-image" in error
    assert not (tmp_path / "out").exists()
    words = [run, tmp_path / "query.png", "--query_box", "0,0,60,60", "--footage", images, "--out", tmp_path / "out"]
    assert ask(*words, whole=False) == 2
    error = capsys.readouterr().err
    assert (
        f"nothing says where the person is in {images.name}. Give --box, --boxes or --keypoints, or the capture"
        in error
    )
