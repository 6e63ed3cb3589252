"""`vergence.batch`: a verb over thousands of recordings, here in processes or on many machines by Ray.

Every recording is a task that gives the same results however often it is done; its state is written when it has ended, so
a call that was stopped or killed does what is missing. Ray is asked for nothing but to carry tasks to machines and to say
which were lost with one.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vergence.bulk import places
from vergence.bulk.manifest import INPUTS, STATE, check_options, read_manifest
from vergence.bulk.task import Outcome, Task, carry_out, read_outcome
from vergence.errors import VergenceError
from vergence.folders import held
from vergence.networks.threads import cores
from vergence.progress import Progress, silent

TOLD_EVERY = 50  # recordings between two writings of the manifest
RETRIES = 2  # of a task whose machine or worker was lost


@dataclass(frozen=True)
class Batch:
    """The result for a manifest's recordings.

    Attributes:
        path: folder or URL of the results: a folder for each recording, and `batch/manifest.json`.
        outcomes: one for each recording, in the manifest's order.
        before: how many of these an earlier call had done.
    """

    path: str
    outcomes: tuple[Outcome, ...]
    before: int = 0

    @property
    def done(self) -> list[str]:
        """Names of those that are done."""
        return [one.name for one in self.outcomes if one.state == "done"]

    @property
    def failed(self) -> dict[str, str]:
        """Names of those that failed, and why."""
        return {one.name: one.reason for one in self.outcomes if one.state == "failed"}


def batch(
    verb: Literal["detect", "reconstruct", "predict"],
    manifest: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    root: str | Path | None = None,
    workers: int | None = None,
    engine: Literal["processes", "ray"] = "processes",
    timeout: float | None = None,
    keep_failed: bool = False,
    progress: Progress = silent,
) -> Batch:
    """Does many recordings, each by itself; what an earlier call has done with the same options is not done again.

    In a script, call it below `if __name__ == "__main__":`, because it starts processes.

    Args:
        verb: `detect`, `reconstruct` or `predict`; each recording has the files that it writes.
        manifest: a text file with a path, or `{"path": ..., "name": ..., "options": {...}}`, on each line; or the paths.
        out: folder or URL; a recording's results are in the folder of its name.
        options: of the verb, for all recordings, as `{"formats": "npz,trc"}`.
        root: folder or URL that the recordings' paths are relative to and must lie in; the manifest's own.
        workers: recordings at once; the cores that this process may use (Ray: as many as its machines hold).
        engine: `processes` of this machine, or `ray`: the cluster of `RAY_ADDRESS`, or one of this machine.
        timeout: time limit for each recording, seconds.
        keep_failed: do not try failed recordings again.
        progress: reports each recording.

    Returns:
        Names of what is done, and reasons of what failed; `batch/manifest.json` says the same.

    Raises:
        VergenceError: a manifest that cannot be read, an option that the verb does not have, no Ray. A recording's own
            error is in its outcome.
    """
    if verb not in INPUTS:
        raise VergenceError(f"a batch of {verb!r}", f"The verbs are {', '.join(INPUTS)}.")
    count = cores() if workers is None else workers
    if count < 1 or (timeout is not None and not timeout > 0):
        raise VergenceError(f"workers {count} and timeout {timeout}", "Give 1 or more, and seconds above 0.")
    recordings, folder = read_manifest(manifest)
    check_options(verb, options or {})
    for one in recordings:
        check_options(verb, one.options, own=True)
    where = str(out) if places.is_url(str(out)) else os.path.abspath(out)
    top = folder if root is None else str(root)
    threads = max(1, cores() // count)
    tasks = [Task(verb, one, top, where, dict(options or {}), threads, timeout) for one in recordings]
    known = {task.recording.name: found for task in tasks if (found := read_outcome(task)) is not None}
    kept = ("done", "failed") if keep_failed else ("done",)
    before = {name: found for name, found in known.items() if found.state in kept}
    waiting = [task for task in tasks if task.recording.name not in before]
    told = _Told(tasks, dict(before), progress)
    run = _on_ray if engine == "ray" else _in_processes
    with nullcontext() if places.is_url(where) else held(where):
        try:
            for outcome in run(waiting, min(count, max(1, len(waiting)))):
                told.hear(outcome)
        finally:
            told.write()
    return Batch(where, told.outcomes(), sum(one.state == "done" for one in before.values()))


class _Told:
    """The manifest of what is done, written now and then."""

    def __init__(self, tasks: Sequence[Task], found: dict[str, Outcome], progress: Progress) -> None:
        self.tasks, self.found, self.progress = tasks, found, progress
        progress(tasks[0].verb, len(found), len(tasks))

    def hear(self, outcome: Outcome) -> None:
        self.found[outcome.name] = outcome
        self.progress(self.tasks[0].verb, len(self.found), len(self.tasks))
        if len(self.found) % TOLD_EVERY == 0:
            self.write()

    def outcomes(self) -> tuple[Outcome, ...]:
        names = [task.recording.name for task in self.tasks]
        return tuple(self.found.get(name) or Outcome(name, "waiting") for name in names)

    def write(self) -> None:
        outcomes = self.outcomes()
        counts = {state: sum(one.state == state for one in outcomes) for state in ("done", "failed", "waiting")}
        told = {"verb": self.tasks[0].verb, "counts": counts, "recordings": [vars(one) for one in outcomes]}
        places.write(f"{self.tasks[0].out.rstrip('/')}/{STATE}/manifest.json", json.dumps(told, indent=2) + "\n")


def _in_processes(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    """As each is done; a call that is interrupted ends those that run."""
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(carry_out, task, stop.is_set) for task in tasks]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _on_ray(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    """The same on Ray's machines, which must see the recordings and the results: a shared folder, or URLs."""
    try:
        import ray
    except ImportError as error:
        raise VergenceError("Ray is not installed", "pip install 'vergence[ray]', or leave --engine out.") from error
    own = not ray.is_initialized()
    if own:
        here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, **here)
    try:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(carry_out)
        jobs = {remote.remote(task): task for task in tasks}
        while jobs:
            for job in ray.wait(list(jobs))[0]:
                task = jobs.pop(job)
                try:
                    yield ray.get(job)
                except ray.exceptions.RayError as error:
                    yield Outcome(task.recording.name, "failed", f"Ray: {error}", made_with=task.made_with)
    finally:
        if own:
            ray.shutdown()
