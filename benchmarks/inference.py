"""`Estimator` beside the network as published: EpipolarPose's ResNet-50 with a volume, 256 px, the same weights in both.

    python benchmarks/inference.py --finished RUN
    python benchmarks/inference.py [--weights FILE.pth] [--rounds 5] [--seconds 2] [--threads 1 2] [--folder DIR]

The peer is a plain torch module with the public network's layers and names (ResNet-50, three transposed convolutions, a 1x1
to 17 joints of 64 slices, softmax and expectations), float32, in `eval` and `inference_mode`: what its authors' code runs, its
normalisation of the picture included. Its checkpoint becomes a run by `vergence import-weights` and is loaded in both
precisions. Without --weights it is taught the joints of eight pictures of the built-in world first, for --steps steps, so that
its volumes have peaks: rounding in bf16 means little before a random network, whose volumes are flat.

Each number of threads is a process of its own; in it the three take turns, so that other programs meet all of them. Printed are
milliseconds of the clock and of the processor (medians), the median of the paired ratios, and how far keypoints (px) and
root-relative poses (mm, of a bone of 480 mm) are from the published ones: means and the most.

`--finished RUN` prints instead how far bf16 is from fp32 on the tests of a run that is trained to its end, and both errors.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

SIZE, JOINTS, BINS, BONE_MM, BOX_MM = 256, 17, 64, 480.0, 2000.0
PICTURES = (1, 8)


def plain_network():  # type: ignore[no-untyped-def]
    """The public network, by its own names."""
    import torch
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, inner: int, width: int, stride: int, first: bool) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
            self.relu = nn.ReLU(inplace=True)
            down = [nn.Conv2d(inner, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)]
            self.downsample = nn.Sequential(*down) if first else None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
            return self.relu(self.bn3(self.conv3(out)) + (x if self.downsample is None else self.downsample(x)))

    class PoseResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
            self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
            inner = 64
            for stage, blocks in enumerate((3, 4, 6, 3)):
                width, layers = 64 * 2**stage, list[nn.Module]()
                for block in range(blocks):
                    layers.append(Bottleneck(inner, width, 2 if stage and not block else 1, not block))
                    inner = 4 * width
                setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            steps = list[nn.Module]()
            for channels in (2048, 256, 256):
                steps += [nn.ConvTranspose2d(channels, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU(True)]
            self.deconv_layers = nn.Sequential(*steps)
            self.final_layer = nn.Conv2d(256, JOINTS * BINS, 1)
            self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
            self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

        def features(self, image: torch.Tensor) -> torch.Tensor:
            """uint8 to the last map of the backbone."""
            x = self.maxpool(self.relu(self.bn1(self.conv1((image.float() / 255 - self.mean) / self.std))))
            return self.layer4(self.layer3(self.layer2(self.layer1(x))))

        def sums(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            """The mass along x, y and z of each joint's volume."""
            out = self.final_layer(self.deconv_layers(x))
            n, _, h, w = out.shape
            volume = out.view(n, JOINTS, -1).softmax(-1).view(n, JOINTS, BINS, h, w)
            return volume.sum((2, 3)), volume.sum((2, 4)), volume.sum((3, 4))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            """uint8 to x, y, z of each joint, as shares of the volume from its middle."""
            sums = self.sums(self.features(image))
            return torch.stack([(s * torch.arange(s.shape[-1])).sum(-1) / s.shape[-1] - 0.5 for s in sums], -1)

    return PoseResNet()


def pictures():  # type: ignore[no-untyped-def]
    """Eight pictures of the built-in world, uint8, with their views."""
    import torch

    from vergence.world.scenes import single_images

    views = single_images(max(PICTURES), SIZE, seed=0)
    image = views.image if views.image.dtype == torch.uint8 else (views.image * 255).round().to(torch.uint8)
    return image.contiguous(), views


