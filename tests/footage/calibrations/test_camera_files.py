"""A calibration with a file for each camera: ROS's camera_info, OpenCV's sample."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import vergence
from vergence.errors import VergenceError
from vergence.footage.calibration import read_calibration
from vergence.footage.calibrations.pairing import find_calibration

K = np.array([[810.0, 0, 642], [0, 812, 361], [0, 0, 1]])
ROS = """image_width: 1280
image_height: 720
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [810., 0., 642., 0., 812., 361., 0., 0., 1.]
distortion_model: {model}
distortion_coefficients:
  rows: 1
  cols: {count}
  data: {lens}
rectification_matrix:
  rows: 3
  cols: 3
  data: [1., 0., 0., 0., 1., 0., 0., 0., 1.]
"""


def ros(path: Path, lens: list[float], model: str = "plumb_bob") -> None:
    path.write_text(ROS.format(model=model, count=len(lens), lens=lens))


def test_ros_camera_info_is_a_camera_called_as_its_file(tmp_path: Path) -> None:
    ros(tmp_path / "cam10.yaml", [-0.1, 0.02, 0.001, -0.002, 0.0])
    ros(tmp_path / "cam9.yaml", [0.03, -0.01, 0.004, -0.001], "equidistant")
    (tmp_path / "recipe.yaml").write_text("steps: 3\n")
    for path in (tmp_path, tmp_path / "cam10.yaml"):
        fish, plain = read_calibration(path).cameras
        assert [fish.name, plain.name, plain.image_size] == ["cam9", "cam10", (1280, 720)]
        np.testing.assert_array_equal(plain.K, K)
        np.testing.assert_array_equal(plain.distortion, [-0.1, 0.02, 0.001, -0.002, 0])
        np.testing.assert_array_equal(fish.distortion, [0] * 12 + [0.03, -0.01, 0.004, -0.001, 1])
        assert not plain.has_extrinsics
    assert find_calibration(tmp_path) == (tmp_path / "cam9.yaml", [])


def test_opencvs_own_file_with_r_and_t(tmp_path: Path) -> None:
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    for number in (1, 2):
        file = cv2.FileStorage(str(tmp_path / f"cam{number}.yml"), cv2.FILE_STORAGE_WRITE)
        for name, value in {"image_width": 1280, "image_height": 720, "camera_matrix": K}.items():
            file.write(name, value)
        file.write(
            "distortion_coefficients", np.array([-0.1, 0.02, 0.001, -0.002, 0.0])
        )  # a vector: `sizes` in OpenCV 5
        file.write("R", turn)
        file.write("T", np.array([[0.0], [number], [2.0]]))
        file.release()
    rig = read_calibration(tmp_path / "cam1.yml")
    np.testing.assert_array_equal(rig.cameras[1].R, turn)
    np.testing.assert_allclose(rig.translation, [[0, 1000, 2000], [0, 2000, 2000]])
    np.testing.assert_array_equal(rig.cameras[0].distortion, [-0.1, 0.02, 0.001, -0.002, 0])


def test_a_folder_of_keypoints_with_ros_files_is_read(tmp_path: Path) -> None:
    for name in ("left", "right"):
        ros(tmp_path / f"{name}.yaml", [0.0] * 5)
        (tmp_path / f"{name}.json").write_text("[]")
    cameras = "".join(f'[cameras.{name}]\nkeypoints = "{name}.json"\n' for name in ("left", "right"))
    (tmp_path / "capture.toml").write_text(f'[capture]\nfps = 30.0\ncalibration = "left.yaml"\n{cameras}')
    capture = vergence.load_capture(tmp_path)
    assert [camera.image_size for camera in capture.cameras] == [(1280, 720)] * 2
    np.testing.assert_array_equal(capture.rig.intrinsics, [K, K])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ROS.format(model="thin_prism", count=5, lens=[0] * 5),
            "distortion_model of the camera of a.yaml is 'thin_prism'",
        ),
        (ROS.format(model="plumb_bob", count=3, lens=[0, 0, 1]), "distortion of the camera of a.yaml has 3 values"),
        ("camera_matrix: [1, 2\n", "not readable YAML"),
        ("camera_matrix: {rows: 3, cols: 3, data: [1, 2]}\n", "intrinsics of the camera of a.yaml"),
    ],
)
def test_what_is_no_camera(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(VergenceError, match=message):
        read_calibration(tmp_path / "a.yaml")


def test_an_unknown_json_is_told_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(VergenceError, match="of no calibration format that is known here"):
        read_calibration(tmp_path / "calibration.json")
