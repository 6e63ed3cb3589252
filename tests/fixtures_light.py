"""Images of one light on the dark, at a known place in every frame; an estimator that sees it, and a run that does not."""

import numpy as np
import pytest
import torch

from vergence.footage.video import VideoWriter
from vergence.geometry.camera import normalise
from vergence.inference import estimator as estimators
from vergence.methods.base import Prediction
from vergence.methods.registry import build_method
from vergence.recipes.recipe import NetworkSettings
from vergence.skeleton import H36M_17

WIDTH, HEIGHT, FRAMES = 320, 240, 12


def blob(x, y, radius=4):
    """An image with one light at a pixel."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    light = 255 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * radius**2))
    return np.repeat(light.round().astype(np.uint8)[..., None], 3, 2)


def path_of(frame):
    return np.array([60 + 15.0 * frame, 70 + 8.0 * frame])


class Oracle:
    """Sees the light: every joint is there, and the pose is the ray to it in the crop's camera."""

    skeleton, image_size = H36M_17, 64

    def __call__(self, image, intrinsics, flip=True):
        v, u = np.mgrid[: image.shape[1], : image.shape[2]]
        light = image[..., 0].astype(float)
        total = light.sum((1, 2))
        keypoints = torch.from_numpy(np.stack([(light * u).sum((1, 2)), (light * v).sum((1, 2))], 1) / total[:, None])
        keypoints = keypoints[:, None].expand(-1, 17, 2)
        rays = normalise(keypoints, torch.from_numpy(intrinsics))
        pose = torch.cat([rays, torch.ones_like(rays[..., :1])], -1)
        return Prediction(pose / pose.norm(dim=-1, keepdim=True), "camera", keypoints, torch.ones(len(image), 17))


@pytest.fixture(scope="module")
def light_run(tmp_path_factory):
    """An untrained run: small, quick, and a fixed function of its seed."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = NetworkSettings(embedding_size=8, hidden_sizes=[8, 8, 16, 16], width=16)
    method = build_method("supervised", network, "h36m_17")
    estimators.save(method, folder, "supervised", network, 64)
    return folder


@pytest.fixture(scope="module")
def light_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    with VideoWriter(path, 25.0) as writer:
        for frame in range(FRAMES):
            writer.write(blob(*path_of(frame)))
    return path