def taught(path: Path, steps: int) -> None:
    """Weights that find the joints of the eight pictures, with peaks as narrow as a finished network's.

    Expectations alone teach a volume's middle first and its peak late; so its sums along each axis are taught as well, each
    a bell of one cell around the joint. The last two thirds of the steps teach what follows the backbone.
    """
    import torch

    torch.manual_seed(0)
    image, views = pictures()
    network = plain_network()
    depth = views.pose[..., 2] - views.pose[..., :1, 2]
    goal = torch.cat([(views.keypoints / SIZE - 0.5), (depth / BOX_MM)[..., None]], -1)
    known = goal.isfinite()
    cells = torch.arange(SIZE // 4)
    bells = [
        (-(((g.nan_to_num() + 0.5)[..., None] * len(cells) - cells) ** 2) / 2).softmax(-1) for g in goal.unbind(-1)
    ]

    def learn(part: list[torch.nn.Parameter], see: Callable[[], torch.Tensor], count: int) -> None:
        optimizer = torch.optim.AdamW(part, lr=1e-3)
        for step in range(count):
            optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, 2 * (1 - step / count))
            with torch.autocast("cpu", torch.bfloat16):
                sums = network.sums(see())
            found = torch.stack([(s * cells).sum(-1) / len(cells) - 0.5 for s in sums], -1)
            surprise = [-(bell * s.clamp(min=1e-7).log()).sum(-1) for bell, s in zip(bells, sums, strict=True)]
            loss = torch.stack(surprise, -1)[known].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 0 or step == count - 1:
                away = (SIZE * (found - goal.nan_to_num()).detach()[known].abs()).mean()
                print(f"  teaching: step {step}, loss {float(loss.detach()):.2f}, {float(away):.2f} px off", flush=True)

    learn(list(network.train().parameters()), lambda: network.features(image), steps)
    with torch.no_grad():
        for _ in range(20):
            network.features(image)  # the statistics that `eval` uses
        seen = network.eval().features(image)
        for module in network.deconv_layers.train():
            module.momentum = 0.3
    learn([*network.deconv_layers.parameters(), *network.final_layer.parameters()], lambda: seen, 2 * steps)
    torch.save(network.state_dict(), path)


def child(folder: Path, threads: int, rounds: int, seconds: float) -> None:
    import torch

    import vergence
    from vergence.geometry.camera import normalise
    from vergence.geometry.lifting import lift

    torch.set_num_threads(threads)
    image, views = pictures()
    network = plain_network().eval()
    network.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    ours = {precision: vergence.load(folder / "run", precision=precision) for precision in ("fp32", "bf16")}
    array, intrinsics = image.permute(0, 2, 3, 1).contiguous().numpy(), views.intrinsics.numpy()

    def published(count: int) -> torch.Tensor:
        with torch.inference_mode():
            return network(image[:count])

    for count in PICTURES:
        acts: dict[str, Callable[[], object]] = {"published": partial(published, count)}
        acts |= {name: partial(estimator, array[:count], intrinsics[:count]) for name, estimator in ours.items()}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in acts}
        for act in acts.values():
            act(), act()
        for _ in range(rounds):
            for name, act in acts.items():
                begun, worked, done = time.perf_counter(), time.process_time(), 0
                while time.perf_counter() - begun < seconds:
                    act()
                    done += 1
                taken[name].append(((time.perf_counter() - begun) / done, (time.process_time() - worked) / done))
        row: dict[str, object] = {"pictures": count, "threads": threads, "load": os.getloadavg()[0]}
        for name, both in taken.items():
            row[name] = [1e3 * statistics.median(part) for part in zip(*both, strict=True)]
            pairs = [
                [a / b for a, b in zip(one, other, strict=True)]
                for one, other in zip(taken["published"], both, strict=True)
            ]
            row[f"{name} ratio"] = [statistics.median(part) for part in zip(*pairs, strict=True)]
        theirs = published(count).double()
        pixels, skeleton = (theirs[..., :2] + 0.5) * SIZE, ours["fp32"].skeleton
        depth = theirs[..., 2] * BOX_MM / BONE_MM
        depth = depth - depth[:, list(skeleton.root)].mean(1, keepdim=True)
        rays = normalise(pixels, torch.as_tensor(intrinsics[:count]).double())
        pose = lift(rays, depth, skeleton.reference_bone).pose
        pose = pose - pose[:, list(skeleton.root)].mean(1, keepdim=True)
        for name, estimator in ours.items():
            found = estimator(array[:count], intrinsics[:count])
            away = (found.keypoints - pixels).norm(dim=-1), BONE_MM * (found.pose - pose).norm(dim=-1)
            row[f"{name} apart"] = [[float(one.mean()), float(one.max())] for one in away]
        print(json.dumps(row), flush=True)


