"""`vergence data`: datasets on disk, looked at and prepared."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

ACTIONS = {
    "check": "says what a folder holds, whether it is valid, and which recipe line reads it",
    "prepare": "crops and labels of sources, written once into shards that are read fast",
}


def data(words: Sequence[str]) -> int:
    """`vergence data ACTION ...`."""
    from vergence.errors import VergenceError

    action, rest = (words[0], list(words[1:])) if words else ("--help", [])
    if action in ("-h", "--help"):
        print("usage: vergence data ACTION [options]        vergence data ACTION --help\n")
        print("\n".join(f"  {name:<10} {text}" for name, text in ACTIONS.items()))
        return 0
    if action not in ACTIONS:
        raise VergenceError(f"there is no action {action!r}", f"Actions: {', '.join(ACTIONS)}.")
    from vergence.cli import call

    return call(getattr(import_module(f"vergence.commands.data.{action}"), action), f"data {action}", rest)


data.takes_words = True  # type: ignore[attr-defined]
