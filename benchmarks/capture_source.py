"""Footage as a source of training: seconds until it is indexed and until its first batch, memory, batches a second, and the
same rows through the readers behind `vergence data check`.

python benchmarks/capture_source.py [--frames 2000] [--views 4] [--size 256] [--batch 32] [--batches 100]
python benchmarks/capture_source.py --frames 250000 --batches 3       # a million crops; some minutes to make

The footage is a recording of the built-in world, 640 px, H.264 as `vergence synth` writes it, the same 200 time steps
again and again. Each measurement has a process of its own. Memory is what the process has of its own (Linux,
`Pss_Anon`), at its most, beyond what it had once the libraries were loaded; seconds are the clock's and the processor's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from vergence.datasets.capture import read_capture
from vergence.recipes.typed import make_source
from vergence.skeleton import H36M_17

ONCE = 200  # frames that are drawn


def footage(folder: Path, frames: int, views: int) -> Path:
    """A capture of so many frames."""
    import vergence
    from vergence.footage.video import join_videos

    out = folder / "capture"
    vergence.synthesize(out, frames=ONCE, views=views, known="cameras", device="cpu")
    times = -(-frames // ONCE)
    for video in out.glob("*.mp4"):
        join_videos([video] * times, folder / "long.mp4")
        (folder / "long.mp4").replace(video)
    with np.load(out / "keypoints.npz") as file:
        data = dict(file)
    there_and_back = np.concatenate([data["keypoints"], data["keypoints"][::-1]])
    data["keypoints"] = np.concatenate([there_and_back] * (times // 2 + 1))[: times * ONCE]
    np.savez(out / "keypoints.npz", **data)
    (out / "truth.npz").unlink()
    return out


def own_mb() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) / 1024


class Peak(threading.Thread):
    """The most memory that this process had of its own, MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_mb = self.most = own_mb()
        self.start()

    def run(self) -> None:
        while True:
            self.most = max(self.most, own_mb())
            time.sleep(0.05)

    def grown(self) -> float:
        return max(self.most, own_mb()) - self.start_mb


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def measure(path: Path, size: int, batch: int, batches: int) -> None:
    torch.set_num_threads(1)
    peak, start = Peak(), clocks()
    dataset = read_capture(make_source("capture", path=str(path)), size, H36M_17)
    opened = clocks()
    steps = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)).split(batch)
    dataset.read(steps[0])
    first = clocks()
    wall, cpu = opened - start
    print(f"{len(dataset)} crops of {size} px")
    print(f"  indexed         {wall:8.1f} s  processor {cpu:8.1f} s")
    wall, cpu = first - opened
    print(f"  first batch     {wall:8.1f} s  processor {cpu:8.1f} s   ({batch} crops)")
    for rows in steps[1 : min(batches, len(steps))]:
        dataset.read(rows)
    read, (wall, cpu) = min(batches, len(steps)), clocks() - first
    print(
        f"  batches 2-{read:<5} {wall:8.1f} s  processor {cpu:8.1f} s   {1e3 * cpu / batch / max(1, read - 1):.2f} ms a crop"
    )
    again = clocks()
    for rows in steps[:read]:
        dataset.read(rows)
    wall, cpu = clocks() - again
    print(f"  the same again  {wall:8.1f} s  processor {cpu:8.1f} s   {1e3 * cpu / batch / read:.2f} ms a crop")
    print(f"  memory          {peak.grown():8.0f} MB at its most", flush=True)


def compare(path: Path, size: int) -> None:
    """80 rows of training's reader against those of `data check`."""
    from vergence.datasets.records import ImageDataset
    from vergence.datasets.validation.readers import capture_pixels, read_capture_records

    ours = read_capture(make_source("capture", path=str(path)), size, H36M_17)
    theirs = ImageDataset(read_capture_records(path), size, H36M_17, pixels=capture_pixels(path))
    rows = torch.linspace(0, len(ours) - 1, 80).long()
    a, b = dict(ours.read(rows).items()), dict(theirs.read(rows).items())
    differ = [name for name in a if not torch.equal(a[name].nan_to_num(-1), b[name].nan_to_num(-1))]
    print(f"  80 crops against `data check`'s readers: {', '.join(differ) or 'nothing'} differs of {len(a)} fields")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("frames", 2000), ("views", 4), ("size", 256), ("batch", 32), ("batches", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--keep", type=Path, help="folder in which the footage stays, and is looked for")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        path = folder / "capture"
        if not path.is_dir():
            folder.mkdir(exist_ok=True)
            footage(folder, options.frames, options.views)
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        context = get_context("spawn")
        jobs = [(measure, (path, options.size, options.batch, options.batches))]
        jobs += [(compare, (path, options.size))] if options.frames <= 10_000 else []
        for work, words in jobs:
            process = context.Process(target=work, args=words)
            process.start()
            process.join()


if __name__ == "__main__":
    main()
