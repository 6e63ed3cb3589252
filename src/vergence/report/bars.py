"""Progress on the terminal: what a library call tells its callback, as one bar for each thing that is done.

Where output goes to a file there are no bars but lines: what is done, where that takes over 3 s (of short things in a row
one in 10 s), and how long it will take as soon as that can be told; then one a minute with what is done and what is left,
also where nothing is told for longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import rich
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from vergence.progress import Progress, about, silent

EVERY, LOOK = 60.0, 1.0  # seconds between lines; between looks whether one is due
SURE = 3.0  # seconds after which a thing is named, and the time that is left is told
LONG = 10.0  # seconds that are worth a line


@dataclass
class _Task:
    """One thing that is done: since when, from what number on, and how far it is."""

    what: str
    total: int | None
    started: float
    first: int
    done: int
    named: bool = False  # that it is done
    told: bool = False  # how long it will take

    @property
    def left(self) -> float | None:
        """Seconds, by the pace so far."""
        spent, made = time.monotonic() - self.started, self.done - self.first
        return None if not self.total or made < 1 or spent < SURE else spent / made * (self.total - self.done)

    def __str__(self) -> str:
        if self.total is None:
            return f"{self.what}, {about(time.monotonic() - self.started)} so far"
        left = "" if self.left is None else f", {about(self.left)} left"
        return f"{self.what}: {self.done} of {self.total}{left}"


class _Lines:
    """Tells of the last thing that was begun."""

    def __init__(self) -> None:
        self.tasks: dict[str, _Task] = {}
        self.last: _Task | None = None
        self.began = self.said = time.monotonic()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        task = self.tasks.get(what)
        if task is None or done < task.done:
            task = self.tasks[what] = _Task(what, total, time.monotonic(), done, done)
        task.done, task.total, self.last = done, total, task
        if not task.told and task.left is not None:
            task.told = True
            if task.left > LONG:
                self.say()

    def look(self) -> None:
        """Says a line where one is due: of what has gone on for some seconds, or since nothing was said for long."""
        now, task = time.monotonic(), self.last
        new = task is not None and not task.named and task.done != task.total and now - task.started >= SURE
        soon = task is not None and task.left is not None and task.left <= LONG
        if now - self.said >= EVERY or (new and (not soon or now - self.said >= LONG)):
            self.say()

    def say(self) -> None:
        task, self.said = self.last, time.monotonic()
        if task is None or task.done == task.total:  # between two things that are told
            words = f"still at work, {about(time.monotonic() - self.began)} so far"
        else:
            words, task.named, task.told = str(task), True, task.told or task.left is not None
        rich.get_console().print(words, highlight=False, markup=False)


@contextmanager
def bars(quiet: bool = False) -> Iterator[Progress]:
    """A callback that draws bars, or says lines where nobody looks, while the block runs; `quiet`: neither."""
    if quiet:
        yield silent
    elif rich.get_console().is_terminal:
        yield from _drawn()
    else:
        lines, over = _Lines(), threading.Event()

        def looking() -> None:
            while not over.wait(min(LOOK, EVERY)):
                lines.look()

        threading.Thread(target=looking, daemon=True).start()
        try:
            yield lines
        finally:
            over.set()


def _drawn() -> Iterator[Progress]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Bars(TextColumn("{task.description}"), *columns, console=rich.get_console()) as shown:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(escape(what), total=total)
            shown.update(tasks[what], completed=done, total=total)

        yield tell
