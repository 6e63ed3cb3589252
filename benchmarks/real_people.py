"""The methods of `vergence compare` on a real person: EpipolarPose, Iqbal, `vergence` and the lifting student, each taught by
three of four cameras and measured in other frames, of these cameras and of the fourth.

    VERGENCE_DATA=DIR python benchmarks/real_people.py [--out real_people] [--seeds 0 1 2] [--hold-out cam01 ...]

`DIR/pose2sim` holds Pose2Sim's demo: videos of one person balancing, 100 frames, and OpenPose's 2D; of the calibration only
the lenses are given. Frames outside 35 to 64 are learned from, those inside are measured, against the reconstruction by all
cameras and keypoints, at an assumed height of 1,700 mm, joint by joint those that all methods have.

The image methods are the built-in set's, with what the recipe `capture` has in the built-in world's place: this footage and
nothing else, its own 2D visible, a smaller network. So the label-making 2D network has no part, and there are no second
peaks: `vergence` is EpipolarPose with a refinement unit that learns from the same labels. Iqbal's limb ratios stay the
built-in world's. All image methods have one 2D network and equal images and steps (`--steps` of 2D, as many of 3D). The
lifting student is `vergence learn`'s.

What was trained and measured is kept in `--out`; the same command goes on, and seeds and cameras can be added. Cameras are
the outer loop: a table of those that are whole is printed after each. One thread.
"""

from __future__ import annotations

import argparse
import os
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student_t

import vergence
from vergence import metrics
from vergence.comparison.entries import read_set
from vergence.evaluation.scores import camera_mean_poses, nearest_poses, predict_all, zero_depth
from vergence.evaluation.without_truth import Held
from vergence.files import read_json, write_json
from vergence.folders import claim
from vergence.learning.hidden import capture_without
from vergence.lifting.train import LIFTED
from vergence.recipes.load import recipe_from
from vergence.recipes.recipe import Recipe
from vergence.recipes.typed import make_source
from vergence.skeleton import H36M_17
from vergence.training.run import Run
from vergence.training.stage_cache import Shared

IMAGE = ("epipolar_pose", "multiview_consistency", "vergence")
METHODS = (*IMAGE, "lifting")
CAMERAS = ("cam01", "cam02", "cam03", "cam04")
TAUGHT, HELD, HELD_SHARE = "0-34,65-99", "35-64", 0.3
NETWORK = {
    "backbone": "resnet",
    "embedding_size": 16,
    "hidden_sizes": [16, 32, 96, 192],
    "depths": [1, 1, 1, 1],
    "width": 32,
}
STAGES = {
    "keypoints": 1.0,
    "pose": 1.0,
    "shielded": 0.65,
    "together": 0.35,
}  # shares of the steps: 2D; 3D in one part or two
UNIT = 400  # steps of the refinement unit
TURNS = {"mirror": 0.5, "rotation": 10, "scale": 0.15, "shift": 0.05, "gain": 0.2, "brightness": 0.1, "contrast": 0.2}
SIMPLE = ("zero depth", "mean pose", "nearest pose")
Row = dict[str, Any]


def write_capture(folder: Path, data: Path) -> None:
    """The footage with its lenses, without places of the cameras."""
    known = tomllib.loads((data / "calib" / "Calib_qualisys.toml").read_text())
    text = "[capture]\nfps = 60.0\n"
    for name, one in zip(CAMERAS, known.values(), strict=False):  # the rest is metadata
        text += f'\n[cameras.{name}]\nvideo = "{data}/videos_single/{name}.mp4"\n'
        text += (
            f'keypoints = "{data}/openpose_json/balancing/{name}_json"\nimage_size = {list(map(int, one["size"]))}\n'
        )
        text += f"intrinsics = {one['matrix']}\ndistortion = {one['distortions']}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "capture.toml").write_text(text)


@dataclass(frozen=True)
class Budget:
    """What an image method has: side of a crop in px, images of a batch, steps of 2D and as many of 3D."""

    size: int = 96
    batch: int = 33
    steps: int = 300


