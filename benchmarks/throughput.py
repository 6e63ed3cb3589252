"""Images per second that the networks of the papers' tables train at on this machine, and what that makes of each row.

python benchmarks/throughput.py                        # all tables; `epipolar_pose_h36m zhou_h36m` for some
python benchmarks/throughput.py --device cuda --images 32

A step here is the network forwards and backwards on random images with an AdamW step, without reading, augmentation and
the losses themselves, so hours are at least these. Pretrained weights change nothing in time: the same network is built
without them.
"""

import argparse
import time
from dataclasses import fields, replace

import torch
from torch import Tensor

from vergence.methods.base import Method
from vergence.methods.mcss import MCSS
from vergence.methods.registry import build_method
from vergence.networks.devices import resolve_device
from vergence.recipes.load import recipe_from
from vergence.recipes.paper_tables import built_in_tables, read_table
from vergence.recipes.recipe import Recipe

LOCAL = {"microsoft/resnet-18": "resnet18", "microsoft/resnet-34": "resnet34", "microsoft/resnet-50": "resnet50"}


def network_of(recipe: Recipe) -> tuple[str, str, int, str, str]:
    """What decides the speed, as a key."""
    settings = replace(recipe.network, backbone=LOCAL.get(recipe.network.backbone, recipe.network.backbone))
    method = "mcss" if recipe.method == "mcss" else "supervised"
    method = "geometric_constraint" if settings.backbone == "hourglass" else method
    return method, recipe.skeleton, recipe.image_size, recipe.precision, repr(settings)


def answer(method: Method, image: Tensor) -> Tensor:
    """One number that depends on everything that training reads."""
    if isinstance(method, MCSS):
        return method.canonical(method.embedding(method.network.backbone(image))).sum()
    maps = method.network(image)
    parts = [getattr(maps, field.name) for field in fields(maps)]
    sums = [part.float().sum() for part in parts if isinstance(part, Tensor) and part.requires_grad]
    return torch.stack(sums).sum()


def images_per_second(recipe: Recipe, device: str, images: int, steps: int = 3) -> float:
    settings = replace(recipe.network, backbone=LOCAL.get(recipe.network.backbone, recipe.network.backbone))
    method = build_method(network_of(recipe)[0], settings, recipe.skeleton, pretrained=False).to(device).train()
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-5)
    image = torch.rand(images, 3, recipe.image_size, recipe.image_size, device=device)
    half = recipe.precision == "bf16-mixed"
    for step in range(steps + 1):
        if step == 1:  # the first one warms up
            synchronise(device)
            start = time.perf_counter()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            loss = answer(method, image)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    synchronise(device)
    return steps * images / (time.perf_counter() - start)


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def images_of(recipe: Recipe) -> int:
    """Images that all training stages of a row take, each as often as it is taken."""
    return sum(stage.train.steps * sum(stage.train.batch.values()) for stage in recipe.stages.values() if stage.train)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=list(built_in_tables()))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=16)
    options = parser.parse_args()
    device, known = resolve_device(options.device), {}
    print(f"{device}, {torch.get_num_threads()} threads, batches of {options.images}")
    for name in options.tables:
        for row in read_table(name).rows.values():
            recipe = recipe_from(row.recipe, f"{name}/{row.name}", [])
            key = network_of(recipe)
            if key not in known:
                known[key] = images_per_second(recipe, device, options.images)
            total = images_of(recipe)
            print(f"{name}/{row.name:22} {total / 1e6:6.1f} million images at {known[key]:7.1f} /s: "
                  f"{total / known[key] / 3600:8.0f} hours", flush=True)  # fmt: skip
