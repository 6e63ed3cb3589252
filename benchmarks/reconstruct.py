"""`vergence reconstruct` against another tree of Vergence and against Pose2Sim, on one machine, in turns.

VERGENCE_DATA=DIR python benchmarks/reconstruct.py [--base SRC] [--pose2sim PYTHON] [--frames 1000] [--rounds 3] [--growth]

The footage: Pose2Sim's own demo (four cameras, OpenPose's JSON of 25 joints, 100 frames), one time after another until there
are as many frames as asked for. Vergence finds the cameras too (`--ignore-extrinsics`) and writes its page; Pose2Sim is
given them, and does its person association and its triangulation. Each is one process as a user starts it, imports
included, on one thread; the sides take turns, so that a machine busy with other things slows all alike. Printed are
seconds of processor and clock, the medians, and the ratios round by round; last, how far this tree's rig and poses are
from the base's.

`--growth` prints seconds and peak memory over the number of frames, and over the number of cameras: there the demo's own
poses, as reconstructed, walk in a ring of as many cameras, with 3 px of noise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

SIZE, FOCAL = (1088, 1920), 1680.0
PEER = """
import sys, tomllib
from pathlib import Path
import Pose2Sim
from Pose2Sim import Pose2Sim as stages
config = tomllib.loads((Path(Pose2Sim.__file__).parent / "Demo_SinglePerson" / "Config.toml").read_text())
config["project"].update(project_dir=sys.argv[1], frame_rate=60, frame_range="all")
config["pose"]["pose_model"] = "BODY_25B"
config["triangulation"]["make_c3d"] = False
stages.personAssociation(config)
stages.triangulation(config)
"""


def demo(data: Path) -> tuple[list[list[bytes]], dict[str, dict]]:
    """The files of each camera in order, and the calibration."""
    folders = sorted((data / "pose2sim/openpose_json/balancing").iterdir())
    cameras = tomllib.loads((data / "pose2sim/calib/Calib_qualisys.toml").read_text())
    return [[f.read_bytes() for f in sorted(folder.glob("*.json"))] for folder in folders], cameras


def write_files(folder: Path, own: list[bytes], camera: str, frames: int) -> None:
    folder.mkdir(parents=True)
    for t in range(frames):
        (folder / f"{camera}.{t:05d}.json").write_bytes(own[t % len(own)])


def write_capture(folder: Path, data: Path, frames: int) -> Path:
    files, cameras = demo(data)
    text = '[capture]\nfps = 60\nunit = "m"\n'
    for own, (name, camera) in zip(files, cameras.items()):  # the rest is metadata
        turn = cv2.Rodrigues(np.array(camera["rotation"]))[0].tolist()
        text += f'\n[cameras.{name}]\nimage_size = {list(SIZE)}\nkeypoints = "{name}_json"\nR = {turn}\n'
        text += f"t = {camera['translation']}\nintrinsics = {camera['matrix']}\ndistortion = {camera['distortions']}\n"
        write_files(folder / f"{name}_json", own, name, frames)
    (folder / "capture.toml").write_text(text)
    return folder


def write_project(folder: Path, data: Path, frames: int) -> Path:
    """The same as a project of Pose2Sim."""
    files, cameras = demo(data)
    for own, name in zip(files, cameras):
        write_files(folder / "pose" / f"{name}_json", own, name, frames)
    (folder / "Config.toml").touch()  # a folder without one is no project
    (folder / "calibration").mkdir()
    (folder / "calibration/Calib.toml").write_text((data / "pose2sim/calib/Calib_qualisys.toml").read_text())
    return folder


def write_ring(folder: Path, poses: np.ndarray, cameras: int, frames: int) -> Path:
    """Poses T J 3 (trunk lengths) in a ring of cameras, as OpenPose's JSON with 3 px of noise."""
    rng, centre = np.random.default_rng(0), np.nanmedian(poses, axis=(0, 1))
    text = "[capture]\nfps = 60\n"
    folder.mkdir(parents=True)
    for v in range(cameras):
        angle = 2 * np.pi * v / max(cameras, 5)
        forward = -np.array([np.sin(angle), 0.0, -np.cos(angle)])
        turn = np.stack([np.cross([0.0, 1.0, 0.0], forward), [0.0, 1.0, 0.0], forward])
        seen = (poses - centre) @ turn.T + [0.0, 0.0, 8.0]
        pixels = FOCAL * seen[..., :2] / seen[..., 2:] + [543.5, 959.5] + rng.normal(0, 3, (*poses.shape[:2], 2))
        rows = np.nan_to_num(np.concatenate([pixels, 0.9 + 0 * pixels[..., :1]], axis=-1))
        own = [json.dumps({"people": [{"pose_keypoints_2d": row.round(2).ravel().tolist()}]}).encode() for row in rows]
        own += own[::-1]  # to and fro: nobody jumps
        write_files(folder / f"cam{v + 1:02d}_json", own, f"cam{v + 1:02d}", frames)
        text += f'\n[cameras.cam{v + 1:02d}]\nimage_size = {list(SIZE)}\nkeypoints = "cam{v + 1:02d}_json"\n'
        text += f"intrinsics = [[{FOCAL}, 0.0, 543.5], [0.0, {FOCAL}, 959.5], [0.0, 0.0, 1.0]]\n"
    (folder / "capture.toml").write_text(text)
    return folder


