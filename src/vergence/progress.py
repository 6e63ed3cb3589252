"""How far a long call has come, told by a callback: the library itself prints nothing.

What is worth a line but is no progress (a stage that was done before, a warning of a loss) goes to the logger `vergence`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

logging.getLogger("vergence").addHandler(logging.NullHandler())  # silent where nobody listens

# Called with what is being done, how much of it is done and how much there is (None: not known).
Progress = Callable[[str, int, int | None], None]


def silent(what: str, done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


def followed(items: Iterable[T], what: str, total: int | None, progress: Progress) -> Iterator[T]:
    """The items, with `progress` told before the first and after each."""
    progress(what, 0, total)
    for done, item in enumerate(items, 1):
        yield item
        progress(what, done, total)


def counted(what: str, total: int, progress: Progress) -> Callable[[int], None]:
    """A function to call with every number of items that is done, for what counts steps and not items."""
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        progress(what, done, total)

    return advance
