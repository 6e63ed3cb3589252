"""What `vergence export` wrote, as the method of an estimator: the predictions of a run, through ONNX Runtime.

The graph holds the whole way from an image to a 3D pose: normalisation, network, mirrored image, lifting, refinement, and NaN
in place of joints that no label showed. So nothing here depends on which method was trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vergence.batches.labelled import Labelled
from vergence.errors import VergenceError, refusing
from vergence.methods.base import Method, Prediction
from vergence.networks.graphs import SUFFIX, Graph, opened
from vergence.plugins import needed_by
from vergence.skeleton import Skeleton, get_skeleton

ENGINES = ("torch", "onnxruntime")
FILE = f"model{SUFFIX}"  # in a run's folder


class ExportedMethod(Method):
    """Predicts as the run did that the file was written from; it cannot be trained.

    Args:
        graph: the file.
        skeleton: the run's joints.
        flip: whether the graph averages with the mirrored image.
        frame: of the poses.
        strangest: the run's, where it has one.
    """

    def __init__(
        self, graph: Graph, skeleton: Skeleton, flip: bool, frame: Any, strangest: float | None = None
    ) -> None:
        super().__init__(nn.Identity(), skeleton)  # type: ignore[arg-type]
        self.graph, self.mirrored, self.frame, self._strangest = graph, flip, frame, strangest

    @property
    def strangest(self) -> float | None:
        return self._strangest

    def quick(self, device: str, precision: str = "fp32") -> Method:
        """Itself: the file is as quick as it can be."""
        return self

    def predict(self, image: Tensor, intrinsics: Float[Tensor, "N 3 3"], flip: bool | None = None) -> Prediction:
        """As `Method.predict`; `flip` cannot be other than the file's."""
        if flip is not None and flip != self.mirrored:
            how = "averages with the mirrored image" if self.mirrored else "does not average with the mirrored image"
            remedy = f"Leave flip out, or export the run again with --{'' if flip else 'no-'}flip."
            raise VergenceError(f"this ONNX file {how}, and was asked for flip={flip}", remedy)
        pixels = image.float() / 255 if image.dtype == torch.uint8 else image.float()
        return Prediction(frame=self.frame, **self.graph(image=pixels, intrinsics=intrinsics.float()))  # type: ignore[arg-type]


def read_exported(path: Path) -> tuple[ExportedMethod, dict[str, Any]]:
    """The method and the config of a file.

    Raises:
        VergenceError: as `Graph`; a skeleton of a plug-in that is not loaded.
    """
    graph = opened(path)
    with refusing(f"the metadata of {path} cannot be read", "Write the file again with `vergence export RUN`."):
        config = json.loads(graph.metadata["config"])
        with needed_by(path, config.get("plugins") or []):
            skeleton = get_skeleton(config["skeleton"])
        strangest = json.loads(graph.metadata.get("strangest", "null"))
        method = ExportedMethod(graph, skeleton, graph.metadata["flip"] == "true", graph.metadata["frame"], strangest)
        method.labelled = Labelled.read(config.get("labelled"))
        return method, config


def check_engine(engine: str, device: str, precision: str) -> None:
    """Raises a `VergenceError` where there is no such engine, or it does not do what is asked."""
    if engine not in ENGINES:
        raise VergenceError(f"an engine of {engine}", f"Use {' or '.join(ENGINES)}.")
    if engine == "onnxruntime" and (device != "cpu" or precision != "fp32"):
        raise VergenceError(
            f"ONNX files are run on the CPU in fp32, not on {device} in {precision}",
            "Leave --device and --precision out, or give the run's folder without --engine.",
        )
