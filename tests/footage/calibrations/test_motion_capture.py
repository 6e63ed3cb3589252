"""Qualisys, Theia and Vicon: files as their documentation describes them."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.footage.calibration import read_calibration

QTM = """<?xml version="1.0"?>
<calibration source="a.qca.txt"><cameras>
 <camera active="1" serial="26578" model="Miqus Video" viewrotation="0">
  <fov_video left="{left}" right="{right}" top="0" bottom="1087"/>
  <transform x="1000.5" y="-200.0" z="1500.0" {turn}/>
  <intrinsic sensorMinU="0" sensorMaxU="122879" sensorMinV="0" sensorMaxV="69631" focalLengthU="107600.0"
   focalLengthV="107520.0" centerPointU="61440.0" centerPointV="34816.0" skew="0" radialDistortion1="-0.046"
   radialDistortion2="0.14" radialDistortion3="0.01" tangentalDistortion1="0.0006" tangentalDistortion2="0.0007"/>
 </camera>
 <camera active="1" serial="9" model="Oqus 700"><intrinsic sensorMaxU="64000"/></camera>
</cameras></calibration>
"""
XCP = """<Cameras>
 <Camera DEVICEID="2109" USERID="1" DISPLAY_TYPE="VideoInputDevice:Vue" PIXEL_ASPECT_RATIO="1" SENSOR_SIZE="1920 1080">
  <KeyFrames><KeyFrame FOCAL_LENGTH="1400" FRAME="0" ORIENTATION="{quaternion}" POSITION="100 -4000 1500"
   PRINCIPAL_POINT="960 540" {lens}/></KeyFrames>
 </Camera>
 <Camera DEVICEID="7" DISPLAY_TYPE="Vantage" SENSOR_SIZE="2432 2048">
  <KeyFrames><KeyFrame FOCAL_LENGTH="9"/></KeyFrames>
 </Camera>
