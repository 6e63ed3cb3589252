"""EasyMocap's files and stereo calibrations, written by OpenCV itself."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.calibration import read_calibration

K = np.array([[900.0, 0, 640], [0, 905.0, 360], [0, 0, 1]])
LENS = np.array([[0.1, -0.02, 0.001, 0.002, 0.003]])
TURN = np.array([[0.1], [0.2], [-0.3]])


def store(path: Path, **values: Any) -> None:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for key, value in values.items():
        storage.write(key, value)
    storage.release()


def easymocap(folder: Path, names: list[str], keys: list[str], size: bool) -> None:
    inside: dict[str, Any] = {"names": names}
    outside: dict[str, Any] = {"names": names}
    for i, key in enumerate(keys):
        inside |= {f"K_{key}": K, f"dist_{key}": LENS, **({f"H_{key}": 720, f"W_{key}": 1280} if size else {})}
        outside |= {f"R_{key}": TURN * (i + 1), f"T_{key}": np.array([[i], [0.5], [3.0]])}
        outside[f"Rot_{key}"] = cv2.Rodrigues(TURN * (i + 1))[0]
    store(folder / "intri.yml", **inside)
    store(folder / "extri.yml", **outside)


@pytest.mark.parametrize("given", ["intri.yml", "extri.yml", "."])
@pytest.mark.parametrize("size", [True, False])
def test_easymocap(tmp_path: Path, given: str, size: bool) -> None:
    names = ["01", "02", "10"]
    easymocap(tmp_path, names, names, size)
    found = read_calibration(tmp_path / given)
    assert found.names == names
    assert any("taken as m" in note for note in found.notes)
    for i, camera in enumerate(found):
        assert camera.image_size == ((1280, 720) if size else None)
        np.testing.assert_allclose(camera.K, K)
        np.testing.assert_allclose(camera.distortion, LENS[0])
        np.testing.assert_allclose(camera.R, cv2.Rodrigues(TURN * (i + 1))[0], atol=1e-12)
        np.testing.assert_allclose(camera.t, [1000 * i, 500, 3000])


def test_easymocap_with_matrices_counted_from_1(tmp_path: Path) -> None:
    easymocap(tmp_path, ["left", "right"], ["1", "2"], size=True)
    found = read_calibration(tmp_path / "intri.yml")
    assert found.names == ["left", "right"]
    np.testing.assert_allclose(found["right"].t, [1000, 500, 3000])


def test_easymocap_intrinsics_alone(tmp_path: Path) -> None:
    easymocap(tmp_path, ["1", "2"], ["1", "2"], size=True)
    (tmp_path / "extri.yml").unlink()
    found = read_calibration(tmp_path / "intri.yml")
    assert found.has_intrinsics
    assert not any(camera.has_extrinsics for camera in found)


@pytest.mark.parametrize(
    "keys",
    [
        ("K1", "D1", "K2", "D2"),
        ("M1", "D1", "M2", "D2"),
        ("cameraMatrix1", "distCoeffs1", "cameraMatrix2", "distCoeffs2"),
    ],
)
@pytest.mark.parametrize("suffix", [".yml", ".xml"])
def test_stereo(tmp_path: Path, keys: tuple[str, ...], suffix: str) -> None:
    values = dict(zip(keys, (K, LENS, K + np.diag([1, 1, 0]), LENS)))
    pose = {"R": cv2.Rodrigues(TURN)[0], "T": np.array([[-120.0], [1.0], [2.0]]), "R1": np.eye(3), "Q": np.eye(4)}
    store(tmp_path / f"stereo{suffix}", **values, **pose, image_size=np.array([[1280, 720]]))
    found = read_calibration(tmp_path / f"stereo{suffix}")
    first, second = found.cameras
    assert first.image_size == (1280, 720)
    np.testing.assert_allclose(first.R, np.eye(3))
    np.testing.assert_allclose(second.R, cv2.Rodrigues(TURN)[0], atol=1e-12)
    np.testing.assert_allclose(second.t, [-120, 1, 2])  # 120 apart is no metre: mm, and said
    assert any("taken as mm" in note for note in found.notes)


def test_stereo_in_two_files(tmp_path: Path) -> None:
    store(tmp_path / "intrinsics.yml", M1=K, D1=LENS, M2=K, D2=LENS)
    store(tmp_path / "extrinsics.yml", R=np.eye(3), T=np.array([[-0.5], [0.0], [0.0]]), P1=np.eye(3, 4))
    for name in ("intrinsics.yml", "extrinsics.yml"):
        np.testing.assert_allclose(read_calibration(tmp_path / name).cameras[1].t, [-500, 0, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n", "no file of OpenCV|holds no camera"),
        ("%YAML:1.0\n---\nQ: 1\n", "holds no camera"),
        ("%YAML:1.0\n---\nK1: [1, 2\n", "FileStorage"),
        ('%YAML:1.0\n---\nnames: [ "1" ]\nK_1: [ 1, 2, 3 ]\n', "intrinsics of camera 1"),
        ("", "FileStorage|holds no camera"),
        (
            '%YAML:1.0\n---\nnames: [ "1" ]\nK_1: !!opencv-matrix\n   rows: 3\n   dt: d\n   data: [ 9, 0, 6, 0, 9 ]\n',
            "intrinsics of camera 1",
        ),
    ],
)
def test_what_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yml").write_text(text)
    with pytest.raises(VergenceError, match=message):
        read_calibration(tmp_path / "a.yml")


def test_a_vector_as_opencv_5_writes_it(tmp_path: Path) -> None:
    def vector(values: list[float]) -> str:
        return f"!!opencv-nd-matrix\n   sizes: [ {len(values)} ]\n   dt: d\n   data: {values}\n"

    three = "!!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: "
    matrix, turn = (
        three + "[ 900., 0., 320., 0., 900., 240., 0., 0., 1. ]\n",
        three + "[ 1., 0., 0., 0., 1., 0., 0., 0., 1. ]\n",
    )
    parts = {"K1": matrix, "D1": vector([-0.1, 0.05, 0.001, -0.0008, -0.01]), "K2": matrix, "D2": vector([0.0] * 5),
             "R": turn, "T": vector([-0.5, 0.0, 0.0])}  # fmt: skip
    (tmp_path / "a.yml").write_text("%YAML:1.0\n---\n" + "".join(f"{name}: {value}" for name, value in parts.items()))
    first, second = read_calibration(tmp_path / "a.yml").cameras
    np.testing.assert_array_equal(first.distortion, [-0.1, 0.05, 0.001, -0.0008, -0.01])
    np.testing.assert_allclose(second.t, [-500, 0, 0])
