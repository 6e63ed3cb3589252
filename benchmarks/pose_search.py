"""Pose search among a million images: milliseconds of a query beside comparing all, whether the hits are the same, memory, the
index's file and its building.

python benchmarks/pose_search.py [--images 1000000] [--queries 40] [--folder DIR]

People of the built-in world move for 40 seconds each, one after another, before four cameras. A camera's descriptors are poses
(51 numbers), turned to one heading, or what a fixed random network of two layers makes of them (128 numbers, unit length),
each with errors of its own: smooth ones of half a second (0.1 reference bones) and some from image to image (0.03). Queries are
moments of it with other errors. Hits lie a second apart, 20 of them. The network's look at the query is not in the times.

Building goes through `build_index`, with an estimator that knows the descriptors. Each of the measurements has a process of its
own; where two searches are timed they take turns. `plain` is one float32 product with all descriptors, held in memory, and
20 times the smallest of a million; `exact` is the same in float64, for the comparison of hits. Processor time is the sum of all
threads, for the clock depends on what else runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

FPS, EACH, CAMERAS, TOP, APART = 25, 1000, 4, 20, 1.0
SMOOTH, JITTER, QUERIES = 0.1, 0.03, 200
KINDS = {"pose": 51, "embedding": 128}


def poses(people: int, rng: np.random.Generator) -> np.ndarray:
    """Canonical poses of people who move one after another, in reference bones."""
    import torch

    from vergence.geometry.canonical import canonical_pose
    from vergence.geometry.lifting import bone_vector
    from vergence.skeleton import H36M_17
    from vergence.world.body import draw_bodies
    from vergence.world.motion import draw_choreography, perform

    found = []
    for _ in range(people):
        body = draw_bodies(1, rng)
        joints = perform([draw_choreography(EACH / FPS, body, rng)], body, np.arange(EACH)[None] / FPS).joints
        up = torch.zeros(len(joints), 3, dtype=joints.dtype)
        up[:, 2] = 1
        bone = bone_vector(joints, H36M_17.reference_bone).norm(dim=-1)[:, None, None]
        found.append((canonical_pose(joints, up, H36M_17).nan_to_num(0.0) / bone).flatten(1).float().numpy())
    return np.concatenate(found)


def seen(clean: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """With a camera's errors."""
    from scipy.ndimage import gaussian_filter1d

    error = gaussian_filter1d(rng.standard_normal(clean.shape, np.float32), FPS / 3, axis=0, mode="wrap")
    error *= SMOOTH * spread / error.std()
    return clean + error + JITTER * spread * rng.standard_normal(clean.shape, np.float32)


