"""`predict` on a video end to end beside its stages alone: decoding, detector, drawing, coding, and what overlaps of them.

    python benchmarks/predict_rate.py --footage VIDEO [--task FILE.task] [--run RUN] [--height PX] [--frames 100]
        [--repeat 3] [--folder DIR]

With --height the footage is scaled to that height first. Each stage is run alone on the same frames, the detector image by
image, then the whole call (with --task MediaPipe and the lifting model that comes with the package; with --run a run of images
and a box; each with and without an overlay), stages and wholes in turn, so that other jobs on the machine meet all of them.
MediaPipe takes as many threads as OMP_NUM_THREADS says. Seconds are medians. The rate
of the whole is given as the median of its share of the slowest stage's own in each round, by the clock and by the
processor's seconds (there the most that one core could do), and beside one thing done after the other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

os.environ["XDG_CACHE_HOME"] = str(Path("predict_rate_cache").resolve())  # before the package reads it

import vergence
from vergence.footage.detectors.base import CACHE, open_detector
from vergence.footage.video import VideoWriter, open_video
from vergence.inference.frames import reduced_image
from vergence.report.overlay import overlay_of_people


def timed(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of a processor."""
    begun, worked = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - begun, time.process_time() - worked


def scaled(image: np.ndarray, height: int) -> np.ndarray:
    """As it is filmed in another resolution; the width is even."""
    width = 2 * round(image.shape[1] * height / image.shape[0] / 2)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--footage", type=Path, required=True)
    parser.add_argument("--task")
    parser.add_argument("--run")
    parser.add_argument("--height", type=int, default=0)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("predict_rate"))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    video = asked.folder / "cut.mp4"
    with open_video(asked.footage) as images, VideoWriter(video, 30) as writer:
        for _, image in images.frames(0, asked.frames):
            writer.write(scaled(image, asked.height) if asked.height else image)
    with open_video(video) as images:
        size, some = images.size, [image for _, image in images.frames(0, 20)]
    count = min(asked.frames, len(open_video(video)))
    detector = open_detector("mediapipe", asked.task) if asked.task else None
    small = [reduced_image(image) for image in some]
    panel = [
        np.concatenate([image, np.zeros((image.shape[0], image.shape[0] // 2, 3), np.uint8)], 1) for image in small
    ]

    def decode() -> None:
        with open_video(video) as opened:
            for _ in opened.frames(0, count):
                pass

    def detect() -> None:
        assert detector is not None
        for i in range(count):
            detector([some[i % len(some)]])

    def draw() -> None:
        for i in range(count):
            image = reduced_image(some[i % len(some)])
            cv2.resize(image, image.shape[1::-1])

    def code() -> None:
        with VideoWriter(asked.folder / "coded.mp4", 30) as coded:
            for i in range(count):
                coded.write(panel[i % len(panel)])

    model = vergence.load(asked.run) if asked.run else None
    crops = np.zeros((32, model.image_size, model.image_size, 3), np.uint8) if model else None
    box = (size[0] // 4, 0, size[1], size[1])

    def network() -> None:
        assert model is not None
        assert crops is not None
        for start in range(0, count, len(crops)):
            model(crops[: count - start])

    def whole(overlay: bool, run: object = "lifting", **where: object) -> None:
        shutil.rmtree(CACHE, ignore_errors=True)
        shutil.rmtree(asked.folder / "out", ignore_errors=True)
        found = vergence.predict(run, video, **where)  # type: ignore[arg-type]
        vergence.save_predicted(found, asked.folder / "out", draw=overlay_of_people if overlay else None)

    found = {"detector": "mediapipe", "detector_model": asked.task}
    acts: dict[str, Callable[[], None]] = {"decoding": decode, "reduction": draw, "coding": code}
    wholes: dict[str, Callable[[], None]] = {}
    if detector:
        acts["detector"] = detect
        wholes["no overlay"] = lambda: whole(False, **found)
        wholes["overlay"] = lambda: whole(True, **found)
    if model:
        acts["network"] = network
        wholes["run"] = lambda: whole(False, model, box=box)
        wholes["run, overlay"] = lambda: whole(True, model, box=box)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in [*acts, *wholes]}
    if model:
        network()
    if detector:
        detector([some[0]] * 8)
    for _ in range(asked.repeat):
        for name, act in {**acts, **wholes}.items():
            taken[name].append(timed(act))
    load = f"{asked.repeat} times, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{size[0]} x {size[1]}, {count} frames, {load}")
    for name, both in taken.items():
        seconds, worked = (statistics.median(part) for part in zip(*both, strict=True))
        print(f"  {name:12} {count / seconds:7.1f} frames/s, {1000 * worked / count:6.1f} ms of a core for each")
    for name in wholes:
        parts = ["decoding", "network" if "run" in name else "detector"]
        again = ["reduction", "coding"] if name.endswith("overlay") and name != "no overlay" else []
        again += ["decoding"] if name == "overlay" else []  # once more: a detector sees all before poses are known
        shares = []
        for i, whole_taken in enumerate(taken[name]):
            own = [[taken[part][i][k] for part in parts + again] for k in (0, 1)]
            shares.append((max(own[0]) / whole_taken[0], max(own[1]) / whole_taken[1], sum(own[0]) / whole_taken[0]))
        clock, core, serial = (statistics.median(part) for part in zip(*shares, strict=True))
        print(
            f"  {name}: {clock:.0%} of the rate of its slowest stage alone ({core:.0%} by the processor's seconds); ",
            end="",
        )
        print(f"{serial:.2f} times one thing after the other")
    shutil.rmtree(CACHE, ignore_errors=True)


if __name__ == "__main__":
    main()
