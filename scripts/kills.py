"""Kills verbs at random moments and runs the same command again: it must end with the bytes of a call that nobody killed.

    python scripts/kills.py [--moments 30] [--seed 0] [--only train,predict]

Not in CI: some minutes for each verb. Everything is tiny and made here; each call is a process of its own, killed by SIGKILL
with all that it started. Compared are weights, arrays, videos and keypoint files; not the files that tell how long something
took (`TIMED`). Exit status 1 where one differs, or a call after a kill does not end well; its words are printed then.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TIMED = {"results.json", "report.html", "results.md", "config.json", "done.json", "recipe.yaml"}
RECIPE = """
method: {method}
image_size: 32
network: {{embedding_size: 4, hidden_sizes: [4, 8], depths: [1, 1], width: 8}}
checkpoint_every: 5
sources:
  wild: {{kind: world_images, count: 20, seed: 1, keypoints: true}}
  studio: {{kind: world_recordings, look: studio, subjects: 1, frames_per_subject: 12, views: [3], seed: 2, keypoints: true}}
stages:
  keypoints: {{train: {{steps: 60, batch: {{wild: 6}}, losses: {{heatmap: 1.0, coordinates: 0.1}}}}}}
  labels: {{label: {{source: studio, keypoints: labelled}}}}
  pose: {{train: {{steps: 60, batch: {{studio: 4}}, labels: [labels], losses: {{heatmap: 1.0, depth: 1.0}}}}}}
  unit: {{refine: {{sources: [studio], labels: [labels], poses: [], steps: 100}}}}
test:
  studio: {{kind: world_recordings, look: studio, subjects: 1, frames_per_subject: 4, views: [3], seed: 9}}
"""
DETECTOR = """
import time
import numpy as np
from vergence.plugins import detectors
from vergence.skeleton import get_skeleton

class Slow:
    skeleton, identity = get_skeleton("coco_17"), "slow"

    def __call__(self, images):
        time.sleep(0.05 * len(images))
        return [np.full((1, 17, 3), float(image.mean()) / 255) for image in images]

@detectors.register("slow")
def slow(model, device):
    return Slow()
"""
VERBS = {
    "train": "train {work}/epipolar_pose.yaml --out {out} --device cpu --quiet",
    "compare": "compare {work}/epipolar_pose.yaml {work}/supervised.yaml --out {out} --device cpu --quiet",
    "prepare": "data prepare {work}/capture --out {out} --size 64 --workers 2",
    "predict": "predict lifting {work}/capture/{video} --capture {work}/capture --camera {camera} --out {out} --quiet",
    "reconstruct": "reconstruct {work}/capture --out {out}",
    "detect": "detect {work}/capture --again --out {out} --detector slow --plugins {work}/slow.py --quiet",
    "learn": "learn {work}/capture --out {out} --student lifting --steps 60 --anyway --quiet",
}


def call(words: str, kill_after: float | None = None) -> tuple[int, float, str]:
    """Status, seconds and words of a command; the status is that of SIGKILL where it was killed."""
    start, environment = time.monotonic(), {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "vergence.cli", *words.split()], env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        told = process.communicate(timeout=kill_after)[0]
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)  # it alone: what it started must notice
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        told = ""
    return process.returncode, time.monotonic() - start, told


def contents(out: Path) -> dict[str, str]:
    """A digest of every file but those that tell times; of an NPZ its arrays but the report."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name not in TIMED):
        if "tables" in path.parts or "measured" in path.parts:
            continue
        data = path.read_bytes()
        if path.suffix == ".npz":
            with np.load(path) as file:
                data = b"".join(name.encode() + file[name].tobytes() for name in file.files if name != "report")
        found[str(path.relative_to(out))] = hashlib.sha256(data).hexdigest()
    return found


def setup(work: Path) -> dict[str, str]:
    """Recipes, a detector and a capture."""
    for method in ("epipolar_pose", "supervised"):
        (work / f"{method}.yaml").write_text(RECIPE.format(method=method))
    (work / "slow.py").write_text(DETECTOR)
    status, _, told = call(f"synth {work}/capture --frames 100 --views 3 --size 160 --known cameras --quiet")
    assert status == 0, told
    video = sorted((work / "capture").glob("*.mp4"))[0]
    return {"work": str(work), "video": video.name, "camera": video.stem}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(VERBS))
    options = parser.parse_args()
    rng, wrong = random.Random(options.seed), 0
    names = options.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        given = setup(work)
        for number, name in enumerate(names):
            words = VERBS[name].format(out=work / name, **given)
            status, seconds, told = call(words)
            if status:
                print(f"{name}: status {status}\n{told}", flush=True)
                wrong += 1
                continue
            whole = contents(work / name)
            for _ in range(len(range(number, options.moments, len(names)))):
                shutil.rmtree(work / name)
                moment = rng.uniform(0.2, 1.0) * seconds
                call(words, moment)
                status, _, told = call(words)
                there = contents(work / name) if status == 0 else {}
                differ = sorted(key for key in whole.keys() | there.keys() if whole.get(key) != there.get(key))
                wrong += bool(differ)
                print(f"{name}, killed after {moment:.1f} of {seconds:.1f} s: {differ or 'the same bytes'}", flush=True)
                if status:
                    print(told, flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
