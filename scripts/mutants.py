"""Plants single faults in the sources and says which of them the tests notice. Takes an hour: outside CI.

    python scripts/mutants.py --seed 1 --count 100 --out build/mutants-1.jsonl

A mutant is one change of one expression: an arithmetic operator, a comparison, a number, an index, a sign, two arguments of
one type or a pair as `width, height` in the other order. All places for one are found in the syntax tree. A hash of the seed,
the module, the function and the line says which are taken, so each seed is a sample of its own, and an edit elsewhere does not
draw new ones. Left out is what is no behaviour: messages, annotations, defaults, numbers that stand alone at a module's or
class's top (settings, of which a neighbour is as right), and those below 1e-4 (tolerances).

For each mutant run, until a test fails: the module's own test file, the room's other tests that import the module, those
of other rooms that do, and the test files of modules that import it; of each first what names the function, then the fastest. A
failure counts only if the same test passes without the mutant, or did under another. Everything happens in a copy of the tree.
Results are kept line by line in `--out`: the same command goes on where it was, and with `--again` runs what survived once
more, after tests were added.

A mutant that cannot change any result is no fault that a test could notice. Those found so far are in `mutants.toml`, each
with its reason: they are drawn like all others, not run, and counted by themselves.

Not mutmut nor cosmic-ray: the first runs all mutants of whole modules and chooses tests by a traced run of all of them, the
second runs one command for all; neither draws an even sample of rooms. An interpreter a mutant would import torch for longer
than most tests take: here each run is forked off a process that has imported the libraries.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHARES = {
    "geometry": 14,
    "reconstruction": 16,
    "footage": 16,
    "datasets": 12,
    "methods": 10,
    "batches": 10,
    "metrics": 8,
    "outputs": 8,
    "networks": 6,
}
LIBRARIES = (
    "numpy scipy.optimize scipy.spatial torch lightning transformers cv2 av h5py hypothesis pytest rich PIL.Image"
)
OPERATORS = {ast.Add: "+-", ast.Sub: "-+", ast.Mult: "*/", ast.Div: "/*"}
COMPARISONS: dict[type, tuple[str, list[str]]] = {
    ast.Lt: ("<", ["<=", ">"]), ast.LtE: ("<=", ["<", ">="]), ast.Gt: (">", [">=", "<"]), ast.GtE: (">=", [">", "<="]),
    ast.Eq: ("==", ["!="]),
}  # fmt: skip
FLOATS = {0.5: "0.0", 0.0: "1.0", 1.0: "2.0"}
ORDERED = {"cross": 0, "arctan2": 0, "where": 1}  # functions of others whose arguments, from this one on, have an order
MESSAGES = {"VergenceError", "warn", "round", "isinstance"}
SETTINGS = set(
    "timeout decimals digits indent width maxsize maxlen stacklevel max_iter iterations seed atol rtol".split()
)
PAIRS = [
    set(words.split())
    for words in ("width height", "w h", "x y", "u v", "row column", "rows columns", "fx fy", "cx cy")
]
TOLERANCE = 1e-4
EQUIVALENT = {
    (entry["module"], entry["before"], entry["after"]): entry["why"]
    for entry in tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())["same"]
}


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes from `start` to `end` of a module become `new`."""

    module: str
    function: str
    number: int
    before: str
    after: str
    start: int
    end: int
    new: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells it from others, whatever lines stand above it."""
        return self.module, self.before, self.after


class Source:
    """A module's text with places in it by syntax node."""

    def __init__(self, module: str, text: bytes) -> None:
        self.module, self.text, self.tree = module, text, ast.parse(text)
        self.lines = [0]
        for line in text.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def start(self, node: Any) -> int:
        return self.lines[node.lineno - 1] + node.col_offset

    def end(self, node: Any) -> int:
        return self.lines[node.end_lineno - 1] + node.end_col_offset

    def of(self, node: Any) -> str:
        return self.text[self.start(node) : self.end(node)].decode()

    def mutant(self, function: str, start: int, end: int, new: str) -> Mutant:
        number = next(n for n, at in enumerate(self.lines) if at > start)
        first, last = self.lines[number - 1], self.lines[number]
        stop = max(last, end)
        before = self.text[first:last].decode().strip()
        after = (self.text[first:start] + new.encode() + self.text[end:stop]).decode().split("\n")[0].strip()
        return Mutant(self.module, function, number, before, after, start, end, new)


