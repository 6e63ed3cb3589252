"""How many threads torch takes: what is free of the cores when a verb begins, else one.

OpenMP's threads wait for each other at the end of every operation, and spin while they do. On free cores that is fast. Where
other programs have a core, all threads spin until the one that lost it gets it back: two threads were 20 to 90 times slower
than one. So before torch is loaded the cores that nobody uses are counted; with fewer than two of them torch gets one thread,
and what other libraries wait for, they wait for asleep. Whoever sets `--threads` or OMP_NUM_THREADS has decided already.
The number is kept for the process: sums of another number of threads differ in their last bits.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from vergence.errors import VergenceError

LOOKS = 8  # at the machine, evenly over
LOOK_S = 0.1
COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Choice:
    """How many threads, and why.

    Attributes:
        threads: 0 where it is left to torch.
        asleep: they wait without spinning.
        reason: in words.
    """

    threads: int
    asleep: bool
    reason: str


settled: Choice | None = None  # of this process, where a verb has chosen


def cores() -> int:
    """That this process may use at once: of its affinity, and of a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or "max"
        return count


def others_running() -> float | None:
    """Threads of other programs that want a core, on average over a moment; None where the system does not tell."""
    running = []
    try:
        for _ in range(LOOKS):
            running.append(int(Path("/proc/loadavg").read_text().split()[3].split("/")[0]) - 1)
            time.sleep(LOOK_S / LOOKS)
    except (OSError, ValueError, IndexError):
        return None
    return sum(running) / len(running)


def choose(given: int = 0, environ: MutableMapping[str, str] = os.environ) -> Choice:
    """Threads for this process.

    Args:
        given: that somebody asked for; 0 for none.
        environ: in which OMP_NUM_THREADS may stand.

    Raises:
        VergenceError: fewer than 0, or more than there could be.
    """
    count = cores()
    if not 0 <= given <= 1024:
        raise VergenceError(f"--threads {given}", "Give 1 to 1024, or leave it out.")
    if given:
        return Choice(given, given > count, "as asked for")
    if environ.get("OMP_NUM_THREADS", "").isdigit():
        return Choice(int(environ["OMP_NUM_THREADS"]), False, "as OMP_NUM_THREADS says")
    others = others_running()
    if others is None:
        return Choice(0, False, "this system does not tell what else runs")
    free = max(0, min(count, round((os.cpu_count() or count) - others)))
    if count == 1:
        return Choice(0, False, "there is one core")
    if free >= 2:
        return Choice(free if free < count else 0, False, f"{free} of {count} cores are free")
    return Choice(1, True, f"{free} of {count} cores are free: one thread does not wait for others")


def settle(given: int = 0, environ: MutableMapping[str, str] = os.environ) -> Choice:
    """Sets the choice for libraries that are loaded from now on, and for processes that are started."""
    global settled
    found = settled = choose(given, environ)
    for name in COUNTS if found.threads else ():
        if given:
            environ[name] = str(found.threads)
        else:
            environ.setdefault(name, str(found.threads))
    if found.asleep:
        environ.setdefault("OMP_WAIT_POLICY", "passive")
        environ.setdefault("KMP_BLOCKTIME", "0")
    return found
