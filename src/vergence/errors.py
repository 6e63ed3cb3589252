"""The one error that users see: a sentence that names the value, the limit and the remedy; and checks of what callers give."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from pathlib import Path
from socket import gaierror
from typing import Any

LONGEST = 600  # characters of a sentence
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of a disk that takes nothing more


TYPED = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$\.?([^`]*)`)?")  # msgspec of a value's type
TYPES = {"float": "a number", "int": "a whole number", "str": "text", "bool": "true or false", "null": "nothing",
         "array": "a list", "object": "a table of names and values"}  # fmt: skip


class VergenceError(Exception):
    """Bad input, or a state that the user can repair.

    The command line prints it as one sentence without a traceback; Python callers catch it by type.

    Args:
        problem: what is wrong, with the offending value and the limit it breaks.
        remedy: what to do about it.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        problem = " ".join(problem.split())
        if len(problem) > LONGEST:  # a value that fills a page
            problem = f"{problem[: LONGEST // 2]} ... {problem[-LONGEST // 2 :]}"
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem.rstrip('.')}. {remedy}".strip() if remedy else problem)


class refusing:
    """Within it what a library raises becomes one `VergenceError`: the problem, and what the library said.

        with refusing(f"{path} is not readable XML", "Export it again.", ParseError, OSError):
            return parse(path)

    A `VergenceError` passes as it is, or keeps its remedy behind the problem where it is named among the kinds. Where no kinds
    of errors are given all are meant: a damaged file fails in as many ways as there are bytes.
    """

    def __init__(self, problem: str, remedy: str = "", *kinds: type[Exception]) -> None:
        self.problem, self.remedy, self.kinds = problem, remedy, kinds or (Exception,)

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, VergenceError):
            if VergenceError in self.kinds:
                raise VergenceError(f"{self.problem}: {error.problem}", error.remedy) from error
        elif isinstance(error, self.kinds):
            raise VergenceError(f"{self.problem}: {said(error)}", self.remedy) from error


def meant(word: str, names: Iterable[str], otherwise: str = "") -> str:
    """A question after the name that is nearest to a word, in small or capital letters; what is said otherwise, where none is
    near."""
    import difflib

    written = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(word.strip().casefold(), list(written), n=1)
    return f"Did you mean {written[near[0]]}?" if near else otherwise


def several(given: Any) -> list[Any]:
    """One path or name, or several of them, as a list."""
    return [given] if isinstance(given, str | Path) else list(given)


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuses what is none of the words that there are.

    Raises:
        VergenceError: names the value, the nearest word and all.
    """
    known = tuple(choices)
    if value not in known:
        near = meant(str(value), known)
        raise VergenceError(f"{name} is {value!r}", f"{near} It is one of {', '.join(known)}.".strip())


def check_seed(seed: object) -> None:
    """Refuses what is no seed of random numbers.

    Raises:
        VergenceError: no whole number from 0 on.
    """
    if not isinstance(seed, int) or seed < 0:
        raise VergenceError(f"seed is {seed!r}", "Give a whole number, 0 or more.")


def said(error: BaseException) -> str:
    """The first line of an error, or what it means where its words are for programmers."""
    if isinstance(error, KeyError) and error.args:
        key = error.args[0]  # or a sentence, as h5py's
        return key if isinstance(key, str) and " " in key else f"there is no {key!r} in it"
    if isinstance(error, IndexError | EOFError | StopIteration):
        return "it ends too soon"
    cause = getattr(error, "reason", None)  # of a URL that cannot be opened
    if isinstance(cause, BaseException):
        return said(cause)
    if isinstance(error, gaierror):
        return f"no network, or no such server there ({error.strerror})"
    words = (getattr(error, "strerror", None) or str(error)).strip().splitlines() or [""]
    if wrong := TYPED.fullmatch(words[0]):
        return _of_type(*wrong.groups())
    mark = getattr(error, "problem_mark", None)  # where, of YAML
    return (words[0] or type(error).__name__) + (f" (line {mark.line + 1})" if mark else "")


def _of_type(wanted: str, got: str, place: str | None) -> str:
    """That a value is of another type, and where, in plain words."""
    kinds = [kind for kind in wanted.split(" | ") if kind != "null"]
    what = "it" if not place else f"the value at {place}" if place.startswith("[") else place
    return f"{what} is {TYPES.get(got, got)}, where {' or '.join(TYPES.get(kind, kind) for kind in kinds)} belongs"
