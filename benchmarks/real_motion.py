"""The demo's model on test images that real motion drives: the built-in world's people moved by motion capture.

    VERGENCE_DATA=DIR python benchmarks/real_motion.py vergence-demo/run [--frames 6]

`DIR/cmu/*.npz` holds clips of the CMU motion capture database (`xyz17`, metres, z up), none of which was trained on.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from vergence.batches.dataset import MemoryDataset
from vergence.evaluation.scores import evaluate
from vergence.inference.estimator import load
from vergence.world import WORLD_VERSION, read_motion, recordings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--seed", type=int, default=77)
    options = parser.parse_args()
    clips = sorted((Path(os.environ.get("VERGENCE_DATA", ".")) / "cmu").glob("*.npz"))
    if not clips:
        sys.exit("no clips: set VERGENCE_DATA to a folder that holds cmu/*.npz")
    estimator = load(options.run)
    for look in ("studio", "wild"):
        parts = []
        for i, clip in enumerate(clips):
            motion = read_motion(clip)
            step = max(1, int(len(motion.joints) / motion.fps * 25 / (options.frames + 1)))
            parts.append(
                recordings(1, options.frames, 4, estimator.image_size, look=look, seed=options.seed + i, motion=[motion],
                           frame_step=step)
            )  # fmt: skip
        views = type(parts[0]).cat(parts)
        mean = views.pose - views.pose[:, :1]
        results, _, _ = evaluate(
            estimator.method, MemoryDataset(views), estimator.skeleton, {"mean_pose": mean.mean(0)}
        )
        print(f"{look}: {len(clips)} clips, {len(views)} images, world {WORLD_VERSION}, torch {torch.__version__}")
        for name in ("model", "zero_depth", "mean_pose"):
            print(f"  {name:12} N-MPJPE {results[name]['n_mpjpe']:6.1f}   P-MPJPE {results[name]['p_mpjpe']:6.1f} mm")


if __name__ == "__main__":
    main()
