"""A person who walks in a curve before cameras on a ring: known truth for the multi-view tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from vergence.geometry.camera import look_at, project, transform


@dataclass(frozen=True)
class Scene:
    """Truth and keypoints: world z up, mm."""

    pose: np.ndarray  # T 17 3
    rotation: np.ndarray  # V 3 3
    translation: np.ndarray  # V 3
    intrinsics: np.ndarray  # V 3 3
    distortion: np.ndarray  # V 5
    image_size: np.ndarray  # V 2
    keypoints: np.ndarray  # T V 17 2


def walking(frames: int = 60, step_mm: float = 45.0, swing: float = 1.0) -> np.ndarray:
    """T 17 3 in Human3.6M's order: limbs of constant length, knees and elbows that bend as they do, a curved path."""
    t = np.arange(frames) / 30.0
    phase, heading = 2 * np.pi * 0.9 * t, 0.4 * np.sin(0.5 * t) * swing
    forward = np.stack([np.cos(heading), np.sin(heading), 0 * t], 1)
    left = np.stack([-np.sin(heading), np.cos(heading), 0 * t], 1)
    up = np.array([0.0, 0.0, 1.0])
    pose = np.zeros((frames, 17, 3))
    pelvis = np.cumsum(forward * step_mm, axis=0) + np.array([0, 0, 930.0]) + 15 * np.sin(2 * phase)[:, None] * up
    pose[:, 0] = pelvis - pelvis.mean(0) * [1, 1, 0]

    def bone(start: int, end: int, length: float, angle: np.ndarray, lean: float = 0.0) -> None:
        """Hanging down at angle 0, turned towards `forward` by `angle` and sideways (left) by `lean`, radians."""
        direction = np.sin(angle)[:, None] * forward - np.cos(angle)[:, None] * up
        pose[:, end] = pose[:, start] + length * (np.cos(lean) * direction + np.sin(lean) * left)

    for side, sign, shift, joints in ((-1, 1, 0.0, (1, 2, 3)), (1, 1, np.pi, (4, 5, 6))):
        hip, knee, ankle = joints
        pose[:, hip] = pose[:, 0] + side * 130 * left
        thigh = swing * 0.5 * np.sin(phase + shift)
        bone(hip, knee, 430, thigh, 0.05 * side)
        bone(knee, ankle, 420, thigh - 0.25 - swing * 0.3 * (1 + np.cos(phase + shift)) * sign, 0.02 * side)
    pose[:, 7] = pose[:, 0] + 230 * up + 10 * forward
    pose[:, 8] = pose[:, 7] + 250 * up
    pose[:, 9] = pose[:, 8] + 110 * up + 40 * forward
    pose[:, 10] = pose[:, 9] + 115 * up
    for side, shift, joints in ((1, 0.0, (11, 12, 13)), (-1, np.pi, (14, 15, 16))):
        shoulder, elbow, wrist = joints
        pose[:, shoulder] = pose[:, 8] + side * 160 * left - 20 * up
        arm = swing * 0.5 * np.sin(phase + shift)
        bone(shoulder, elbow, 280, arm, 0.2 * side)
        bone(elbow, wrist, 250, arm + 0.5 + swing * 0.3 * np.sin(0.7 * phase), 0.15 * side)
    return pose


def ring(views: int, radius: float = 4500.0, span: float = 2 * np.pi) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and translations of cameras around the origin that look at a person's middle."""
    angles = span * (np.arange(views) + 0.15 * np.sin(3.0 * np.arange(views))) / views
    target, up = torch.tensor([0.0, 0, 950], dtype=torch.float64), torch.tensor([0.0, 0, 1], dtype=torch.float64)
    cameras = []
    for i, angle in enumerate(angles):
        place = [radius * np.cos(angle), radius * np.sin(angle), 1300.0 + 400 * (i % 3)]
        cameras.append(look_at(torch.tensor(place, dtype=torch.float64), target, up))
    return np.stack([r.numpy() for r, _ in cameras]), np.stack([t.numpy() for _, t in cameras])


def film(
    pose: np.ndarray,
    cameras: tuple[np.ndarray, np.ndarray],
    *,
    noise: float = 2.0,
    missing: float = 0.0,
    outliers: float = 0.0,
    focal: float = 1100.0,
    distortion: tuple[float, ...] = (-0.2, 0.2, 0.001, -0.001, 0.0),
    seed: int = 0,
) -> Scene:
    """Keypoints of a pose seen by cameras of 1000 x 1000 px, with their faults."""
    rng = np.random.default_rng(seed)
    rotation, translation = cameras
    views = len(rotation)
    intrinsics = np.tile(np.array([[focal, 0, 499.5], [0, focal, 499.5], [0, 0, 1]]), (views, 1, 1))
    lens = np.tile(np.array(distortion), (views, 1))
    world = transform(torch.from_numpy(pose)[:, None], torch.from_numpy(rotation), torch.from_numpy(translation))
    pixels = project(world, torch.from_numpy(intrinsics), torch.from_numpy(lens)).numpy()
    pixels = pixels + rng.normal(0, noise, pixels.shape)
    wrong = rng.random(pixels.shape[:3]) < outliers
    pixels = pixels + np.where(wrong[..., None], rng.normal(0, 80, pixels.shape), 0)
    pixels[rng.random(pixels.shape[:3]) < missing] = np.nan
    return Scene(pose, rotation, translation, intrinsics, lens, np.full((views, 2), 1000), pixels)


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., Scene]:
    """`make_scene(views=4, frames=60, **faults)`."""

    def make(views: int = 4, frames: int = 60, step_mm: float = 45.0, swing: float = 1.0, **faults: float) -> Scene:
        span = faults.pop("span", 2 * np.pi)
        radius = faults.pop("radius", 4500.0)
        return film(walking(frames, step_mm, swing), ring(views, radius, span), **faults)  # type: ignore[arg-type]

    return make
