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
    from importlib import import_module

    import shtab

    from vergence.cli import VERBS, function_of
    from vergence.commands.console.options import parser_of
    from vergence.commands.data import ACTIONS

    whole = argparse.ArgumentParser("vergence")
    verbs = whole.add_subparsers()
    for verb, text in VERBS.items():
        if verb == "data":
            actions = verbs.add_parser(verb, help=text).add_subparsers()
            for action, what in ACTIONS.items():
                function = getattr(import_module(f"vergence.commands.data.{action}"), action)
                parser_of(function, f"data {action}", partial(actions.add_parser, action, help=what))
        else:
            parser_of(function_of(verb), verb, partial(verbs.add_parser, verb, help=text))
    for parser in [*verbs.choices.values(), *actions.choices.values()]:
        for option in parser._actions:
            if getattr(option, "names_file", False):
                option.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(whole, shell))