def timed(command: list[str], source: Path | None = None) -> tuple[float, float, float]:
    """Seconds of processor and clock of one process, and its peak memory in GiB."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    one["PYTHONDONTWRITEBYTECODE"] = ""  # an installed package is compiled once
    path = {} if source is None else {"PYTHONPATH": str(source)}
    start = time.perf_counter()
    child = subprocess.Popen(
        command, env={**os.environ, **one, **path}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    said = child.stderr.read() if child.stderr else b""
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(command[:4])} failed:\n{said.decode()[-2000:]}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - start, used.ru_maxrss / 2**20


def reconstruct(source: Path, capture: Path, out: Path) -> tuple[float, float, float]:
    words = [
        sys.executable,
        "-m",
        "vergence.cli",
        "reconstruct",
        str(capture),
        "--out",
        str(out),
        "--ignore-extrinsics",
    ]
    return timed(words, source)


def apart(a: Path, b: Path) -> str:
    """How far two reconstructions are from each other."""
    cameras = [json.loads((folder / "results.json").read_text())["cameras"].values() for folder in (a, b)]
    turns = [np.array(x["R"]) @ np.array(y["R"]).T for x, y in zip(*cameras)]
    worst = max(float(np.degrees(np.linalg.norm(cv2.Rodrigues(turn)[0]))) for turn in turns)
    p, q = (np.load(folder / "poses.npz")["pose"].reshape(-1, 3) for folder in (a, b))
    known = np.isfinite(p).all(1) & np.isfinite(q).all(1)
    p, q = (x[known] - x[known].mean(0) for x in (p, q))
    u, s, v = np.linalg.svd(p.T @ q)
    off = 500 * np.linalg.norm(p @ (u @ v) * (s.sum() / (p**2).sum()) - q, axis=1)  # mm of a trunk of 500 mm
    return (
        f"rotations {worst:.4f} degrees apart at most; joints, aligned, {np.median(off):.3f} mm (mean {off.mean():.3f})"
    )


def compare(sides: dict[str, Callable[[], tuple[float, float, float]]], rounds: int) -> None:
    found = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            found[name].append(run())
    for name, rows in found.items():
        cpu, wall, memory = np.median(rows, axis=0)
        print(f"{name:<10} {cpu:7.2f} s processor {wall:7.2f} s clock {memory:5.2f} GiB")
    for name in list(sides)[1:]:
        ratios = np.array(found[name])[:, :2] / np.array(found["now"])[:, :2]
        for what, each in zip(("processor", "clock"), ratios.T):
            print(f"{name} / now, {what}: {np.median(each):.2f} ({', '.join(f'{r:.2f}' for r in each)})")


def growth(source: Path, data: Path, work: Path) -> None:
    for frames in (100, 1000, 5000, 20000):
        capture = write_capture(work / f"frames{frames}", data, frames)
        cpu, wall, memory = reconstruct(source, capture, work / f"out{frames}")
        print(
            f"4 cameras, {frames:6d} frames: {cpu:7.2f} s processor {wall:7.2f} s clock {memory:5.2f} GiB", flush=True
        )
    poses = np.load(work / "out100" / "poses.npz")["pose"]
    for cameras in (2, 4, 8, 16):
        capture = write_ring(work / f"ring{cameras}", poses, cameras, 1000)
        cpu, wall, memory = reconstruct(source, capture, work / f"outring{cameras}")
        print(
            f"{cameras:2d} cameras, 1000 frames: {cpu:7.2f} s processor {wall:7.2f} s clock {memory:5.2f} GiB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="src of another tree of Vergence")
    parser.add_argument("--pose2sim", help="the python of an environment that has pose2sim")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action="store_true")
    options = parser.parse_args()
    if options.base and not (options.base / "vergence").is_dir():  # the installed one would be measured instead
        parser.error(f"--base {options.base} holds no vergence: give the src folder of another tree")
    data, source = Path(os.environ["VERGENCE_DATA"]), Path(__file__).resolve().parent.parent / "src"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if options.growth:
            growth(source, data, work)
            return
        capture = write_capture(work / "capture", data, options.frames)
        sides = {"now": lambda: reconstruct(source, capture, work / "now")}
        if options.base:
            sides["base"] = lambda: reconstruct(options.base, capture, work / "base")
        if options.pose2sim:
            project = write_project(work / "project", data, options.frames)
            sides["Pose2Sim"] = lambda: timed([options.pose2sim, "-c", PEER, str(project)])
        compare(sides, options.rounds)
        if options.base:
            print("now and base:", apart(work / "now", work / "base"))


if __name__ == "__main__":
    main()
