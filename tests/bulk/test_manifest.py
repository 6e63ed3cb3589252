"""Manifests: what a line may be, names, and paths that lead elsewhere."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from vergence.bulk.manifest import CODE, INPUTS, OWN_PATHS, Recording, check_options, read_manifest
from vergence.bulk.places import inside
from vergence.bulk.task import Task, _words
from vergence.cli import function_of
from vergence.errors import VergenceError


def named(tmp_path, text: str) -> list[str]:
    (tmp_path / "list.txt").write_text(text)
    return [one.name for one in read_manifest(tmp_path / "list.txt")[0]]


def test_names_are_the_paths(tmp_path):
    text = "\ufeffs1/walk 1.mp4\r\ns2/walk.mp4\n# no\n\n./takes/a/\nmemory://bucket/x/y.mp4\n"
    assert named(tmp_path, text) == ["s1-walk_1", "s2-walk", "takes-a", "bucket-x-y"]
    assert read_manifest(["a", "b"])[0][1].path == "b"
    assert read_manifest(tmp_path / "list.txt")[1] == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no recordings"),
        ("a/b.mp4\na/B.mov", "are both called"),
        ('{"path": "a"', "line 1 .* is not readable JSON"),
        ('a\n{"path": "a", "nmae": "b"}', "line 2 .* has a key 'nmae'"),
        ('{"path": 3}', "has path 3"),
        ('{"path": "a", "name": "../b"}', "is called '../b'"),
        ('{"path": "a", "name": "Batch"}', "is called 'Batch'"),
        ("..", "is called ''"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, text, problem):
    with pytest.raises(VergenceError, match=problem):
        named(tmp_path, text)
    with pytest.raises(VergenceError, match=r" is a folder\. A manifest is a text file"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("/data", "../etc"),
        ("/data", "/etc/passwd"),
        ("/data", "a/../../etc"),
        ("/data", "/database"),
        ("/data", "file:///etc/passwd"),
        ("/data", ""),
        ("/data", "zip://x::file:///etc/passwd"),
        ("s3://bucket/data", "../other"),
        ("s3://bucket/data", "s3://bucket/database"),
        ("s3://bucket/data", "s3://bucket/data/../x"),
    ],
)
def test_paths_stay_in_their_folder(root, path):
    with pytest.raises(VergenceError, match="leads out of"):
        inside(root, path)


def test_paths_in_it_are_found():
    assert inside("/data", "a/./b") == "/data/a/b"
    assert inside("/data", "/data/a") == "/data/a"
    assert inside("/data", "s3://bucket/a") == "s3://bucket/a"
    assert inside("s3://bucket/data", "a") == "s3://bucket/data/a"
    assert inside("s3://bucket/data", "s3://bucket/data/a") == "s3://bucket/data/a"


def test_options_are_the_verbs():
    check_options("predict", {"run": "x", "formats": "npz", "keypoints": "k"})
    for name in ("out", "input", "quiet", "sped"):
        with pytest.raises(VergenceError, match=name):
            check_options("predict", {name: 1})
    for verb, names in OWN_PATHS.items():
        check_options(verb, dict.fromkeys(names, "x"), own=True)
    with pytest.raises(VergenceError, match="no option 'plugins' for a recording of a manifest"):
        check_options("predict", {"plugins": "mine.py"}, own=True)


@pytest.mark.parametrize("verb", INPUTS)
def test_paths_of_a_recordings_options_stay_in_the_folder(verb, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.toml").touch()
    for name in OWN_PATHS[verb]:
        task = Task(verb, Recording("a", "a", {name: "/etc/hostname"}), str(tmp_path), str(tmp_path / "out"), {})
        with pytest.raises(VergenceError, match="'/etc/hostname' leads out of"):
            _words(task, tmp_path, tmp_path / "out")
        task = Task(verb, Recording("a", "a", {name: "a/mine.toml"}), str(tmp_path), str(tmp_path / "out"), {})
        assert f"--{name}={tmp_path / 'a' / 'mine.toml'}" in _words(task, tmp_path, tmp_path / "out")
    task = Task(verb, Recording("a", "a", {"markers": "opensim"}), str(tmp_path), str(tmp_path / "out"), {})
    assert "--markers=opensim" in _words(task, tmp_path, tmp_path / "out")


@pytest.mark.parametrize("verb", INPUTS)
def test_every_option_of_a_recording_that_is_a_path_is_held_to_its_folder(verb):
    function = function_of(verb)
    paths = {name for name, hint in get_type_hints(function).items() if Path in (hint, *get_args(hint))}
    paths |= {"markers"} & set(inspect.signature(function).parameters)  # a preset or a file
    assert paths - {"out", INPUTS[verb], *CODE} == set(OWN_PATHS[verb])
