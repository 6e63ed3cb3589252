"""Real motion, real rigs, known truth: how far `reconstruct` is off when nothing but intrinsics is given.

Clips of the CMU motion capture database (NPZ with `xyz17`, metres, z up) are centred on Human3.6M's rigs, seen through
their lenses, and the keypoints spoilt: noise of 3 px, 20 % missing, 5 % outliers of N(0, 80 px). Every clip takes
another rig with every seed.

    VERGENCE_DATA=DIR python benchmarks/reconstruction_cmu.py [--clips 84] [--seeds 20] [--workers 1]
        [--cameras 2|3|4|8] [--without-intrinsics] [--straight SHARE] [--per-frame] [--out table.json]

`DIR` holds `cmu/*.npz` and `rigs/h36m_camera_parameters.json`. The table's rows: worst camera pair's rotation error,
verdicts, P-MPJPE over reported joints against that of the same triangulation with the true cameras, coverage, seconds. Without
intrinsics also how far focal lengths are off, in their stated deviations.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from vergence.errors import VergenceError
from vergence.geometry.alignment import align
from vergence.geometry.camera import project, transform
from vergence.geometry.cameras import rotation_angle
from vergence.reconstruction.solve import Solution, reconstruct_keypoints
from vergence.skeleton import H36M_17

NOISE_PX, MISSING, OUTLIERS, OUTLIER_PX = 3.0, 0.20, 0.05, 80.0
MAX_FRAMES = 200
FAR_MM = 3000.0  # clips whose pelvis travels this far must be within half a degree
IMAGE_SIZE = {"54138969": (1000, 1002), "60457274": (1000, 1002), "55011271": (1000, 1000), "58860488": (1000, 1000)}


@dataclass(frozen=True)
class Run:
    """One reconstruction of one clip."""

    clip: str
    seed: int
    rig: str
    travel_mm: float
    error_deg: float
    predicted_deg: float
    verdict: str
    reasons: tuple[str, ...]
    gap: float
    p_mpjpe: float
    p_mpjpe_true_cameras: float
    coverage: float
    seconds: float
    focal_off: tuple[float, ...] = ()  # logarithm of found over true, in stated deviations


@dataclass(frozen=True)
class Rig:
    """Human3.6M's four cameras of one subject, lengths in mm."""

    intrinsics: np.ndarray
    distortion: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    image_size: np.ndarray


def load_rig(data: Path, subject: str) -> Rig:
    parameters = json.loads((data / "rigs/h36m_camera_parameters.json").read_text())
    names = list(parameters["intrinsics"])
    inner = [parameters["intrinsics"][n] for n in names]
    outer = [parameters["extrinsics"][subject][n] for n in names]
    return Rig(
        np.array([c["calibration_matrix"] for c in inner]),
        np.array([c["distortion"] for c in inner]),
        np.array([c["R"] for c in outer]),
        np.array([c["t"] for c in outer])[:, :, 0],
        np.array([IMAGE_SIZE[n] for n in names]),
    )


def straight(rig: Rig, share: float, rng: np.random.Generator) -> Rig:
    """The same with lenses that do not bend, whose principal points are off the middle by so much of the longer side (one
    standard deviation of x and of y)."""
    intrinsics = rig.intrinsics.copy()
    off = rng.normal(0, share, (len(intrinsics), 2)) * rig.image_size.max(1)[:, None]
    intrinsics[:, :2, 2] = (rig.image_size - 1) / 2 + off
    return replace(rig, intrinsics=intrinsics, distortion=0 * rig.distortion)


def with_cameras(rig: Rig, count: int) -> Rig:
    """The first of the four cameras, or the four and the same four turned by 90 degrees about the rig's middle."""
    if count <= 4:
        chosen = slice(count)
        return Rig(*(getattr(rig, f.name)[chosen] for f in fields(Rig)))
    centre = -(rig.rotation.transpose(0, 2, 1) @ rig.translation[:, :, None])[:, :, 0].mean(0) * [1, 1, 0]
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    rotation = rig.rotation @ turn
    translation = rig.translation + rig.rotation @ centre - rotation @ centre
    twice = [np.concatenate([x, x]) for x in (rig.intrinsics, rig.distortion, rig.image_size)]
    both = np.concatenate([rig.rotation, rotation]), np.concatenate([rig.translation, translation])
    return Rig(twice[0], twice[1], *both, twice[2])


