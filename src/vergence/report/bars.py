"""Progress on the terminal: what a library call tells its callback, as one bar for each thing that is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import Progress as Bars
from rich.progress import TaskID

from vergence.progress import Progress


@contextmanager
def bars(quiet: bool = False) -> Iterator[Progress]:
    """A callback that draws bars while the block runs; `quiet`: that draws nothing."""
    with Bars(disable=quiet) as shown:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total)
            shown.update(tasks[what], completed=done, total=total)

        yield tell