def make(folder: Path, images: int) -> None:
    """Descriptors and queries of both kinds."""
    rng = np.random.default_rng(0)
    pose = poses(-(-images // CAMERAS // EACH), rng)[: images // CAMERAS]
    first, second = rng.normal(size=(51, 256)) / 1.8, rng.normal(size=(256, 128)) / 8
    embedding = np.tanh(np.tanh((pose - pose.mean(0)) @ first) @ second).astype(np.float32)
    for kind, clean in (("pose", pose), ("embedding", embedding)):
        spread = 1.0 if kind == "pose" else float(embedding.std(0).mean() / pose.std(0).mean())

        def unit(x: np.ndarray, kind: str = kind) -> np.ndarray:
            return x if kind == "pose" else x / np.linalg.norm(x, axis=1, keepdims=True)

        file = np.lib.format.open_memmap(
            folder / f"{kind}.npy", "w+", np.float32, (CAMERAS * len(clean), clean.shape[1])
        )
        for camera in range(CAMERAS):
            file[camera * len(clean) : (camera + 1) * len(clean)] = unit(seen(clean, spread, rng))
        other = unit(seen(clean, spread, rng))
        np.save(
            folder / f"{kind}-queries.npy", other[rng.integers(0, len(clean) - EACH, QUERIES)[:, None] + np.arange(FPS)]
        )


def own_mib() -> float:
    """Memory of this process alone, without pages of files (Linux)."""
    return int(Path("/proc/self/smaps_rollup").read_text().split("Pss_Anon:")[1].split()[0]) / 1024


def memory() -> str:
    """Of this process: its own, and the most with pages of files, which the system may take back and processes share."""
    most = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    return f"own {own_mib():.0f} MiB, at its most with pages of files {int(most) / 1024:.0f} MiB"


class Peak(threading.Thread):
    """The most memory that this process had of its own, MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = own_mib()
        self.start()

    def run(self) -> None:
        while True:
            self.most = max(self.most, own_mib())
            time.sleep(0.25)


class Knows:
    """An estimator that has the descriptors."""

    def __init__(self, path: Path) -> None:
        from vergence.skeleton import H36M_17

        self.skeleton, self.rows, self.at = H36M_17, np.load(path, mmap_mode="r"), 0

    def __call__(self, image: np.ndarray, intrinsics: np.ndarray):
        import torch

        from vergence.methods.base import Prediction

        rows = torch.from_numpy(np.array(self.rows[self.at : self.at + len(image)]))
        self.at += len(image)
        pose = rows[:, :51].unflatten(1, (17, 3))
        return Prediction(pose, "canonical", embedding=rows if rows.shape[1] != 51 else None)


def build(folder: Path, kind: str) -> None:
    from vergence.inference.moments.index import Shot, build_index

    eyes, pixels, lens = Knows(folder / f"{kind}.npy"), np.zeros((1, 1, 3), np.uint8), np.eye(3)
    each = len(eyes.rows) // CAMERAS
    shots = (Shot(i // each, i % each, i % each / FPS, pixels, lens) for i in range(len(eyes.rows)))
    print(f"  before building: {memory()}")
    peak, start, cpu = Peak(), time.perf_counter(), time.process_time()
    build_index(eyes, shots, "abcd", {}, folder).save(folder / f"{kind}-index.npz")
    took = f"{time.perf_counter() - start:.0f} s, processor {time.process_time() - cpu:.0f} s"
    print(f"  built: {took}; {memory()}; own at its most {peak.most:.0f} MiB")
    print(f"  file: {(folder / f'{kind}-index.npz').stat().st_size / 2**20:.0f} MiB")


def opened(folder: Path, kind: str) -> None:
    """What the first query of a process costs."""
    from vergence.inference.moments.index import Index
    from vergence.inference.moments.nearest import find_hits

    query = np.load(folder / f"{kind}-queries.npy")[0, 0]
    print(f"  libraries: {memory()}")
    start = time.perf_counter()
    index = Index.load(folder / f"{kind}-index.npz")
    there = time.perf_counter()
    print(f"  opened in {(there - start) * 1e3:.1f} ms: {memory()}")
    find_hits(index, query, count=TOP, apart=APART)
    print(f"  first query {(time.perf_counter() - there) * 1e3:.1f} ms: {memory()}")


def plain(index, vectors: np.ndarray, lengths: np.ndarray, query: np.ndarray) -> list[int]:
    """One product with everything, then the smallest again and again."""
    from vergence.inference.moments.nearest import _around

    squared, rows = lengths - 2 * (vectors @ query) + query @ query, []
    while len(rows) < TOP:
        rows.append(int(squared.argmin()))
        squared[_around(index, rows[-1], APART)] = np.inf
    return rows


def exact(index, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Distances of the true hits."""
    from vergence.inference.moments.nearest import _picked

    squared = np.concatenate([((part - query.astype(np.float64)) ** 2).sum(1) for part in np.array_split(vectors, 100)])
    return np.sqrt(squared[_picked(index, np.arange(len(vectors)), squared, TOP, APART)])


def timed(ask, *words) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    ask(*words)
    return (time.perf_counter() - start) * 1e3, (time.process_time() - cpu) * 1e3


def told(name: str, times: np.ndarray) -> None:
    wall, cpu = times.T
    print(f"  {name:14} median {np.median(wall):7.1f} ms, worst {wall.max():7.1f}; "
          f"processor median {np.median(cpu):7.1f}, worst {cpu.max():7.1f}")  # fmt: skip


def ask(folder: Path, kind: str, count: int) -> None:
    from vergence.inference.moments.index import Index
    from vergence.inference.moments.nearest import find_hits

    index, queries = Index.load(folder / f"{kind}-index.npz"), np.load(folder / f"{kind}-queries.npy")
    vectors = np.array(index.descriptor)
    lengths = np.einsum("nd,nd->n", vectors, vectors)
    later = np.arange(FPS) / FPS

    def search(query: np.ndarray) -> list:
        return find_hits(index, query, count=TOP, apart=APART)

    for query in queries[-3:, 0]:
        search(query), plain(index, vectors, lengths, query)
    pairs = [(timed(search, q), timed(plain, index, vectors, lengths, q)) for q in queries[:count, 0]]
    ours, theirs = np.array(pairs).transpose(1, 0, 2)
    told("image", ours)
    told("plain", theirs)
    wall, cpu = np.median(theirs / ours, 0)
    print(f"  plain by image: {wall:.1f} of the clock, {cpu:.1f} of the processor (medians of pairs)")
    told("clip of 25", np.array([timed(find_hits, index, q, later, TOP, APART) for q in queries[: count // 8 + 1]]))
    if os.environ["OMP_NUM_THREADS"] == "1":
        some = queries[: count // 4 + 1, 0]
        truth = np.array([exact(index, vectors, q) for q in some])
        found = np.array([[hit.distance for hit in search(q)] for q in some])
        print(f"  recall at {TOP}: {np.isclose(found, truth, rtol=1e-9, atol=1e-9).mean():.4f} ({len(some)} queries)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=40, help=f"at most {QUERIES}")
    parser.add_argument("--folder", type=Path, help="in which the descriptors and indices stay, and are looked for")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        work, kind = options.job
        jobs = {"build": build, "opened": opened, "ask": lambda folder, kind: ask(folder, kind, options.queries)}
        jobs[work](options.folder, kind)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "embedding-queries.npy").exists():
            make(folder, options.images)
        for kind in KINDS:
            jobs = [("build", 1)] if not (folder / f"{kind}-index.npz").exists() else []
            for work, threads in (*jobs, ("opened", 1), ("ask", 1), ("ask", 2)):
                load = os.getloadavg()[0]
                print(
                    f"{kind}, {KINDS[kind]} numbers: {work}, threads {threads}; load {load:.1f} on {os.cpu_count()} cores"
                )
                sys.stdout.flush()
                words = ["--job", work, kind, "--folder", str(folder), "--queries", str(options.queries)]
                limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
                subprocess.run([sys.executable, __file__, *words], check=True, env=os.environ | limits)


if __name__ == "__main__":
    main()
