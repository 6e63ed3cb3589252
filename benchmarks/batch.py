"""`vergence batch` against a plain loop over the same recordings: seconds of the clock and of the processor.

python benchmarks/batch.py [--recordings 16] [--frames 120] [--workers 2] [--engine processes] [--rounds 1]

The loop is Python's, in one process that has imported everything: the fairest and fastest plain way. Both write the same files.
Clock and processor are printed, with the load of the machine: where other programs take the cores, the processor's seconds
say what is lost to processes (`cores x loop / batch` is what the clock would gain on free cores), the clock what was had.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

import vergence
from vergence.cli import main as verb


def clocks() -> np.ndarray:
    """Wall and processor seconds, those of children that are done among them."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(r.ru_utime + r.ru_stime for r in used)])


def loop(folder: Path, names: list[str]) -> np.ndarray:
    start = clocks()
    for name in names:
        with contextlib.redirect_stdout(io.StringIO()):
            assert verb(["reconstruct", str(folder / name), "--out", str(folder / "loop" / name)]) == 0
    return clocks() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("recordings", 16), ("frames", 120), ("workers", 2), ("rounds", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--engine", default="processes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [f"r{i}" for i in range(options.recordings)]
        for i, one in enumerate(names[:4]):
            vergence.synthesize(folder / one, frames=options.frames, views=4, size=64, seed=i, device="cpu")
        for i, one in enumerate(names[4:]):
            (folder / one).symlink_to(folder / names[i % 4])
        (folder / "list.txt").write_text("\n".join(names))
        loop(folder, names[:1])  # imports
        for number in range(options.rounds):
            print(f"{len(names)} recordings of 4 x {options.frames} frames; load {os.getloadavg()[0]:.1f}, "
                  f"{os.cpu_count()} cores")  # fmt: skip
            plain = loop(folder, names)
            start = clocks()
            found = vergence.batch("reconstruct", folder / "list.txt", folder / f"batch{number}",
                                   workers=options.workers, engine=options.engine)  # fmt: skip
            many = clocks() - start
            many[1] = max(many[1], sum(one.processor for one in found.outcomes))  # a fork server's children are its own
            assert len(found.done) == len(names), found.failed
            for what, (wall, cpu) in (("plain loop", plain), (f"batch, {options.workers} workers", many)):
                print(f"  {what:<20} {wall:7.1f} s of the clock {cpu:7.1f} s of the processor")
            print(f"  batch / loop         {plain[0] / many[0]:7.2f} x by the clock"
                  f" {options.workers * plain[1] / many[1]:7.2f} x on {options.workers} free cores", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
