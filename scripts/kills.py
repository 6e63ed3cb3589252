"""Kills verbs at random moments and runs the same command again: it must end with the bytes of a call that nobody killed.

    python scripts/kills.py [--moments 30] [--seed 0] [--only train,predict]

Not in CI: a minute for each verb. Everything is tiny and made here; each call is a process of its own, forked off this one
after the libraries are imported, and killed by SIGKILL. Moments are of processor time; of verbs that let other processes
work (`WAITING`) of the clock. Compared are all files of verbs that say no times (`TIMELESS`); of the others weights, arrays,
videos and keypoint files, not those that tell how long something took (`TIMED`). Exit status 1 where one differs, or a call
after a kill does not end well; its words are printed then.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path

import numpy as np

TIMED = {"results.json", "report.html", "results.md", "config.json", "done.json", "recipe.yaml"}
TIMELESS = ("learn", "inspect", "synth", "synth_images", "prepare", "detect", "export")
WAITING = ("prepare", "detect", "batch")
RECIPE = """
method: {method}
image_size: 32
network: {{embedding_size: 4, hidden_sizes: [4, 8], depths: [1, 1], width: 8}}
checkpoint_every: 5
sources:
  wild: {{kind: world_images, count: 20, seed: 1, keypoints: true}}
  studio: {{kind: world_recordings, look: studio, subjects: 1, frames_per_subject: {frames}, views: [3], seed: 2,
           keypoints: true}}
stages:
  keypoints: {{train: {{steps: {steps}, batch: {{wild: 6}}, losses: {{heatmap: 1.0, coordinates: 0.1}}}}}}
  labels: {{label: {{source: studio, keypoints: labelled}}}}
  pose: {{train: {{steps: {steps}, batch: {{studio: 4}}, labels: [labels], losses: {{heatmap: 1.0, depth: 1.0}}}}}}
  unit: {{refine: {{sources: [studio], labels: [labels], poses: [], steps: {refine}}}}}
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
QUICK = """
import vergence.learning.learn as learning

whole = learning.train
small = "--stages.pose.train.steps 40 --stages.pose.train.batch.footage 4 --image_size 32 --checkpoint_every 5"

def train(recipe, folder, overrides, **more):
    return whole(recipe, folder, overrides=[*overrides, *small.split()], **more)

learning.train = train
"""
RECIPES = {  # by where most of their time goes
    "train": ("epipolar_pose", 12, 60, 100),
    "label": ("epipolar_pose", 90, 5, 5),
    "refine": ("epipolar_pose", 12, 5, 150),
    "supervised": ("supervised", 12, 60, 100),
    "short": ("supervised", 12, 2, 2),
}
LIBRARIES = "torch lightning transformers cv2 av rich scipy.optimize vergence.commands.train vergence.commands.compare"
VERBS = {
    "train": "train {work}/train.yaml --out {out} --device cpu --quiet",
    "label": "train {work}/label.yaml --out {out} --device cpu --quiet",
    "refine": "train {work}/refine.yaml --out {out} --device cpu --quiet",
    "compare": "compare {work}/train.yaml {work}/supervised.yaml --out {out} --device cpu --quiet",
    "prepare": "data prepare {work}/capture --out {out} --size 64 --workers 2",
    "predict": "predict lifting {work}/capture/{video} --capture {work}/capture --camera {camera} --out {out} --quiet",
    "reconstruct": "reconstruct {work}/capture --out {out}",
    "detect": "detect {work}/capture --again --out {out} --detector slow --plugins {work}/slow.py --quiet",
    "learn": "learn {work}/capture --out {out} --student lifting --steps 60 --anyway --quiet",
    "learn_image": "learn {work}/capture --out {out} --student image --anyway --quiet --plugins {work}/quick.py --device cpu",
    "batch": "batch reconstruct {work}/list.txt --out {out} --quiet --workers 2",
    "inspect": "inspect {work}/capture --out {out} --quiet",
    "synth": "synth {out} --frames 40 --views 2 --size 160 --quiet",
    "synth_images": "synth {out} --kind images --subjects 400 --size 64 --quiet",
    "export": "export {work}/run --out {out}/model.onnx",
    "search": "search {work}/run {work}/capture/{video} --query-box 0,0,160,160 --query-frames 0-9 --footage {work}/capture "
    "--out {out} --quiet",
}


