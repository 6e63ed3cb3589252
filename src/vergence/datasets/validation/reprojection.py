"""How far each projected 3D joint lies from its keypoint, row by row and camera by camera."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from vergence.datasets.records import Records
from vergence.datasets.validation.arrays import some_rows
from vergence.geometry.camera import project

REPROJECTION_PX = 0.5  # labels in whole pixels are off by so much
REPROJECTION_SHARE = 0.002  # of the image's longer side, where that is more; 2 px of 1000


def reprojection_errors(records: Records, pose: ndarray | None = None) -> Float[ndarray, "N J"]:
    """Distance in px of each projected 3D joint from its keypoint, infinite for a joint behind the camera; NaN where
    either, or the lens, is unknown."""
    pose = (records.pose if pose is None else pose).astype(np.float64)
    k, lens = torch.from_numpy(records.intrinsics), torch.from_numpy(np.nan_to_num(records.distortion))
    pixels = project(torch.from_numpy(pose), k, lens).numpy()
    error = np.linalg.norm(pixels - records.keypoints, axis=-1)
    both = np.isfinite(pose).all(-1) & np.isfinite(records.keypoints).all(-1)
    both &= np.isfinite(records.intrinsics).all((1, 2))[:, None]
    return np.where(both & (pose[..., 2] <= 0), np.inf, np.where(both, error, np.nan))


def row_median(error: Float[ndarray, "N J"]) -> Float[ndarray, " N"]:
    """Median over the known joints; NaN where there are none."""
    known = ~np.isnan(error)
    rank = np.sort(np.where(known, error, np.inf), axis=1)
    count = known.sum(1)
    middle = np.take_along_axis(rank, np.maximum(count - 1, 0)[:, None] // 2, 1)[:, 0]
    return np.where(count > 0, middle, np.nan)


def camera_names(records: Records) -> ndarray:
    """What tells the cameras apart for a reader: the group `camera` where there is one, else the view's number."""
    return records.groups["camera"] if "camera" in records.groups else np.char.mod("view %d", records.view)


def reprojection_by_camera(records: Records) -> dict[str, tuple[float, float, int]]:
    """Median and 95th percentile over joints, px, and rows, of each camera that has 2D, 3D and a lens."""
    rows = some_rows(records, comparable(records))
    part = records[rows]
    error, names = reprojection_errors(part), camera_names(part)
    out = {}
    for name in np.unique(names):
        own = error[names == name]
        own = own[~np.isnan(own)]
        if len(own):
            out[str(name)] = (_percentile(own, 0.5), _percentile(own, 0.95), int((names == name).sum()))
    return out


def _percentile(values: ndarray, share: float) -> float:
    """The value below which this share lies; no interpolation, since some are infinite."""
    return float(np.sort(values)[min(int(share * len(values)), len(values) - 1)])


def comparable(records: Records) -> ndarray:
    both = np.isfinite(records.pose).all(-1) & np.isfinite(records.keypoints).all(-1)
    return both.any(1) & np.isfinite(records.intrinsics).all((1, 2))


def limit_px(records: Records) -> Float[ndarray, " N"]:
    return np.maximum(REPROJECTION_PX, REPROJECTION_SHARE * records.size.max(1))


def in_camera(records: Records, world: ndarray, scale: float = 1.0) -> Float[ndarray, "N J 3"]:
    """World poses in each row's camera; `scale` brings the translation to the poses' unit."""
    moved = world.astype(np.float64) @ records.rotation.transpose(0, 2, 1)
    return moved + scale * records.translation[:, None]
