"""The mutants that `scripts/mutants.py` plants: which there are, which are drawn, and that one is caught or survives."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "mutants.py"
sys.path.insert(0, str(SCRIPT.parent))
mutations, mutants = importlib.import_module("mutations"), importlib.import_module("mutants")

MODULE = '''"""A docstring of 1 + 2."""
LIMIT = 3.0  # a setting
LOW, HIGH = 0.5, -2
AXES = [1, -1.0]


def between(a: Array, b: Array, scale: float = 2.0) -> Array[3]:
    """From a to b."""
    if a < b:
        raise VergenceError(f"{a - 1} is below", "Take 2.")
    return scale * (b[..., 0] + 0.5) - a[-1]


def use(x, y):
    z = between(x, y)
    z += 1e-9 * x.sum(axis=-1)
    return "a" + z @ y
'''


def changed(text: str = MODULE) -> list[str]:
    source = mutations.Source("room/module.py", text.encode())
    found = list(mutations.candidates(source, mutations.signatures_of([ast.parse(text)])))
    for mutant in found:
        ast.parse(text.encode()[: mutant.start] + mutant.new.encode() + text.encode()[mutant.end :])
    return [mutant.after for mutant in found]


def test_every_sign_factor_index_comparison_and_order_is_changed_and_no_setting_or_message() -> None:
    assert sorted(changed()) == sorted([
        "AXES = [2, -1.0]", "AXES = [1, 1.0]", "if a <= b:", "if a > b:",
        "return scale / (b[..., 0] + 0.5) - a[-1]", "return scale * (b[..., 1] + 0.5) - a[-1]",
        "return scale * (b[..., 0] - 0.5) - a[-1]", "return scale * (b[..., 0] + 0.0) - a[-1]",
        "return scale * (b[..., 0] + 0.5) + a[-1]", "return scale * (b[..., 0] + 0.5) - a[-2]",
        "z = between(y, x)", "z -= 1e-9 * x.sum(axis=-1)", "z += 1e-9 / x.sum(axis=-1)", "z += 1e-9 * x.sum(axis=-2)",
        'return "a" + ((y) @ (z))',
    ])  # fmt: skip


def test_lines_of_no_functions_body_run_on_import() -> None:
    source = mutations.Source("room/module.py", MODULE.encode())
    own = [number for number, line in enumerate(MODULE.splitlines(), 1) if line and source.on_import(number)]
    assert own == [1, 2, 3, 4, 7, 14]


def test_pairs_of_one_kind_are_exchanged_and_no_others() -> None:
    text = "def f(a):\n    h, w = a.shape\n    k, d = a\n    return g(w), (a.x, a.y), [w, k]\n"
    assert changed(text) == ["w, h = a.shape", "return g(w), (a.y, a.x), [w, k]"]


def test_mutants_that_cannot_be_noticed_are_counted_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [
        mutants.Mutant(f"{room}/a.py", "f", n, f"x{n}", "y", 0, 1, "y") for n, room in enumerate(["b", "a", "b", "b"])
    ]
    monkeypatch.setattr(mutants, "EQUIVALENT", {drawn[3].place: "the same"})
    known = {drawn[0].place: "test_f", drawn[1].place: "", drawn[2].place: "signal 24"}
    assert mutants.summary(drawn, known).splitlines() == [
        "b: 2 of 2", "a: 0 of 1", "2 of 3 caught; 1 more cannot be noticed"
    ]  # fmt: skip
    del known[drawn[0].place]
    assert mutants.summary(drawn, known).splitlines() == [
        "a: 0 of 1", "b: 1 of 1", "1 of 2 caught; 1 more cannot be noticed", "1 could not be tried: run it again"
    ]  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one room in which one function is tested and another is not."""
    for folder in ("src/vergence/metrics", "tests/metrics"):
        (tmp_path / folder).mkdir(parents=True)
    for package in ("", "metrics/"):
        (tmp_path / "src/vergence" / package / "__init__.py").write_text("")
    (tmp_path / "src/vergence/metrics/sums.py").write_text(
        "def half(x):\n    return x / 2\n\n\ndef less(x):\n    return x - 1\n"
    )
    (tmp_path / "tests/metrics/test_sums.py").write_text(
        "from vergence.metrics import sums\n\n\ndef test_half():\n    assert sums.half(3) == 1.5\n"
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    return tmp_path


def test_a_draw_is_a_sample_of_its_seed_and_does_not_change_with_what_stands_elsewhere(tree: Path) -> None:
    draws = [[m.after for m in mutants.draw(tree / "src", seed, 2, {"metrics": 1})] for seed in range(20)]
    assert all(len(drawn) == 2 for drawn in draws)
    assert all(("x *" in " ".join(drawn)) != ("x / 3" in " ".join(drawn)) for drawn in draws)  # one a line
    assert {after for drawn in draws for after in drawn} == {
        "return x * 2", "return x / 3", "return x + 1", "return x - 2"
    }  # fmt: skip
    file = tree / "src/vergence/metrics/sums.py"
    file.write_text("A = 5\n\n\n" + file.read_text())
    assert draws == [[m.after for m in mutants.draw(tree / "src", seed, 2, {"metrics": 1})] for seed in range(20)]


def planted(tree: Path) -> tuple[int, list[str]]:
    """The script's status, and its lines on each mutant and on all of them."""
    program = f"""
import pathlib, sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import mutants
mutants.ROOT = pathlib.Path({str(tree)!r})
mutants.SHARES = {{"metrics": 1}}
sys.argv[1:] = ["--count", "4", "--out", {str(tree / "out" / "found.jsonl")!r}]
sys.exit(mutants.main())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    words = ("caught", "could not")
    return run.returncode, [
        line for line in run.stdout.splitlines() if line[:1].isdigit() or any(w in line for w in words)
    ]


ENDS = (
    "os.abort()",
    "signal.raise_signal(signal.SIGKILL)",
    "os._exit(3)",
)  # a crash, no memory left, an end without a word
WAYS = ("signal 6", "signal 9", "exit status 3")


@pytest.mark.parametrize(("end", "how"), list(zip(ENDS, WAYS)))
def test_a_fault_that_ends_the_process_each_time_is_caught(tree: Path, end: str, how: str) -> None:
    pytest.importorskip("coverage")
    test = tree / "tests/metrics/test_sums.py"
    test.write_text(
        "import os, signal\n\nfrom vergence.metrics import sums\n\n\n"
        f"def test_half():\n    if sums.half(3) != 1.5:\n        {end}\n"
    )
    status, said = planted(tree)
    assert status == 0
    assert [line.partition(" ")[2] for line in said if ":2 " in line] == [f"metrics/sums.py:2 caught by {how}"]
    assert said[-1].endswith("1 of 2 caught; 0 more cannot be noticed")


def test_a_process_that_ends_once_or_also_without_the_fault_tells_nothing_of_it(tree: Path) -> None:
    """One that was killed is run again; one that always ends is no result, is not kept, and makes the script's status 1."""
    pytest.importorskip("coverage")
    test, once = tree / "tests/metrics/test_sums.py", tree / "once"
    text = f"import os, pathlib\n\nfrom vergence.metrics import sums\n\nONCE = pathlib.Path({str(once)!r})\n\n\n"
    noting = '"coverage" in __import__("sys").modules'
    killed = (
        "    if not ONCE.exists():\n        ONCE.write_text('')\n        os.abort()\n    assert sums.half(3) == 1.5\n"
    )
    test.write_text(f"{text}def test_half():\n    if {noting}:\n        return sums.half(3)\n{killed}")
    status, said = planted(tree)
    assert (status, once.exists()) == (0, True)
    assert "metrics/sums.py:2 caught by tests/metrics/test_sums.py::test_half" in [s.partition(" ")[2] for s in said]
    (tree / "out" / "found.jsonl").unlink()
    test.write_text(f"{text}def test_half():\n    sums.half(3)\n    if not {noting}:\n        os.abort()\n")
    status, said = planted(tree)
    assert status == 1
    assert "metrics/sums.py:2 NOT TRIED" in [line.partition(" ")[2] for line in said]
    assert said[-1] == "2 could not be tried: run it again"  # no test runs the other one's line, so it meets all
    assert not (tree / "out" / "found.jsonl").exists()


def test_a_fault_is_caught_by_name_or_survives_and_the_tree_is_left_alone(tree: Path) -> None:
    """By tests that run its line only; one on import by a test of the module's file."""
    pytest.importorskip("coverage")
    source, test = tree / "src/vergence/metrics/sums.py", tree / "tests/metrics/test_sums.py"
    source.write_text(source.read_text() + "\n\nPARTS = [2]\n\n\ndef cut(x):\n    return x[\n        1:\n    ]\n")
    test.write_text(test.read_text() + "\n\ndef test_cut():\n    assert sums.cut([1, 2]) == sums.PARTS\n")
    before = {file: file.read_bytes() for file in tree.rglob("*.py")}
    for _ in range(2):  # the second goes on where the first ended: at its end
        status, said = planted(tree)
        assert status == 0
        by = "caught by tests/metrics/test_sums.py::test_"
        assert sorted(line.partition(" ")[2] for line in said) == sorted([
            f"metrics/sums.py:2 {by}half", "metrics/sums.py:6 SURVIVED", f"metrics/sums.py:9 {by}cut",
            f"metrics/sums.py:14 {by}cut", "of 4 caught; 0 more cannot be noticed",
        ])  # fmt: skip
    noted = json.loads((tree / "build/mutants/tests/metrics/test_sums.py.json").read_text())
    assert noted["lines"] == {
        "metrics/sums.py return x / 2": ["tests/metrics/test_sums.py::test_half"],
        "metrics/sums.py return x[": ["tests/metrics/test_sums.py::test_cut"],
        "metrics/sums.py 1:": ["tests/metrics/test_sums.py::test_cut"],
    }
    assert len((tree / "out" / "found.jsonl").read_text().splitlines()) == 4
    assert all(file.read_bytes() == text for file, text in before.items())