def load_clip(path: Path, rig: Rig) -> np.ndarray:
    """At most 200 frames in mm, the middle of the clip's box under the middle of the rig."""
    pose = np.load(path)["xyz17"].astype(float)[:MAX_FRAMES] * 1000
    centre = -(rig.rotation.transpose(0, 2, 1) @ rig.translation[:, :, None])[:, :2, 0].mean(0)
    flat = pose.reshape(-1, 3)[:, :2]
    pose[..., :2] += centre - (flat.max(0) + flat.min(0)) / 2
    return pose


def observe(pose: np.ndarray, rig: Rig, rng: np.random.Generator) -> np.ndarray:
    """Keypoints T V J 2 in px with all their faults."""
    world = torch.from_numpy(pose)[:, None]
    seen = transform(world, torch.from_numpy(rig.rotation), torch.from_numpy(rig.translation))
    pixels = project(seen, torch.from_numpy(rig.intrinsics), torch.from_numpy(rig.distortion)).numpy()
    pixels = pixels + rng.normal(0, NOISE_PX, pixels.shape)
    wrong = rng.random(pixels.shape[:3]) < OUTLIERS
    pixels = pixels + np.where(wrong[..., None], rng.normal(0, OUTLIER_PX, pixels.shape), 0.0)
    pixels[rng.random(pixels.shape[:3]) < MISSING] = np.nan
    return pixels


def worst_pair_deg(found: Solution, rig: Rig) -> float:
    """Largest error of a relative rotation over all pairs of cameras."""
    views, worst = len(rig.rotation), 0.0
    for a in range(views):
        for b in range(a):
            pair = (r[a] @ r[b].T for r in (found.rotation, rig.rotation))
            worst = max(worst, float(np.degrees(rotation_angle(*pair))))
    return worst


def p_mpjpe(pose: np.ndarray, truth: np.ndarray) -> float:
    """Mean over frames of the mean joint error after a similarity, over reported joints of frames with at least five."""
    full = np.isfinite(pose).all(2).sum(1) >= 5
    found = torch.from_numpy(pose[full])
    moved = align(found, torch.from_numpy(truth[full]), scale=True).apply(found).numpy()
    return float(np.nanmean(np.linalg.norm(moved - truth[full], axis=2), axis=1).mean())


