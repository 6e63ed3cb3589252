"""Do figures without truth rank runs as the truth does? Lifting models, good and bad, on people whose truth is known.

    python benchmarks/ranking.py [--people 2] [--frames 240] [--cameras 4] [--noise 3] [--share 1] [--out table.json]
    python benchmarks/ranking.py --motion DIR/cmu --rigs DIR/rigs/h36m_camera_parameters.json

`--share` of the usual steps, where time is short; `--noise` in px, of which the detector's bias is as large.

People of the built-in world (or clips of motion capture under Human3.6M's cameras) are filmed by cameras of which only the
intrinsics are known; a detector with noise, a bias of its own, outliers and missing joints sees them. `vergence.reconstruct`
makes labels, models are taught by them outside the held-out time in the middle: of many steps and few, of much footage and
little, wide and narrow, from nothing and from the model in the package, with wrong cameras, wrong bodies, no noise, too much.
Printed for each: the score without truth and its parts, then the truth, in the same held-out time and on other people from
other places; below, Spearman's rank correlation of each figure with the truth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

import vergence
from vergence import metrics
from vergence.evaluation.footage import lifted
from vergence.evaluation.without_truth import Held, measure, scene_of
from vergence.footage.observations import Observations, observe
from vergence.geometry.cameras import Camera
from vergence.learning.learn import middle
from vergence.learning.motions import motions_of
from vergence.lifting.model import LiftingModel, load_lifting
from vergence.lifting.network import LifterSettings
from vergence.lifting.train import LIFTED, LifterTraining, train_lifter
from vergence.lifting.virtual import Motion, VirtualCameras
from vergence.reconstruction.result import Reconstruction
from vergence.skeleton import H36M_17
from vergence.world import read_motion
from vergence.world.body import draw_bodies
from vergence.world.motion import draw_choreography, perform
from vergence.world.rigs import draw_rigs

MISSING, OUTLIERS = 0.03, 0.02
FPS, HELD_OUT, OTHERS = 25.0, 0.2, 3
# The package's model was not taught by these.
CLIPS = ["exp_train_basketball_5", "exp_train_jumping_5", "asf_39_04", "asf_08_01", "asf_43_01"]


@dataclass(frozen=True)
class Filmed:
    """One person in front of a rig: the truth, and what is known without it."""

    pose: np.ndarray  # T 17 3, mm, z up
    cameras: tuple[Camera, ...]
    keypoints: np.ndarray  # T V 17 3
    fps: float


@dataclass(frozen=True)
class Student:
    """One run: how it differs from a usual one."""

    name: str
    settings: LifterTraining
    footage: float = 1.0  # share of the frames that may be learned from
    fresh: bool = False  # not from the model in the package
    shaken: float = 0.0  # mm, errors of the labels
    seed: int = 0


def students(share: float) -> list[Student]:
    """The runs, with this share of their usual steps."""

    def of(steps: int, width: int = 256, rate: float = 5e-4, **cameras: object) -> LifterTraining:
        drawn = replace(VirtualCameras(varied=0.3), **cameras)  # type: ignore[arg-type]
        network = LifterSettings(width=width)
        return LifterTraining(steps=round(steps * share), batch=24, rate=rate, network=network, cameras=drawn)

    clean = {"noise": (1e-6, 1e-6), "bias": 0.0, "outliers": 0.0, "missing": 0.0}
    wild = {"noise": (0.1, 0.2), "bias": 0.08, "outliers": 0.2, "missing": 0.5}
    new = {"rate": 2e-3}
    return [
        Student("package's own", of(0)),
        Student("very short", of(50)),
        Student("short", of(200)),
        Student("usual", of(600)),
        Student("usual, seed 1", of(600), seed=1),
        Student("a tenth of the footage", of(300), footage=0.1),
        Student("no errors in 2D", of(300, **clean)),
        Student("far too many errors in 2D", of(300, **wild)),
        Student("cameras overhead", of(300, pitch=(65.0, 5.0))),
        Student("bodies of all kinds", of(300, lengths=0.3)),
        Student("labels off by 60 mm", of(300), shaken=60.0),
        Student("fresh, very short", of(100, **new), fresh=True),
        Student("fresh, short", of(300, **new), fresh=True),
        Student("fresh, long", of(1000, **new), fresh=True),
        Student("fresh, width 32", of(600, 32, **new), fresh=True),
        Student("fresh, width 96", of(600, 96, **new), fresh=True),
        Student("fresh, a tenth of the footage", of(300, **new), footage=0.1, fresh=True),
        Student("fresh, no gestures", of(300, varied=0.0, **new), fresh=True),
    ]


def film(pose: np.ndarray, cameras: Sequence[Camera], fps: float, seed: int, noise: float) -> Filmed:
    """Keypoints with a detector's errors."""
    rng = np.random.default_rng(seed)
    pixels = np.stack([camera.project(camera.to_camera(pose)) for camera in cameras], 1)
    pixels += rng.normal(0, noise, pixels.shape) + rng.normal(0, noise, (1, *pixels.shape[1:]))
    wrong = rng.random(pixels.shape[:3]) < OUTLIERS
    pixels += np.where(wrong[..., None], rng.normal(0, 60, pixels.shape), 0)
    outside = ((pixels < 0) | (pixels > np.array([camera.image_size for camera in cameras])[:, None])).any(-1)
    pixels[outside | (rng.random(pixels.shape[:3]) < MISSING)] = np.nan
    sure = np.where(np.isfinite(pixels[..., :1]), 0.9, np.nan)
    return Filmed(pose, tuple(cameras), np.concatenate([pixels, sure], -1), fps)


