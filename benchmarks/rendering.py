"""How fast the built-in world is drawn, everything included: people, cameras, backgrounds, truth, uint8 images.

    python benchmarks/rendering.py [--threads 2] [--device cpu] [--demo]

Prints images per second (wall clock, and per CPU second of this process, which other work on the machine disturbs less).
`--demo` draws what `vergence demo` draws: 12,000 wild images, 100 recordings of 20 frames by 4 cameras, and 2,000 test
images at 96 px. The demo may spend a tenth of its time on it: 25 s on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from vergence.world import WORLD_VERSION, recordings, single_images


def timed(draw: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    draw()
    return time.perf_counter() - wall, time.process_time() - cpu


def report(name: str, count: int, draw: Callable[[], object]) -> float:
    wall, cpu = timed(draw)
    print(f"{name:34s} {count:6d} images {wall:7.2f} s  {count / wall:7.0f}/s  {count / cpu:7.0f} per CPU second")
    return wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--demo", action="store_true", help="what the demo draws, instead of a table by size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"world {WORLD_VERSION}, torch {torch.__version__}, {options.threads} threads, {options.device}")
    single_images(64, 32, seed=0, device=options.device)
    if options.demo:
        seconds = report("12,000 wild at 96", 12_000, lambda: single_images(12_000, 96, seed=1, device=options.device))
        seconds += report(
            "100 recordings at 96", 8_000, lambda: recordings(100, 20, 4, 96, seed=1, device=options.device)
        )
        seconds += report("test images at 96", 1_920, lambda: recordings(80, 6, 4, 96, seed=2, device=options.device))
        print(f"in all {seconds:.1f} s (limit 25 s on two cores)")
        return
    for size in (64, 96, 128):
        for look in ("wild", "studio"):
            report(
                f"{look} at {size}",
                1920,
                lambda s=size, k=look: single_images(1920, s, look=k, seed=1, device=options.device),
            )
        report(f"recordings at {size}", 1920, lambda s=size: recordings(24, 20, 4, s, seed=1, device=options.device))


if __name__ == "__main__":
    main()
