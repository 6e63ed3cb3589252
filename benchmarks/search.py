"""Milliseconds that one query takes among 100,000 indexed images, median and worst of 50, on two threads, and the time the
processor worked (on a machine that is busy with other things the two differ).

python benchmarks/search.py

Two kinds of descriptor (an embedding of 128 numbers, a predicted pose of 51), an image and a clip of 25; the time of hits
that lie a second apart is in it, the network's look at the query is not: an image of 96 px through the demo's network is
printed below.
"""

import os
import time

os.environ |= {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}

import numpy as np
import torch
from vergence.inference.search_index import Index, find_hits

from vergence.inference.estimator import Estimator
from vergence.methods.registry import build_method
from vergence.recipes.recipe import NetworkSettings
from vergence.skeleton import H36M_17

IMAGES, CAMERAS, FPS = 100_000, 4, 25
NETWORK = NetworkSettings(embedding_size=16, hidden_sizes=[16, 32, 96, 192], width=32)


def walk(size: int, rng: np.random.Generator) -> np.ndarray:
    """Descriptors that change slowly with time, as poses do."""
    steps = rng.normal(size=(IMAGES, size)).astype(np.float32)
    smooth = np.stack([np.convolve(column, np.ones(25) / 5, "same") for column in steps.T], 1).astype(np.float32)
    return smooth / np.linalg.norm(smooth, axis=1, keepdims=True)


def made(size: int, rng: np.random.Generator) -> Index:
    each = IMAGES // CAMERAS
    frame = np.tile(np.arange(each), CAMERAS)
    return Index(
        "embedding", walk(size, rng), np.zeros((IMAGES, 17, 3), np.float32), "canonical",
        np.repeat(np.arange(CAMERAS), each), frame, frame / FPS, tuple("abcd"), H36M_17.joint_names, {},
    )  # fmt: skip


def milliseconds(ask, repeats: int = 50) -> str:
    ask(0)
    wall, used = [], []
    for i in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        ask(i)
        wall.append((time.perf_counter() - start) * 1e3)
        used.append((time.process_time() - cpu) * 1e3)
    return f"{np.median(wall):8.1f} ms, worst {max(wall):8.1f} ms, processor time {np.median(used):8.1f} ms"


if __name__ == "__main__":
    torch.set_num_threads(2)
    rng = np.random.default_rng(0)
    for name, size in (("embedding, 128", 128), ("pose, 51", 51)):
        index = made(size, rng)
        queries = walk(size, rng)[:IMAGES:997]
        print(f"{name:16} image    {milliseconds(lambda i, x=index, q=queries: find_hits(x, q[i]))}")
        clip = (index.descriptor[500:525], index.time[500:525])
        print(f"{name:16} clip of 25 {milliseconds(lambda i, x=index, c=clip: find_hits(x, *c), 5)}")
    estimator = Estimator(build_method("mcss", NETWORK, "h36m_17"), {"image_size": 96})
    image = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    print(f"{'the network':16} image    {milliseconds(lambda i: estimator(image))}")
