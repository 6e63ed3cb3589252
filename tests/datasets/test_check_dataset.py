"""The public call returns what the verb prints. Faults and their words: test_validation.py, commands/test_data_check.py."""

from __future__ import annotations

import numpy as np
import pytest

import vergence


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("check") / "images"
    return vergence.synthesize(out, kind="images", subjects=25, size=48, seed=8, device="cpu")[0]


def test_a_sound_folder_is_told_and_nothing_is_printed(images, capsys):
    told = []
    found = vergence.check_dataset(images, images=3, progress=lambda what, *_: told.append(what))
    assert found.valid
    assert told == [f"{images} is images that `vergence synth --kind images` wrote"]
    assert len(found.records) == 25
    assert found.recipe == ()  # no source reads these
    assert capsys.readouterr() == ("", "")


def test_a_fault_is_a_finding_and_a_senseless_wish_an_error(images, tmp_path):
    with np.load(images / "truth.npz") as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("keypoints.json", "images"):
        (tmp_path / name).symlink_to(images / name)
    np.savez(tmp_path / "truth.npz", **arrays | {"pose": arrays["pose"] / 1000})
    found = vergence.check_dataset(tmp_path)
    assert not found.valid
    assert "in metres" in next(f.found for f in found.findings if f.what == "units")
    with pytest.raises(vergence.VergenceError, match="images is 0"):
        vergence.check_dataset(images, images=0)
