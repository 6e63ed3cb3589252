"""One recording: fetched where it lies behind a URL, done by its verb in a process of its own, its state written last.

The process is forked from one that has imported what the verb needs (multiprocessing's fork server), so it costs no import;
what it does to itself (a crash in a decoder, all memory, no end) happens to this recording alone. It ends itself when the
process that waits for it is gone, so that two never write the same folder.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

from vergence.bulk import places
from vergence.bulk.manifest import OWN_PATHS, STATE, Recording
from vergence.errors import VergenceError
from vergence.networks.memory import keep_memory
from vergence.networks.threads import COUNTS
from vergence.outputs.markers import PRESETS

LOOK_S = 0.25  # between two looks whether to stop
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
ANYWAY = ("vergence.cli", "vergence.commands.console.options", "rich.progress", "numpy.ma", "numpy.random", "cv2",
          "vergence.footage.keypoint_formats.hdf5", "vergence.footage.keypoint_formats.mmpose")  # fmt: skip
LAST = ("vergence.bulk.task", "av.subtitles.stream", "vergence.bulk.ready")
NEEDED = {
    "detect": ["vergence.footage.detectors.footage"],
    "reconstruct": [
        "vergence.reconstruction.footage",
        "vergence.footage.detectors.footage",
        "vergence.report.reconstruction",
        "vergence.report.render",
        "vergence.report.bars",
    ],
    "predict": ["vergence.inference.predict", "vergence.inference.saving", "vergence.report.overlay"],
}  # without which a process would import for seconds
State = Literal["done", "failed", "waiting"]


@dataclass(frozen=True)
class Task:
    """A recording and what to do with it.

    Attributes:
        verb: detect, reconstruct or predict.
        recording: its line.
        root: folder that its paths lie in.
        out: folder or URL of all results.
        options: of the verb, for all recordings.
        threads: that it may use.
        timeout: seconds that it may take; None for as long as it likes.
    """

    verb: str
    recording: Recording
    root: str
    out: str
    options: Mapping[str, Any]
    threads: int = 1
    timeout: float | None = None

    @property
    def made_with(self) -> dict[str, Any]:
        """What the results depend on."""
        options = {**self.options, **self.recording.options}
        return {"verb": self.verb, "path": self.recording.path, "options": json.loads(json.dumps(options, default=str))}

    @property
    def state_file(self) -> str:
        return f"{self.out.rstrip('/')}/{STATE}/{self.recording.name}.json"


@dataclass(frozen=True)
class Outcome:
    """What became of a recording.

    Attributes:
        name: of the recording, and of the folder of its results.
        state: `done`, `failed`, or `waiting`: not begun, or stopped.
        reason: why it failed, and what to do.
        seconds: that it took.
        processor: seconds of the processor, where its process came to an end.
        made_with: verb, path and options.
    """

    name: str
    state: State
    reason: str = ""
    seconds: float = 0.0
    processor: float = 0.0
    made_with: Mapping[str, Any] = field(default_factory=dict)


def read_outcome(task: Task) -> Outcome | None:
    """What became of a task before, of the same verb, path and options; None where nothing did."""
    try:
        found = Outcome(**json.loads(places.read(task.state_file) or "{}"))
    except (ValueError, TypeError):
        return None
    return found if found.made_with == task.made_with else None


def carry_out(task: Task, stopped: Callable[[], bool] = lambda: False) -> Outcome:
    """Does a recording and writes what became of it; raises nothing that concerns this recording alone."""
    start, processor = time.monotonic(), 0.0
    try:
        with tempfile.TemporaryDirectory(prefix="vergence-") as folder:
            reason, processor = _done_in(task, Path(folder), stopped)
    except VergenceError as error:
        reason = str(error)
    except Exception as error:  # a store's own errors are of as many kinds as there are stores
        reason = f"{type(error).__name__}: {error}"
    state: State = "waiting" if stopped() and reason else "failed" if reason else "done"
    seconds = round(time.monotonic() - start, 3), round(processor, 3)
    found = Outcome(task.recording.name, state, reason, *seconds, task.made_with)
    if state != "waiting":
        places.write(task.state_file, json.dumps(vars(found), indent=2) + "\n")
    return found


def _done_in(task: Task, folder: Path, stopped: Callable[[], bool]) -> tuple[str, float]:
    """Why a task failed (empty where it did not), and the processor's seconds."""
    name, away = task.recording.name, places.is_url(task.out)
    out = folder / "out" if away else Path(task.out) / name
    log = (folder / "log.txt") if away else Path(task.out) / STATE / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = _words(task, folder, out)
    try:
        return _in_a_process(task, words, log, stopped)
    finally:
        if away:
            places.put(out, f"{task.out.rstrip('/')}/{name}")
            if log.is_file():
                places.write(f"{task.out.rstrip('/')}/{STATE}/{name}.log", log.read_text(errors="replace"))


