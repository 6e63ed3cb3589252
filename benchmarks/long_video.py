"""`predict` on a long video: peak memory and frames a second, and whether a killed call ends with the same bytes.

    python benchmarks/long_video.py [--minutes 60] [--fps 30] [--no-overlay] [--kills 10] [--folder DIR]
        [--footage VIDEO [--height 720] (--task FILE.task | --run RUN)]

A stick person (two with --people 2) walks to and fro through a 720p video of 30 frames a second; its keypoints are written as
COCO-style JSON, so that no detector is needed. With --footage the given video is repeated instead, and MediaPipe looks for
people in it (--task), or a run sees a box of it that is as large as its middle (--run). The video is one minute, repeated by
copying its packets: what is measured is `predict`, in a process of its own. With --kills the call is killed (SIGKILL) that many
times at random moments and gone on with, and its files are compared with those of a call that was left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from vergence.footage.video import VideoWriter, join_videos, open_video
from vergence.skeleton import COCO_17

SIZE, FPS = (1280, 720), 30
LIMBS = [
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (5, 6),
    (11, 12),
    (5, 11),
    (6, 12),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
    (0, 5),
    (0, 6),
]


def walker(frame: int, number: int) -> np.ndarray:
    """17 joints in px of somebody who walks to and fro, once in 20 seconds."""
    time_s = frame / FPS + 7.0 * number
    swing, turn = np.sin(2 * np.pi * time_s), np.sin(2 * np.pi * time_s / 20)
    centre = np.array([640 + 400 * turn, 380.0])
    x = {"nose": 5, "eye": 3, "ear": -4, "shoulder": 8, "elbow": 12, "wrist": 14, "hip": 6, "knee": 7, "ankle": 7}
    y = {
        "nose": -150,
        "eye": -158,
        "ear": -154,
        "shoulder": -110,
        "elbow": -55,
        "wrist": -5,
        "hip": 0,
        "knee": 85,
        "ankle": 170,
    }
    forward = {"elbow": -15, "wrist": -40, "knee": 20, "ankle": 35}
    points = []
    for name in COCO_17.joint_names:
        side, part = (
            ("left", name.removeprefix("left_")) if name.startswith("left_") else ("right", name.removeprefix("right_"))
        )
        sign = 0 if part == "nose" else 1 if side == "left" else -1
        points.append([sign * x[part] + forward.get(part, 0) * swing * sign, y[part]])
    return centre + np.array(points, dtype=float)


def drawn_minute(path: Path, people: int) -> None:
    with VideoWriter(path, FPS) as video:
        for frame in range(60 * FPS):
            image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
            image[560:] = 130
            for number in range(people):
                points = walker(frame, number).round().astype(int)
                for a, b in LIMBS:
                    cv2.line(
                        image, points[a].tolist(), points[b].tolist(), (220, 180 - 80 * number, 60), 14, cv2.LINE_AA
                    )
            video.write(image)


def repeated(source: Path, path: Path, frames: int, fps: float, height: int) -> None:
    """So many frames of a video that may be shorter, as high as told."""
    with VideoWriter(path, fps) as video, open_video(source) as images:
        count = 0
        while count < frames:
            for _, image in images.frames():
                width = round(image.shape[1] * height / image.shape[0] / 2) * 2
                video.write(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
                count += 1
                if count == frames:
                    break


def write_keypoints(path: Path, frames: int, people: int) -> None:
    with open(path, "w") as file:
        for frame in range(frames):
            for number in range(people):
                noise = np.random.default_rng(frame * people + number).normal(0, 1.5, (17, 2))
                points = np.c_[walker(frame % (60 * FPS), number) + noise, np.full(17, 0.9)].round(2)
                row = {"image_id": frame, "category_id": 1, "keypoints": points.ravel().tolist(), "score": 0.9}
                file.write(f"{', ' if frame or number else '['}{json.dumps(row)}")
        file.write("]\n")


def call(words: list[str], kill_after: float | None = None) -> tuple[float, float, float, int]:
    """Seconds, seconds of a processor, peak resident memory in MiB and exit status of one `vergence predict`."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "vergence.cli", "predict", *words])
    seen: list[float] = []
    threading.Thread(target=curve, args=(process.pid, seen), daemon=True).start()
    killer = None if kill_after is None else threading.Timer(kill_after, process.kill)
    if killer is not None:
        killer.start()
    _, status, usage = os.wait4(process.pid, 0)
    if killer is not None:
        killer.cancel()
    seconds = usage.ru_utime + usage.ru_stime
    tenths = [max(part) for part in np.array_split(seen, 10) if len(part)] if kill_after is None else []
    if tenths:
        print("most memory in each tenth of the time, MiB:", *(f"{most:.0f}" for most in tenths), flush=True)
    return time.perf_counter() - begun, seconds, usage.ru_maxrss / 1024, status


