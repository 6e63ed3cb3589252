#!/usr/bin/env bash
# Seeking "backward" in an MPEG transport stream lands behind the frame that was asked for, and packets of AVI are stamped in the order
# in which they are decoded. So an index of packets and one seek, right for MP4 and Matroska, misses frames of camcorders' files.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "av==18.1.0" "numpy==2.4.6"
cd "$folder"
venv/bin/python - <<'PYTHON'
import av
import numpy as np

def write(path):
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 10, 2
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

def decoded(path):
    with av.open(path) as container:
        return [frame.pts for frame in container.decode(video=0)]

def packets(path):
    with av.open(path) as container:
        return [packet.pts for packet in container.demux(video=0) if packet.size]

def missed(path):
    """Frames that one backward seek to their own time stamp does not reach."""
    lost = 0
    for target in decoded(path):
        with av.open(path) as container:
            container.seek(target, stream=container.streams.video[0], backward=True)
            first = next((frame.pts for frame in container.decode(video=0)), None)
            lost += first is None or first > target
    return lost

print("PyAV", av.__version__)
for name in ("a.mp4", "a.mkv", "a.ts"):
    write(name)
    print(f"{name}: {missed(name)} of {len(decoded(name))} frames are not reached by a backward seek")
write("a.avi")
shown = decoded("a.avi")
print("a.avi: time stamps of decoded frames", shown[:8], "| of its packets", packets("a.avi")[:8])
assert missed("a.mp4") == missed("a.mkv") == 0
assert missed("a.ts") > 30
assert shown != sorted(set(packets("a.avi")))
print("as described")
PYTHON
