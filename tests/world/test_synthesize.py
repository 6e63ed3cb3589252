"""The public call: folders come back, progress is told, nothing is printed. The files: tests/commands/test_synth.py."""

from __future__ import annotations

import pytest

import vergence
from vergence.footage.capture import load_capture


def test_each_person_is_a_capture_and_progress_counts_frames(tmp_path, capsys):
    told = []
    out = tmp_path / "c"
    folders = vergence.synthesize(
        out, subjects=2, frames=3, views=2, size=32, device="cpu", progress=lambda *all_of_it: told.append(all_of_it)
    )
    assert folders == [out / "person01", out / "person02"]
    assert [load_capture(folder).names for folder in folders] == [["cam01", "cam02"]] * 2
    assert told == [("drawing", done, 6) for done in range(1, 7)]
    assert capsys.readouterr() == ("", "")


def test_one_capture_and_images_are_the_folder_itself(tmp_path):
    faults = vergence.Faults(noise_px=1.0)
    for kind in ("capture", "images"):
        out = tmp_path / kind
        folders = vergence.synthesize(
            out, kind=kind, subjects=1, frames=1, views=2, size=32, faults=faults, device="cpu"
        )
        assert folders == [out]


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(vergence.VergenceError, match="no kind 'movies'"):
        vergence.synthesize(tmp_path / "x", kind="movies")
    assert not (tmp_path / "x").exists()
