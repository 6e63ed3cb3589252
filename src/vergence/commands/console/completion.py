"""`vergence completion`: verbs and options completed by the shell."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish", "tcsh", "powershell"]) -> None:
    """Prints a script that lets a shell complete verbs, options, choices and files.

    Example: vergence completion bash > ~/.local/share/bash-completion/completions/vergence. For zsh, into a file _vergence in
    a folder of fpath.

    Args:
        shell: bash, zsh, fish, tcsh or powershell.
    """
    import argparse
    from functools import partial

    import shtab

    from vergence.cli import VERBS, functions
    from vergence.commands.console.options import parser_of
    from vergence.commands.data import ACTIONS

    whole = argparse.ArgumentParser("vergence")
    verbs = whole.add_subparsers()
    actions = verbs.add_parser("data", help=VERBS["data"]).add_subparsers()
    for name, function in functions().items():
        verb, _, action = name.partition(" ")
        text = ACTIONS[action] if action else VERBS[verb]
        parser_of(function, name, partial((actions if action else verbs).add_parser, action or verb, help=text))
    for parser in [*verbs.choices.values(), *actions.choices.values()]:
        for option in parser._actions:
            if getattr(option, "names_file", False):
                option.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(whole, shell))
