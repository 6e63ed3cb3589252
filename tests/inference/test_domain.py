"""What a model says of itself: who taught it, and how good that was."""

from __future__ import annotations

import csv

import pytest

import vergence
from vergence.files import write_json, write_text
from vergence.inference.domain import Domain, domain_of
from vergence.inference.estimator import load
from vergence.outputs import read_npz

WORLD = {"wild": {"kind": "world_images", "path": ""}, "studio": {"kind": "world_recordings", "path": ""}}


def test_drawn_people_only_are_told_from_drawn_people_too():
    drawn = domain_of({"sources": WORLD})
    assert drawn.drawn
    assert drawn.words.startswith("the run was trained on drawn people of the built-in world only: ")
    both = domain_of({"sources": {**WORLD, "mine": {"kind": "capture", "path": "/data/kitchen"}}})
    assert not both.drawn
    assert both.words == "the run was trained on drawn people of the built-in world and the footage kitchen"
    assert domain_of({}) == Domain()
    assert not domain_of({"sources": {}}).drawn


def test_a_run_of_an_older_version_is_read_from_its_recipe(tmp_path):
    write_text(tmp_path / "recipe.yaml", "sources:\n  a: {kind: world_static}\n")
    assert domain_of({}, tmp_path).drawn
    write_text(tmp_path / "recipe.yaml", "- nonsense\n")
    assert domain_of({}, tmp_path) == Domain()


@pytest.mark.parametrize(
    ("verdicts", "word"), [({"good": 3, "doubtful": 1}, "good"), ({"doubtful": 1}, "doubtful"), ({}, "")]
)
def test_the_verdict_is_that_of_most_recordings(verdicts, word):
    found = domain_of({"labels": {"labels": {"verdicts": verdicts}, "other": {}}})
    assert found.verdict == word
    assert not word or f"{verdicts[word]} of the {sum(verdicts.values())} recordings" in found.reasons[0]


def test_a_lifting_model_says_who_taught_it():
    assert domain_of({"method": "lifting", "taught_by": "me"}) == Domain("me")
    doubtful = domain_of({"method": "lifting", "taught_by": "me", "doubtful": True})
    assert (doubtful.verdict, len(doubtful.reasons)) == ("doubtful", 1)
    assert domain_of({"method": "lifting", "doubtful": False}).verdict == "good"


def test_a_model_says_how_far_it_was_on_held_out_time():
    error = {
        "court": {"n_mpjpe": 42.4, "p_mpjpe": 26.3, "held_out_cameras": []},
        "hall": {"n_mpjpe": 51.0, "p_mpjpe": 30.0, "held_out_cameras": ["c", "d"]},
    }
    for config in ({"method": "lifting"}, {}):
        told = domain_of({**config, "held_out_error": error}).error
        assert "court 42 / 26 mm" in told
        assert "hall by c, d 51 / 30 mm" in told


def test_notes_and_files_begin_with_it(light_run, light_video, tmp_path):
    estimator = load(light_run)
    write_json(tmp_path / "run" / "config.json", {**estimator.config, "sources": WORLD})
    (tmp_path / "run" / "model.safetensors").write_bytes((light_run / "model.safetensors").read_bytes())
    found = vergence.predict(tmp_path / "run", light_video, whole_image=True)
    saved = vergence.save_predicted(found, tmp_path / "out")
    assert saved.notes[0] == found.domain.words
    assert read_npz(tmp_path / "out" / "poses.npz").model == found.domain.words
    with open(tmp_path / "out" / "poses.csv", newline="") as table:
        assert next(csv.DictReader(table))["model"] == found.domain.words
    assert "drawn people" in (tmp_path / "out" / "poses.json").read_text()