</Cameras>
"""


def attributes(turn: np.ndarray) -> str:
    return " ".join(f'r{i + 1}{j + 1}="{float(turn[i, j])!r}"' for i in range(3) for j in range(3))


def test_qualisys(tmp_path: Path) -> None:
    turn = Rotation.from_euler("xyz", [0.3, -0.2, 0.5]).as_matrix()
    (tmp_path / "a.qca.txt").write_text(QTM.format(left=0, right=1919, turn=attributes(turn)))
    found = read_calibration(tmp_path / "a.qca.txt")
    (camera,) = found.cameras
    assert camera.name == "26578"
    assert camera.image_size == (1920, 1088)
    np.testing.assert_allclose(camera.K, [[1681.25, 0, 960], [0, 1680, 544], [0, 0, 1]])
    np.testing.assert_allclose(camera.distortion, [-0.046, 0.14, 0.0006, 0.0007, 0.01])
    np.testing.assert_allclose(camera.centre, [1000.5, -200, 1500])
    np.testing.assert_allclose(camera.R, np.diag([1, -1, -1]) @ turn, atol=1e-12)
    assert any("1 cameras without video" in note for note in found.notes)
    (tmp_path / "b.qca.txt").write_text(QTM.format(left=100, right=1819, turn=attributes(turn)))
    cut = read_calibration(tmp_path / "b.qca.txt").cameras[0]
    assert cut.image_size == (1720, 1088)
    np.testing.assert_allclose(cut.K[0, 2], 860)


def test_theia_has_pixels_and_the_cameras_pose(tmp_path: Path) -> None:
    turn = Rotation.from_euler("xyz", [0.3, -0.2, 0.5]).as_matrix()
    text = QTM.format(left=0, right=1919, turn=attributes(turn)).replace('sensorMaxU="122879"', 'sensorMaxU="1920"')
    text = (
        text.replace('sensorMaxV="69631"', 'sensorMaxV="1080"').replace("107600.0", "1600").replace("107520.0", "1601")
    )
    (tmp_path / "a.xml").write_text(text.replace("61440.0", "959").replace("34816.0", "539"))
    camera = read_calibration(tmp_path / "a.xml").cameras[0]
    assert camera.image_size == (1920, 1080)
    np.testing.assert_allclose(camera.K, [[1600, 0, 959], [0, 1601, 539], [0, 0, 1]])
    np.testing.assert_allclose(camera.R, turn, atol=1e-12)
    np.testing.assert_allclose(camera.t, [1000.5, -200, 1500])


@pytest.mark.parametrize(
    ("lens", "radial"),
    [
        ('VICON_RADIAL2="ViconRadial2 960 540 2e-8 1e-15 0"', (2e-8, 1e-15)),
        ('VICON_RADIAL="-3e-8 2e-15"', (-3e-8, 2e-15)),
        ("", (0.0, 0.0)),
    ],
)
def test_vicon(tmp_path: Path, lens: str, radial: tuple[float, float]) -> None:
    turn = Rotation.from_euler("xyz", [1.2, 0.1, 0.3])
    words = " ".join(map(str, turn.as_quat()))
    (tmp_path / "a.xcp").write_text(XCP.format(quaternion=words, lens=lens))
    found = read_calibration(tmp_path / "a.xcp")
    (camera,) = found.cameras
    assert (camera.name, camera.image_size) == ("2109", (1920, 1080))
    np.testing.assert_allclose(camera.R, turn.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(camera.centre, [100, -4000, 1500])
    assert any("documentation" in note for note in found.notes)
    pixels = np.array([[960.0, 540], [100, 100], [1800, 1000], [960, 10]])
    r2 = ((pixels - [960, 540]) ** 2).sum(1, keepdims=True)
    ideal = [960, 540] + (pixels - [960, 540]) * (1 + radial[0] * r2 + radial[1] * r2**2)
    np.testing.assert_allclose(camera.normalise(pixels) * 1400 + [960, 540], ideal, atol=0.3)


@pytest.mark.parametrize("about", [(1000, 500), (990, 580)])
def test_a_vicon_lens_that_does_not_sit_on_the_principal_point(tmp_path: Path, about: tuple[int, int]) -> None:
    """What lies off the axis is met by the tangential part, to within a twenty-fifth of a pixel."""
    lens = f'VICON_RADIAL2="ViconRadial2 {about[0]} {about[1]} 1e-8 0 0"'
    (tmp_path / "a.xcp").write_text(XCP.format(quaternion="0 0 0 1", lens=lens))
    (camera,) = read_calibration(tmp_path / "a.xcp").cameras
    pixels = np.array([[960.0, 540], [100, 100], [1800, 1000], [960, 10], [100, 1000], [1800, 60]])
    r2 = ((pixels - about) ** 2).sum(1, keepdims=True)
    ideal = about + (pixels - about) * (1 + 1e-8 * r2)
    np.testing.assert_allclose(camera.normalise(pixels) * 1400 + [960, 540], ideal, atol=0.04)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.qca.txt", "<calibration", "not readable XML"),
        ("a.qca.txt", "<calibration/>", "holds no camera"),
        ("a.qca.txt", QTM.format(left=0, right="wide", turn='r11="1"'), "right of camera 26578"),
        ("a.qca.txt", QTM.format(left=0, right=1919, turn='r11="1"'), "r12 of camera 26578"),
        ("a.xcp", "<Cameras/>", "no calibrated camera"),
        ("a.xcp", XCP.format(quaternion="0 0 1", lens=""), "ORIENTATION of camera 2109"),
        (
            "a.xcp",
            XCP.format(quaternion="0 0 0 1", lens='VICON_RADIAL2="ViconRadial2 960 540 -0.3 0.1 0"'),
            "lens of camera",
        ),
    ],
)
def test_what_is_none(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VergenceError, match=message):
        read_calibration(tmp_path / name)


def test_a_vicon_lens_is_the_best_of_opencvs_over_the_image(tmp_path: Path) -> None:
    """Least squares of OpenCV's own projection over 31 x 31 pixels from the first to the last, each coefficient by itself."""
    lens = 'VICON_RADIAL2="ViconRadial2 1000 500 3e-8 2e-14 0"'
    (tmp_path / "a.xcp").write_text(XCP.format(quaternion="0 0 0 1", lens=lens))
    (camera,) = read_calibration(tmp_path / "a.xcp").cameras
    x, y = np.meshgrid(np.linspace(0, 1919, 31), np.linspace(0, 1079, 31))
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    r2 = ((pixels - [1000, 500]) ** 2).sum(1, keepdims=True)
    ideal = ([1000, 500] + (pixels - [1000, 500]) * (1 + 3e-8 * r2 + 2e-14 * r2**2) - [960, 540]) / 1400
    rays, still = np.concatenate([ideal, np.ones((961, 1))], 1), np.zeros(3)
    each = [cv2.projectPoints(rays, still, still, np.eye(3), one)[0][:, 0] - ideal for one in np.eye(5)]
    wanted = (pixels - [960, 540]) / 1400 - ideal
    best = np.linalg.lstsq(np.stack([one.ravel() for one in each], 1), wanted.ravel(), rcond=None)[0]
    np.testing.assert_allclose(camera.distortion[:5], best, rtol=1e-6)


def test_a_vicon_pixel_may_be_wider_than_high(tmp_path: Path) -> None:
    text = XCP.format(quaternion="0 0 0 1", lens="")
    (tmp_path / "a.xcp").write_text(re.sub(r'PIXEL_ASPECT_RATIO="[^"]*"', 'PIXEL_ASPECT_RATIO="1.25"', text))
    (camera,) = read_calibration(tmp_path / "a.xcp").cameras
    assert (camera.K[0, 0], camera.K[1, 1]) == (1400, 1400 / 1.25)


@pytest.mark.parametrize("strength", [3e-8, 9e-8])
def test_what_a_vicon_lens_is_missed_by_is_said_in_pixels(tmp_path: Path, strength: float) -> None:
    """Far from the principal point OpenCV's lens meets it less well: the note says the worst of 31 x 31 pixels."""
    lens = f'VICON_RADIAL2="ViconRadial2 1500 200 {strength} 0 0"'
    (tmp_path / "a.xcp").write_text(XCP.format(quaternion="0 0 0 1", lens=lens))
    found = read_calibration(tmp_path / "a.xcp")
    x, y = np.meshgrid(np.linspace(0, 1919, 31), np.linspace(0, 1079, 31))
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    r2 = ((pixels - [1500, 200]) ** 2).sum(1, keepdims=True)
    ideal = ([1500, 200] + (pixels - [1500, 200]) * (1 + strength * r2) - [960, 540]) / 1400
    rays = np.concatenate([ideal, np.ones((961, 1))], 1)
    shown = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.eye(3), found.cameras[0].distortion[:5])[0][:, 0]
    off = np.abs(shown * 1400 + [960, 540] - pixels).max()
    told = [note for note in found.notes if "is met to within" in note]
    assert len(told) == (off > 0.5)
    assert all(f"is met to within {off:.1f} px" in note for note in told)
