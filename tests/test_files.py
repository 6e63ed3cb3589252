"""Atomic writing and plain JSON values."""

import json
import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float

import vergence
from vergence.errors import VergenceError
from vergence.files import (
    atomic_path,
    check_growth,
    check_writable,
    inside,
    map_npz,
    plain,
    read_arrays,
    read_json,
    read_npz_as,
    read_toml,
    read_yaml,
    remove_leftovers,
    renamed,
    write_json,
    write_npz,
    write_text,
)
from vergence.folders import new_folder


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


@pytest.mark.parametrize(("before", "words"), [("", "Nothing is left of it"), ("old", "The file is as it was")])
def test_what_a_full_disk_leaves_is_told(before: str, words: str, tmp_path: Path) -> None:
    if before:
        (tmp_path / "a.txt").write_text(before)
    with pytest.raises(VergenceError, match=words), atomic_path(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")


def test_an_empty_json_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\n")
    with pytest.raises(VergenceError, match=r"a\.json is empty\. Write it again"):
        read_json(tmp_path / "a.json")


def test_a_place_that_cannot_hold_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VergenceError, match="could not be written"):
        write_text(tmp_path / "file" / "a.txt", "text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(VergenceError, match="Permission denied"):
        write_text(tmp_path / "a.txt", "text")


def test_a_folder_is_tried_before_the_work_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.html").write_text("old")
    check_writable(tmp_path / "page.html")
    check_writable(tmp_path / "new" / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(VergenceError, match=r"page\.html is a file"):
        check_writable(tmp_path / "page.html", folder=True)
    with pytest.raises(VergenceError, match="lies in a file"):
        check_writable(tmp_path / "page.html" / "folder")

    def refused(dir: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    with pytest.raises(VergenceError, match=r"cannot write to .*new: Read-only file system"):
        check_writable(tmp_path / "new")


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


@dataclass(frozen=True)
class Held:
    points: Float[np.ndarray, "T J"]
    names: tuple[str, ...]
    rate: float | None = None
    weight: Float[np.ndarray, " T"] | None = None


def test_an_npz_is_held_to_its_type(tmp_path):
    path, sound = tmp_path / "a.npz", {"points": np.ones((3, 2), int), "names": np.array(["a", "b"])}
    np.savez(path, **sound, rate=np.array([30]))
    found = read_npz_as(path, Held)
    assert found.points.dtype == np.float64
    assert (found.names, found.rate, found.weight) == (("a", "b"), 30.0, None)
    for change, words in (
        ({"points": np.ones(3)}, r"`points` of .* is float64 of shape \(3,\); wanted T J"),
        ({"weight": np.ones(4)}, r"`weight` of .* shape \(4,\); wanted T"),
        ({"rate": "fast"}, "`rate` of .*: it is text, where a number belongs"),
        ({"names": np.arange(2)}, "`names` of .*: the value at .0. is a whole number, where text belongs"),
    ):
        np.savez(path, **(sound | change))
        with pytest.raises(VergenceError, match=words):
            read_npz_as(path, Held)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"ä": [1, NaN]}'.encode(encoding))
    found = read_json(tmp_path / "a.json", dict[str, list[float]])
    assert found["ä"][0] == 1
    assert np.isnan(found["ä"][1])
    (tmp_path / "a.toml").write_bytes('a = "ä"'.encode(encoding))
    assert read_toml(tmp_path / "a.toml") == {"a": "ä"}
    (tmp_path / "a.yaml").write_bytes("a: ä".encode(encoding))
    assert read_yaml(tmp_path / "a.yaml") == {"a": "ä"}


def test_a_key_that_yaml_gives_twice_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &same {b: 1}\nc: {<<: *same, b: 2}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": {"b": 1}, "c": {"b": 2}}
    (tmp_path / "a.yaml").write_text("a: {b: 1,\n  b: 2}\n")
    with pytest.raises(VergenceError, match=r"not readable YAML: the key b is given twice \(line 2\)"):
        read_yaml(tmp_path / "a.yaml")


def test_json_is_held_to_its_type(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, "x"]}')
    with pytest.raises(
        VergenceError, match=r"is no list of lists: the value at \[\.\.\.\]\[1\] is text, where a whole number belongs"
    ):
        read_json(tmp_path / "a.json", dict[str, list[int]], what="list of lists")
    with pytest.raises(VergenceError, match="there is no file"):
        read_json(tmp_path / "b.json")
    with pytest.raises(VergenceError, match="cannot be read: Is a directory"):
        read_json(tmp_path)


def test_a_value_that_fills_a_page_is_cut():
    assert len(str(VergenceError(f"the value is {[0] * 9999}\nor so", "Mend it."))) < 700
    assert "\n" not in str(VergenceError("two\nlines"))


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left, own = tmp_path / "a" / ".poses.0123abcd.npz", [tmp_path / ".cam.partial.jsonl", tmp_path / "a" / "poses.npz"]
    left.parent.mkdir()
    for file in (left, *own):
        file.write_text("x")
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert all(file.exists() for file in own)
    remove_leftovers(tmp_path / "nothing")


def test_an_npz_is_mapped_array_by_array(tmp_path: Path) -> None:
    arrays = {"a": np.arange(7), "name": np.array("höhe"), "b": np.ones((3, 5), np.float32, order="F"), "c": np.eye(2)}
    write_npz(tmp_path / "new.npz", arrays)
    np.savez(tmp_path / "numpys.npz", **arrays)
    for file in ("new.npz", "numpys.npz"):
        found = map_npz(tmp_path / file)
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert isinstance(found[name], np.memmap)
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    assert all(array.ctypes.data % 64 == 0 for array in map_npz(tmp_path / "new.npz").values())
    read = read_arrays(tmp_path / "new.npz")
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    with pytest.raises(ValueError, match="compressed"):
        map_npz(tmp_path / "small.npz")


def test_an_archive_that_grows_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(1 << 22))  # 32 MiB of 32 kB
    with pytest.raises(VergenceError, match=r"0.0313 MiB and would take 32 MiB .* at most 2 GiB and 100 times"):
        read_arrays(tmp_path / "bomb.npz")
    np.savez_compressed(tmp_path / "nobody.npz", x=np.full(1 << 20, np.nan))  # nobody is seen for long: 8 MiB
    assert len(read_arrays(tmp_path / "nobody.npz")["x"]) == 1 << 20
    with open(tmp_path / "large", "wb") as file:
        file.truncate(3 << 30)
    check_growth(tmp_path / "large", 3 << 30)  # large, and does not grow
    with pytest.raises(VergenceError, match="at most 2 GiB"):
        check_growth(tmp_path / "large", 4 << 30)


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "b/../../a.jpg", ""])
def test_names_in_lists_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path / "c", "b/../a.jpg") == tmp_path / "c" / "b/../a.jpg"
    with pytest.raises(VergenceError, match="leads out of"):
        inside(tmp_path / "c", name)


def test_a_full_disk_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource
    import signal

    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(VergenceError, match=r"cannot write to .*: File too large"):
            check_writable(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)
    assert list(tmp_path.iterdir()) == []


PARTS = (
    "files.py",
    "footage/detectors/lines.py",
    "footage/detectors/mediapipe.py",
)  # which write beside the file, and then move


def test_whole_files_are_written_in_one_place_that_leaves_no_half_ones():
    """Not by `Path.write_text` and `Path.write_bytes`: on a full disk they leave half a file, and no sentence."""
    package = Path(vergence.__file__).parent
    found = [
        f"{file.relative_to(package).as_posix()}: {line.strip()}"
        for file in package.rglob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if re.search(r"[\w)]\.write_(text|bytes)\(", line) and file.relative_to(package).as_posix() not in PARTS
    ]
    assert found == []
