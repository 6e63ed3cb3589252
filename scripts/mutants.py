"""Plants single faults in the sources and says which of them the tests notice. Takes half an hour: outside CI.

    python scripts/mutants.py --seed 1 --count 100 --out build/mutants-1.jsonl

Which faults those are, and which a seed draws, is in `mutations.py`.

Against each mutant run the tests that run its statement, until one fails: quick ones first, then the module's own file. Which
those are is known from one run of each test file with coverage.py, kept in build/mutants until the file changes; before a
mutant runs, this is done for the module's own test file, and with `--map` for those of all rooms. A mutant that survives has
passed all tests that are known so. Everything happens in a copy of the tree. Results are kept line by line in `--out`: the same
command goes on where it was, and with `--again` runs what survived once more, after tests were added.

A mutant that cannot change any result is no fault that a test could notice. Those found so far are in `mutants.toml`, each
with its reason: they are drawn like all others, not run, and counted by themselves.

Not mutmut nor cosmic-ray: the first runs all mutants of whole modules, the second one command for all; neither draws an even
sample of rooms. To import torch and to collect tests takes longer than most tests: here both are done once, each run is forked
off that process, and the functions of the mutant's module get its code in place. Only what runs on import is imported anew.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from mutations import Mutant, Source, draw

ROOT = Path(__file__).resolve().parent.parent
ROOMS = "geometry reconstruction footage datasets methods batches metrics outputs networks".split()
SHARES = dict(zip(ROOMS, (14, 16, 16, 12, 10, 10, 8, 8, 6)))
EQUIVALENT = {
    (entry["module"], entry["before"], entry["after"]): entry["why"]
    for entry in tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())["same"]
}


def swap(file: Path) -> int:
    """Gives the functions of a module their code as its file has it now; how many differ."""
    todo, codes, changed = [compile(file.read_bytes(), str(file), "exec")], {}, 0
    while todo:
        code = todo.pop()
        codes[code.co_qualname, code.co_firstlineno] = code
        todo += [part for part in code.co_consts if isinstance(part, CodeType)]
    for function in [there for there in gc.get_objects() if isinstance(there, FunctionType)]:
        old = function.__code__
        if old.co_filename == str(file) and codes[old.co_qualname, old.co_firstlineno] != old:
            function.__code__ = codes[old.co_qualname, old.co_firstlineno]
            changed += 1
    return changed


class Watch:
    """A plug-in of pytest: says which tests failed, how long the others took and, if asked, which lines each ran."""

    def __init__(self, chosen: list[str], package: Path | None) -> None:
        self.chosen, self.began, self.tracer = chosen, 0.0, None
        self.failed: list[str] = []
        self.times: dict[str, float] = {}
        if package:
            import coverage

            self.tracer = coverage.Coverage(data_file=None, config_file=False, source=[str(package)], messages=False)
            self.tracer.start()

    def told(self) -> dict[str, Any]:
        """With the tests by module and line as it is written, which may be moved afterwards."""
        found: dict[str, set[str]] = {}
        if self.tracer:
            self.tracer.stop()
            data = self.tracer.get_data()
            for file in data.measured_files():
                text = Path(file).read_text().splitlines()
                for number, tests in data.contexts_by_lineno(file).items():
                    line = f"{file.rpartition('/src/vergence/')[2]} {text[number - 1].strip()}"
                    found.setdefault(line, set()).update(self.times.keys() & tests)
        lines = {line: sorted(tests) for line, tests in found.items() if tests}
        return {"failed": self.failed, "times": self.times, "lines": lines}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self.chosen.index(item.nodeid))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.began = time.process_time()
        if self.tracer:
            self.tracer.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.when == "call" and report.passed:
            self.times[report.nodeid] = round(time.process_time() - self.began, 2)

    pytest_collectreport = pytest_runtest_logreport


class NoResult(Exception):
    """A process that was to run tests ended without a result: `how`, and the end of what it printed."""

    def __init__(self, how: str, log: Path) -> None:
        self.how = how
        super().__init__(f"{how}\n{log.read_text()[-2000:] if log.exists() else ''}")


class Trial:
    """A plug-in of pytest that collects tests in a copy of the tree once and forks for each run of some of them. What they run
    without a mutant is kept in `folder` by test file."""

    def __init__(self, copy: Path, folder: Path) -> None:
        self.copy, self.tree, self.folder = copy, copy / "tree", folder
        self.items: dict[str, Any] = {}
        self.work: Callable[[], None] = lambda: None
        unwanted = shutil.ignore_patterns(".git", "__pycache__", "build", "runs", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, self.tree, ignore=unwanted)
        sys.path.insert(0, str(self.tree / "src"))
        os.environ.update(PYTHONPATH=str(self.tree / "src"), OMP_NUM_THREADS="1")
        os.chdir(self.tree)

    def start(self, names: list[str], work: Callable[[], None]) -> None:
        """Does some work with the tests of some files at hand."""
        self.work = work
        self._pytest(names, self)

    def _pytest(self, names: list[str], plugin: object) -> int:
        import pytest

        quiet = "-x -s -p no:cacheprovider -p no:xdist --basetemp".split()
        return int(pytest.main([*quiet, str(self.copy / "tmp"), *names], plugins=[plugin]))

    def pytest_runtestloop(self, session: Any) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        gc.freeze()
        self.work()
        return True

    def run(self, chosen: list[str], file: Path | None = None, fresh: bool = False, seconds: int = 0) -> dict[str, Any]:
        """What some tests tell with a module's file as it is now: with the code of its functions, or imported anew; without a
        file, with lines, and without a limit of processor time.

        Raises:
            NoResult: the child that ran them ended without one.
        """
        said, log = self.copy / "told", self.copy / "log"
        said.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                for stream in (1, 2):
                    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
                if file:
                    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
                    signal.alarm(60 * seconds)  # waits for what never comes
                watch = Watch(chosen, None if file else self.tree / "src" / "vergence")
                (self._anew if fresh or (file and not swap(file)) else self._here)(watch)
                said.write_text(json.dumps(watch.told()))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            finally:
                os._exit(0)  # whatever was raised: nothing of the parent's is cleaned up here
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0 and said.exists():
            return json.loads(said.read_text())
        raise NoResult(f"signal {-code}" if code < 0 else f"exit status {code}", log)

    def _here(self, watch: Watch) -> None:
        items = [self.items[name] for name in watch.chosen]
        for item, after in zip(items, [*items[1:], None]):
            if item is items[0]:
                item.config.pluginmanager.register(watch)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if watch.failed and not watch.tracer:
                break

    def _anew(self, watch: Watch) -> None:
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(str(self.tree)):
                del sys.modules[name]
        if (
            status := self._pytest(watch.chosen, watch)
        ) > 2 and not watch.failed:  # 1 and 2: a test, or a file of tests
            raise RuntimeError(f"pytest ended with {status}")

    def own(self, module: str) -> list[str]:
        """The module's own test file; where it has none, its folder's, those of a like name, or all of the folder."""
        here, stem = (self.tree / "tests" / module).parent, Path(module).stem
        folders = [(here, stem), (here.parent, here.name), (here, f"{stem.partition('_')[0]}*"), (here, "*")]
        found = (sorted(folder.glob(f"test_{name}.py")) for folder, name in folders)
        return [str(file.relative_to(self.tree)) for file in next(filter(None, found), [])]

    def note(self, name: str) -> None:
        """Keeps which lines the tests of a file run and how long they take, unless that is known."""
        kept, digest = self.folder / f"{name}.json", hashlib.sha256((self.tree / name).read_bytes()).hexdigest()
        if not kept.exists() or json.loads(kept.read_text())["digest"] != digest:
            kept.parent.mkdir(parents=True, exist_ok=True)
            told = self.run([test for test in self.items if test.startswith(f"{name}::")])
            kept.write_text(json.dumps({"digest": digest, **told}))

    @property
    def noted(self) -> dict[str, dict[str, Any]]:
        """By test file that is still there."""
        names = {str(kept.relative_to(self.folder))[:-5]: kept for kept in sorted(self.folder.rglob("test_*.py.json"))}
        return {name: json.loads(kept.read_text()) for name, kept in names.items() if (self.tree / name).exists()}

    def tests(self, mutant: Mutant) -> tuple[dict[str, float], bool]:
        """Tests that run the mutant's statement, with their times: quick ones first, then those of the own file, then files by
        their time. Where there is none, or it runs on import, all of the own file; and whether that is so."""
        text = (self.tree / "src" / "vergence" / mutant.module).read_bytes()
        source = Source(mutant.module, text)
        statement = [] if source.on_import(mutant.number) else source.statement(mutant.number)
        lines = {f"{mutant.module} {line}" for line in statement}
        own, found, every = self.own(mutant.module), [], []
        for name, told in self.noted.items():
            told["times"] = {
                test: t for test, t in told["times"].items() if test in self.items
            }  # and not renamed since
            reached = {test for line in lines for test in told["lines"].get(line, []) if test in told["times"]}
            whole = sum(told["times"][test] for test in reached)
            keys = {test: ((t > 1) + (t > 10), name not in own, whole, t, test) for test, t in told["times"].items()}
            found += [keys[test] for test in reached]
            every += keys.values() if name in own else []
        return {test: seconds for *_, seconds, test in sorted(found or every)}, not found

    def catcher(self, mutant: Mutant) -> str:
        """The test that fails by a mutant, empty if all pass; where the mutant ends the process, how it does.

        Raises:
            NoResult: the process ends so without the mutant too.
        """
        for name in self.own(mutant.module):
            self.note(name)
        chosen, fresh = self.tests(mutant)
        file = self.tree / "src" / "vergence" / mutant.module
        before, times = file.read_bytes(), file.stat()
        file.write_bytes(before[: mutant.start] + mutant.new.encode() + before[mutant.end :])
        # A second of its own for each, or compiled files of one mutant would pass for those of the next.
        os.utime(file, (times.st_atime, times.st_mtime + int.from_bytes(os.urandom(3))))
        how = (list(chosen), file, fresh, round(20 + 3 * sum(chosen.values())))
        ends: list[str] = []
        try:
            while len(ends) < 2 and f"signal {signal.SIGXCPU}" not in ends:  # time of the processor, whatever else runs
                try:
                    return "".join(self.run(*how)["failed"][:1])
                except NoResult as end:
                    ends.append(end.how)
        finally:
            file.write_bytes(before)
            os.utime(file, (times.st_atime, times.st_mtime))
        self.run(*how)
        return ends[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--only", default="", help="room, module or part of a line")
    parser.add_argument("--out", type=Path, help="results, one a line (default: build/mutants-SEED.jsonl)")
    parser.add_argument("--again", action="store_true", help="run those that survived once more")
    parser.add_argument("--list", action="store_true", help="show the mutants only")
    parser.add_argument("--map", action="store_true", help="only note which lines the tests of these rooms run")
    args = parser.parse_args()
    drawn = [m for m in draw(ROOT / "src", args.seed, args.count, SHARES) if args.only in f"{m.module} {m.before}"]
    out = (args.out or ROOT / "build" / f"mutants-{args.seed}.jsonl").resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {tuple(entry["place"]): entry["caught"] for entry in kept}
    todo = [mutant for mutant in drawn if mutant.place not in EQUIVALENT]
    todo = [m for m in todo if m.place not in known or (args.again and not known[m.place])]
    if args.list:
        for number, mutant in enumerate(drawn, 1):
            tell(number, mutant, known)
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trial = Trial(Path(folder), ROOT / "build" / "mutants")

        def work() -> None:
            for name in files if args.map else []:
                trial.note(name)
            for number, mutant in enumerate(drawn if not args.map else [], 1):
                try:
                    if mutant in todo:
                        known[mutant.place] = trial.catcher(mutant)
                        with out.open("a") as file:
                            file.write(json.dumps({"place": mutant.place, "caught": known[mutant.place]}) + "\n")
                except NoResult as end:
                    print(f"{mutant.module}:{mutant.number}: {end}", file=sys.stderr)
                tell(number, mutant, known)

        places = (trial.tree / "tests" / room for room in SHARES if room.startswith(args.only))
        files = sorted(str(file.relative_to(trial.tree)) for place in places for file in place.rglob("test_*.py"))
        own = {name for mutant in todo for name in trial.own(mutant.module)}
        trial.start(files if args.map else sorted({*trial.noted, *own}), work)
    if not args.map:
        print(summary(drawn, known))
    return int(not args.map and not all(mutant.place in known for mutant in todo))


def tell(number: int, mutant: Mutant, known: dict[Any, str]) -> None:
    word = {"": "SURVIVED", None: "NOT TRIED"}.get(known.get(mutant.place), f"caught by {known.get(mutant.place)}")
    word = f"cannot be noticed: {EQUIVALENT[mutant.place]}" if mutant.place in EQUIVALENT else word
    print(f"{number} {mutant.module}:{mutant.number} {word}\n  - {mutant.before}\n  + {mutant.after}", flush=True)


def summary(drawn: list[Mutant], known: dict[Any, str]) -> str:
    """Caught of those that can be noticed, by room and in all."""
    rooms: dict[str, list[bool]] = {}
    able = [mutant for mutant in drawn if mutant.place not in EQUIVALENT]
    for mutant in (m for m in able if m.place in known):
        rooms.setdefault(mutant.module.split("/")[0], []).append(bool(known[mutant.place]))
    lines = [f"{room}: {sum(caught)} of {len(caught)}" for room, caught in rooms.items()]
    each = [caught for room in rooms.values() for caught in room]
    lines.append(f"{sum(each)} of {len(each)} caught; {len(drawn) - len(able)} more cannot be noticed")
    return "\n".join(
        [*lines, *([f"{left} could not be tried: run it again"] if (left := len(able) - len(each)) else [])]
    )


if __name__ == "__main__":
    sys.exit(main())