def number_of(node: ast.AST | None) -> int | float | None:
    """The number that a node is, without its sign."""
    while isinstance(node, ast.UnaryOp):
        node = node.operand
    known = isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return node.value if known else None  # type: ignore[union-attr]


def is_setting(node: ast.Assign | ast.AnnAssign, value: ast.AST) -> bool:
    """Whether a module's or class's name gets a plain number, or several names get one each."""
    several = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(value, ast.Tuple)
    return all(number_of(part) is not None for part in (value.elts if several else [value]))  # type: ignore[attr-defined]


def called(node: ast.Call) -> str:
    """`f` of `f()` and of `a.b.f()`."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def inner(node: ast.AST, top: bool) -> Iterator[tuple[ast.AST, bool]]:
    """The parts of a node that are behaviour, and whether an integer in them is an index."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "defaults", "kw_defaults", "type_params", "format_spec"}:
            continue
        if top and name == "value" and isinstance(node, ast.Assign | ast.AnnAssign) and is_setting(node, value):
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                yield part, name in {"slice", "lower", "upper", "step", "args"} or isinstance(node, ast.keyword)


def silent(node: ast.AST) -> bool:
    """Whether a node is a message or a setting."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.FunctionDef):
        return node.name in {"__repr__", "__str__"}
    if isinstance(node, ast.If):
        return ast.unparse(node.test).endswith("TYPE_CHECKING")
    return (isinstance(node, ast.keyword) and node.arg in SETTINGS) or (
        isinstance(node, ast.Call) and called(node) in MESSAGES
    )


def joins_text(node: ast.BinOp) -> bool:
    """Whether an operator adds texts or lists, or paths."""
    sides = (node.left, node.right)
    return any(
        isinstance(s, ast.JoinedStr | ast.List) or (isinstance(s, ast.Constant) and isinstance(s.value, str))
        for s in sides
    )


def numbers(source: Source, node: ast.AST, index: bool) -> Iterator[tuple[int, int, str]]:
    value = number_of(node)
    assert value is not None
    if isinstance(node, ast.UnaryOp):  # an index from the end moves by one, any other number loses its sign
        moved = "-2" if value == 1 else f"-{value - 1}"
        yield (
            source.start(node),
            source.end(node),
            moved if index and isinstance(value, int) else source.of(node.operand),
        )
    elif isinstance(value, float):
        if value == 0 or abs(value) >= TOLERANCE:
            yield source.start(node), source.end(node), FLOATS.get(value, f"({source.of(node)} * 2)")
    else:
        yield source.start(node), source.end(node), str({0: 1, 1: 0}.get(value, value - 1) if index else value + 1)


def pairs_swapped(source: Source, node: ast.Tuple | ast.List) -> Iterator[tuple[int, int, str]]:
    """`height, width` for `width, height`."""
    for a, b in zip(node.elts, node.elts[1:]):
        if {source.of(a).rpartition(".")[2], source.of(b).rpartition(".")[2]} in PAIRS:
            between = source.text[source.end(a) : source.start(b)].decode()
            yield source.start(a), source.end(b), source.of(b) + between + source.of(a)


def swaps(source: Source, node: ast.Call, signatures: dict[str, list[str]]) -> Iterator[tuple[int, int, str]]:
    name, args = called(node), node.args
    if any(isinstance(arg, ast.Starred) for arg in args):
        return
    kinds = [""] * ORDERED[name] + ["array"] * 2 if name in ORDERED else signatures.get(name, [])
    for a, b, kind, other in zip(args, args[1:], kinds, kinds[1:]):
        if kind and kind == other and source.of(a) != source.of(b):
            between = source.text[source.end(a) : source.start(b)].decode()
            yield source.start(a), source.end(b), source.of(b) + between + source.of(a)


def changes(
    source: Source, node: ast.AST, index: bool, signatures: dict[str, list[str]]
) -> Iterator[tuple[int, int, str]]:
    """All changes at one node: from where to where, and what stands there instead."""
    pairs: list[tuple[Any, Any, str, list[str]]] = []
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not joins_text(node):
        old, new = OPERATORS[type(node.op)]
        pairs.append((node.left, node.right, old, [new]))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield source.start(node), source.end(node), f"(({source.of(node.right)}) @ ({source.of(node.left)}))"
    elif (
        isinstance(node, ast.AugAssign)
        and type(node.op) in OPERATORS
        and not isinstance(node.value, ast.JoinedStr | ast.List)
    ):
        old, new = OPERATORS[type(node.op)]
        pairs.append((node.target, node.value, old, [new]))
    elif isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        pairs += [
            (a, b, *COMPARISONS[type(op)]) for a, b, op in zip(sides, sides[1:], node.ops) if type(op) in COMPARISONS
        ]
    elif number_of(node) is not None:
        yield from numbers(source, node, index)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield source.start(node), source.start(node) + 1, ""
    elif isinstance(node, ast.Call):
        yield from swaps(source, node, signatures)
    elif isinstance(node, ast.Tuple | ast.List):
        yield from pairs_swapped(source, node)
    for left, right, old, instead in pairs:
        at = source.text.index(old.encode(), source.end(left), source.start(right))
        yield from ((at, at + len(old), new) for new in instead)


def candidates(source: Source, signatures: dict[str, list[str]]) -> Iterator[Mutant]:
    """Every mutant of a module."""

    def walk(node: ast.AST, function: str, index: bool, top: bool) -> Iterator[Mutant]:
        if silent(node):
            return
        yield from (source.mutant(function, *change) for change in changes(source, node, index, signatures))
        if number_of(node) is not None:
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            function, top = f"{function}.{node.name}".lstrip("."), isinstance(node, ast.ClassDef)
        for part, place in inner(node, top):
            container = isinstance(node, ast.Tuple | ast.UnaryOp) and index
            yield from walk(part, function, place or container, top)

    yield from walk(source.tree, "", False, True)


def signatures_of(trees: list[ast.Module]) -> dict[str, list[str]]:
    """Annotations of the positional arguments by function name; those of one name that differ are left out."""
    found: dict[str, list[str]] = {}
    for node in (n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        kinds = [
            ast.unparse(a.annotation) if a.annotation else "" for a in node.args.args if a.arg not in {"self", "cls"}
        ]
        found[node.name] = kinds if found.get(node.name, kinds) == kinds else []
    return found


def draw(source_root: Path, seed: int, count: int, rooms: dict[str, int]) -> list[Mutant]:
    """The mutants of a seed, one a line at most; each room has its share."""
    package = source_root / "vergence"
    signatures = signatures_of([ast.parse(file.read_bytes()) for file in sorted(package.rglob("*.py"))])
    drawn: list[Mutant] = []

    def rank(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed} {mutant.function} {mutant.place}".encode()).digest()

    for room, share in rooms.items():
        found = [
            mutant
            for file in sorted((package / room).rglob("*.py"))
            for mutant in candidates(Source(str(file.relative_to(package)), file.read_bytes()), signatures)
        ]
        found.sort(key=rank)
        lines: dict[tuple[str, int], Mutant] = {}
        for mutant in found:
            lines.setdefault((mutant.module, mutant.number), mutant)
        drawn += list(lines.values())[: round(count * share / sum(rooms.values()))]
    return sorted(drawn, key=rank)  # all rooms mixed: what has run when it is stopped is a sample too


@cache
def texts(folder: Path) -> dict[Path, str]:
    return {file: file.read_text() for file in sorted(folder.rglob("*.py"))}


def importers(module: str, folder: Path) -> list[Path]:
    """Files in a folder that import a module (`geometry/camera.py`)."""
    parent, _, name = "vergence.{}".format(module.removesuffix(".py").replace("/", ".")).rpartition(".")
    line = rf"{re.escape(parent)}\.{name}\b|from {re.escape(parent)} import (\([^)]*|.*)\b{name}\b"
    return [file for file, text in texts(folder).items() if re.search(line, text)]


def mirror(module: str, tests: Path) -> list[Path]:
    path = (tests / module).with_name(f"test_{Path(module).name}")
    return [path] if path.exists() else []


def stages(module: str, tree: Path) -> list[list[Path]]:
    """Test files for a mutant of a module, nearest first; the whole room's for one without a test file of its own, which may be
    reached by its name in a registry."""
    tests, package = tree / "tests", tree / "src" / "vergence"
    own, room = mirror(module, tests), tests / module.split("/")[0]
    direct = [file for file in importers(module, tests) if file.name.startswith("test_") and file.parent != tests]
    above = [test for file in importers(module, package) for test in mirror(str(file.relative_to(package)), tests)]
    near = [file for file in direct if room in file.parents]
    beside = [file for file in above if room in file.parents]
    every = [] if own else sorted(room.rglob("test_*.py"))
    ordered: list[list[Path]] = []
    for files in (own, near, beside, [*direct, *above], every):
        ordered.append([file for file in dict.fromkeys(files) if not any(file in before for before in ordered)])
    return [files for files in ordered if files]


class Watch:
    """A plug-in of pytest: what names the function comes first, what fails is named, what takes too long is ended."""

    def __init__(self, report: Path, times: Path, test_seconds: int, seconds: float, function: str) -> None:
        self.report, self.times, self.test_seconds, self.seconds = report, times, test_seconds, seconds
        self.names = re.compile(rf"\b({'|'.join(map(re.escape, function.split('.')))})\b") if function else None
        self.began, self.known = 0.0, json.loads(times.read_text()) if times.exists() else {}
        signal.signal(signal.SIGPROF, self._late)

    def _late(self, *_: object) -> None:
        raise TimeoutError(f"over {self.test_seconds} s of processor time")

    def _fails(self, name: str) -> None:
        self.report.write_text(name)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Tests that name the function, then files by their tests' time, of each the fastest test first; one not timed so far
        is thought to take a second."""
        files: dict[str, float] = {}
        for item in items:
            name = item.nodeid.partition("::")[0]
            files[name] = files.get(name, 0.0) + self.known.get(item.nodeid, 1.0)
        items.sort(key=lambda i: (self._far(i), files[i.nodeid.partition("::")[0]], self.known.get(i.nodeid, 1.0)))

    def _far(self, item: Any) -> bool:
        return self.names is None or not self.names.search(inspect.getsource(item.function))

    def pytest_runtest_logstart(self) -> None:
        self.began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, self.test_seconds)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not self.report.exists():
            self.known[nodeid] = round(time.process_time() - self.began, 2)
            with self.report.with_name("passed").open("a") as file:
                file.write(f"{nodeid}\n")

    def pytest_sessionfinish(self) -> None:
        self.times.write_text(json.dumps(self.known))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._fails(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._fails(report.nodeid)

    def pytest_runtest_teardown(self, item: Any) -> None:
        if time.process_time() > self.seconds:
            item.session.shouldstop = "the time is up"


class Trial:
    """A copy of the tree, in which tests run."""

    def __init__(self, folder: Path, test_seconds: int, seconds: int, times: Path | None = None) -> None:
        self.tree, self.report, self.log = folder / "tree", folder / "failed", folder / "log"
        self.times = times or folder / "times.json"
        self.test_seconds, self.seconds = test_seconds, seconds
        self.faulty: set[str] = set()  # fail without any mutant
        self.sound: set[str] = set()  # have passed in this copy
        unwanted = shutil.ignore_patterns(".git", "__pycache__", "build", "runs", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, self.tree, ignore=unwanted)
        sys.path.insert(0, str(self.tree / "src"))
        os.environ["PYTHONPATH"] = str(self.tree / "src")
        sys.dont_write_bytecode = False  # or each run would compile all modules anew
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(self, names: list[str], function: str = "") -> str:
        """The first test that fails, empty if none does; tests that name the function first."""
        self.report.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = self._pytest(names, function)
            finally:
                os._exit(status)  # whatever was raised: nothing of the parent's is cleaned up here
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGALRM:  # that may be the machine's, which is busy
            return f"signal {os.WTERMSIG(status)}"
        return self.report.read_text() if self.report.exists() else ""

    def _pytest(self, names: list[str], function: str) -> int:
        os.setsid()
        os.chdir(self.tree)
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (2 * self.seconds, 2 * self.seconds + 5))  # in a loop of a library
        signal.alarm(60 * self.seconds)  # waits for what never comes
        import pytest

        out = [word for test in sorted(self.faulty) for word in ("--deselect", test)]
        watch = Watch(self.report, self.times, self.test_seconds, self.seconds, function)
        return int(pytest.main(["-x", "-p", "no:cacheprovider", "-p", "no:xdist", *out, *names], plugins=[watch]))

    def catcher(self, mutant: Mutant) -> str:
        """The test that fails by a mutant, empty if all pass."""
        file = self.tree / "src" / "vergence" / mutant.module
        before, times = file.read_bytes(), file.stat()
        file.write_bytes(before[: mutant.start] + mutant.new.encode() + before[mutant.end :])
        # A second of its own for each, or compiled files of one mutant would pass for those of the next.
        os.utime(file, (times.st_atime, times.st_mtime + int.from_bytes(os.urandom(3))))
        try:
            failed = self._first(stages(mutant.module, self.tree), mutant.function)
        finally:
            file.write_bytes(before)
            os.utime(file, (times.st_atime, times.st_mtime))
        passed = self.report.with_name("passed")
        if passed.exists():
            self.sound |= set(passed.read_text().splitlines())
        if not failed or failed in self.sound or failed.startswith("signal"):
            return failed
        if self.run([failed]):
            self.faulty.add(failed)
            return self.catcher(mutant)
        self.sound.add(failed)
        return failed

    def _first(self, staged: list[list[Path]], function: str) -> str:
        runs = ([str(file.relative_to(self.tree)) for file in files] for files in staged)
        return next((found for names in runs if (found := self.run(names, function))), "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--only", default="", help="room, module or part of a line")
    parser.add_argument(
        "--out", type=Path, default=None, help="results, one a line (default: build/mutants-SEED.jsonl)"
    )
    parser.add_argument("--again", action="store_true", help="run those that survived once more")
    parser.add_argument("--list", action="store_true", help="show the mutants only")
    parser.add_argument("--test-seconds", type=int, default=60, help="most processor time of a test")
    parser.add_argument(
        "--seconds",
        type=int,
        default=120,
        help="most processor time of a run of tests, of which a mutant has up to four",
    )
    args = parser.parse_args()
    drawn = [m for m in draw(ROOT / "src", args.seed, args.count, SHARES) if args.only in f"{m.module} {m.before}"]
    out = (args.out or ROOT / "build" / f"mutants-{args.seed}.jsonl").resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {tuple(entry["place"]): entry["caught"] for entry in kept}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        if not args.list:
            os.environ["OMP_NUM_THREADS"] = "1"
            trial = Trial(Path(folder), args.test_seconds, args.seconds, out.with_name("mutants-times.json"))
            for library in LIBRARIES.split():
                __import__(library)
        for number, mutant in enumerate(drawn, 1):
            caught, began = known.get(mutant.place), time.monotonic()
            word = f"cannot be noticed: {EQUIVALENT[mutant.place]}" if mutant.place in EQUIVALENT else ""
            if not args.list and not word:
                if caught is None or (args.again and not caught):
                    known[mutant.place] = caught = trial.catcher(mutant)
                    with out.open("a") as file:
                        file.write(json.dumps({"place": mutant.place, "caught": caught}) + "\n")
                word = f"{f'caught by {caught}' if caught else 'SURVIVED'}, {time.monotonic() - began:.0f} s"
            print(
                f"{number} {mutant.module}:{mutant.number} {word}\n  - {mutant.before}\n  + {mutant.after}", flush=True
            )
    if not args.list:
        print(summary(drawn, known))
    return 0


def summary(drawn: list[Mutant], known: dict[Any, str]) -> str:
    """Caught of those that can be noticed, by room and in all."""
    rooms: dict[str, list[bool]] = {}
    for mutant in (m for m in drawn if m.place not in EQUIVALENT):
        rooms.setdefault(mutant.module.split("/")[0], []).append(bool(known[mutant.place]))
    lines = [f"{room}: {sum(caught)} of {len(caught)}" for room, caught in rooms.items()]
    each = [caught for room in rooms.values() for caught in room]
    same = len(drawn) - len(each)
    return "\n".join([*lines, f"{sum(each)} of {len(each)} caught; {same} more cannot be noticed"])


if __name__ == "__main__":
    sys.exit(main())