def finished(folder: Path, count: int = 960) -> None:
    import torch

    import vergence
    from vergence.recipes.load import load_recipe
    from vergence.training.sources import open_source

    recipe = load_recipe(str(folder / "recipe.yaml"))
    exact, quick = (vergence.load(folder, precision=precision) for precision in ("fp32", "bf16"))
    for name, source in recipe.test.items():
        dataset = open_source(source, recipe.image_size, recipe.skeleton)
        views = dataset.read(torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).long())
        images, intrinsics, truth = (x.numpy() for x in (views.image.permute(0, 2, 3, 1), views.intrinsics, views.pose))
        found = [estimator(images, intrinsics) for estimator in (exact, quick)]
        errors = [float(vergence.metrics.n_mpjpe(one.pose.numpy(), truth).mean()) for one in found]
        told = [f"{name}, {len(truth)} images: N-MPJPE {errors[0]:.2f} mm in fp32, {errors[1]:.2f} in bf16"]
        for unit, a, b in (
            ("px", *(one.keypoints for one in found)),
            ("mm", *(BONE_MM * one.pose for one in found)),
        ):
            away = (a - b).norm(dim=-1).flatten()
            told.append(f"apart {away.mean():.3f} {unit} (99 of 100: {away.quantile(0.99):.3f}, most {away.max():.3f})")
        print("; ".join(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, default=Path("inference_benchmark"))
    parser.add_argument("--finished", type=Path, metavar="RUN")
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return child(asked.folder, asked.child, asked.rounds, asked.seconds)
    if asked.finished:
        return finished(asked.finished)
    asked.folder.mkdir(parents=True, exist_ok=True)
    weights = asked.folder / "weights.pth"
    if asked.weights:
        weights.write_bytes(asked.weights.read_bytes())
    elif not weights.exists():
        taught(weights, asked.steps)
    if not (asked.folder / "run" / "config.json").exists():
        words = ["import-weights", str(weights), "--out", str(asked.folder / "run")]
        subprocess.run([sys.executable, "-m", "vergence.cli", *words], check=True)
    own = [f"--{name}={value}" for name, value in (("rounds", asked.rounds), ("seconds", asked.seconds))]
    for threads in asked.threads:
        words = [sys.executable, __file__, "--child", str(threads), "--folder", str(asked.folder), *own]
        env = os.environ | {"OMP_NUM_THREADS": str(threads)}
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env)
        assert process.stdout is not None
        for line in process.stdout:
            row = json.loads(line)
            print(f"{row['pictures']} picture(s), {threads} thread(s), load {row['load']:.1f}")
            for name in ("published", "fp32", "bf16"):
                (clock, worked), (faster, cheaper) = row[name], row[f"{name} ratio"]
                told = f"  {name:10} {clock:8.1f} ms of the clock ({faster:4.2f} x), "
                told += f"{worked:8.1f} of the processor ({cheaper:4.2f} x)"
                for (mean, most), unit in zip(row.get(f"{name} apart", []), ("px", "mm")):
                    told += f", {mean:.4f} {unit} (most {most:.4f})"
                print(told, flush=True)
        if process.wait():
            sys.exit(process.returncode)


if __name__ == "__main__":
    main()
