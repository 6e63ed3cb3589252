"""What the library tells while it works, on the terminal: bars for progress, lines for what it logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import rich
from rich.markup import escape

from vergence.cli import rank
from vergence.progress import Progress
from vergence.report.bars import bars


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        rich.get_console().print(f"[{style}]{escape(record.getMessage())}[/{style}]", highlight=False)


@contextmanager
def told(quiet: bool, begin: str = "") -> Iterator[Progress]:
    """A progress callback that draws bars, and the library's log as lines; `quiet`: warnings alone.

    Args:
        quiet: as above.
        begin: said at once, by the first of several processes: libraries that take seconds to load are imported within.
    """
    log, lines = logging.getLogger("vergence"), _Lines(logging.WARNING if quiet else logging.INFO)
    before = log.level
    log.addHandler(lines)
    log.setLevel(lines.level)
    try:
        if begin and not rank():
            log.info("%s; loading libraries", begin)
        with bars(quiet) as progress:
            yield progress
    finally:
        log.removeHandler(lines)
        log.setLevel(before)
