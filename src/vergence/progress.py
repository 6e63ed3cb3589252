"""How far a long call has come, told by a callback: the library itself prints nothing.

What is worth a line but is no progress (a stage that was done before, a warning of a loss) goes to the logger `vergence`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
BELIEVED_S = 3.0  # after which a pace is believed

logging.getLogger("vergence").addHandler(logging.NullHandler())  # silent where nobody listens

# Called with what is being done, how much of it is done and how much there is (None: not known).
Progress = Callable[[str, int, int | None], None]


def silent(what: str, done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


_HEARD: ContextVar[Progress] = ContextVar("heard", default=silent)


@contextmanager
def heard(progress: Progress, what: str) -> Iterator[None]:
    """Tells that the block runs, and passes on what is told to `hearing()` below it: for what stands behind a contract that
    has no place for a callback, as a plug-in's source that opens itself.

    Args:
        progress: told of `what`, and of `what: PART` for each part that is counted.
        what: is done in the block.
    """
    progress(what, 0, None)
    token = _HEARD.set(lambda part, done, total: progress(f"{what}: {part}", done, total))
    try:
        yield
    finally:
        _HEARD.reset(token)
    progress(what, 1, 1)


def hearing() -> Progress:
    """Whom `heard` lets listen, as seen by this thread; nobody, elsewhere."""
    return _HEARD.get()


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


def about(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 55:
        return f"about {max(1, round(seconds)) if seconds < 9.5 else 5 * round(seconds / 5)} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


class Pace:
    """A callback that passes on, and says once how long all things will take, by the pace of the first.

    Args:
        progress: told what this is told.
        work: of each thing that is to be done, by its name, in any one unit.
        say: told the sentence.
    """

    def __init__(self, progress: Progress, work: Mapping[str, float], say: Callable[[str], None]) -> None:
        self.progress, self.work, self.say = progress, dict(work), say
        self.first: dict[str, int] = {}
        self.began = (0.0, 0)
        self.said = False

    def __call__(self, what: str, done: int, total: int | None) -> None:
        self.progress(what, done, total)
        if self.said or not total or what not in self.work:
            return
        if done <= self.first.setdefault(what, done) + 1:  # the first step of a process is slower
            self.began = time.monotonic(), done
            return
        spent, made = time.monotonic() - self.began[0], done - self.began[1]
        if made > 0 and spent >= BELIEVED_S:
            self.said = True
            later = sum(list(self.work.values())[list(self.work).index(what) + 1 :])
            share = self.work[what] / total
            self.say(f"training takes {about(spent / made * (total - done + later / share))}")
