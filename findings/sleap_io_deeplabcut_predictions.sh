#!/bin/sh
# sleap-io reads the CSV in which DeepLabCut writes predictions of a video (rows numbered by frame, with a likelihood for
# each joint) as labels without a single frame, and neither raises nor warns. A CSV of DeepLabCut's annotations (rows named
# by image, no likelihood) is read. Who converts through it should count the frames.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet sleap-io==0.9.5 numpy==2.4.6 pandas==3.1.1 || exit 2
cd "$folder"
venv/bin/python - <<'PYTHON'
import warnings
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import sleap_io

FRAMES = 3


def annotations() -> str:
    """Annotations of three images that lie where the CSV says."""
    Path("labeled-data/video").mkdir(parents=True)
    names = [f"labeled-data/video/img{i:03d}.png" for i in range(FRAMES)]
    for name in names:
        imageio.imwrite(name, np.zeros((32, 32, 3), np.uint8))
    head = ["scorer,me,me,me,me", "bodyparts,nose,nose,tail,tail", "coords,x,y,x,y"]
    return "\n".join(head + [f"{name},10.0,20.0,30.0,40.0" for name in names]) + "\n"


def predictions() -> str:
    head = [",".join([key] + values) for key, values in (
        ("scorer", ["DLC_resnet50_demo"] * 6),
        ("bodyparts", ["nose"] * 3 + ["tail"] * 3),
        ("coords", ["x", "y", "likelihood"] * 2),
    )]
    return "\n".join(head + [f"{i},10.0,20.0,0.9,30.0,40.0,0.9" for i in range(FRAMES)]) + "\n"


def read(name: str, text: str) -> tuple[int, int]:
    """Number of frames and of warnings."""
    Path(name).write_text(text)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        labels = sleap_io.load_file(name)
    print(f"  {name}: {len(labels)} of {FRAMES} frames, {len(told)} warnings, {labels.skeleton.node_names}")
    return len(labels), len(told)


print("sleap-io", sleap_io.__version__)
seen = read("CollectedData_me.csv", annotations()), read("videoDLC_resnet50_demo.csv", predictions())
raise SystemExit(0 if seen == ((3, 0), (0, 0)) else "changed: this finding no longer holds as described")
PYTHON