def run_one(
    data: Path, path: Path, subject: str, seed: int, cameras: int = 4, per_frame: bool = False, lenses: bool = True,
    off: float | None = None,
) -> Run:  # fmt: skip
    torch.set_num_threads(1)
    rig = load_rig(data, subject)
    truth = load_clip(path, rig)  # centred on the four, whatever part of them is used
    rig = with_cameras(rig, cameras)
    if off is not None:
        rig = straight(rig, off, np.random.default_rng([seed, sum(path.stem.encode()), 1]))
    keypoints = observe(truth, rig, np.random.default_rng([seed, sum(path.stem.encode())]))
    known = {
        "intrinsics": rig.intrinsics,
        "distortion": rig.distortion,
        "image_size": rig.image_size,
        "skeleton": H36M_17,
    }
    given = known if lenses else {**known, "intrinsics": None, "distortion": None}
    travel = float(np.linalg.norm(np.ptp(truth[:, 0], axis=0)))
    start = time.perf_counter()
    try:
        found = reconstruct_keypoints(keypoints, **given, seed=seed, per_frame=per_frame)
    except VergenceError as error:
        nothing = float("nan")
        return Run(
            path.stem, seed, subject, travel, nothing, nothing, "refused", (str(error),), nothing, nothing, nothing, 0.0,
            time.perf_counter() - start,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    best = reconstruct_keypoints(keypoints, **known, rotation=rig.rotation, translation=rig.translation)
    return Run(
        clip=path.stem,
        seed=seed,
        rig=subject,
        travel_mm=travel,
        error_deg=worst_pair_deg(found, rig),
        predicted_deg=found.report.predicted_rotation_deg,
        verdict=found.report.verdict,
        reasons=found.report.reasons,
        gap=found.report.gap,
        p_mpjpe=p_mpjpe(found.pose, truth),
        p_mpjpe_true_cameras=p_mpjpe(best.pose, truth),
        coverage=found.report.coverage,
        seconds=seconds,
        focal_off=() if lenses else focal_off(found, rig),
    )


def focal_off(found: Solution, rig: Rig) -> tuple[float, ...]:
    ours, true = (k[:, [0, 1], [0, 1]].mean(1) for k in (found.intrinsics, rig.intrinsics))
    return tuple((np.log(ours / true) / np.array(found.report.focal_deviation)).tolist())


def summary(runs: list[Run]) -> str:
    """The table in words and figures."""
    lines = []
    for title, some in (
        ("travel >= 3 m", [r for r in runs if r.travel_mm >= FAR_MM]),
        ("travel < 3 m", [r for r in runs if r.travel_mm < FAR_MM]),
    ):
        if not some:
            continue
        refused = [r for r in some if r.verdict == "refused"]
        some = [r for r in some if r.verdict != "refused"]
        error = np.array([r.error_deg for r in some])
        clips = sorted({r.clip for r in some})
        medians = [np.median([r.error_deg for r in some if r.clip == c]) for c in clips]
        good = np.array([r.verdict == "good" for r in some])
        ours, best = (np.array([getattr(r, n) for r in some]) for n in ("p_mpjpe", "p_mpjpe_true_cameras"))
        sharpness = error / np.array([r.predicted_deg for r in some])
        lines += [
            f"{title}: {len(clips)} clips, {len(some)} runs, {len(refused)} refused",
            f"  rotation error, worst pair [deg]: median {np.median(error):.3f}, p90 {np.percentile(error, 90):.3f}, "
            f"max {error.max():.3f}; worst clip's median {max(medians):.3f}",
            f"  verdict good: {good.mean():.1%}; worst error of a good run "
            f"{error[good].max() if good.any() else np.nan:.3f}",
            f"  not good but within 1 degree: {(~good & (error < 1)).mean():.1%}; over 2 degrees: {(error > 2).sum()} runs",
            f"  error over prediction: median {np.median(sharpness):.2f}, p90 {np.percentile(sharpness, 90):.2f}, "
            f"p99 {np.percentile(sharpness, 99):.2f}, max {sharpness.max():.2f}",
            f"  P-MPJPE [mm]: {ours.mean():.1f}, with true cameras {best.mean():.1f}; "
            f"ratio median {np.median(ours / best):.3f}, max {(ours / best).max():.3f}",
            f"  coverage: least {min(r.coverage for r in some):.3f}; seconds: median "
            f"{np.median([r.seconds for r in some]):.2f}, max {max(r.seconds for r in some):.2f}",
        ]
    if off := np.abs([z for r in runs for z in r.focal_off]).tolist():
        shares = ", ".join(f"{np.mean(np.array(off) < n):.0%} within {n}" for n in (1, 2))
        lines.append(f"focal lengths: {len(off)}, of their stated deviations {shares}")
    wrong = [r for r in runs if r.verdict == "good" and r.error_deg > 3]
    lines.append(f"good but off by more than 3 degrees: {len(wrong)} of {len(runs)} runs")
    for r in sorted(runs, key=lambda r: -r.error_deg)[:10]:
        lines.append(
            f"    {r.clip:32s} seed {r.seed:2d} rig {r.rig:4s} {r.error_deg:7.3f} deg, predicted {r.predicted_deg:.3f}, "
            f"gap {r.gap:.2f}, {r.verdict}, P-MPJPE {r.p_mpjpe:.1f} / {r.p_mpjpe_true_cameras:.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=84, help="so many, evenly spread")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--cameras", type=int, default=4, choices=(2, 3, 4, 8))
    parser.add_argument("--per-frame", action="store_true", help="EpipolarPose's single frames instead of pooled ones")
    parser.add_argument(
        "--without-intrinsics", action="store_true", help="focal lengths are found, distortion is taken as none"
    )
    parser.add_argument(
        "--straight", type=float, help="no distortion; principal points off by this share of the longer side"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write every run as JSON")
    options = parser.parse_args()
    if "VERGENCE_DATA" not in os.environ:
        sys.exit("set VERGENCE_DATA to the folder that holds cmu/ and rigs/")
    data = Path(os.environ["VERGENCE_DATA"])
    clips = sorted((data / "cmu").glob("*.npz"))
    clips = [clips[i] for i in np.unique(np.linspace(0, len(clips) - 1, options.clips).round().astype(int))]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    how = options.cameras, options.per_frame, not options.without_intrinsics, options.straight
    jobs = [(data, c, f"S{1 + (i + s) % 11}", s, *how) for s in seeds for i, c in enumerate(clips)]
    if options.workers > 1:
        with ProcessPoolExecutor(options.workers) as pool:
            runs = list(pool.map(run_one, *zip(*jobs), chunksize=4))
    else:
        runs = [run_one(*job) for job in jobs]
    print(summary(runs))
    if options.out:
        options.out.write_text(json.dumps([asdict(r) for r in runs], indent=0))


if __name__ == "__main__":
    main()
