"""Cameras that were not triggered together: how well their offsets in time are found, and how often that is said rightly.

Walks of the CMU motion capture database (NPZ with `xyz17`) are seen by Human3.6M's four cameras, each with an offset,
a clock and a rate of its own, and 3 px of noise, 5 % of the joints missing, 2 % strays. Kinds of recordings:

    offset    offsets of -30 to 30 frames at 60 frames a second
    drift     the same, and clocks that differ by up to 200 ppm, over a minute (the walk to and fro)
    rates     the same offsets; cameras of 60, 30 and 25 frames a second
    dropped   the same offsets; each camera lost 5 % of its frames, and its time stamps say which
    blind     the same, and nothing says which
    standing, periodic   nobody moves; one step repeated exactly: nothing may be called synchronised

    VERGENCE_DATA=DIR python benchmarks/synchronisation.py [--seeds 3] [--kinds offset,rates] [--out table.json]

With `--capture`, a synchronous recording whose keypoints (as a detector gave them) are cut: parts of it (the whole, and
pieces of 80, 60 and 50 %) of which one camera loses up to 15 frames at its beginning, or all others do.

    python benchmarks/synchronisation.py --capture FOLDER [--seeds 20]

A run counts as called synchronised where the state is `found` or `synchronous`; its error is the largest of a camera's
offset, in frames of 1/60 s, against the first camera, at the middle and at the ends of the footage. Coverage is of the
difference of every two cameras at the middle, over its stated deviation, of all runs that state one of at most a frame.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from reconstruction_cmu import load_clip, load_rig
from scipy.interpolate import CubicSpline

from vergence.footage.capture import load_capture
from vergence.footage.capture_camera import frames_at
from vergence.footage.observations import observe
from vergence.geometry.camera import normalise, project
from vergence.reconstruction.sync.find import MOVED_DEVIATION, Sync, find_sync
from vergence.reconstruction.sync.footage import _image

FPS, NOISE_PX, MISSING, STRAYS, STRAY_PX = 60.0, 3.0, 0.05, 0.02, 80.0
LEAST_FRAMES = 90  # of a clip, at 30 a second
LEAD = 0.5  # seconds before and after what all cameras record
KINDS = ("offset", "drift", "rates", "dropped", "blind", "standing", "periodic")


def motion(pose: np.ndarray, kind: str) -> np.ndarray:
    """The clip (30 frames a second) as a kind of recording needs it."""
    if kind == "drift":
        there_and_back = np.concatenate([pose, pose[-2:0:-1]])
        return np.concatenate([there_and_back] * -(-1800 // len(there_and_back)))
    if kind == "standing":
        return np.repeat(pose[40:41], len(pose), 0)
    if kind == "periodic":
        return np.concatenate([pose[20:45] - pose[20:45, :1] + pose[20:21, :1]] * 8)
    return pose


def recording(path: Path, subject: str, data: Path, kind: str, rng: np.random.Generator):
    """Normalised points T V J 2 at 60 steps a second, the offset of each camera at those steps V T, and the slowest's
    steps between frames."""
    rig = load_rig(data, subject)
    pose = motion(load_clip(path, rig), kind)
    course, length = CubicSpline(np.arange(len(pose)) / 30, pose), (len(pose) - 1) / 30
    steps = int((length - 2 * LEAD) * FPS)
    offset = np.r_[0.0, rng.uniform(-30, 30, 3)]
    clock = np.r_[0.0, rng.uniform(-200, 200, 3)] * 1e-6 if kind == "drift" else np.zeros(4)
    rates = [60.0, *rng.permutation([60.0, 30.0, 25.0])] if kind == "rates" else [60.0] * 4
    points, late = [], []
    for v in range(4):
        own = np.arange(0, steps * rates[v] / FPS)  # frames that the camera takes
        if kind in ("dropped", "blind"):
            own = own[np.r_[True, rng.random(len(own) - 1) > 0.05]]
        stamps = own * FPS / rates[v]  # its own clock
        truth = LEAD + (stamps * (1 - clock[v]) + offset[v]) / FPS
        world = torch.from_numpy(course(np.clip(truth, 0, length))) @ torch.from_numpy(rig.rotation[v]).T
        lens = torch.from_numpy(rig.intrinsics[v]), torch.from_numpy(rig.distortion[v])
        seen = project(world + torch.from_numpy(rig.translation[v]), *lens).numpy()
        seen += rng.normal(0, NOISE_PX, seen.shape)
        seen += np.where(rng.random(seen.shape[:2])[..., None] < STRAYS, rng.normal(0, STRAY_PX, seen.shape), 0.0)
        seen[rng.random(seen.shape[:2]) < MISSING] = np.nan
        flat = normalise(torch.from_numpy(seen), *lens).numpy()
        places = np.arange(steps, dtype=float) if kind == "blind" else frames_at(stamps, np.arange(steps, dtype=float))
        points.append(interpolated(flat, places))
        shown = own[np.minimum(np.arange(steps), len(own) - 1)] if kind == "blind" else np.arange(steps)
        late.append(offset[v] - np.arange(steps) * clock[v] + shown - np.arange(steps))
    return np.stack(points, 1), np.array(late), FPS / min(rates)


def interpolated(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """As keypoints come to a capture's time steps: between two frames that both have the joint."""
    low = np.floor(np.where(np.isfinite(places), places, -2) + 1e-9).astype(int)
    share = np.clip(np.nan_to_num(places) - low, 0, 1)[:, None, None]
    inside = (low >= 0) & (low < len(points))
    before = np.where(inside[:, None, None], points[np.clip(low, 0, len(points) - 1)], np.nan)
    after = np.where((low + 1 < len(points))[:, None, None], points[np.clip(low + 1, 0, len(points) - 1)], np.nan)
    return np.where(share < 1e-6, before, before + share * (after - before))