def of_world(seed: int, frames: int, views: int, noise: float) -> Filmed:
    """A person of the built-in world in a studio."""
    rng = np.random.default_rng([seed, 77])
    bodies = draw_bodies(1, rng)
    plan = draw_choreography(frames / FPS, bodies, rng)
    posed = perform([plan], bodies, np.arange(frames)[None] / FPS)
    rig = draw_rigs(1, views, look="studio", seed=seed)[0]
    height, width = rig.size
    cameras = [
        Camera(f"cam{v + 1}", (width, height), *(x[v].double().numpy() for x in (rig.intrinsics, torch.zeros(len(rig), 5),
                                                                            rig.rotation, rig.translation)))
        for v in range(len(rig))
    ]  # fmt: skip
    return film(posed.joints.reshape(frames, 17, 3).double().numpy(), cameras, FPS, seed, noise)


def of_clip(path: Path, rigs: Path, which: int, frames: int, views: int, noise: float) -> Filmed:
    """A clip of motion capture under the cameras of one of Human3.6M's subjects"""
    known = json.loads(rigs.read_text())
    subject = sorted(known["extrinsics"])[which % len(known["extrinsics"])]
    cameras = []
    for name, inner in list(known["intrinsics"].items())[:views]:
        outer = known["extrinsics"][subject][name]
        lens = np.array(inner["calibration_matrix"]), np.array(inner["distortion"])
        cameras.append(Camera(f"cam{name}", (1000, 1002), *lens, np.array(outer["R"]), np.array(outer["t"])[:, 0]))
    motion = read_motion(path)
    pose = np.asarray(motion.joints, dtype=float)[:frames].copy()
    middle_of_rig = np.mean([camera.centre for camera in cameras], 0)[:2]
    pose[..., :2] += middle_of_rig - (pose[..., :2].max((0, 1)) + pose[..., :2].min((0, 1))) / 2
    return film(pose, cameras, motion.fps, which, noise)


def understood(one: Filmed, folder: Path) -> tuple[Reconstruction, Observations]:
    """The reconstruction from 2D and intrinsics alone."""
    folder.mkdir(parents=True)
    np.savez(folder / "keypoints.npz", keypoints=one.keypoints, joint_names=np.array(H36M_17.joint_names), fps=one.fps)
    lines = ["[capture]", f"fps = {one.fps}", 'keypoints = "keypoints.npz"', "synchronised = true"]
    for camera in one.cameras:
        lines += [f"[cameras.{camera.name}]", f"image_size = {list(camera.image_size)}",
                  f"intrinsics = {camera.K.tolist()}", f"distortion = {camera.distortion.tolist()}"]  # fmt: skip
    (folder / "capture.toml").write_text("\n".join(lines) + "\n")
    capture = vergence.load_capture(folder)
    return vergence.reconstruct(capture), observe(capture)


def taught(one: Student, motions: Sequence[Motion], start: LiftingModel) -> LiftingModel:
    """A model of this kind."""
    if not one.settings.steps:
        return start
    rng = np.random.default_rng(one.seed)
    parts = [Motion(m.pose[: max(8, round(len(m.pose) * one.footage))], m.fps) for m in motions]
    parts = [Motion(m.pose + rng.normal(0, one.shaken, m.pose.shape), m.fps) for m in parts]
    network = train_lifter(parts, one.settings, start=None if one.fresh else start.network, seed=one.seed)
    return LiftingModel(network, one.settings.fps, {})


