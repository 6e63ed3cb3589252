"""Several cores for many small tensor operations: whole chunks go to threads, not every operation to all of them.

Operations of a tenth of a millisecond, each split between cores, make the cores wait for each other; where they are
shared with other programs, the waiting is nearly all there is (51 images a second were measured, instead of 1,000).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

Device = torch.device | str
Item = TypeVar("Item")
Result = TypeVar("Result")
_CORES: ContextVar[int] = ContextVar("cores", default=0)


@contextmanager
def one_core_each() -> Iterator[None]:
    """Within it an operation uses one core, and `spread` as many as torch had before. Works as a decorator too."""
    before = torch.get_num_threads()
    token = _CORES.set(_CORES.get() or before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _CORES.reset(token)


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`[work(item) for item in items]`, on several cores; each call of `work` uses one."""
    with one_core_each():
        cores = min(_CORES.get(), len(items))
        if cores <= 1:
            return [work(item) for item in items]
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
