"""Milliseconds that a batch of 48 images of 96 x 96 px spends in augmentation, one thread, by kind of change.

python benchmarks/augment.py
"""

import time

import torch

from vergence.batches.augment import augment
from vergence.batches.views import Views
from vergence.recipes.settings import Augmentation
from vergence.skeleton import H36M_17

CASES = {
    "nothing": Augmentation(),
    "mirror": Augmentation(mirror=0.5),
    "roll, zoom": Augmentation(rotation=30, scale=0.25),
    "colour": Augmentation(gain=0.2, contrast=0.2),
    "occluders": Augmentation(occlusion=0.5),
    "everything": Augmentation(
        rotation=30, scale=0.25, shift=0.05, mirror=0.5, gain=0.2, contrast=0.2, occlusion=0.5, truncation=0.2
    ),
}


def milliseconds(views: Views, settings: Augmentation, repeats: int = 50) -> float:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        augment(views, settings, H36M_17, generator)
    start = time.perf_counter()
    for _ in range(repeats):
        augment(views, settings, H36M_17, generator)
    return (time.perf_counter() - start) / repeats * 1e3


if __name__ == "__main__":
    torch.set_num_threads(1)
    batch = Views.empty(48, 17, 96, 96)
    batch.intrinsics[:] = torch.tensor([[200.0, 0, 47.5], [0, 200, 47.5], [0, 0, 1]])
    batch.keypoints[:] = 96 * torch.rand(48, 17, 2)
    for name, options in CASES.items():
        print(f"{name:12} {milliseconds(batch, options):6.1f} ms")
