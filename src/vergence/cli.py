"""The verbs. Nothing heavy is imported until one runs: each is a function in `commands/` whose signature is its options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from vergence import __version__
from vergence.errors import VergenceError

# In one line each, for `vergence --help`, which imports none of them; what a verb's own --help says is its docstring.
VERBS = {
    "demo": "the main job on the built-in world, with a report to open",
    "learn": "recordings of several cameras to a single-camera model, in one command",
    "inspect": "whether footage will do, in a minute, and what to film again",
    "detect": "2D keypoints of everybody in raw videos",
    "reconstruct": "cameras and 3D from uncalibrated footage; pose files and a quality report",
    "train": "any method, any mixture of supervision, from a recipe",
    "evaluate": "a run measured on a test set, or on footage whose truth nobody knows",
    "compare": "recipes and runs side by side, on equal data and tests",
    "reproduce": "a paper's table trained again, ours beside theirs",
    "predict": "image, folder or video to 3D poses, overlay and files",
    "batch": "detect, reconstruct or predict over many recordings, here or on Ray",
    "search": "an image's or a clip's pose found in footage",
    "synth": "a dataset from the built-in world",
    "data": "datasets on disk: what a folder holds, whether it is valid; prepared for fast reading",
    "import-weights": "weights that others released, as a run",
    "doctor": "what is installed, what is wrong, how to mend it",
}
FORMERLY = {"adopt": "import-weights"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb; returns the exit status. Bad input is one sentence on stderr and status 2."""
    words = list(sys.argv[1:] if argv is None else argv)
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
    try:
        return run(verb, settled(rest))
    except VergenceError as error:
        print(f"vergence {verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nvergence {verb}: stopped. The same command goes on where it was.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def settled(words: list[str]) -> list[str]:
    """The words without `--threads N`, which every verb takes; sets how many threads the libraries use that come."""
    given = 0
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--threads":
            value = value if equals else words[at + 1] if at + 1 < len(words) else ""
            if not value.isdigit() or int(value) < 1:
                raise VergenceError(f"--threads {value}".rstrip(), "Give a whole number from 1 on.")
            given, words = int(value), words[:at] + words[at + 2 - bool(equals) :]
            break
    if "torch" not in sys.modules and not {"-h", "--help"} & set(words):
        import_module("vergence.networks.threads").settle(given)
    elif given and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(given)
    return words


def overview() -> str:
    lines = [f"vergence {__version__}: from multi-camera footage to a single-camera 3D human pose estimator", ""]
    lines += ["usage: vergence VERB [options] [--threads N]        vergence VERB --help", ""]
    lines += [f"  {verb:<14} {text}" for verb, text in VERBS.items()]
    return "\n".join(lines)


def run(verb: str, words: list[str]) -> int:
    if verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(verb, VERBS, n=1)
        raise VergenceError(
            f"there is no verb {verb!r}", f"Did you mean {near[0]}?" if near else f"Verbs: {', '.join(VERBS)}."
        )
    name = verb.replace("-", "_")
    module = import_module(f"vergence.commands.{name}")
    function = module.chosen(words) if hasattr(module, "chosen") else getattr(module, name)
    check_out(function, words)
    if getattr(function, "takes_words", False):
        return int(function(words) or 0)
    return call(function, verb, words)


def check_out(function: Callable[..., int | None], words: Sequence[str]) -> None:
    """Refuses an --out, given or by default, that cannot be written to: before the work, not behind it."""
    import inspect
    from itertools import pairwise

    default = getattr(inspect.signature(function).parameters.get("out"), "default", None)
    given = [following for word, following in pairwise(words) if word == "--out"]
    given += [word.removeprefix("--out=") for word in words if word.startswith("--out=")]
    wanted = given or ([str(default)] if default not in (None, inspect.Parameter.empty) else [])
    if wanted and not {"-h", "--help", "--print_config"} & set(words):
        from vergence.files import check_writable

        check_writable(wanted[-1])


def call(function: Callable[..., int | None], verb: str, words: list[str]) -> int:
    """Parses `words` by the function's signature and calls it."""
    import inspect

    import jsonargparse

    about = (inspect.getdoc(function) or "").split("\n\nArgs:")[0]
    parser = jsonargparse.ArgumentParser(prog=f"vergence {verb}", description=about, exit_on_error=False)
    # The parser looks a function up by its name in every package above it; `vergence.predict` would import torch.
    function.__qualname__ = f"{function.__name__} (verb)"
    parser.add_function_arguments(function, as_group=False, as_positional=True)
    try:
        options = parser.parse_args(plain_options(function, words))
    except jsonargparse.ArgumentError as error:
        raise VergenceError(*refused(function, verb, str(error))) from error
    return int(function(**vars(parser.instantiate(options))) or 0)


def refused(function: Callable[..., int | None], verb: str, said: str) -> tuple[str, str]:
    """What the parser said of a value, in the words of the command line: problem and remedy."""
    import re
    from typing import Literal, get_args, get_origin, get_type_hints

    said = " ".join(said.split()).removeprefix("error: ")
    remedy = f"`vergence {verb} --help` shows the options."
    found = re.search(r'Parser key "(\w+)":.*(?:Given|Got) value: (\S*?)\.?$', said)
    kind = get_type_hints(function).get(found[1]) if found else None
    kinds = [one for one in get_args(kind) or (kind,) if one is not type(None)]
    if found and get_origin(kind) is Literal:
        return f"--{found[1]} {found[2]}", f"Give {', '.join(map(str, kinds[:-1]))} or {kinds[-1]}; {remedy}"
    names = {float: "a number", int: "a whole number", bool: "true or false"}
    if found and len(kinds) == 1 and kinds[0] in names:
        return f"--{found[1]} {found[2]}", f"Give {names[kinds[0]]}; {remedy}"
    return said, remedy


def plain_options(function: Callable[..., int | None], words: Sequence[str]) -> list[str]:
    """Options as the parser reads them: hyphens in a name are underscores, and a switch needs no `true`."""
    import inspect

    switches = {name for name, p in inspect.signature(function).parameters.items() if isinstance(p.default, bool)}
    out = []
    for word, following in zip(words, [*words[1:], ""]):
        name, equals, value = word[2:].partition("=")
        if word.startswith("--") and name:
            name = name.replace("-", "_")
            alone = name in switches and not equals and following.lower() not in ("true", "false", "yes", "no")
            word = f"--{name}{equals}{value}" + ("=true" if alone else "")
        out.append(word)
    return out


if __name__ == "__main__":
    sys.exit(main())
