"""A small moving scene for the tests of footage: people with constant limbs, and a ring of cameras."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.skeleton import COCO_17

# Parent and offset in mm of COCO's joints, in the body's frame (x to its left, y up, z to its front); -1 is the mid-hips.
BODY = {
    "left_hip": (-1, (130, 0, 0)), "right_hip": (-1, (-130, 0, 0)),
    "left_knee": ("left_hip", (10, -430, 0)), "right_knee": ("right_hip", (-10, -430, 0)),
    "left_ankle": ("left_knee", (0, -420, -20)), "right_ankle": ("right_knee", (0, -420, -20)),
    "left_shoulder": (-1, (180, 500, 10)), "right_shoulder": (-1, (-180, 500, 10)),
    "left_elbow": ("left_shoulder", (40, -280, 0)), "right_elbow": ("right_shoulder", (-40, -280, 0)),
    "left_wrist": ("left_elbow", (0, -240, 60)), "right_wrist": ("right_elbow", (0, -240, 60)),
    "nose": (-1, (0, 680, 110)), "left_eye": (-1, (35, 715, 90)), "right_eye": (-1, (-35, 715, 90)),
    "left_ear": (-1, (75, 695, 10)), "right_ear": (-1, (-75, 695, 10)),
}  # fmt: skip


def make_person(frames: int, seed: int, moving: float = 1.0, start: tuple[float, float] = (0, 0)) -> np.ndarray:
    """T 17 3, mm, world z up. `moving` scales the path and the swing of the limbs."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 4 * np.pi, frames)[:, None]
    swing = {k: rng.uniform(0.3, 0.9, 3) * moving for k in ("hip", "knee", "shoulder", "elbow")}
    phase = {k: rng.uniform(0, 2 * np.pi, 3) for k in BODY}
    yaw = rng.uniform(0, 2 * np.pi) + moving * 0.8 * np.sin(time[:, 0] / 2 + rng.uniform(0, 6))
    frame = Rotation.from_euler("y", yaw[:, None]).as_matrix()
    root = np.stack([start[0] + moving * 600 * np.sin(time[:, 0] / 2), 900 + 0 * time[:, 0],
                     start[1] + moving * 500 * np.cos(time[:, 0] / 3)], 1)  # fmt: skip
    places: dict = {-1: root}
    turns: dict = {-1: frame}
    for name, (parent, offset) in BODY.items():
        part = name.split("_")[-1]
        turn = turns[parent]
        if part in swing:
            bend = Rotation.from_euler("xyz", swing[part] * np.sin(time + phase[name])).as_matrix()
        else:
            bend = np.broadcast_to(np.eye(3), (frames, 3, 3))
        places[name] = places[parent] + turn @ np.array(offset, dtype=float)
        turns[name] = turn @ bend
    y_up = np.stack([places[name] for name in COCO_17.joint_names], axis=1)
    return y_up[..., [2, 0, 1]]  # cyclic: z up


def make_cameras(count: int, size: tuple[int, int] = (1280, 720), focal: float = 1100.0) -> list[dict]:
    cameras = []
    for i in range(count):
        angle = 2 * np.pi * i / count * 0.8 + 0.2
        centre = np.array([4500 * np.cos(angle), 4500 * np.sin(angle), 1500 + 150 * i])
        forward = np.array([0, 0, 950]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        matrix = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
        cameras.append({"K": matrix, "R": rotation, "t": -rotation @ centre, "size": size})
    return cameras


def project_people(world: np.ndarray, camera: dict, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """... 3 mm to ... 3 (x, y, confidence)."""
    at = world @ camera["R"].T + camera["t"]
    pixels = at @ camera["K"].T
    pixels = pixels[..., :2] / pixels[..., 2:]
    pixels = pixels + np.random.default_rng(seed).normal(size=pixels.shape) * noise
    return np.concatenate([pixels, np.full((*pixels.shape[:-1], 1), 0.9)], axis=-1)


@pytest.fixture
def person() -> Callable[..., np.ndarray]:
    return make_person


@pytest.fixture
def ring() -> Callable[..., list[dict]]:
    return make_cameras


@pytest.fixture
def project() -> Callable[..., np.ndarray]:
    return project_people
