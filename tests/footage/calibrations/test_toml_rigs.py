"""What people's TOML files do beside the layout: words for nothing, zeros, names that nobody quoted, fisheye lenses."""

from pathlib import Path

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.footage.calibration import read_calibration
from vergence.geometry.cameras import Rig

K = "matrix = [[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]]"


def table(head: str, shift: float | None, extra: str = "", size: str = "size = [640, 480]", matrix: str = K) -> str:
    pose = "" if shift is None else f"rotation = [0.0, {shift / 10}, 0.0]\ntranslation = [{shift}, 0.0, 3.0]\n"
    lens = "" if "distortions" in extra else "distortions = [0.0, 0.0, 0.0, 0.0, 0.0]\n"
    return f"[{head}]\n{size}\n{matrix}\n{lens}{pose}{extra}\n"


def read(tmp_path: Path, text: str, unit: str | None = None) -> Rig:
    (tmp_path / "calib.toml").write_text(text, encoding="utf-8")
    return read_calibration(tmp_path / "calib.toml", unit)


@pytest.mark.parametrize(
    "nothing",
    [
        'rotation = "null"\ntranslation = "null"',
        'rotation = "None"\ntranslation = "none"',
        "rotation = [nan, nan, nan]\ntranslation = [nan, nan, nan]",
        "rotation = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]\ntranslation = [0.0, 0.0, 0.0]",
        "rotation = []\ntranslation = []",
        "translation = [1.0, 0.0, 0.0]",
        "",
    ],
)
def test_a_camera_without_extrinsics(tmp_path: Path, nothing: str) -> None:
    found = read(tmp_path, table("cameras.0", 1.0) + table("cameras.1", None, nothing) + table("cameras.2", 2.0))
    assert [camera.has_extrinsics for camera in found] == [True, False, True]
    assert any("no extrinsics of camera 1" in note for note in found.notes)


def test_zeros_throughout_are_no_extrinsics(tmp_path: Path) -> None:
    zeros = "rotation = [0.0, 0.0, 0.0]\ntranslation = [0.0, -0.0, 0.0]"
    found = read(tmp_path, "".join(table(f"int_cam{i}_img", None, zeros) for i in (1, 2, 3)))
    assert not any(camera.has_extrinsics for camera in found)
    assert found.unit == "mm"
    assert any("one and the same pose" in note for note in found.notes)
    # One camera in the origin is a rig's first camera.
    found = read(tmp_path, table("a", None, zeros) + table("b", 1.0) + table("c", 2.0))
    assert all(camera.has_extrinsics for camera in found)


def test_a_camera_that_was_never_calibrated(tmp_path: Path) -> None:
    found = read(tmp_path, table("cameras.1", 1.0) + "[cameras.2]\ncam_id = 2\nsize = [640, 480]\nmatrix = 'null'\n")
    assert found.cameras[1].intrinsics is None
    assert found.cameras[1].image_size == (640, 480)
    assert any("no intrinsics of camera 2" in note for note in found.notes)


def test_names_that_nobody_quoted(tmp_path: Path) -> None:
    found = read(tmp_path, table("rig.cam.1", 1.0) + table("rig.cam.2", 2.0) + "[metadata]\nerror = 0.1\n")
    assert found.names == ["rig.cam.1", "rig.cam.2"]
    found = read(tmp_path, table("left cam", 1.0) + table("right cam", 2.0))
    assert found.names == ["left cam", "right cam"]


def test_two_cameras_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="two cameras of one name"):
        read(tmp_path, table("a", 1.0, 'name = "x"') + table("b", 2.0, 'name = "x"'))


def test_a_fisheye_lens(tmp_path: Path) -> None:
    lens = "fisheye = true\ndistortions = [0.1, -0.02, 0.003, 0.0]"
    found = read(tmp_path, table("a", 1.0, lens) + table("b", 2.0))
    assert found.cameras[0].fisheye
    assert not found.cameras[1].fisheye
    np.testing.assert_allclose(found.cameras[0].coefficients, [0.1, -0.02, 0.003, 0.0])
    assert found.distortion.shape == (2, 17)


@pytest.mark.parametrize(("unit", "mm"), [("cm", 10.0), ("Metres", 1000.0), ("inch", 25.4), ("mm", 1.0)])
def test_the_unit_that_a_file_says(tmp_path: Path, unit: str, mm: float) -> None:
    text = table("a", 1.0) + table("b", 2.0) + f'[metadata]\nunit = "{unit}"\n'
    np.testing.assert_allclose(read(tmp_path, text).cameras[1].t, [2 * mm, 0, 3 * mm])
    np.testing.assert_allclose(read(tmp_path, text, "cm").cameras[1].t, [20, 0, 30])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('distortions = [0.1, "x", 0, 0, 0]', "distortion of camera a .* not an array of numbers"),
        ("distortions = [[0.1, 0.2], [0.0]]", "not an array of numbers"),
        ('rotation = "identity"\ntranslation = [0, 0, 0]', "rotation of camera a .* not an array of numbers"),
        ("rotation = [[1, 0, 0], [0, 1, 0], [0, 0]]\ntranslation = [0, 0, 0]", "not an array of numbers"),
        ("rotation = [0, 0, 0]\ntranslation = 1979-05-27", "not an array of numbers"),
        (f"rotation = [0, 0, 0]\ntranslation = [0, 0, {'9' * 400}]", "not an array of numbers"),
    ],
)
def test_other_than_numbers(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(VergenceError, match=message):
        read(tmp_path, table("a", None, line))
