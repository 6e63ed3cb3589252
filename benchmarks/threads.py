"""Threads: what the command line chooses by itself beside every other choice, on free cores or beside other jobs.

python benchmarks/threads.py [--load 4] [--seconds 3] [--rounds 1]

The works are a training step of the demo's network (64 px, 48 images), one image through it, and one image of 256 px through
a ResNet-50. The choices are `auto`, one thread, and all cores' threads waiting as torch leaves them (they spin) and asleep.
Each choice is a process of its own, and they take turns, so that other programs slow all of them alike; `--load` jobs that
count for ever run beside them. Printed are milliseconds of the clock and how much longer `auto` takes than the best.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

CORES = len(os.sched_getaffinity(0))
SET = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHOICES = {
    "auto": {},
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "all cores": {"OMP_NUM_THREADS": str(CORES)},
    "all cores, asleep": {"OMP_NUM_THREADS": str(CORES), "OMP_WAIT_POLICY": "passive"},
}
MOST_S = 60.0  # that a choice may take for a work


def works() -> dict[str, Callable[[], object]]:
    import torch

    from vergence.methods.registry import build_method
    from vergence.recipes.load import load_recipe
    from vergence.recipes.recipe import NetworkSettings

    small = build_method("supervised", load_recipe("demo").network, "h36m_17", pretrained=False).train()
    big = build_method(
        "supervised", NetworkSettings(backbone="resnet50", width=256), "h36m_17", pretrained=False
    ).eval()
    optimizer = torch.optim.AdamW(small.parameters(), lr=1e-5)
    images, one, large = torch.rand(48, 3, 64, 64), torch.rand(1, 3, 64, 64), torch.rand(1, 3, 256, 256)

    def step() -> None:
        maps = vars(small.network(images)).values()
        loss = torch.stack([m.float().sum() for m in maps if isinstance(m, torch.Tensor) and m.requires_grad]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def without(network: torch.nn.Module, image: torch.Tensor) -> None:
        with torch.no_grad():
            network(image)

    return {
        "training step, small": step,
        "image, small": lambda: without(small.network, one),
        "image, ResNet-50": lambda: without(big.network, large),
    }


def child(seconds: float) -> None:
    """Prints milliseconds of each work."""
    from vergence.networks.threads import settle

    settle()  # as the command line does; what the environment says goes before it
    found = {}
    for name, work in works().items():
        work()
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            work()
            count += 1
        found[name] = 1e3 * (time.perf_counter() - start) / count
        print(json.dumps(found), flush=True)


def measured(choice: str, seconds: float) -> dict[str, float]:
    """Of a choice; works that it did not get to in time are left out."""
    env = {name: value for name, value in os.environ.items() if name not in SET} | CHOICES[choice]
    words = [sys.executable, __file__, "--child", "--seconds", str(seconds)]
    try:
        text = subprocess.run(words, stdout=subprocess.PIPE, env=env, timeout=MOST_S, check=True).stdout
    except subprocess.TimeoutExpired as error:
        text = error.stdout or b""
    lines = text.decode().splitlines()
    return json.loads(lines[-1]) if lines else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.seconds)
    print(f"{CORES} cores, load {os.getloadavg()[0]:.1f} before, {options.load} jobs beside")
    jobs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.load)]
    best: dict[str, dict[str, float]] = {choice: {} for choice in CHOICES}
    try:
        for _ in range(options.rounds):
            for choice, known in best.items():
                for work, took in measured(choice, options.seconds).items():
                    known[work] = min(took, known.get(work, took))
    finally:
        for job in jobs:
            job.kill()
    names = list(dict.fromkeys(work for known in best.values() for work in known))
    print(f"{'ms':<22}" + "".join(f"{choice:>19}" for choice in CHOICES) + "      auto / best")
    for work in names:
        row = [best[choice].get(work) for choice in CHOICES]
        ratio = (row[0] or float("inf")) / min(ms for ms in row if ms is not None)
        shown = "".join(
            f"{'over ' + format(MOST_S, '.0f') + ' s' if ms is None else format(ms, '.1f'):>19}" for ms in row
        )
        print(f"{work:<22}{shown}{ratio:17.2f}", flush=True)


if __name__ == "__main__":
    main()
