"""Crops a second and memory of prepared shards, of a plain torch Dataset over JPEG files, and of the bare JPEG decoder, in
one run on the same images.

python benchmarks/reading.py [--crops 4096] [--size 256] [--threads 2] [--seconds 4]

The plain Dataset is what everybody writes first: one JPEG file a crop, labels in a list of dictionaries, PIL, a DataLoader
with as many workers as threads. The bare decoder is cv2.imdecode on bytes that lie in memory already, on as many threads:
nothing that reads JPEG can be faster. The readers take turns, batch by batch, so that a machine busy with other things slows
all of them alike; seconds of the clock and of the processor are printed (workers' included). Memory: what the process and
its workers have of their own (Linux, `Pss_Dirty`), and its growth between 1x and 8x the index, of the same pixels.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from vergence.batches.dataset import MemoryDataset
from vergence.batches.views import Views
from vergence.datasets.shards.reader import ShardDataset
from vergence.datasets.shards.writer import encoded, prepare
from vergence.skeleton import H36M_17
from vergence.world import single_images

DRAWN = 64  # different images; the rest are these again with other numbers
BATCH = 64
FIELDS = ("keypoints", "pose", "intrinsics", "rotation", "translation")


class Repeated(MemoryDataset):
    """A few images as a long dataset."""

    def __init__(self, views: Views, count: int) -> None:
        rows = torch.arange(count) % len(views)
        self.few, self.rows = views, rows
        self.index = views.replace(image=views.image[:, :, :0, :0])[rows].replace(
            time_step=torch.arange(count), sequence=torch.arange(count), frame=torch.arange(count)
        )

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: torch.Tensor) -> Views:
        return self.index[rows].replace(image=self.few.image[self.rows[rows]])


class Files(Dataset):
    """One JPEG file a crop, labels as Python objects."""

    def __init__(self, folder: Path, index: Views, copies: int = 1) -> None:
        self.labels = [
            {"file": str(folder / f"{i:06d}.jpg"), **{name: getattr(index, name)[i].tolist() for name in FIELDS}}
            for _ in range(copies)
            for i in range(len(index))
        ]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        row = self.labels[i]
        image = np.array(Image.open(row["file"]).convert("RGB"))
        return {"image": torch.from_numpy(image).permute(2, 0, 1), **{n: torch.tensor(row[n]) for n in FIELDS}}


def own_mb() -> float:
    """Memory that this process does not share and that has no file behind it, with its children's, MB."""
    total = 0
    for pid in [os.getpid(), *_children(os.getpid())]:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss_Anon:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def processor_seconds() -> float:
    """Of this process and of children that are done, user and system."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(r.ru_utime + r.ru_stime for r in found) + sum(_child_seconds(pid) for pid in _children(os.getpid()))


def _child_seconds(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def orders(count: int, seed: int = 0) -> Iterator[torch.Tensor]:
    """Batches of random rows, for ever."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randint(count, (BATCH,), generator=generator)


def decoder(data: list[np.ndarray], threads: int) -> Callable[[torch.Tensor], object]:
    pool = ThreadPoolExecutor(threads)

    def read(rows: torch.Tensor) -> object:
        return list(pool.map(lambda i: cv2.imdecode(data[i % len(data)], cv2.IMREAD_COLOR), rows.tolist()))

    return read


def loader(files: Files, workers: int) -> Callable[[torch.Tensor], object]:
    """Reads the next batch of a DataLoader that draws rows of its own at random."""
    sampler = torch.utils.data.RandomSampler(files, replacement=True, num_samples=10**9)
    batches = iter(DataLoader(files, BATCH, sampler=sampler, num_workers=workers))
    return lambda rows: next(batches)


def measure(readers: dict[str, Callable[[torch.Tensor], object]], count: int, seconds: float) -> None:
    """Each reader in turn, a stretch of 10 batches at a time, until each has had its seconds."""
    used = {name: [0.0, 0.0, 0] for name in readers}
    rows = orders(count)
    for read in readers.values():
        read(next(rows))
    while min(wall for wall, _, _ in used.values()) < seconds:
        for name, read in readers.items():
            start, cpu = time.perf_counter(), processor_seconds()
            for _ in range(10):
                read(next(rows))
            used[name][0] += time.perf_counter() - start
            used[name][1] += processor_seconds() - cpu
            used[name][2] += 10 * BATCH
    for name, (wall, cpu, crops) in used.items():
        print(f"{name:<34} {crops / wall:8.0f} crops/s {1e3 * cpu / crops:8.3f} ms of processor a crop")


def written_files(folder: Path, dataset: Repeated) -> list[np.ndarray]:
    """The same JPEG bytes as single files."""
    data = [encoded(image) for image in dataset.few.image]
    for i in range(len(dataset)):
        (folder / f"{i:06d}.jpg").write_bytes(data[i % len(data)].tobytes())
    return data


def memory(make: Callable[[int], object]) -> str:
    """What opening 1x and 8x the index costs, in a process of its own each, started anew: torch's threads do not outlive a
    fork."""
    found = []
    for copies in (1, 8):
        with get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(growth, (make, copies)))
    return f"{found[0]:8.1f} MB for 1x, {found[1]:8.1f} MB for 8x the rows"


def growth(make: Callable[[int], object], copies: int) -> float:
    """MB by which what `make` gives enlarges this process."""
    cv2.setNumThreads(1)
    before = own_mb()
    kept = make(copies)
    after = own_mb()
    del kept
    return after - before


def open_and_read(folders: dict[int, Path], size: int, copies: int) -> object:
    """An opened dataset after 20 random batches."""
    dataset = ShardDataset(folders[copies], size, H36M_17)
    for rows, _ in zip(orders(len(dataset)), range(20)):
        dataset.read(rows)
    return dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=4096)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    views = single_images(DRAWN, options.size, seed=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = Repeated(views, options.crops)
        (folder / "jpeg").mkdir()
        data = written_files(folder / "jpeg", dataset)
        start = time.perf_counter()
        prepare(dataset, folder / "shards", options.size, H36M_17, {})
        print(f"{options.crops} crops of {options.size} px, {np.mean([len(d) for d in data]) / 1e3:.1f} kB each, prepared in "
              f"{time.perf_counter() - start:.1f} s; {options.threads} threads or workers, batches of {BATCH}")  # fmt: skip
        prepare(Repeated(views, 8 * options.crops), folder / "long", options.size, H36M_17, {})
        plain = Files(folder / "jpeg", dataset.index)
        index = dataset.index
        print("memory of an open dataset, after 20 batches")
        both = {1: folder / "shards", 8: folder / "long"}
        print(f"{'  shards':<34} {memory(partial(open_and_read, both, options.size))}")
        print(f"{'  JPEG files, labels as objects':<34} {memory(partial(Files, folder / 'jpeg', index))}")
        measure(
            {
                "bare JPEG decoder, bytes in memory": decoder(data, options.threads),
                "shards": ShardDataset(folder / "shards", options.size, H36M_17).read,
                "DataLoader over JPEG files": loader(plain, options.threads),
            },
            options.crops,
            options.seconds,
        )


if __name__ == "__main__":
    main()
