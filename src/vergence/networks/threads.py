"""How many threads torch takes: what is free of the cores when a verb begins, else one.

OpenMP's threads wait for each other at the end of every operation, and spin while they do. On free cores that is fast. Where
other programs have a core, all threads spin until the one that lost it gets it back: two threads were 20 to 90 times slower
than one. So before torch is loaded it is tried how many cores this process gets; with fewer than two of them torch gets one
thread, and what other libraries wait for, they wait for asleep: beside four jobs on two cores one thread was the fastest, or
within a third of the fastest. Whoever sets `--threads` or OMP_NUM_THREADS has decided already.
The number is kept for the process: sums of another number of threads differ in their last bits.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vergence.errors import VergenceError

LOOK_S, TURNS = 0.1, 3000  # seconds, of pieces of 1.5 ms
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
    """Cores' worth of time that other programs keep from this one, by trying: as many threads as it has cores work for a
    moment. So what runs at a lower priority hardly counts, and a container's limit does. None where it cannot be tried."""
    try:
        with ThreadPoolExecutor(count := cores()) as pool:
            return count - sum(pool.map(_share_of_a_core, range(count)))
    except (OSError, RuntimeError):
        return None


def _share_of_a_core(_: int) -> float:
    """That this thread gets: its own time over that of the clock, doing what lets other threads of Python work."""
    begun, worked = time.perf_counter(), time.thread_time()
    while (passed := time.perf_counter() - begun) < LOOK_S:
        hashlib.pbkdf2_hmac("sha256", b"", b"", TURNS)
    return (time.thread_time() - worked) / passed


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
    if count == 1:
        return Choice(0, False, "there is one core")
    others = others_running()
    if others is None:
        return Choice(0, False, "it cannot be tried what else runs")
    free = max(0, min(count, round(count - others)))
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


def workers() -> int:
    """Threads of this process that may work at once: as was settled, or as OMP_NUM_THREADS says, else one for each core."""
    if settled is not None:
        return settled.threads or cores()
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else cores()


def helper(name: str) -> ThreadPoolExecutor:
    """One thread to work beside the caller's; each of its tensor operations uses one core, the caller's as many as before.

    Two threads that both split operations between all cores have more threads than there are cores. OpenMP then lets them
    wait for each other asleep: on two free cores a step of the demo took 116 ms instead of 65, by a thread that had read
    once and did nothing.
    """
    import torch

    def alone() -> None:
        torch.get_num_threads()  # a thread's first use of torch takes the process's number, whatever was set before
        torch.set_num_threads(1)

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(1, name, alone)
    pool.submit(int).result()
    torch.set_num_threads(before)  # the last caller sets it for threads to come and for MKL too
    return pool