def true_errors(model: LiftingModel, one: Filmed, rows: np.ndarray) -> tuple[float, float, float]:
    """N and P in mm against the truth, and the same share of zero depth's as the score is."""
    errors = np.zeros((2, 2))
    for v, camera in enumerate(one.cameras):
        truth = H36M_17.convert(camera.to_camera(one.pose), LIFTED)
        truth = truth - truth[:, list(LIFTED.root)].mean(1, keepdims=True)
        flat = camera.normalise(H36M_17.convert(one.keypoints[:, v, :, :2], LIFTED))
        ours = model(one.keypoints[:, v], H36M_17, camera, one.fps)
        good = rows & np.isfinite(ours).all((1, 2)) & np.isfinite(flat).all((1, 2))
        for i, poses in enumerate((ours, np.concatenate([flat, 0 * flat[..., :1]], -1))):
            errors[i] += (
                metrics.n_mpjpe(poses[good], truth[good], LIFTED.root).mean(),
                metrics.p_mpjpe(poses[good], truth[good]).mean(),
            )
    n, p = errors[0] / len(one.cameras)
    return float(n), float(p), float((errors[0] / errors[1]).mean())


def without_truth(held: Sequence[Held]) -> dict[str, float]:
    """The figures that need no truth, mean over recordings."""
    found = [one.ways["model"] for one in held]
    parts = {
        "score": [f.score for f in found],
        "N": [np.mean(f.n_mpjpe) for f in found],
        "P": [np.mean(f.p_mpjpe) for f in found],
        "N others": [np.mean(f.n_mpjpe_others) for f in found],
        "P others": [np.mean(f.p_mpjpe_others) for f in found],
        "views": [f.views for f in found],
        "views share": [f.views_share for f in found],
        "limbs": [f.limbs for f in found],
        "jitter": [f.jitter for f in found],
    }
    return {name: float(np.mean(values)) for name, values in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--motion", type=Path)
    parser.add_argument("--rigs", type=Path)
    parser.add_argument("--clips", nargs="*", default=CLIPS, help="those learned from, then the others")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--noise", type=float, default=3.0)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    count, how = options.people + OTHERS, (options.frames, options.cameras, options.noise)
    if options.motion:
        paths = [options.motion / f"{clip}.npz" for clip in options.clips[:count]]
        filmed = [of_clip(path, options.rigs, i, *how) for i, path in enumerate(paths)]
    else:
        filmed = [of_world(seed, *how) for seed in range(501, 501 + count)]
    own, others = filmed[: options.people], filmed[options.people :]
    with tempfile.TemporaryDirectory() as folder:
        known = [understood(one, Path(folder) / str(i)) for i, one in enumerate(own)]
    held = [middle(len(one.pose), HELD_OUT) for one in own]
    motions = [m for (found, _), rows in zip(known, held, strict=True) for m in motions_of(found.poses, ~rows)]
    scenes = [scene_of(found, seen, LIFTED) for found, seen in known]
    start, table = load_lifting(), []
    print(
        f"{len(own)} people, verdicts {', '.join(found.verdict for found, _ in known)}; truth on {len(others)} others"
    )
    for student in students(options.share):
        began = time.perf_counter()
        model = taught(student, motions, start)
        figures = [
            measure(lifted(model, found, seen), scene, rows, ~rows)
            for (found, seen), scene, rows in zip(known, scenes, held, strict=True)
        ]
        same = np.mean([true_errors(model, one, rows) for one, rows in zip(own, held, strict=True)], 0)
        new = np.mean([true_errors(model, one, np.ones(len(one.pose), dtype=bool)) for one in others], 0)
        row = {"run": student.name, **without_truth(figures), "true N": same[0], "true P": same[1], "true": same[2],
               "new N": new[0], "new P": new[1], "new": new[2]}  # fmt: skip
        if not table:
            names = [name for name in row if name != "run"]
            print(f"{'run':32}" + "".join(f"{name:>12}" for name in names))
            for way in ("zero depth", "mean pose", "nearest training pose"):
                simple = without_truth([replace(one, ways={"model": one.ways[way]}) for one in figures])
                print(f"  {way:30}" + "".join(f"{simple[name]:12.3f}" if name in simple else "" for name in names))
        table.append(row)
        print(f"{student.name:32}" + "".join(f"{row[name]:12.3f}" for name in names)
              + f"   {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
    print("\nSpearman's rank correlation with the truth, over", len(table), "runs")
    marks = [name for name in names if not name.startswith(("true", "new"))]
    truths = ("true", "true N", "true P", "new", "new N", "new P")
    print(f"{'':16}" + "".join(f"{name:>10}" for name in truths))
    ranks = {
        mark: {t: float(spearmanr([r[mark] for r in table], [r[t] for r in table]).statistic) for t in truths}
        for mark in marks
    }
    for mark, each in ranks.items():
        print(f"{mark:16}" + "".join(f"{each[t]:10.2f}" for t in truths))
    if options.out:
        options.out.write_text(json.dumps({"runs": table, "spearman": ranks}, indent=1) + "\n")


if __name__ == "__main__":
    main()
