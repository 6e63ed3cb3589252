"""The verbs. Nothing heavy is imported until one runs: each is a function in `commands/` whose signature is its options."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from vergence import __version__
from vergence.errors import FULL, VergenceError, meant

# In one line each, for `vergence --help`, which imports none of them; what a verb's own --help says is its docstring.
VERBS = {
    "demo": "the whole pipeline on the built-in world, with a report",
    "learn": "recordings of several cameras to a single-camera model, in one command",
    "inspect": "whether footage is good enough, in a minute, and what to film again",
    "detect": "2D keypoints of everybody in raw videos",
    "reconstruct": "cameras and 3D from uncalibrated footage; pose files and a quality report",
    "train": "any method, any mixture of supervision, from a recipe",
    "evaluate": "measures a run on a test set, or on footage without ground truth",
    "compare": "recipes and runs side by side, on equal data and tests",
    "reproduce": "reproduces a paper's table, our figures beside the published ones",
    "predict": "image, folder or video to 3D poses, overlay and files",
    "batch": "detect, reconstruct or predict over many recordings, here or on Ray",
    "search": "an image's or a clip's pose found in footage",
    "synth": "a dataset from the built-in world",
    "data": "datasets on disk: checks a folder, or prepares it for fast reading",
    "import-weights": "weights that others released, as a run",
    "completion": "what a shell needs to complete verbs and options",
    "export": "a run as one ONNX file, for programs without torch",
    "doctor": "what is installed, what is wrong, how to fix it",
}
# Of verbs that have no module of their name in `commands/`.
PLACES = {"completion": "console.completion", "export": "models.export"}
FORMERLY = {"adopt": "import-weights"}
# Whose work a second call of the same command goes on with.
RESUMED = ("demo", "learn", "detect", "train", "compare", "reproduce", "predict", "batch", "data")
STATUSES = (
    "0: done; 1: done, and the answer is no (inspect, detect, batch, compare, reproduce, data check, doctor); 2: refused, "
    "with one sentence; 130: stopped"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb; returns the exit status. Bad input is one sentence on stderr and status 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"vergence {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    if verb in FORMERLY:
        print(f"vergence {verb}: the verb is now {FORMERLY[verb]}", file=sys.stderr)
        verb = FORMERLY[verb]
    called = f"{verb} {rest[0]}" if verb == "data" and rest and not rest[0].startswith("-") else verb
    again = " The same command continues." if verb in RESUMED else ""
    try:
        with terminable():
            return run(verb, settled(rest))
    except VergenceError as error:
        print(f"vergence {called}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nvergence {called}: stopped.{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if not _somewhere():
            print(f"vergence {called}: the working folder is gone. Change to one that is there.", file=sys.stderr)
            return 2
        if error.errno not in FULL:
            raise
        place = f"{error.filename or 'a file'} could not be written: {error.strerror}"  # wherever it struck
        print(f"vergence {called}: {place}. Free some space, or choose another folder.{again}", file=sys.stderr)
        return 2


def _somewhere() -> bool:
    """Whether the working folder is there."""
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def settled(words: list[str]) -> list[str]:
    """The words without `--threads N`, which every verb takes; sets how many threads the libraries use that come."""
    given, kept, rest = 0, list[str](), list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name != "--threads":
            kept.append(word)
            continue
        value = value if equals else rest.pop(0) if rest else ""
        if not value.isdigit() or int(value) < 1:
            raise VergenceError(f"--threads {value}".rstrip(), "Give a whole number from 1 on.")
        given = int(value)
    words = kept
    if "torch" not in sys.modules and not {"-h", "--help"} & set(words):
        import_module("vergence.networks.threads").settle(given)
    elif given and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(given)
    return words


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM stops the block as Ctrl-C does; the processes that it forks end at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:
            os._exit(128 + number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def overview() -> str:
    lines = [f"vergence {__version__}: from multi-camera footage to a single-camera 3D human pose estimator", ""]
    lines += ["usage: vergence VERB [options] [--threads N]        vergence help VERB", ""]
    lines += [f"  {verb:<14} {text}" for verb, text in VERBS.items()]
    return "\n".join([*lines, "", f"exit status {STATUSES}"])


def run(verb: str, words: list[str]) -> int:
    if verb not in VERBS:
        raise VergenceError(f"there is no verb {verb!r}", meant(verb, [*VERBS, "help"], f"Verbs: {', '.join(VERBS)}."))
    return call(function_of(verb), verb, words)


def function_of(verb: str) -> Callable[..., int | None]:
    """The function that carries a verb out; importing it is quick."""
    name = verb.replace("-", "_")
    place = PLACES.get(verb, name)
    found: Callable[..., int | None] = getattr(import_module(f"vergence.commands.{place}"), name)
    return found


def functions() -> dict[str, Callable[..., int | None]]:
    """The function of every verb, and of every action of those that have some (`data check`)."""
    found: dict[str, Callable[..., int | None]] = {}
    for verb in VERBS:
        function = function_of(verb)
        if getattr(function, "takes_words", False):
            place = f"vergence.commands.{verb}"
            actions = import_module(place).ACTIONS
            found |= {f"{verb} {name}": getattr(import_module(f"{place}.{name}"), name) for name in actions}
        else:
            found[verb] = function
    return found


@contextmanager
def owned(function: Callable[..., int | None], values: Mapping[str, Any]) -> Iterator[None]:
    """While the block runs no other process has the folder --out, given or by default. One that cannot be written to, or that
    another process writes to, is refused: before the work, not behind it. Of a run's processes the first has it."""
    import inspect

    default = getattr(inspect.signature(function).parameters.get("out"), "default", None)
    wanted = values.get("out", default)
    if not isinstance(wanted, Path) or values.get("print_config"):
        yield
        return
    from vergence.files import check_writable
    from vergence.folders import held

    file = getattr(function, "writes_file", False)
    if file or rank() is not None:
        check_writable(wanted, folder=not file)
        yield
    else:
        with held(wanted):
            yield


def rank() -> int | None:
    """This process's number among those that `torchrun` or `srun` started; None where it was started by itself."""
    number = os.environ.get("RANK", os.environ.get("SLURM_PROCID"))
    return int(number) if number and number.isdigit() else None


def call(function: Callable[..., int | None], verb: str, words: list[str]) -> int:
    """Reads `words` by the function's signature, says how long it `takes`, and calls it; one that reads words itself gets
    them."""
    if getattr(function, "takes_words", False):
        return int(function(words) or 0)
    options = import_module("vergence.commands.console.options")
    values = options.parse(function, verb, words)
    with owned(function, values):
        if not values.get("print_config"):
            options.check_there(function, values)
        if (takes := getattr(function, "takes", "")) and not values.get("quiet") and not rank():
            # That takes seconds, and longer beside other programs.
            print(f"vergence {verb}: {takes}; loading libraries", flush=True)
        return int(function(**values) or 0)


if __name__ == "__main__":
    sys.exit(main())
