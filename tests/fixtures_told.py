"""Videos whose frames say their own number, and a detector that knows where the person is in each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from vergence.footage.images import RGB
from vergence.footage.video import VideoWriter
from vergence.plugins import detectors
from vergence.skeleton import H36M_17

SIDE, BLOCK, BITS = 500, 20, 10


def picture(camera: int, frame: int, shift: int = 0) -> np.ndarray:
    """A room with corners, and in its first row the frame's number and the camera's as black and white blocks."""
    noise = np.random.default_rng(camera).integers(40, 200, (24, 30, 3)).astype(np.uint8)
    wide = cv2.resize(noise, (SIDE + 100, SIDE), interpolation=cv2.INTER_CUBIC)
    image = wide[:, shift : shift + SIDE].copy()
    for bit in range(BITS + 3):
        on = (frame >> bit if bit < BITS else camera >> (bit - BITS)) & 1
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * on
    return image


def numbers(image: RGB) -> tuple[int, int]:
    """Camera and frame of a picture."""
    middle = BLOCK // 2
    bits = [int(image[middle, bit * BLOCK + middle].mean() > 128) for bit in range(BITS + 3)]
    return sum(on << i for i, on in enumerate(bits[BITS:])), sum(on << i for i, on in enumerate(bits[:BITS]))


class Told:
    """Gives each picture the keypoints (T V J 2) of its frame and camera."""

    skeleton = H36M_17
    identity = "told 1"
    keypoints = np.zeros((0, 0, 17, 2))

    def __init__(self, model: str = "", device: str = "") -> None:
        self.asked: list[tuple[int, int]] = []

    def __call__(self, images: Sequence[RGB]) -> list[np.ndarray]:
        return [self._one(*numbers(image)) for image in images]

    def _one(self, camera: int, frame: int) -> np.ndarray:
        self.asked.append((camera, frame))
        if frame >= len(self.keypoints) or camera >= self.keypoints.shape[1]:  # a turned picture
            return np.empty((0, 17, 3))
        points = self.keypoints[frame, camera]
        sure = np.where(np.isfinite(points[:, :1]), 0.9, np.nan)
        return np.concatenate([points, sure], axis=1)[None] if np.isfinite(points).any() else np.empty((0, 17, 3))


def write_videos(folder: Path, frames: Sequence[int], fps: float = 30.0, shift: int = 0) -> Path:
    """A video for each camera, of so many frames; in the last one the camera is shifted steadily by `shift` px."""
    for camera, count in enumerate(frames):
        if not count:
            continue
        with VideoWriter(folder / f"cam{camera}.mp4", fps) as video:
            for frame in range(count):
                moved = round(shift * frame / max(count - 1, 1)) if camera == len(frames) - 1 else 0
                video.write(picture(camera, frame, moved))
    return folder


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> type[Told]:
    """The detector, registered as `told`; its `keypoints` are the test's to set."""
    detectors.register("told")(Told)
    monkeypatch.setattr(Told, "keypoints", np.zeros((0, 0, 17, 2)))
    return Told
