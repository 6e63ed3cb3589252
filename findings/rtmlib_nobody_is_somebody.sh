#!/bin/sh
# rtmlib's top-down pose models take an empty list of boxes, which is what its detectors give where nobody is in the image,
# for the whole image: one person comes back, with the model's own confidence. Two boxes give two people, so no boxes
# should give none. Who keeps all people of every frame must not call the model where the detector found nobody.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet rtmlib==0.0.16 onnxruntime==1.30.0 onnx==1.23.2 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rtmlib import RTMPose

JOINTS = 17
# A network of RTMPose's inputs and outputs (one distribution over x, one over y, for each joint) that says the same of any image.
scores = {"simcc_x": np.zeros((1, JOINTS, 384), np.float32), "simcc_y": np.zeros((1, JOINTS, 512), np.float32)}
for name, values in scores.items():
    values[..., values.shape[-1] // 2] = 0.8
flat = helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0)
none = helper.make_node("Mul", ["mean", "zero"], ["nothing"])
adds = [helper.make_node("Add", [name + "_values", "nothing"], [name]) for name in scores]
held = [numpy_helper.from_array(values, name + "_values") for name, values in scores.items()]
graph = helper.make_graph(
    [flat, none, *adds],
    "pose",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 256, 192])],
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape) for name, values in scores.items()],
    [*held, numpy_helper.from_array(np.float32(0), "zero")],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "pose.onnx")

print("rtmlib", version("rtmlib"), "onnxruntime", version("onnxruntime"))
model, image = RTMPose("pose.onnx", model_input_size=(192, 256), backend="onnxruntime", device="cpu"), np.zeros((480, 640, 3), np.uint8)
seen = []
for boxes in ([[10, 10, 110, 210], [300, 10, 400, 210]], []):
    points, confidence = model(image, bboxes=boxes)
    seen.append((len(boxes), len(points), [int(v) for v in points[-1, 0]]))
    print(f"  {len(boxes)} boxes: {len(points)} people, a joint of the last at {seen[-1][2]} px, confidence {confidence[-1, 0]:.1f}")
expected = [(2, 2), (0, 1)]
raise SystemExit(0 if [one[:2] for one in seen] == expected and seen[1][2] == [320, 240] else "changed: this finding no longer holds as described")
PYTHON
