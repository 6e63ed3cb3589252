"""RTMPose with a YOLOX person detector through rtmlib on ONNX Runtime: 26 joints (HALPE_26), from the hub or local files.

rtmlib takes the whole image for a person where no box is found, and its scores, maxima of a classification, pass 1 and
fall below 0; both are put right here.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from vergence.errors import VergenceError, refusing
from vergence.footage.detectors.base import People, inside, needing_package
from vergence.footage.images import RGB
from vergence.skeleton import HALPE_26

FILES = ("det.onnx", "pose.onnx")


class RTMPose:
    """See `base.Detector`."""

    skeleton = HALPE_26

    def __init__(self, model: str = "", device: str = "auto") -> None:
        with needing_package("rtmpose"):
            import onnxruntime
            import rtmlib
        cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        on = "cuda" if device == "cuda" or (device == "auto" and cuda) else "cpu"
        weights = _weights(rtmlib, model)
        folder = f"a folder with {FILES[0]} and {FILES[1]}."
        remedy = f"Where there is no network, give --detector-model, {folder}"
        with refusing("RTMPose cannot be opened", remedy):  # downloads, files and the runtime fail in their own ways
            self._boxes: Any = rtmlib.YOLOX(weights["det"], weights["det_input_size"], backend="onnxruntime", device=on)
            self._pose: Any = rtmlib.RTMPose(
                weights["pose"], weights["pose_input_size"], backend="onnxruntime", device=on
            )
        self.identity = f"rtmpose {version('rtmlib')} {Path(weights['det']).name} {Path(weights['pose']).name}"

    def __call__(self, images: Sequence[RGB]) -> list[People]:
        return [self._one(np.ascontiguousarray(image[..., ::-1]), image) for image in images]

    def _one(self, bgr: RGB, image: RGB) -> People:
        boxes = np.asarray(self._boxes(bgr), dtype=np.float64).reshape(-1, 4)
        if not len(boxes):
            return np.empty((0, len(self.skeleton), 3))
        points, scores = self._pose(bgr, bboxes=boxes)
        return inside(np.concatenate([points, np.asarray(scores)[..., None]], axis=-1), image)


def _weights(rtmlib: Any, model: str) -> dict[str, Any]:
    """Files or addresses of both networks and their input sizes (width, height)."""
    chosen: dict[str, Any] = dict(rtmlib.BodyWithFeet.MODE["balanced"])
    if not model:
        return chosen
    folder = Path(model)
    for file in FILES:
        if not (folder / file).is_file():
            raise VergenceError(
                f"{folder} has no {file}",
                f"--detector-model of rtmpose is a folder with {FILES[0]} (YOLOX) and {FILES[1]}.",
            )
    chosen |= {"det": str(folder / FILES[0]), "pose": str(folder / FILES[1])}
    return chosen | {
        f"{name}_input_size": _input_size(folder / f"{name}.onnx", chosen[f"{name}_input_size"])
        for name in ("det", "pose")
    }


def _input_size(file: Path, otherwise: tuple[int, int]) -> tuple[int, int]:
    """(width, height) that a network takes; `otherwise` where it takes any."""
    import onnxruntime

    with refusing(f"{file} is no ONNX model", "Fetch it again."):
        shape = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).get_inputs()[0].shape
    height, width = shape[-2:]
    return (width, height) if isinstance(width, int) and isinstance(height, int) else otherwise