def spent(process: int) -> float:
    """Seconds of processor time of a process and of those of its children that have ended."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def call(words: str, log: Path, kill_after: float = np.inf, waiting: bool = False) -> tuple[int, float, str]:
    """Status, seconds and words of a command in a process forked off this one, which is killed, it alone, after a time: what
    it started must notice. Seconds are of the processor, so that a busy machine moves no moment; or of the clock."""
    start = time.monotonic()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.setsid()
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.argv = ["vergence", *words.split()]
            status = import_module("vergence.cli").main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    seconds = 0.0
    while (done := os.waitpid(process, os.WNOHANG))[0] == 0:
        seconds = time.monotonic() - start if waiting else spent(process)
        if seconds >= kill_after:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(done[1]), seconds, log.read_text()


def contents(out: Path, whole: bool) -> dict[str, str]:
    """A digest of every file, or of all but those that tell times; of an NPZ its arrays but the report."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        if not whole and (path.name in TIMED or {"tables", "measured", "batch"} & {*path.relative_to(out).parts}):
            continue
        data = path.read_bytes()
        if path.suffix == ".npz":
            with np.load(path) as file:
                data = b"".join(name.encode() + file[name].tobytes() for name in file.files if name != "report")
        found[str(path.relative_to(out))] = hashlib.sha256(data).hexdigest()
    return found


def told_of(differ: list[str]) -> str:
    return f"{len(differ)} files differ: {', '.join(differ[:6])}" if differ else "the same bytes"


def setup(work: Path) -> dict[str, str]:
    """Recipes, a detector, a capture, a list of its copies and a trained run."""
    for name, (method, frames, steps, refine) in RECIPES.items():
        (work / f"{name}.yaml").write_text(RECIPE.format(method=method, frames=frames, steps=steps, refine=refine))
    (work / "slow.py").write_text(DETECTOR)
    (work / "quick.py").write_text(QUICK)
    for words in (
        f"synth {work}/capture --frames 100 --views 3 --size 160 --known cameras --quiet",
        f"train {work}/short.yaml --out {work}/run --device cpu --quiet",
    ):
        status, _, told = call(words, work / "log")
        assert status == 0, told
    for number in range(4):
        shutil.copytree(work / "capture", work / f"capture{number}")
    (work / "list.txt").write_text("".join(f"capture{number}\n" for number in range(4)))
    video = sorted((work / "capture").glob("*.mp4"))[0]
    return {"work": str(work), "video": video.name, "camera": video.stem}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(VERBS))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for library in LIBRARIES.split():
        import_module(library)
    rng, wrong = random.Random(options.seed), 0
    names = options.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        given = setup(work)
        for number, name in enumerate(names):
            words, whole, waiting = VERBS[name].format(out=work / name, **given), name in TIMELESS, name in WAITING
            status, seconds, told = call(words, work / "log", waiting=waiting)
            if status not in (0, 1) or "Traceback" in told:  # 1: done, and the answer is no
                print(f"{name}: status {status}\n{told}", flush=True)
                wrong += 1
                continue
            expected = status, contents(work / name, whole)
            for _ in range(number, options.moments, len(names)):
                shutil.rmtree(work / name, ignore_errors=True)
                moment = rng.uniform(0, 1) * seconds
                killed = call(words, work / "log", moment, waiting)[0]
                left = len(contents(work / name, whole)) if (work / name).exists() else 0
                status, _, told = call(words, work / "log")
                there = contents(work / name, whole) if status == expected[0] else {}
                differ = sorted(
                    key for key in expected[1].keys() | there.keys() if expected[1].get(key) != there.get(key)
                )
                wrong += bool(differ)
                when = f"{moment:.1f} of {seconds:.1f} s" if killed < 0 else "not at all"
                print(f"{name}, killed after {when}, {left} files left: {told_of(differ)}", flush=True)
                if status != expected[0]:
                    print(told, flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
