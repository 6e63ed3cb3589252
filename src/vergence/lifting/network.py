"""The lifting network: a window of one person's 2D keypoints in, the 3D poses of the same frames out.

Every frame's joints are first seen by a virtual camera that looks at the person (`rays_of_person`), so that where somebody
stands in the image, and which lens took it, is undone before the network sees anything; what perspective remains is told
by the person's angular size. The network itself is a residual stack of dilated convolutions over time, as Pavllo's
VideoPose3D (CVPR 2019) has it, of which each frame's output sees `reach` frames before and behind; one frame alone is a
window too. The poses that teach it may come from motion capture or from a multi-view reconstruction (`virtual`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vergence.skeleton import Skeleton

LEAST_SIZE = 1e-4  # of the image plane; a person who is smaller is a point


@dataclass(frozen=True)
class LifterSettings:
    """Of the network.

    Attributes:
        width: channels.
        dilations: of the convolutions of three frames each.
        dropout: share of channels left out in training.
    """

    width: int = 256
    dilations: tuple[int, ...] = (1, 3, 9)
    dropout: float = 0.1

    @property
    def reach(self) -> int:
        """Frames on either side that a frame's pose depends on."""
        return sum(self.dilations)


def rays_of_person(image: Any, seen: Any, xp: Any = np) -> tuple[Any, Any, Any]:
    """Joints in the image of a camera in the same place that looks at the person, in units of the person's size there.

    Args:
        image: `... J 2`, normalised points x/z, y/z, lens undone; what is not seen may hold anything finite.
        seen: `... J`, which count; at least one in every frame.
        xp: numpy, or torch where these are tensors.

    Returns:
        The points, 0 where unseen; the rotation from the first camera's frame into the second's, whose x axis stays in the
        first's x-z plane as that of a crop (`geometry.crops`); the person's larger extent there, a tangent.
    """
    low = xp.amin(xp.where(seen[..., None], image, np.inf), -2)
    high = xp.amax(xp.where(seen[..., None], image, -np.inf), -2)
    z = xp.concatenate([(low + high) / 2, xp.ones_like(low[..., :1])], -1)
    z = z / xp.sqrt((z * z).sum(-1))[..., None]
    x = xp.stack([z[..., 2], xp.zeros_like(z[..., 0]), -z[..., 0]], -1)
    x = x / xp.sqrt((x * x).sum(-1))[..., None]
    rotation = xp.stack([x, xp.linalg.cross(z, x), z], -2)
    turned = xp.concatenate([image, xp.ones_like(image[..., :1])], -1) @ xp.swapaxes(rotation, -1, -2)
    points = turned[..., :2] / xp.clip(turned[..., 2:], 1e-3, None)
    low = xp.amin(xp.where(seen[..., None], points, np.inf), -2)
    high = xp.amax(xp.where(seen[..., None], points, -np.inf), -2)
    size = xp.clip(xp.amax(high - low, -1), LEAST_SIZE, None)
    return xp.where(seen[..., None], points / size[..., None, None], 0.0), rotation, size


def features(
    points: Float[np.ndarray, "... J 2"], seen: Bool[np.ndarray, "... J"], size: Float[np.ndarray, "*n"]
) -> Float[Tensor, "... F"]:
    """What the network takes of `rays_of_person`: coordinates, which joints are seen, and the logarithm of the size."""
    flat = points.reshape(*points.shape[:-2], -1)
    return torch.from_numpy(np.concatenate([flat, seen, np.log(size)[..., None]], -1).astype(np.float32))


class Lifter(nn.Module):
    """See the module's text.

    Args:
        skeleton: of keypoints and poses.
        settings: of the network.
    """

    def __init__(self, skeleton: Skeleton, settings: LifterSettings = LifterSettings()) -> None:
        super().__init__()
        self.skeleton, self.settings = skeleton, settings
        joints, width, drop = len(skeleton), settings.width, settings.dropout
        self.enter = nn.Linear(3 * joints + 1, width)
        self.frame = _mixer(width, 0.0)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in settings.dilations)
        # A convolution of three frames, written as a matrix product: on a CPU that is three times as fast.
        self.over_time = nn.ModuleList(
            nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Dropout(drop), nn.Linear(width, width))
            for _ in settings.dilations
        )
        self.leave = _mixer(width, drop)
        self.pose = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * joints))

    def forward(self, given: Float[Tensor, "B T F"]) -> Float[Tensor, "B T J 3"]:
        """Poses in the frame of each frame's own virtual camera, root-relative, in reference bones."""
        x = self.enter(given)
        x = x + self.frame(x)
        here, last = torch.arange(x.shape[1], device=x.device), x.shape[1] - 1
        for dilation, norm, over_time in zip(self.settings.dilations, self.norms, self.over_time, strict=True):
            y = norm(x)
            around = y[:, (here - dilation).clamp(min=0)], y, y[:, (here + dilation).clamp(max=last)]
            x = x + over_time(torch.cat(around, dim=-1))
        x = x + self.leave(x)
        pose = self.pose(x).unflatten(-1, (len(self.skeleton), 3))
        return pose - pose[..., list(self.skeleton.root), :].mean(-2, keepdim=True)


def _mixer(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
    )


def lift(
    network: Lifter,
    image: Float[np.ndarray, "T J 2"],
    seen: Bool[np.ndarray, "T J"],
    flip: bool = True,
) -> Float[np.ndarray, "T J 3"]:
    """Poses of one person over time, in the camera's own frame.

    Args:
        network: trained, on the CPU.
        image: normalised points x/z, y/z, lens undone; of frames at the rate the network was taught at.
        seen: which joints count; frames without any must have been taken out.
        flip: average with the mirrored keypoints' poses.

    Returns:
        Root-relative, in reference bones.
    """
    mirror = list(network.skeleton.mirror)
    points, rotation, size = rays_of_person(np.where(seen[..., None], image, 0.0), seen)
    poses = _run(network, points, seen, size)
    if flip:
        other = _run(network, (points * [-1, 1])[:, mirror], seen[:, mirror], size)
        poses = (poses + (other * [-1, 1, 1])[:, mirror]) / 2
    return np.einsum("tji,tkj->tki", rotation, poses)


@torch.inference_mode()
def _run(network: Lifter, points: np.ndarray, seen: np.ndarray, size: np.ndarray) -> np.ndarray:
    return network.eval()(features(points, seen, size)[None])[0].double().numpy()


def parts_of(skeleton: Skeleton) -> Sequence[int]:
    """A number for every joint, the same for left and right: lengths of a body vary by these."""
    kinds = [name.split("_", 1)[-1] if name.startswith(("left_", "right_")) else name for name in skeleton.joint_names]
    order = list(dict.fromkeys(kinds))
    return [order.index(kind) for kind in kinds]