def recipe_of(method: str, footage: Path, budget: Budget) -> Recipe:
    """The built-in set's recipe on this footage."""
    raw = read_set(Path(str(resources.files("vergence"))) / "recipes" / "sets" / "compare.yaml")[method]
    raw |= {"network": NETWORK, "test": {}, "image_size": budget.size}
    raw["sources"] = {"studio": {"kind": "capture", "path": str(footage), "frames": TAUGHT, "keypoints": True}}
    stages = raw["stages"]
    gone = [name for name, one in stages.items() if _is_gone(one, raw["sources"])]
    raw["stages"] = {name: one for name, one in stages.items() if name not in gone}
    for name, one in raw["stages"].items():
        if "label" in one:
            one["label"] |= {"keypoints": "labelled", "peaks": 1}
        elif "refine" in one:
            one["refine"]["steps"] = UNIT
        else:
            labels = [label for label in one["train"].get("labels", []) if label not in gone]
            one["train"] |= {
                "steps": round(STAGES[name] * budget.steps),
                "batch": {"studio": budget.batch},
                "labels": labels,
                "augmentation": TURNS,
            }
    return recipe_from(raw, f"{method} on footage")


def _is_gone(stage: dict[str, Any], sources: dict[str, Any]) -> bool:
    """Whether a stage has no place here: 2D is labelled, nothing else is there to label, and no errors are foretold."""
    label = stage.get("label", {})
    return "calibrate" in stage or label.get("stores") == "keypoints" or label.get("source", "studio") not in sources


def errors(pose: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """N and P in mm of every image, `N 2`, over the joints that the lifting student has, of each pose those known."""
    ours, truth = (H36M_17.convert(x.double().numpy(), LIFTED) for x in (pose, target))
    truth[~np.isfinite(ours)] = np.nan
    ours = np.nan_to_num(ours)
    return np.stack([metrics.n_mpjpe(ours, truth, LIFTED.root), metrics.p_mpjpe(ours, truth)], 1)


def of_image(method: str, hidden: str, seed: int, out: Path, shared: Shared, budget: Budget) -> Row:
    """N and P by camera of an image method and of simple answers."""
    capture = vergence.load_capture(out / "capture")
    shown = capture_without(capture, (hidden,) if hidden else (), out / "footage").resolve()
    run = Run(
        recipe_of(method, shown, budget).at_seed(seed),
        out / "runs" / f"{method}-{hidden or 'all'}-{seed}",
        "cpu",
        shared=shared,
    )
    network = run.execute()
    files = {"path": str(out / "capture"), "reconstruction": str(out / "reconstruction")}
    test, taught = (
        shared.open(make_source("capture", frames=f, **files), budget.size, "h36m_17") for f in (HELD, TAUGHT)
    )
    found, index = predict_all(network, test), test.index
    assert found.keypoints is not None
    seen = taught.index[taught.index.view != CAMERAS.index(hidden)] if hidden else taught.index
    ways = {
        "model": found.pose,
        "zero depth": zero_depth(found.keypoints, index.intrinsics),
        "mean pose": camera_mean_poses(seen, index, H36M_17),
        "nearest pose": nearest_poses(seen.pose, index.pose, H36M_17),
    }
    each = {way: errors(pose, index.pose) for way, pose in ways.items()}
    return {
        way: {name: np.nanmean(found[index.view.numpy() == v], 0).tolist() for v, name in enumerate(CAMERAS)}
        for way, found in each.items()
    }


def of_lifting(hidden: str, seed: int, out: Path) -> Row:
    """The same of the lifting student."""
    folder = out / "runs" / f"lifting-{hidden or 'all'}-{seed}"
    found = vergence.learn([out / "capture"], folder, held_out=HELD_SHARE, hold_out=hidden, anyway=True, seed=seed)
    held = found.recordings[0].figures
    assert isinstance(held, Held)
    ways = zip(("model", *SIMPLE), ("model", "zero depth", "mean pose", "nearest training pose"), strict=True)
    return {
        name: dict(
            zip(held.cameras, np.stack([held.ways[way].n_mpjpe, held.ways[way].p_mpjpe], 1).tolist(), strict=True)
        )
        for name, way in ways
    }


def measured(method: str, hidden: str, seed: int, out: Path, shared: Shared, budget: Budget) -> Row:
    """Figures of one training, kept; `hidden` is the camera that nothing is learned from, or empty."""
    kept = out / "measured" / f"{method}-{hidden or 'all'}-{seed}.json"
    if kept.is_file():
        return dict(read_json(kept))
    started = time.process_time()
    ways = of_lifting(hidden, seed, out) if method == "lifting" else of_image(method, hidden, seed, out, shared, budget)
    row = {"method": method, "hidden": hidden, "seed": seed, "cpu_seconds": time.process_time() - started, "ways": ways}
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, row)
    return row


