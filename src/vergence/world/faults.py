"""What can go wrong with footage, and the two looks: how often it does by default."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.geometry.crops import full_cameras
from vergence.skeleton import H36M_17

# A keypoint this share of the image beyond its edge is still labelled.
_MARGIN = 0.02


@dataclass(frozen=True)
class Faults:
    """Faults of the data, in addition to those of the look. Shares are probabilities per image unless said otherwise.

    Attributes:
        occlusion: images with an object in front of the person; None: the look's own (studio 0, wild 0.22).
        truncation: images that cut the person off; None: the look's own (studio 0, wild 0.10).
        noise_px: standard deviation of the keypoints' error, crop px.
        missing_joints: share of keypoints that are not found (NaN, confidence 0).
        swapped_sides: images whose keypoints have left and right exchanged.
        dropped_views: images of a recording that are missing.
        time_offset_s: cameras of a recording run late or early by up to this, each by its own constant.
        focal_error: standard deviation of the reported focal length's error, as a share of it; one draw per camera.
    """

    occlusion: float | None = None
    truncation: float | None = None
    noise_px: float = 0.0
    missing_joints: float = 0.0
    swapped_sides: float = 0.0
    dropped_views: float = 0.0
    time_offset_s: float = 0.0
    focal_error: float = 0.0

    def __post_init__(self) -> None:
        for name in ("occlusion", "truncation", "missing_joints", "swapped_sides", "dropped_views"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise VergenceError(f"{name} = {value}", "It is a share: give 0 to 1.")
        for name in ("noise_px", "time_offset_s", "focal_error"):
            if not 0 <= getattr(self, name) < math.inf:
                raise VergenceError(f"{name} = {getattr(self, name)}", "Give a number of at least 0.")


LOOKS = {"studio": Faults(occlusion=0.0, truncation=0.0), "wild": Faults(occlusion=0.10, truncation=0.05)}


def resolved(look: str, faults: Faults | None) -> Faults:
    """Faults with the look's own where none are given."""
    if look not in LOOKS:
        raise VergenceError(f"no look is called {look!r}", "Known: studio, wild.")
    given = {name: value for name, value in vars(faults or Faults()).items() if value is not None}
    return dataclasses.replace(LOOKS[look], **given)


def annotated(
    pixels: Float[Tensor, "N J 2"], size: int, faults: Faults, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Keypoints and confidence as an annotator with these faults gives them; NaN and 0 beyond the image's edge."""
    n, joints = pixels.shape[:2]
    margin = 0.5 + _MARGIN * size
    seen = ((pixels > -margin) & (pixels < size - 1 + margin)).all(-1)
    keypoints = pixels
    if faults.noise_px:
        keypoints = keypoints + torch.from_numpy(rng.normal(0, faults.noise_px, (n, joints, 2)))
    if faults.missing_joints:
        seen = seen & torch.from_numpy(rng.random((n, joints)) >= faults.missing_joints)
    if faults.swapped_sides:
        swap = torch.from_numpy(rng.random(n) < faults.swapped_sides)
        keypoints = torch.where(swap[:, None, None], keypoints[:, H36M_17.mirror], keypoints)
        seen = torch.where(swap[:, None], seen[:, H36M_17.mirror], seen)
    return keypoints.where(seen[..., None], math.nan), seen.double()


def misjudged(views: Views, shape: tuple[int, int, int], focal_error: float, rng: np.random.Generator) -> Views:
    """Views of (subjects, frames, cameras) whose reported focal length is off by a factor of its camera's own; the full
    camera is the one that such a crop would have come from."""
    subjects, _, cameras = shape
    error = np.exp(rng.normal(0, focal_error, (subjects, 1, cameras)))
    factor = torch.from_numpy(np.broadcast_to(error, shape).reshape(-1)).float()
    intrinsics = views.intrinsics.clone()
    intrinsics[:, [0, 1], [0, 1]] *= factor[:, None]
    full, turn = full_cameras(views.crop, intrinsics)
    return views.replace(intrinsics=intrinsics, full_intrinsics=full.float(), turn=turn.float())
