"""A small scene of cameras and points, and the same shaken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from vergence.reconstruction.bundle import Bundle, project_points


def scene(points: int = 25, views: int = 3, noise: float = 1.0, seed: int = 0) -> tuple[Bundle, np.ndarray, np.ndarray]:
    """True bundle, observations V 2 N and weights (a tenth missing)."""
    rng = np.random.default_rng(seed)
    turns = Rotation.from_euler("y", np.linspace(0, 100, views)[:, None], degrees=True).as_matrix()
    centres = np.einsum("vji,j->vi", turns, [0, 0, -5.0]) + rng.normal(0, 0.2, (views, 3))
    rotation = Rotation.from_rotvec(rng.normal(0, 0.05, (views, 3))).as_matrix() @ turns
    translation = -np.einsum("vij,vj->vi", rotation, centres)
    focal = np.tile([1000.0, 1010.0], (views, 1))
    bundle = Bundle(rotation, translation, focal, rng.uniform(-1, 1, (points, 3)))
    observed = project_points(bundle)[0] + rng.normal(0, noise, (views, 2, points))
    weight = rng.uniform(0.5, 1.5, (views, points)) * (rng.random((views, points)) > 0.1)
    weight[:2] = np.maximum(weight[:2], 0.3)
    return bundle, np.where(weight[:, None] > 0, observed, np.nan), weight


def shaken(bundle: Bundle, size: float = 0.02, seed: int = 1) -> Bundle:
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(rng.normal(0, size, (len(bundle.rotation), 3))).as_matrix()
    turn[0] = np.eye(3)
    move = rng.normal(0, size, bundle.translation.shape) * 5
    move[0] = 0
    points = bundle.points + rng.normal(0, 2 * size, bundle.points.shape)
    return replace(bundle, rotation=turn @ bundle.rotation, translation=bundle.translation + move, points=points)