def figures(row: Row, way: str, held_out: bool) -> np.ndarray:
    """N and P in mm of the held-out camera, or the mean over those that were learned from."""
    return np.mean([each for name, each in row["ways"][way].items() if (name == row["hidden"]) == held_out], 0)


def by_seed(rows: Sequence[Row], method: str, held_out: bool, way: str = "model") -> dict[int, np.ndarray]:
    """N and P of each seed, mean over the cameras that were held out in turn."""
    own = [row for row in rows if row["method"] == method]
    seeds = sorted({row["seed"] for row in own})
    return {s: np.mean([figures(row, way, held_out) for row in own if row["seed"] == s], 0) for s in seeds}


def differences(ours: dict[int, np.ndarray], theirs: dict[int, np.ndarray]) -> str:
    """N and P, each with 95 % of Student's t over seeds, paired."""
    off = np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])
    half = student_t.ppf(0.975, len(off) - 1) * off.std(0, ddof=1) / len(off) ** 0.5
    return " / ".join(f"{m:+.1f} [{m - h:.1f}, {m + h:.1f}]" for m, h in zip(off.mean(0), half, strict=True))


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The tables of cameras of which every method has the same seeds, two at least."""
    seeds = sorted({row["seed"] for row in rows})
    methods = [m for m in METHODS if any(row["method"] == m for row in rows)]
    for held_out in (False, True):
        own = [row for row in rows if bool(row["hidden"]) or not held_out]
        if not own or len(seeds) < 2:
            continue
        where = "the camera held out, " if held_out else "cameras learned from, "
        yield f"\n{where}frames {HELD}: N / P, mm, mean and standard deviation of seeds {seeds}"
        found = {m: by_seed(own, m, held_out) for m in methods}
        for method in methods:
            values = np.array(list(found[method].values()))
            mean, std = values.mean(0), values.std(0, ddof=1)
            cells = [np.mean(list(by_seed(own, method, held_out, way).values()), 0) for way in SIMPLE]
            simple = "".join(f"   {way} {n:.1f} / {p:.1f}" for way, (n, p) in zip(SIMPLE, cells, strict=True))
            yield f"{method:24}{mean[0]:.1f} ± {std[0]:.1f} / {mean[1]:.1f} ± {std[1]:.1f}{simple}"
        for a, b in ((a, b) for i, a in enumerate(methods) for b in methods[:i]):
            yield f"  {a} - {b}: {differences(found[a], found[b])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("real_people"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--hold-out", nargs="+", default=CAMERAS, help='cameras in turn; "" is none')
    for name, value in asdict(Budget()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    data = Path(os.environ.get("VERGENCE_DATA", ".")).resolve() / "pose2sim"
    if not (data / "videos_single").is_dir():
        parser.error("set VERGENCE_DATA to the folder that holds pose2sim/")
    out, shared = options.out, Shared(options.out / "shared")
    budget = Budget(options.size, options.batch, options.steps)
    out.mkdir(parents=True, exist_ok=True)
    claim(out / "made_of.yaml", asdict(budget), "another comparison")
    if not (out / "reconstruction" / "results.json").is_file():
        write_capture(out / "capture", data)
        found = vergence.reconstruct(vergence.load_capture(out / "capture"))
        found.save(out / "reconstruction")
        print(f"reconstruction: {found.verdict}. {' '.join(found.reasons)}", flush=True)
    rows: list[Row] = []
    for hidden in options.hold_out:
        for seed, method in product(options.seeds, options.methods):
            rows.append(row := measured(method, hidden, seed, out, shared, budget))
            n, p = figures(row, "model", bool(hidden))
            print(
                f"{method:24}{hidden or 'all':8}{seed:3}   {n:6.1f} / {p:5.1f} mm   {row['cpu_seconds']:5.0f} s",
                flush=True,
            )
        print("\n".join(lines(rows)), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
