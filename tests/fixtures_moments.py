"""An index of random descriptors."""

from __future__ import annotations

import numpy as np

from vergence.inference.moments.index import Index
from vergence.skeleton import H36M_17


def index(n: int = 60, cameras: int = 2, step: float = 0.1, seed: int = 0, size: int = 6, descriptor=None) -> Index:
    rng = np.random.default_rng(seed)
    each = n // cameras
    return Index(
        kind="embedding",
        descriptor=(rng.normal(size=(n, size)) if descriptor is None else descriptor).astype(np.float32),
        pose=np.zeros((n, 17, 3), np.float32),
        frame_of_pose="canonical",
        camera=np.repeat(np.arange(cameras), each),
        frame=np.tile(np.arange(each), cameras),
        time=np.tile(np.arange(each) * step, cameras),
        cameras=tuple(f"cam{i}" for i in range(cameras)),
        joint_names=H36M_17.joint_names,
        made_by={"weights": "abc"},
    )
