"""Files for other programs, and these programs reading them where they are installed."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.footage.calibration import read_calibration
from vergence.footage.calibrations.writing import write_caliscope_toml, write_pose2sim_toml, write_rig_toml
from vergence.geometry.camera import fisheye_lens
from vergence.geometry.cameras import Camera, Rig

NAMES = ["cam 1.é", "cam.2", 'x"y', "cam10"]
K = np.array([[900.0, 0, 640], [0, 905, 360], [0, 0, 1]])
LENSES = [np.array([0.1, -0.02, 0.001, 0.002, 0.003]), np.array(fisheye_lens([0.1, 0.02, 0.0, 0.0])), np.zeros(5),
          np.arange(12) / 1000]  # fmt: skip


@pytest.fixture
def rig() -> Rig:
    cameras = [
        Camera(name, (1280, 720), K, lens, Rotation.random(rng=i).as_matrix(), np.array([i * 1000.0, 500, 3000]))
        for i, (name, lens) in enumerate(zip(NAMES, LENSES))
    ]
    return Rig(tuple(cameras))


def test_every_lens_comes_back(tmp_path: Path, rig: Rig) -> None:
    write_rig_toml(tmp_path / "rig.toml", rig)
    write_caliscope_toml(tmp_path / "camera_array.toml", rig, 0.001)
    for name in ("rig.toml", "camera_array.toml"):
        found = read_calibration(tmp_path / name)
        assert found.names == NAMES
        for ours, theirs in zip(rig, found):
            assert ours.fisheye == theirs.fisheye
            np.testing.assert_allclose(theirs.coefficients, ours.coefficients)
            np.testing.assert_allclose(theirs.R, ours.R, atol=1e-9)
            np.testing.assert_allclose(theirs.t, ours.t, atol=1e-6)


@pytest.mark.parametrize("up", [(0.2, -0.9, 0.1), (0.0, 0.0, 2.0), (0.0, 0.0, -1.0)])
def test_pose2sim_has_metres_and_z_up(tmp_path: Path, rig: Rig, up: tuple[float, ...]) -> None:
    write_pose2sim_toml(tmp_path / "Calib.toml", rig, 0.001, np.array(up))
    assert all(key.replace("_", "").isalnum() for key in tomllib.loads((tmp_path / "Calib.toml").read_text()))
    found = read_calibration(tmp_path / "Calib.toml")
    assert len(set(found.names)) == 4
    point = np.array([300.0, 200.0, 800.0])
    tall = point + 1000 * np.array(up) / np.linalg.norm(up)
    lifted = [np.linalg.lstsq(np.concatenate([c.R for c in found]),
                              np.concatenate([a.to_camera(p) - c.t for a, c in zip(rig, found)]), rcond=None)[0]
              for p in (point, tall)]  # fmt: skip
    np.testing.assert_allclose(lifted[1] - lifted[0], [0, 0, 1000], atol=1e-6)


def test_an_assumed_scale_claims_no_length(tmp_path: Path, rig: Rig) -> None:
    write_pose2sim_toml(tmp_path / "Calib.toml", rig, 0.3, None, "assumed stature 1700 mm")
    assert "assumed stature" in str(read_calibration(tmp_path / "Calib.toml").unit)


def test_caliscope_reads_it(tmp_path: Path, rig: Rig) -> None:
    arrays = pytest.importorskip("caliscope.cameras.camera_array")
    write_caliscope_toml(tmp_path / "camera_array.toml", rig, 0.001)
    found = arrays.CameraArray.from_toml(tmp_path / "camera_array.toml")
    assert list(found.cameras) == [0, 1, 2, 3]
    for camera, ours in zip(found.cameras.values(), rig):
        assert camera.fisheye == ours.fisheye
        np.testing.assert_allclose(camera.matrix, ours.K)
        np.testing.assert_allclose(camera.rotation, ours.R, atol=1e-9)
        np.testing.assert_allclose(camera.translation, ours.t / 1000)


def test_anipose_reads_it(tmp_path: Path, rig: Rig) -> None:
    cameras = pytest.importorskip("aniposelib.cameras")
    write_rig_toml(tmp_path / "rig.toml", rig)
    found = {camera.get_name(): camera for camera in cameras.CameraGroup.load(str(tmp_path / "rig.toml")).cameras}
    assert set(found) == set(NAMES)
    point = np.array([[100.0, 200.0, 900.0]])
    for ours in rig:
        if ours.to_camera(point)[0, 2] > 100:
            theirs = np.ravel(found[ours.name].project(point))
            np.testing.assert_allclose(theirs, ours.project(ours.to_camera(point))[0], rtol=1e-6)


def test_pose2sim_reads_it(tmp_path: Path, rig: Rig) -> None:
    common = pytest.importorskip("Pose2Sim.common")
    write_pose2sim_toml(tmp_path / "Calib.toml", rig, 0.001)
    found = common.retrieve_calib_params(tmp_path / "Calib.toml")
    np.testing.assert_allclose(found["K"], [camera.K for camera in rig])
    np.testing.assert_allclose(found["T"], [camera.t / 1000 for camera in rig])
    np.testing.assert_allclose(found["R_mat"], [camera.R for camera in rig], atol=1e-9)