def run(path: Path, subject: str, data: Path, kind: str, seed: int) -> dict:
    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, sum(path.stem.encode()), KINDS.index(kind)])
    image, late, coarsest = recording(path, subject, data, kind, rng)
    start = time.perf_counter()
    found = find_sync(image, fps=FPS, coarsest=coarsest, seed=seed)
    seconds = time.perf_counter() - start
    return {"kind": kind, "clip": path.stem, "seed": seed, "seconds": seconds, **judged(found, late)}


def judged(found: Sync, late: np.ndarray) -> dict:
    """What is counted of a result; `late` are the true offsets V T."""
    when = np.array([0, late.shape[1] // 2, late.shape[1] - 1])
    ours = found.offset[:, None] + found.drift[:, None] * when
    error = (ours - ours[:1]) + (late[:, when] - late[:1, when])
    a, b = np.triu_indices(len(error), 1)
    known = found.between is not None and found.deviation.max() <= MOVED_DEVIATION
    ratio = np.abs(error[a, 1] - error[b, 1]) / found.between[a, b] if known else np.empty(0)
    return {
        "state": found.state, "called": found.state in ("found", "synchronous"), "error": float(np.abs(error).max()),
        "deviation": float(found.deviation.max()), "margin": float(found.margin), "steps": late.shape[1],
        "over": ratio.tolist(),
    }  # fmt: skip


def cut(folder: Path, seeds: range) -> Iterator[dict]:
    """Cuts of a synchronous recording."""
    torch.set_num_threads(1)
    capture = load_capture(folder)
    image = _image(capture, observe(capture))
    assert image is not None, "too few keypoints"
    views = image.shape[1]
    for seed in seeds:
        rng = np.random.default_rng(seed)
        share, view, lost = rng.choice([1, 0.8, 0.6, 0.5]), rng.integers(views), rng.integers(-15, 16)
        length = round(share * len(image))
        start = rng.integers(len(image) - length + 1)
        begin = np.where(np.arange(views) == view, max(lost, 0), max(-lost, 0))
        part = image[start : start + length]
        points = np.stack([part[n : n + length - abs(lost), v] for v, n in enumerate(begin)], 1)
        late = np.repeat(begin[:, None].astype(float), len(points), 1)
        begun = time.perf_counter()
        found = find_sync(points, fps=capture.fps, focal_known=capture.rig.has_intrinsics, seed=seed)
        kind = f"{share:.0%}"
        told = f"frames {start} on, {capture.names[view]} {lost:+d}"
        yield {"kind": kind, "clip": told, "seed": seed, "seconds": time.perf_counter() - begun, **judged(found, late)}


def jobs(data: Path, seeds: range, kinds: list[str]) -> Iterator[tuple[Path, str, str, int]]:
    clips = [p for p in sorted((data / "cmu").glob("asf_*.npz")) if len(np.load(p)["xyz17"]) >= LEAST_FRAMES]
    for kind in kinds:
        for seed in seeds:
            yield clips[(7 * seed + 3 * KINDS.index(kind)) % len(clips)], f"S{1 + seed % 11}", kind, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--out", type=Path, help="write every run as JSON")
    parser.add_argument("--capture", type=Path, help="cut this synchronous recording instead")
    options = parser.parse_args()
    if options.capture is None and "VERGENCE_DATA" not in os.environ:
        sys.exit("set VERGENCE_DATA to the folder that holds cmu/ and rigs/, or give --capture")
    data = Path(os.environ.get("VERGENCE_DATA", ""))
    runs = []
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    made = (
        run(path, subject, data, kind, seed)
        for path, subject, kind, seed in jobs(data, seeds, options.kinds.split(","))
    )
    for one in made if options.capture is None else cut(options.capture, seeds):
        runs.append(one)
        print("{kind:9s} {clip} seed {seed:2d} {state:11s} error {error:6.2f} within {deviation:.2f}, margin {margin:.1f}, "
              "{steps} steps, {seconds:.1f} s".format(**runs[-1]), flush=True)  # fmt: skip
    for kind in dict.fromkeys(r["kind"] for r in runs):
        called = [r["error"] for r in runs if r["kind"] == kind and r["called"]]
        near, wrong = sum(e <= 0.25 for e in called), sum(e > 1 for e in called)
        print(f"{kind}: called synchronised {len(called)} of {sum(r['kind'] == kind for r in runs)}; within 0.25 frame "
              f"{near}, off by more than 1 {wrong}, largest error {max(called, default=float('nan')):.2f}")  # fmt: skip
    over = np.array([ratio for r in runs for ratio in r["over"]])
    if len(over):
        print(f"{len(over)} differences of two cameras: {(over <= 1).mean():.0%} within one stated deviation, "
              f"{(over <= 2).mean():.0%} within two, the largest {over.max():.1f}")  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(runs, indent=0))


if __name__ == "__main__":
    main()