def _words(task: Task, folder: Path, out: Path) -> list[str]:
    """The verb's command line; what lies behind a URL is fetched first."""

    def here(path: str, into: str) -> str:
        found = places.inside(task.root, path)
        if places.is_url(found):
            return str(places.fetch(found, folder / into))
        if not os.path.exists(found):
            raise VergenceError(f"there is no {found}", "Check the manifest.")
        return found

    own = {
        name: here(str(value), name) if name in OWN_PATHS[task.verb] and value not in PRESETS else value
        for name, value in task.recording.options.items()
    }
    options = {**task.options, **own}
    run = [str(options.pop("run", "lifting"))] if task.verb == "predict" else []
    words = [*run, here(task.recording.path, "in"), f"--out={out}"]
    words += [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()]
    return [*words, "--quiet=true"] if task.verb != "reconstruct" else words


def _in_a_process(task: Task, words: list[str], log: Path, stopped: Callable[[], bool]) -> tuple[str, float]:
    context: Any = multiprocessing.get_context(METHOD)
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(task.verb, words, str(log), task.threads, theirs))
    with _starting(task):
        process.start()
    theirs.close()
    end = time.monotonic() + (task.timeout or float("inf"))
    try:
        while not wait([ours, process.sentinel], timeout=LOOK_S):
            if stopped():
                return "stopped", 0.0
            if time.monotonic() > end:
                return (
                    f"it took longer than {task.timeout:g} s. Give a longer --timeout, or look at the recording.",
                    0.0,
                )
        with contextlib.suppress(EOFError, OSError):
            if ours.poll():
                reason, processor = ours.recv()
                return reason, processor
        process.join()
        return _ended(process.exitcode or 0, log), 0.0
    finally:
        _end(process)
        ours.close()


def _end(process: Any) -> None:
    """Ends a process and those that it started."""
    if process.is_alive():
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
    process.join(5)
    if process.is_alive():  # not yet the leader of a group of its own
        process.kill()
        process.join()


def _ended(code: int, log: Path) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else str(-code)
        return f"its process was ended by {name}. {log.name} has its output; SIGKILL is often want of memory."
    return f"its process ended with status {code}. {log.name} has its output."


_START = threading.Lock()


@contextlib.contextmanager
def _starting(task: Task) -> Any:
    """The fork server imports once what the verb needs, and its libraries take no more threads than a task may."""
    with _START:
        before = {name: os.environ.get(name) for name in COUNTS}
        os.environ.update(dict.fromkeys(COUNTS, str(task.threads)))
        if METHOD == "forkserver":
            verbs = [f"vergence.commands.{task.verb}", *NEEDED[task.verb]]
            multiprocessing.set_forkserver_preload([*ANYWAY, *verbs, *LAST])
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _work(verb: str, words: list[str], log: str, threads: int, answer: Connection) -> None:
    """What the process does: the verb, its output in a file; answers why it failed."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1), os.dup2(file, 2)
    threading.Thread(target=_end_with, args=(answer,), daemon=True).start()
    import cv2

    keep_memory()
    cv2.setNumThreads(threads)
    os.environ.update(dict.fromkeys(COUNTS, str(threads)))
    if "torch" in sys.modules:  # a second to load, and `reconstruct` needs none of it
        sys.modules["torch"].set_num_threads(threads)
    reason = ""
    try:
        if code := import_module("vergence.cli").run(verb, words):
            reason = f"it ended with status {code}"
    except VergenceError as error:
        reason = str(error)
    except BaseException as error:
        import traceback

        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}. {Path(log).name} has the rest."
    sys.stdout.flush()
    answer.send((reason, time.process_time()))


def _end_with(other: Connection) -> None:
    """Ends this process and those that it started once nobody waits for it."""
    with contextlib.suppress(EOFError, OSError):
        other.recv()
    os.killpg(0, signal.SIGKILL) if hasattr(os, "killpg") else os._exit(1)
