"""COLMAP's models, written here by their published formats."""

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vergence.errors import VergenceError
from vergence.footage.calibration import read_calibration
from vergence.geometry.cameras import Rig

PARAMETERS = {
    "SIMPLE_PINHOLE": (0, [900, 640.5, 360.5]),
    "PINHOLE": (1, [900, 910, 640.5, 360.5]),
    "SIMPLE_RADIAL": (2, [900, 640.5, 360.5, 0.1]),
    "RADIAL": (3, [900, 640.5, 360.5, 0.1, -0.02]),
    "OPENCV": (4, [900, 910, 640.5, 360.5, 0.1, -0.02, 0.001, 0.002]),
    "OPENCV_FISHEYE": (5, [900, 910, 640.5, 360.5, 0.1, -0.02, 0.001, 0.002]),
    "FULL_OPENCV": (6, [900, 910, 640.5, 360.5, 0.1, -0.02, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006]),
    "SIMPLE_RADIAL_FISHEYE": (8, [900, 640.5, 360.5, 0.1]),
    "RADIAL_FISHEYE": (9, [900, 640.5, 360.5, 0.1, -0.02]),
}
POSES = [(Rotation.random(rng=i), np.array([i, 0.5, 3.0])) for i in range(3)]
NAMES = ["cam1.png", "left cam.png", "cam3.png"]


def quaternion(turn: Rotation) -> list[float]:
    x, y, z, w = turn.as_quat()
    return [w, x, y, z]


