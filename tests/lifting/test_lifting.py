"""The lifting network: what it is shown, how it is taught, kept, and applied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_scene import film, ring, walking

from vergence import metrics
from vergence.errors import VergenceError
from vergence.geometry.cameras import Camera
from vergence.lifting import model as models
from vergence.lifting import train as training
from vergence.lifting.model import describe, is_lifting, load_lifting
from vergence.lifting.network import Lifter, LifterSettings, rays_of_person
from vergence.lifting.train import LIFTED, LifterTraining, train_lifter
from vergence.lifting.virtual import Motion, VirtualCameras, draw, rotations, with_gestures
from vergence.skeleton import H36M_17

CLEAN = VirtualCameras(noise=(1e-9, 1e-9), bias=0.0, outliers=0.0, missing=0.0)
TINY = LifterTraining(steps=6, batch=4, frames=8, network=LifterSettings(width=16, dilations=(1, 2)))


@pytest.fixture(scope="module")
def motion() -> Motion:
    return Motion(H36M_17.convert(walking(60), LIFTED), 30.0)


def drawn(motion: Motion, cameras: VirtualCameras = CLEAN, seed: int = 0):
    return draw([motion], np.ones(1), LIFTED, cameras, 6, 10, 30.0, np.random.default_rng(seed))


def test_the_person_is_seen_as_by_a_camera_that_looks_at_it() -> None:
    rng = np.random.default_rng(0)
    joints = rng.normal(0, 0.4, (3, 15, 3)) + [0.0, 0.0, 4.0]
    seen = np.ones((3, 15), bool)
    points, rotation, size = rays_of_person(joints[..., :2] / joints[..., 2:], seen)
    turn = rotations(np.array([0.0, 0.3, 0.0]))  # the same camera, looking elsewhere
    other = joints @ turn.T
    elsewhere, _, again = rays_of_person(other[..., :2] / other[..., 2:], seen)
    np.testing.assert_allclose(
        rotation @ np.swapaxes(rotation, 1, 2), np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    turned = np.einsum("tij,tkj->tki", rotation, joints)
    np.testing.assert_allclose(points * size[:, None, None], turned[..., :2] / turned[..., 2:], atol=1e-9)
    np.testing.assert_allclose(np.abs((points.max(1) + points.min(1)) / 2).max(), 0, atol=0.02)
    np.testing.assert_allclose(elsewhere, points, atol=0.06)  # but for the roll that level rows leave
    np.testing.assert_allclose(again, size, rtol=0.05)


def test_unseen_joints_count_for_nothing() -> None:
    image = np.random.default_rng(1).normal(0, 0.1, (1, 15, 2))
    seen = np.ones((1, 15), bool)
    seen[0, 4] = False
    points, _, size = rays_of_person(image, seen)
    image[0, 4] = 1e3
    again, _, same = rays_of_person(image, seen)
    np.testing.assert_array_equal(points, again)
    np.testing.assert_array_equal(size, same)
    assert (points[0, 4] == 0).all()


def test_samples_are_poses_seen_by_upright_cameras(motion: Motion) -> None:
    seen = drawn(motion)
    np.testing.assert_allclose(seen.image, seen.pose[..., :2] / seen.pose[..., 2:], atol=1e-6)
    start, end = (seen.pose[:, :, LIFTED.index(name)] for name in ("pelvis", "thorax"))
    np.testing.assert_allclose(np.linalg.norm(end - start, axis=-1).mean(1), 1.0)
    assert (end[..., 1] < start[..., 1]).mean() > 0.9  # heads are up: y counts downwards
    handed = np.cross(seen.pose[:, :, LIFTED.index("left_hip")] - start, end - start)  # forward, of a person
    knee = (
        seen.pose[:, :, LIFTED.index("right_knee")]
        - (seen.pose[:, :, LIFTED.index("right_hip")] + seen.pose[:, :, LIFTED.index("right_ankle")]) / 2
    )
    assert ((knee * handed).sum(-1) > -1e-6).mean() > 0.9


def test_limbs_keep_their_lengths_in_every_gesture(motion: Motion) -> None:
    poses = np.repeat(motion.pose[None, :10], 8, axis=0)
    varied = with_gestures(poses, LIFTED, 1.0, np.random.default_rng(0))
    for a, b in (("right_hip", "right_knee"), ("left_knee", "left_ankle"), ("right_shoulder", "right_elbow")):
        i, j = LIFTED.index(a), LIFTED.index(b)
        np.testing.assert_allclose(
            np.linalg.norm(varied[:, :, i] - varied[:, :, j], axis=-1),
            np.linalg.norm(poses[:, :, i] - poses[:, :, j], axis=-1),
            rtol=1e-9,
        )
    assert np.abs(varied - poses).max() > 50


def test_samples_are_a_function_of_their_seed(motion: Motion) -> None:
    np.testing.assert_array_equal(drawn(motion, VirtualCameras()).image, drawn(motion, VirtualCameras()).image)
    assert not np.array_equal(drawn(motion, seed=1).image, drawn(motion, seed=2).image)


def test_a_stopped_training_ends_in_the_same_weights(
    motion: Motion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    whole = train_lifter([motion], TINY, seed=3)
    monkeypatch.setattr(training, "KEEP_EVERY_S", -1.0)

    def stop(what: str, done: int, total: int | None) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_lifter([motion], TINY, seed=3, checkpoint=tmp_path / "c.pt", progress=stop)
    steps: list[int] = []
    rest = train_lifter(
        [motion], TINY, seed=3, checkpoint=tmp_path / "c.pt", progress=lambda what, done, total: steps.append(done)
    )
    assert steps[0] == 5
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name
    assert not (tmp_path / "c.pt").exists()


def test_motions_must_be_whole() -> None:
    with pytest.raises(VergenceError, match="no motion"):
        train_lifter([], TINY)
    with pytest.raises(VergenceError, match="whole"):
        train_lifter([Motion(np.full((9, 15, 3), np.nan), 30.0)], TINY)


def test_a_model_is_kept_and_read_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = describe(Lifter(LIFTED, TINY.network).eval(), 30.0, taught_by="nobody")
    made.save(tmp_path)
    read = load_lifting(tmp_path)
    assert is_lifting(tmp_path)
    assert read.skeleton == LIFTED
    assert read.config["taught_by"] == "nobody"
    scene = film(walking(20), ring(1), noise=0)
    camera = Camera("c", (1000, 1000), scene.intrinsics[0], scene.distortion[0])
    keypoints = np.concatenate([scene.keypoints[:, 0], np.full((20, 17, 1), 0.9)], -1)
    np.testing.assert_allclose(
        read(keypoints, H36M_17, camera, 30.0), made(keypoints, H36M_17, camera, 30.0), atol=1e-6
    )
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(VergenceError, match="cannot be read"):
        load_lifting(tmp_path)


def test_long_recordings_in_parts_are_as_whole_ones_and_gaps_have_no_pose(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_lifting()
    scene = film(walking(60), ring(1), noise=1.0)
    camera = Camera("c", (1000, 1000), scene.intrinsics[0], scene.distortion[0])
    keypoints = np.concatenate([scene.keypoints[:, 0], np.full((60, 17, 1), 0.9)], -1)
    keypoints[30:33] = np.nan
    whole = model(keypoints, H36M_17, camera, 30.0)
    monkeypatch.setattr(models, "CHUNK", 7)
    np.testing.assert_allclose(model(keypoints, H36M_17, camera, 30.0), whole, atol=1e-5)
    assert np.isnan(whole[30:33]).all()
    assert np.isfinite(np.delete(whole, range(30, 33), axis=0)).all()


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_the_model_that_comes_with_the_package_sees_depth(fps: float) -> None:
    model = load_lifting()
    scene = film(walking(60), ring(3), noise=2.0)
    truth = H36M_17.convert(scene.pose, LIFTED)
    errors, flat = [], []
    for v in range(3):
        camera = Camera(
            "c", (1000, 1000), scene.intrinsics[v], scene.distortion[v], scene.rotation[v], scene.translation[v]
        )
        keypoints = np.concatenate([scene.keypoints[:, v], np.full((60, 17, 1), 0.9)], -1)
        there = torch.from_numpy(truth @ scene.rotation[v].T)
        found = torch.from_numpy(model(keypoints, H36M_17, camera, fps))
        image = H36M_17.convert(scene.keypoints[:, v], LIFTED)
        zero = torch.from_numpy(np.concatenate([image, 0 * image[..., :1]], -1))
        errors.append(float(metrics.n_mpjpe(found, there).mean()))
        flat.append(float(metrics.n_mpjpe(zero, there).mean()))
    assert np.mean(errors) < 0.6 * np.mean(flat)
