#!/bin/sh
# sleap-io reads a video by OpenCV, imageio's FFMPEG or PyAV, whichever is installed. The three number the frames of a video
# differently where its frames are not evenly spaced or its first time stamp is not 0, although all three tell the right
# number of frames and none warns. One frame that a camera dropped shifts all later ones by one with FFMPEG; a video whose
# first stamp is that of the third frame shifts all but the first by one with PyAV. Labels then lie on other images.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet sleap-io==0.9.5 imageio==2.38.1 imageio-ffmpeg==0.8.1 av==18.1.0 \
    opencv-python-headless==5.0.0.93 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python - <<'PYTHON'
from fractions import Fraction
from importlib.metadata import version

import av
import numpy as np
import sleap_io

FRAMES, STEP = 60, 20  # one frame lasts 20 of 600 units a second
GREY = 4  # by which each frame is lighter than the one before


def write(path: str, stamps: list[int]) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 600)
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 10, 0
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), GREY * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 600)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def shifts(path: str, plugin: str) -> tuple[int, dict[int, int]]:
    """How many frames sleap-io finds, and how often it gives a frame that is so many behind the wanted one."""
    video = sleap_io.Video.from_filename(path, plugin=plugin)
    found: dict[int, int] = {}
    for number in range(FRAMES):
        behind = number - round(float(video[number].mean()) / GREY)
        found[behind] = found.get(behind, 0) + 1
    return video.shape[0], dict(sorted(found.items()))


even = [STEP * number for number in range(FRAMES)]
videos = {
    "even": even,
    "dropped": [stamp + STEP * (number >= 30) for number, stamp in enumerate(even)],
    "late": [stamp + 2 * STEP for stamp in even],
}
print(*(f"{name} {version(name)}" for name in ("sleap-io", "imageio", "imageio-ffmpeg", "av", "opencv-python-headless")))
seen = {}
for name, stamps in videos.items():
    write(f"{name}.mp4", stamps)
    with av.open(f"{name}.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    for plugin in ("opencv", "FFMPEG", "pyav"):
        frames, seen[name, plugin] = shifts(f"{name}.mp4", plugin)
        words = ", ".join(f"{count} images are {behind} behind" for behind, count in seen[name, plugin].items())
        print(f"  {name}, {plugin}: {frames} frames; {words}")
        assert frames == FRAMES
expected = {(name, plugin): {0: FRAMES} for name in videos for plugin in ("opencv", "FFMPEG", "pyav")}
right = {key for key in seen if seen[key] == expected[key]}
wrong = {("dropped", "FFMPEG"), ("late", "pyav")}
raise SystemExit(0 if right == set(expected) - wrong else "changed: this finding no longer holds as described")
PYTHON
