"""A lifting network as an ONNX file: what is in it, and the file in the network's place.

The graph holds the whole way from 2D joints to 3D poses: the camera that looks at the person, the network, the mirrored joints
and the turn back. What is left to whoever runs it is to take pixels to the image plane (the lens undone), and to leave out
frames with too few joints and frames of another rate. It computes in float32 where the package does in float64 but for the
network: 1e-6 of a bone apart.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vergence.errors import VergenceError, refusing
from vergence.lifting.network import Lifter, LifterSettings, rays_of_person
from vergence.networks.graphs import Graph
from vergence.skeleton import skeleton_from_names

METHOD = "lifting"  # in a file's config


class WholeLift(nn.Module):
    """What `network.lift` does, as one graph.

    Args:
        network: trained.
        flip: average with the mirrored joints' poses.
    """

    def __init__(self, network: Lifter, flip: bool) -> None:
        super().__init__()
        self.network, self.flip, self.mirror = network, flip, list(network.skeleton.mirror)

    def forward(self, points: Float[Tensor, "T J 2"], seen: Float[Tensor, "T J"]) -> tuple[Float[Tensor, "T J 3"]]:
        """Normalised points and 1 or 0 for each to root-relative poses in the camera's frame."""
        known = seen > 0.5
        own, rotation, size = rays_of_person(torch.where(known[..., None], points, 0.0), known, torch)
        pose = self._poses(own, seen, size)
        if self.flip:
            other = self._poses((own * own.new_tensor([-1.0, 1.0]))[:, self.mirror], seen[:, self.mirror], size)
            pose = (pose + (other * pose.new_tensor([-1.0, 1.0, 1.0]))[:, self.mirror]) / 2
        return (pose @ rotation,)

    def _poses(self, points: Tensor, seen: Tensor, size: Tensor) -> Tensor:
        return self.network(torch.cat([points.flatten(1), seen, size.log()[:, None]], -1)[None])[0]


class ExportedLifter:
    """A file in the place of a `Lifter`; it cannot be trained.

    Args:
        graph: the file.

    Attributes:
        skeleton, settings: the network's.
        fps: that it was taught at.
        config: of the model's folder.
        flip: whether the graph averages with the mirrored joints.

    Raises:
        VergenceError: it is no lifting model's.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        with refusing("the metadata of the ONNX file cannot be read", "Write it again with `vergence export`."):
            self.config: dict[str, Any] = json.loads(graph.metadata["config"])
            self.skeleton, self.fps = skeleton_from_names(self.config["joint_names"]), float(self.config["fps"])
            self.flip = graph.metadata["flip"] == "true"
            network = self.config["network"]
            self.settings = LifterSettings(**{**network, "dilations": tuple(network["dilations"])})

    def __call__(
        self, image: Float[np.ndarray, "T J 2"], seen: Bool[np.ndarray, "T J"], flip: bool | None
    ) -> Float[np.ndarray, "T J 3"]:
        """As `network.lift`; `flip` cannot be other than the file's."""
        if flip is not None and flip != self.flip:
            how = "averages with the mirrored joints" if self.flip else "does not average with the mirrored joints"
            remedy = f"Leave flip out, or export the model again with --{'' if flip else 'no-'}flip."
            raise VergenceError(f"this ONNX file {how}, and was asked for flip={flip}", remedy)
        points = torch.from_numpy(np.nan_to_num(image).astype(np.float32))
        found = self.graph(points=points, seen=torch.from_numpy(seen.astype(np.float32)))
        return found["pose"].double().numpy()


def of_lifting(graph: Graph) -> bool:
    """Whether a file holds a lifting model."""
    return graph.metadata.get("method") == METHOD