def write(folder: Path, model: str, binary: bool, names: list[str] = NAMES, poses: list = POSES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    number, values = PARAMETERS.get(model, (7, [900, 910, 640, 360, 0.1]))
    if binary:
        lens = struct.pack("<Q", 1) + struct.pack("<iiQQ", 7, number, 1280, 720)
        (folder / "cameras.bin").write_bytes(lens + struct.pack(f"<{len(values)}d", *values))
        out = struct.pack("<Q", len(names))
        for i, (name, (turn, shift)) in enumerate(zip(names, poses)):
            out += struct.pack("<i7di", i, *quaternion(turn), *shift, 7) + name.encode() + b"\0"
            out += struct.pack("<Q", i) + struct.pack("<ddq", 1.0, 2.0, -1) * i
        (folder / "images.bin").write_bytes(out)
        return
    (folder / "cameras.txt").write_text(f"# cameras\n7 {model} 1280 720 {' '.join(map(str, values))}\n")
    lines = ["# images", "# points"]
    for i, (name, (turn, shift)) in enumerate(zip(names, poses)):
        lines += [" ".join(map(str, [i, *quaternion(turn), *shift, 7, name])), "1.0 2.0 -1" * (i > 0)]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("model", list(PARAMETERS))
def test_models(tmp_path: Path, model: str, binary: bool) -> None:
    write(tmp_path, model, binary)
    found = read_calibration(tmp_path)
    assert found.names == ["cam1", "left cam", "cam3"]
    camera = found.cameras[1]
    assert camera.image_size == (1280, 720)
    assert camera.fisheye == ("FISHEYE" in model)
    np.testing.assert_allclose(camera.K[:2, 2], [640, 360])  # COLMAP's (0, 0) is a corner
    np.testing.assert_allclose(camera.K[0, 0], 900)
    np.testing.assert_allclose(camera.R, POSES[1][0].as_matrix(), atol=1e-12)
    np.testing.assert_allclose(camera.t, POSES[1][1])
    assert found.unit == "COLMAP units"
    given = [v for v in PARAMETERS[model][1] if v < 1]
    np.testing.assert_allclose(camera.coefficients[: len(given)], given)


def test_a_unit_makes_it_metric(tmp_path: Path) -> None:
    write(tmp_path, "PINHOLE", binary=True)
    found = read_calibration(tmp_path / "cameras.bin", "m")
    assert found.unit == "mm"
    np.testing.assert_allclose(found.cameras[1].t, [1000, 500, 3000])


def folders(tmp_path: Path, drift: float) -> Rig:
    names = ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    turned = [(Rotation.from_rotvec([0, drift * i, 0]) * POSES[v][0], POSES[v][1]) for v in (0, 1) for i in (0, 1)]
    write(tmp_path, "PINHOLE", False, names, turned)
    return read_calibration(tmp_path)


def test_a_folder_of_images_is_a_camera(tmp_path: Path) -> None:
    assert folders(tmp_path, 1e-3).names == ["a", "b"]
    with pytest.raises(VergenceError, match=r"camera a .* moves"):
        folders(tmp_path, 0.2)


def test_what_is_none(tmp_path: Path) -> None:
    write(tmp_path / "fov", "FOV", binary=False)
    with pytest.raises(VergenceError, match="lens model FOV"):
        read_calibration(tmp_path / "fov")
    write(tmp_path / "bin", "OPENCV", binary=True)
    data = (tmp_path / "bin/images.bin").read_bytes()
    (tmp_path / "bin/images.bin").write_bytes(data[:100])
    with pytest.raises(VergenceError, match="damaged"):
        read_calibration(tmp_path / "bin")
    (tmp_path / "bin/images.bin").unlink()
    with pytest.raises(VergenceError, match=r"no images.txt or .bin"):
        read_calibration(tmp_path / "bin/cameras.bin")
    (tmp_path / "text").mkdir()
    (tmp_path / "text/cameras.txt").write_text("1 PINHOLE 1280 720 900\n")
    (tmp_path / "text/images.txt").write_text("1 1 0 0 0 0 0 0 1 a.png\n\n")
    with pytest.raises(VergenceError, match="damaged"):
        read_calibration(tmp_path / "text")
    (tmp_path / "text/cameras.txt").write_text("1 PINHOLE 1280\n")
    with pytest.raises(VergenceError, match=r"'1 PINHOLE 1280' of cameras\.txt has 3 words, a camera's line 4 and"):
        read_calibration(tmp_path / "text")
    (tmp_path / "text/cameras.txt").write_text("1 PINHOLE 1280 720 900 900 640 360\n")
    (tmp_path / "text/images.txt").write_text("1 1 0 0 0 0 0 0 a.png\n\n")
    with pytest.raises(VergenceError, match=r"'1 1 0 0 0 0 0 0 a\.png' of images\.txt has 9 words, an image's line 10"):
        read_calibration(tmp_path / "text")


@pytest.mark.parametrize(
    ("degrees", "shift", "moves"),
    [(0.9, 0.0, False), (1.1, 0.0, True), (0.0, 0.19, False), (0.0, 0.21, True), (0.9, 0.19, False)],
)
def test_a_camera_may_turn_by_a_degree_and_move_by_a_fiftieth_of_the_rig(
    tmp_path: Path, degrees: float, shift: float, moves: bool
) -> None:
    """Two cameras 10 apart; the second image of one is turned about its centre, and then moved."""
    other = Rotation.from_euler("y", degrees, degrees=True)
    still = Rotation.identity()
    poses = [(still, np.zeros(3)), (other, other.apply([0, -shift, 0])), (still, np.array([-10.0, 0, 0]))]
    write(tmp_path, "PINHOLE", True, ["a/0.png", "a/1.png", "b/0.png"], poses)
    if moves:
        with pytest.raises(
            VergenceError, match=rf"camera a of .* moves: its 2 images turn by up to {degrees:.1f} degrees"
        ):
            read_calibration(tmp_path)
        return
    found = read_calibration(tmp_path)
    assert found.names == ["a", "b"]
    np.testing.assert_allclose(found.cameras[1].centre, [10, 0, 0])


def test_pixels_are_counted_from_the_middle_of_the_first(tmp_path: Path) -> None:
    """COLMAP's from its corner; blank lines between images do no harm."""
    write(tmp_path, "OPENCV", False)
    text = (tmp_path / "images.txt").read_text()
    (tmp_path / "images.txt").write_text("\n\n" + text)
    (first, *_) = read_calibration(tmp_path).cameras
    np.testing.assert_allclose(first.K, [[900, 0, 640], [0, 910, 360], [0, 0, 1]])
    np.testing.assert_allclose(first.distortion[:5], [0.1, -0.02, 0.001, 0.002, 0])
    np.testing.assert_allclose(first.R, POSES[0][0].as_matrix(), atol=1e-9)
