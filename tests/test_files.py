"""Atomic writing and plain JSON values."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from vergence.errors import VergenceError
from vergence.files import atomic_path, new_folder, plain, read_arrays, renamed, write_json, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.txt") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise ZeroDivisionError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_full_disk_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match=r"a\.txt could not be written: No space"), atomic_path(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_hold_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VergenceError, match="could not be written"):
        write_text(tmp_path / "file" / "a.txt", "text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(VergenceError, match="Permission denied"):
        write_text(tmp_path / "a.txt", "text")


def test_plain_values(tmp_path: Path) -> None:
    @dataclass
    class Part:
        x: float
        y: tuple[int, ...]

    value = {"a": np.array([1.0, np.nan]), "b": Part(float("inf"), (1, 2)), 3: torch.ones(1), "p": Path("x"), "n": None}
    expected = {"a": [1.0, None], "b": {"x": None, "y": [1, 2]}, "3": [1.0], "p": "x", "n": None}
    assert plain(value) == expected
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text()) == expected
    assert plain(np.float32(2)) == 2.0
    assert plain(np.bool_(True)) is True


def test_arrays_that_are_missing_damaged_or_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(VergenceError, match=r"there is no file .*a\.npz"):
        read_arrays(path)
    np.savez(path, a=np.arange(3))
    assert read_arrays(path, ("a",))["a"].tolist() == [0, 1, 2]
    with pytest.raises(VergenceError, match=r"has no `b`; it has a\. Make it again"):
        read_arrays(path, ("a", "b"), "Make it again.")
    for damaged in (b"no", b"PK", path.read_bytes()[:-60]):
        (tmp_path / "b.npz").write_bytes(damaged)
        with pytest.raises(VergenceError, match="not a readable NPZ"):
            read_arrays(tmp_path / "b.npz")
    np.save(tmp_path / "one.npy", np.arange(3))
    with pytest.raises(VergenceError, match="not a readable NPZ"):
        read_arrays(tmp_path / "one.npy")
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(VergenceError, match="not a readable NPZ"):
        read_arrays(path)


def test_a_folder_is_new_or_empty(tmp_path: Path) -> None:
    new_folder(tmp_path / "a" / "b")
    new_folder(tmp_path / "a" / "b")
    with pytest.raises(VergenceError, match="a is not empty"):
        new_folder(tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(VergenceError, match="cannot write to"):
        new_folder(tmp_path / "file")


def test_old_keys_are_read_with_one_warning_that_names_them():
    names = {"pictures": "images", "clip": "grad_clip"}
    with pytest.warns(
        FutureWarning, match=r"a\.json has keys.*pictures is now images, clip is now grad_clip"
    ) as caught:
        found = renamed({"pictures": 3, "clip": 1, "seed": 2}, names, "a.json")
    assert (found, len(caught)) == ({"images": 3, "grad_clip": 1, "seed": 2}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert renamed({"images": 3}, names, "a.json") == {"images": 3}