def curve(pid: int, seen: list[float]) -> None:
    """Resident memory of a process once a second while it lives, MiB."""
    pages = Path(f"/proc/{pid}/statm")
    while pages.exists():
        try:
            seen.append(int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
        except (OSError, IndexError):
            return
        time.sleep(1)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--fps", type=int, default=FPS, help="of repeated footage")
    parser.add_argument("--height", type=int, default=SIZE[1], help="of repeated footage, px")
    parser.add_argument("--people", type=int, default=1)
    parser.add_argument("--no-overlay", action="store_true")
    parser.add_argument("--footage", type=Path)
    parser.add_argument("--task", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("long_video"))
    asked = parser.parse_args()
    folder: Path = asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    fps = asked.fps if asked.footage else FPS
    a_minute = 60 * fps
    frames, video = round(asked.minutes * a_minute), folder / f"{asked.minutes:g}.mp4"
    if not video.exists():
        minute, rest = folder / "minute.mp4", folder / "rest.mp4"
        if asked.footage:
            repeated(asked.footage, minute, min(frames, a_minute), fps, asked.height)
        else:
            drawn_minute(minute, asked.people)
        with open_video(minute) as images, VideoWriter(rest, fps) as writer:
            for _, image in images.frames(0, max(1, frames % a_minute)):
                writer.write(image)
        join_videos([minute] * (frames // a_minute) + [rest] * bool(frames % a_minute), video)
    words = [str(video), "--fov", "60", "--people", "all" if asked.people > 1 else "one", "--quiet", "true"]
    if asked.run:
        with open_video(video) as images:
            width, height = images.size
        words = [str(asked.run), *words, "--box", f"{width // 4},{height // 4},{width // 2},{height // 2}"]
    elif asked.footage:
        words += ["--detector", "mediapipe", "--detector_model", str(asked.task)]
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        shutil.rmtree(folder / "cache", ignore_errors=True)
    else:
        write_keypoints(folder / "keypoints.json", frames, asked.people)
        words += ["--keypoints", str(folder / "keypoints.json")]
    words += ["--overlay", "false"] if asked.no_overlay else []
    shutil.rmtree(folder / "alone", ignore_errors=True)
    seconds, worked, peak, status = call([*words, "--out", str(folder / "alone")])
    rate, one = frames / seconds, frames / worked
    size = sum(p.stat().st_size for p in (folder / "alone").iterdir()) / 2**20
    print(f"{asked.minutes:g} minutes, {frames} frames, exit {status}: {seconds:.0f} s, {rate:.0f} frames/s ({one:.0f} for "
          f"each second of a core); peak memory {peak:.0f} MiB; files {size:.0f} MiB", flush=True)  # fmt: skip
    if not asked.kills:
        return
    rng, out = random.Random(asked.seed), folder / "killed"
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    for number in range(asked.kills):
        after = rng.uniform(0.1 * seconds, 0.9 * seconds)
        *_, status = call([*words, "--out", str(out)], after)
        left = sorted(p.name for p in out.iterdir()) if out.is_dir() else []
        print(f"kill {number + 1} after {after:.1f} s: exit {status}, left {', '.join(left) or 'nothing'}", flush=True)
    call([*words, "--out", str(out)])
    print("same bytes" if digests(out) == digests(folder / "alone") else "OTHER BYTES", flush=True)


if __name__ == "__main__":
    main()
