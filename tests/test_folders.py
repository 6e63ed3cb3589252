"""Folders of results: one process has them, a killed one leaves nothing in the way, a refused call no folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from vergence import folders
from vergence.errors import VergenceError
from vergence.folders import LOCK, UNFINISHED, begun, check_replaced, claim, differences, held, new_folder, nothing_left

CHILD = """
import os, sys, time
from vergence.folders import held
with held(sys.argv[1]):
    forked = os.fork()  # as a data loader's worker, which outlives a killed parent
    if forked:
        print(forked, flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_told_and_a_killed_one_is_not_in_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "PATIENCE_S", 0.0)
    out = tmp_path / "a" / "out"
    first = subprocess.Popen([sys.executable, "-c", CHILD, str(out)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    worker = int(first.stdout.readline())
    try:
        with (
            pytest.raises(VergenceError, match=rf"process {first.pid} on .* is writing to .*out.*Wait until"),
            held(out),
        ):
            pass
        half, other = out / "tables" / ".poses.1234abcd.npz", out / ".mine.npz"
        half.parent.mkdir()
        half.touch()
        other.touch()
        first.kill()
        first.wait()
        with held(out):
            assert not half.exists()  # nobody goes on with what was not finished
            assert other.exists()
            assert (out / LOCK).read_text().startswith(f"process {os.getpid()} ")
    finally:
        os.kill(worker, signal.SIGKILL)
        first.kill()


def test_what_was_made_for_the_lock_goes_where_nothing_was_written(tmp_path):
    with held(tmp_path / "a" / "b"), held(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / "a"):
        new_folder(tmp_path / "a")  # the lock does not count
        (tmp_path / "a" / "result").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["result"]


@pytest.mark.parametrize(("name", "stays"), [("half.txt", False), ("last.ckpt", True), ("keypoints.jsonl", True)])
def test_a_refused_call_leaves_no_folder_but_what_took_time(tmp_path, name, stays):
    out = tmp_path / "a" / "out"
    with pytest.raises(VergenceError, match="no"), held(out), nothing_left(out), held(out):  # noqa: PT012
        (out / name).touch()
        raise VergenceError("no")
    assert (out / name).exists() == stays
    assert (tmp_path / "a").exists() == stays


def test_what_did_not_end_begins_anew_with_the_same_values_only(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyError), begun(out, {"size": 64}):  # noqa: PT012
        (out / "0.jpg").touch()
        raise KeyError
    with (
        pytest.raises(VergenceError, match="what another call did not end: size is 64 there and 65 here"),
        begun(out, {"size": 65}),
    ):
        pass
    with begun(out, {"size": 64}):
        assert [path.name for path in sorted(out.iterdir())] == ["0.jpg", UNFINISHED]
    assert [path.name for path in out.iterdir()] == ["0.jpg"]
    with pytest.raises(VergenceError, match="is not empty"), begun(out, {"size": 64}):
        pass


def test_results_of_something_else_are_not_replaced_and_own_ones_with_a_word(tmp_path):
    assert check_replaced(tmp_path / "new", "hits", "a search") == ""
    (tmp_path / "keypoints").mkdir()
    assert check_replaced(tmp_path, "hits", "a search") == ""  # what other steps left there
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(
        VergenceError, match=r"holds other results than a search\. Choose another --out, or delete it\."
    ):
        check_replaced(tmp_path, "hits", "a search")
    (tmp_path / "results.json").write_text('{"verdict": "good"}')
    with pytest.raises(VergenceError, match="holds other results than a search"):
        check_replaced(tmp_path, "hits", "a search")
    (tmp_path / "results.json").write_text('{"hits": []}')
    told = f"{tmp_path} holds a search of an earlier call, which this one will replace"
    assert check_replaced(tmp_path, "hits", "a search") == told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1}}, ""),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, "a.c is 2 there and 3 here"),
        ({"a": True}, {"a": False}, "a is true there and false here"),
        ({"a": 1}, {"a": 1, "b": [2]}, "b is not given there and [2] here"),
        ({"a": [1, 2], "b": "x"}, {"a": [1], "b": "y"}, "a is [1, 2] there and [1] here; b is 'x' there and 'y' here"),
        ({"s": {"wild": {"seed": 1}}}, {"s": {}}, "s.wild is given (seed) there and not given here"),
        (dict.fromkeys("abcde", 1), dict.fromkeys("abcde", 2),
         "; ".join(f"{key} is 1 there and 2 here" for key in "abcde")),
        (dict.fromkeys("abcdefg", 1), dict.fromkeys("abcdefg", 2),
         "; ".join(f"{key} is 1 there and 2 here" for key in "abcde") + "; and 2 more keys"),
    ],
)  # fmt: skip
def test_all_differences_are_named_where_they_lie(old, new, told):
    assert differences(old, new) == told


def test_a_folder_of_something_else_is_refused_with_all_that_differs(tmp_path):
    claim(tmp_path / "made_of.yaml", {"seed": 1, "height": 1.7, "views": 2}, "another model")
    claim(tmp_path / "made_of.yaml", {"seed": 1, "height": 1.7, "views": 2}, "another model")
    with pytest.raises(
        VergenceError, match=r"holds another model: seed is 1 there and 2 here; height is 1\.7 there and 1\.8"
    ):
        claim(tmp_path / "made_of.yaml", {"seed": 2, "height": 1.8, "views": 2}, "another model")
